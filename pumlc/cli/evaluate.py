"""Measure a run on a split that it was not trained on.

pumlc evaluate runs/x
pumlc evaluate runs/x --data.root ELSEWHERE --split test --classes bus,car,cat
pumlc evaluate runs/x --per-class
pumlc evaluate runs/t --index faiss --precision bf16
torchrun --nproc-per-node 2 -m pumlc evaluate runs/x

Prints a table and writes RUN/metrics.json (metrics-SPLIT.json for another split than test). Where
the output is no terminal, or with --json, the last line is the same as one JSON object.
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

# options that only one branch has, if any; the others are those of every run
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
    weights: list[str] | None = option("saved weights; default: all, a row each", nargs="+")
    root: str | None = option("another place of the data", flag="--data.root")
    csv: str | None = option("another CSV file", flag="--data.csv")
    labels: str | None = option("another label file or folder", flag="--data.labels")
    positive_list: str | None = option(
        "another place of the run's list, for --split validation", flag="--data.positive_list"
    )
    unlisted: Literal["unknown", "negative"] | None = option(
        "CSV: what a row of the split does not list; default: as the run's settings say",
        flag="--data.unlisted",
    )
    bad_pictures: Literal["error", "skip"] | None = option(
        "pictures that cannot be read; default: as in the run", flag="--data.bad_pictures"
    )
    oracle: bool = option(
        "also thresholds fitted on the split itself: an upper bound, no result", default=False
    )
    per_class: bool = option(
        "also a table of the classes, the worst AP first, of the preferred weights (of the first "
        "of --weights, where these are not among them)",
        default=False,
    )
    classes: list[str] | None = option(
        "also average over these classes: names separated by commas, or one argument a name; a "
        "name that has a comma is an argument of its own, or quoted as in CSV: '\"a, b\",c'",
        nargs="+",
    )
    batch_size: int | None = option("default: 64; texts: as in the run")
    workers: int | None = option("threads that read pictures; default: one a core")
    precision: Literal["no", "fp16", "bf16"] = option("of the network", default="no")
    index: Literal["exact", "faiss"] | None = option("texts: what finds the labels")
    search_precision: Literal["fp32", "bf16"] | None = option(
        "texts: of the embeddings that are compared; default: fp32"
    )
    per_label: bool = option(
        "texts: also precision, recall and F1 of each label, at the threshold of the run",
        default=False,
    )
    json: bool = option("print the JSON object on a terminal too", default=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate a run."""
    options = parse_options(
        EvaluateOptions, arguments, program="pumlc evaluate", about=__doc__ or ""
    )
    at_least_one(options, "batch_size")
    from pumlc.engine.processes import create_accelerator, end_processes
    from pumlc.engine.run import RunFolder

    content = RunFolder(options.run).read()
    evaluation = branch_of(content["config"].get("task"), options.run).evaluation_module
    given = _given(options, evaluation.OPTIONS)
    if "classes" in given:
        given["classes"] = class_names(given["classes"], content.get("classes", ()))
    shown = {name: given.pop(name) for name in _OF_REPORT if name in given}
    accelerator = create_accelerator(options.precision)
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
        print(evaluation.report(result, **shown), flush=True)
        if sys.stdout.isatty():  # for a person
            print(f"as a page: pumlc report {options.run} --out report.html", flush=True)
        console.print_result(result, always=options.json)
        name = "metrics.json" if options.split == "test" else f"metrics-{options.split}.json"
        write_json(options.run / name, result)  # last: the folder may be read-only
    end_processes(accelerator)


def _given(options: EvaluateOptions, valid: Collection[str]) -> dict[str, Any]:
    """The options of the command line that only one branch has.

    Raises:
        UserError: the branch of the run has not.
    """
    names = (*_OF_EVALUATION, *_OF_TEXTS, *_OF_REPORT)
    given = {name: value for name in names if (value := getattr(options, name))}
    for name in given:
        if name not in valid:
            flag = flag_of(EvaluateOptions, name)
            raise UserError(f"{options.run} has another task: {flag} does not apply to it")
    return given


def class_names(arguments: Sequence[str], known: Collection[str]) -> list[str]:
    """The names in the arguments of ``--classes``: each is a name, or names separated by commas."""
    names = []
    for text in arguments:
        cells = [text] if text in known else next(csv.reader([text], skipinitialspace=True), [])
        names += [cell.strip() for cell in cells]
    return names
