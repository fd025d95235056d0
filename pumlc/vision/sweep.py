"""What a sweep over image methods is made of: its settings and its two kinds of cells.

OUT/probe_data.pt                       what the processes of the feature mode read
OUT/runs/METHOD-PROPORTION-SEED         run folder of a finished cell that was fine-tuned
OUT/runs/METHOD-PROPORTION-SEED.HEX     of one that runs now, failed or was killed; never read again
"""

import copy
import dataclasses
import hashlib
import math
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml

from pumlc.engine.config import closest, parse, plain, require
from pumlc.engine.process import in_a_process
from pumlc.engine.run import RunFolder, read_json
from pumlc.engine.sweep import Cell, Row
from pumlc.vision.config import DataConfig, LossConfig, ModelConfig, VisionConfig
from pumlc.vision.evaluation import refuse_one_sided
from pumlc.vision.features import SplitFeatures, frozen_features
from pumlc.vision.probe import Method, ProbeConfig, ProbeData, probe_cell, probe_data
from pumlc.vision.task import try_loss
from pumlc.vision.training_data import read_split, training_data

Settings = Callable[[Cell], Any]
Run = Callable[[Cell], list[Row]]

# what the sweep or the extraction of features itself decides about data and model
_SWEPT = (
    "known",
    "protocol",
    "known_per_class",
    "positive_list",
    "false_negative",
    "false_positive",
    "label_seed",
)
_UNUSED_DATA = (*_SWEPT, "validation", "augmentation")
_USED_MODEL = ("backbone", "weights")
# the options of tools/train.py that a cell of the fine-tuning mode is made of
_CELL_OPTIONS = ("--config", "--out", "--resume", "--data", "--loss", "--train")
_CELL_SETTINGS = ("--data.known", "--data.label_seed", "--data.validation", "--train.seed")


@dataclass(kw_only=True)
class FeatureMode:
    """Linear heads on features that are extracted once; one process per cell."""

    data: DataConfig
    """the data set"""
    model: ModelConfig
    """backbone and weights"""
    probe: ProbeConfig
    """how the heads are trained"""
    cache: str = "features"
    """folder of the extracted features"""
    workers: int = 0
    """processes that read pictures while features are extracted"""


@dataclass(kw_only=True)
class FineTuneMode:
    """One tools/train.py and one tools/evaluate.py process per cell."""

    base: str
    """config of tools/train.py; its loss, known proportion and seeds are replaced"""
    validation: float = 0.2
    """part of the training pictures held out; it chooses among the saved weights"""
    classes: list[str] = field(default_factory=list)
    """also average over these classes"""
    options: list[str] = field(default_factory=list)
    """further options of tools/train.py, as on its command line"""


