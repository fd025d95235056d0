"""Rank the labels of a run's data that are probably wrong or missing, and show them for review.

pumlc audit runs/x --folds 5 --out AUDIT
pumlc audit runs/x --split test --top 500 --out audit.csv
pumlc audit runs/x --data.root ELSEWHERE --data.csv ELSEWHERE/labels.csv

The folder AUDIT gets suspects.csv, and review.html, a page for deciding on the suspects in a
browser. A button of the page saves corrections.csv, and pumlc correct applies these decisions to
the label file. There are three lists (docs/audit.md): unknown labels and absent labels with a high
probability, and present labels with a low one. Pictures held out for validation are ranked apart
from the training pictures.

With --folds, no model that has seen the labels of a picture scores it. Closed-form heads score it,
on features of the network from which the run started, with the picture left out. The audit then
estimates the share of errors, and ends a list where looking no longer pays.

If the run hid or flipped labels on purpose (label_manifest.npz), the table says how many of them
the audit has found. The lists of a text run have the labels that documents probably lack, and
those that they probably have by mistake. With --folds, and in a run with least squares, the scores
of a document are by fits that leave it out. If the output is not a terminal, or with --json, the
last line is one JSON object.
"""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pumlc.cli import console
from pumlc.cli.options import (
    argument,
    at_least_one,
    errors_name_options,
    flag_of,
    option,
    parse_options,
)
from pumlc.errors import UserError
from pumlc.progress import Progress

if TYPE_CHECKING:
    from accelerate import Accelerator

    from pumlc.vision.audit.suspects import AuditedPart


