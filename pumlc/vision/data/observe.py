"""Observed labels, made from the true ones: some are flipped, most are hidden."""

from typing import Any

import numpy as np

from pumlc.engine.config import plain
from pumlc.errors import UserError, closest
from pumlc.labels import (
    LabelManifest,
    PackedLabels,
    compare,
    drop_proportion,
    flip,
    keep_fixed_per_class,
    keep_proportion,
    keep_proportion_torch,
    keep_single_positive,
)
from pumlc.vision.data.noise import add_noise
from pumlc.vision.data.observation import Observation


def observe(
    labels: np.ndarray,
    config: Observation,
    classes: tuple[str, ...] = (),
    *,
    seed: int,
    visibility: np.ndarray | None = None,
) -> tuple[np.ndarray, LabelManifest]:
    """Make the labels that a run may see, and a record of what was changed.

    First some labels become wrong (``noise``, then ``false_negative`` and ``false_positive``). Then
    most labels are hidden (``protocol``, ``known``). At most one further matrix [N, C] is made,
    and none if nothing changes. The protocol positive-list is not done here: it needs the names of
    the pictures, see `keep_listed`.

    Args:
        labels: [N, C] int8 in {1, 0, -1}; not changed.
        config: noise, protocol and rates.
        classes: C names, for rates that are given by class.
        seed: seed of the draws.
        visibility: [N, C], for noise that needs it and names no file.

    Returns:
        The observed labels int8 [N, C], which are ``labels`` itself if nothing changes; and the
        manifest, for ``label_manifest.npz``.

    Raises:
        UserError: a rate for a class that is not among ``classes``; see also `add_noise`.
    """
    assert config.protocol != "positive-list"
    true = PackedLabels.pack(labels)
    rates = {"false_negative": config.false_negative, "false_positive": config.false_positive}
    flips = any(rates.values())
    hides = config.known < 1 or config.protocol in ("single-positive", "csl-fpc")
    if config.noise is not None:
        observed = add_noise(labels, config.noise, seed=seed, visibility=visibility)
    else:
        observed = labels.copy() if flips or hides else labels
    if flips:
        each = {name: _class_rates(name, rate, classes) for name, rate in rates.items()}
        flip(observed, **each, seed=seed, out=observed)
    if hides:
        _hide(observed, config, seed)
    parameters: dict[str, Any] = {"known": config.known, **rates}
    if config.protocol == "csl-fpc":
        parameters["known_per_class"] = config.known_per_class
    if config.noise is not None:
        parameters["noise"] = plain(config.noise)
    manifest = compare(true, observed, protocol=config.protocol, seed=seed, parameters=parameters)
    return observed, manifest


def _hide(labels: np.ndarray, config: Observation, seed: int) -> None:
    """Hide labels by the protocol, in place; nobody else may use the matrix."""
    if config.protocol == "single-positive":
        keep_single_positive(labels, seed=seed, out=labels)
    elif config.protocol == "csl-fpc":
        assert config.known_per_class is not None
        keep_fixed_per_class(labels, config.known_per_class, seed=seed, out=labels)
    elif config.protocol == "proportion":
        keep_proportion(labels, config.known, seed=seed, out=labels)
    elif config.protocol == "dualcoop":
        keep_proportion_torch(labels, config.known, seed=seed, out=labels)
    else:
        drop_proportion(labels, 1 - config.known, seed=seed, out=labels)


def _class_rates(
    name: str, rate: float | dict[str, float], classes: tuple[str, ...]
) -> float | list[float]:
    """One rate for all classes, or [C]."""
    if not isinstance(rate, dict):
        return rate
    unknown = sorted(set(rate) - set(classes))
    if unknown:
        raise UserError(f"data.{name}: no class {unknown[0]!r}; {closest(unknown[0], classes)}")
    return [rate.get(class_name, 0.0) for class_name in classes]
