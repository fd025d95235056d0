"""Metrics of ranked labels, whichever model ranks them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from pumlc.errors import UserError
from pumlc.metrics import PROPENSITY_PRESETS, inverse_propensities
from pumlc.progress import ShowProgress
from pumlc.text.data.corpus import Corpus
from pumlc.text.data.text_split import TextSplit
from pumlc.text.data.tokens import TokenizedTexts, cached_tokens
from pumlc.text.label_figures import label_figures
from pumlc.text.models.embedding import Embedder
from pumlc.text.predictor import TextPredictor
from pumlc.text.retrieval.ranking import (
    DEPTH,
    Precision,
    only_labels,
    rank_labels,
    retrieval_metrics,
)
from pumlc.text.retrieval.search import Index


@dataclass(frozen=True)
class Ranked:
    """The best labels of N documents.

    Attributes:
        ids: int64 [N, DEPTH], best first; -1 where there is none.
        scores: float32 [N, DEPTH]; -inf there.
        among_unseen: the labels without a training document ranked among themselves, for the
            documents that have one; None where there is no such document, or no such ranking.
    """

    ids: np.ndarray
    scores: np.ndarray
    among_unseen: np.ndarray | None


def measure(
    predictor: Any,
    documents: TextSplit,
    corpus: Corpus,
    accelerator: Accelerator,
    *,
    index: Index,
    precision: Precision,
    batch_size: int | None,
    propensity: str,
    per_label: bool,
    progress: ShowProgress | None,
) -> dict[str, Any]:
    """What `pumlc.text.evaluation.evaluate_run` says of one set of weights; see there."""
    if isinstance(predictor, TextPredictor):
        queries, labels = embeddings(predictor, documents, accelerator, batch_size, progress)
        ranked = rank_embeddings(
            queries,
            labels,
            documents,
            corpus,
            accelerator,
            index=index,
            precision=precision,
            progress=progress,
        )
    else:
        if index != "exact" or precision != "fp32":
            raise UserError(
                f"{predictor.run.path}: index and search_precision are of runs that compare "
                "embeddings of labels; this one has heads in closed form"
            )
        scored = predictor.score_split(
            documents, accelerator, batch_size=batch_size, progress=progress
        )
        rows, _ = only_labels(documents.truth, ~corpus.labels_seen())
        among = None if scored.by_text is None or not len(rows) else scored.by_text[rows]
        ranked = Ranked(scored.ids, scored.best, among)
    metrics = measure_ranked(ranked, documents, corpus, propensity)
    metrics["decisions"] = None
    if predictor.decisions is not None:
        figures = label_figures(ranked.ids, ranked.scores, documents.truth, predictor.decisions)
        metrics["decisions"] = {
            "threshold": predictor.decisions.threshold,
            **figures.summary(),
        }
        if per_label:
            metrics["per_label"] = figures.rows(documents.label_texts)
    return metrics


def rank_embeddings(
    queries: np.ndarray,
    labels: np.ndarray,
    documents: TextSplit,
    corpus: Corpus,
    accelerator: Accelerator,
    *,
    index: Index = "exact",
    precision: Precision = "fp32",
    progress: ShowProgress | None = None,
) -> Ranked:
    """The nearest labels, and the unseen labels ranked among themselves.

    Args:
        queries: float32 [N, D], embeddings of the documents.
        labels: float32 [L, D], embeddings of the labels.
        documents: the split that is measured.
        corpus: tells which labels are unseen.
        accelerator: its processes rank a shard of the documents each.
        index: exact, or faiss.
        precision: bf16 rounds the embeddings to bfloat16 before the search.
        progress: of the search, see `pumlc.text.retrieval.search.search`.
    """
    excluded = documents.excluded
    ids, scores = rank_labels(
        queries,
        labels,
        DEPTH,
        accelerator,
        excluded=excluded,
        index=index,
        precision=precision,
        progress=progress,
    )
    columns = np.flatnonzero(~corpus.labels_seen())
    rows, _ = only_labels(documents.truth, ~corpus.labels_seen())
    if not len(rows):
        return Ranked(ids, scores, None)
    places, _ = rank_labels(
        queries[rows],
        labels[columns],
        DEPTH,
        accelerator,
        excluded=None if excluded is None else excluded[rows][:, columns],
        index=index,
        precision=precision,
    )
    return Ranked(ids, scores, np.where(places < 0, -1, columns[places]))


def measure_ranked(
    ranked: Ranked, documents: TextSplit, corpus: Corpus, propensity: str
) -> dict[str, Any]:
    """`measure_ranking`, and the metrics of the unseen labels among themselves."""
    among = None
    if ranked.among_unseen is not None:
        _, zero_shot = only_labels(documents.truth, ~corpus.labels_seen())
        among = retrieval_metrics(ranked.among_unseen, zero_shot)
    metrics = measure_ranking(ranked.ids, documents, corpus, propensity)
    return metrics | {"zero_shot_among_unseen": among}


def embeddings(
    predictor: TextPredictor,
    documents: TextSplit,
    accelerator: Accelerator,
    batch_size: int | None,
    progress: ShowProgress | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings [N, D] of the documents and [L, D] of the labels, on every process."""
    data, encoder = predictor.config.data, predictor.config.encoder
    folder = Path(data.token_cache).expanduser()

    def tokens(texts: Sequence[str], length: int) -> TokenizedTexts:
        return cached_tokens(texts, predictor.tokenizer, max_length=length, folder=folder)

    embedder = Embedder(
        predictor.model,
        document_chunk=batch_size or encoder.document_chunk,
        label_chunk=encoder.label_chunk,
        accelerator=accelerator,
        progress=progress,
    )
    label_texts = documents.label_texts
    queries = embedder.documents(tokens(documents.texts, data.document_length))
    label_tokens = tokens(label_texts, data.label_length)
    return queries, embedder.labels(label_tokens, label_texts, predictor.trained_labels)


def set_facts(documents: TextSplit, corpus: Corpus) -> dict[str, int]:
    """Numbers of documents and labels that a table of results needs beside it."""
    unseen = ~corpus.labels_seen()
    return {
        "N": len(documents),
        "rows_without_label": int((np.diff(documents.truth.indptr) == 0).sum()),
        "labels": len(documents.label_texts),
        "labels_unseen_in_training": int(unseen.sum()),
        "zero_shot_rows": len(only_labels(documents.truth, unseen)[0]),
    }


def measure_ranking(
    ids: np.ndarray, documents: TextSplit, corpus: Corpus, propensity: str
) -> dict[str, Any]:
    """Metrics of ranked labels, over all rows and over the rows with an unseen label.

    Args:
        ids: [N, 100], best first; -1 where there is none.
        documents: the ranked documents.
        corpus: tells which labels are unseen, and the propensities.
        propensity: name of the constants of the propensities.
    """
    inverse = inverse_propensities(corpus.source.positives, **PROPENSITY_PRESETS[propensity])
    truth = documents.truth
    rows, zero_shot = only_labels(truth, ~corpus.labels_seen())
    return {
        "all": retrieval_metrics(ids, truth, inverse),
        "zero_shot": retrieval_metrics(ids[rows], zero_shot) if len(rows) else None,
    }
