"""What docs/security.md promises of folders, weights and labels that come from someone else.

The run of pictures is attacked here, that of texts in tests/text/test_foreign_files.py; weights of
backbones in tests/vision/test_weights.py, pictures in tests/vision/test_transforms.py.
"""

import csv
import io
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import pumlc
from pumlc.errors import UserError
from pumlc.files import complete_file, spreadsheet_cell, write_csv
from pumlc.tables import printable
from pumlc.vision.frozen.cache import cached_matrix
from pumlc.vision.frozen.probe import ProbeData

NAMES = (
    "x\ntouch mark\n",
    "=cmd|' /C calc'!A1",
    "\x1b]0;owned\x07\x1b[31mred",
    "@SUM(1+1)",
    "-2+3",
    "\u202eabc",
    'a,b"c',
)


class Intruder:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.fixture
def trace(tmp_path):
    """Where an `Intruder` leaves its trace."""
    return tmp_path / "executed"


def evil(form, trace):
    """The bytes of a file of a format, which holds a pickle."""
    content = io.BytesIO()
    if form == "torch":
        torch.save({"a": Intruder(trace)}, content)
    elif form == "npz":
        names = ("header", "shape", "mask_hash", "changed", "positive", "train", "validation")
        objects: dict[str, Any] = {name: np.array([Intruder(trace)], object) for name in names}
        np.savez(content, **objects)
    elif form == "npy":
        np.save(content, np.array([[Intruder(trace)] * 2] * 5, object))
    else:
        content.write(pickle.dumps(Intruder(trace)))
    return content.getvalue()


@pytest.fixture(scope="module")
def hostile_data(tmp_path_factory):
    """A COCO set with class names that hold formulas, terminal commands and line breaks."""
    root = tmp_path_factory.mktemp("hostile")
    (root / "annotations").mkdir()
    random = np.random.RandomState(0)
    for split in ("train", "val"):
        (root / split).mkdir()
        for n in range(16):
            picture = Image.fromarray(random.randint(0, 255, (32, 32, 3), np.uint8))
            picture.save(root / split / f"{n}.png")
        annotations = [
            {"image_id": n, "category_id": k}
            for n in range(16)
            for k in range(len(NAMES))
            if (n + k) % 3 == 0
        ]
        content = {
            "images": [{"id": n, "file_name": f"{n}.png"} for n in range(16)],
            "annotations": annotations,
            "categories": [{"id": k, "name": name} for k, name in enumerate(NAMES)],
        }
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="module")
def finished(hostile_data, tool):
    out = hostile_data / "run"
    arguments = ["--data.name", "coco", "--data.root", str(hostile_data), "--out", str(out)]
    arguments += ["--data.image_size", "32", "--model.backbone", "test_resnet"]
    arguments += ["--train.batch_size", "8", "--train.learning_rate", "1e-3", "--train.epochs", "1"]
    arguments += ["--loss.name", "bce", "--loss.parameters.unknown", "ignore"]
    tool("train").main(arguments)
    return out


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def edit(run, **changes):
    """Change run.json; ``data__root`` is a setting of the group data."""
    content = json.loads((run / "run.json").read_text())
    for name, value in changes.items():
        group, _, setting = name.partition("__")
        if setting:
            content["config"][group][setting] = value
        else:
            content[name] = value
    (run / "run.json").write_text(json.dumps(content))


# nothing is executed


@pytest.mark.parametrize(
    ("file", "form", "command"),
    [
        ("weights/last.safetensors", "pickle", "load"),
        ("weights/last.safetensors", "torch", "load"),
        ("checkpoint/state.pt", "torch", "resume"),
        ("checkpoint/state.pt", "pickle", "resume"),
        ("checkpoint/model.safetensors", "torch", "resume"),
        ("label_manifest.npz", "npz", "audit"),
        ("label_manifest.npz", "pickle", "audit"),
        ("pictures.npz", "npz", "evaluate"),
        ("pictures.npz", "pickle", "evaluate"),
    ],
)
def test_no_file_of_a_run_folder_is_unpickled(run, tool, trace, file, form, command):
    (run / file).write_bytes(evil(form, trace))
    calls = {
        "load": lambda: pumlc.load(run, device="cpu"),
        "resume": lambda: tool("train").main(["--out", str(run), "--resume"]),
        "audit": lambda: tool("audit").main([str(run)]),
        "evaluate": lambda: tool("evaluate").main([str(run)]),
    }
    with pytest.raises(UserError, match=Path(file).name):
        calls[command]()
    assert not trace.exists()


def test_no_cache_is_unpickled(tmp_path, trace):
    (tmp_path / "f-0.npy").write_bytes(evil("npy", trace))
    with pytest.raises(UserError, match=r"f-0\.npy"):
        cached_matrix(tmp_path, "f", 5, lambda: np.zeros((5, 2)))
    (tmp_path / "probe.pt").write_bytes(evil("torch", trace))
    with pytest.raises(pickle.UnpicklingError):
        ProbeData.load(tmp_path / "probe.pt")
    assert not trace.exists()


