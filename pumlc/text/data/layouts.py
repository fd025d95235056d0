"""Layouts of a data set of texts: their names, and the file that shows which one a folder has."""

from pathlib import Path
from typing import Literal

Layout = Literal["xmc", "jsonl", "csv", "xc"]

MARKERS: dict[str, str] = {
    "xmc": "raw/Y.txt",
    "jsonl": "train.jsonl",
    "csv": "train.csv",
    "xc": "lbl.json.gz",
}


def layouts_of(root: Path) -> list[str]:
    """The layouts whose marker file is in a folder."""
    return [layout for layout, marker in MARKERS.items() if (root / marker).is_file()]
