"""Names of very many pictures in one buffer: 8 bytes a name and its text, not an object each."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np

PACKED_FROM = 2**20
"""So many names are packed; fewer are a tuple."""
_BLOCK = 2**16


class PackedNames(Sequence[str]):
    """A read-only sequence of texts; each is decoded when it is asked for.

    Args:
        text: UTF-8 of all names, one after the other.
        ends: [N + 1] int64, where each begins; the last is where they end.
    """

    def __init__(self, text: bytes | bytearray, ends: np.ndarray) -> None:
        self.text, self.ends = text, ends

    def __len__(self) -> int:
        return len(self.ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "PackedNames": ...
    def __getitem__(self, index: int | slice) -> "str | PackedNames":
        if isinstance(index, slice):
            return self.subset(np.arange(len(self))[index])
        row = range(len(self))[index]
        return self.text[self.ends[row] : self.ends[row + 1]].decode()

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _BLOCK):
            ends = self.ends[start : start + _BLOCK + 1].tolist()
            for begin, end in zip(ends[:-1], ends[1:], strict=True):
                yield self.text[begin:end].decode()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # pyright: ignore

    def subset(self, rows: np.ndarray) -> "PackedNames":
        """The given names, in the given order."""
        builder = NamesBuilder()
        for start in range(0, len(rows), _BLOCK):
            builder.extend(self[row] for row in rows[start : start + _BLOCK].tolist())
        return builder.packed()

    def encoded(self) -> np.ndarray:
        """[N] UTF-8 bytes of numpy, as wide as the longest name."""
        width = int(np.diff(self.ends).max(initial=1))
        names = np.empty(len(self), f"S{max(width, 1)}")
        for start in range(0, len(self), _BLOCK):
            ends = self.ends[start : start + _BLOCK + 1].tolist()
            pairs = zip(ends[:-1], ends[1:], strict=True)
            names[start : start + _BLOCK] = [bytes(self.text[a:b]) for a, b in pairs]
        return names


class NamesBuilder:
    """Collects names one by one.

    Args:
        names: the first ones.
    """

    def __init__(self, names: "PackedNames | None" = None) -> None:
        self._text, self._ends = bytearray(), array("q", [0])
        if names is not None:
            self._text = bytearray(names.text)
            self._ends = array("q", names.ends.tobytes())

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, name: str) -> None:
        """The next name.

        Raises:
            UnicodeEncodeError: it is no text.
        """
        self._text += name.encode()
        self._ends.append(len(self._text))

    def extend(self, names: Iterable[str]) -> None:
        """The next names."""
        for name in names:
            self.append(name)

    def packed(self) -> PackedNames:
        """All names; the builder is used up."""
        return PackedNames(self._text, np.frombuffer(self._ends, np.int64))

    def finished(self) -> Sequence[str]:
        """All names: a tuple if they are few."""
        names = self.packed()
        return names if len(names) >= PACKED_FROM else tuple(names)


def subset_names(names: Sequence[str], rows: np.ndarray) -> Sequence[str]:
    """The given names, in the given order; the same object if they are all."""
    if len(rows) == len(names) and (rows == np.arange(len(rows))).all():
        return names
    if isinstance(names, PackedNames):
        return names.subset(rows)
    return tuple(names[int(row)] for row in rows)


def encoded_names(names: Sequence[str]) -> np.ndarray:
    """[N] UTF-8 bytes of numpy."""
    if isinstance(names, PackedNames):
        return names.encoded()
    return np.array([name.encode() for name in names])
