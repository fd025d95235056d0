"""Modules that come with an extra of the package, and what to type where one is missing."""

from importlib import import_module
from typing import Any

from pumlc.errors import UserError


def import_extra(module: str, extra: str, *, what: str) -> Any:
    """Import a module of an extra.

    Args:
        module: its name.
        extra: the extra of pumlc that installs it.
        what: what needs it, for the message.

    Raises:
        UserError: it is not installed.

    Example:
        >>> import_extra("json", "export", what="exporting").dumps(1)
        '1'
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(
            f"{what} needs {module}, which is not installed: pip install 'pumlc[{extra}]'"
        ) from error
