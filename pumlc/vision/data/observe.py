"""Observed labels, made from the true ones: some are flipped, most are hidden."""

from typing import Any

import numpy as np

from pumlc.engine.config import plain
from pumlc.errors import UserError, closest
from pumlc.labels import (
    POSITIVE,
    UNKNOWN,
    LabelManifest,
    PackedLabels,
    SparseLabels,
    SparseManifest,
    compare,
    drop_proportion,
    flip,
    keep_fixed_per_class,
    keep_proportion,
    keep_proportion_torch,
    keep_single_positive,
)
from pumlc.labels.sparse_manifest import compare_sparse
from pumlc.labels.sparse_protocols import (
    flip_known,
    keep_fixed_per_known_class,
    keep_known_proportion,
    keep_single_known_positive,
)
from pumlc.vision.data.noise import add_noise
from pumlc.vision.data.observation import Observation

_MOST_KNOWN = 2**31  # 10 GB


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
        UserError: a rate for a class that is not among ``classes``, or rates or noise where no
            label is NEGATIVE; see also `add_noise`.
    """
    assert config.protocol != "positive-list"
    true = PackedLabels.pack(labels)
    rates = {"false_negative": config.false_negative, "false_positive": config.false_positive}
    flips, hides = any(rates.values()), _hides(config)
    if (config.noise is not None or flips) and labels.size:
        _check_negatives(bool(labels.max() == POSITIVE and labels.min() == UNKNOWN))
    if config.noise is not None:
        observed = add_noise(labels, config.noise, seed=seed, visibility=visibility)
    else:
        observed = labels.copy() if flips or hides else labels
    if flips:
        each = {name: _class_rates(name, rate, classes) for name, rate in rates.items()}
        flip(observed, **each, seed=seed, out=observed)
    if hides:
        _hide(observed, config, seed)
    parameters = _parameters(config)
    manifest = compare(true, observed, protocol=config.protocol, seed=seed, parameters=parameters)
    return observed, manifest


def observe_sparse(
    labels: SparseLabels, config: Observation, classes: tuple[str, ...], *, seed: int
) -> tuple[SparseLabels, SparseManifest]:
    """The same of labels that are stored sparse: by the same laws, a draw for each known label.

    Raises:
        UserError: a rate for a class that is not among ``classes``, rates where no label is
            NEGATIVE, or noise that needs a matrix.
    """
    noise, observed = config.noise, labels
    rates = [(config.false_negative, config.false_positive)]
    if noise is not None:
        if noise.kind not in ("flip", "uniform"):
            raise UserError(
                f"data.noise {noise.kind}: {labels.shape[0]} pictures x {labels.shape[1]} classes "
                "are too many for a matrix, which it needs; valid for so many: flip, uniform"
            )
        pair = (noise.false_negative, noise.false_positive)
        both = (noise.rate, noise.rate) if noise.kind == "uniform" else pair
        rates.insert(0, (both[0] or 0.0, both[1] or 0.0))
    if any(map(any, rates)):
        counts = {name: bool(count.any()) for name, count in labels.counts().items()}
        _check_negatives(counts["positive"] and counts["unknown"] and not counts["negative"])
    changes = _hides(config) or any(map(any, rates))
    if changes and (number := labels.number_known()) > _MOST_KNOWN:
        raise UserError(
            f"{number:,} labels of {labels.shape[0]} pictures x {labels.shape[1]} classes are "
            f"known, too many to hide or flip (the most: {_MOST_KNOWN:,}). If what the file does "
            "not list is not known to be absent: data.values '{unlisted: unknown}'"
        )
    for missed, invented in rates:
        if missed or invented:
            observed = flip_known(
                observed,
                false_negative=np.array(_class_rates("false_negative", missed, classes)),
                false_positive=np.array(_class_rates("false_positive", invented, classes)),
                seed=seed,
            )
    if _hides(config):
        observed = _hidden(observed, config, seed)
    parameters = _parameters(config)
    manifest = compare_sparse(
        labels, observed, protocol=config.protocol, seed=seed, parameters=parameters
    )
    return observed, manifest


def _check_negatives(lacking: bool) -> None:
    """Refuse noise where no label is known to be absent, see `pumlc.labels.flip`."""
    if lacking:
        raise UserError(
            "data.noise, data.false_negative, data.false_positive: no training label is known to "
            "be absent, so that none could become present by mistake, and each that they make "
            "absent would be wrong. If what the file does not list is absent: data.values "
            "'{unlisted: absent}'. To make labels unknown: data.known"
        )


def _hides(config: Observation) -> bool:
    return config.known < 1 or config.protocol in ("single-positive", "csl-fpc")


def _parameters(config: Observation) -> dict[str, Any]:
    """The numbers of what was done, for the manifest."""
    parameters: dict[str, Any] = {
        "known": config.known,
        "false_negative": config.false_negative,
        "false_positive": config.false_positive,
    }
    if config.protocol == "csl-fpc":
        parameters["known_per_class"] = config.known_per_class
    if config.noise is not None:
        parameters["noise"] = plain(config.noise)
    return parameters


def _hidden(labels: SparseLabels, config: Observation, seed: int) -> SparseLabels:
    """What a protocol leaves of sparse labels."""
    if config.protocol == "single-positive":
        return keep_single_known_positive(labels, seed=seed)
    if config.protocol == "csl-fpc":
        assert config.known_per_class is not None
        return keep_fixed_per_known_class(labels, config.known_per_class, seed=seed)
    return keep_known_proportion(labels, config.known, seed=seed)


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
