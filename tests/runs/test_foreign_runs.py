"""Run folders of someone else, of every kind: nothing in them is executed or followed."""

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from all_kinds import KINDS, call
from safetensors.torch import load_file, save_file

import pumlc
from pumlc.errors import UserError

pytest_plugins = ["finished_runs"]
pytestmark = pytest.mark.filterwarnings("ignore")
WRITING = ("resume", "evaluate", "audit", "index")  # what writes into a run folder


def apply(command: str, run: Path, source: Path) -> None:
    """Load a run, or give it to a command."""
    if command == "load":
        pumlc.load(run, device="cpu")
    elif command == "resume":
        call("train", "--out", run, "--resume")
    elif command == "index":
        call("predict", run, source, "--out", run.parent / "predictions.csv", "--index", "ivf")
    else:
        call(command, run)


@pytest.fixture
def source(run, squares_coco, tmp_path, monkeypatch) -> Path:
    """What a run of this kind predicts."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # the checksums of indexes are there
    texts = tmp_path / "texts.txt"
    texts.write_text("red car runs\n")
    is_text = json.loads((run / "run.json").read_text())["config"]["task"] == "text"
    return texts if is_text else squares_coco / "val" / "0.png"


def taken(command: str, run: Path, source: Path) -> bool:
    """Whether a command takes a run of this kind, or this folder."""
    with suppress(UserError):
        apply(command, run, source)
        return True
    return False


class Intruder:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def pickled(path: Path, trace: Path) -> list[bytes]:
    """Files with a pickle that could lie in a place: bare, and in the format of its ending."""
    content = io.BytesIO()
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            names = arrays.files
        objects: dict[str, Any] = {name: np.array([Intruder(trace)], object) for name in names}
        np.savez(content, **objects)
    elif path.suffix == ".npy":
        np.save(content, np.array([Intruder(trace)], object))
    else:
        torch.save({"a": Intruder(trace)}, content)
    return [pickle.dumps(Intruder(trace)), content.getvalue()]


def test_no_file_of_any_run_is_unpickled(run, source, tmp_path):
    trace = tmp_path / "executed"
    endings = (".safetensors", ".pt", ".npz", ".npy")
    files = [path for path in run.rglob("*") if path.suffix in endings]
    assert len(files) >= 2
    for path in files:
        whole = path.read_bytes()
        for content in pickled(path, trace):
            path.write_bytes(content)
            for command in ("load", "resume", "evaluate", "audit"):
                with suppress(UserError):
                    apply(command, run, source)
                assert not trace.exists(), f"{command}: {path.relative_to(run)}"
        path.write_bytes(whole)


def test_weights_in_a_pickle_beside_an_encoder_are_not_read(run, source, tmp_path):
    if not (run / "encoder").is_dir():
        pytest.skip("no encoder of transformers")
    for name in (
        "pytorch_model.bin",
        "model.safetensors",
        "adapter_model.bin",
        "training_args.bin",
    ):
        (run / "encoder" / name).write_bytes(pickled(Path(name), tmp_path / "executed")[1])
    for command in ("load", "resume", "evaluate", "audit"):
        apply(command, run, source)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("value", [{"class_path": "own_code.C", "init_args": {}}, "own_code.C"])
def test_the_settings_of_any_run_import_nothing(run, source, value, monkeypatch):
    (run / "own_code.py").write_text("raise SystemExit('imported')\nclass C: pass\n")
    monkeypatch.syspath_prepend(str(run))
    content = json.loads((run / "run.json").read_text())
    groups = [name for name, group in content["config"].items() if isinstance(group, dict)]
    for group in [*groups, "data.noise", "heads", "task"]:
        changed = content | {"config": content["config"] | {group: value}}
        (run / "run.json").write_text(json.dumps(changed))
        for command in ("load", "resume"):
            with pytest.raises(UserError, match=r"run\.json|task"):
                apply(command, run, source)
        assert "own_code" not in sys.modules, group


def test_loading_any_run_starts_no_program_and_asks_no_network(finished):
    code = f"""
import sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "os.system", "os.exec"):
        raise SystemExit(f"{{event}} {{arguments}}")
