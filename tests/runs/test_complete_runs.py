"""Runs of every kind after a kill or a power cut: complete, or taken up again."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from all_kinds import KINDS, call
from safetensors import safe_open

import pumlc

pytest_plugins = ["finished_runs"]
pytestmark = pytest.mark.filterwarnings("ignore")


class Disk:
    """What has reached the disk: the last size of each file and folder when it was flushed."""

    def __init__(self, monkeypatch) -> None:
        self.events: list[tuple[str, int, int]] = []
        self._flush, self._rename, self._remove = os.fsync, os.replace, shutil.rmtree
        monkeypatch.setattr(os, "fsync", self.flush)
        monkeypatch.setattr(os, "replace", self.rename)
        monkeypatch.setattr(shutil, "rmtree", self.remove)

    def flush(self, descriptor: int) -> None:
        self._flush(descriptor)
        about = os.fstat(descriptor)
        self.events.append(("flush", about.st_ino, about.st_size))

    def rename(self, source, target) -> None:
        self._rename(source, target)
        self.events.append(("rename", Path(target).parent.stat().st_ino, 0))

    def remove(self, path, *arguments, **options) -> None:
        if Path(path).exists():
            self.events.append(("remove", Path(path).parent.stat().st_ino, 0))
        self._remove(path, *arguments, **options)

    def has(self, path: Path) -> bool:
        about = path.stat()
        return ("flush", about.st_ino, about.st_size) in self.events

    def last(self, what: str, folder: Path) -> int:
        inode = folder.stat().st_ino
        found = [n for n, event in enumerate(self.events) if event[:2] == (what, inode)]
        return max(found, default=-1)


@pytest.mark.parametrize("kind", KINDS)
def test_all_of_a_run_is_flushed_to_the_disk(kind, arguments, tmp_path, monkeypatch):
    """Each file with its last byte, and each folder after the last name in it."""
    disk, run = Disk(monkeypatch), tmp_path / "run"
    call("train", *arguments(kind), "--out", run)
    files = [path for path in run.rglob("*") if path.is_file() and path.name != ".lock"]
    assert len(files) > 5
    assert [str(path.relative_to(run)) for path in files if not disk.has(path)] == []
    folders = [run, *(path for path in run.rglob("*") if path.is_dir())]
    for folder in folders:
        assert disk.last("flush", folder) > disk.last("rename", folder), folder.relative_to(run)


@pytest.mark.parametrize("kind", ["pictures", "texts"])
def test_a_checkpoint_is_on_the_disk_before_the_old_one_goes(kind, finished, tmp_path, monkeypatch):
    run = shutil.copytree(finished(kind), tmp_path / "run")
    disk = Disk(monkeypatch)
    call("train", "--out", run, "--resume", "--train.epochs", "2")
    inode = run.stat().st_ino
    order = [event for event, folder, _ in disk.events if folder == inode]
    assert "remove" in order
    for place, event in enumerate(order):
        if event == "remove":  # the folder of the new one has its name, and that is flushed
            assert order[place - 1] == "flush"
    for path in (run / "checkpoint").iterdir():
        assert disk.has(path), path.name


def test_an_index_of_other_weights_is_not_used(run, squares_csv):
    """As a kill between the weights and index.json leaves it, in runs of every kind."""
    file = run / "weights" / "index.json"
    index = json.loads(file.read_text())
    for name, entry in index.items():
        with safe_open(run / "weights" / f"{name}.safetensors", "np") as weights:
            assert json.loads(weights.metadata()["pumlc"]) == entry
    before = what_decides(run)
    for entry in index.values():
        entry["checksum"] = "0" * 64
        extras = entry["extras"]
        if "thresholds" in extras:
            extras["thresholds"]["per_class"] = [0.123] * len(extras["thresholds"]["per_class"])
        if "decisions" in extras:
            extras["decisions"]["threshold"] = 0.123
    file.write_text(json.dumps(index))
    np.testing.assert_array_equal(what_decides(run), before)


def what_decides(run: Path) -> np.ndarray:
    """The thresholds that a prediction uses."""
    predictor = pumlc.load(run, device="cpu")
    decisions = getattr(predictor, "decisions", None)
    return np.array(predictor.thresholds if decisions is None else decisions.threshold)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_has_saved_nothing_is_replaced(kind, arguments, finished, tmp_path):
    run = shutil.copytree(finished(kind), tmp_path / "run")
    shutil.rmtree(run / "weights")
    shutil.rmtree(run / "checkpoint", ignore_errors=True)
    call("train", *arguments(kind), "--out", run)
    assert (run / "weights" / "last.safetensors").is_file()


@pytest.mark.parametrize("kind", ["heads of pictures", "heads of texts"])
def test_figures_are_written_if_nobody_reads_them(kind, finished, tmp_path, monkeypatch):
    """``pumlc evaluate RUN | head -1`` measures as much as ``pumlc evaluate RUN``."""

    def unread(*_, **__):
        raise BrokenPipeError

    run = shutil.copytree(finished(kind), tmp_path / "run")
    monkeypatch.setattr("pumlc.cli.console.print_result", unread)
    with pytest.raises(BrokenPipeError):
        call("evaluate", run)
    assert json.loads((run / "metrics.json").read_text())["N"] > 0


def test_a_report_finds_a_label_file_that_has_moved(finished, squares_csv, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "report.html"
    moved = ("--data.labels", str(squares_csv), "--data.root", str(squares_csv.parent))
    call("report", finished("heads of pictures"), "--out", page, *moved)
    assert "Average precision" in page.read_text() or "mAP" in page.read_text()
