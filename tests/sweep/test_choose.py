"""The choice by validation, and the tables and the plot of what was chosen."""

import itertools
import math

import pytest

from pumlc.sweep import choose as choice
from pumlc.sweep.choose import Candidate, family_rows
from pumlc.sweep.plot import plot
from pumlc.sweep.tables import chosen_settings, markdown, summary

RATE = Candidate("learning_rate", "learning rate", "lowest rate", "highest rate")
EPOCHS = Candidate("epochs", "epochs", "fewest epochs", "most epochs", floor=1)
BOTH = (RATE, EPOCHS)


def choose(rows, within=("method",), by="validation"):
    return choice.choose(rows, within, by, BOTH)


def stopped_early(rows, by="validation"):
    return choice.stopped_early(rows, by, BOTH, EPOCHS)


def settings_table(rows, by="validation"):
    return chosen_settings(rows, by, BOTH, title="validation mAP")


def test_chooses_by_validation_within_the_group():
    rows = [
        {
            "method": method,
            "proportion": proportion,
            "seed": seed,
            "learning_rate": rate,
            "epochs": 1,
            "validation": rate if proportion < 1 else -rate,
            "all": 10.0 * seed,
        }
        for method, proportion, seed, rate in itertools.product(
            "ab", (0.1, 1.0), (0, 1), (0.1, 0.2)
        )
    ]
    chosen = choose(rows, ["method", "proportion"])
    assert {(row["proportion"], row["learning_rate"]) for row in chosen} == {(0.1, 0.2), (1.0, 0.1)}
    assert len(choose(rows, ["method"])) == 8
    blind = [{**row, "all": None if row["learning_rate"] == 0.2 else 99.0} for row in rows]
    again = choose(blind, ["method", "proportion"])
    assert [r["learning_rate"] for r in again] == [r["learning_rate"] for r in chosen]


def test_a_candidate_that_lacks_a_cell_is_not_compared():
    def row(method, proportion, validation):
        row = {"method": method, "proportion": proportion, "learning_rate": 0.1, "epochs": 1}
        return {**row, "validation": validation, "all": 0.0}

    rows = [row("a", 0.1, 40.0), row("a", 1.0, 80.0), row("b", 1.0, 70.0)]
    chosen = choose(family_rows(rows, {"f": ["a", "b"]}), ["method"])
    assert [r["member"] for r in chosen] == ["a", "a"]


def test_chooses_by_the_validation_that_is_named():
    rows = [
        {"method": "a", "learning_rate": rate, "epochs": 1, "validation": v, "validation_listed": w}
        for rate, v, w in ((0.1, 5.0, 1.0), (0.2, 3.0, 2.0))
    ]
    assert choose(rows, ["method"])[0]["learning_rate"] == 0.1
    assert choose(rows, ["method"], "validation_listed")[0]["learning_rate"] == 0.2
    assert " 2.00 " in settings_table(rows[1:], "validation_listed")


@pytest.mark.parametrize(
    ("rate", "epochs", "edge"),
    [
        (0.1, 4, "lowest rate"),
        (0.4, 8, "highest rate, most epochs"),
        (0.2, 2, "fewest epochs"),
        (0.2, 4, ""),
    ],
)
def test_a_choice_at_the_edge_of_the_candidates_is_said_to_be_one(rate, epochs, edge):
    rows = [
        {"method": "a", "learning_rate": r, "epochs": e, "validation": (r, e) == (rate, epochs)}
        for r in (0.1, 0.2, 0.4)
        for e in (2, 4, 8)
    ]
    *_, line = settings_table(rows).splitlines()
    assert line.split("|")[-2].strip() == edge


def test_a_run_stops_where_its_own_validation_is_best():
    best = {(0.1, 0): 2, (0.1, 1): 8, (0.2, 0): 4, (0.2, 1): 4}  # rate, seed -> epochs
    rows = [
        {
            "method": "a",
            "proportion": 0.5,
            "seed": seed,
            "learning_rate": rate,
            "epochs": epochs,
            "validation": 10 * rate + (epochs == stop),
            "all": float(epochs),
        }
        for (rate, seed), stop in best.items()
        for epochs in (2, 4, 8)
    ]
    stopped = stopped_early(rows)
    assert {(r["learning_rate"], r["seed"]): r["stopped_after"] for r in stopped} == best
    chosen = choose(stopped, ["method"])
    assert [(r["learning_rate"], r["all"]) for r in chosen] == [(0.2, 4.0), (0.2, 4.0)]
    assert "| 0.2           | 4      | 3.00           | highest rate |" in settings_table(stopped)
    equal = [{**row, "validation": 1.0} for row in reversed(rows)]
    assert {r["stopped_after"] for r in stopped_early(equal)} == {2}
    blind = [{**row, "validation": None} for row in rows]
    assert len(stopped_early(blind)) == 4


