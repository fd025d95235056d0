"""Tables for the terminal and for Markdown files."""

import unicodedata
from collections.abc import Sequence
from typing import Any


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table, aligned for the terminal; floats with two decimals, None as ``-``."""
    text = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(header), *text]) for i in range(len(header))]
    lines = [
        "| "
        + " | ".join(value.ljust(width) for value, width in zip(line, widths, strict=True))
        + " |"
        for line in [list(header), *text]
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else printable(str(value))


_BIDI_CONTROLS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def printable(text: str, *, keep_lines: bool = False) -> str:
    r"""Text that a terminal shows and never obeys: control characters are written ``\x1b``.

    So are characters that reverse the direction of writing, separators of lines, and halves of
    surrogate pairs, which stand for bytes of file names that are not UTF-8.

    Args:
        text: from a file: a class name, a path.
        keep_lines: leave line feeds and tabs as they are.
    """
    kept = "\n\t" if keep_lines else ""
    return "".join(
        char.encode("unicode_escape").decode("ascii")
        if char not in kept
        and (
            unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")
            or unicodedata.bidirectional(char) in _BIDI_CONTROLS
        )
        else char
        for char in text
    )
