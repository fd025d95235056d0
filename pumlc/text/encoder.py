"""Transformers that turn a text into one vector, and pairs of them for documents and labels."""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Pooling = Literal["mean", "cls"]
Activation = Literal["identity", "tanh"]


@dataclass(frozen=True)
class Head:
    """What happens to the last hidden states [B, T, H] of a backbone.

    Args:
        pooling: ``mean`` over the tokens of the text, or the first token (``cls``).
        projection: width of a linear layer after pooling; None for no such layer.
        activation: after the projection.
        normalize: scale the result to length 1.
    """

    pooling: Pooling = "mean"
    projection: int | None = None
    activation: Activation = "identity"
    normalize: bool = True

    def __post_init__(self) -> None:
        if self.pooling not in ("mean", "cls"):
            raise ValueError(f"pooling must be 'mean' or 'cls', got {self.pooling!r}")
        if self.activation not in ("identity", "tanh"):
            raise ValueError(f"activation must be 'identity' or 'tanh', got {self.activation!r}")
        if self.projection is not None and self.projection < 1:
            raise ValueError(f"projection must be at least 1 or None, got {self.projection}")


class TextEncoder(nn.Module):
    """A backbone and its `Head`: token ids [B, T] to float32 vectors [B, D].

    Args:
        backbone: a model of transformers; its pooler, which nothing here uses, is taken off.
        head: what happens to its last hidden states.
    """

    def __init__(self, backbone: "PreTrainedModel", head: Head) -> None:
        super().__init__()
        if getattr(backbone, "pooler", None) is not None:
            backbone.pooler = None  # type: ignore[assignment]
        self.backbone, self.head = backbone, head
        width = int(backbone.config.hidden_size)
        self.projection = None if head.projection is None else nn.Linear(width, head.projection)
        self.dimension: int = head.projection or width

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode a batch; pooling and normalisation are computed in float32.

        Args:
            input_ids: int64 [B, T].
            attention_mask: int64 [B, T], 1 where there is a token.

        Returns:
            float32 [B, D].
        """
        hidden = self.backbone(input_ids=input_ids, attention_mask=attention_mask)[0].float()
        if self.head.pooling == "cls":
            pooled = hidden[:, 0]
        else:
            weight = attention_mask.unsqueeze(-1).float()
            pooled = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)
        if self.projection is not None:
            pooled = self.projection(pooled).float()
        if self.head.activation == "tanh":
            pooled = pooled.tanh()
        return F.normalize(pooled, dim=-1) if self.head.normalize else pooled


class DualEncoder(nn.Module):
    """Encoders of documents and of labels: one for both, or two that start out equal.

    Args:
        encoder: the encoder of documents.
        shared: whether it encodes the labels too.
    """

    def __init__(self, encoder: TextEncoder, *, shared: bool) -> None:
        super().__init__()
        self.documents = encoder
        # registered once when shared: each weight is saved once and has one gradient
        self.separate_labels = None if shared else copy.deepcopy(encoder)

    @property
    def labels(self) -> TextEncoder:
        """The encoder of labels."""
        return self.documents if self.separate_labels is None else self.separate_labels


def read_head(source: str) -> Head | None:
    """The head that a sentence-transformers directory or repository asks for; None if it is none.

    Raises:
        ValueError: it has a module, pooling or activation that is not supported.
    """
    modules = _read_json(source, "modules.json")
    if modules is None:
        return None
    found: dict[str, Any] = {"normalize": False}
    for module in modules:
        kind, folder = module["type"].rsplit(".", 1)[-1], module["path"]
        if kind == "Pooling":
            found["pooling"] = _pooling(source, _read_json(source, f"{folder}/config.json") or {})
        elif kind == "Dense":
            if "projection" in found:
                raise ValueError(f"{source}: more than one Dense module is not supported")
            config = _read_json(source, f"{folder}/config.json") or {}
            name = config.get("activation_function", "torch.nn.modules.linear.Identity")
            found["activation"] = name.rsplit(".", 1)[-1].lower()
            found["projection"] = config["out_features"]
        elif kind == "Normalize":
            found["normalize"] = True
        elif kind != "Transformer":
            raise ValueError(
                f"{source}: sentence-transformers module {kind!r} is not supported; "
                "supported: Transformer, Pooling, Dense, Normalize"
            )
    return Head(**found)


def load_tokenizer(source: str) -> "PreTrainedTokenizerBase":
    """The tokenizer of a directory or repository.

    Raises:
        ValueError: there is none, or it cannot be read.
    """
    from transformers import AutoTokenizer

    folder = _backbone_folder(source)
    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise ValueError(f"no tokenizer in {folder}: {error}") from None


def load_encoder(source: str, head: Head, *, pretrained: bool = True) -> TextEncoder:
    """An encoder from a directory or repository of transformers or sentence-transformers.

    Args:
        source: directory, or name on the hub.
        head: what follows the backbone; `read_head` tells what the source asks for. Its projection
            takes the weights of a sentence-transformers ``Dense`` module of the same width.
        pretrained: False for random weights in the shape that the configuration asks for.

    Raises:
        ValueError: the source cannot be read, or it is an encoder-decoder model.
    """
    from transformers import AutoConfig, AutoModel

    folder = _backbone_folder(source)
    try:
        config = AutoConfig.from_pretrained(folder)
        if config.is_encoder_decoder:
            raise ValueError("an encoder-decoder model has no single sequence of hidden states")
        # some checkpoints are stored in half precision; training starts from float32
        backbone = (
            AutoModel.from_pretrained(folder) if pretrained else AutoModel.from_config(config)
        ).float()
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"no encoder in {folder}: {error}") from None
    encoder = TextEncoder(backbone, head)
    if pretrained and encoder.projection is not None:
        _load_dense(source, encoder.projection)
    return encoder


def check_length(encoder: TextEncoder, tokenizer: "PreTrainedTokenizerBase", length: int) -> None:
    """Raise ValueError if texts of ``length`` tokens do not fit the positions of the encoder."""
    positions = getattr(encoder.backbone.config, "max_position_embeddings", None) or length
    for name, module in encoder.backbone.named_modules():
        if not (name.endswith("position_embeddings") and isinstance(module, nn.Embedding)):
            continue
        if module.padding_idx is not None:  # RoBERTa and its kin count from the padding id on
            positions -= module.padding_idx + 1
    longest = min(positions, tokenizer.model_max_length)
    if length > longest:
        raise ValueError(f"max_length must be at most {longest} for this encoder, got {length}")


def _load_dense(source: str, projection: nn.Linear) -> None:
    """Fill ``projection`` from the Dense module of the source, if it has one of that width."""
    for module in _read_json(source, "modules.json") or []:
        if not module["type"].endswith(".Dense"):
            continue
        from safetensors.torch import load_file

        path = _file(source, f"{module['path']}/model.safetensors")
        if path is not None:
            state = load_file(path)
        else:
            path = _file(source, f"{module['path']}/pytorch_model.bin")
            if path is None:
                raise ValueError(f"{source}: {module['path']} has no weights")
            state = torch.load(path, map_location="cpu", weights_only=True)
        weight, bias = state["linear.weight"], state.get("linear.bias")
        if weight.shape != projection.weight.shape:
            return
        with torch.no_grad():
            projection.weight.copy_(weight)
            projection.bias.copy_(torch.zeros(len(weight)) if bias is None else bias)


def _pooling(source: str, config: dict[str, Any]) -> Pooling:
    """``pooling_mode_*`` flags of older directories, ``pooling_mode`` of newer ones."""
    prefix = "pooling_mode_"
    flags = [name.removeprefix(prefix) for name, on in config.items() if on and prefix in name]
    modes = [config["pooling_mode"]] if "pooling_mode" in config else flags
    names: dict[str, Pooling] = {
        "mean_tokens": "mean",
        "cls_token": "cls",
        "mean": "mean",
        "cls": "cls",
    }
    if len(modes) != 1 or modes[0] not in names:
        raise ValueError(f"{source}: pooling {modes} is not supported; supported: mean, cls")
    return names[modes[0]]


def _backbone_folder(source: str) -> str:
    """Where the transformer is: older sentence-transformers keep it in a sub-folder."""
    modules = _read_json(source, "modules.json") if Path(source).is_dir() else None
    return str(Path(source) / modules[0]["path"]) if modules else source


def _read_json(source: str, name: str) -> Any:
    path = _file(source, name)
    if path is None:
        return None
    try:
        return json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error})") from None


def _file(source: str, name: str) -> Path | None:
    """A file of a directory or of a repository on the hub; None if it has no such file."""
    if Path(source).is_dir():
        path = Path(source) / name
        return path if path.is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        return Path(hf_hub_download(source, name))
    except (EntryNotFoundError, LocalEntryNotFoundError):
        return None
    except (HFValidationError, RepositoryNotFoundError):
        raise ValueError(f"{source!r} is neither a directory nor a name on the hub") from None
