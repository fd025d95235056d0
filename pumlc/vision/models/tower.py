"""Vision towers of transformers (CLIP, SigLIP, DINOv2, ViT ...), with the interface of timm."""

import inspect
import re
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pumlc.engine.foreign_code import as_user_error, without_kernels
from pumlc.errors import UserError
from pumlc.files import read_json, write_json
from pumlc.vision.config import TOWERS
from pumlc.vision.models.weights import (
    FOUND,
    RANDOM,
    load_backbone,
    offline_unless_reachable,
    read_weights,
)

FILE = "tower.json"
"""The file of a run that says what its tower is: nothing else is needed to build it again."""


class Tower(nn.Module):
    """A vision model of transformers.

    Its features are what the model itself pools, or the first token of one that pools nothing.

    Args:
        config: of transformers, of the vision part.
        network: the model.
        pretrained_cfg: input_size, mean, std, interpolation and crop_pct, as timm has them.
    """

    def __init__(self, config: Any, network: nn.Module, pretrained_cfg: dict[str, Any]) -> None:
        super().__init__()
        self.network = network
        self.pretrained_cfg = pretrained_cfg
        width = getattr(config, "hidden_size", None) or config.hidden_sizes[-1]
        self.num_features = int(width)
        self._config = config
        takes = inspect.signature(network.forward).parameters
        self._any_size = {"interpolate_pos_encoding": True} if _ANY_SIZE in takes else {}

    def forward_features(self, images: Tensor) -> Tensor:
        """The pooled features, [B, D]."""
        own = getattr(self._config, "image_size", None)
        as_trained = list(images.shape[-2:]) == ([own, own] if isinstance(own, int) else own)
        found = self.network(pixel_values=images, **({} if as_trained else self._any_size))
        pooled = getattr(found, "pooler_output", None)
        # a pooled map of a convolutional network is [B, D, 1, 1]
        return found.last_hidden_state[:, 0] if pooled is None else pooled.flatten(1)

    def forward_head(self, features: Tensor, pre_logits: bool = True) -> Tensor:
        """The features as they are; there is no layer for classes."""
        return features

    def described(self) -> dict[str, Any]:
        """What `read_tower` needs, as plain JSON."""
        return {"config": self._config.to_dict(), "pretrained_cfg": self.pretrained_cfg}


_ANY_SIZE = "interpolate_pos_encoding"
_NAMES_CODE = re.compile("^_|attn_implementation|auto_map|quantization")
"""Settings by which transformers may load other code: a run folder may come from anyone."""


def is_tower(backbone: str) -> bool:
    """Whether a name is of transformers: ``transformers/NAME``, of the hub or a folder."""
    return backbone.startswith(TOWERS)


def create_tower(backbone: str, weights: str | None) -> tuple[Tower, str]:
    """Create a tower, and the source of its weights.

    Args:
        backbone: ``transformers/NAME``, NAME of the hub or of a folder.
        weights: "auto", "found" or "pretrained": those that NAME has; None: random ones; or a file
            with the names of this tower.

    Raises:
        UserError: transformers is not installed, or NAME is no vision model, or is not there.
    """
    transformers = _transformers()
    name = backbone.removeprefix(TOWERS)
    if weights == "pip":
        raise UserError(f"weights 'pip' do not exist for {backbone}; valid: 'auto'")
    loads = weights in ("auto", FOUND, "pretrained")
    problem = f"model.backbone {backbone}: no vision model of transformers that can be read"
    with as_user_error(problem), offline_unless_reachable():
        config = without_kernels(
            transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
        )
        config = getattr(config, "vision_config", config)
        processor, _ = transformers.ImageProcessingMixin.get_image_processor_dict(name)
        if loads:  # no pickled code
            network = transformers.AutoModel.from_pretrained(
                name, config=config, use_safetensors=True, trust_remote_code=False
            )
        else:
            network = transformers.AutoModel.from_config(config, trust_remote_code=False)
    if getattr(network, "main_input_name", None) != "pixel_values":
        raise UserError(f"model.backbone {backbone}: {config.model_type} takes no pictures")
    tower = Tower(config, network, _as_timm(processor))
    if loads:
        return tower, f"transformers {name}"
    if weights is None:
        return tower, RANDOM
    load_backbone(tower, read_weights(Path(weights)), weights)
    return tower, weights


def save_tower(backbone: nn.Module, folder: Path) -> None:
    """Write what `read_tower` needs into a run folder, if the backbone is a tower."""
    if isinstance(backbone, Tower):
        write_json(folder / FILE, backbone.described())


def read_tower(folder: Path) -> Tower:
    """The tower of a run with random weights; nothing is downloaded.

    Args:
        folder: the run folder.

    Raises:
        UserError: transformers is not installed, or the file is missing or damaged.
    """
    transformers = _transformers()
    content = read_json(folder / FILE)
    with as_user_error(f"{folder / FILE}: no vision model of transformers"):
        settings = {
            name: value for name, value in content["config"].items() if not _NAMES_CODE.search(name)
        }
        config = transformers.AutoConfig.for_model(settings.pop("model_type"), **settings)
        without_kernels(config)
        network = transformers.AutoModel.from_config(config, trust_remote_code=False)
        described = dict(content["pretrained_cfg"])
        described["input_size"] = tuple(described["input_size"])
    return Tower(config, network, described)


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise UserError(
            "a backbone transformers/NAME needs the package transformers: pip install 'pumlc[text]'"
        ) from error
    return transformers


def _as_timm(processor: dict[str, Any]) -> dict[str, Any]:
    """What timm calls input_size, mean, std and crop_pct."""
    size, crop = processor.get("size") or {}, processor.get("crop_size")
    if isinstance(size, int):
        size = {"shortest_edge": size}
    shown = size.get("shortest_edge") or size.get("height") or 224
    crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
    if not crop or processor.get("do_center_crop") is False:
        crop = {"height": size.get("height", shown), "width": size.get("width", shown)}
    return {
        "input_size": (3, int(crop["height"]), int(crop["width"])),
        "mean": tuple(processor.get("image_mean") or (0.5, 0.5, 0.5)),
        "std": tuple(processor.get("image_std") or (0.5, 0.5, 0.5)),
        "interpolation": "bicubic",
        "crop_pct": 1.0,  # pictures are scaled to the whole size
        "classifier": None,
    }
