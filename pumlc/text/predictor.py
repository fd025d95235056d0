"""A trained dual encoder, ready to name the labels of texts."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from pumlc.engine.checkpoint import load_into
from pumlc.engine.config import from_plain
from pumlc.engine.device import choose_device
from pumlc.engine.run import RunFolder
from pumlc.errors import UserError
from pumlc.files import read_json
from pumlc.text.config import TextConfig
from pumlc.text.data.readers import is_unicode
from pumlc.text.data.tokens import tokenize
from pumlc.text.models.embedding import embed
from pumlc.text.models.encoder import DualEncoder, Head, TextEncoder, load_encoder, load_tokenizer
from pumlc.text.models.label_vectors import LabelVectors, label_embeddings
from pumlc.text.retrieval.ranking import PRECISIONS, Precision
from pumlc.text.retrieval.search import search


class TextPrediction(NamedTuple):
    """What `TextPredictor.predict` returns.

    Attributes:
        scores: float32 [N, k] inner products of text and label, best first.
        labels: N lists of k label texts, in the same order.
    """

    scores: np.ndarray
    labels: list[list[str]]


class TextPredictor:
    """The dual encoder of a run folder.

    Args:
        run_dir: the run folder.
        weights: name of saved weights ("last", "best", "last-ema", "best-ema"); by default those
            with the best validation score, without validation the last ones.
        device: where it runs; by default a GPU if there is one.

    Attributes:
        labels: the label texts that texts are matched with; see `use_labels`.
        trained_labels: those of the run.
        model: the `DualEncoder`.

    Raises:
        UserError: not a run folder, no such weights, weights of another model, or no such device.
    """

    def __init__(
        self, run_dir: Path | str, weights: str | None = None, device: str | None = None
    ) -> None:
        self.run = RunFolder(run_dir)
        content = self.run.read()
        self.config: TextConfig = from_plain(TextConfig, content["config"])
        self.weights = weights or self.run.preferred_weights()
        self.device = choose_device(device)
        folder = str(self.run.path / "encoder")
        self.tokenizer = load_tokenizer(folder)
        encoder = load_encoder(folder, Head(**content["head"]), pretrained=False)
        vectors = None
        if self.config.encoder.label_vectors:
            count, rate = content["labels_seen_in_training"], self.config.encoder.label_vector_rate
            vectors = LabelVectors(count, encoder.dimension, rate)
        self.model = DualEncoder(encoder, shared=self.config.encoder.shared, label_vectors=vectors)
        load_into(self.model, self.run.weights_file(self.weights))
        self.model.to(self.device).eval()
        labels = read_json(self.run.path / "labels.json")
        if not isinstance(labels, list):
            raise UserError(f"{self.run.path / 'labels.json'} is no list of labels")
        if vectors is not None and int(vectors.ids.max()) >= len(labels):
            raise UserError(
                f"{self.run.path / 'labels.json'} has {len(labels)} labels, fewer than the weights"
            )
        self.trained_labels = tuple(labels)
        self.use_labels(labels)

    def use_labels(self, texts: Iterable[str]) -> None:
        """Choose among these labels from now on; labels are texts, so nothing is trained.

        A label for which the run has learned a vector (``encoder.label_vectors``) keeps it, if its
        text is the same. These are of any length, so that beside them the scores of other labels,
        which are cosines if the encoder normalises, may be low or high throughout.

        Raises:
            UserError: a label is blank or no string, or all of it is a single string.
        """
        texts = _strings(texts, "labels")
        blank = next((i for i, text in enumerate(texts) if not text.strip()), None)
        if blank is not None:
            raise UserError(f"label {blank} of {len(texts)} has an empty text")
        self.labels = tuple(texts)
        self._label_embeddings: np.ndarray | None = None  # computed when first needed

    def predict(
        self, texts: Iterable[str], *, top: int = 10, precision: Precision = "fp32"
    ) -> TextPrediction:
        """Name the best labels of each text.

        Args:
            texts: N texts.
            top: labels wanted; with fewer labels, all of them.
            precision: bf16 rounds the embeddings to bfloat16 before the search.

        Raises:
            UserError: ``top < 1``, another precision, a text is no string, or all of it is a
                single string.
        """
        texts = _strings(texts, "texts")
        if not isinstance(top, int) or top < 1:
            raise UserError(f"top must be at least 1, an int, got {top}")
        if precision not in PRECISIONS:
            raise UserError(f"precision must be fp32 or bf16, got {precision!r}")
        data, encoder = self.config.data, self.config.encoder
        if self._label_embeddings is None:
            self._label_embeddings = label_embeddings(
                self.model.label_vectors,
                self.labels,
                self.trained_labels,
                lambda numbers: self._embed(
                    self.model.labels,
                    [self.labels[number] for number in numbers],
                    data.label_length,
                    encoder.label_chunk,
                ),
            )
        queries = self._embed(
            self.model.documents, texts, data.document_length, encoder.document_chunk
        )
        ids, scores = search(
            torch.from_numpy(queries).to(self.device, PRECISIONS[precision]),
            torch.from_numpy(self._label_embeddings).to(PRECISIONS[precision]),
            min(top, max(1, len(self.labels))),
        )
        scores = scores[:, : len(self.labels)]
        return TextPrediction(scores, [[self.labels[i] for i in row if i >= 0] for row in ids])

    def _embed(
        self, encoder: TextEncoder, texts: Sequence[str], length: int, chunk_size: int
    ) -> np.ndarray:
        tokens = tokenize(texts, self.tokenizer, max_length=length)
        rows = np.arange(len(tokens))
        return embed(encoder, tokens, rows, chunk_size=chunk_size, device=self.device)


def _strings(texts: Iterable[str], name: str) -> list[str]:
    if isinstance(texts, str):
        raise UserError(f"{name} must be a list of strings, got the string {texts[:80]!r} alone")
    listed = list(texts)
    for number, text in enumerate(listed):
        if not isinstance(text, str):
            raise UserError(f"{name} must be strings, got {text!r} as number {number}")
        if not is_unicode(text):
            raise UserError(f"{name}: number {number} has half of a surrogate pair: {text[:80]!r}")
    return listed
