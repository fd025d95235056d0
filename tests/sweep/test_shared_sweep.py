"""Cells of one folder taken by several processes: none is run twice, and each has all results."""

import subprocess
import sys
from pathlib import Path

import filelock
import pytest
import shared_cells

from pumlc.errors import UserError
from pumlc.sweep.cells import FailedCells, finished_cells, grid, run_cells
from pumlc.sweep.launch import launch

WORKER = Path(__file__).with_name("shared_cells.py")
CELLS = grid(["a"], [1.0], [0, 1, 2])


def settings(cell):
    return {"method": cell.method}


def rows_of(cell):
    return [{"validation": 1.0, "all": float(cell.seed)}]


def test_two_processes_share_the_cells_of_a_folder(tmp_path):
    workers = [
        subprocess.Popen([sys.executable, WORKER, tmp_path, name], stderr=subprocess.PIPE)
        for name in ("first", "second")
    ]
    for worker in workers:
        _, error = worker.communicate()
        assert worker.returncode == 0, error.decode()
    ran = [line.split() for line in (tmp_path / "ran.txt").read_text().splitlines()]
    assert sorted(name for _, name in ran) == sorted(cell.name for cell in shared_cells.CELLS)
    assert {who for who, _ in ran} == {"first", "second"}
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 1 + len(ran)


def test_a_cell_that_another_process_runs_is_left_or_waited_for(tmp_path, capsys):
    (tmp_path / "locks").mkdir()
    lock = filelock.FileLock(tmp_path / "locks" / f"{CELLS[0].name}.lock")
    with lock:
        rows = run_cells(CELLS, tmp_path, settings, rows_of, wait=False)
    assert [row["seed"] for row in rows] == [1, 2]
    assert list(finished_cells(CELLS, tmp_path, settings)) == CELLS[1:]
    lock.acquire()
    ran = []

    def run(cell):
        ran.append(cell)
        return rows_of(cell)

    def end_of_the_other_process(text):
        if "waiting for 1 cells" in text:  # it was killed: the lock ends, there is no result
            lock.release()

    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lambda text, **_: end_of_the_other_process(text))
        rows = run_cells(CELLS, tmp_path, settings, run)
    assert ran == CELLS[:1]
    assert [row["seed"] for row in rows] == [0, 1, 2]


def test_a_cell_that_was_finished_meanwhile_is_not_run(tmp_path):
    def run(cell):
        if cell == CELLS[0]:  # as another process would, while this one runs its first cell
            run_cells(CELLS[1:], tmp_path, settings, rows_of)
            return rows_of(cell)
        return pytest.fail("ran again")

    assert len(run_cells(CELLS, tmp_path, settings, run)) == 3


def test_jobs_of_joblib(tmp_path):
    options = {"name": "joblib", "jobs": 3, "folder": tmp_path}
    assert launch(max, (4, 2), settings={"backend": "threading"}, **options) == [4, 4, 4]
    with pytest.raises(UserError, match="launcher.settings .*: joblib refuses them"):
        launch(max, (4, 2), settings={"backend": "threding"}, **options)


def test_jobs_of_submitit(tmp_path):
    pytest.importorskip("submitit")
    options = {"name": "submitit", "jobs": 2, "settings": {"cluster": "local", "timeout_min": 5}}
    assert launch(max, (4, 2), folder=tmp_path, **options) == [4, 4]
    with pytest.raises(UserError, match="(?s)launcher submitit: job .*ZeroDivision"):
        launch(divmod, (4, 0), folder=tmp_path, **options)


def test_a_launcher_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match="launcher.name submitit: not installed; pip install"):
        launch(max, (4, 2), name="submitit", jobs=1, settings={}, folder=tmp_path)


def test_a_failed_cell_is_not_finished(tmp_path):
    with pytest.raises(FailedCells):
        run_cells(CELLS[:1], tmp_path, settings, lambda cell: {}["oops"], wait=False)
    assert finished_cells(CELLS, tmp_path, settings) == {}
