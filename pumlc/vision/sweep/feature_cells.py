"""Cells of a sweep that train linear heads on frozen features.

OUT/probe_data.HEX.pt    the data that the processes of the cells read; HEX depends on its content
"""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pumlc.engine.config import plain, require
from pumlc.errors import UserError
from pumlc.estimators import fit_least_squares
from pumlc.progress import Progress
from pumlc.sweep.cells import Cell, Row, Run, Settings
from pumlc.sweep.process import in_a_process
from pumlc.vision.data.observation import Observation
from pumlc.vision.data.observe import observe
from pumlc.vision.data.split import read_split
from pumlc.vision.frozen.config import Method, ProbeConfig
from pumlc.vision.frozen.features import SplitFeatures, frozen_features
from pumlc.vision.frozen.probe import ProbeData, probe_cell, probe_data
from pumlc.vision.scoring import refuse_one_sided
from pumlc.vision.sweep.config import FeatureMode, SweepConfig
from pumlc.vision.sweep.losses import check_method


def feature_cells(config: SweepConfig, out: Path) -> tuple[Settings, Run]:
    """Prepare the cells of the feature mode.

    Args:
        config: the settings; ``features`` is given.
        out: the folder of the sweep.

    Returns:
        A function that gives the settings deciding a cell, and the function that runs a cell.

    Raises:
        UserError: features.probe.classes has an unknown class, a split has no positive or no
            negative label, or a loss does not take its parameters; see also the readers.
    """
    mode = config.features
    assert mode is not None
    _check(mode, config.methods)
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
    file = _saved(probe_data(train, test, mode.probe), out)
    # labels are read again in every sweep; the digest refuses results for other labels
    common = {
        "data": plain(mode.data),
        "model": {**plain(mode.model), "weights": train.weights},
        "probe": plain(mode.probe),
        "labels": [_digest(split) for split in (train, test)],
    }
    threads = max(1, torch.get_num_threads() // config.workers)

    def settings(cell: Cell) -> dict[str, Any]:
        found = {**common, "method": config.methods[cell.method].recorded()}
        observation = config.observation(cell)
        return found if observation is None else {**found, "condition": plain(observation)}

    def run(cell: Cell) -> list[Row]:
        observation = config.observation(cell) or Observation(known=cell.proportion)
        method = config.methods[cell.method]
        return in_a_process(
            _probe, file, method, mode.probe, observation, cell.seed, threads, preload=__name__
        )

    return settings, run


def _saved(data: ProbeData, out: Path) -> Path:
    """The file of the data; one that another process may be reading is never replaced."""
    digest = hashlib.sha256(repr((data.averages, data.classes)).encode())
    for matrix in (data.train, data.train_labels, data.test, data.test_labels):
        digest.update(np.ascontiguousarray(matrix).tobytes())
    file = out / f"probe_data.{digest.hexdigest()[:16]}.pt"
    if not file.is_file():
        data.save(file)
    return file


def _digest(split: SplitFeatures) -> str:
    digest = hashlib.sha256("\n".join(split.classes).encode())
    digest.update(split.labels.tobytes())
    return digest.hexdigest()[:16]


def _probe(
    file: Path,
    method: Method,
    config: ProbeConfig,
    observation: Observation,
    seed: int,
    threads: int,
) -> list[Row]:
    torch.set_num_threads(threads)
    data = ProbeData.load(file)
    return probe_cell(data, method, config, observed_labels(data, observation, seed), seed)


def observed_labels(data: ProbeData, observation: Observation, seed: int) -> np.ndarray:
    """The training labels of a cell, [N, C].

    The visibility for noise is the score of heads fitted on the complete labels of the other
    pictures.
    """
    visibility = None
    noise = observation.noise
    if noise is not None and noise.kind == "hard-to-see" and noise.visibility is None:
        visibility = fit_least_squares(data.train.numpy(), data.train_labels).loo_scores
    observed, _ = observe(
        data.train_labels, observation, tuple(data.classes), seed=seed, visibility=visibility
    )
    return observed


def _check(mode: FeatureMode, methods: dict[str, Method]) -> None:
    """Refuse now what would otherwise fail after minutes of extraction, or in every cell."""
    train, test = [read_split(mode.data, split) for split in ("train", "test")]
    for split, images in (("train", train), ("test", test)):
        refuse_one_sided(images, images.labels, split, mode.data.name)
    for name, method in methods.items():
        check_method(name, method, epochs=mode.probe.epochs, num_classes=len(train.classes))
        require(
            not method.loss.class_weights,
            f"methods.{name}.loss.class_weights",
            method.loss.class_weights,
            "left out with features: each class has a head of its own",
        )
    unknown = sorted(set(mode.probe.classes) - set(train.classes))
    if unknown:
        raise UserError(
            f"features.probe.classes: {train.source} has no {', '.join(map(repr, unknown))}; "
            f"valid: {', '.join(train.classes)}"
        )
    # without features, probe_data only checks and chooses the classes
    without = [
        SplitFeatures(np.empty((len(part), 0), np.float32), part.labels, part.classes)
        for part in (train, test)
    ]
    probe_data(without[0], without[1], mode.probe)


def _progress(split: str) -> Callable[[int, int], None]:
    return partial(Progress().show, f"features of {split}")
