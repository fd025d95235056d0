"""Metrics of a text run: for every saved set of weights, all labels and unseen labels."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from pumlc.engine.run import RunFolder, preferred_line
from pumlc.errors import UserError, warn_user
from pumlc.metrics import PROPENSITY_PRESETS, inverse_propensities
from pumlc.progress import ShowProgress
from pumlc.tables import table
from pumlc.text.data.corpus import Corpus, load_corpus
from pumlc.text.data.text_split import TextSplit
from pumlc.text.data.tokens import TokenizedTexts, cached_tokens
from pumlc.text.models.embedding import Embedder
from pumlc.text.predictor import TextPredictor
from pumlc.text.retrieval.ranking import (
    DEPTH,
    PRECISIONS,
    Precision,
    only_labels,
    rank_labels,
    retrieval_metrics,
)
from pumlc.text.retrieval.search import Index

# keyword options of `evaluate_run` and `report` that only text runs have
OPTIONS: frozenset[str] = frozenset({"index", "search_precision"})


def evaluate_run(
    run_dir: Path | str,
    accelerator: Accelerator,
    *,
    split: str = "test",
    weights: Sequence[str] | None = None,
    root: str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    progress: ShowProgress | None = None,
    index: Index = "exact",
    search_precision: Precision = "fp32",
) -> dict[str, Any]:
    """Rank all labels for each document of a split, with each set of saved weights of a run.

    Args:
        run_dir: the run folder.
        accelerator: devices and processes.
        split: test, validation (the documents that the run held out) or train.
        weights: names of saved weights; by default all of them, each a row of its own.
        root: another place of the data; by default that of the run.
        batch_size: documents encoded at a time; by default as in the run.
        workers: ignored; every branch has this argument, but texts need not be read ahead.
        progress: called with what is embedded, the texts done and their number.
        index: exact, or faiss (IndexFlatIP).
        search_precision: bf16 rounds the embeddings to bfloat16 before the search.

    Returns:
        Counts, and the metrics (percent) of each set of weights: ``all`` over all rows and labels.
        ``zero_shot`` and ``zero_shot_among_unseen`` are about the unseen labels, those that no
        training document of the run has: they are over the rows with such a label, and no other
        label counts as true. The first ranks them among all labels, the second among the unseen.
        Propensities are those of the whole training split, also for a run on a part. ``preferred``
        names the weights that `RunFolder.preferred_weights` takes, if they are among those.

    Raises:
        UserError: no such run, weights or split; the split has no label to find; or it is the
            split validation and the data are not those of the run. Other splits of such data only
            give a warning.
    """
    _check_search(index, search_precision)
    run = RunFolder(run_dir)
    names = list(weights) if weights else list(run.index())
    if not names:
        raise UserError(f"{run.path} has no saved weights yet: its training has not ended")
    predictor = TextPredictor(run.path, names[0], str(accelerator.device))
    config = predictor.config
    data = config.data if root is None else dataclasses.replace(config.data, root=root)
    corpus = load_corpus(data, seed=config.train.seed)
    documents = documents_of(corpus, split)
    if documents.truth.nnz == 0:
        raise UserError(
            f"{data.root}, split {split}: none of its {len(documents)} documents has a label, so "
            "that there is nothing to measure"
        )
    _compare_data(run, corpus, data.root, split)
    results: dict[str, Any] = {
        "run": str(run.path),
        "source": data.root,
        "split": split,
        "index": index,
        "search_precision": search_precision,
        **set_facts(documents, corpus),
        **run.preference(names),
        "weights": {},
    }
    for name in names:
        if name != predictor.weights:
            predictor = TextPredictor(run.path, name, str(accelerator.device))
        queries, labels = embeddings(predictor, documents, accelerator, batch_size, progress)
        metrics = measure_embeddings(
            queries,
            labels,
            documents,
            corpus,
            data.propensity,
            index,
            accelerator,
            search_precision,
        )
        epoch = run.index().get(name, {}).get("epoch")  # weights put there by hand have none
        results["weights"][name] = {"epoch": epoch, **metrics}
    return results


def _check_search(index: str, precision: str) -> None:
    if index not in ("exact", "faiss"):
        raise UserError(f"index must be exact or faiss, got {index!r}")
    if precision not in PRECISIONS:
        raise UserError(f"search_precision must be fp32 or bf16, got {precision!r}")


def report(result: dict[str, Any]) -> str:
    """What `evaluate_run` returned, as tables."""
    names = {
        "all": "all",
        "zero_shot": "unseen labels, among all",
        "zero_shot_among_unseen": "unseen labels, among unseen",
    }
    parts = [
        (weights, entry["epoch"], label, entry[key])
        for weights, entry in result["weights"].items()
        for key, label in names.items()
        if entry[key] is not None
    ]
    columns = list(parts[0][3])
    rows = [[w, epoch, label, *(m.get(c) for c in columns)] for w, epoch, label, m in parts]
    title = (
        f"{result['source']}, split {result['split']}: N = {result['N']} documents "
        f"({result['rows_without_label']} without a label), {result['labels']} labels, "
        f"{result['labels_unseen_in_training']} of them unseen in training "
        f"({result['zero_shot_rows']} documents have one)"
    )
    ranked = table(["weights", "epoch", "true labels", *columns], rows)
    if "preferred" in result:
        value = result["weights"][result["preferred"]]["all"]["nDCG@5"]  # the score of validation
        ranked += "\n" + preferred_line(result, "nDCG@5", value)
    return f"{title}\n\n{ranked}"


def documents_of(corpus: Corpus, split: str) -> TextSplit:
    """The documents of a split as a run sees them.

    Raises:
        UserError: there is no such split.
    """
    if split == "test":
        return corpus.test
    rows = {"validation": corpus.validation, "train": corpus.train}.get(split)
    if rows is None or not len(rows):
        available = "test, train" + (", validation" if len(corpus.validation) else "")
        raise UserError(f"no split {split!r}; this run has: {available}")
    return corpus.source.rows(rows)


def _compare_data(run: RunFolder, corpus: Corpus, root: str, split: str) -> None:
    """Warn if the data are not those that the run saw; refuse if rows were drawn from them."""
    recorded = run.read().get("data")
    if not isinstance(recorded, dict):  # a run of an earlier version
        return
    current = corpus.fingerprints()
    changed = [name for name, value in current.items() if recorded.get(name) != value]
    if not changed:
        return
    message = (
        f"{root}: texts, labels or pairs of {' and '.join(changed)} are not those of {run.path}"
    )
    if split == "validation" and "train" in changed:
        raise UserError(f"{message}; which documents it held out cannot be told")
    warn_user(message)


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


def measure_embeddings(
    queries: np.ndarray,
    labels: np.ndarray,
    documents: TextSplit,
    corpus: Corpus,
    propensity: str,
    index: Index,
    accelerator: Accelerator,
    precision: Precision = "fp32",
) -> dict[str, Any]:
    """`measure_ranking` of the nearest labels, and the unseen labels ranked among themselves.

    Args:
        queries: float32 [N, D], embeddings of the documents.
        labels: float32 [L, D], embeddings of the labels.
        documents: the split that is measured.
        corpus: tells which labels are unseen, and the propensities.
        propensity: name of the constants of the propensities.
        index: exact, or faiss.
        accelerator: each of its processes ranks a shard of the documents.
        precision: bf16 rounds the embeddings to bfloat16 before the search.
    """
    excluded = documents.excluded
    ids = rank_labels(
        queries, labels, DEPTH, accelerator, excluded=excluded, index=index, precision=precision
    )
    result = measure_ranking(ids, documents, corpus, propensity)
    columns = np.flatnonzero(~corpus.labels_seen())
    rows, zero_shot = only_labels(documents.truth, ~corpus.labels_seen())
    if not len(rows):
        return result | {"zero_shot_among_unseen": None}
    places = rank_labels(
        queries[rows],
        labels[columns],
        DEPTH,
        accelerator,
        excluded=None if excluded is None else excluded[rows][:, columns],
        index=index,
        precision=precision,
    )
    among_unseen = np.where(places < 0, -1, columns[places])
    return result | {"zero_shot_among_unseen": retrieval_metrics(among_unseen, zero_shot)}
