"""A trained dual encoder, ready to name the labels of texts."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from pumlc.engine.checkpoint import load_into
from pumlc.engine.config import from_plain
from pumlc.engine.device import choose_device
from pumlc.engine.run import RunFolder, entry_of
from pumlc.errors import UserError, warn_user
from pumlc.files import read_json
from pumlc.progress import ShowProgress, working
from pumlc.text.config import TextConfig
from pumlc.text.data.readers.records import is_unicode
from pumlc.text.data.tokens import TokenizedTexts, tokenize
from pumlc.text.decisions import Decisions
from pumlc.text.models.build import check_lengths, trained_model
from pumlc.text.models.embedding import Embedder
from pumlc.text.retrieval.approximate import ApproximateIndex
from pumlc.text.retrieval.ranking import PRECISIONS, Precision
from pumlc.text.retrieval.search import search

LABELS = "labels.json"
"""The file of a run folder with its label texts."""


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
        weights: name of saved weights ("last", "best", "last-ema", "best-ema", "mean"); by default
            those that the run selects (`RunFolder.preferred_weights`).
        device: where it runs; by default a GPU if there is one.

    Attributes:
        labels: the label texts that texts are matched with; see `use_labels`.
        trained_labels: those of the run.
        model: the `DualEncoder`.
        tokenizer: of documents and labels.
        decisions: probabilities and threshold; None: the run held nothing out to fit them on.
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
        check_lengths(model, self.config, where=f"{self.run.path / 'run.json'}: ")
        self.model, self.tokenizer = model.encoders, model.tokenizer
        load_into(self.model, self.run.weights_file(self.weights))
        self.model.to(self.device).eval()
        self.trained_labels = self._read_labels()
        self.use_labels(self.trained_labels)
        entry = self.run.index().get(self.weights, {})
        self.decisions = Decisions.from_entry(entry, str(self.run.weights / "index.json"))

    def _read_labels(self) -> tuple[str, ...]:
        labels = read_labels_file(self.run.path)
        vectors = self.model.label_vectors
        if vectors is not None and len(vectors.ids):
            lowest, highest = (int(bound) for bound in vectors.ids.aminmax())
            if highest >= len(labels):
                raise UserError(
                    f"{self.run.path / LABELS} has {len(labels)} labels, fewer than the weights"
                )
            if lowest < 0 or bool((vectors.ids.diff() <= 0).any()):
                raise UserError(f"{self.run.path}: label_vectors.ids of the weights do not ascend")
        return labels

    def use_labels(self, texts: Iterable[str]) -> None:
        """Choose among these labels from now on; since labels are texts, nothing is trained.

        A label for which the run has learned a vector (``encoder.label_vectors``) keeps it, if its
        text is the same. The length of such a vector is learned too. So the scores of the other
        labels, which are cosines if the encoder normalises, may be low or high beside theirs.

        Raises:
            ValueError: a label is blank or no string, or ``texts`` is a single string.
        """
        labels = strings(texts, "labels")
        check_labels(labels)
        self.labels = tuple(labels)
        self._label_embeddings: np.ndarray | None = None
        self._index: ApproximateIndex | None = None

    def predict(
        self,
        texts: Iterable[str],
        *,
        top: int = 10,
        precision: Precision = "fp32",
        approximate: bool = False,
        progress: ShowProgress | None = None,
    ) -> TextPrediction:
        """Name the best labels of each text.

        Args:
            texts: N texts.
            top: labels wanted; with fewer labels, all of them.
            precision: bf16 rounds the embeddings to bfloat16 before the search.
            approximate: search the index of the run, see `approximate_index`; it is built on these
                texts, if there is none.
            progress: called with what is embedded, the texts done and their number; then with
                the blocks of the search.

        Raises:
            ValueError: ``top < 1``, another precision, a text is no string, or ``texts`` is a
                single string.
            UserError: ``approximate`` without faiss.
        """
        texts = strings(texts, "texts")
        if not isinstance(top, int) or top < 1:
            raise ValueError(f"top must be at least 1, an int, got {top}")
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be fp32 or bf16, got {precision!r}")
        if not approximate:
            self.label_embeddings(progress)
        tokens = self._tokens(texts, self.config.data.document_length, progress)
        queries = self._embedder(progress).documents(tokens)
        top = min(top, max(1, len(self.labels)))
        if approximate:
            index = self.approximate_index(queries, progress)
            ids, scores = index.search(queries, top)
        else:
            ids, scores = search(
                torch.from_numpy(queries).to(self.device, PRECISIONS[precision]),
                torch.from_numpy(self.label_embeddings()).to(PRECISIONS[precision]),
                top,
                progress=progress,
            )
        scores = scores[:, : len(self.labels)]
        return TextPrediction(scores, [[self.labels[i] for i in row if i >= 0] for row in ids])

    def approximate_index(
        self, queries: np.ndarray, progress: ShowProgress | None = None
    ) -> ApproximateIndex:
        """The index of the labels, of the run folder where it has one of them.

        A new one is built, for which the labels are embedded, and saved into the run folder.

        Args:
            queries: float32 [N, D], documents that judge the recall of a new one.
            progress: called with what is embedded, the texts done and their number.

        Raises:
            UserError: faiss is not installed.
        """
        if self._index is None:
            folder, key = self.run.path / "index", self._labels_key()
            self._index = ApproximateIndex.open(folder, key)
            if self._index is None:
                labels = self.label_embeddings(progress)
                with working("building the index", shown=progress is not None):
                    self._index = ApproximateIndex.build(labels, queries)
                try:
                    self._index.save(folder, key)
                except OSError as error:  # the run folder may be read-only
                    warn_user(f"the index of the labels is not kept: {error}")
        return self._index

    def _labels_key(self) -> str:
        """SHA-256 of the weights and of the labels that are chosen among."""
        digest = hashlib.sha256()
        digest.update(str(entry_of(self.run.weights_file(self.weights)).get("checksum")).encode())
        digest.update(json.dumps(self.labels).encode())
        return digest.hexdigest()

    def label_embeddings(self, progress: ShowProgress | None = None) -> np.ndarray:
        """Embeddings of the labels, float32 [L, D]: learned vectors, or embedded texts.

        They are computed when they are first needed; ``progress`` is called with what is embedded.
        """
        if self._label_embeddings is None:
            tokens = self._tokens(self.labels, self.config.data.label_length, progress)
            embedder = self._embedder(progress)
            self._label_embeddings = embedder.labels(tokens, self.labels, self.trained_labels)
        return self._label_embeddings

    def _embedder(self, progress: ShowProgress | None) -> Embedder:
        encoder = self.config.encoder
        return Embedder(
            self.model,
            document_chunk=encoder.document_chunk,
            label_chunk=encoder.label_chunk,
            progress=progress,
        )

    def _tokens(
        self, texts: Sequence[str], length: int, progress: ShowProgress | None = None
    ) -> TokenizedTexts:
        return tokenize(texts, self.tokenizer, max_length=length, progress=progress)


def read_labels_file(run: Path) -> tuple[str, ...]:
    """The label texts of a run folder.

    Raises:
        UserError: it has no file of them, or it holds something else.
    """
    path = run / LABELS
    labels = read_json(path)
    if not isinstance(labels, list):
        raise UserError(f"{path} is no list of labels")
    try:
        check_labels(strings(labels, "labels"))
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    return tuple(labels)


def strings(texts: Iterable[str], name: str) -> list[str]:
    """The texts as a list.

    Raises:
        ValueError: one is no string or no Unicode, or ``texts`` is a single string.
    """
    if isinstance(texts, str):
        raise ValueError(f"{name} must be a list of strings, got the string {texts[:80]!r} alone")
    listed = list(texts)
    for number, text in enumerate(listed):
        if not isinstance(text, str):
            raise ValueError(f"{name} must be strings, got {text!r:.80} as number {number}")
        if not is_unicode(text):
            raise ValueError(f"{name}: number {number} has half of a surrogate pair: {text[:80]!r}")
    return listed


def check_labels(labels: Sequence[str]) -> None:
    """Raise ValueError if a label is blank."""
    blank = next((i for i, text in enumerate(labels) if not text.strip()), None)
    if blank is not None:
        raise ValueError(f"label {blank} of {len(labels)} has an empty text")
