"""Write a label file in another format.

pumlc convert labels.csv tasks.json --to labelstudio
pumlc convert CheXpert-v1.0-small labels.csv --to csv
pumlc convert lvis.json coco.json --to coco --unknown absent

A state that the format cannot hold is an error, unless an option says what becomes of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pumlc.cli import console
from pumlc.cli.label_options import FORMAT_HELP, VALUES_HELP, read_label_file
from pumlc.cli.options import argument, errors_name_options, option, parse_options
from pumlc.errors import UserError
from pumlc.progress import working

_State = Literal["present", "absent", "unknown", "uncertain"]


@dataclass(frozen=True)
class ConvertOptions:
    """The command line of ``pumlc convert``."""

    labels: Path = argument("a label file, the folder of one, or a run folder: its split")
    out: Path = argument("the file or folder to write")
    to: str = option("the format to write: docs/label_formats.md", required=True)
    root: Path | None = option("folder of the pictures, for formats that hold them")
    format: str | None = option(FORMAT_HELP)
    values: str | None = option(VALUES_HELP)
    separator: str | None = option("what separates the labels in a cell; blank for blanks")
    unknown: _State | None = option("what unknown labels become")
    uncertain: _State | None = option("what uncertain labels become")
    absent: _State | None = option("what absent labels become")
    suggest: Path | None = option(
        "labelstudio: suspects of an audit, or predictions, as tasks with suggested labels"
    )
    prefix: str = option(
        "with suggested labels: what Label Studio needs before a path, as /data/local-files/?d=",
        default="",
    )


def _table(options: ConvertOptions) -> Any:
    """The table of the label file, or that of a run with the run's split."""
    if not (options.labels / "run.json").is_file():
        return read_label_file(options.labels, options)[0]
    from pumlc.vision.run_split import split_table

    for name in ("format", "values", "separator"):
        if getattr(options, name) is not None:
            raise UserError(f"--{name}: {options.labels} is a run, which has this setting itself")
    with working(f"reading {options.labels}"):
        return split_table(options.labels, root=options.root)


def _suggest(options: ConvertOptions) -> None:
    """Write tasks with suggested labels."""
    from pumlc.vision.data.picture_files import PictureFiles, locate
    from pumlc.vision.data.suggestions import is_predictions, predictions_table, write_suggestions

    if options.to != "labelstudio":
        raise UserError(f"suspects and predictions become tasks of labelstudio, got {options.to!r}")
    if is_predictions(options.labels):
        table, file = predictions_table(options.labels), options.suggest or options.labels
    else:
        assert options.suggest is not None
        table, file = _table(options), options.suggest
        if options.root is not None:  # an audit names pictures by their paths below the root
            table, _ = locate(table, PictureFiles(options.root))
    number = write_suggestions(table, file, options.out, prefix=options.prefix)
    print(f"{options.out}: {number:,} tasks with suggested labels, {len(table.classes)} classes")


def main(arguments: Sequence[str] | None = None) -> None:
    """Convert a label file."""
    options = parse_options(ConvertOptions, arguments, program="pumlc convert", about=__doc__ or "")
    from pumlc.vision.data.convert import write_table
    from pumlc.vision.data.formats import find_format
    from pumlc.vision.data.inspection import split_counts
    from pumlc.vision.data.label_file import refuse
    from pumlc.vision.data.picture_files import PictureFiles, locate
    from pumlc.vision.data.suggestions import is_predictions

    find_format(options.to)  # an unknown name first
    console.check_not_input("OUT", options.out, options.labels)
    if options.suggest is not None or is_predictions(options.labels):
        _suggest(options)
        return
    table = _table(options)
    problems = list(table.problems)
    if options.root is not None:
        with working(f"looking for the pictures in {options.root}"):
            table, missing = locate(table, PictureFiles(options.root))
        problems += missing
    refuse(table.source, problems, options.root)
    becomes: dict[_State, _State] = {}
    if options.unknown is not None:
        becomes["unknown"] = options.unknown
    if options.uncertain is not None:
        becomes["uncertain"] = options.uncertain
    if options.absent is not None:
        becomes["absent"] = options.absent
    with errors_name_options(options), working(f"writing {options.out}"):
        written = write_table(table, options.out, options.to, becomes=becomes)
    for split, counts in split_counts(written).items():
        print(f"{split}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))
    print(f"{options.out}: {options.to}, {len(written.classes)} classes")
