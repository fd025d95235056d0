"""The cells of a sweep: which are run, how they fail, what is kept of them."""

import csv

import pytest

from pumlc.errors import UserError
from pumlc.sweep.cells import Cell, FailedCells, grid, run_cells

CELLS = grid(["a", "b"], [0.1, 1.0], [0, 1])


def settings(cell):
    return {"method": cell.method}


def fake_rows(cell):
    return [
        {"learning_rate": rate, "epochs": 1, "validation": rate * sign, "all": 10.0 * cell.seed}
        for rate in (0.1, 0.2)
        for sign in ((1 if cell.proportion < 1 else -1),)
    ]


def test_a_whole_table_of_a_seed_comes_first():
    assert len(set(CELLS)) == 8
    assert [cell.seed for cell in CELLS] == [0] * 4 + [1] * 4


def test_runs_only_what_is_missing(tmp_path):
    ran = []

    def run(cell):
        ran.append(cell)
        if len(ran) == 4:
            raise KeyboardInterrupt
        return fake_rows(cell)

    with pytest.raises(KeyboardInterrupt):
        run_cells(CELLS, tmp_path, settings, run)
    finished = {path.stem for path in (tmp_path / "cells").glob("*.json")}
    assert CELLS[3].name not in finished
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 1 + 3 * 2
    rows = run_cells(CELLS, tmp_path, settings, run)
    assert sorted(c.name for c in ran) == sorted([c.name for c in CELLS] + [CELLS[3].name])
    assert len(rows) == 16
    assert rows == run_cells(CELLS, tmp_path, settings, lambda cell: pytest.fail("ran again"))


def test_refuses_cells_of_other_settings(tmp_path):
    run_cells(CELLS[:1], tmp_path, settings, fake_rows)
    with pytest.raises(ValueError, match="other settings"):
        run_cells(CELLS[:1], tmp_path, lambda cell: {"method": "changed"}, fake_rows)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_cell_stops_no_other(tmp_path, capsys, workers):
    def run(cell):
        if cell.method == "b" and cell.seed == 0:
            raise (UserError if cell.proportion < 1 else OSError)("a bad number")
        return fake_rows(cell)

    with pytest.raises(FailedCells, match="2 of 8 cells failed:\n  b-0.1-0: a bad number") as info:
        run_cells(CELLS, tmp_path, settings, run, workers=workers)
    output = capsys.readouterr()
    assert "b-1-0 failed: a bad number: " in output.out
    assert output.err == ""
    assert list(info.value.reasons) == ["b-0.1-0", "b-1-0"]
    with (tmp_path / "results.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == len(info.value.rows) == 12
    assert len(run_cells(CELLS, tmp_path, settings, fake_rows)) == 16


@pytest.mark.parametrize("workers", [1, 2])
def test_the_traceback_of_a_fault_is_shown(tmp_path, capsys, workers):
    def run(cell):
        if cell.method == "b" and cell.seed == 0:
            return {}["oops"]
        return fake_rows(cell)

    with pytest.raises(FailedCells, match=r"b-0.1-0: KeyError: 'oops' \(its traceback is shown"):
        run_cells(CELLS, tmp_path, settings, run, workers=workers)
    error = capsys.readouterr().err
    assert error.count("Traceback") == 2
    assert 'return {}["oops"]' in error
    assert len(run_cells(CELLS, tmp_path, settings, fake_rows)) == 16


@pytest.mark.parametrize(
    "content", ["{}", '{"settings": 1}', "[]", '{"settings": {"method": "a"}, "rows": [{"l', "\0"]
)
def test_refuses_a_damaged_cell(tmp_path, content):
    run_cells(CELLS[:1], tmp_path, settings, fake_rows)
    file = tmp_path / "cells" / f"{CELLS[0].name}.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=f"{file.name} is damaged.*delete it"):
        run_cells(CELLS[:1], tmp_path, settings, fake_rows)


def test_name_of_a_cell():
    assert Cell("a", 1.0, 3).name == "a-1-3"