sys.addaudithook(refuse)
import pumlc
for run in {[str(finished(kind)) for kind in KINDS]}:
    pumlc.load(run, device="cpu")
"""
    online = {name: value for name, value in os.environ.items() if "OFFLINE" not in name}
    online.pop("NO_ALBUMENTATIONS_UPDATE", None)
    done = subprocess.run([sys.executable, "-c", code], env=online, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": None},
        {"score": float("nan")},
        {"score": 10**400},
        {"standard_errors": {"best": 10**400}},
        {"extras": 1},
        {"extras": {"thresholds": 1, "decisions": 1}},
        {"extras": {"thresholds": {"global": "0.5"}, "decisions": {"slope": "1"}}},
        {"extras": {"thresholds": {}, "decisions": {"slope": 1e999, "bias": 0, "threshold": 0.5}}},
        {"extras": {"thresholds": {}, "decisions": {"slope": 1, "bias": 10**400, "threshold": 0}}},
    ],
)
def test_an_index_that_does_not_fit_is_refused(run, change):
    file = run / "weights" / "index.json"
    index = json.loads(file.read_text())
    file.write_text(json.dumps({name: entry | change for name, entry in index.items()}))
    with pytest.raises(UserError, match=r"index\.json"):
        pumlc.load(run, device="cpu")


def contents(folder: Path) -> dict[Path, bytes]:
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def untouched(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """What a write changes, even of the same bytes."""
    return {
        path: (content, (folder / path).stat().st_mtime_ns)
        for path, content in contents(folder).items()
    }


@pytest.mark.parametrize("command", WRITING)
def test_links_to_files_are_never_written_through(run, source, command, tmp_path):
    """Every file of a run, and of what a command adds to it, may be a link to a file elsewhere."""
    before = contents(run)
    takes_this_kind = taken(command, run, source)
    before = contents(run) | before
    shutil.rmtree(run)
    for place, content in before.items():
        victim = tmp_path / "victims" / place
        for path in (victim, run / place):
            path.parent.mkdir(parents=True, exist_ok=True)
        victim.write_bytes(content)
        (run / place).symlink_to(victim)
        (run / f"{place}.tmp").symlink_to(victim)
    victims = untouched(tmp_path / "victims")
    assert taken(command, run, source) == takes_this_kind
    assert untouched(tmp_path / "victims") == victims


@pytest.mark.parametrize("command", WRITING)
def test_links_to_folders_are_never_written_through(run, source, command, tmp_path):
    if command == "resume":  # which writes everything anew from here
        shutil.rmtree(run / "checkpoint", ignore_errors=True)
    for folder in [path for path in run.iterdir() if path.is_dir()]:
        outside = tmp_path / "outside" / folder.name
        shutil.move(folder, outside)
        folder.symlink_to(outside)
    outside = untouched(tmp_path / "outside")
    assert outside
    taken(command, run, source)
    assert untouched(tmp_path / "outside") == outside


def test_any_damaged_file_of_a_run_is_one_line_or_plays_no_part(run, source, tmp_path):
    """Each file in turn is no text and no archive; another exception would be a fault."""
    whole = shutil.copytree(run, tmp_path / "whole")
    for path in [path for path in run.rglob("*") if path.is_file()]:
        path.write_bytes(b"\xff\0{")
        for command in ("load", "resume", "evaluate"):
            taken(command, run, source)
        shutil.rmtree(run)
        shutil.copytree(whole, run)


@pytest.mark.parametrize("change", [torch.complex64, torch.int8, float("nan")])
def test_weights_that_are_none_are_refused(run, change):
    for file in (run / "weights").glob("*.safetensors"):
        # copies: the tensors may be mapped from the file that is written below
        state = {name: value.clone() for name, value in load_file(file).items()}
        name = next(n for n, value in sorted(state.items()) if value.is_floating_point())
        value = state[name]
        state[name] = value.to(change) if isinstance(change, torch.dtype) else value * change
        save_file(state, file)
    with pytest.raises(UserError, match=r"\.safetensors: [\w.]+ (is of type|has numbers)"):
        pumlc.load(run, device="cpu")
