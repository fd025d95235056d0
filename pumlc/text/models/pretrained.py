"""Encoders and tokenizers from directories and repositories of transformers.

Code that comes with a model is never run, and transformers never asks whether to run it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn

from pumlc.engine.foreign_code import as_user_error, without_kernels
from pumlc.errors import UserError
from pumlc.text.data.tokens import check_room
from pumlc.text.models.encoder import TextEncoder
from pumlc.text.models.head import Head
from pumlc.text.models.model_folder import model_json
from pumlc.text.models.sentence_transformers import backbone_folder, load_projection

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


def load_tokenizer(source: str, *, local: bool = False) -> "PreTrainedTokenizerBase":
    """The tokenizer of a directory or repository.

    Args:
        source: directory, or name on the hub.
        local: never ask the hub, whatever the files of the directory say.

    Raises:
        UserError: there is none, it cannot be read, or its vocabulary is missing.
    """
    from transformers import AutoTokenizer

    folder = backbone_folder(source)
    with as_user_error(f"no tokenizer in {folder}"):
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=local
        )
    # without the files, transformers makes a tokenizer to which every text is unknown
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        raise UserError(
            f"no tokenizer in {folder}: its vocabulary holds special tokens only; "
            "is tokenizer.json (or vocab.txt) missing?"
        )
    longest: Any = tokenizer.model_max_length  # as the file has it, which may come from anyone
    if type(longest) not in (int, float):
        raise UserError(
            f"no tokenizer in {folder}: tokenizer_config.json: model_max_length must be a number, "
            f"got {longest!r:.80}"
        )
    return tokenizer


def load_encoder(
    source: str,
    head: Head,
    *,
    pretrained: bool = True,
    dropout: float | None = None,
    local: bool = False,
) -> TextEncoder:
    """An encoder from a directory or repository of transformers or sentence-transformers.

    Args:
        source: directory, or name on the hub.
        head: what follows the backbone; `read_head` tells what the source asks for. Its projection
            takes the weights of a sentence-transformers ``Dense`` module of the same width.
        pretrained: False for random weights in the shape that the configuration asks for.
        dropout: probability in all layers of the backbone; None for that of the configuration.
        local: never ask the hub, whatever the files of the directory say.

    Raises:
        UserError: the source cannot be read, its weights do not fit its configuration, it needs
            code of its own, or it is an encoder-decoder model.
    """
    from transformers import AutoConfig

    folder = backbone_folder(source)
    _refuse_code(folder)
    safely: dict[str, Any] = {"trust_remote_code": False, "local_files_only": local}
    with as_user_error(f"no encoder in {folder}"):
        config = without_kernels(AutoConfig.from_pretrained(folder, **safely))
        backbone = _backbone(folder, config, safely, pretrained=pretrained, dropout=dropout)
    # some checkpoints are stored in half precision; training starts from float32
    encoder = TextEncoder(backbone.float(), head)
    if pretrained and encoder.projection is not None:
        load_projection(source, encoder.projection)
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


def check_length(
    encoder: TextEncoder,
    tokenizer: "PreTrainedTokenizerBase",
    length: int,
    setting: str = "max_length",
) -> None:
    """Raise UserError if texts of so many tokens do not fit tokenizer and encoder."""
    check_room(tokenizer, length, setting)
    positions = getattr(encoder.backbone.config, "max_position_embeddings", None) or length
    for name, module in encoder.backbone.named_modules():
        if not (name.endswith("position_embeddings") and isinstance(module, nn.Embedding)):
            continue
        if module.padding_idx is not None:  # RoBERTa and its kin count from the padding id on
            positions -= module.padding_idx + 1
    longest = min(positions, tokenizer.model_max_length)
    if length > longest:
        raise UserError(f"{setting} must be at most {longest} for this encoder, got {length}")


def _refuse_code(folder: str) -> None:
    """Raise UserError if transformers does not know the model and would run its own code."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    config = model_json(folder, "config.json")
    if not isinstance(config, dict) or "auto_map" not in config:
        return
    if config.get("model_type") not in CONFIG_MAPPING:
        raise UserError(
            f"no encoder in {folder}: config.json asks with auto_map to run code that comes with "
            "the model, which is never done; name a model that transformers knows"
        )


def _set_dropout(config: "PretrainedConfig", probability: float) -> None:
    """Change every dropout by its name in the family: hidden_dropout_prob, attn_pdrop and so on."""
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


def _backbone(
    folder: str,
    config: "PretrainedConfig",
    safely: dict[str, Any],
    *,
    pretrained: bool,
    dropout: float | None,
) -> "PreTrainedModel":
    """The transformer, with its weights or random ones; see `load_encoder`."""
    from transformers import AutoModel

    if config.is_encoder_decoder:
        raise UserError("an encoder-decoder model has no single sequence of hidden states")
    if dropout is not None:
        _set_dropout(config, dropout)
    if pretrained:
        return _pretrained_backbone(folder, config, safely)
    return AutoModel.from_config(config, trust_remote_code=False)


@contextmanager
def _without_report() -> Iterator[None]:
    """Keep transformers from printing which weights are missing, above all those of the pooler.

    A missing weight that counts is an error of ours.
    """
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _pretrained_backbone(
    folder: str, config: "PretrainedConfig", safely: dict[str, Any]
) -> "PreTrainedModel":
    """The transformer with its weights.

    Raises:
        UserError: a weight is missing or has another shape; it would be drawn at random.
    """
    from transformers import AutoModel

    with _without_report():
        backbone, report = AutoModel.from_pretrained(
            folder, config=config, output_loading_info=True, ignore_mismatched_sizes=True, **safely
        )
    for name, stored, wanted in sorted(report["mismatched_keys"]):
        raise UserError(
            f"its weights do not fit config.json: {name} is {list(stored)}, not {list(wanted)}"
        )
    # the pooler is removed, and many checkpoints have none
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise UserError(f"its weights do not fit config.json: there is no {missing[0]}")
    return backbone
