"""The pictures that a person means by files and folders."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pumlc.errors import UserError

SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif", ".heic", ".heif"),
    )
)


class Found(NamedTuple):
    """What `find_pictures` returns.

    Attributes:
        pictures: files to predict.
        left_out: what else is in the folders, each with the reason; a hidden folder as a whole.
    """

    pictures: list[Path]
    left_out: list[tuple[Path, str]]


def find_pictures(sources: Iterable[Path]) -> Found:
    """The given files, and all the pictures below the given folders in sorted order.

    Hidden files and folders are left out: programs write them, not the user (thumbnails,
    ``._a.jpg`` that macOS writes beside ``a.jpg``). Links to folders are followed; no folder is
    read twice.

    Raises:
        UserError: There is no such file or folder, or a folder has no picture.
    """
    found = Found([], [])
    for source in sources:
        if source.is_dir():
            inside = []
            for path in sorted(_files(source)):
                reason = _reason_against(path)
                if reason is None:
                    inside.append(path)
                else:
                    found.left_out.append((path, reason))
            if not inside:
                raise UserError(
                    f"{source}: no picture in this folder; valid: {', '.join(sorted(SUFFIXES))}"
                )
            found.pictures.extend(inside)
        elif source.exists():
            found.pictures.append(source)
        else:
            raise UserError(f"{source}: no such file or folder")
    return found


def _reason_against(path: Path) -> str | None:
    if path.name.startswith("."):
        return "hidden: its name begins with a dot"
    if path.suffix.lower() not in SUFFIXES:
        return f"its name is not that of a picture ({path.suffix or 'no ending'})"
    if not path.is_file():
        return "not a file" if path.exists() else "a link to nothing"
    return None


def _files(top: Path) -> Iterator[Path]:
    """All files below a folder, each folder once, if possible by its own name.

    Of a hidden folder only the name is listed.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [top]  # links to folders wait until the folders themselves are read
    while waiting:
        for here, folders, files in os.walk(waiting.pop(0), onerror=_refuse):
            status = os.stat(here)
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            hidden = [name for name in folders if name.startswith(".")]
            folders[:] = sorted(set(folders).difference(hidden))
            paths = [Path(here, name) for name in folders]
            waiting += [path for path in paths if path.is_symlink()]
            yield from (Path(here, name) for name in [*files, *hidden])


def _refuse(error: OSError) -> None:
    raise error