@dataclass(kw_only=True)
class SweepConfig:
    """A sweep; exactly one of features and fine_tune."""

    methods: dict[str, Method]
    """name -> loss"""
    proportions: list[float]
    """proportions of known labels"""
    seeds: list[int]
    """each decides mask, held-out part, order and mixtures"""
    families: dict[str, list[str]] = field(default_factory=dict)
    """name -> methods that validation chooses among, for one more line of the tables"""
    features: FeatureMode | None = None
    """settings of the frozen-feature mode"""
    fine_tune: FineTuneMode | None = None
    """settings of the fine-tuning mode"""
    metric: Literal["all", "frequent", "listed"] = "all"
    """classes whose mAP the plot shows"""
    workers: int = 1
    """cells at a time"""

    def __post_init__(self) -> None:
        one = (self.features is None) != (self.fine_tune is None)
        require(one, "features, fine_tune", (self.features, self.fine_tune), "one of the two given")
        for name in self.methods:
            # a part of file names; YAML reads some keys as numbers
            fits = isinstance(name, str) and name.isprintable() and 0 < len(name) <= 100
            fits = fits and not set(name) & set("/\\")
            require(fits, "methods", name, "names of files, in quotes if numbers, without / and \\")
        for name in ("methods", "proportions", "seeds"):
            values = list(getattr(self, name))
            require(len(values) > 0, name, values, "at least one")
            # proportions with the same first digits would share a file
            different = {f"{value:g}" if name == "proportions" else value for value in values}
            require(len(different) == len(values), name, values, "different values")
        require(
            all(0 < p <= 1 for p in self.proportions), "proportions", self.proportions, "in (0, 1]"
        )
        for name, members in self.families.items():
            require(name not in self.methods, "families", name, "names that no method has")
            require(len(members) > 0, f"families.{name}", members, "at least one method")
            unknown = sorted(set(members) - set(self.methods))
            require(not unknown, f"families.{name}", unknown, f"among {', '.join(self.methods)}")
        require(self.workers >= 1, "workers", self.workers, "at least 1")
        if self.features is not None:
            _check_features(self.features)
            self._check_metric("features.probe.classes", self.features.probe.classes)
        if self.fine_tune is not None:
            _check_fine_tune(self.fine_tune, self.methods)
            require(
                self.fine_tune.validation > 0 or not self.families,
                "families",
                list(self.families),
                "left out with fine_tune.validation 0, which chooses nothing",
            )
            require(self.metric != "frequent", "metric", self.metric, "all or listed in fine_tune")
            self._check_metric("fine_tune.classes", self.fine_tune.classes)

    def _check_metric(self, option: str, classes: list[str]) -> None:
        require(
            self.metric != "listed" or len(classes) > 0,
            option,
            classes,
            "at least one class for metric: listed",
        )


def _check_features(mode: FeatureMode) -> None:
    """Refuse settings that would be ignored."""
    require(mode.workers >= 0, "features.workers", mode.workers, "at least 0")
    unused_model = [f.name for f in dataclasses.fields(ModelConfig) if f.name not in _USED_MODEL]
    for group, names in (("data", _UNUSED_DATA), ("model", unused_model)):
        config = getattr(mode, group)
        defaults = {f.name: f.default for f in dataclasses.fields(config)}
        for name in names:
            value, default = getattr(config, name), defaults[name]
            valid = f"left at {default!r}: the sweep decides it, or it plays no part here"
            require(value == default, f"features.{group}.{name}", value, valid)


def _check_fine_tune(mode: FineTuneMode, methods: dict[str, Method]) -> None:
    """Refuse what tools/train.py cannot do, and options that would replace a part of the grid."""
    require(0 <= mode.validation < 1, "fine_tune.validation", mode.validation, "in [0, 1)")
    for name in mode.classes:
        valid = "names without a comma, which separates them in tools/evaluate.py"
        require("," not in name, "fine_tune.classes", name, valid)
    for option in mode.options:
        name = option.partition("=")[0]
        fixed = name in (*_CELL_OPTIONS, *_CELL_SETTINGS) or name.startswith("--loss.")
        require(
            not fixed,
            "fine_tune.options",
            option,
            "options that the sweep does not set itself; it sets the loss, --config, --out, "
            + ", ".join(_CELL_SETTINGS),
        )
    for method_name, method in methods.items():
        for group in ("first_epoch", "per_epoch"):
            values = getattr(method, group)
            require(not values, f"methods.{method_name}.{group}", values, "left out in fine_tune")
        for parameter, value in method.loss.parameters.items():
            require(
                value != "known",
                f"methods.{method_name}.loss.parameters.{parameter}",
                value,
                "a value of the loss in fine_tune ('known' is for features)",
            )


