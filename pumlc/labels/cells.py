"""Lists of labels in the cells of a table."""

import ast
import io
import json
import tokenize
from collections.abc import Iterable

from pumlc.errors import UserError

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
    """The names in a list of Python, NumPy or JSON, or in a choice of Label Studio.

    Args:
        cell: of a table; a tuple or a set of Python is a list too.

    Returns:
        None of other text.

    >>> literal_list("['a', 'b']"), literal_list("a, b")
    (['a', 'b'], None)
    >>> literal_list("['a' 'b']"), literal_list("{'b', 'a'}")
    (['a', 'b'], ['b', 'a'])
    """
    if cell == "set()":  # what Python writes of a set without a name
        return []
    if not cell.startswith(("[", "{", "(")):
        return None
    try:
        content = json.loads(cell)
    except (ValueError, RecursionError):
        return _names_of_python(cell)
    if isinstance(content, dict):
        content = content.get("choices")
    return content if _are_names(content) else None


def _names_of_python(cell: str) -> list[str] | None:
    try:
        content = ast.literal_eval(cell)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    if isinstance(content, dict):  # a choice, not in JSON
        content = content.get("choices")
        return content if _are_names(content) else None
    if not isinstance(content, (list, tuple, set)) or not _are_names([*content]):
        return None
    # NumPy writes no commas, and Python takes strings side by side for one
    tokens = tokenize.generate_tokens(io.StringIO(cell).readline)
    return [ast.literal_eval(token.string) for token in tokens if token.type == tokenize.STRING]


def _are_names(content: object) -> bool:
    return isinstance(content, list) and all(isinstance(name, str) for name in content)


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


def refuse_brackets(cells: Iterable[str], separator: str, where: str) -> None:
    """Refuse lists whose names are not quoted: to divide them leaves brackets at the names.

    Args:
        cells: those that `literal_list` does not read.
        separator: what was seen to divide them; none where it is empty.
        where: file and column, for the message.

    Raises:
        UserError: a cell with the separator is in brackets.
    """
    for cell in sorted(cells):  # the same one in every run
        if cell[:1] + cell[-1:] in ("[]", "{}") and len(parts_of(cell, separator)) > 1:
            raise UserError(
                f"{where} hold lists in brackets that are not of Python or JSON, as in "
                f'{cell[:80]!r}; write ["a", "b"], or leave out the brackets; if they are part of '
                f"the names, write data.separator {separator!r}"
            )
