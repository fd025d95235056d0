"""Cells of a sweep that fine-tune a network: one train.py and one evaluate.py process each.

OUT/runs/METHOD-PROPORTION-SEED         run folder of a finished cell
OUT/runs/METHOD-PROPORTION-SEED.HEX     of one that runs now, failed or was killed; never read again
"""

import copy
import math
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from pumlc.engine.command_line import parse
from pumlc.engine.config import closest, plain
from pumlc.engine.run import RunFolder
from pumlc.errors import UserError
from pumlc.files import read_json
from pumlc.sweep.grid import Cell, Row, Run, Settings
from pumlc.vision.config import VisionConfig
from pumlc.vision.data.split import read_split, training_data
from pumlc.vision.scoring import refuse_one_sided
from pumlc.vision.sweep.config import SweepConfig
from pumlc.vision.task import try_loss


def fine_tune_cells(config: SweepConfig, out: Path, tools: Path) -> tuple[Settings, Run]:
    """What decides a cell of the fine-tuning mode, and the function that runs it.

    Args:
        tools: the folder of train.py and evaluate.py.

    Raises:
        UserError: fine_tune.base is missing or is no config of an image run; or what a cell would
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
            raise UserError(f"fine_tune, base with options: {error}") from None


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
        raise UserError(
            f"fine_tune.classes: {test.source} has no {', '.join(map(repr, unknown))}; "
            f"{closest(unknown[0], test.classes)}"
        )
    refuse_one_sided(test, test.labels, "test", config.data.name)
    for method, of_method in configs.items():
        loss = of_method.loss
        where = f"methods.{method}.loss."
        try_loss(loss.name, loss.parameters, len(test.classes), where=where)


def _base(path: Path) -> dict[str, Any]:
    """The content of fine_tune.base."""
    if not path.is_file():
        raise UserError(f"fine_tune.base {path}: no such file")
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"fine_tune.base {path}: not YAML: {error}") from None
    sections = ("data", "model", "train")
    found = content if isinstance(content, dict) else {}
    lacking = [name for name in sections if not isinstance(found.get(name), dict)]
    if lacking:
        raise UserError(
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
        raise UserError(f"{tool.name} ended with status {done.returncode}, {reason} ({log})")


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
