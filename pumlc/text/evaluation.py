"""Metrics of a text run: for every saved set of weights, all labels and unseen labels."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from pumlc.engine.run import RunFolder, preferred_line
from pumlc.errors import UserError, warn_user
from pumlc.progress import ShowProgress
from pumlc.tables import table
from pumlc.text.config import DataConfig
from pumlc.text.data.corpus import Corpus, load_corpus
from pumlc.text.data.text_split import TextSplit
from pumlc.text.measures import measure, set_facts
from pumlc.text.retrieval.ranking import PRECISIONS, Precision
from pumlc.text.retrieval.search import Index
from pumlc.text.tasks import create_predictor

# keyword options of `evaluate_run` and `report` that only text runs have
OPTIONS: frozenset[str] = frozenset({"index", "search_precision", "labels", "per_label"})


def evaluate_run(
    run_dir: Path | str,
    accelerator: Accelerator,
    *,
    split: str = "test",
    weights: Sequence[str] | None = None,
    root: str | None = None,
    labels: str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    progress: ShowProgress | None = None,
    index: Index = "exact",
    search_precision: Precision = "fp32",
    per_label: bool = False,
) -> dict[str, Any]:
    """Rank all labels for each document of a split, with each set of saved weights of a run.

    Args:
        run_dir: the run folder.
        accelerator: devices and processes.
        split: test, validation (the documents that the run held out) or train.
        weights: names of saved weights; by default all of them, each a row of its own.
        root: another place of the data; by default that of the run.
        labels: another place of the table, of a run on a table of one's own.
        batch_size: documents encoded at a time; by default as in the run.
        workers: ignored; every branch has this argument, but texts need not be read ahead.
        progress: called with what is embedded, the texts done and their number.
        index: exact, or faiss (IndexFlatIP).
        search_precision: bf16 rounds the embeddings to bfloat16 before the search.
        per_label: also the figures of each label, where the weights have a threshold.

    Returns:
        Counts, and the metrics (percent) of each set of weights: ``all`` over all rows and labels.
        ``zero_shot`` and ``zero_shot_among_unseen`` are about the unseen labels, those that no
        training document of the run has: they are over the rows with such a label, and no other
        label counts as true. The first ranks them among all labels, the second among the unseen.
        ``decisions``: precision, recall and F1 of the labels whose probability reaches the
        threshold that is stored with the weights, among the first 100; None if there is none.
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
    predictor = create_predictor(run.path, names[0], str(accelerator.device))
    config = predictor.config
    data = moved_data(config.data, root=root, labels=labels)
    corpus = load_corpus(data, seed=config.train.seed)
    documents = documents_of(corpus, split)
    if documents.truth.nnz == 0:
        raise UserError(
            f"{data.source}, split {split}: none of its {len(documents)} documents has a label, so "
            "that there is nothing to measure"
        )
    compare_data(run, corpus, data.source, split)
    results: dict[str, Any] = {
        "run": str(run.path),
        "source": data.source,
        "split": split,
        "index": index,
        "search_precision": search_precision,
        **set_facts(documents, corpus),
        **run.preference(names),
        "weights": {},
    }
    for name in names:
        if name != predictor.weights:
            predictor = create_predictor(run.path, name, str(accelerator.device))
        metrics = measure(
            predictor,
            documents,
            corpus,
            accelerator,
            index=index,
            precision=search_precision,
            batch_size=batch_size,
            propensity=data.propensity,
            per_label=per_label,
            progress=progress,
        )
        epoch = run.index().get(name, {}).get("epoch")  # weights put there by hand have none
        results["weights"][name] = {"epoch": epoch, **metrics}
    return results


def moved_data(data: DataConfig, *, root: str | None, labels: str | None) -> DataConfig:
    """The settings of a run's data, with another place of them.

    Args:
        data: the settings.
        root: another folder; None: as they are.
        labels: another table; None: as it is.

    Raises:
        UserError: the run has the other kind of data, or its data are not there any more.
    """
    for name, value, other in (("root", root, "labels"), ("labels", labels, "root")):
        if value is not None and (data.labels is None) != (name == "root"):
            raise UserError(f"data.{name} {value}: the run reads data.{other}, {data.source}")
    changes = {"root": root, "labels": labels}
    kind = "root" if data.labels is None else "labels"
    if changes[kind] is None and not Path(data.source).exists():
        raise UserError(
            f"{data.source}: no such file or folder; the run was trained on it. If it has moved, "
            f"or this is another folder than then, name it with data.{kind}"
        )
    return dataclasses.replace(data, **{k: v for k, v in changes.items() if v is not None})


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
    return "\n\n".join([title, ranked, *_decided(result)])


def _decided(result: dict[str, Any]) -> list[str]:
    """Tables of what counts as present, of the weights that have a threshold."""
    entries = result["weights"].items()
    rows = [[name, *found.values()] for name, entry in entries if (found := entry["decisions"])]
    if not rows:
        return []
    columns = ["threshold", "precision", "recall", "F1", "F1_macro"]
    tables = [table(["present labels, weights", *columns], rows)]
    for name, entry in entries:
        if labels := entry.get("per_label"):
            title = f"labels, the worst F1 first, weights {name}"
            tables.append(table([title, *list(labels[0])[1:]], [[*row.values()] for row in labels]))
    return tables


def documents_of(corpus: Corpus, split: str) -> TextSplit:
    """The documents of a split as a run sees them.

    Raises:
        UserError: there is no such split.
    """
    if split == "test":
        return corpus.test
    return corpus.source.rows(rows_of(corpus, split))


def rows_of(corpus: Corpus, split: str) -> np.ndarray:
    """The rows of the split's own data that a run sees.

    Raises:
        UserError: there is no such split.
    """
    if split == "test":
        return np.arange(len(corpus.test))
    rows = {"validation": corpus.validation, "train": corpus.train}.get(split)
    if rows is None or not len(rows):
        available = "test, train" + (", validation" if len(corpus.validation) else "")
        raise UserError(f"no split {split!r}; this run has: {available}")
    return rows


def compare_data(
    run: RunFolder, corpus: Corpus, root: str, split: str, *, stored: bool = False
) -> None:
    """Warn if the data are not those that the run saw; refuse if rows were drawn from them.

    Args:
        run: the run.
        corpus: its data as they are now.
        root: their folder or file.
        split: the split that is scored.
        stored: the scores of this split are those that the run has stored, one row a document.

    Raises:
        UserError: the held-out part, or the stored scores, are of other documents.
    """
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
    if stored and split in changed:
        raise UserError(
            f"{message}, and the run has stored a score for each of its own: give its data as they "
            "were (data.labels, or data.root), or train again"
        )
    warn_user(message)
