"""The one kind of error that a person can mend, and the advice in its messages."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A setting, a file or an option that a person can mend.

    The command line shows it in one line and exits with status 2. The message says what was got,
    what is valid, and which file, row or option it is about. Every other exception keeps its type,
    cause and traceback: it is a fault of the program.
    """


def closest(name: str, valid: Iterable[str]) -> str:
    """``did you mean ...?`` for the nearest valid name, or the list of all when none is near.

    >>> closest("gama", ["alpha", "gamma"])
    "did you mean 'gamma'?"
    >>> closest("x", ["alpha", "gamma"])
    'valid: alpha, gamma'
    """
    names = sorted(valid)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return "valid: " + (", ".join(names) or "none")
