"""Suspected labels of documents: those that are probably missing or probably wrong."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from pumlc.engine.config import require
from pumlc.files import write_csv
from pumlc.progress import ShowProgress
from pumlc.report import Item, Review, Suspect
from pumlc.text.data.corpus import load_corpus
from pumlc.text.data.matrix import canonical
from pumlc.text.data.text_split import TextSplit
from pumlc.text.evaluation import documents_of, embeddings
from pumlc.text.predictor import TextPredictor
from pumlc.text.retrieval.search import search

COLUMNS = ("part", "given", "rank", "image", "class", "suspicion", "score")
PER_DOCUMENT = 3
"""Most labels of one document that are suspected to be missing."""


@dataclass(frozen=True)
class SuspectedLabel:
    """A pair of a document and a label.

    Attributes:
        row: the document, a row of the split.
        column: the label.
        given: "unknown": it is probably missing; "present": it is probably wrong.
        score: what ranked it; a cosine if the encoder normalises.
    """

    row: int
    column: int
    given: str
    score: float

    @property
    def suspicion(self) -> float:
        """Higher for what is more suspicious, within a list."""
        return -self.score if self.given == "present" else self.score


@dataclass(frozen=True)
class TextAudit:
    """What `audit_texts` returns.

    Attributes:
        split: name of the split.
        weights: name of the weights that scored.
        documents: the split.
        suspects: the labels that are probably missing, then those that are probably wrong; each
            list with the most suspicious first.
    """

    split: str
    weights: str
    documents: TextSplit
    suspects: list[SuspectedLabel]

    def rows(self) -> list[list[Any]]:
        """Rows of `COLUMNS`; a document is called by its line in the split, from 1."""
        ranks = {"unknown": 0, "present": 0}
        rows = []
        for suspect in self.suspects:
            ranks[suspect.given] += 1
            names = [str(suspect.row + 1), self.documents.label_texts[suspect.column]]
            numbers = [f"{suspect.suspicion:.6f}", f"{suspect.score:.6f}"]
            rows.append([self.split, suspect.given, ranks[suspect.given], *names, *numbers])
        return rows

    def review(self, *, title: str, command: str) -> Review:
        """The page: each document once, with its text and the labels in question."""
        documents, truth = self.documents, self.documents.truth
        rows = list(dict.fromkeys(suspect.row for suspect in self.suspects))
        present = {row: truth[[row]].indices.tolist() for row in rows}
        named = [suspect.column for suspect in self.suspects]
        columns = list(dict.fromkeys([*named, *(c for row in rows for c in present[row])]))
        place_of = {column: place for place, column in enumerate(columns)}
        item_of = {row: place for place, row in enumerate(rows)}
        return Review(
            title=title,
            command=command,
            classes=[documents.label_texts[column] for column in columns],
            items=[
                Item(
                    name=str(row + 1),
                    part=self.split,
                    text=documents.texts[row],
                    present=[place_of[column] for column in present[row]],
                )
                for row in rows
            ],
            suspects=[
                Suspect(
                    item=item_of[suspect.row],
                    column=place_of[suspect.column],
                    given="present" if suspect.given == "present" else "unknown",
                    suspicion=suspect.suspicion,
                )
                for suspect in self.suspects
            ],
        )


def audit_texts(
    run_dir: Path | str,
    accelerator: Accelerator,
    *,
    split: str = "train",
    weights: str | None = None,
    top: int = 100,
    root: str | None = None,
    batch_size: int | None = None,
    progress: ShowProgress | None = None,
) -> TextAudit:
    """Rank the labels of documents that a run's encoders contradict.

    The best labels that a document does not have are suspected to be missing; the labels that it
    has with the lowest scores are suspected to be wrong. The encoders may have been trained on the
    labels of "train"; those of "validation" and "test" they have not seen.

    Args:
        run_dir: the run folder.
        accelerator: the device.
        split: "train", "validation" or "test".
        weights: name of saved weights; by default the preferred ones.
        top: labels of each list.
        root: another place of the data.
        batch_size: documents encoded at a time; by default as in the run.
        progress: called with what is embedded, the texts done and their number.

    Raises:
        UserError: see `pumlc.text.evaluation.evaluate_run`.
    """
    require(top >= 1, "top", top, "at least 1")
    predictor = TextPredictor(run_dir, weights, str(accelerator.device))
    config = predictor.config
    data = config.data if root is None else replace(config.data, root=root)
    documents = documents_of(load_corpus(data, seed=config.train.seed), split)
    queries, labels = embeddings(predictor, documents, accelerator, batch_size, progress)
    missing = _missing(documents, queries, labels, accelerator)
    wrong = _given(documents, queries, labels)
    suspects = [
        suspect
        for each in (missing, wrong)
        for suspect in sorted(each, key=lambda suspect: -suspect.suspicion)[:top]
    ]
    return TextAudit(split, predictor.weights, documents, suspects)


def write_text_suspects(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Write the rows of `TextAudit.rows` as a CSV file."""
    write_csv(path, COLUMNS, rows)


def _missing(
    documents: TextSplit, queries: np.ndarray, labels: np.ndarray, accelerator: Accelerator
) -> list[SuspectedLabel]:
    known = documents.positives
    if documents.excluded is not None:
        known = canonical(known + documents.excluded)
    ids, scores = search(
        torch.from_numpy(queries).to(accelerator.device),
        torch.from_numpy(labels),
        PER_DOCUMENT,
        excluded=known,
    )
    rows, places = np.nonzero(ids >= 0)
    return [
        SuspectedLabel(int(row), int(ids[row, k]), "unknown", float(scores[row, k]))
        for row, k in zip(rows, places, strict=True)
    ]


def _given(documents: TextSplit, queries: np.ndarray, labels: np.ndarray) -> list[SuspectedLabel]:
    pairs = documents.truth.tocoo()
    scores = np.einsum("nd,nd->n", queries[pairs.row], labels[pairs.col])
    return [
        SuspectedLabel(int(row), int(column), "present", float(score))
        for row, column, score in zip(pairs.row, pairs.col, scores, strict=True)
    ]
