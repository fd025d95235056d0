"""Transformers that turn a text into one vector, and pairs of them for documents and labels."""

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pumlc.errors import UserError
from pumlc.text.models.label_vectors import LabelVectors
from pumlc.text.models.model_folder import (
    Module,
    backbone_folder,
    model_file,
    module_config,
    modules_of,
)

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

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
            raise UserError(f"pooling must be 'mean' or 'cls', got {self.pooling!r}")
        if self.activation not in ("identity", "tanh"):
            raise UserError(f"activation must be 'identity' or 'tanh', got {self.activation!r}")
        if self.projection is not None and self.projection < 1:
            raise UserError(f"projection must be at least 1 or None, got {self.projection}")


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
            pooled = self.projection(pooled.to(self.projection.weight.dtype)).float()
        if self.head.activation == "tanh":
            pooled = pooled.tanh()
        return F.normalize(pooled, dim=-1) if self.head.normalize else pooled


class DualEncoder(nn.Module):
    """Encoders of documents and of labels: one for both, or two that start out equal.

    Args:
        encoder: the encoder of documents.
        shared: whether it encodes the labels too.
        label_vectors: stand in for the texts of some labels; None: every label is its text.
    """

    def __init__(
        self, encoder: TextEncoder, *, shared: bool, label_vectors: LabelVectors | None = None
    ) -> None:
        super().__init__()
        self.documents = encoder
        self.label_vectors = label_vectors
        # registered once when shared: each weight is saved once and has one gradient
        self.separate_labels = None if shared else copy.deepcopy(encoder)

    @property
    def labels(self) -> TextEncoder:
        """The encoder of labels."""
        return self.documents if self.separate_labels is None else self.separate_labels


def read_head(source: str) -> Head | None:
    """The head that a sentence-transformers directory or repository asks for; None if it is none.

    Raises:
        UserError: it has a module, pooling or activation that is not supported.
    """
    modules = modules_of(source)
    if modules is None:
        return None
    found: dict[str, Any] = {"normalize": False}
    for module in modules:
        if module.kind == "Pooling":
            found["pooling"] = _pooling(source, module_config(source, module))
        elif module.kind == "Dense":
            if "projection" in found:
                raise UserError(f"{source}: more than one Dense module is not supported")
            config = module_config(source, module)
            name = config.get("activation_function", "torch.nn.modules.linear.Identity")
            found["activation"] = str(name).rsplit(".", 1)[-1].lower()
            found["projection"] = _dense_width(source, module, config)
        elif module.kind == "Normalize":
            found["normalize"] = True
        elif module.kind != "Transformer":
            raise UserError(
                f"{source}: sentence-transformers module {module.kind!r} is not supported; "
                "supported: Transformer, Pooling, Dense, Normalize"
            )
    return Head(**found)


def load_tokenizer(source: str) -> "PreTrainedTokenizerBase":
    """The tokenizer of a directory or repository.

    Raises:
        UserError: there is none, it cannot be read, or its vocabulary is missing.
    """
    from transformers import AutoTokenizer

    folder = backbone_folder(source)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # transformers passes on what its parsers raise
        raise UserError(f"no tokenizer in {folder}: {_one_line(error)}") from None
    # without its files transformers makes one to which every text is unknown
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        raise UserError(
            f"no tokenizer in {folder}: its vocabulary holds special tokens only; "
            "is tokenizer.json (or vocab.txt) missing?"
        )
    return tokenizer


def load_encoder(
    source: str, head: Head, *, pretrained: bool = True, dropout: float | None = None
) -> TextEncoder:
    """An encoder from a directory or repository of transformers or sentence-transformers.

    Args:
        source: directory, or name on the hub.
        head: what follows the backbone; `read_head` tells what the source asks for. Its projection
            takes the weights of a sentence-transformers ``Dense`` module of the same width.
        pretrained: False for random weights in the shape that the configuration asks for.
        dropout: probability in all layers of the backbone; None for that of the configuration.

    Raises:
        UserError: the source cannot be read, its weights do not fit its configuration, or it is an
            encoder-decoder model.
    """
    from transformers import AutoConfig, AutoModel

    folder = backbone_folder(source)
    try:
        config = AutoConfig.from_pretrained(folder)
        if config.is_encoder_decoder:
            raise UserError("an encoder-decoder model has no single sequence of hidden states")
        if dropout is not None:
            _set_dropout(config, dropout)
        # some checkpoints are stored in half precision; training starts from float32
        backbone = (
            _pretrained_backbone(folder, config) if pretrained else AutoModel.from_config(config)
        ).float()
    except Exception as error:  # transformers, safetensors and torch each raise their own
        raise UserError(f"no encoder in {folder}: {_one_line(error)}") from None
    encoder = TextEncoder(backbone, head)
    if pretrained and encoder.projection is not None:
        _load_dense(source, encoder.projection)
    return encoder


