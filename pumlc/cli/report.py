"""Write a report of runs, audits or sweeps: one HTML file for a browser, which works offline.

pumlc report runs/x --out report.html
pumlc report runs/x runs/y audit --out report.html
pumlc report sweeps/voc sweeps/coco --out report.html

PATH is a run folder, or the folder that an audit or a sweep has written. An image run has training
curves; mAP and calibration on a split; AP, threshold, precision and recall of each class;
precision-recall and reliability curves, also of each class, with its best, worst and most uncertain
pictures; and the classes that are taken for each other. Several runs stand side by side, with the
paired difference to the first. Each image run is scored again, with its preferred weights. A text
run has training curves and settings. An audit has the first suspects of each list. A sweep has
methods by conditions, with the paired difference to the first method. Several sweeps, such as those
of several data sets, also have one table of average ranks and columns won.
"""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pumlc.cli import console
from pumlc.cli.options import argument, at_least_one, option, parse_options
from pumlc.errors import UserError
from pumlc.progress import Progress


@dataclass(frozen=True)
class ReportOptions:
    """The command line of ``pumlc report``."""

    paths: list[Path] = argument(
        "run folders, and folders that pumlc audit or pumlc sweep wrote", nargs="+"
    )
    out: Path = option("the HTML file to write", required=True)
    split: str = option("split of the data set on which the runs are scored", default="test")
    root: str | None = option("folder of the data, if they have moved", flag="--data.root")
    csv: str | None = option("another CSV file", flag="--data.csv")
    labels: str | None = option("the label file, if it has moved", flag="--data.labels")
    batch_size: int = option("pictures per batch", default=64)
    workers: int | None = option("threads that read pictures; default: one per core")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a report."""
    options = parse_options(ReportOptions, arguments, program="pumlc report", about=__doc__ or "")
    at_least_one(options, "batch_size")
    console.check_out(options.out, begins="(?i)<!doctype html")
    kinds = [_kind(path) for path in options.paths]
    from pumlc.report import read_suspects, read_sweep, write_report

    runs, suspects, sweeps = [], {}, []
    for path, kind in zip(options.paths, kinds, strict=True):
        if kind == "run":
            runs.append(_figures(path, options, pictures=not runs))  # those of the first are shown
        elif kind == "sweep":
            sweeps.append(read_sweep(path))
        else:
            suspects[str(path)] = read_suspects(path / "suspects.csv")
    typed = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["pumlc", "report", *typed])
    write_report(
        options.out, runs, command=command, split=options.split, suspects=suspects, sweeps=sweeps
    )
    print(f"report: open {options.out.absolute()} in a browser", flush=True)


def _kind(path: Path) -> str:
    known = {"run.json": "run", "suspects.csv": "audit", "chosen.csv": "sweep"}
    for name, kind in known.items():
        if (path / name).is_file():
            return kind
    raise UserError(
        f"{path}: neither a run folder (it has no run.json) nor the folder of an audit (no "
        "suspects.csv) or a sweep (no chosen.csv); name a folder that pumlc train, pumlc audit "
        "--out FOLDER, or pumlc sweep has written"
    )


def _figures(path: Path, options: ReportOptions, *, pictures: bool) -> Any:
    from pumlc.engine.processes import create_accelerator
    from pumlc.engine.run import RunFolder
    from pumlc.report import RunFigures, read_history

    content = RunFolder(path).read()
    facts = {**_flat(content["config"]), "git_commit": content.get("git_commit")}
    scores = None
    if content["config"].get("task") == "vision":
        from pumlc.vision.reporting import split_scores

        scores = split_scores(
            path,
            create_accelerator(),
            split=options.split,
            root=options.root,
            csv=options.csv,
            labels=options.labels,
            batch_size=options.batch_size,
            workers=options.workers,
            pictures=pictures,
            progress=partial(Progress().show, f"{path}, {options.split}"),
        )
    history = read_history(path / "metrics.csv")
    return RunFigures(name=str(path), facts=facts, history=history, scores=scores)


def _flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """``{"data": {"name": ...}}`` as ``{"data.name": ...}``, without the values that are None."""
    if not isinstance(config, dict):
        return {} if config is None else {prefix.rstrip("."): config}
    found: dict[str, Any] = {}
    for name, value in config.items():
        found |= _flat(value, f"{prefix}{name}.")
    return found
