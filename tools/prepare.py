"""Check the download of a data set: what is missing and where it comes from, or what is there.

python tools/prepare.py voc2007 VOCdevkit
python tools/prepare.py coco2014 COCO

Exit status 0 if every split can be read, 2 if not. Layouts and terms: docs/datasets.md.
"""

import argparse
from pathlib import Path

from pumlc.engine import console
from pumlc.vision.sources import SOURCES, missing_parts, source


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("name", help=", ".join(SOURCES))
    parser.add_argument("root", type=Path, help="folder of the download")
    options = parser.parse_args(arguments)
    chosen = source(options.name)
    missing = missing_parts(options.name, options.root)
    if missing:
        lines = [
            f"  {part}\n      {address if address.startswith('on request') else 'from ' + address}"
            for part, address in missing.items()
        ]
        raise ValueError(
            f"{options.name} in {options.root} is incomplete; missing:\n"
            + "\n".join(lines)
            + f"\nTerms of use: {chosen.page}"
        )
    rows = []
    for split, expected in chosen.pictures.items():
        images = chosen.read(options.root, split)
        counts = images.counts().values()
        rows.append([split, len(images), expected, len(images.classes), *counts])
    header = ["split", "pictures", "published", "classes", "positive", "negative", "unknown"]
    print(console.table(header, rows))


if __name__ == "__main__":
    console.run(main)
