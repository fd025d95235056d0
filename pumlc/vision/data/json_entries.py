"""The lists of a large JSON object, an entry at a time: its text is in memory, not its objects."""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NoReturn

from pumlc.errors import UserError
from pumlc.files import read_text
from pumlc.progress import MEGABYTES, reached

_BLANKS = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


def json_entries(path: Path, keys: Collection[str]) -> Iterator[tuple[str, int, Any]]:
    """The entries of the lists that a JSON object has under some keys.

    Args:
        path: the file.
        keys: the lists; every other value of the object is read over.

    Yields:
        key, number in its list, and entry, in the order of the file.

    Raises:
        UserError: the file is not there, is not JSON, is no object, or has one of the keys twice,
            not at all, or with something else than a list.
    """
    found: set[str] = set()
    text = _Text(read_text(path))
    try:
        for key in text:
            if key not in keys:
                text.value()
                continue
            if key in found or text.peek() != "[":
                wrong = f"the list {key!r} occurs twice" if key in found else f"no list {key!r}"
                raise UserError(f"{path}: {wrong}; needed: {', '.join(keys)}")
            found.add(key)
            for number, entry in enumerate(text.entries()):
                if not number & 0x3FF:
                    reached(text.position, len(text.text), MEGABYTES)
                yield key, number, entry
    except UserError:
        raise
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits
        raise UserError(f"{path}: not JSON ({error})") from error
    missing = [key for key in keys if key not in found]
    if missing:
        raise UserError(f"{path}: no list {missing[0]!r}; needed: {', '.join(keys)}")


class _Text:
    """A place in the text of a JSON object, and what stands there."""

    def __init__(self, text: str) -> None:
        self.text, self.position = text, 0

    def peek(self) -> str:
        """The next character that is no blank; nothing at the end."""
        blanks = _BLANKS.match(self.text, self.position)
        assert blanks is not None
        self.position = blanks.end()
        return self.text[self.position : self.position + 1]

    def value(self) -> Any:
        """The value that stands here; the place is behind it then."""
        self.peek()
        content, self.position = _DECODER.raw_decode(self.text, self.position)
        return content

    def __iter__(self) -> Iterator[str]:
        """The keys of the object that the text is; the place is at the value of each."""
        self._take("{")
        closed = self.peek() == "}"
        if closed:
            self.position += 1
        while not closed:
            key = self.value()
            if not isinstance(key, str):
                self._refuse("Expecting property name enclosed in double quotes")
            self._take(":")
            yield key
            closed = self._take(",}") == "}"
        if self.peek():
            self._refuse("Extra data")

    def entries(self) -> Iterator[Any]:
        """The entries of the list that stands here; the place is behind it then."""
        self._take("[")
        closed = self.peek() == "]"
        if closed:
            self.position += 1
        text, scan = self.text, _DECODER.scan_once  # pyright: ignore[reportAttributeAccessIssue]
        while not closed:  # a million times: as little as possible happens here
            try:
                entry, self.position = scan(text, self.position)
            except StopIteration:
                self._refuse("Expecting value")
            yield entry
            if text.startswith(", ", self.position):
                self.position += 2
                self.peek()
            elif not (closed := self._take(",]") == "]"):
                self.peek()

    def _take(self, characters: str) -> str:
        found = self.peek()
        if not found or found not in characters:
            self._refuse(f"Expecting {' or '.join(map(repr, characters))}")
        self.position += 1
        return found

    def _refuse(self, what: str) -> NoReturn:
        raise json.JSONDecodeError(what, self.text, self.position)
