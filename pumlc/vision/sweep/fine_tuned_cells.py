"""Cells of a sweep that fine-tune a network, each in its own process.

OUT/runs/METHOD-CONDITION-SEED          run folder of a finished cell, with its log.txt
OUT/runs/METHOD-CONDITION-SEED.HEX      folder of a running, failed or killed cell; never read again
"""

import copy
import json
import math
import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from pumlc.engine.command_line import parse
from pumlc.engine.config import plain
from pumlc.engine.processes import create_accelerator
from pumlc.engine.run import RunFolder
from pumlc.engine.training import train_run
from pumlc.errors import UserError, closest
from pumlc.files import read_text, write_json
from pumlc.recipes import recipe_file
from pumlc.sweep.cells import Cell, Row, Run, Settings
from pumlc.sweep.process import in_a_process
from pumlc.vision.config import AUTO, LEAST_SQUARES, LossConfig, VisionConfig
from pumlc.vision.data.split import read_split, training_data
from pumlc.vision.evaluation import evaluate_run
from pumlc.vision.scoring import refuse_one_sided
from pumlc.vision.sweep.config import SweepConfig
from pumlc.vision.sweep.losses import check_method
from pumlc.vision.tasks import create_task


def fine_tune_cells(config: SweepConfig, out: Path) -> tuple[Settings, Run]:
    """Prepare the cells of the fine-tuning mode.

    Args:
        config: the settings; ``fine_tune`` is given.
        out: the folder of the sweep.

    Returns:
        A function that gives the settings deciding a cell, and the function that runs a cell.

    Raises:
        UserError: fine_tune.base is missing or lacks the settings of an image run, the data of the
            cells cannot be read or lack a class of fine_tune.classes, the test split has no
            positive or no negative label, or a loss does not take its parameters.
    """
    mode = config.fine_tune
    assert mode is not None
    base = _read_base(_base_file(mode.base))
    threads = None
    if config.workers > 1 and "OMP_NUM_THREADS" not in os.environ:
        threads = max(1, torch.get_num_threads() // config.workers)

    def settings(cell: Cell) -> dict[str, Any]:
        content = copy.deepcopy(base)
        observation = config.observation(cell)
        labels = {"known": cell.proportion} if observation is None else plain(observation)
        content["data"].update(labels, label_seed=cell.seed, validation=mode.validation)
        content["loss"] = plain(config.methods[cell.method].loss)
        content["train"]["seed"] = cell.seed
        found = {"config": content, "options": mode.options, "classes": mode.classes}
        start = config.methods[cell.method].start
        return found if start == "backbone" else {**found, "start": start}

    def config_of(cell: Cell) -> VisionConfig:
        # the last epoch has columns of its own; the others are of the best on validation
        options = ["--train.selection=best", *mode.options]
        return _parsed(settings(cell)["config"], options)

    first, *_ = [  # parse all: a protocol may go with only some of the proportions
        config_of(cell)
        for cell in config.grid()
        if (cell.method, cell.seed) == (next(iter(config.methods)), config.seeds[0])
    ]
    num_classes = _check_data(first, mode.classes)
    for name, method in config.methods.items():
        check_method(name, method, epochs=[1], num_classes=num_classes)

    def run(cell: Cell) -> list[Row]:
        # a new name, since a process of a killed sweep may still write to its folder
        folder = out / "runs" / f"{cell.name}.{uuid.uuid4().hex[:8]}"
        folder.mkdir(parents=True)
        print(f"{cell.name}: output in {folder / 'log.txt'}", flush=True)
        start = config.methods[cell.method].start
        row = _run_cell(cell.name, config_of(cell), mode.classes, folder, threads, start)
        finished = out / "runs" / cell.name
        if finished.exists():  # the result file of this cell was deleted
            shutil.rmtree(finished)
        folder.rename(finished)
        return [row]

    return settings, run


def _base_file(base: str) -> Path:
    """The file that fine_tune.base names, by path or as a recipe."""
    try:
        return recipe_file(base)
    except UserError as error:
        raise UserError(f"fine_tune.base {error}") from error


def _read_base(file: Path) -> dict[str, Any]:
    """The content of fine_tune.base."""
    where = "fine_tune.base"
    try:
        content = yaml.safe_load(read_text(file))
    except yaml.YAMLError as error:
        raise UserError(f"{where} {file}: not YAML: {error}") from error
    except UserError as error:
        raise UserError(f"{where} {error}") from error
    sections = ("data", "model", "train")
    found = content if isinstance(content, dict) else {}
    lacking = [name for name in sections if not isinstance(found.get(name), dict)]
    if lacking:
        raise UserError(
            f"{where} {file}: settings of an image run need the sections {', '.join(sections)}; "
            f"missing or empty: {', '.join(lacking)}"
        )
    return found


def _parsed(content: dict[str, Any], options: Sequence[str]) -> VisionConfig:
    """The settings of a run; options replace some of the base."""
    sections = [f"--{name}={json.dumps(value)}" for name, value in content.items()]
    try:
        return parse(VisionConfig, [*sections, *options], program="sweep")[0]
    except UserError as error:
        raise UserError(f"fine_tune.base with fine_tune.options: {error}") from error


def _check_data(config: VisionConfig, classes: Sequence[str]) -> int:
    """Open the data once, so that a misspelled class fails now and not after minutes of training.

    Args:
        config: settings of one of the cells; all have the same data.
        classes: fine_tune.classes.

    Returns:
        The number of classes.

    Raises:
        UserError: the data cannot be read, have no such class, or cannot be evaluated on.
    """
    train = training_data(config.data, seed=config.train.seed).train
    test = read_split(config.data, "test", classes=train.classes)
    unknown = sorted(set(classes) - set(test.classes))
    if unknown:
        raise UserError(
            f"fine_tune.classes: {test.source} has no {', '.join(map(repr, unknown))}; "
            f"{closest(unknown[0], test.classes)}"
        )
    refuse_one_sided(test, test.labels, "test", config.data.name)
    return len(test.classes)


def _heads_config(config: VisionConfig) -> VisionConfig:
    """The settings of heads on the features of a cell's network, before it is trained."""
    return replace(
        config,
        heads=LEAST_SQUARES,
        loss=LossConfig(name=AUTO),
        model=replace(config.model, local_global=False),
        data=replace(config.data, augmentation="none"),
    )


def _run_cell(
    name: str,
    config: VisionConfig,
    classes: Sequence[str],
    folder: Path,
    threads: int | None,
    start: str,
) -> Row:
    """Train and evaluate in a run folder, each in its own process; return the row of the cell.

    A network that starts from heads has their run in its folder: ``heads``.
    """
    log = folder / "log.txt"

    def call(function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return in_a_process(function, threads, *arguments, preload=__name__, log=log)
        except (UserError, OSError) as error:
            raise UserError(f"{error} ({log})") from error

    if start == "heads":
        heads = folder / "heads"
        call(_train, _heads_config(config), heads)
        config = replace(config, model=replace(config.model, weights=str(heads)))
    call(_train, config, folder)
    run = RunFolder(folder)
    weights = run.preferred_weights()
    row = {
        "learning_rate": config.train.learning_rate,
        "weight_decay": config.train.weight_decay,
        "epochs": config.train.epochs,
        "validation": run.index()[weights].get("score"),
    }
    last = next((name for name in ("last-ema", "last") if name in run.index()), None)
    if last is not None:  # first, since the other result is to stay in metrics.json
        of_last = call(_evaluate, folder, last, classes, "test")
        row |= {
            f"{name}_last_epoch": value for name, value in _columns_of(of_last, classes).items()
        }
    row |= _columns_of(call(_evaluate, folder, weights, classes, "test"), classes)
    if classes:
        row["validation_listed"] = None
        if config.data.validation:
            try:
                held_out = call(_evaluate, folder, weights, classes, "validation")
            except UserError as error:  # the cell has its result
                print(f"{name}: no validation of the listed classes: {error}", flush=True)
            else:
                row["validation_listed"] = _number(held_out["mAP_of_classes"]["sklearn"])
    return row


def _columns_of(result: dict[str, Any], classes: Sequence[str]) -> dict[str, float]:
    """The mAP columns of one set of weights."""
    columns = {"all": result["mAP"]["sklearn"]}
    return columns | ({"listed": result["mAP_of_classes"]["sklearn"]} if classes else {})


def _train(threads: int | None, config: VisionConfig, folder: Path) -> None:
    _use(threads)
    train_run(config, create_task, RunFolder(folder))


def _evaluate(
    threads: int | None, folder: Path, weights: str, classes: Sequence[str], split: str
) -> dict[str, Any]:
    """The figures of one set of weights; the whole result is written to the run folder."""
    _use(threads)
    result = evaluate_run(
        folder, create_accelerator(), split=split, weights=[weights], classes=classes or None
    )
    name = "metrics.json" if split == "test" else f"metrics-{split}.json"
    write_json(folder / name, result)
    return result["weights"][weights]


def _use(threads: int | None) -> None:
    """Set the number of threads; None leaves it to torch."""
    if threads is not None:
        torch.set_num_threads(threads)


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
