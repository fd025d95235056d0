"""From the settings of a run to its network, for training and for loading what was trained."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pumlc.engine.checkpoint import load_into, load_weights
from pumlc.errors import UserError
from pumlc.vision.config import VisionConfig
from pumlc.vision.models.class_vectors import encode_class_names, label_graph, read_word_vectors
from pumlc.vision.models.classifier import Classifier, create_classifier, freeze


def build_for_training(
    config: VisionConfig, classes: tuple[str, ...], observed_labels: np.ndarray
) -> Classifier:
    """The network at its start: backbone weights loaded, frozen as the config says.

    Args:
        classes: C names.
        observed_labels: [N, C] of the training part; the label graph is counted from them.

    Raises:
        UserError: see `create_classifier` and `freeze`; or the head lacks its label vectors.
    """
    inputs: dict[str, Tensor] = {}
    if config.model.head == "ssgrl":
        inputs["label_vectors"] = _label_vectors(config.model.label_vectors, classes)
        if config.model.label_graph:
            inputs["label_graph"] = label_graph(observed_labels)
    model = _build(config, len(classes), config.model.weights, inputs)
    if config.model.trainable is not None:
        freeze(model, config.model.trainable)
    return model


def build_trained(config: VisionConfig, num_classes: int, weights_file: Path) -> Classifier:
    """The network of a run with weights it has saved.

    Raises:
        UserError: the file is missing or holds weights of another network.
    """
    inputs: dict[str, Tensor] = {}
    if config.model.head == "ssgrl":  # its vectors and graph are saved with the weights
        names = {"label_vectors": "label_vectors", "graph": "label_graph"}
        for key, value in load_weights(weights_file).items():
            buffer = key.rpartition(".")[2]
            if key.startswith("head.") and buffer in names:
                inputs[names[buffer]] = value
    model = _build(config, num_classes, None, inputs)
    load_into(model, weights_file)
    return model


def _build(
    config: VisionConfig, num_classes: int, weights: str | None, inputs: dict[str, Any]
) -> Classifier:
    classifier = create_classifier(
        config.model.backbone,
        num_classes,
        local_global=config.model.local_global,
        head=config.model.head,
        weights=weights,
        batch_norm=config.model.batch_norm,
        **inputs,
    )
    if config.data.image_size is not None:
        size = config.data.image_size
        classifier.data_config = {**classifier.data_config, "input_size": (3, size, size)}
    # convolutions run up to twice as fast in this layout, on CPU and on GPU
    return classifier.to(memory_format=torch.channels_last)  # pyright: ignore


def _label_vectors(source: str | None, classes: tuple[str, ...]) -> Tensor:
    if source is None:
        raise UserError(
            "model.head ssgrl needs model.label_vectors: a word-vector file (GloVe text format) or "
            "the folder of a text encoder"
        )
    if Path(source).is_dir():
        return encode_class_names(source, classes)
    if not Path(source).is_file():
        raise UserError(f"model.label_vectors: {source} does not exist")
    return read_word_vectors(source, classes)
