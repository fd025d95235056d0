"""The rows that ``pumlc predict`` writes of a run on texts."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pumlc.errors import UserError
from pumlc.progress import Progress

if TYPE_CHECKING:
    import numpy as np

    from pumlc.cli.predict import PredictOptions


@dataclass(frozen=True)
class _Texts:
    """Texts to predict, and what each is called: its name, or its line through all files."""

    texts: list[str]
    names: list[str]
    called: str


def text_rows(options: "PredictOptions") -> Iterator[list[str]]:
    """A header, then for each text its labels, best first.

    Raises:
        UserError: options of pictures, files that cannot be read, or a threshold that the run does
            not have.
    """
    from pumlc.predictor import load
    from pumlc.text.data.readers import read_labels

    for name in ("recall", "precision"):
        if getattr(options, name) is not None:
            raise UserError(
                f"--{name} is for image runs; {options.run} is a text run: see --threshold, --top"
            )
    if options.batch_size is not None:
        raise UserError(
            f"--batch-size is for image runs; {options.run} is a text run, which takes documents "
            "as its setting encoder.document_chunk says"
        )
    if options.label_vectors is not None:
        raise UserError(
            f"--model.label_vectors is for image runs; {options.run} is a text run, which has the "
            "encoder of its labels"
        )
    predictor = load(options.run, options.weights)
    threshold = _threshold(options, predictor)
    if options.index == "ivf" and not hasattr(predictor, "approximate_index"):
        raise UserError(f"--index ivf: {options.run} has least squares, which searches no labels")
    if options.labels is not None:
        predictor.use_labels(read_labels(options.labels))
    read = _read(options, predictor.config.data)
    approximate = options.index == "ivf"
    scores, labels = predictor.predict(
        read.texts,
        top=options.top or 10,
        precision=options.search_precision or "fp32",
        progress=Progress().show,
        **({"approximate": True} if approximate else {}),
    )
    if approximate:
        recall = predictor.approximate_index(None).recall
        print(
            f"index ivf: it finds {recall:.1%} of the 10 best labels of the exact search, measured "
            "when it was built",
            file=sys.stderr,
        )
    decisions = predictor.decisions
    judged = [] if decisions is None else ["probability", "present"]
    yield [read.called, "label", "score", *judged]
    for name, row, own in zip(read.names, scores, labels, strict=True):
        probabilities = None if decisions is None else decisions.probabilities(row)
        yield from _rows(name, own, row, probabilities, threshold)


def _rows(
    name: str,
    labels: Sequence[str],
    scores: "np.ndarray",
    probabilities: "np.ndarray | None",
    threshold: float,
) -> Iterator[list[str]]:
    for place, label in enumerate(labels):
        row = [name, label, f"{scores[place]:.6f}"]
        if probabilities is not None:
            value = float(probabilities[place])
            row += [f"{value:.6f}", "1" if value >= threshold else "0"]
        yield row


def _threshold(options: "PredictOptions", predictor: Any) -> float:
    """The probability from which a label counts as present."""
    given, decisions = options.threshold, predictor.decisions
    if decisions is None:
        if given is not None:
            raise UserError(
                f"--threshold: {predictor.weights} has no probabilities, since the run held out no "
                "validation part (data.validation); the scores rank, see --top"
            )
        return 1.0  # no column shows it
    return decisions.threshold if given in (None, "fitted") else float(given)


def _read(options: "PredictOptions", data: Any) -> _Texts:
    """The texts of all files; columns are those of the command line, else those of the run."""
    from pumlc.text.data.readers import TABLES, read_lines, read_table
    from pumlc.text.data.readers.table import Columns

    text = options.text_column or data.text_column
    texts: list[str] = []
    names: list[str] = []
    tables = [source for source in options.sources if source.suffix.lower() in TABLES]
    if options.id_column is not None and len(tables) < len(options.sources):
        other = next(source for source in options.sources if source not in tables)
        raise UserError(f"--id-column {options.id_column}: {other} has no columns, but lines")
    for source in options.sources:
        if source in tables:
            columns = Columns(text=text, name=options.id_column)
            table = read_table(Path(source), columns, labelled=False)
            texts += table.texts
            names += table.names or []
        else:
            texts += read_lines(source)
    if options.id_column is not None:
        return _Texts(texts, names, options.id_column)
    return _Texts(texts, [str(line) for line in range(1, len(texts) + 1)], "line")
