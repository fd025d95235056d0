"""Settings from the command line and from YAML files: one parser, messages in one line."""

import argparse
import dataclasses
import difflib
import re
import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonargparse
import yaml

from pumlc.engine.settings import check_groups, field_names, setting_paths, unknown_setting
from pumlc.errors import UserError

_OF_THE_PARSER = {"--config", "--help", "--print_config"}
_REQUIRED = "the following arguments are required"
_RECIPE = "--config FILE_OR_RECIPE sets most of them"


class HelpFormatter(argparse.RawDescriptionHelpFormatter, jsonargparse.DefaultHelpFormatter):
    """Help with the description as it is written."""

    def _expand_help(self, action: argparse.Action) -> str:
        return re.sub(r"<class '([\w.]+)'>", r"\1", super()._expand_help(action))


def create_parser(program: str, about: str | None) -> jsonargparse.ArgumentParser:
    """The parser of a command, without options yet; its errors are exceptions."""
    return jsonargparse.ArgumentParser(
        prog=program,
        description=about,
        formatter_class=HelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
    )


_PARSING = threading.Lock()  # jsonargparse keeps settings of the process; sweeps parse in threads


def parse(
    config_class: type,
    arguments: Sequence[str] | None,
    *,
    program: str,
    about: str | None = None,
    extra: Sequence[tuple[str, dict[str, Any]]] = (),
) -> tuple[Any, dict[str, Any]]:
    """Parse ``--config FILE`` and ``--group.field value`` into ``config_class``.

    Args:
        config_class: a dataclass of dataclasses; attribute docstrings become ``--help``.
        arguments: the command line without the program, None for ``sys.argv``.
        program: the name shown in help.
        about: what help says above the options.
        extra: ``(flag, keywords of add_argument)`` pairs of options that are not settings.

    Returns:
        the instance of ``config_class`` and a dict of the extra options.

    Raises:
        UserError: an unknown key (with the nearest valid one), a missing or wrongly typed value.
    """
    typed = list(sys.argv[1:] if arguments is None else arguments)
    names = [f"--{name}" for name in field_names(config_class)]
    given = _with_typed_length(with_known_flags(typed, names))
    if not {"--help", "-h"} & set(given):
        _check_names(given, config_class, _OF_THE_PARSER | {flag for flag, _ in extra})
    with _PARSING:
        parser = create_parser(program, about)
        parser.add_argument(
            "--config", action="config", help="YAML file with the settings, or recipe"
        )
        with _attribute_docstrings():
            parser.add_class_arguments(config_class, None)
        for flag, keywords in extra:
            parser.add_argument(flag, **keywords)
        try:
            with errors_as_typed(typed):
                built = vars(parser.instantiate(parser.parse_args(given)))
                names = [field.name for field in dataclasses.fields(config_class)]
                config = config_class(**{name: built.pop(name) for name in names})
        except UserError as error:
            missing = re.fullmatch(f"{_REQUIRED}: (.*)", str(error))
            if missing is None:
                raise
            raise UserError(_required(missing[1].split(", "), config_class, given)) from error
    built.pop("config")
    return config, built


def _with_typed_length(given: list[str]) -> list[str]:
    """A typed number of epochs is the length of the run, whatever ``min_steps`` the file has."""
    flags = {argument.partition("=")[0] for argument in given}
    if not {"--config", "--train.epochs"} <= flags or "--train.min_steps" in flags:
        return given
    return [*given, "--train.min_steps=0"]


def _required(names: Sequence[str], config_class: type, arguments: Sequence[str]) -> str:
    """What to say where options have no value."""
    hint = ""
    if set(names) & set(field_names(config_class)):
        file = _config_file(arguments)
        hint = f"--config {file} has none of them" if file else _RECIPE
    return f"required: {', '.join(f'--{name}' for name in names)}{hint and '; '}{hint}"


def with_known_flags(arguments: Sequence[str], flags: Collection[str]) -> list[str]:
    """The command line with ``--batch-size`` and ``--batch_size`` spelled as in ``flags``."""
    known = {flag.replace("-", "_"): flag for flag in flags}
    spelled = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if flag.startswith("--"):
            flag = known.get(flag.replace("-", "_"), flag)
        spelled.append(f"{flag}{equals}{value}")
    return spelled


@contextmanager
def errors_as_typed(arguments: Sequence[str]) -> Iterator[None]:
    """Turn what a parser reports into one line that names the option as it was typed, or the file.

    A setting that was not typed has its value, or the lack of one, from the file of ``--config``.
    """
    try:
        yield
    except UserError as error:
        raise UserError(_with_file(str(error), arguments)) from error
    except jsonargparse.ArgumentError as error:
        message = _with_typed_option(_reason(str(error.message or error)), arguments)
        raise UserError(_with_file(message, arguments)) from error
    except ValueError as error:
        if "any of the Union subtypes" not in str(error):
            raise
        # the parser's report on an optional group whose own checks refused it
        raise UserError(_with_file(_reason(str(error)), arguments)) from error


@contextmanager
def _attribute_docstrings() -> Iterator[None]:
    """Let the parser read the docstrings below the fields of dataclasses, inside the context."""
    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
    try:
        yield
    finally:
        jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=False)


