"""A loss by name: one of the package, or a function of the user's own."""

import dataclasses
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from pumlc.errors import UserError, closest
from pumlc.losses.registry import LOSSES
from pumlc.losses.spec import Loss

HINT = "a loss of your own is package.module:function"


def find_loss(name: str, *, imports: bool = False) -> Loss:
    """The loss of a name.

    Args:
        name: of `LOSSES`, or ``package.module:function``. What the module holds under that name is
            a function of logits, targets and keywords, or a `Loss` that states its facts.
        imports: True imports the module of a loss of one's own; the current folder is appended to
            ``sys.path`` for it and stays there. A reader of files leaves it False: what a file
            names is never run because the file is read.

    Returns:
        The entry of `LOSSES`; or what is known of a function: it takes targets, couples the rows,
        and its parameters are not checked.

    Raises:
        UserError: no such loss, module or function; or ``imports`` is False and the loss is not one
            of the package. An exception inside the module keeps its type and traceback.

    Example:
        >>> find_loss("bce").couples
        'nothing'
    """
    if name in LOSSES:
        return LOSSES[name]
    module_name, colon, function_name = name.partition(":")
    if not colon:
        raise UserError(f"loss.name: unknown loss {name!r}; {closest(name, LOSSES)}; {HINT}")
    if not function_name.isidentifier() or not all(map(str.isidentifier, module_name.split("."))):
        raise UserError(f"loss.name: {name!r} names no function of a module; {HINT}")
    if not imports:
        raise UserError(
            f"loss.name: {name} is code outside the package, which only a training that is given "
            "this name imports"
        )
    return _as_loss(name, _member(name, _module(name, module_name), function_name))


def _module(name: str, module_name: str) -> Any:
    """The module of an own loss, also from the current folder."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        return import_module(module_name)
    except ModuleNotFoundError as error:
        # a module that this one fails to import is a fault of its code
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise UserError(
            f"loss.name: {name}: no module {error.name!r}, neither installed nor in the current "
            f"folder, {folder}"
        ) from error


def _member(name: str, module: Any, function_name: str) -> Any:
    if not hasattr(module, function_name):
        functions = [member for member, value in vars(module).items() if callable(value)]
        place = getattr(module, "__file__", None) or module.__name__
        raise UserError(
            f"loss.name: {name}: {place} has no {function_name!r}; "
            f"{closest(function_name, functions)}"
        )
    return getattr(module, function_name)


def _as_loss(name: str, member: Any) -> Loss:
    if isinstance(member, Loss):
        return dataclasses.replace(member, name=name)
    if not callable(member):
        raise UserError(
            f"loss.name: {name} is of type {type(member).__name__}, which cannot be called; {HINT}"
        )
    return Loss(
        name=name,
        function=member,
        takes="targets",
        couples="rows",
        parameters=None,
        ignores_unknown=None,
    )
