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
from pumlc.progress import ShowProgress
from pumlc.text.config import TextConfig
from pumlc.text.data.readers.records import is_unicode
from pumlc.text.data.tokens import TokenizedTexts, tokenize
from pumlc.text.models.build import trained_model
from pumlc.text.models.embedding import Embedder
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
            with the best validation score, or the last ones without validation.
        device: where it runs; by default a GPU if there is one.

    Attributes:
        labels: the label texts that texts are matched with; see `use_labels`.
        trained_labels: those of the run.
        model: the `DualEncoder`.
        tokenizer: of documents and labels.
        config: the settings of the run.

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
        model = trained_model(self.run.path, content, self.config.encoder)
        self.model, self.tokenizer = model.encoders, model.tokenizer
        load_into(self.model, self.run.weights_file(self.weights))
        self.model.to(self.device).eval()
        self.trained_labels = self._read_labels()
        self.use_labels(self.trained_labels)

    def _read_labels(self) -> tuple[str, ...]:
        path = self.run.path / "labels.json"
        labels = read_json(path)
        if not isinstance(labels, list):
            raise UserError(f"{path} is no list of labels")
        try:
            _check_labels(_strings(labels, "labels"))
        except ValueError as error:
            raise UserError(f"{path}: {error}") from error
        vectors = self.model.label_vectors
        if vectors is not None and len(vectors.ids):
            lowest, highest = (int(bound) for bound in vectors.ids.aminmax())
            if highest >= len(labels):
                raise UserError(f"{path} has {len(labels)} labels, fewer than the weights")
            if lowest < 0 or bool((vectors.ids.diff() <= 0).any()):
                raise UserError(f"{self.run.path}: label_vectors.ids of the weights do not ascend")
        return tuple(labels)

    def use_labels(self, texts: Iterable[str]) -> None:
        """Choose among these labels from now on; since labels are texts, nothing is trained.

        A label for which the run has learned a vector (``encoder.label_vectors``) keeps it, if its
        text is the same. The length of such a vector is learned too. So the scores of the other
        labels, which are cosines if the encoder normalises, may be low or high beside theirs.

        Raises:
            ValueError: a label is blank or no string, or ``texts`` is a single string.
        """
        labels = _strings(texts, "labels")
        _check_labels(labels)
        self.labels = tuple(labels)
        self._label_embeddings: np.ndarray | None = None  # computed when first needed

    def predict(
        self,
        texts: Iterable[str],
        *,
        top: int = 10,
        precision: Precision = "fp32",
        progress: ShowProgress | None = None,
    ) -> TextPrediction:
        """Name the best labels of each text.

        Args:
            texts: N texts.
            top: labels wanted; with fewer labels, all of them.
            precision: bf16 rounds the embeddings to bfloat16 before the search.
            progress: called with what is embedded, the texts done and their number.

        Raises:
            ValueError: ``top < 1``, another precision, a text is no string, or ``texts`` is a
                single string.
        """
        texts = _strings(texts, "texts")
        if not isinstance(top, int) or top < 1:
            raise ValueError(f"top must be at least 1, an int, got {top}")
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be fp32 or bf16, got {precision!r}")
        data, encoder = self.config.data, self.config.encoder
        embedder = Embedder(
            self.model,
            document_chunk=encoder.document_chunk,
            label_chunk=encoder.label_chunk,
            progress=progress,
        )
        if self._label_embeddings is None:
            tokens = self._tokens(self.labels, data.label_length)
            self._label_embeddings = embedder.labels(tokens, self.labels, self.trained_labels)
        queries = embedder.documents(self._tokens(texts, data.document_length))
        ids, scores = search(
            torch.from_numpy(queries).to(self.device, PRECISIONS[precision]),
            torch.from_numpy(self._label_embeddings).to(PRECISIONS[precision]),
            min(top, max(1, len(self.labels))),
        )
        scores = scores[:, : len(self.labels)]
        return TextPrediction(scores, [[self.labels[i] for i in row if i >= 0] for row in ids])

    def _tokens(self, texts: Sequence[str], length: int) -> TokenizedTexts:
        return tokenize(texts, self.tokenizer, max_length=length)


def _strings(texts: Iterable[str], name: str) -> list[str]:
    if isinstance(texts, str):
        raise ValueError(f"{name} must be a list of strings, got the string {texts[:80]!r} alone")
    listed = list(texts)
    for number, text in enumerate(listed):
        if not isinstance(text, str):
            raise ValueError(f"{name} must be strings, got {text!r:.80} as number {number}")
        if not is_unicode(text):
            raise ValueError(f"{name}: number {number} has half of a surrogate pair: {text[:80]!r}")
    return listed


def _check_labels(labels: Sequence[str]) -> None:
    blank = next((i for i, text in enumerate(labels) if not text.strip()), None)
    if blank is not None:
        raise ValueError(f"label {blank} of {len(labels)} has an empty text")
