"""Settings of an image run."""

import inspect
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from pumlc.engine.config import TrainConfig, closest, require
from pumlc.errors import UserError
from pumlc.vision.data.config import DataConfig


@dataclass(kw_only=True)
class ModelConfig:
    """The network and which of its weights are trained."""

    backbone: str
    """any timm name"""
    weights: str | None = None
    """'pretrained' (timm's hub), 'pip' (extra [offline]), a weights file, or none: random"""
    local_global: bool = False
    """add a local-global branch to the 3x3 convolutions"""
    head: Literal["linear", "ml_decoder", "ssgrl"] = "linear"
    """linear: global average pooling and a linear layer"""
    label_vectors: str | None = None
    """ssgrl: word vectors (GloVe text format) or the folder of a text encoder, for class names"""
    label_graph: bool = True
    """ssgrl: propagate along the graph of labels known together in the training part"""
    trainable: list[str] | None = None
    """patterns of the names of trained parameters; none: all (published: layer4, branches, head)"""
    batch_norm: Literal["frozen", "train"] = "train"
    """frozen (published): every BatchNorm, new ones too, stays in evaluation mode"""


@dataclass(kw_only=True)
class LossConfig:
    """The loss and its regulariser."""

    name: str
    """a name of pumlc.losses.LOSSES"""
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
        check_loss_parameters(self.name, self.parameters)


PLACES = ("data.root", "data.csv", "data.positive_list")
"""Settings that say where the data are: a run may go on after they were moved."""


@dataclass(kw_only=True)
class VisionConfig:
    """An image run."""

    data: DataConfig
    model: ModelConfig
    loss: LossConfig
    train: TrainConfig
    task: Literal["vision"] = "vision"
    """which branch of the package"""


def check_loss_parameters(name: str, parameters: dict[str, float | str | bool | None]) -> None:
    """Check a loss's name and keywords before anything is loaded.

    Raises:
        UserError: unknown name or keyword (with the nearest valid one), or a missing keyword.
    """
    from pumlc.losses import LOSSES

    if name not in LOSSES:
        raise UserError(f"loss.name: unknown loss {name!r}; {closest(name, list(LOSSES))}")
    signature = inspect.signature(LOSSES[name]).parameters
    if "logits" not in signature:
        raise UserError(f"loss.name: {name} is a loss of texts (task: text), not of pictures")
    keywords = {
        parameter.name: parameter
        for parameter in signature.values()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name != "process_group"
    }
    tensors = [n for n, p in keywords.items() if p.annotation is Tensor and p.default is p.empty]
    if tensors:
        raise UserError(
            f"loss.name: {name} needs the tensor {tensors[0]}, which no config can give; it is for "
            "training loops of your own"
        )
    for given in parameters:
        if given not in keywords:
            raise UserError(
                f"loss.parameters: {name} has no parameter {given!r}; "
                f"{closest(given, list(keywords))}; to drop those that a config file has for "
                "another loss: --loss.parameters '{}'"
            )
    missing = [k for k, p in keywords.items() if p.default is p.empty and k not in parameters]
    if missing:
        raise UserError(f"loss.parameters: {name} needs {', '.join(missing)}")
