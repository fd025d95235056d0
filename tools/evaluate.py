"""Evaluate a run on a split it was not trained on.

python tools/evaluate.py runs/x
python tools/evaluate.py runs/x --data.root ELSEWHERE --split test --classes bus,car,cat
python tools/evaluate.py runs/x --per-class
python tools/evaluate.py runs/t --index faiss --precision bf16
torchrun --nproc-per-node 2 tools/evaluate.py runs/x

Prints a table, writes RUN/metrics.json (metrics-SPLIT.json for another split than test) and prints
one JSON object as its last line.
"""

import argparse
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from pumlc.cli import console
from pumlc.engine.loop import create_accelerator, end_processes
from pumlc.engine.run import RunFolder
from pumlc.errors import UserError
from pumlc.files import write_json

OF_EVALUATION = {
    "index": "--index",
    "search_precision": "--search-precision",
    "positive_list": "--data.positive_list",
    "unlisted": "--data.unlisted",
    "oracle": "--oracle",
}
OF_REPORT = {"per_class": "--per-class"}


def evaluation_module(run: Path) -> ModuleType:
    """The evaluation of the branch that a run belongs to."""
    if RunFolder(run).read()["config"]["task"] == "text":
        from pumlc.text import evaluation
    else:
        from pumlc.vision import evaluation
    return evaluation


def own_options(
    function: Callable[..., Any], flags: dict[str, str], options: argparse.Namespace
) -> dict[str, Any]:
    """The given options that only one branch has.

    Args:
        function: what takes them in the branch of the run.
        flags: parameter -> option, of whichever branch.
        options: the command line.

    Raises:
        UserError: this is not that branch.
    """
    given = {name: getattr(options, name) for name in flags}
    given = {name: value for name, value in given.items() if value is not None}
    for name in given:
        if name not in inspect.signature(function).parameters:
            raise UserError(f"{options.run} has another task: {flags[name]} does not apply to it")
    return given


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path, help="run folder written by tools/train.py")
    parser.add_argument("--split", default="test")
    parser.add_argument("--weights", nargs="+", help="saved weights; default: all, a row each")
    parser.add_argument("--data.root", dest="root", help="another place of the data")
    parser.add_argument("--data.csv", dest="csv", help="another CSV file")
    parser.add_argument(
        "--data.positive_list",
        dest="positive_list",
        help="another place of the run's list, for --split validation",
    )
    parser.add_argument(
        "--data.unlisted",
        dest="unlisted",
        choices=("unknown", "negative"),
        help="CSV: what a row of the split does not list; default: as the run's settings say",
    )
    parser.add_argument(
        "--oracle",
        action="store_true",
        default=None,
        help="also thresholds fitted on the split itself: an upper bound, no result",
    )
    parser.add_argument(
        "--per-class",
        action="store_true",
        default=None,
        help="also a table of the classes, the worst AP first, of the preferred weights (of the\n"
        "first of --weights, where these are not among them)",
    )
    parser.add_argument("--classes", help="also average over these classes, comma separated")
    parser.add_argument("--batch-size", type=int, help="default: 64; texts: as in the run")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--precision", choices=["no", "fp16", "bf16"], default="no")
    parser.add_argument("--index", choices=["exact", "faiss"], help="texts: what finds the labels")
    parser.add_argument(
        "--search-precision",
        choices=["fp32", "bf16"],
        help="texts: of the embeddings that are compared; default: fp32",
    )
    options = parser.parse_args(arguments)
    if options.batch_size is not None and options.batch_size < 1:
        raise UserError(f"--batch-size must be at least 1, got {options.batch_size}")
    return options


def main(arguments: list[str] | None = None) -> None:
    options = parsed(arguments)
    accelerator = create_accelerator(options.precision)
    evaluation = evaluation_module(options.run)
    shown = own_options(evaluation.report, OF_REPORT, options)
    result = evaluation.evaluate_run(
        options.run,
        accelerator,
        split=options.split,
        weights=options.weights,
        root=options.root,
        csv=options.csv,
        classes=[name.strip() for name in options.classes.split(",")] if options.classes else None,
        **({} if options.batch_size is None else {"batch_size": options.batch_size}),
        workers=options.workers,
        **own_options(evaluation.evaluate_run, OF_EVALUATION, options),
    )
    if accelerator.is_main_process:
        name = "metrics.json" if options.split == "test" else f"metrics-{options.split}.json"
        print(evaluation.report(result, **shown), flush=True)
        print(json.dumps(result), flush=True)
        write_json(options.run / name, result)  # last: the folder may be read-only
    end_processes(accelerator)


if __name__ == "__main__":
    console.run(main)
