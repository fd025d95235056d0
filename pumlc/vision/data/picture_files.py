"""Find the pictures of a label file below the root, and report names that cannot be found."""

import os
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from pumlc.vision.data.folder_names import FolderNames
from pumlc.vision.data.formats.label_format import IMAGE_ENDINGS
from pumlc.vision.data.label_table import LabelTable, Problem
from pumlc.vision.data.packed_names import NamesBuilder

# folders in which the pictures of a split may be, if a file names pictures without a folder
_FOLDERS = {"train": ("train",), "val": ("validation", "val", "valid"), "test": ("test",)}
_MANY_REPEATED = 0.2  # of the rows; so many are hardly there by mistake
_UPLOAD = re.compile(r"^[0-9a-f]{8}-(?=.)")  # what Label Studio writes before a name


class PictureFiles:
    """Finds pictures below a folder; asks the disk once per folder.

    Args:
        root: the folder.
        allow_outside: whether a path may leave the folder.
    """

    def __init__(self, root: Path, *, allow_outside: bool = False) -> None:
        self.root, self.allow_outside = root, allow_outside
        self._real_root = os.path.realpath(root)
        self._folders: dict[str, FolderNames] = {}
        self._inside: dict[str, bool] = {}
        self._by_name: dict[str, list[str]] | None = None

    def names_in(self, folder: str) -> FolderNames:
        """The names of the files in a folder below the root."""
        if folder not in self._folders:
            self._folders[folder] = FolderNames(self.root / folder)
        return self._folders[folder]

    def find(self, path: str, split: str | None = None) -> list[str]:
        """The paths below the root that a name may mean: one, none or several.

        Where a name with backslashes is not that of a file, they separate folders, as in Windows.
        """
        folder, name = os.path.split(path)
        if name in self.names_in(folder):
            return [path]
        if "\\" in name:
            return self.find(path.replace("\\", "/"), split)
        if same := self.names_in(folder).spelled_otherwise(name, str):
            return [os.path.join(folder, each) for each in same]
        if os.path.splitext(name)[1].lower() in IMAGE_ENDINGS:
            endings: tuple[str, ...] = ()
        else:
            endings = IMAGE_ENDINGS
        places = [folder, *(os.path.join(f, folder) for f in _FOLDERS.get(split or "", ()))]
        return [
            os.path.join(place, name + ending)
            for place in places
            for ending in ("", *self.names_in(place).endings_of(endings))
            if name + ending in self.names_in(place)
        ]

    def find_uploaded(self, address: str) -> list[str]:
        """The paths that an address of Label Studio may mean: by its path, else by its name."""
        parts = urlsplit(address)
        query = parse_qs(parts.query).get("d")
        path = unquote(query[0] if query else parts.path).lstrip("/")
        pieces = [piece for piece in path.split("/") if piece not in ("", ".", "..")]
        for start in range(len(pieces)):
            found = self.find("/".join(pieces[start:]))
            if found:
                return found
        name = pieces[-1] if pieces else ""
        by_name = self._all_names()
        original = _UPLOAD.sub("", name)
        return next((by_name[each] for each in (name, original) if each in by_name), [])

    def is_outside(self, path: str) -> bool:
        """Whether a path leaves the root: by ``..``, as an absolute path, or by a link."""
        if self.allow_outside:
            return False
        folder, name = os.path.split(path)
        if folder not in self._inside:
            self._inside[folder] = self._is_below(os.path.realpath(self.root / folder))
        if not self._inside[folder] or name == "..":
            return True
        is_link = self.names_in(folder).is_link(name)
        return is_link and not self._is_below(os.path.realpath(self.root / path))

    def _is_below(self, real: str) -> bool:
        return real == self._real_root or real.startswith(os.path.join(self._real_root, ""))

    def _all_names(self) -> dict[str, list[str]]:
        """Name -> paths of all pictures below the root; without and with Label Studio's prefix."""
        if self._by_name is None:
            self._by_name = {}
            for path in self.walk():
                name = os.path.basename(path)
                for each in {name, _UPLOAD.sub("", name), _stored_name(name)}:
                    self._by_name.setdefault(each, []).append(path)
        return self._by_name

    def walk(self) -> Iterator[str]:
        """All pictures below the root, sorted."""
        for place, folders, names in os.walk(self.root):
            folders[:] = sorted(each for each in folders if not each.startswith("."))
            for name in sorted(names):
                if os.path.splitext(name)[1].lower() in IMAGE_ENDINGS:
                    yield os.path.relpath(os.path.join(place, name), self.root)