@pytest.mark.parametrize("group", ["data", "model", "loss", "train", "data.noise", "features"])
@pytest.mark.parametrize("value", [{"class_path": "own_code.C", "init_args": {}}, "own_code.C"])
def test_a_run_folder_imports_nothing_even_from_inside_of_it(run, group, value, monkeypatch):
    (run / "own_code.py").write_text("raise SystemExit('imported')\nclass C: pass\n")
    monkeypatch.chdir(run)
    monkeypatch.syspath_prepend(str(run))
    edit(run, config={**json.loads((run / "run.json").read_text())["config"], group: value})
    with pytest.raises(UserError, match=r"run\.json"):
        pumlc.load(".", device="cpu")
    assert "own_code" not in sys.modules


def test_a_loss_that_a_run_folder_names_is_not_imported(run, tool, monkeypatch):
    (run / "own_code.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(run))
    edit(run, loss__name="own_code:loss", loss__parameters={})
    pumlc.load(run, device="cpu")
    with pytest.raises(UserError, match="A run folder may not import code by itself"):
        tool("train").main(["--out", str(run), "--resume"])
    assert "own_code" not in sys.modules


# nothing is fetched, and no program is started


def test_loading_starts_no_program_and_asks_no_network(run):
    code = f"""
import sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "os.system", "os.exec"):
        raise SystemExit(f"{{event}} {{arguments}}")
sys.addaudithook(refuse)
import pumlc
pumlc.load({str(run)!r}, device="cpu")
"""
    online = {name: value for name, value in os.environ.items() if "OFFLINE" not in name}
    online.pop("NO_ALBUMENTATIONS_UPDATE", None)
    done = subprocess.run([sys.executable, "-c", code], env=online, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["hf-hub:someone/model", "local-dir:/tmp/model"])
def test_the_network_of_a_run_is_one_of_timms_own(run, name):
    edit(run, model__backbone=name)
    with pytest.raises(UserError, match=r"model\.backbone must be a name of timm's own list"):
        pumlc.load(run, device="cpu")


def test_a_network_that_is_none(run):
    edit(run, model__backbone="test_efficientjet")
    with pytest.raises(UserError, match=r"^run\.json: backbone: timm has no model 'test_efficien"):
        pumlc.load(run, device="cpu")


# nothing elsewhere is read or overwritten


def test_weights_outside_of_the_folder_are_not_read(run):
    shutil.copy(run / "weights" / "last.safetensors", run.parent / "outside.safetensors")
    index = json.loads((run / "weights" / "index.json").read_text())
    index = {"../../outside": {**index["last"], "score": 1e9}}
    (run / "weights" / "index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"no weights '\.\./\.\./outside'"):
        pumlc.load(run, device="cpu")


WRITTEN = {
    "evaluate": ["metrics.json"],
    "audit": ["audit.csv"],
    "resume": ["weights/index.json", "label_manifest.npz", "pictures.npz", "metrics.csv"],
}


@pytest.mark.parametrize("command", WRITTEN)
@pytest.mark.parametrize("suffix", ["", ".tmp"])
def test_links_in_a_run_folder_are_replaced_and_not_followed(run, tool, command, suffix):
    victim = run.parent / "victim"
    victim.write_text("precious\n")
    if command == "resume":
        shutil.rmtree(run / "checkpoint")
    for name in WRITTEN[command]:
        place = run / f"{name}{suffix}"
        if name != "weights/index.json" or suffix:  # a link there is read first
            place.unlink(missing_ok=True)
            place.symlink_to(victim)
    tool(command if command != "resume" else "train").main(
        ["--out", str(run), "--resume"] if command == "resume" else [str(run)]
    )
    assert victim.read_text() == "precious\n"
    assert all(not (run / name).is_symlink() for name in WRITTEN[command])


def test_a_temporary_file_cannot_be_foreseen_and_a_link_in_its_place_is_an_error(
    tmp_path, monkeypatch
):
    names = set()
    for _ in range(2):
        with complete_file(tmp_path / "a") as file:
            names |= {path.name for path in tmp_path.iterdir()} - {"a"}
            file.write("x")
    assert len(names) == 2
    monkeypatch.setattr("pumlc.files.secrets.token_hex", lambda size: "0" * 16)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / f".a.{'0' * 16}.tmp").symlink_to(victim)
    with pytest.raises(FileExistsError), complete_file(tmp_path / "a") as file:
        file.write("evil")
    assert victim.read_text() == "precious"


# names from files do nothing on a terminal or in a spreadsheet


@pytest.mark.parametrize(
    ("tool_name", "options"),
    [
        ("evaluate", ["--per-class"]),
        ("audit", []),
        ("predict", ["PICTURE", "--out", "p.csv"]),
        ("prepare", ["coco", "ROOT", "--per-class"]),
    ],
)
def test_class_names_on_screen_and_in_tables(
    run, hostile_data, tool, tool_name, options, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    places = {"PICTURE": str(hostile_data / "val" / "0.png"), "ROOT": str(hostile_data)}
    options = [places.get(option, option) for option in options]
    tool(tool_name).main([*([] if tool_name == "prepare" else [str(run)]), *options])
    shown = "".join(capsys.readouterr())
    assert not set("\x1b\x07\u202e") & set(shown)
    assert not any(line.startswith("touch") for line in shown.splitlines())
    file = {"audit": run / "audit.csv", "predict": tmp_path / "p.csv"}.get(tool_name)
    if file is not None:
        with file.open(newline="") as stream:
            cells = [cell for row in csv.reader(stream) for cell in row]
        assert "'=cmd|' /C calc'!A1" in cells
        assert not [cell for cell in cells if cell[:1] in ("=", "+", "@")]


def test_cells_and_names(tmp_path):
    assert [spreadsheet_cell(name) for name in ("=1", "+x", "-a", "@b", "-1.5", "a", 3)] == [
        "'=1", "'+x", "'-a", "'@b", "-1.5", "a", 3,
    ]  # fmt: skip
    assert printable("a\x1b[31m\nb\u202ec\udcff") == r"a\x1b[31m\nb\u202ec\udcff"
    write_csv(tmp_path / "a.csv", ["name"], [["\udcff=1"]])  # of a file name that is no UTF-8
    assert (tmp_path / "a.csv").read_text() == "name\n\\udcff=1\n"


# what a folder claims


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        '{"config": ' + "9" * 5000 + "}",
        '{"config": {"task": "vision"}, "classes": 1e999}',
        '{"config": {"task": "vision"}}',
        '{"config": {}}',
        "\0",
    ],
)
def test_an_invalid_run_json(run, content):
    (run / "run.json").write_text(content)
    with pytest.raises(UserError, match=r"run\.json"):
        pumlc.load(run, device="cpu")


