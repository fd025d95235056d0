"""Name the labels of pictures or texts with a trained run and write a CSV file.

python tools/predict.py runs/x picture.jpg folder/ --out predictions.csv
python tools/predict.py runs/t texts.txt --top 10 --labels new_labels.txt

Columns: path, label, score, present for pictures, present being 1 where the score reaches the
threshold (--threshold), else 0; line, label, score for texts, one text a line of the files, counted
from 1 through all of them. Without --out the CSV goes to standard output.
"""

import argparse
import contextlib
import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np

import pumlc
from pumlc.cli import console
from pumlc.engine.run import RunFolder
from pumlc.errors import UserError

if TYPE_CHECKING:  # a text run needs no vision package
    from pumlc.vision.predictor import VisionPredictor

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"}


def pictures(sources: list[Path]) -> list[Path]:
    """Files as they are, folders as all the pictures below them in sorted order."""
    found: list[Path] = []
    for source in sources:
        if source.is_dir():
            # hidden ones are none of the user's own: macOS writes ._one.jpg beside one.jpg
            inside = sorted(
                p for p in source.rglob("[!.]*") if p.suffix.lower() in SUFFIXES and p.is_file()
            )
            if not inside:
                raise UserError(
                    f"{source}: no picture in this folder ({', '.join(sorted(SUFFIXES))})"
                )
            found += inside
        elif source.is_file():
            found.append(source)
        else:
            raise UserError(f"{source}: no such file or folder")
    return found


def thresholds_of(predictor: "VisionPredictor", given: str | None) -> np.ndarray:
    """The score from which each label counts as present; prints which it is."""
    name = predictor.weights
    if given == "fitted" and not predictor.fitted:
        raise UserError(
            f"--threshold fitted: {name} has no fitted thresholds, since the run held out no "
            "validation part; pass a number in [0, 1]"
        )
    if given == "fitted" or (given is None and predictor.fitted):
        thresholds, what = predictor.thresholds, "per class, fitted on the validation part"
    else:
        value = 0.5 if given is None else float(given)
        thresholds = np.full(len(predictor.labels), value)
        what = f"{value:g}" if given else f"{value:g}, since no validation part was held out"
    # standard output may be the CSV
    print(f"threshold of present: {what} (weights: {name})", file=sys.stderr)
    return thresholds


def picture_rows(options: argparse.Namespace) -> Iterator[list[str]]:
    """A header, then for each picture its labels, best first."""
    if options.labels is not None:
        raise UserError("--labels is for text runs; an image run has the classes of its training")
    if options.search_precision is not None:
        raise UserError("--search-precision is for text runs; an image run searches nothing")
    predictor = pumlc.load(options.run, options.weights)
    paths = pictures(options.sources)
    thresholds = thresholds_of(predictor, options.threshold)
    yield ["path", "label", "score", "present"]
    for start in range(0, len(paths), options.batch_size):
        batch = paths[start : start + options.batch_size]
        scores, labels = predictor.predict(batch, batch_size=options.batch_size)
        for path, row in zip(batch, scores, strict=True):
            best = (-row).argsort(kind="stable")[: options.top]
            present = np.where(row >= thresholds, "1", "0")
            yield from ([str(path), labels[i], f"{row[i]:.6f}", str(present[i])] for i in best)


def text_rows(options: argparse.Namespace) -> Iterator[list[str]]:
    """A header, then for each text its labels, best first."""
    from pumlc.text.data.readers import read_labels, read_lines

    if options.threshold is not None:
        raise UserError("--threshold is for image runs; a text run ranks, see --top")
    predictor = pumlc.load(options.run, options.weights)
    if options.labels is not None:
        predictor.use_labels(read_labels(options.labels))
    texts = [text for source in options.sources for text in read_lines(source)]
    scores, labels = predictor.predict(
        texts, top=options.top or 10, precision=options.search_precision or "fp32"
    )
    yield ["line", "label", "score"]
    for line, (row, names) in enumerate(zip(scores, labels, strict=True), start=1):
        yield from ([str(line), n, f"{s:.6f}"] for n, s in zip(names, row, strict=True))


@contextlib.contextmanager
def complete_file(path: Path | None) -> Iterator[TextIO]:
    """A file that appears under its name when it is complete; standard output for None."""
    if path is None:
        yield sys.stdout
        return
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check(options: argparse.Namespace) -> None:
    """Refuse options that would fail after the work."""
    if options.top is not None and options.top < 1:
        raise UserError(f"--top must be at least 1, got {options.top}")
    if options.batch_size < 1:
        raise UserError(f"--batch-size must be at least 1, got {options.batch_size}")
    if options.threshold not in (None, "fitted"):
        try:
            valid = 0 <= float(options.threshold) <= 1
        except ValueError:
            valid = False
        if not valid:
            raise UserError(
                f"--threshold must be 'fitted' or a number in [0, 1], got {options.threshold!r}"
            )
    if options.out is not None:
        console.check_out(options.out)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path, help="run folder written by tools/train.py")
    parser.add_argument(
        "sources", type=Path, nargs="+", help="pictures and folders of them, or files of texts"
    )
    parser.add_argument("--out", type=Path, help="CSV file to write")
    parser.add_argument("--weights", help="saved weights; default: best on validation, else last")
    parser.add_argument(
        "--top", type=int, help="labels of each, best first; default: all; texts: 10"
    )
    parser.add_argument(
        "--threshold",
        metavar="fitted|VALUE",
        help="pictures: score from which a label is present; fitted: per class, stored with the\n"
        "weights; default: fitted, 0.5 where the run held out no validation part",
    )
    parser.add_argument("--labels", type=Path, help="texts: choose among the lines of this file")
    parser.add_argument(
        "--search-precision",
        choices=["fp32", "bf16"],
        help="texts: of the embeddings that are compared; default: fp32",
    )
    parser.add_argument("--batch-size", type=int, default=32, help="pictures at a time")
    options = parser.parse_args(arguments)
    check(options)
    task = RunFolder(options.run).read()["config"]["task"]
    rows = text_rows(options) if task == "text" else picture_rows(options)
    with complete_file(options.out) as file:
        csv.writer(file).writerows(rows)
    if options.out is not None:
        print(f"written: {options.out}")


if __name__ == "__main__":
    console.run(main)
