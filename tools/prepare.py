"""Check the download of a data set: what is missing and where it comes from, or what is there.

python tools/prepare.py voc2007 VOCdevkit
python tools/prepare.py coco2014 COCO
python tools/prepare.py csv PICTURES --csv labels.csv --per-class
python tools/prepare.py coco ROOT

The last two check your own: a CSV file and its pictures under the folder PICTURES; a folder in the
COCO layout.
Exit status 0 if every split can be read (openimages, csv: every split that is there), 2 if not.
Layouts and terms: docs/datasets.md.
"""

import argparse
from pathlib import Path

from pumlc.cli import console
from pumlc.engine.config import require
from pumlc.tables import table
from pumlc.vision.data.class_warnings import warn_of_similar_classes, warn_of_untrained
from pumlc.vision.data.config import DataConfig
from pumlc.vision.data.readers import DATA_SETS, find_data_set
from pumlc.vision.data.survey import survey


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("name", help=", ".join(DATA_SETS))
    parser.add_argument("root", type=Path, help="folder of the download; csv: of the pictures")
    parser.add_argument("--csv", type=Path, help="the CSV file, for name csv")
    parser.add_argument("--per-class", action="store_true", help="also a row per class and split")
    options = parser.parse_args(arguments)
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


if __name__ == "__main__":
    console.run(main)
