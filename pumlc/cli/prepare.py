"""Check the download of a data set: what is missing and where it comes from, or what is there.

pumlc prepare voc2007 VOCdevkit
pumlc prepare coco2014 COCO
pumlc prepare csv PICTURES --csv labels.csv --per-class
pumlc prepare coco ROOT

The last two check your own: a CSV file and its pictures under the folder PICTURES; a folder in the
COCO layout. Exit status 0 if every split can be read (openimages, csv: every split that is there),
2 if not. Layouts and terms: docs/datasets.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pumlc.cli.options import argument, option, parse_options
from pumlc.engine.config import require
from pumlc.tables import table


@dataclass(frozen=True)
class PrepareOptions:
    """The command line of ``pumlc prepare``."""

    name: str = argument("a data set; csv and coco: your own")
    root: Path = argument("folder of the download; csv: of the pictures")
    csv: Path | None = option("the CSV file, for name csv")
    per_class: bool = option("also a row per class and split", default=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Check a data set."""
    options = parse_options(PrepareOptions, arguments, program="pumlc prepare", about=__doc__ or "")
    from pumlc.vision.data.class_warnings import warn_of_similar_classes, warn_of_untrained
    from pumlc.vision.data.config import DataConfig
    from pumlc.vision.data.readers import find_data_set
    from pumlc.vision.data.survey import survey

    find_data_set(options.name)  # an unknown name first
    right = (options.csv is not None) == (options.name == "csv")
    require(right, "--csv", options.csv, "a file exactly when the name is csv")
    file = None if options.csv is None else str(options.csv)
    result = survey(DataConfig(name=options.name, root=str(options.root), csv=file))
    header = ["split", "pictures", "published", "classes", "positive", "negative", "unknown"]
    print(table(header, result.rows()))
    partial = list(result.partial())
    if partial:
        print("\nA part of the data set: figures on it are not those of the whole.")
        print("\n".join(partial))
    if options.per_class:
        header = ["class", "split", "positive", "negative", "unknown"]
        print("\n" + table(header, result.class_rows()))
    warn_of_untrained(file or options.root, result.untrained())
    if file is not None:
        warn_of_similar_classes(file, result.classes)
