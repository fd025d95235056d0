"""Name the labels of pictures or texts with a trained run and write a CSV file.

pumlc predict runs/x picture.jpg folder/ --out predictions.csv
pumlc predict runs/t texts.txt --top 10 --labels new_labels.txt
pumlc predict runs/o picture.jpg --labels classes.txt      a run with heads open_vocabulary
torchrun --nproc-per-node 2 -m pumlc predict runs/x folder/ --out predictions.csv    pictures

The columns for pictures are path, label, score and present. score is a probability; present is 1 if
it reaches the threshold (--threshold), else 0. The columns for texts are line, label and score, and
probability and present if the run has fitted them. Lines are counted from 1 over all files; in a
table (.csv, .tsv, .jsonl) they are the rows, and --id-column puts their names in the place of line
(docs/text.md). Without --out the CSV goes to standard output. The command names pictures that
cannot be read at the end; all others have their rows, and the exit status is 1. A cell that a
spreadsheet would take for a formula begins with '.
"""

import csv
import itertools
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pumlc.branches import branch_of
from pumlc.cli import console
from pumlc.cli.label_lines import use_labels
from pumlc.cli.options import argument, at_least_one, flag_of, option, parse_options
from pumlc.cli.pictures import find_pictures
from pumlc.cli.predicted_texts import text_rows
from pumlc.errors import UserError
from pumlc.files import complete_file, spreadsheet_cell
from pumlc.progress import Progress
from pumlc.tables import printable

if TYPE_CHECKING:  # a text run needs no vision package
    import numpy as np
    from accelerate import Accelerator

    from pumlc.vision.predictor import VisionPredictor

NAMED = 20
"""At most this many files without a prediction are named."""
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class PredictOptions:
    """The command line of ``pumlc predict``."""

    run: Path = argument("run folder written by pumlc train")
    sources: list[Path] = argument("pictures and folders of pictures, or text files", nargs="+")
    out: Path | None = option("CSV file to write")
    weights: str | None = option("saved weights; default: best on validation, else last")
    top: int | None = option("labels per picture or text, best first; default: all; texts: 10")
    threshold: str | None = option(
        "probability from which a label is present; fitted: stored with the weights, for pictures "
        "one per class; default: fitted, or for pictures 0.5 if the run held out no validation "
        "part",
        metavar="fitted|VALUE",
    )
    recall: float | None = option(
        "pictures: use thresholds that find this share of the true tags of each class, judged by "
        "the known present labels of the held-out part; for example 0.9"
    )
    precision: float | None = option(
        "pictures: use thresholds by which this share of what is called present is so, of each "
        "class, judged by the known labels of the held-out part; for example 0.9"
    )
    confidence: float = option(
        "probability that --recall or --precision holds for a class", default=_CONFIDENCE
    )
    labels: Path | None = option(
        "choose among the lines of this file; pictures: of a run with heads open_vocabulary, which "
        "finds new classes by their names"
    )
    label_vectors: str | None = option(
        "pictures, with --labels: the encoder of class names, if it has moved",
        flag="--model.label_vectors",
    )
    text_column: str | None = option("texts: column of a table; default: that of the run, or text")
    id_column: str | None = option("texts: column of a table that names its rows in the output")
    index: Literal["exact", "ivf"] | None = option(
        "texts: what finds the labels; ivf: an approximate index, kept in the run folder; its "
        "recall is printed; default: exact"
    )
    search_precision: Literal["fp32", "bf16"] | None = option(
        "texts: precision of the compared embeddings; default: fp32"
    )
    batch_size: int | None = option("pictures per batch; default: 32")


def main(arguments: Sequence[str] | None = None) -> None:
    """Predict."""
    options = parse_options(PredictOptions, arguments, program="pumlc predict", about=__doc__ or "")
    _check(options)
    from pumlc.engine.run import RunFolder

    branch = branch_of(RunFolder(options.run).read()["config"].get("task"), options.run)
    failures: list[tuple[Path, str]] = []
    rows = text_rows(options) if branch.name == "text" else _picture_rows(options, failures)
    first = next(rows, None)  # this raises every error that is known before anything is written
    if first is None:  # another process writes
        return
    with _csv_writer(options.out) as write:
        write(itertools.chain([first], rows))
    if options.out is not None:
        print(f"wrote {options.out}")
    if failures:
        raise console.SomeFailedError(
            f"no prediction for {len(failures)} pictures:\n{_listed(failures)}"
        )


