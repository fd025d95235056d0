"""Methods over conditions: ranks, wins, the first beside the best other, LaTeX, the plot."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student
from scipy.stats import ttest_rel

from pumlc.metrics import paired_interval
from pumlc.sweep.cells import Cell, grid
from pumlc.sweep.comparison import against_the_best, ranking
from pumlc.sweep.plot import plot
from pumlc.sweep.tables import conditions_of, latex, markdown


def rows_of(values):
    """Rows of method -> condition -> values of seeds 0, 1 ..."""
    return [
        {"method": method, "proportion": 1.0, "condition": condition, "seed": seed, "all": value}
        for method, by_condition in values.items()
        for condition, of_seeds in by_condition.items()
        for seed, value in enumerate(of_seeds)
    ]


VALUES = {
    "own": {"fn20": [70.0, 72.0], "fp2": [60.0, 62.0]},
    "a": {"fn20": [69.0, 70.0], "fp2": [64.0, 64.0]},
    "b": {"fn20": [71.0, 71.0], "fp2": [50.0, 50.0]},
    "half": {"fn20": [99.0, 99.0]},
}


def cells_of(text):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]


def test_ranks_and_wins():
    _, _, *lines = cells_of(ranking(rows_of(VALUES), "all"))
    # fn20: own and b share ranks 1 and 2, and both win; fp2: a, own, b. "half" lacks a condition
    assert lines == [
        ["own", "1.75", "1 of 2", "66.00"],
        ["a", "2.00", "1 of 2", "66.75"],
        ["b", "2.25", "1 of 2", "60.50"],
    ]


def test_the_first_beside_the_best_of_the_others():
    rows = rows_of({name: VALUES[name] for name in ("own", "a", "b")})
    rows += [{**row, "method": "family"} for row in rows_of({"x": {"fp2": [90.0, 90.0]}})]
    _, _, *lines = cells_of(against_the_best(rows, "all", ["own", "family"]))
    assert [line[:5] for line in lines] == [
        ["fn20", "b", "71.00", "71.00", "0.00"],
        ["fp2", "a", "64.00", "61.00", "-3.00"],
    ]
    assert lines[1][5:] == ["-15.71 to 9.71", "seeds", "2"]
    one = [row for row in rows if row["seed"] == 0]
    assert cells_of(against_the_best(one, "all", ["own", "family"]))[2][5:] == ["-", "-", "1"]


def test_the_interval_covers_test_rows_where_cells_were_resampled():
    rows = rows_of({"own": {"c": [1.0, 3.0]}, "a": {"c": [0.0, 1.0]}})
    for row in rows:
        own = row["method"] == "own"
        row["resamples"] = {"all": [4.0, 6.0, None] if own else [4.0, 3.0, 2.0]}
    *_, line = cells_of(against_the_best(rows, "all", ["own"]))
    # gaps 1 and 2: variance of their mean 0.25; means on resamples 0 and 3: variance 4.5
    freedom = (0.25 + 4.5) ** 2 / (0.25**2 + 4.5**2)
    half = student.ppf(0.975, freedom) * (0.25 + 4.5) ** 0.5
    assert line[4:] == ["1.50", f"{1.5 - half:.2f} to {1.5 + half:.2f}", "seeds, test rows", "2"]
    *_, line = cells_of(against_the_best(rows[::2], "all", ["own"]))  # one seed
    assert line[6:] == ["test rows", "1"]
    del rows[0]["resamples"]
    *_, line = cells_of(against_the_best(rows, "all", ["own"]))
    assert line[5:] == ["-4.85 to 7.85", "seeds", "2"]


def test_pairs_are_cells_of_the_same_seed():
    rows = rows_of({"own": {"c": [1.0, 2.0, 3.0]}, "a": {"c": [0.0, 1.0, 9.0]}})
    rows = [row for row in rows if (row["method"], row["seed"]) != ("a", 2)][::-1]
    *_, line = cells_of(against_the_best(rows, "all", ["own"]))
    assert line[4:] == ["1.00", "-", "-", "2"]


@given(st.lists(st.floats(-50, 50).map(lambda x: round(x, 3)), min_size=3, max_size=8))
def test_zero_is_inside_exactly_when_a_paired_test_does_not_reject(gaps):
    found = np.array(gaps)
    if found.std() < 1e-6:
        return
    low, high = paired_interval(found)
    rejected = ttest_rel(found, np.zeros(len(found))).pvalue < 0.05
    assert rejected == (not low <= 0 <= high)


def test_nothing_to_compare():
    assert against_the_best(rows_of({"own": VALUES["own"]}), "all", ["own"]) == ""
    assert against_the_best(rows_of(VALUES), "listed", ["own"]) == ""
    assert ranking(rows_of(VALUES), "listed") == ""
    assert ranking(rows_of({"own": VALUES["own"]}), "all") == ""  # it would have won everything


def test_proportions_come_first_and_ascending():
    cells = grid(["a"], [1.0, 0.1], [0], {"fn20": 1.0, "few": 0.1})
    assert cells[2:] == [Cell("a", 1.0, 0, "fn20"), Cell("a", 0.1, 0, "few")]
    assert [cell.name for cell in cells] == ["a-1-0", "a-0.1-0", "a-fn20-0", "a-few-0"]
    rows = [{"proportion": cell.proportion, "condition": cell.column} for cell in cells]
    assert conditions_of(rows) == ["10 %", "100 %", "fn20", "few"]


def test_the_table_for_latex():
    text = latex(
        rows_of({"a_b": {"fn20": [1.0, 3.0]}, "c": {"fn20": [5.0, 5.0], "x&y": [1.0]}}), "all"
    )
    assert r"a\_b & 2.0 $\pm$ 1.4 & -- \\" in text
    assert r"c & \textbf{5.0 $\pm$ 0.0} & \textbf{1.0} \\" in text
    assert r"method & fn20 & x\&y \\" in text
    assert text.startswith("\\begin{tabular}{lcc}\n\\toprule\n")
    assert text.endswith("\\bottomrule\n\\end{tabular}\n")


@pytest.mark.parametrize("mixed", [False, True])
def test_a_plot_of_conditions_names_them(tmp_path, mixed):
    rows = rows_of(VALUES)
    if mixed:
        rows += [{"method": "own", "proportion": 0.1, "condition": "10 %", "seed": 0, "all": 5.0}]
    plot(rows, "all", tmp_path / "plot.svg", title="a title", metric_title="mAP, %")
    text = (tmp_path / "plot.svg").read_text()
    assert "fp2" in text
    assert ("<!-- 10 % -->" in text) == mixed
    assert "<!-- known labels, % -->" not in text
    assert "| 10 %" in markdown(rows, "all") or not mixed
