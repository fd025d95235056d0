"""Lists of labels in the cells of a table."""

import ast
import json
from collections.abc import Iterable

BLANK = "blank"
"""The separator of labels that blanks separate."""


def parts_of(cell: str, separator: str) -> list[str]:
    """The labels of a cell, without the space around them; empty ones are left out.

    >>> parts_of("a, b,", ","), parts_of("a  b", BLANK), parts_of("a, b", "")
    (['a', 'b'], ['a', 'b'], ['a, b'])
    """
    if not separator:
        return [cell] if cell else []
    parts = cell.split() if separator == BLANK else cell.split(separator)
    return [part for part in map(str.strip, parts) if part]


def literal_list(cell: str) -> list[str] | None:
    """The names in a list of Python or JSON, or in a choice of Label Studio; None of other text.

    >>> literal_list("['a', 'b']"), literal_list("a, b")
    (['a', 'b'], None)
    """
    if not cell.startswith(("[", "{")):
        return None
    try:
        content = json.loads(cell)
    except (ValueError, RecursionError):
        try:
            content = ast.literal_eval(cell)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
    if isinstance(content, dict):
        content = content.get("choices")
    if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
        return None
    return content


def shares_parts(cells: Iterable[str], separator: str) -> bool:
    """Whether a part of some joined cell is found in another cell.

    >>> shares_parts(["a,b", "a"], ","), shares_parts(["Paris, Texas", "Rome"], ",")
    (True, False)
    """
    seen: set[str] = set()
    joined: set[str] = set()
    for cell in sorted(cells):
        parts = set(parts_of(cell, separator))
        if parts & joined or (len(parts) > 1 and parts & seen):
            return True
        seen |= parts
        joined |= parts if len(parts) > 1 else set()
    return False