def _check(options: PredictOptions) -> None:
    """Refuse wrong options now, since they would fail only after the work."""
    at_least_one(options, "top", "batch_size")
    if options.threshold not in (None, "fitted"):
        try:
            valid = 0 <= float(options.threshold) <= 1
        except ValueError:
            valid = False
        if not valid:
            raise UserError(
                f"--threshold must be 'fitted' or a number in [0, 1], got {options.threshold!r}"
            )
    promises = [name for name in ("recall", "precision") if getattr(options, name) is not None]
    if options.label_vectors is not None and options.labels is None:
        raise UserError("--model.label_vectors is the encoder of the classes in --labels FILE")
    if promises and options.labels is not None:
        raise UserError(
            f"--{promises[0]} rests on known labels, which a new class does not have; leave out "
            "--labels"
        )
    if not promises and options.confidence != _CONFIDENCE:
        raise UserError(
            f"--confidence {options.confidence:g} has nothing to hold for: give --recall SHARE or "
            "--precision SHARE with it"
        )
    if len(promises) == 2:
        raise UserError("--recall and --precision choose different thresholds; give one of them")
    for promise in promises:
        if options.threshold is not None:
            raise UserError(f"--{promise} chooses the thresholds itself; leave out --threshold")
        for name in (promise, "confidence"):
            value = getattr(options, name)
            if not 0 < value < 1:
                raise UserError(f"--{name} must be between 0 and 1, got {value:g}")
    if options.out is not None:
        console.check_out(options.out, begins=r"[^\n]*,label,score")


def _picture_rows(options: PredictOptions, failures: list[tuple[Path, str]]) -> Iterator[list[str]]:
    """A header, then for each picture its labels, best first; ``failures`` takes the bad ones."""
    import numpy as np

    from pumlc.engine.processes import create_accelerator, end_processes
    from pumlc.predictor import load

    if options.search_precision is not None:
        raise UserError(f"--search-precision is for text runs; {options.run} is an image run")
    for name in ("text_column", "id_column", "index"):
        if getattr(options, name) is not None:
            flag = flag_of(PredictOptions, name)
            raise UserError(f"{flag} is for text runs; {options.run} is an image run")
    accelerator = create_accelerator()
    predictor = load(options.run, options.weights, str(accelerator.device))
    if options.labels is not None:
        print(use_labels(predictor, options.labels, options.label_vectors), file=sys.stderr)
    paths, left_out = find_pictures(options.sources)
    if accelerator.is_main_process:
        if left_out:
            print(f"left out: {len(left_out)} of a folder:\n{_listed(left_out)}", file=sys.stderr)
        _say_escaped(paths)
        if options.recall is None and options.precision is None:
            thresholds = _thresholds(predictor, options.threshold)
        else:
            thresholds = _promised(predictor, options)
    header: list[str] | None = ["path", "label", "score", "present"]
    for path, row in zip(paths, _scored(options, predictor, paths, accelerator), strict=False):
        if isinstance(row, UserError):
            failures.append((path, str(row).removeprefix(f"{path}: ")))
            continue
        if header is not None:  # not before a picture could be read
            yield header
            header = None
        best = (-row).argsort(kind="stable")[: options.top]
        present = np.where(row >= thresholds, "1", "0")
        labels = predictor.labels
        yield from ([str(path), labels[i], f"{row[i]:.6f}", str(present[i])] for i in best)
    end_processes(accelerator)
    if header is not None and accelerator.is_main_process:
        raise UserError(f"no picture could be read:\n{_listed(failures)}")


