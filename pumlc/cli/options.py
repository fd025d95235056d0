"""The options of a command are a dataclass, and one parser reads them all."""

import dataclasses
import difflib
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from pumlc.engine.command_line import create_parser, errors_as_typed, with_known_flags
from pumlc.errors import UserError
from pumlc.recipes import recipe_file

Options = TypeVar("Options")


def argument(text: str, **keywords: Any) -> Any:
    """A field that is a positional argument.

    Args:
        text: what ``--help`` says.
        keywords: of argparse's ``add_argument``, such as ``nargs``.
    """
    return dataclasses.field(metadata={"help": text, "positional": True, **keywords})


def option(text: str, *, default: Any = None, flag: str | None = None, **keywords: Any) -> Any:
    """A field that is an option: ``batch_size`` becomes ``--batch-size``, or ``--batch_size``.

    Args:
        text: what ``--help`` says.
        default: the value if the option is left out.
        flag: the spelling, if it is not that of the field.
        keywords: ``required``, or of argparse's ``add_argument``, such as ``nargs``.
    """
    metadata = {"help": text, "flag": flag, **keywords}
    return dataclasses.field(default=default, metadata=metadata)


def flag_of(options_class: Any, name: str) -> str:
    """The spelling of the option of a field, such as ``--batch-size``."""
    field = next(field for field in dataclasses.fields(options_class) if field.name == name)
    return field.metadata["flag"] or "--" + name.replace("_", "-")


def parse_options(
    options_class: type[Options], arguments: Sequence[str] | None, *, program: str, about: str
) -> Options:
    """Parse a command line.

    Args:
        options_class: a dataclass whose fields are made by `argument` and `option`.
        arguments: the command line after the command; None: ``sys.argv``.
        program: the name shown in help.
        about: what ``--help`` says above the options.

    Raises:
        UserError: An option is unknown, an argument is missing, or a value has the wrong type.
    """
    typed = list(sys.argv[1:] if arguments is None else arguments)
    parser = create_parser(program, about)
    kinds = get_type_hints(options_class)
    flags, required = {}, []
    for field in dataclasses.fields(options_class):  # pyright: ignore[reportArgumentType]
        metadata = dict(field.metadata)
        keywords = {"help": metadata.pop("help")}
        positional, flag = metadata.pop("positional", False), metadata.pop("flag", None)
        if metadata.pop("required", False):
            required.append(field.name)
        kind = _value_type(kinds[field.name])
        if kind is bool:
            keywords |= {"action": "store_true"}
        else:
            keywords |= {"type": kind, **metadata}
        if positional:
            flags[field.name] = field.name
            parser.add_argument(field.name, **keywords)
        else:
            flags[field.name] = flag or "--" + field.name.replace("_", "-")
            parser.add_argument(flags[field.name], default=field.default, **keywords)
    given = with_known_flags(typed, list(flags.values()))
    _check_flags(given, [flag for flag in flags.values() if flag.startswith("--")])
    with errors_as_typed(typed):
        parsed = parser.parse_args(given)
    keys = {name: flag.lstrip("-").replace("-", "_") for name, flag in flags.items()}
    values = {name: parsed[key] for name, key in keys.items()}
    for name in required:
        if values[name] is None:
            raise UserError(f"{flags[name]} is required")
    return options_class(**values)


def _check_flags(arguments: Sequence[str], flags: Sequence[str]) -> None:
    for argument in arguments:
        flag = argument.partition("=")[0]
        if flag == "--":
            return  # no options follow
        if flag.startswith("--") and flag not in (*flags, "--help"):
            near = difflib.get_close_matches(flag, flags, n=1)
            hint = f"did you mean {near[0]}?" if near else f"valid: {', '.join(flags)}"
            raise UserError(f"no option {flag}; {hint}")


def _value_type(kind: Any) -> Any:
    """The type of one value: ``str`` of ``list[str] | None``."""
    parts = [part for part in get_args(kind) if part is not NoneType]
    if NoneType in get_args(kind) and len(parts) == 1:
        return _value_type(parts[0])
    return get_args(kind)[0] if get_origin(kind) is list else kind


def at_least_one(options: Any, *names: str) -> None:
    """Refuse a number below 1.

    Args:
        options: the command line.
        names: fields of the options to check.

    Raises:
        UserError: One of the named options is below 1.
    """
    for name in names:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"{flag_of(type(options), name)} must be at least 1, got {value}")


@contextmanager
def errors_name_options(options: Any) -> Iterator[None]:
    """Make an error about an argument name the option that gave it: ``--folds must be ...``."""
    try:
        yield
    except UserError as error:
        name = re.match(r"(\w+)(?= must be|:)", str(error))
        if name is None or name[1] not in vars(options):
            raise
        flag = flag_of(type(options), name[1])
        raise UserError(f"{flag}{str(error)[name.end() :]}") from error


def with_recipe_files(arguments: Sequence[str] | None) -> list[str]:
    """The command line, with the recipe's name after ``--config`` replaced by its file.

    Args:
        arguments: the command line after the command; None: ``sys.argv``.

    Raises:
        UserError: There is neither such a file nor such a recipe.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    for i, argument in enumerate(given):
        if argument.startswith("--config="):
            given[i] = f"--config={recipe_file(argument.partition('=')[2])}"
        elif argument == "--config" and i + 1 < len(given):
            given[i + 1] = str(recipe_file(given[i + 1]))
    return given
