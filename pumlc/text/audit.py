"""Suspected labels of documents: those that are probably missing or probably wrong."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from pumlc.audit.corrections import decisions_file, read_corrections
from pumlc.engine.config import require
from pumlc.errors import UserError
from pumlc.files import write_csv
from pumlc.progress import ShowProgress
from pumlc.report import Item, Review, Suspect
from pumlc.text.config import DataConfig
from pumlc.text.data.corpus import load_corpus
from pumlc.text.data.matrix import canonical
from pumlc.text.data.readers.table import TEXT
from pumlc.text.data.text_split import TextSplit
from pumlc.text.evaluation import compare_data, documents_of, moved_data, rows_of
from pumlc.text.frozen.fit import LEFT_OUT
from pumlc.text.frozen.left_out import read_left_out
from pumlc.text.frozen.scores import left_out_scores
from pumlc.text.measures import embeddings
from pumlc.text.predictor import TextPredictor
from pumlc.text.retrieval.search import search
from pumlc.text.suspects import PER_DOCUMENT, SuspectedLabel, suspects_of
from pumlc.text.tasks import create_predictor

COLUMNS = ("part", "given", "rank", "image", "class", "suspicion", "score")


@dataclass(frozen=True)
class TextAudit:
    """What `audit_texts` returns.

    Attributes:
        split: name of the split.
        weights: name of the weights that scored.
        documents: the split.
        names: what each of them is called.
        suspects: the labels that are probably missing, then those that are probably wrong; each
            list with the most suspicious first.
        apply: the command that applies decisions to the table; None: the data are no table.
    """

    split: str
    weights: str
    documents: TextSplit
    names: Sequence[str]
    suspects: list[SuspectedLabel]
    apply: str | None

    def rows(self) -> list[list[Any]]:
        """Rows of `COLUMNS`; a document without a name is called by its row in the data."""
        ranks = {"unknown": 0, "present": 0}
        rows = []
        for suspect in self.suspects:
            ranks[suspect.given] += 1
            names = [self.names[suspect.row], self.documents.label_texts[suspect.column]]
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
            apply=self.apply,
            classes=[documents.label_texts[column] for column in columns],
            items=[
                Item(
                    name=self.names[row],
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
    left_out: bool = False,
    root: str | None = None,
    labels: str | None = None,
    decisions: Path | None = None,
    batch_size: int | None = None,
    progress: ShowProgress | None = None,
) -> TextAudit:
    """Rank the labels of documents that a run contradicts.

    The best labels that a document does not have are suspected to be missing; the labels that it
    has with the lowest scores are suspected to be wrong. The encoders may have been trained on the
    labels of "train"; those of "validation" and "test" they have not seen. Least squares score each
    training document by the fit without it: those of a frozen run always, those of another run with
    ``left_out``, on embeddings of the encoder that it started from.

    Args:
        run_dir: the run folder.
        accelerator: the device.
        split: "train", "validation" or "test".
        weights: name of saved weights; by default the preferred ones.
        top: labels of each list.
        left_out: score training documents by least squares that never saw them.
        root: another place of the data.
        labels: another place of the table, of a run on a table of one's own.
        decisions: a file of `pumlc.audit.read_corrections`; the audit does not ask about these
            labels again. By default the one beside the table.
        batch_size: documents encoded at a time; by default as in the run.
        progress: called with what is embedded, the texts done and their number.

    Raises:
        UserError: see `pumlc.text.evaluation.evaluate_run`; ``left_out`` of another split; or
            ``decisions`` is not a file of decisions.
    """
    require(top >= 1, "top", top, "at least 1")
    require(not left_out or split == "train", "split", split, "train with folds")
    predictor = create_predictor(run_dir, weights, str(accelerator.device))
    data = moved_data(predictor.config.data, root=root, labels=labels)
    config = replace(predictor.config, data=data)
    corpus = load_corpus(data, seed=config.train.seed)
    documents = documents_of(corpus, split)
    names = documents.names or [str(row + 1) for row in rows_of(corpus, split)]
    decided = _decided(data, decisions)
    stored = split == "train" and not isinstance(predictor, TextPredictor)
    compare_data(predictor.run, corpus, data.source, split, stored=stored)
    name = predictor.weights
    if isinstance(predictor, TextPredictor) and not left_out:
        queries, vectors = embeddings(predictor, documents, accelerator, batch_size, progress)
        suspects = _missing(documents, queries, vectors, accelerator, progress)
        suspects += _given(documents, queries, vectors)
    else:
        if isinstance(predictor, TextPredictor):
            name = LEFT_OUT
            scores = left_out_scores(config, accelerator, progress)
        elif split == "train":
            scores = read_left_out(predictor.run.path, documents.truth.shape)
        else:
            scores = predictor.score_split(
                documents, accelerator, batch_size=batch_size, progress=progress
            ).stored
        suspects = suspects_of(scores, documents)
    listed = [
        suspect
        for given in ("unknown", "present")
        for suspect in sorted(
            (
                each
                for each in suspects
                if each.given == given
                and (names[each.row], documents.label_texts[each.column]) not in decided
            ),
            key=lambda each: -each.suspicion,
        )[:top]
    ]
    return TextAudit(split, name, documents, names, listed, _apply(data))


def _decided(data: DataConfig, file: Path | None) -> set[tuple[str, str]]:
    """Names of documents and labels on which people have decided."""
    if data.labels is None and file is not None:
        raise UserError(f"decisions: {data.source} is no table; a number is a row of each split")
    if file is None:
        file = decisions_file(data.source)
        if not file.is_file():
            return set()
    return {correction.key for correction in read_corrections([file])}


def _apply(data: DataConfig) -> str | None:
    if data.labels is None:
        return None
    said = {
        "--text-column": data.text_column or TEXT,
        "--label-column": data.label_column,
        "--id-column": data.id_column,
        "--separator": data.separator,
    }
    options = [part for flag, value in said.items() if value is not None for part in (flag, value)]
    return shlex.join(
        ["pumlc", "correct", data.labels, "corrections.csv", *options, "--out", "NEW"]
    )


def write_text_suspects(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Write the rows of `TextAudit.rows` as a CSV file."""
    write_csv(path, COLUMNS, rows)


def _missing(
    documents: TextSplit,
    queries: np.ndarray,
    labels: np.ndarray,
    accelerator: Accelerator,
    progress: ShowProgress | None,
) -> list[SuspectedLabel]:
    known = documents.positives
    if documents.excluded is not None:
        known = canonical(known + documents.excluded)
    ids, scores = search(
        torch.from_numpy(queries).to(accelerator.device),
        torch.from_numpy(labels),
        PER_DOCUMENT,
        excluded=known,
        progress=progress,
    )
    rows, places = np.nonzero(ids >= 0)
    return [
        SuspectedLabel(int(row), int(ids[row, k]), "unknown", score, score)
        for row, k in zip(rows, places, strict=True)
        for score in (float(scores[row, k]),)
    ]


def _given(documents: TextSplit, queries: np.ndarray, labels: np.ndarray) -> list[SuspectedLabel]:
    pairs = documents.truth.tocoo()
    scores = np.einsum("nd,nd->n", queries[pairs.row], labels[pairs.col])
    return [
        SuspectedLabel(int(row), int(column), "present", float(score), -float(score))
        for row, column, score in zip(pairs.row, pairs.col, scores, strict=True)
    ]
