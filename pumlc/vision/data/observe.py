"""What an annotator leaves of the true labels: some are flipped, most are hidden."""

from typing import Any

import numpy as np

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
from pumlc.vision.data.config import DataConfig


def observe(
    labels: np.ndarray, config: DataConfig, classes: tuple[str, ...] = ()
) -> tuple[np.ndarray, LabelManifest]:
    """The labels that a run gets to see of the true ones, and the record of what was changed.

    First some labels become wrong (``false_negative``, ``false_positive``), then most go missing
    (``protocol``, ``known``). At most one further matrix [N, C] is made, none if nothing changes.
    All protocols but positive-list: that one needs the pictures' names, see `keep_listed`.

    Args:
        labels: [N, C] int8 in {1, 0, -1}; not changed.
        config: protocol, rates and seed.
        classes: C names, for rates that are given by class.

    Returns:
        int8 [N, C], which is ``labels`` itself if nothing changes, and the manifest, for
        ``label_manifest.npz``.

    Raises:
        UserError: a rate for a class that is not among ``classes``.
    """
    assert config.protocol != "positive-list"
    true = PackedLabels.pack(labels)
    rates = {"false_negative": config.false_negative, "false_positive": config.false_positive}
    flips = any(rates.values())
    hides = config.known < 1 or config.protocol in ("single-positive", "csl-fpc")
    observed = labels.copy() if flips or hides else labels
    if flips:
        each = {name: _class_rates(name, rate, classes) for name, rate in rates.items()}
        flip(observed, **each, seed=config.label_seed, out=observed)
    if hides:
        _hide(observed, config)
    parameters: dict[str, Any] = {"known": config.known, **rates}
    if config.protocol == "csl-fpc":
        parameters["known_per_class"] = config.known_per_class
    manifest = compare(
        true, observed, protocol=config.protocol, seed=config.label_seed, parameters=parameters
    )
    return observed, manifest


def _hide(labels: np.ndarray, config: DataConfig) -> None:
    """Hide labels by the protocol, in a matrix that is nobody else's."""
    seed = config.label_seed
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
