"""The encoder, the anchors and the coefficients of a frozen run, as one module to save and load."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import scipy.sparse as sp
import torch
from torch import nn

from pumlc.engine.checkpoint import load_into
from pumlc.errors import UserError
from pumlc.files import read_json, write_text
from pumlc.text.config import TextConfig
from pumlc.text.frozen.kernel import Documents
from pumlc.text.frozen.words import Words
from pumlc.text.joint.config import JOINT
from pumlc.text.joint.model import PREFIX, TYPES, JointHeads
from pumlc.text.joint.model import TERMS as LETTERS
from pumlc.text.models.encoder import DualEncoder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TERMS = "words.json"
_HEADS = "heads."
_TYPES = {
    "coefficients": torch.float32,
    "labels": torch.int64,
    "anchor_embeddings": torch.float32,
    "word_values": torch.float32,
    "word_columns": torch.int64,
    "word_starts": torch.int64,
    "word_weights": torch.float32,
}


class KernelHeads(nn.Module):
    """Buffers: coefficients [M, S], labels [S], and the M anchors as embeddings and words."""

    coefficients: torch.Tensor
    labels: torch.Tensor
    anchor_embeddings: torch.Tensor
    word_values: torch.Tensor
    word_columns: torch.Tensor
    word_starts: torch.Tensor
    word_weights: torch.Tensor

    def __init__(self, buffers: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        for name, kind in _TYPES.items():
            self.register_buffer(name, buffers[name].to(kind))

    @staticmethod
    def of(
        anchors: Documents, words: Words | None, labels: np.ndarray, coefficients: np.ndarray
    ) -> "KernelHeads":
        """Those of a fit."""
        matrix = sp.csr_array(anchors.words)
        arrays = {
            "coefficients": coefficients,
            "labels": labels,
            "anchor_embeddings": anchors.embeddings,
            "word_values": matrix.data.astype(np.float32),
            "word_columns": matrix.indices.astype(np.int64),
            "word_starts": matrix.indptr.astype(np.int64),
            "word_weights": np.empty(0, np.float32) if words is None else words.weights,
        }
        return KernelHeads({name: torch.from_numpy(array) for name, array in arrays.items()})

    def anchors(self) -> Documents:
        """The documents that others are compared with.

        Raises:
            ValueError: the buffers, which may come from anyone, do not belong together.
        """
        shape = len(self.anchor_embeddings), len(self.word_weights)
        parts = self.word_values, self.word_columns, self.word_starts
        matrix = sp.csr_array(tuple(part.numpy() for part in parts), shape)
        matrix.check_format(full_check=True)
        if len(self.coefficients) != shape[0] or self.coefficients.shape[1] != len(self.labels):
            raise ValueError(f"coefficients {list(self.coefficients.shape)} of {shape[0]} anchors")
        return Documents(self.anchor_embeddings.numpy(), matrix)


class FrozenModel(nn.Module):
    """All that a frozen run predicts with.

    Attributes:
        encoders: the encoder as it was; None where words alone are compared.
        heads: what was fitted.
        tokenizer: of the encoder.
        words: what the columns of the anchors' words mean; None where embeddings alone are
            compared.
        joint: labels by their text, of a joint run.
        letters: the pieces of words that these are compared by.
    """

    joint: JointHeads | None
    letters: Words | None

    def __init__(
        self,
        encoders: DualEncoder | None,
        heads: KernelHeads | None,
        tokenizer: "PreTrainedTokenizerBase | None",
        words: Words | None,
    ) -> None:
        super().__init__()
        self.encoders, self.heads = encoders, heads
        self.tokenizer, self.words = tokenizer, words
        self.joint, self.letters = None, None

    def write_terms(self, run: Path) -> None:
        """Write the terms of the words into a run folder; no weights are complete without."""
        for file, words in ((TERMS, self.words), (LETTERS, self.letters)):
            if words is not None:
                write_text(run / file, json.dumps(list(words.terms), ensure_ascii=False))


def load_model(
    run: Path,
    file: Path,
    config: TextConfig,
    encoders: DualEncoder | None,
    tokenizer: "PreTrainedTokenizerBase | None",
) -> FrozenModel:
    """The model of a run folder, which may come from anyone.

    Args:
        run: the folder.
        file: its weights.
        config: its settings.
        encoders: the encoder in its shape; None where words alone are compared.
        tokenizer: of the encoder.

    Raises:
        UserError: files are missing or damaged, or do not belong together.
    """
    heads = KernelHeads(_empty_buffers(file, _HEADS, _TYPES))
    model = FrozenModel(encoders, heads, tokenizer, None)
    if config.heads == JOINT:
        model.joint = JointHeads(_empty_buffers(file, PREFIX, TYPES))
    load_into(model, file)
    try:
        heads.anchors()
    except ValueError as error:
        raise UserError(f"{file}: heads that do not belong together: {error}") from error
    labels = heads.labels
    if len(labels) and (int(labels[0]) < 0 or bool((labels.diff() <= 0).any())):
        raise UserError(f"{file}: heads.labels do not ascend")
    if config.kernel.words:
        model.words = _read_words(run / TERMS, heads.word_weights, config.kernel.word_count)
    if model.joint is not None:
        weights = model.joint.letter_weights
        count = config.kernel.word_count
        model.letters = _read_words(run / LETTERS, weights, count, config.joint.letters)
    return model.eval()


def _read_words(
    file: Path, weights: torch.Tensor, count: int | None, letters: int | None = None
) -> Words:
    terms = read_json(file)
    if not isinstance(terms, list) or len(set(map(str, terms))) != len(weights):
        raise UserError(f"{file} must list {len(weights)} different terms")
    return Words([str(term) for term in terms], weights.numpy(), count, letters)


def _empty_buffers(
    file: Path, prefix: str, types: Mapping[str, torch.dtype]
) -> dict[str, torch.Tensor]:
    """Buffers of the shapes in a weights file; their memory is not touched before it is filled."""
    try:
        with safetensors.safe_open(file, "pt") as content:
            names = set(content.keys())
            shapes: dict[str, Any] = {
                name: content.get_slice(prefix + name).get_shape()
                for name in types
                if prefix + name in names
            }
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{file}: not a readable safetensors file ({error})") from error
    if missing := [name for name in types if name not in shapes]:
        raise UserError(f"{file}: no weights of such heads: {prefix}{missing[0]} is missing")
    return {name: torch.empty(shapes[name], dtype=kind) for name, kind in types.items()}
