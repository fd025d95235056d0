"""Build the network of a run from its settings, to train it or to load its trained weights."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pumlc.engine.checkpoint import load_into, load_weights, saved_shape
from pumlc.errors import UserError, warn_user
from pumlc.labels import LabelMatrix
from pumlc.vision.config import ModelConfig, VisionConfig
from pumlc.vision.models.class_vectors import (
    encode_class_names,
    label_graph,
    read_word_vectors,
    vectors_place,
)
from pumlc.vision.models.classifier import Classifier, create_classifier
from pumlc.vision.models.kernel_head import LANDMARKS, KernelHead
from pumlc.vision.models.run_weights import run_weights
from pumlc.vision.models.trained_part import freeze, train_last_stages


def build_for_training(
    config: VisionConfig, classes: tuple[str, ...], observed_labels: LabelMatrix
) -> Classifier:
    """Build the network with its starting weights, and freeze what the config says.

    If it starts from another run with the same classes, it has the head of that run too.

    A backbone without a convolution that takes a local-global branch is trained without one, and
    a warning says so.

    Args:
        config: the settings of the run.
        classes: C names.
        observed_labels: [N, C] of the training part; the label graph is counted from them.

    Raises:
        UserError: see `create_classifier`, `freeze` and `train_last_stages`; the head lacks its
            label vectors; the network cannot take pictures of this size, or batches of one.
    """
    inputs: dict[str, Tensor] = {}
    if config.model.head == "ssgrl":
        inputs["label_vectors"] = _label_vectors(config.model.label_vectors, classes)
        if config.model.label_graph:
            inputs["label_graph"] = label_graph(observed_labels)
    model = _build(config, len(classes), config.model.weights, inputs)
    of_run = run_weights(config.model.weights)
    if of_run is not None:
        from pumlc.losses import find_loss  # prediction, which builds networks too, needs no loss

        model.has_trained_head = of_run.load_into_head(
            model.head,
            classes,
            pooling=config.model.pooling,
            regression=find_loss(config.loss.name, imports=True).regression,
        )
        if not model.has_trained_head:
            warn_user(
                f"model.weights {config.model.weights}: its classes, its pooling or its head are "
                "others, so that the head starts anew"
            )
    _refuse_batches_of_one(model, config)
    try_picture(model, config.model)
    if config.model.local_global and not model.converted:
        warn_user(
            f"model.local_global: {config.model.backbone} has no 3x3 convolution that takes a "
            "local-global branch (it is a transformer, or has larger kernels); it is trained "
            "without branches"
        )
    if config.model.trainable is not None:
        freeze(model, config.model.trainable)
    elif config.model.train_stages is not None:
        train_last_stages(model, config.model.train_stages, config.model.train_branches)
    return model


def build_trained(config: VisionConfig, num_classes: int, weights_file: Path) -> Classifier:
    """Build the network of a run and load saved weights; nothing is downloaded.

    Args:
        config: the settings of the run.
        num_classes: C.
        weights_file: the saved weights, in safetensors format.

    Raises:
        UserError: no network is like that; the file is missing or holds weights of another one.
    """
    inputs: dict[str, Tensor] = {}
    if config.model.head == "ssgrl":  # its vectors and graph are saved with the weights
        names = {"label_vectors": "label_vectors", "graph": "label_graph"}
        for key, value in load_weights(weights_file).items():
            buffer = key.rpartition(".")[2]
            if key.startswith("head.") and buffer in names:
                inputs[names[buffer]] = value
    try:
        model = _build(config, num_classes, None, inputs, tower_of=weights_file.parents[1])
    except UserError as error:
        raise UserError(f"run.json: {error}") from error
    _set_kernel_head(model, weights_file, num_classes)
    load_into(model, weights_file)
    return model


def _set_kernel_head(model: Classifier, weights_file: Path, num_classes: int) -> None:
    """Give the network the head that a frozen run has saved, if it has a kernel."""
    landmarks = saved_shape(weights_file, f"head.{LANDMARKS}")
    if landmarks is not None and isinstance(model.head, nn.Linear):
        model.head = KernelHead(model.head.in_features, num_classes, landmarks[0])


def _build(
    config: VisionConfig,
    num_classes: int,
    weights: str | None,
    inputs: dict[str, Any],
    tower_of: Path | None = None,
) -> Classifier:
    classifier = create_classifier(
        config.model.backbone,
        num_classes,
        local_global="auto" if config.model.local_global else False,
        head=config.model.head,
        weights=weights,
        image_size=config.data.input_size,
        batch_norm=config.model.batch_norm,
        pooling=config.model.pooling,
        mirror=config.model.mirror,
        tower_of=tower_of,
        **inputs,
    )
    # convolutions run up to twice as fast in this layout, on CPU and on GPU
    return classifier.to(memory_format=torch.channels_last)  # pyright: ignore


def _refuse_batches_of_one(model: Classifier, config: VisionConfig) -> None:
    """Refuse a batch of one picture: BatchNorm has no statistics if the map is a single pixel."""
    if config.train.batch_size > 1 or config.model.batch_norm == "frozen":
        return
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if norms:
        raise UserError(
            f"train.batch_size 1: {config.model.backbone} has {len(norms)} BatchNorm layers, which "
            "need statistics of a batch; valid: train.batch_size 2 or more, or "
            "model.batch_norm frozen"
        )


def try_picture(model: Classifier, settings: ModelConfig) -> None:
    """Run the network on an empty picture, to refuse an unsuitable size now.

    timm offers no other way to find out, and has no exception type for it.

    Raises:
        UserError: the network cannot take pictures of this size.
    """
    _, height, width = model.data_config["input_size"]
    picture = torch.zeros(1, 3, height, width)
    try:
        with torch.inference_mode():
            model.eval()(picture)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"model.backbone {settings.backbone} with model.head {settings.head} cannot "
            f"take pictures of {height} x {width} pixels (data.image_size): {reason}"
        ) from error
    finally:
        model.train()


def _label_vectors(source: str | None, classes: tuple[str, ...]) -> Tensor:
    if source is None:
        raise UserError(
            "model.head ssgrl needs model.label_vectors: a word-vector file (GloVe text format), "
            "the folder of a text encoder, or pip"
        )
    place = vectors_place(source)
    if place.is_dir():
        return encode_class_names(place, classes)
    return read_word_vectors(place, classes)
