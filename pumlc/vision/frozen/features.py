"""Frozen features: every picture through the backbone once, kept in a file."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pumlc.engine.config import plain
from pumlc.engine.device import choose_device
from pumlc.errors import UserError
from pumlc.vision.config import DataConfig, ModelConfig
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.loader import Pictures, batches_of, scoring_loader
from pumlc.vision.data.split import read_split
from pumlc.vision.data.transforms import evaluation_transform
from pumlc.vision.models.classifier import Classifier, create_classifier


@dataclass(frozen=True)
class SplitFeatures:
    """One split as the backbone sees it.

    Attributes:
        features: [N, D] float32, in the order of the split.
        labels: [N, C] complete labels in {1, 0, -1}; a run hides its part of them itself.
        classes: C names.
    """

    features: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]


def frozen_features(
    data: DataConfig,
    model: ModelConfig,
    split: str,
    cache: Path,
    *,
    batch_size: int = 64,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> SplitFeatures:
    """Pooled features of a split, from the cache or computed now and put there.

    The file's name is a hash of what decides the numbers: data set, split, the list of pictures,
    input size, backbone and weights, of a weights file also its size and time of change. It does
    not cover what is in the pictures, which would be a look at a million files in every run: if
    they were replaced under the same names, delete the cache. Labels are read anew each time and
    are in no cache.

    Args:
        data: names the data set; its protocol settings play no part.
        model: names backbone and weights; its head plays no part.
        split: "train" or "test".
        cache: folder of the feature files.
        workers: processes that read pictures.
        progress: called with the pictures done and their number.

    Raises:
        UserError: a damaged cache file; see also the readers and ``create_classifier``.
    """
    images = read_split(data, split)
    key = {
        "data": [data.name, data.root, data.csv, data.image_size, split],
        "model": [model.backbone, model.weights, *_version(model.weights)],
        "paths": hashlib.sha256(images.paths.tobytes()).hexdigest(),
    }
    digest = hashlib.sha256(json.dumps(plain(key)).encode()).hexdigest()[:16]
    file = cache / f"{data.name}_{split}_{digest}.npy"
    if file.is_file():
        features = _read_cache(file, len(images))
    else:
        cache.mkdir(parents=True, exist_ok=True)  # before the work, if it may not be written
        features = pooled_features(
            frozen_network(data, model),
            images,
            batch_size=batch_size,
            workers=workers,
            progress=progress,
        )
        temporary = file.with_suffix(f".{os.getpid()}.tmp")
        with temporary.open("wb") as stream:
            np.save(stream, features)
        os.replace(temporary, file)
    return SplitFeatures(features, images.labels, images.classes)


def frozen_network(data: DataConfig, model: ModelConfig) -> Classifier:
    """The backbone with the weights it starts from, which have seen none of the data's labels."""
    with torch.random.fork_rng(devices=[]):
        # without weights: the same random network for every split
        torch.default_generator.manual_seed(0)
        classifier = create_classifier(
            model.backbone, 1, local_global=False, head="linear", weights=model.weights
        )
    if data.image_size is not None:
        size = data.image_size
        classifier.data_config = {**classifier.data_config, "input_size": (3, size, size)}
    return classifier


def _version(weights: str | None) -> list[int]:
    """Size and time of change of a weights file; the other weights have one version."""
    if weights is None or not Path(weights).is_file():
        return []
    status = Path(weights).stat()
    return [status.st_size, status.st_mtime_ns]


def _read_cache(file: Path, num_images: int) -> np.ndarray:
    try:
        features = np.load(file, allow_pickle=False)
        if features.ndim != 2 or len(features) != num_images:
            raise UserError(f"shape {features.shape}, not {num_images} rows")
    except (ValueError, EOFError) as error:
        raise UserError(
            f"{file} holds no features of these pictures; delete it to compute them again: {error}"
        ) from None
    return features


def pooled_features(
    classifier: Classifier,
    images: LabelledImages,
    *,
    batch_size: int,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """What the classifier's linear head would be given, [N, D] float32, without augmentation.

    On the GPU if there is one.
    """
    device = choose_device(None)
    classifier = classifier.eval().to(device).to(memory_format=torch.channels_last)
    pictures = Pictures(images, evaluation_transform(classifier.data_config), range(len(images)))
    parts, done = [], 0
    with torch.inference_mode():
        for batch in batches_of(scoring_loader(pictures, batch_size, workers)):
            maps = classifier.backbone.forward_features(
                batch.to(device, memory_format=torch.channels_last)
            )
            pooled = classifier.backbone.forward_head(maps, pre_logits=True)
            parts.append(pooled.float().cpu().numpy())
            done += len(batch)
            if progress is not None:
                progress(done, len(images))
    return np.concatenate(parts)