def _check_names(arguments: Sequence[str], config_class: type, options: set[str]) -> None:
    """Refuse the first unknown setting: where it was given, the nearest one and the valid ones.

    The parser refuses them too, but does not say where they are in an optional group or a mapping.
    And nothing with a ``class_path`` may reach the parser, which would import what it names.
    """
    for argument, following in zip(arguments, [*arguments, ""][1:], strict=True):
        flag, equals, value = argument.partition("=")
        if flag == "--config":
            file = value if equals else following
            place, content = f"--config {file}", _read_yaml(Path(file))
            check_groups(content, config_class, place)
            paths = list(setting_paths(content))
        elif flag.startswith("--") and flag not in options:
            place = flag
            path = flag[2:].removesuffix("+").split(".")  # --list+ appends
            check_groups(_nested(path, value if equals else following), config_class, place)
            paths = [path]
        else:
            continue
        for path in paths:
            problem = unknown_setting(path, config_class)
            if problem is not None:
                near = difflib.get_close_matches(place, [*options, *_OF_THE_PARSER], n=1)
                hint = f"; did you mean {near[0]}?" if near and place.startswith("--") else ""
                raise UserError(f"{place}: {problem}{hint}")


def _nested(path: Sequence[str], typed: str) -> Any:
    """The mapping that a file would have for a typed setting or group of settings."""
    try:
        content = yaml.safe_load(typed)
    except (yaml.YAMLError, ValueError, RecursionError):
        content = typed
    for name in reversed(path):
        content = {name: content}
    return content


def _reason(message: str) -> str:
    """What is wrong, by the parser's report on an optional group; other messages in one line."""
    errors = re.search(r"Errors:\n(.*?)\n *- Expected a <class 'NoneType'>", message, re.DOTALL)
    if errors is None:
        return _one_line(message)
    group = re.match(r'Parser key "[\w.]+":', message)
    lines = [line.strip(" -") for line in errors[1].splitlines() if "class_path" not in line]
    given = re.search(r"\n *Given value: (?!Namespace)(.*)", message)
    if given is not None and not any("Got value" in line for line in lines):
        lines.append(f"Got value: {given[1]}")
    return " ".join([group[0], *lines] if group else lines)


def _with_typed_option(message: str, arguments: Sequence[str]) -> str:
    """``Parser key "a.b": ...`` with the option or the file that gave it."""
    message = re.sub(r"Expected an? (?:<class '([\w.]+)'>)?", r"expected \1", message)
    message = re.sub(r"typing\.Literal\[(.*?)\]", r"one of \1", message)
    key = re.match(r'Parser key "([\w.]+)": *', message)
    if key is None:
        return message.removeprefix("argument ")
    flags = [argument.partition("=")[0] for argument in arguments]
    name = f"--{key[1]}"
    typed = [
        flag
        for flag in dict.fromkeys(flags)
        if flag.startswith("--")
        and (flag.replace("-", "_") == name.replace("-", "_") or flag.startswith(f"{name}."))
    ]
    place = typed[0] if len(typed) == 1 else name if name in flags else key[1]
    return f"{place}: {message[key.end() :]}"


def _with_file(message: str, arguments: Sequence[str]) -> str:
    """A message on a setting that was not typed, with the file of ``--config`` before it."""
    typed = [a.partition("=")[0][2:].replace("-", "_") for a in arguments if a.startswith("--")]
    file, name = _config_file(arguments), re.match(r"[\w.]+", message)
    # a message with the option as it was typed begins with --
    if file is None or name is None or message.startswith(_REQUIRED):
        return message
    if any(
        f"{setting}.".startswith(f"{name[0]}.")
        or f"{name[0]}.".startswith(f"{setting}.")
        or setting.endswith(f".{name[0]}")  # a check of a group does not know where the group is
        for setting in typed
    ):
        return message
    return f"--config {file}: {message}"


def _config_file(arguments: Sequence[str]) -> str | None:
    """The file or recipe that ``--config`` names; the last one, which decides."""
    file = None
    for argument, following in zip(arguments, [*arguments, ""][1:], strict=True):
        flag, equals, value = argument.partition("=")
        if flag == "--config":
            file = value if equals else following
    return file


def _one_line(error: object) -> str:
    return " ".join(str(error).split())


def task_of(arguments: Sequence[str]) -> str:
    """``task`` of the YAML file named by ``--config`` (or of ``--task``): which dataclass to parse.

    Raises:
        UserError: the file cannot be read or is not a mapping.
    """
    values = dict(zip(arguments, arguments[1:], strict=False))
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if equals:
            values[name] = value
    if "--task" in values:
        return values["--task"]
    if "--config" not in values:
        return "vision"
    return _read_yaml(Path(values["--config"])).get("task", "vision")


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"--config {path}: no such file")
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except RecursionError as error:
        raise UserError(f"--config {path}: not YAML of settings: nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, no date, a huge number
        raise UserError(f"--config {path}: not YAML: {_one_line(error)}") from error
    if not isinstance(content, dict):
        raise UserError(f"--config {path}: expected a mapping of settings, got {content!r}")
    return content
