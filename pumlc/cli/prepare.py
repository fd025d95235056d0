"""Check the download of a data set: list the missing files and their sources, or count its labels.

pumlc prepare voc2007 VOCdevkit
pumlc prepare coco2014 COCO
pumlc prepare csv PICTURES --csv labels.csv --per-class
pumlc prepare coco ROOT
pumlc prepare lvis ROOT

The last three check your own data: a CSV file with its pictures in the folder PICTURES; a folder in
the COCO layout; a folder in any format of labels (docs/label_formats.md; pumlc inspect says more).
The exit status is 0 if every split can be read (openimages, csv: every existing split), else 2.
docs/datasets.md has the layouts and terms of use.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pumlc.cli.options import argument, option, parse_options
from pumlc.engine.config import require
from pumlc.progress import working
from pumlc.tables import table


@dataclass(frozen=True)
class PrepareOptions:
    """The command line of ``pumlc prepare``."""

    name: str = argument("a data set, or the format of your own label file")
    root: Path = argument("folder of the download; csv: folder of the pictures")
    csv: Path | None = option("the CSV file, if the name is csv")
    per_class: bool = option("also print a row per class and split", default=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Check a data set."""
    options = parse_options(PrepareOptions, arguments, program="pumlc prepare", about=__doc__ or "")
    from pumlc.vision.data.class_warnings import warn_of_similar_classes, warn_of_untrained
    from pumlc.vision.data.config import DataConfig
    from pumlc.vision.data.formats import FORMATS
    from pumlc.vision.data.readers import DATA_SETS, find_data_set
    from pumlc.vision.data.survey import survey

    of_format = options.name in FORMATS and options.name not in DATA_SETS
    if not of_format:
        find_data_set(options.name)  # an unknown name first
    right = (options.csv is not None) == (options.name == "csv")
    require(right, "--csv", options.csv, "a file exactly when the name is csv")
    file = None if options.csv is None else str(options.csv)
    root = str(options.root)
    if of_format:
        config = DataConfig(name="labels", labels=root, root=root, format=options.name)
    else:
        config = DataConfig(name=options.name, root=root, csv=file)
    with working(f"reading {file or root}"):
        result = survey(config)
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
    warn_of_similar_classes(file or options.root, result.classes)
