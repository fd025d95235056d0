"""What a format of label files is to the package: how it is known, read and written."""

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
    """What a person says about a label file.

    Attributes:
        values: spelling in the file -> state, for formats whose cells are states; "unlisted" is
            what the file does not list.
        separator: what separates the labels in a cell; "blank" for blanks. None: seen from the
            cells.
        said: the person named the format.
        unlisted, unlisted_test: what the long CSV form does not list, in training and test rows.
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
        name: as people type it.
        recognises: what in a file or folder speaks for the format; None: it is another one. It
            reads little and raises nothing.
        read: the table of a file or folder. It raises `UserError` where the file as a whole cannot
            be read; a fault of one row is a problem of the table.
        write: writes a table to a file or folder that is not there; the table has only states that
            the format holds.
        holds: the states that the format can say of single labels.
        folder: it writes a folder, not a file.
    """

    name: str
    recognises: Callable[[Path], str | None]
    read: Callable[[Path, ReadOptions], LabelTable]
    write: Callable[[LabelTable, Path], None]
    holds: frozenset[State] = frozenset({"present", "absent"})
    folder: bool = False


def split_of(name: str) -> str | None:
    """The split that a folder's name or a cell means; None: it is none."""
    return SPLIT_NAMES.get(name.strip().lower())


def split_of_path(path: str) -> str | None:
    """The split that the first folder of a path means, if any."""
    head, slash, _ = path.partition("/")
    return split_of(head) if slash else None


def first_bytes(path: Path, count: int = 4096) -> bytes:
    """The beginning of a file; nothing where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(count)
    except OSError:
        return b""


def json_with(path: Path, *keys: str) -> bool:
    """Whether a file is called .json and has all of the keys, somewhere in its text."""
    if path.suffix.lower() != ".json" or not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return all(text.find(f'"{key}"'.encode()) >= 0 for key in keys)


def text_of(entry: object, key: str) -> str | None:
    """A text of a JSON object; None where it has no such key or another type."""
    value = entry.get(key) if isinstance(entry, dict) else None
    return value if isinstance(value, str) else None


def name_list(value: object) -> list[str] | None:
    """A list of names, or one name; None of anything else."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return value
    return None


def make_folder(out: Path) -> None:
    """Make the folder that a format writes.

    Raises:
        UserError: there is something already.
    """
    if out.exists():
        raise UserError(f"{out} exists; name a folder that does not")
    out.mkdir(parents=True)
