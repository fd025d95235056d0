"""Several sweeps in one table of a report, by the command."""

import csv

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from pumlc.cli.report import main
from pumlc.report import SweepFigures
from pumlc.report.joined_sweeps import join_sweeps


def sweep_of(name, scores):
    return SweepFigures(name=name, scores=scores)


@given(
    st.integers(1, 5),
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.integers(0, 1000),
)
def test_ranks_are_those_of_all_columns(num_methods, sizes, seed):
    random = np.random.RandomState(seed)
    tables = [random.randint(0, 4, (num_methods, size)).astype(float) for size in sizes]
    sweeps = [
        sweep_of(
            f"s{number}",
            {
                f"m{i}": {f"c{j}": {"0": table[i, j] - 1, "1": table[i, j] + 1} for j in columns}
                for i in range(num_methods)
            },
        )
        for number, table in enumerate(tables)
        for columns in [range(table.shape[1])]
    ]
    joined = join_sweeps(sweeps)
    ranks = [rankdata(-table, axis=0) for table in tables]
    won = [table == table.max(axis=0) for table in tables]
    assert joined.num_columns == sum(sizes)
    for method, cells in joined.rows:
        i = int(method[1:])
        expected = [
            np.hstack(ranks)[i].mean(),
            np.hstack(won)[i].sum(),
            np.hstack(tables)[i].mean(),
        ]
        for rank, wins in zip(ranks, won, strict=True):
            expected += [rank[i].mean(), wins[i].sum()]
        np.testing.assert_allclose([float(cell) for cell in cells], expected, atol=0.0051)
    found = [float(cells[0]) for _, cells in joined.rows]
    assert found == sorted(found)


def test_the_page_of_two_sweeps(tmp_path):
    values = {
        "voc": {"ours": {"fn20": 3, "fp2": 2}, "bce": {"fn20": 1, "fp2": 2}, "asl": {"fn20": 9}},
        "coco": {"ours": {"fn20": 5}, "bce": {"fn20": 6}},
    }
    for name, methods in values.items():
        (tmp_path / name).mkdir()
        with (tmp_path / name / "chosen.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["method", "condition", "seed", "mAP"])
            for method, conditions in methods.items():
                writer.writerows([method, *item[:1], 0, item[1]] for item in conditions.items())
    page = tmp_path / "report.html"
    main([str(tmp_path / "voc"), str(tmp_path / "coco"), "--out", str(page)])
    text = page.read_text()
    assert "All sweeps together" in text
    assert "columns won of 3" in text
    # ours: ranks 1, 1.5 and 2; won: fn20 of VOC, and fp2 together with bce
    row = '<th scope="row">ours</th><td>1.50</td><td>2</td><td>3.33</td><td>1.25</td><td>2</td>'
    assert row in text
    assert "Left out, since they lack a column: asl" in text
    main([str(tmp_path / "voc"), "--out", str(page)])
    assert "All sweeps together" not in page.read_text()