def test_what_has_no_alternative_is_no_edge():
    rows = [
        {"method": "a", "learning_rate": 0.1, "epochs": e, "validation": -e, "all": 0.0}
        for e in (1, 2)
    ]
    *_, line = settings_table(rows).splitlines()
    assert line.split("|")[-2].strip() == ""


def test_a_candidate_without_validation_is_the_last_choice():
    rows = [
        {"method": "a", "learning_rate": rate, "epochs": 1, "validation": value, "all": 0.0}
        for rate, value in ((0.1, None), (0.2, 3.0))
    ]
    assert choose(rows, ["method"])[0]["learning_rate"] == 0.2
    assert "no known label" not in settings_table(rows)
    assert "no known label to choose by" in settings_table(rows[:1])


def test_of_a_family_validation_chooses_the_method():
    def row(method, proportion, validation, value):
        row = {"method": method, "proportion": proportion, "learning_rate": 0.1, "epochs": 1}
        return {**row, "validation": validation, "all": value}

    rows = [row("a", 0.1, 5.0, 1.0), row("a", 1.0, 5.0, 2.0), row("other", 0.1, 9.0, 9.0)]
    rows += [row("b", 0.1, 7.0, 3.0), row("b", 1.0, 2.0, 4.0)]
    family = family_rows(rows, {"f": ["a", "b"]})
    assert [r["member"] for r in family] == ["a", "a", "b", "b"]
    assert {r["method"] for r in family} == {"f"}
    each = choose(rows + family, ["method", "proportion"])
    assert [(r["member"], r["all"]) for r in each if r["method"] == "f"] == [("b", 3), ("a", 2)]
    one = choose(rows + family, ["method"])
    assert [(r["member"], r["all"]) for r in one if r["method"] == "f"] == [("a", 1), ("a", 2)]
    assert "| f: a  " in settings_table(rows + family)
    assert [r for r in one if "member" not in r] == choose(rows, ["method"])


def test_a_setting_that_older_rows_lack():
    decay = Candidate("weight_decay", "weight decay", "lowest decay", "highest decay")
    rows = [
        {"method": "a", "learning_rate": 0.1, "epochs": e, "validation": e, "all": 0.0, "seed": 0}
        for e in (4, 8)
    ]
    candidates = (RATE, decay, EPOCHS)
    assert choice.choose(rows, ["method"], "validation", candidates) == rows[1:]
    stopped = choice.stopped_early(rows, "validation", candidates, EPOCHS)
    *_, line = chosen_settings(stopped, "validation", candidates, title="mAP").splitlines()
    assert [cell.strip() for cell in line.split("|")[2:5]] == ["0.1", "-", "8"]


def test_summary_and_table():
    rows = [
        {"method": "a", "proportion": 0.1, "all": value, "seed": seed}
        for seed, value in enumerate((1.0, 3.0))
    ] + [{"method": "b", "proportion": 1.0, "all": 5.0, "seed": 0}]
    found = summary(rows, "all")
    assert found["a"]["10 %"] == (2.0, pytest.approx(math.sqrt(2)), 2)
    assert math.isnan(found["b"]["100 %"][1])
    lines = markdown(rows, "all").splitlines()
    assert lines[0].split("|")[1:4] == [" method ", " 10 %       ", " 100 % "]
    assert "2.0 +- 1.4" in lines[2]
    assert " - " in lines[3]
    assert " 5.0 " in lines[3]


def test_a_metric_that_some_rows_lack(tmp_path):
    rows = [
        {"method": "a", "proportion": 0.1, "all": 1.0},
        {"method": "b", "proportion": 0.1, "all": 1.0, "listed": 5.0},
        {"method": "b", "proportion": 1.0, "all": 1.0, "listed": None},
    ]
    assert summary(rows, "listed")["a"] == {}
    lines = markdown(rows, "listed").splitlines()
    assert [line.split("|")[2].strip() for line in lines[2:]] == ["-", "5.0"]
    plot(rows, "listed", tmp_path / "plot.svg", title="title", metric_title="P@1, %")
    assert {path.name for path in tmp_path.iterdir()} == {"plot.svg"}