def _scored(
    options: PredictOptions,
    predictor: "VisionPredictor",
    paths: Sequence[Path],
    accelerator: "Accelerator",
) -> Iterator["np.ndarray | UserError"]:
    """The probabilities [C] of each picture, or the reason why it has none.

    With several processes, only the first one gets the results, when all processes are done.
    """
    from accelerate.utils import gather_object

    from pumlc.engine.batches import own_rows

    rows = own_rows(len(paths), accelerator)
    progress = Progress()
    scored = predictor.predict_each(
        [paths[row] for row in rows], batch_size=options.batch_size or 32
    )
    results = []
    for done, result in enumerate(scored, 1):
        if accelerator.is_main_process:
            progress.show("pictures", done, len(rows))
        if accelerator.num_processes == 1:
            yield result
        else:
            results.append(result)
    if accelerator.num_processes > 1:
        parts = gather_object([results])
        if accelerator.is_main_process:
            yield from (parts[row % len(parts)][row // len(parts)] for row in range(len(paths)))


def _say_escaped(paths: Sequence[Path]) -> None:
    """Say once that the CSV file has escapes for names of files that UTF-8 cannot write."""
    escaped = [path for path in paths if not _is_utf8(path)]
    if escaped:
        print(
            f"note: {len(escaped)} names of files are not UTF-8; each such byte is written as an "
            f"escape: {printable(escaped[0].name)}",
            file=sys.stderr,
        )


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _listed(files: Sequence[tuple[Path, str]]) -> str:
    lines = [f"  {printable(str(path))}: {reason}" for path, reason in files[:NAMED]]
    more = [f"  and {len(files) - NAMED} more"] if len(files) > NAMED else []
    return "\n".join([*lines, *more])


def _thresholds(predictor: "VisionPredictor", given: str | None) -> "np.ndarray":
    """The probability from which each label is present, [C]; prints where it comes from."""
    import numpy as np

    name = predictor.weights
    if given == "fitted" and not predictor.fitted:
        raise UserError(
            f"--threshold fitted: {name} has no fitted thresholds, since the run held out no "
            "validation part; pass a number in [0, 1]"
        )
    if given == "fitted" or (given is None and predictor.fitted):
        thresholds, on = predictor.thresholds, predictor.fitted_on
        what = f"per class, fitted on {'the validation part' if on == 'validation' else on}"
        if predictor.global_in:
            shown = ", ".join(printable(repr(label)) for label in predictor.global_in[:NAMED])
            rest = len(predictor.global_in) - NAMED
            more = f" and {rest} more" if rest > 0 else ""
            what += f"; the common one for {shown}{more}, which had too few labels to fit one"
    else:
        value = 0.5 if given is None else float(given)
        thresholds = np.full(len(predictor.labels), value)
        what = f"{value:g}" if given else f"{value:g}, since no validation part was held out"
    # standard output may be the CSV
    print(f"threshold of present: {what} (weights: {name})", file=sys.stderr)
    return thresholds


def _promised(predictor: "VisionPredictor", options: PredictOptions) -> "np.ndarray":
    """Thresholds [C] with a promised recall or precision; prints the classes without a promise."""
    from pumlc.engine.processes import create_accelerator
    from pumlc.vision.guarantee import guaranteed_thresholds

    promise = guaranteed_thresholds(
        predictor,
        create_accelerator(),
        recall=options.recall,
        precision=options.precision,
        confidence=options.confidence,
    )
    if options.recall is not None:
        what, kind = f"finds {options.recall:g} of the true tags", "present "
        condition = "tags are missing at random"
    else:
        what, kind = f"{options.precision:g} of what is called present is so", ""
        condition = "present and absent labels are known equally often"
    served = promise.thresholds < float("inf")
    print(
        f"threshold of present: {what} with confidence {options.confidence:g}, "
        f"for {served.sum()} of {len(served)} classes, if {condition}",
        file=sys.stderr,
    )
    if not served.all():
        few = [
            f"  {printable(name)}: "
            + (
                f"{known} known {kind}labels, {needed} or more needed"
                if options.recall is not None or known <= needed
                else f"of {known} known labels, too many of the most probable are absent"
            )
            for name, known, needed, kept in zip(
                predictor.labels, promise.known, promise.needed, served, strict=True
            )
            if not kept
        ]
        more = [f"  and {len(few) - NAMED} more"] if len(few) > NAMED else []
        print(
            "never called present, since their known labels do not suffice for this:\n"
            + "\n".join([*few[:NAMED], *more]),
            file=sys.stderr,
        )
    return promise.thresholds


@contextmanager
def _csv_writer(path: Path | None) -> Iterator[Any]:
    """Give a function that writes rows: to a file, which then appears complete, or to stdout."""
    if path is not None:
        with complete_file(path) as file:
            writer = csv.writer(file)
            yield lambda rows: writer.writerows(map(_safe_cells, rows))
    else:
        terminal = sys.stdout.isatty()
        writer = csv.writer(sys.stdout)
        yield lambda rows: writer.writerows(
            map(printable, cells) if terminal else cells for cells in map(_safe_cells, rows)
        )


def _safe_cells(row: Sequence[str]) -> list[str]:
    return [spreadsheet_cell(cell) for cell in row]