@dataclass(frozen=True)
class AuditOptions:
    """The command line of ``pumlc audit``."""

    run: Path = argument("run folder written by pumlc train")
    split: str = option("split to audit; train includes its validation part", default="train")
    root: str | None = option("folder of the data, if they have moved", flag="--data.root")
    csv: str | None = option("the CSV file, if it has moved", flag="--data.csv")
    labels: str | None = option("the label file, if it has moved", flag="--data.labels")
    positive_list: str | None = option(
        "place of the run's list, if it has moved; for --split train", flag="--data.positive_list"
    )
    out: Path | None = option(
        "folder for suspects.csv and review.html, or a CSV file; default: RUN/audit[-SPLIT].csv"
    )
    decisions: Path | None = option(
        "file of earlier decisions, which are not asked again; default: LABELS.decisions.csv "
        "beside the label file"
    )
    bad_pictures: Literal["error", "skip"] | None = option(
        "what to do with pictures that cannot be read; default: as in the run",
        flag="--data.bad_pictures",
    )
    top: int | None = option(
        "number of labels in each list of each part; default: with --folds as many as are worth a "
        "look, else 100"
    )
    weights: str | None = option("saved weights; default: best on validation, else last")
    folds: int | None = option(
        "score with heads that never saw the labels of the picture, for example 5; every number "
        "gives the same result"
    )
    batch_size: int | None = option(
        "pictures or documents per batch; default: 64 pictures, documents as in the run"
    )
    workers: int | None = option("threads that read pictures; default: one per core")
    json: bool = option("print the JSON object on a terminal too", default=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Audit a run."""
    options = parse_options(AuditOptions, arguments, program="pumlc audit", about=__doc__ or "")
    at_least_one(options, "top", "batch_size")
    table, page = _places(options)
    typed = shlex.join(["pumlc", "audit", *(sys.argv[1:] if arguments is None else arguments)])
    from pumlc.engine.processes import create_accelerator, end_processes
    from pumlc.engine.run import RunFolder

    accelerator = create_accelerator()
    of_texts = RunFolder(options.run).read()["config"].get("task") == "text"
    audit = _audit_texts if of_texts else _audit_pictures
    with errors_name_options(options):
        audit(options, accelerator, table, page, typed)
    end_processes(accelerator)


def _audit_pictures(
    options: AuditOptions, accelerator: "Accelerator", table: Path, page: Path | None, typed: str
) -> None:
    from pumlc.report import write_review
    from pumlc.vision.audit.gallery import review_of
    from pumlc.vision.audit.report import report
    from pumlc.vision.audit.run import audit_run
    from pumlc.vision.audit.suspects import write_suspects

    result = audit_run(
        options.run,
        accelerator,
        split=options.split,
        weights=options.weights,
        folds=options.folds,
        top=options.top,
        batch_size=options.batch_size or 64,
        workers=options.workers,
        root=options.root,
        csv=options.csv,
        labels=options.labels,
        positive_list=options.positive_list,
        decisions=options.decisions,
        bad_pictures=options.bad_pictures,
        progress=Progress().show if accelerator.is_main_process else None,
    )
    if not accelerator.is_main_process:
        return
    table.parent.mkdir(exist_ok=True)
    write_suspects(table, result.rows)
    print(report(result, table), flush=True)
    if page is not None:
        if options.folds is not None:  # by the network alone pictures have no features
            _write_duplicates(page.parent / "duplicates.csv", result.parts)
        write_review(page, review_of(result.parts, title=_title(options), command=typed))
        _name_page(page)
    console.print_result(result.summary(), always=options.json)


def _write_duplicates(table: Path, parts: "Sequence[AuditedPart]") -> None:
    from pumlc.vision.audit.duplicates import duplicate_rows, write_duplicates

    rows = duplicate_rows(parts)
    write_duplicates(table, rows)
    pairs = len({row[0] for row in rows})
    print(f"{pairs} pairs of near-duplicate pictures have different tags -> {table}", flush=True)


def _audit_texts(
    options: AuditOptions, accelerator: "Accelerator", table: Path, page: Path | None, typed: str
) -> None:
    for name in ("csv", "positive_list", "bad_pictures", "workers"):
        if getattr(options, name) is not None:
            flag = flag_of(AuditOptions, name)
            raise UserError(f"{flag} is for image runs; {options.run} is a text run")
    from pumlc.report import write_review
    from pumlc.text.audit import audit_texts, write_text_suspects

    result = audit_texts(
        options.run,
        accelerator,
        split=options.split,
        weights=options.weights,
        top=options.top or 100,
        left_out=options.folds is not None,
        batch_size=options.batch_size,
        root=options.root,
        labels=options.labels,
        decisions=options.decisions,
        progress=Progress().show,
    )
    if not accelerator.is_main_process:
        return
    rows = result.rows()
    table.parent.mkdir(exist_ok=True)
    write_text_suspects(table, rows)
    print(f"{len(rows)} labels of documents, the most suspicious of each list first -> {table}")
    if page is not None:
        write_review(page, result.review(title=_title(options), command=typed))
        _name_page(page)
    summary = {"run": str(options.run), "split": result.split, "weights": result.weights}
    console.print_result({**summary, "suspects": len(rows)}, always=options.json)


def _title(options: AuditOptions) -> str:
    return f"Suspected labels of {options.run}"


def _name_page(page: Path) -> None:
    print(f"to look at them and decide, open {page.absolute()} in a browser", flush=True)
    if sys.stdout.isatty():  # for a person
        folder = shlex.quote(str(page.parent))
        print(f"the first of them in a report: pumlc report {folder} --out report.html", flush=True)


def _places(options: AuditOptions) -> tuple[Path, Path | None]:
    """The file of the table, and that of the page if one is to be written.

    Raises:
        UserError: ``--out`` cannot be written.
    """
    name = "audit.csv" if options.split == "train" else f"audit-{options.split}.csv"
    if options.out is None:
        return options.run / name, None
    if options.out.suffix == ".csv" and not options.out.is_dir():
        console.check_out(options.out, begins="part,given,rank")
        return options.out, None
    console.check_out_folder(options.out)
    return options.out / "suspects.csv", options.out / "review.html"
