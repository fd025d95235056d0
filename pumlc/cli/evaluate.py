"""Measure a run on a split that it was not trained on.

pumlc evaluate runs/x
pumlc evaluate runs/x --data.root ELSEWHERE --split test --classes bus,car,cat
pumlc evaluate runs/x --per-class
pumlc evaluate runs/t --index faiss --precision bf16
torchrun --nproc-per-node 2 -m pumlc evaluate runs/x

The command prints a table and writes RUN/metrics.json (metrics-SPLIT.json for a split other than
test). If the output is not a terminal, or with --json, the last line has the same content as one
JSON object.
"""

import csv
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pumlc.branches import branch_of
from pumlc.cli import console
from pumlc.cli.options import argument, at_least_one, flag_of, option, parse_options
from pumlc.errors import UserError
from pumlc.files import write_json
from pumlc.progress import Progress

# options that only some kinds of runs have; every run has the others
_OF_EVALUATION = (
    *("csv", "labels", "classes", "positive_list", "unlisted", "bad_pictures", "oracle"),
)
_OF_TEXTS = ("index", "search_precision", "per_label")
_OF_REPORT = ("per_class",)


@dataclass(frozen=True)
class EvaluateOptions:
    """The command line of ``pumlc evaluate``."""

    run: Path = argument("run folder written by pumlc train")
    split: str = option("split of the data set", default="test")
    weights: list[str] | None = option("saved weights; default: all, one row each", nargs="+")
    root: str | None = option("folder of the data, if they have moved", flag="--data.root")
    csv: str | None = option("another CSV file", flag="--data.csv")
    labels: str | None = option("another label file or folder", flag="--data.labels")
    positive_list: str | None = option(
        "place of the run's list, if it has moved; for --split validation",
        flag="--data.positive_list",
    )
    unlisted: Literal["unknown", "negative"] | None = option(
        "CSV: what a label means that a row of the split does not list; default: as in the run",
        flag="--data.unlisted",
    )
    bad_pictures: Literal["error", "skip"] | None = option(
        "what to do with pictures that cannot be read; default: as in the run",
        flag="--data.bad_pictures",
    )
    oracle: bool = option(
        "also use thresholds fitted on the split itself: an upper bound, not a result",
        default=False,
    )
    per_class: bool = option(
        "also print a table of the classes, the worst AP first. It is for the preferred weights, "
        "or for the first of --weights if the preferred ones are not among them",
        default=False,
    )
    classes: list[str] | None = option(
        "also average over these classes: names separated by commas, or one argument per name. A "
        "name with a comma is an argument of its own, or quoted as in CSV: '\"a, b\",c'",
        nargs="+",
    )
    batch_size: int | None = option(
        "pictures or texts per batch; default: 64; texts: as in the run"
    )
    workers: int | None = option("threads that read pictures; default: one per core")
    precision: Literal["no", "fp16", "bf16"] = option("precision of the network", default="no")
    index: Literal["exact", "faiss"] | None = option("texts: the search that finds the labels")
    search_precision: Literal["fp32", "bf16"] | None = option(
        "texts: precision of the compared embeddings; default: fp32"
    )
    per_label: bool = option(
        "texts: also precision, recall and F1 of each label, at the threshold of the run",
        default=False,
    )
    json: bool = option("print the JSON object on a terminal too", default=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate a run."""
    options = evaluate_options(arguments)
    from pumlc.engine.processes import create_accelerator, end_processes

    accelerator = create_accelerator(options.precision)
    evaluate(options, accelerator)
    end_processes(accelerator)


def evaluate_options(arguments: Sequence[str] | None) -> EvaluateOptions:
    """The options of a command line; see `parse_options`."""
    options = parse_options(
        EvaluateOptions, arguments, program="pumlc evaluate", about=__doc__ or ""
    )
    at_least_one(options, "batch_size")
    return options


def evaluate(options: EvaluateOptions, accelerator: Any) -> None:
    """Measure a run, print the table and write the file.

    Args:
        options: the command line.
        accelerator: devices and processes; the caller ends them.
    """
    from pumlc.engine.run import RunFolder

    content = RunFolder(options.run).read()
    evaluation = branch_of(content["config"].get("task"), options.run).evaluation_module
    given = _given(options, evaluation.OPTIONS)
    if "classes" in given:
        given["classes"] = class_names(given["classes"], content.get("classes", ()))
    shown = {name: given.pop(name) for name in _OF_REPORT if name in given}
    result = evaluation.evaluate_run(
        options.run,
        accelerator,
        split=options.split,
        weights=options.weights,
        root=options.root,
        **({} if options.batch_size is None else {"batch_size": options.batch_size}),
        workers=options.workers,
        progress=Progress().show if accelerator.is_main_process else None,
        **given,
    )
    if accelerator.is_main_process:
        try:
            print(evaluation.report(result, **shown), flush=True)
            if sys.stdout.isatty():  # for a person
                print(f"as a page: pumlc report {options.run} --out report.html", flush=True)
            console.print_result(result, always=options.json)
        finally:  # last, since the folder may be read-only; and also if nobody reads the output
            name = "metrics.json" if options.split == "test" else f"metrics-{options.split}.json"
            write_json(options.run / name, result)


def _given(options: EvaluateOptions, valid: Collection[str]) -> dict[str, Any]:
    """The given options that only some kinds of runs have.

    Args:
        options: the command line.
        valid: names of the options that this kind of run has.

    Raises:
        UserError: This kind of run does not have a given option.
    """
    names = (*_OF_EVALUATION, *_OF_TEXTS, *_OF_REPORT)
    given = {name: value for name in names if (value := getattr(options, name))}
    for name in given:
        if name not in valid:
            flag = flag_of(EvaluateOptions, name)
            raise UserError(f"{flag} does not apply to {options.run}, which has another task")
    return given


def class_names(arguments: Sequence[str], known: Collection[str]) -> list[str]:
    """The class names in the arguments of ``--classes``.

    Args:
        arguments: each is one name, or names separated by commas.
        known: the classes of the run; an argument that is one of them is not divided.
    """
    names = []
    for text in arguments:
        cells = [text] if text in known else next(csv.reader([text], skipinitialspace=True), [])
        names += [cell.strip() for cell in cells]
    return names