def _stored_name(name: str) -> str:
    """The name that Label Studio gives to an uploaded file: neither blanks nor most signs."""
    return re.sub(r"[^-\w.]", "", name.strip().replace(" ", "_"))


def locate(table: LabelTable, files: PictureFiles) -> tuple[LabelTable, list[Problem]]:
    """Find the picture of each row below the root.

    Args:
        table: has the paths as the file spells them.
        files: the pictures.

    Returns:
        The table with the same rows and the found paths (a path that was not found stays), and a
        problem for each picture that is missing, ambiguous, outside the root, or listed twice.
    """
    paths, found = NamesBuilder(), array("q")
    problems: list[Problem] = []
    for row, spelled in enumerate(table.paths):
        split = None if table.splits is None else table.splits[row]
        path, problem = _located(table, files, row, spelled, split)
        paths.append(path)
        if problem is None:
            found.append(row)
        else:
            problems.append(problem)
    located = paths.finished()
    repeated = list(repeated_rows(table, located, np.frombuffer(found, np.int64)))
    problems += repeated
    problems.sort(key=lambda problem: problem.rows[-1])
    if len(repeated) > _MANY_REPEATED * len(table):
        problems.insert(0, _row_for_each_label(table, len(repeated)))
    return replace(table, paths=located, root=files.root), problems


def _row_for_each_label(table: LabelTable, repeated: int) -> Problem:
    return Problem(
        "repeated",
        f"{table.source}: {repeated} of {len(table)} rows repeat a picture. If each row has one "
        f"label of its picture, this joins them: pumlc inspect {table.source} --values "
        "unlisted=unknown --fix NEW",
    )


def repeated_rows(table: LabelTable, paths: Sequence[str], found: np.ndarray) -> Iterator[Problem]:
    """A problem for each row whose picture has a row already.

    Args:
        table: the labels.
        paths: of each row, what tells its picture from others.
        found: the rows to look at.
    """
    # numbers in the place of paths: a set of a million paths is large
    each = (hash(os.path.normpath(paths[int(row)])) for row in found)
    of_path = np.fromiter(each, np.int64, len(found))
    numbers, count = np.unique(of_path, return_counts=True)
    suspected = found[np.isin(of_path, numbers[count > 1])].tolist()
    first: dict[str, int] = {}
    for row in suspected:
        earlier = first.setdefault(os.path.normpath(paths[int(row)]), row)
        if earlier != row:
            yield Problem(
                "repeated",
                f"{table.place(row)}: picture {table.paths[row]!r} is already listed in "
                f"{table.place(earlier)}; a picture must have one row, in one split",
                rows=(earlier, row),
            )


def _located(
    table: LabelTable, files: PictureFiles, row: int, spelled: str, split: str | None
) -> tuple[str, Problem | None]:
    """The path of one picture below the root; or the path as spelled, and the problem."""
    where = table.place(row)
    if table.has_inside(row):
        return spelled, None
    uploaded = table.format == "labelstudio"
    found = files.find_uploaded(spelled) if uploaded else files.find(spelled, split)
    if not found:
        if not uploaded and files.is_outside(spelled):  # an address is no path
            return spelled, _outside(files, where, spelled, row)
        message = f"{where}: there is no picture {spelled!r} in {files.root}"
        if files.root.name and re.split(r"[/\\]", spelled)[0] == files.root.name:
            message += f"; the path begins with {files.root.name!r}: is the root the folder above?"
        folder, name = os.path.split(spelled)
        if near := files.names_in(folder).spelled_otherwise(name, str.casefold):
            message += f"; there is {near[0]!r}"
        return spelled, Problem("missing", message, rows=(row,))
    if len(found) > 1:
        message = (
            f"{where}: {spelled!r} may be {found[0]!r} or {found[1]!r} in {files.root}; name one"
        )
        return spelled, Problem("ambiguous", message, rows=(row,))
    if files.is_outside(found[0]):
        return spelled, _outside(files, where, spelled, row)
    return found[0], None


def _outside(files: PictureFiles, where: str, spelled: str, row: int) -> Problem:
    message = (
        f"{where}: picture {spelled!r} is outside {files.root}; to allow this, set "
        "data.allow_outside true"
    )
    return Problem("outside", message, rows=(row,))
