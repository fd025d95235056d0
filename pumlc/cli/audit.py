"""Rank the labels of a run's data that are probably wrong or missing, and write them as CSV.

pumlc audit runs/x
pumlc audit runs/x --split test --top 500 --out audit.csv
pumlc audit runs/x --data.root ELSEWHERE --data.csv ELSEWHERE/labels.csv
pumlc audit runs/x --folds 5

Labels that are unknown or negative with a high probability, positive ones with a low probability:
docs/audit.md. Pictures held out for validation are ranked apart from those trained on. With --folds
neither the run's network nor any other that saw a picture's labels scores it: linear heads do, on
features of the network that the run started from, trained without the picture's fold. Where the
run hid or flipped labels on purpose (label_manifest.npz), the table says how well that was found.
Where the output is no terminal, or with --json, the last line is one JSON object.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pumlc.cli import console
from pumlc.cli.options import (
    argument,
    at_least_one,
    errors_name_options,
    option,
    parse_options,
)
from pumlc.progress import Progress


@dataclass(frozen=True)
class AuditOptions:
    """The command line of ``pumlc audit``."""

    run: Path = argument("run folder written by pumlc train")
    split: str = option("default: train and its validation part", default="train")
    root: str | None = option("another place of the data", flag="--data.root")
    csv: str | None = option("another place of the CSV file", flag="--data.csv")
    positive_list: str | None = option(
        "another place of the run's list, for --split train", flag="--data.positive_list"
    )
    out: Path | None = option("CSV file to write; default: RUN/audit[-SPLIT].csv")
    bad_pictures: Literal["error", "skip"] | None = option(
        "pictures that cannot be read; default: as in the run", flag="--data.bad_pictures"
    )
    top: int = option("so many labels of each kind and part", default=100)
    weights: str | None = option("saved weights; default: best on validation, else last")
    folds: int | None = option("score by heads that never saw a picture's labels; for example 5")
    batch_size: int = option("pictures at a time", default=64)
    workers: int | None = option("threads that read pictures; default: one a core")
    json: bool = option("print the JSON object on a terminal too", default=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Audit a run."""
    options = parse_options(AuditOptions, arguments, program="pumlc audit", about=__doc__ or "")
    at_least_one(options, "top", "batch_size")
    name = "audit.csv" if options.split == "train" else f"audit-{options.split}.csv"
    out = options.out or options.run / name
    if options.out is not None:
        console.check_out(options.out)
    from pumlc.engine.processes import create_accelerator, end_processes
    from pumlc.vision.audit.report import report
    from pumlc.vision.audit.run import audit_run
    from pumlc.vision.audit.suspects import write_suspects

    accelerator = create_accelerator()
    with errors_name_options(options):
        result = audit_run(
            options.run,
            accelerator,
            split=options.split,
            weights=options.weights,
            folds=options.folds,
            top=options.top,
            batch_size=options.batch_size,
            workers=options.workers,
            root=options.root,
            csv=options.csv,
            positive_list=options.positive_list,
            bad_pictures=options.bad_pictures,
            progress=Progress().show if accelerator.is_main_process else None,
        )
    if accelerator.is_main_process:
        write_suspects(out, result.rows)
        print(report(result, out), flush=True)
        console.print_result(result.summary(), always=options.json)
    end_processes(accelerator)
