"""A format of label files: how it is recognised, read and written."""

import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pumlc.errors import UserError
from pumlc.vision.data.label_table import STATES, LabelTable, State

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
# names of folders and values of columns that mean a split of the package
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
EVERY_STATE = frozenset(STATES)


@dataclass(frozen=True)
class ReadOptions:
    """What the user says about a label file.

    Attributes:
        values: spelling in the file -> state, for formats whose cells are states; "unlisted" stands
            for labels that the file does not list.
        separator: what separates the labels in a cell; "blank" for blanks. None: as the cells show.
        said: whether the user named the format.
        unlisted, unlisted_test: state of unlisted labels in the long CSV form, in training rows and
            in test rows.
        group: column that names the patient, scene or video of a picture.
    """

    values: Mapping[str, State] = field(default_factory=dict)
    separator: str | None = None
    said: bool = False
    unlisted: State = "unknown"
    unlisted_test: State = "absent"
    group: str | None = None


@dataclass(frozen=True)
class LabelFormat:
    """One format.

    Attributes:
        name: as users type it.
        recognises: gives the evidence in a file or folder for this format; None: it has another
            one. It reads little and raises nothing.
        read: reads the table of a file or folder. It raises `UserError` if the file as a whole
            cannot be read; an error in one row is a problem of the table.
        write: writes a table to a new file or folder; the table has only states that the format
            holds.
        holds: the states that single labels can have in this format.
        folder: whether it writes a folder, not a file.
        cells: whether its cells are states, so that `ReadOptions.values` says what they mean; else
            only "unlisted" has a meaning.
    """

    name: str
    recognises: Callable[[Path], str | None]
    read: Callable[[Path, ReadOptions], LabelTable]
    write: Callable[[LabelTable, Path], None]
    holds: frozenset[State] = frozenset({"present", "absent"})
    folder: bool = False
    cells: bool = False


def split_of(name: str) -> str | None:
    """The split that the name of a folder or a cell means; None: it means no split."""
    return SPLIT_NAMES.get(name.strip().lower())


def split_of_path(path: str) -> str | None:
    """The split that the first folder of a path means, if any."""
    head, slash, _ = path.partition("/")
    return split_of(head) if slash else None


def first_bytes(path: Path, count: int = 4096) -> bytes:
    """The beginning of a file; empty if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(count)
    except OSError:
        return b""


def json_with(path: Path, *keys: str) -> bool:
    """Whether the name of a file ends in .json and its text has all of the keys somewhere."""
    if path.suffix.lower() != ".json" or not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return all(text.find(f'"{key}"'.encode()) >= 0 for key in keys)


def text_of(entry: object, key: str) -> str | None:
    """The text under a key of a JSON object; None if the key is missing or has another type."""
    value = entry.get(key) if isinstance(entry, dict) else None
    return value if isinstance(value, str) else None


def name_list(value: object) -> list[str] | None:
    """The names in a list of names or in a single name; None for any other value."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return value
    return None


def make_folder(out: Path) -> None:
    """Make the folder that a format writes.

    Raises:
        UserError: it exists already.
    """
    if out.exists():
        raise UserError(f"{out} exists already; name a new folder")
    out.mkdir(parents=True)
