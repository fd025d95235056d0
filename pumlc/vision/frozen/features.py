"""Frozen features: every picture passes through the backbone once, and a file caches the result."""

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pumlc.engine.config import plain
from pumlc.engine.device import choose_device
from pumlc.errors import warn_user
from pumlc.vision.config import DataConfig, ModelConfig
from pumlc.vision.data.bad_pictures import BadPictures
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.loader import Pictures, batches_of, scoring_loader
from pumlc.vision.data.split import read_split
from pumlc.vision.data.transforms import evaluation_transform
from pumlc.vision.frozen.cache import cached_matrix
from pumlc.vision.models.build import try_picture
from pumlc.vision.models.classifier import Classifier, create_classifier, other_features
from pumlc.vision.models.run_weights import run_weights_file
from pumlc.vision.scoring import to_device


@dataclass(frozen=True)
class SplitFeatures:
    """Features and labels of one split.

    Attributes:
        features: [N, D] float32, in the order of the split, without the skipped pictures.
        labels: [N, C] complete labels in {1, 0, -1}; a run hides its part of them itself.
        classes: C names.
        weights: name of the backbone's weights as in the settings; for "auto" what it stood for.
    """

    features: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    weights: str | None = None


def frozen_features(
    data: DataConfig,
    model: ModelConfig,
    split: str,
    cache: Path,
    *,
    batch_size: int = 64,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SplitFeatures:
    """Pooled features of a split, from the cache or computed now and added to it.

    The file's name is a hash of what decides the numbers: data set, split, the list of pictures,
    input size, backbone and weights, and for a weights file its size and time of change. It does
    not cover the content of the pictures, since that would mean opening a million files in every
    run. If pictures were replaced under the same names, delete the cache. Labels are not cached.

    Args:
        data: names the data set; its protocol settings play no part.
        model: names backbone and weights; its head plays no part.
        split: "train" or "test".
        cache: folder of the feature files, ``~`` for the home folder.
        batch_size: pictures per batch.
        workers: threads that read pictures; 0: only this one; None: one per core.
        progress: called with the pictures done and their number.

    Raises:
        UserError: a cache file is damaged or was changed; see also the readers and
            ``create_classifier``.
    """
    images = read_split(data, split)
    network = functools.cache(lambda: frozen_network(data, model))
    # only the network says what "auto" stands for
    weights = network().starting_weights if model.weights == "auto" else model.weights
    of_run = run_weights_file(weights)
    weights = weights if of_run is None else str(of_run)
    key = {
        "data": [data.name, data.root, data.csv or data.labels, data.image_size, split],
        "decoding": "no larger than needed, whole rows",  # full decodes give other features
        "model": [model.backbone, weights, *_version(weights), *other_features(model)],
        "paths": hashlib.sha256(images.paths.tobytes()).hexdigest(),
    }
    digest = hashlib.sha256(json.dumps(plain(key)).encode()).hexdigest()[:16]

    def compute() -> np.ndarray:
        return pooled_features(
            network(),
            images,
            batch_size=batch_size,
            workers=workers,
            progress=progress,
        )

    features = cached_matrix(cache, f"{data.name}_{split}_{digest}", len(images), compute)
    labels = images.labels
    bad = np.isnan(features).all(axis=1)
    if bad.any():  # the command that wrote the cache may have skipped bad pictures
        skipped = BadPictures(images)
        for row in np.flatnonzero(bad).tolist():
            reason = f"not readable when the features were computed; to try again, delete {cache}"
            skipped.add(row, f"{images.path(row)} ({images.place(row)}): {reason}")
        features, labels = features[~bad], labels[~bad]
    return SplitFeatures(features, labels, images.classes, weights)


def frozen_network(data: DataConfig, model: ModelConfig) -> Classifier:
    """The backbone with its starting weights, which have seen none of the data's labels.

    It warns of random weights, whose features say little about the pictures.

    Args:
        data: says the size of the pictures.
        model: names backbone and weights.

    Raises:
        UserError: see ``create_classifier``.
    """
    if model.weights is None:
        warn_user(
            f"features of {model.backbone} with random weights (model.weights is not given) say "
            "little about the pictures; valid: 'pip', 'pretrained' or a weights file"
        )
    with torch.random.fork_rng(devices=[]):
        # without weights: the same random network for every split
        torch.default_generator.manual_seed(0)
        classifier = create_classifier(
            model.backbone,
            1,
            local_global=False,
            head="linear",
            weights=model.weights,
            image_size=data.input_size,
            pooling=model.pooling,
            mirror=model.mirror,
        )
    try_picture(classifier, model)
    return classifier


def _version(weights: str | None) -> list[int]:
    """Size and time of change of a weights file; empty for other weights."""
    if weights is None or not Path(weights).is_file():
        return []
    status = Path(weights).stat()
    return [status.st_size, status.st_mtime_ns]


def pooled_features(
    classifier: Classifier,
    images: LabelledImages,
    *,
    batch_size: int,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    bad: BadPictures | None = None,
) -> np.ndarray:
    """The input of the classifier's linear head, without augmentation, on the GPU if there is one.

    Args:
        classifier: with a linear head.
        images: the pictures; their labels play no part.
        batch_size: pictures per batch.
        workers: threads that read pictures; 0: only this one; None: one per core.
        progress: called with the pictures done and their number.
        bad: collects the pictures that cannot be read.

    Returns:
        float32 [N, D]; a row of nan for a picture that cannot be read and may be skipped.
    """
    device = choose_device(None)
    classifier = classifier.eval().to(device).to(memory_format=torch.channels_last)
    pictures = Pictures(images, evaluation_transform(classifier.data_config), range(len(images)))
    bad = BadPictures(images) if bad is None else bad
    matrix, done = np.empty((0, 0), np.float32), 0
    with torch.inference_mode():
        for batch in batches_of(scoring_loader(pictures, batch_size, workers), bad):
            if batch.keys:
                inputs = to_device(batch.content, device, classifier.data_config)
                pooled = classifier.pooled(inputs).float()
                if not matrix.size:
                    matrix = np.full((len(images), pooled.shape[1]), np.nan, np.float32)
                matrix[batch.keys] = pooled.cpu().numpy()
            done = min(done + batch_size, len(images))
            if progress is not None:
                progress(done, len(images))
    return matrix
