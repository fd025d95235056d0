"""The names of the files in a folder, asked for once: millions of them without an object each."""

import os
import unicodedata
from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

HASHED_FROM = 2**20
"""From so many names on a hash of 64 bits stands for each."""


class FolderNames:
    """Which files a folder has, and which of them are links.

    Of more than `HASHED_FROM` files a name may be taken for one of them by chance, once in about
    10^12 names; such a picture is then found missing when it is read.

    Args:
        folder: the folder; one that cannot be listed has no files.
    """

    def __init__(self, folder: Path) -> None:
        self._names: set[str] | None = set()
        self._links: set[str] = set()
        self._endings: set[str] = set()
        self._spelled: dict[Callable[[str], str], dict[str, list[str]]] = {}
        hashes = array("q")
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_file():
                        self._add(entry, hashes)
        except (OSError, ValueError):
            self._names, hashes = set(), array("q")
        self._hashes = np.sort(np.frombuffer(hashes, np.int64)).tobytes() if hashes else b""
        self._sorted = memoryview(self._hashes).cast("q") if hashes else None

    def _add(self, entry: os.DirEntry[str], hashes: array) -> None:
        if entry.is_symlink():
            self._links.add(entry.name)
        self._endings.add(os.path.splitext(entry.name)[1])
        if self._names is None:
            hashes.append(hash(entry.name))
            return
        self._names.add(entry.name)
        if len(self._names) > HASHED_FROM:
            hashes.extend(map(hash, self._names))
            self._names = None

    def __contains__(self, name: str) -> bool:
        if self._sorted is None:
            return name in self._names if self._names is not None else False
        number = hash(name)
        place = bisect_left(self._sorted, number)
        return place < len(self._sorted) and self._sorted[place] == number

    def spelled_otherwise(self, name: str, spell: Callable[[str], str]) -> list[str]:
        """The names that are equal to this one in Unicode's composed form, once they are spelled.

        Systems write an umlaut as one character or as two. Of very many files nothing is found.

        Args:
            name: as a label file spells it.
            spell: ``str``, or ``str.casefold`` for names that differ in case too.
        """
        if self._names is None or (name.isascii() and spell is str):
            return []
        if spell not in self._spelled:
            found: dict[str, list[str]] = {}
            for each in sorted(self._names):
                found.setdefault(spell(unicodedata.normalize("NFC", each)), []).append(each)
            self._spelled[spell] = found
        return self._spelled[spell].get(spell(unicodedata.normalize("NFC", name)), [])

    def is_link(self, name: str) -> bool:
        """Whether a name is a symbolic link to a file."""
        return name in self._links

    def endings_of(self, endings: Sequence[str]) -> tuple[str, ...]:
        """Those of some endings, small or capital, that files of the folder have."""
        return _spelled(tuple(endings), frozenset(self._endings))


@lru_cache(maxsize=256)
def _spelled(endings: tuple[str, ...], there: frozenset[str]) -> tuple[str, ...]:
    every = (*endings, *(ending.upper() for ending in endings))
    return tuple(ending for ending in every if ending in there)