def check_vocabulary(encoder: TextEncoder, tokenizer: "PreTrainedTokenizerBase") -> None:
    """Raise UserError if the tokenizer has an id that the encoder has no embedding for."""
    embeddings: Any = encoder.backbone.get_input_embeddings()
    rows = len(embeddings.weight)
    largest = max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise UserError(
            f"the tokenizer has ids up to {largest}, the encoder embeds {rows} tokens: they do not "
            "belong together"
        )


def check_length(encoder: TextEncoder, tokenizer: "PreTrainedTokenizerBase", length: int) -> None:
    """Raise UserError if texts of ``length`` tokens do not fit the positions of the encoder."""
    positions = getattr(encoder.backbone.config, "max_position_embeddings", None) or length
    for name, module in encoder.backbone.named_modules():
        if not (name.endswith("position_embeddings") and isinstance(module, nn.Embedding)):
            continue
        if module.padding_idx is not None:  # RoBERTa and its kin count from the padding id on
            positions -= module.padding_idx + 1
    longest = min(positions, tokenizer.model_max_length)
    if length > longest:
        raise UserError(f"max_length must be at most {longest} for this encoder, got {length}")


def _set_dropout(config: "PretrainedConfig", probability: float) -> None:
    """Change all that the families call dropout: hidden_dropout_prob, attn_pdrop and so on."""
    names = [
        name
        for name, value in config.to_dict().items()
        if ("dropout" in name or name.endswith("pdrop"))
        and isinstance(value, int | float)
        and not isinstance(value, bool)
    ]
    if not names:
        raise UserError("its configuration names no dropout that could be set")
    for name in names:
        setattr(config, name, probability)


def _pretrained_backbone(folder: str, config: "PretrainedConfig") -> "PreTrainedModel":
    """ValueError if a weight is missing or has another shape: it would be drawn at random."""
    from transformers import AutoModel

    backbone, found = AutoModel.from_pretrained(
        folder, config=config, output_loading_info=True, ignore_mismatched_sizes=True
    )
    for name, stored, wanted in sorted(found["mismatched_keys"]):
        raise UserError(
            f"its weights do not fit config.json: {name} is {list(stored)}, not {list(wanted)}"
        )
    # the pooler is taken off, and many checkpoints have none
    missing = sorted(name for name in found["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise UserError(f"its weights do not fit config.json: there is no {missing[0]}")
    return backbone


def _load_dense(source: str, projection: nn.Linear) -> None:
    """Fill ``projection`` from the Dense module of the source, if it has one of that width."""
    for module in modules_of(source) or []:
        if module.kind != "Dense":
            continue
        state = _dense_weights(source, module)
        weight, bias = state["linear.weight"], state.get("linear.bias")
        if weight.shape != projection.weight.shape:
            return
        with torch.no_grad():
            projection.weight.copy_(weight)
            projection.bias.copy_(torch.zeros(len(weight)) if bias is None else bias)


def _dense_weights(source: str, module: Module) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    path = model_file(source, f"{module.folder}/model.safetensors")
    try:
        if path is not None:
            state = load_file(path)
        else:
            path = model_file(source, f"{module.folder}/pytorch_model.bin")
            if path is None:
                raise UserError("there is none")
            state = torch.load(path, map_location="cpu", weights_only=True)
        if "linear.weight" not in state:
            raise UserError(f"no linear.weight in {path.name}")
    except Exception as error:  # safetensors, zip and pickle each raise their own
        raise UserError(f"{source}: no weights in {module.folder}: {_one_line(error)}") from None
    return state


def _dense_width(source: str, module: Module, config: dict[str, Any]) -> int:
    width = config.get("out_features")
    if not isinstance(width, int) or isinstance(width, bool):
        raise UserError(
            f"{source}: {module.folder}/config.json: out_features must be a whole number, "
            f"got {width!r}"
        )
    return width


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
        raise UserError(f"{source}: pooling {modes} is not supported; supported: mean, cls")
    return names[modes[0]]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
