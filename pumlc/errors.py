"""What a person can mend, as an error or as a warning, and the advice in messages."""

import difflib
import sys
import warnings
from collections.abc import Iterable

_MANY_NAMES = 40  # more of them fill a screen and help nobody


class UserError(ValueError):
    """A setting, a file or an option that a person can mend.

    The command line shows it in one line and exits with status 2. The message says what was got,
    what is valid, and which file, row or option it is about. Every other exception keeps its type,
    cause and traceback: it is a fault of the program.
    """


class PumlcWarning(UserWarning):
    """What is probably a mistake in settings or files. A command shows it in one line."""


def warn_user(message: str) -> None:
    """Warn of what is probably a mistake in settings or files; the warning points at the caller.

    Args:
        message: what was found, in which file or setting, and what to do about it.
    """
    level, frame = 2, sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "pumlc":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, PumlcWarning, stacklevel=level)


def closest(name: str, valid: Iterable[str]) -> str:
    """``did you mean ...?`` for the nearest valid name, or a list when none is near.

    The list has all valid names, or the first of very many.

    Example:
        >>> closest("gama", ["alpha", "gamma"])
        "did you mean 'gamma'?"
        >>> closest("x", ["alpha", "gamma"])
        'valid: alpha, gamma'
    """
    names = sorted(valid)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    shown = ", ".join(names[:_MANY_NAMES]) or "none"
    more = f" and {len(names) - _MANY_NAMES} more" if len(names) > _MANY_NAMES else ""
    return f"valid: {shown}{more}"