def feature_cells(config: SweepConfig, out: Path) -> tuple[Settings, Run]:
    """What decides a cell of the feature mode, and the function that runs it.

    Raises:
        ValueError: features.probe.classes has a name that is not scored; see also the readers.
    """
    mode = config.features
    assert mode is not None
    if mode.probe.classes:
        _check_probe_classes(mode)
    train, test = [
        frozen_features(
            mode.data,
            mode.model,
            split,
            Path(mode.cache),
            workers=mode.workers,
            progress=_progress(split),
        )
        for split in ("train", "test")
    ]
    file = out / "probe_data.pt"
    probe_data(train, test, mode.probe).save(file)
    common = {"data": plain(mode.data), "model": plain(mode.model), "probe": plain(mode.probe)}
    # labels are read anew in every sweep: cells of others must not stand beside them
    common["labels"] = [_digest(split) for split in (train, test)]
    threads = max(1, torch.get_num_threads() // config.workers)
    return (
        lambda cell: {**common, "method": plain(config.methods[cell.method])},
        lambda cell: in_a_process(
            _probe,
            file,
            config.methods[cell.method],
            mode.probe,
            cell,
            threads,
            preload=__name__,
        ),
    )


def _digest(split: SplitFeatures) -> str:
    digest = hashlib.sha256("\n".join(split.classes).encode())
    digest.update(split.labels.tobytes())
    return digest.hexdigest()[:16]


def _probe(file: Path, method: Method, config: ProbeConfig, cell: Cell, threads: int) -> list[Row]:
    torch.set_num_threads(threads)
    return probe_cell(ProbeData.load(file), method, config, cell.proportion, cell.seed)


def _check_probe_classes(mode: FeatureMode) -> None:
    """Refuse now what `probe_data` would refuse after minutes of extraction."""
    train, test = [read_split(mode.data, split) for split in ("train", "test")]
    unknown = sorted(set(mode.probe.classes) - set(train.classes))
    if unknown:
        raise ValueError(
            f"features.probe.classes: {train.source} has no {', '.join(map(repr, unknown))}; "
            f"valid: {', '.join(train.classes)}"
        )
    # without features it only chooses the classes, by features.probe.trained
    without = [
        SplitFeatures(np.empty((len(part), 0), np.float32), part.labels, part.classes)
        for part in (train, test)
    ]
    probe_data(without[0], without[1], mode.probe)


def _progress(split: str):
    return lambda done, total: print(f"features of {split}: {done}/{total}", flush=True)


def fine_tune_cells(config: SweepConfig, out: Path, tools: Path) -> tuple[Settings, Run]:
    """The same for the fine-tuning mode; ``tools`` is the folder of train.py and evaluate.py.

    Raises:
        ValueError: fine_tune.base is missing or is no config of an image run; or what a cell would
            train or be tested on cannot be read or has not the classes of fine_tune.classes; or
            the test split has no positive or no negative label; or a loss does not take its
            parameters.
    """
    mode = config.fine_tune
    assert mode is not None
    base, environment = _base(Path(mode.base)), dict(os.environ)
    if config.workers > 1:  # or every process would take all the cores
        threads = max(1, torch.get_num_threads() // config.workers)
        environment.setdefault("OMP_NUM_THREADS", str(threads))

    def settings(cell: Cell) -> dict[str, Any]:
        content = copy.deepcopy(base)
        content["data"].update(
            known=cell.proportion, label_seed=cell.seed, validation=mode.validation
        )
        content["loss"] = plain(config.methods[cell.method].loss)
        content["train"]["seed"] = cell.seed
        return {"config": content, "options": mode.options, "classes": mode.classes}

    def parsed(method: str, proportion: float) -> VisionConfig:
        content = settings(Cell(method, proportion, config.seeds[0]))["config"]
        return _cell_config(content, mode.options)

    for proportion in config.proportions:  # a protocol may go with some of them alone
        parsed(next(iter(config.methods)), proportion)
    of_methods = {method: parsed(method, config.proportions[0]) for method in config.methods}
    _check_cell_data(of_methods, mode.classes)

    def run(cell: Cell) -> list[Row]:
        # a name of its own: the train.py of a sweep that was killed may still write to its folder
        folder = out / "runs" / f"{cell.name}.{uuid.uuid4().hex[:8]}"
        folder.mkdir(parents=True)
        file, log = folder / "config.yaml", folder / "log.txt"
        file.write_text(yaml.safe_dump(settings(cell)["config"]))
        print(f"{cell.name}: output in {log}", flush=True)
        options = ["--config", str(file), "--out", str(folder), *mode.options]
        _call(tools / "train.py", options, log, environment)
        preferred = RunFolder(folder).preferred_weights()
        scored = [str(folder), "--weights", preferred]
        scored += ["--classes", ",".join(mode.classes)] if mode.classes else []
        _call(tools / "evaluate.py", scored, log, environment)
        if mode.classes and mode.validation:
            try:
                _call(tools / "evaluate.py", [*scored, "--split", "validation"], log, environment)
            except ValueError as error:  # the cell has its result
                print(f"{cell.name}: no validation of the listed classes: {error}", flush=True)
        rows = [_fine_tuned_row(RunFolder(folder), preferred)]
        finished = out / "runs" / cell.name
        if finished.exists():  # of a cell whose file was deleted
            shutil.rmtree(finished)
        folder.rename(finished)
        return rows

    return settings, run


def _cell_config(content: dict[str, Any], options: Sequence[str]) -> VisionConfig:
    """What tools/train.py will make of a cell's settings, refused before any cell is trained."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(yaml.safe_dump(content))
        try:
            arguments = ["--config", str(file), *options]
            return parse(VisionConfig, arguments, program="tools/train.py")[0]
        except ValueError as error:
            raise ValueError(f"fine_tune, base with options: {error}") from None


def _check_cell_data(configs: dict[str, VisionConfig], classes: Sequence[str]) -> None:
    """Open the data once: minutes of training should not end with a class that is misspelled.

    Args:
        configs: method -> settings of one of its cells; their data are the same.
        classes: fine_tune.classes.
    """
    config = next(iter(configs.values()))
    train = training_data(config.data, seed=config.train.seed).train
    test = read_split(config.data, "test", classes=train.classes)
    unknown = sorted(set(classes) - set(test.classes))
    if unknown:
        raise ValueError(
            f"fine_tune.classes: {test.source} has no {', '.join(map(repr, unknown))}; "
            f"{closest(unknown[0], test.classes)}"
        )
    refuse_one_sided(test, test.labels, "test", config.data.name)
    for method, of_method in configs.items():
        _check_loss(method, of_method.loss, len(test.classes))


def _check_loss(method: str, loss: LossConfig, num_classes: int) -> None:
    try:
        try_loss(loss, num_classes)
    except ValueError as error:
        raise ValueError(f"methods.{method}: {error}") from None


def _base(path: Path) -> dict[str, Any]:
    """The content of fine_tune.base."""
    if not path.is_file():
        raise ValueError(f"fine_tune.base {path}: no such file")
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"fine_tune.base {path}: not YAML: {error}") from None
    sections = ("data", "model", "train")
    found = content if isinstance(content, dict) else {}
    lacking = [name for name in sections if not isinstance(found.get(name), dict)]
    if lacking:
        raise ValueError(
            f"fine_tune.base {path}: a config of tools/train.py has the sections "
            f"{', '.join(sections)}; without settings: {', '.join(lacking)}"
        )
    return found


def _call(tool: Path, arguments: Sequence[str], log: Path, environment: dict[str, str]) -> None:
    """Run an entry point, its output at the end of ``log``; ValueError if it fails."""
    with log.open("a") as stream:
        done = subprocess.run(
            [sys.executable, tool, *arguments],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    if done.returncode:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("error:")]
        reason = (errors or lines or ["no output"])[-1]
        raise ValueError(f"{tool.name} ended with status {done.returncode}, {reason} ({log})")


def _fine_tuned_row(run: RunFolder, weights: str) -> Row:
    """The result of the weights that validation prefers."""
    train = run.read()["config"]["train"]
    result = read_json(run.path / "metrics.json")["weights"][weights]
    row = {"learning_rate": train["learning_rate"], "epochs": train["epochs"]}
    row.update(validation=run.index()[weights].get("score"), all=result["mAP"]["sklearn"])
    if "mAP_of_classes" in result:
        row["listed"] = result["mAP_of_classes"]["sklearn"]
        row["validation_listed"] = _validation_of_classes(run, weights)
    return row


def _validation_of_classes(run: RunFolder, weights: str) -> float | None:
    file = run.path / "metrics-validation.json"
    if not file.is_file():
        return None
    known = read_json(file)["weights"][weights]["mAP_of_classes"]["sklearn"]
    return None if math.isnan(known) else known
