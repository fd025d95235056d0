"""Features and logits of pictures by a frozen network and its heads, on any number of processes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from scipy.sparse import csr_array

from pumlc.engine.batches import gather_rows, own_rows
from pumlc.labels.convention import row_blocks
from pumlc.vision.config import FeaturesConfig
from pumlc.vision.data.bad_pictures import BadPictures
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.frozen.extraction import Extractor
from pumlc.vision.known_logits import KnownLogits, KnownLogitsBuilder
from pumlc.vision.models.classifier import Classifier
from pumlc.vision.scoring import probabilities_of


def frozen_features_of(
    classifier: Classifier,
    images: LabelledImages,
    config: FeaturesConfig,
    accelerator: Accelerator,
    *,
    bad: BadPictures,
    batch_size: int = 64,
    what: str = "features",
    show: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Features of all pictures; each process computes its share of the missing ones.

    Args:
        classifier: with a linear head.
        images: the pictures.
        config: cache and precision.
        accelerator: devices and processes.
        bad: collects the pictures that cannot be read, on every process.
        batch_size: pictures per batch of a process.
        what: the beginning of the lines of progress.
        show: called with each of these lines, on the main process.
        progress: called with the pictures done and their number, those of this process.

    Returns:
        float32 [N, D] in the order of ``images``, on every process; rows of nan for bad pictures.
    """
    classifier = classifier.eval().to(accelerator.device)
    extractor = Extractor(classifier, Path(config.cache), config.precision, batch_size)
    shown = show if accelerator.is_main_process else lambda line: None
    rows = own_rows(len(images), accelerator)
    own = extractor.features(images, rows, bad=bad, what=what, show=shown, each=progress)
    if accelerator.num_processes > 1:
        bad.merge(gather_object([bad.reasons]))
    return gather_rows(own, len(images), accelerator)


def frozen_logits(
    classifier: Classifier,
    images: LabelledImages,
    config: FeaturesConfig,
    accelerator: Accelerator,
    *,
    bad: BadPictures,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Logits [N, C] float32 of the classifier's head on cached or new features.

    For arguments, and the rows of bad pictures, see `frozen_features_of`.
    """
    features = frozen_features_of(
        classifier,
        images,
        config,
        accelerator,
        bad=bad,
        batch_size=batch_size,
        progress=progress,
    )
    return head_logits(classifier, features)


def known_frozen_logits(
    classifier: Classifier,
    images: LabelledImages,
    labels: csr_array,
    config: FeaturesConfig,
    accelerator: Accelerator,
    *,
    probabilities: Callable[[Any], Any] = probabilities_of,
    **settings: Any,
) -> KnownLogits:
    """The same for the cells of ``labels``, [N, C] CSR, alone; see `score_known`."""
    features = frozen_features_of(classifier, images, config, accelerator, **settings)
    return known_head_logits(classifier, features, labels, probabilities)


def known_head_logits(
    classifier: Classifier,
    features: np.ndarray,
    labels: csr_array,
    probabilities: Callable[[Any], Any] = probabilities_of,
) -> KnownLogits:
    """Logits of the head for the cells of ``labels``; nan where features [N, D] are."""
    assert labels.shape is not None  # what the stubs of SciPy allow
    readable = np.flatnonzero(np.isfinite(features[:, 0]))
    builder = KnownLogitsBuilder(labels, range(len(features)), probabilities)
    for block in row_blocks((len(readable), labels.shape[1])):
        rows = readable[block]
        builder.put(rows, head_logits(classifier, features[rows]))
    return builder.finished()


def head_logits(classifier: Classifier, features: np.ndarray) -> np.ndarray:
    """Logits of the head for features [N, D], float32 [N, C]."""
    head = classifier.head
    device = next(head.parameters()).device
    with torch.inference_mode():
        return head(torch.from_numpy(features).to(device)).float().cpu().numpy()