@pytest.mark.parametrize("classes", [1e999, "abc", [], ["a", "a"], [1, 2], {"a": 1}, None])
def test_invalid_classes_of_a_run(run, classes):
    edit(run, classes=classes)
    with pytest.raises(UserError, match=r"run\.json: classes must be a list of different names"):
        pumlc.load(run, device="cpu")


def test_a_run_cannot_ask_for_all_memory(run):
    edit(run, data__image_size=200_000)
    with pytest.raises(UserError, match=r"data\.image_size must be .* between 1 and 10000"):
        pumlc.load(run, device="cpu")


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (3, "must map names to entries"),
        ({"epoch": None}, "has the epoch None"),
        ({"score": [1]}, "has the score"),
        ({"score": float("nan")}, "has the score nan"),
        ({"start_share": "x"}, "has the start_share"),
        ({"standard_errors": 1}, "has the standard_errors 1"),
        ({"standard_errors": {"best": "x"}}, "not finite numbers by name"),
        ({"extras": 1}, "has extras that are no mapping"),
        ({"extras": {"thresholds": 1}}, "must be a mapping of global and per_class"),
        (
            {"extras": {"thresholds": {"global": 0.5, "per_class": [0.5]}}},
            "1 thresholds for 7 classes",
        ),
        ({"extras": {"thresholds": {"global": 84.0, "per_class": [0.5] * 7}}}, "got 84.0"),
        ({"extras": {"thresholds": {"global": 0.5, "per_class": ["1"] * 7}}}, "got '1'"),
        (
            {"extras": {"thresholds": {"global": 0.5, "per_class": [0.5] * 7, "global_in": [7]}}},
            "global_in must list numbers of classes",
        ),
    ],
)
def test_an_invalid_index(run, entry, problem):
    file = run / "weights" / "index.json"
    index = json.loads(file.read_text())
    index["last"] = entry if entry == 3 else {**index["last"], **entry}
    file.write_text(json.dumps(index))
    with pytest.raises(UserError, match=rf"index\.json.*{re.escape(problem)}"):
        pumlc.load(run, device="cpu")


@pytest.mark.parametrize("change", [torch.complex64, torch.int8, torch.bool, float("nan")])
def test_invalid_weights(run, change):
    file = run / "weights" / "last.safetensors"
    state = load_file(file)
    bias = state["head.bias"]
    state["head.bias"] = bias.to(change) if isinstance(change, torch.dtype) else bias * change
    save_file(state, file)
    with pytest.raises(UserError, match=r"last\.safetensors: head\.bias (is of type|has numbers)"):
        pumlc.load(run, device="cpu")
