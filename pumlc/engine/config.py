"""Settings of a training run, and how a YAML file and the command line become them."""

import dataclasses
import difflib
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import jsonargparse
import yaml

from pumlc.errors import UserError

jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)


@dataclass(kw_only=True)
class TrainConfig:
    """How long, how fast and on what schedule."""

    epochs: int
    """number of passes over the training part; the run stops after them"""
    batch_size: int
    """rows per process and step; losses that couple the batch depend on it"""
    learning_rate: float
    """largest learning rate of the schedule"""
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """adam: weight decay as L2 penalty (published); adamw: decoupled; sgd: momentum 0.9"""
    weight_decay: float = 0.0
    """weight decay, on every trainable parameter"""
    schedule: Literal["one-cycle", "linear", "constant"] = "one-cycle"
    """one-cycle: warm-up, then cosine to nearly zero; linear: warm-up, then straight to zero"""
    schedule_epochs: int | None = None
    """length of the schedule, if it is longer than the run (published: 80, of which 41 are run)"""
    warmup: float = 0.2
    """part of the schedule that warms up, in [0, 1)"""
    clip_norm: float | None = None
    """largest norm of the gradient; none: no clipping"""
    precision: Literal["no", "fp16", "bf16"] = "no"
    """automatic mixed precision"""
    ema_decay: float | None = None
    """decay of the exponential moving average of the weights per step; none: no average"""
    ema_warmup: bool = False
    """use min(decay, (1 + step) / (10 + step)): a short run is not dominated by its start"""
    validate_every: int = 1
    """epochs between two looks at the validation part"""
    workers: int = 0
    """processes that load data; 0 loads in the training process"""
    log_every: int = 20
    """steps between two printed lines where the output is not a terminal"""
    tensorboard: bool = False
    """also write tensorboard events into the run folder (extra: pumlc[track])"""
    seed: int = 0
    """seed of weights, order, augmentation and dropout"""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "validate_every", "log_every"):
            require(getattr(self, name) >= 1, f"train.{name}", getattr(self, name), "at least 1")
        require(self.learning_rate > 0, "train.learning_rate", self.learning_rate, "above 0")
        require(self.weight_decay >= 0, "train.weight_decay", self.weight_decay, "at least 0")
        check_seed("train.seed", self.seed)
        require(0 <= self.warmup < 1, "train.warmup", self.warmup, "in [0, 1)")
        require(self.workers >= 0, "train.workers", self.workers, "at least 0")
        if self.schedule_epochs is not None:
            require(
                self.schedule_epochs >= self.epochs,
                "train.schedule_epochs",
                self.schedule_epochs,
                f"at least train.epochs ({self.epochs}); shorten train.epochs to stop early",
            )
        if self.ema_decay is not None:
            require(0 < self.ema_decay < 1, "train.ema_decay", self.ema_decay, "in (0, 1)")
        if self.clip_norm is not None:
            require(self.clip_norm > 0, "train.clip_norm", self.clip_norm, "above 0, or null")


def require(holds: bool, option: str, got: Any, valid: str) -> None:
    """Raise UserError in the one form every option of a config uses."""
    if not holds:
        raise UserError(f"{option} must be {valid}, got {got!r}")


def check_seed(option: str, seed: int) -> None:
    """Refuse what numpy's RandomState does not take."""
    require(0 <= seed < 2**32, option, seed, "in [0, 2**32)")


def closest(name: str, valid: Sequence[str]) -> str:
    """``did you mean ...?`` for the nearest valid name, or the list of all when none is near."""
    near = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return "valid: " + ", ".join(sorted(valid))


def parse(config_class: type, arguments: Sequence[str] | None, *, program: str, extra=()) -> tuple:
    """Parse ``--config FILE`` and ``--group.field value`` into ``config_class``.

    Args:
        config_class: a dataclass of dataclasses; attribute docstrings become ``--help``.
        arguments: the command line without the program, None for ``sys.argv``.
        program: the name shown in help and errors.
        extra: ``(flag, keywords of add_argument)`` pairs of options that are not settings.

    Returns:
        the instance of ``config_class`` and a dict of the extra options.

    Raises:
        UserError: an unknown key (with the nearest valid one), a missing or wrongly typed value.
    """
    parser = jsonargparse.ArgumentParser(prog=program, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="YAML file with the settings")
    parser.add_class_arguments(config_class, None)
    for flag, keywords in extra:
        parser.add_argument(flag, **keywords)
    given = sys.argv[1:] if arguments is None else arguments
    try:
        built = vars(parser.instantiate(parser.parse_args(given)))
    except (jsonargparse.ArgumentError, ValueError) as error:
        message = str(getattr(error, "message", error))
        no_settings = {"--config", *(flag for flag, _ in extra)}
        unknown = _unknown_setting(given, config_class, no_settings)
        raise UserError(unknown or _reason(message)) from None
    fields = {field.name: built.pop(field.name) for field in dataclasses.fields(config_class)}
    built.pop("config")
    return config_class(**fields), built


def from_plain(config_class: type, content: dict[str, Any]) -> Any:
    """The inverse of `plain`: the config that run.json records.

    Raises:
        UserError: a setting is unknown to this version of the package, or has another type.
    """
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(config_class, None)
    try:
        built = parser.instantiate(parser.parse_object(content))
    except jsonargparse.ArgumentError as error:
        reason = _one_line(error)
        raise UserError(f"run.json: a setting this version does not take: {reason}") from None
    return config_class(**vars(built))


def field_names(config_class: type, prefix: str = "") -> list[str]:
    """Dotted names of every setting of a dataclass of dataclasses, optional ones too."""
    names = []
    for field in dataclasses.fields(config_class):
        group = None if get_origin(field.type) is dict else _group(field.type)
        if group is None:
            names.append(prefix + field.name)
        else:
            names += field_names(group, f"{prefix}{field.name}.")
    return names


def _group(kind: Any) -> type | None:
    """The dataclass in the type of a setting: ``A``, ``A | None`` or ``dict[str, A]``."""
    for part in (kind, *get_args(kind)):
        if isinstance(part, type) and dataclasses.is_dataclass(part):
            return part
    return None


def _unknown_setting(arguments: Sequence[str], config_class: type, skip: set[str]) -> str | None:
    """Where the first unknown setting was given, the nearest one and those that are valid there.

    jsonargparse says it too, but of an optional group or a mapping not where it is.
    """
    for place, path in _given(arguments, skip):
        problem = _not_a_setting(path, config_class)
        if problem is not None:
            return f"{place}: {problem}"
    return None


def _given(arguments: Sequence[str], skip: set[str]) -> Iterator[tuple[str, list[str]]]:
    """Place and names, outermost first, of every setting in the files and on the command line."""
    for argument, following in zip(arguments, [*arguments, ""][1:], strict=True):
        flag, equals, value = argument.partition("=")
        if flag == "--config":
            file = value if equals else following
            yield from ((f"--config {file}", path) for path in _paths(_read_yaml(Path(file))))
        elif flag.startswith("--") and flag not in skip:
            yield "command line", flag[2:].removesuffix("+").split(".")  # --list+ appends


def _paths(content: dict[Any, Any]) -> Iterator[list[str]]:
    for name, value in content.items():
        below = _paths(value) if isinstance(value, dict) and value else [[]]
        yield from ([str(name), *path] for path in below)


def _not_a_setting(path: Sequence[str], config_class: type) -> str | None:
    """What is wrong with a path of names; None for a setting."""
    kind: Any = config_class
    for depth, name in enumerate(path):
        if get_origin(kind) is dict:
            kind = get_args(kind)[1]  # the name is the user's own
            continue
        group = _group(kind)
        if group is None:
            return None
        kinds = {field.name: field.type for field in dataclasses.fields(group)}
        if name not in kinds and "." not in name:  # "data.known: 1" is valid YAML for a setting
            near = _nearest(path, depth, list(kinds), config_class)
            hint = f"did you mean {near!r}? " if near else ""
            level = f" in {'.'.join(path[:depth])}" if depth else ""
            wrong, valid = ".".join(path[: depth + 1]), ", ".join(sorted(kinds))
            return f"no setting {wrong!r}; {hint}valid{level}: {valid}"
        kind = kinds.get(name)
    return None


def _nearest(
    path: Sequence[str], depth: int, names: Sequence[str], config_class: type
) -> str | None:
    """The setting that was meant by ``path``, of which the name at ``depth`` is unknown."""
    near = difflib.get_close_matches(path[depth], names, n=1)
    if near:
        meant = [*path[:depth], *near]
        whole = [*meant, *path[depth + 1 :]]
        return ".".join(meant if _not_a_setting(whole, config_class) else whole)
    near = difflib.get_close_matches(".".join(path), field_names(config_class), n=1, cutoff=0.5)
    return near[0] if near else None


def _reason(message: str) -> str:
    """Of jsonargparse's report on an optional group, what is wrong; other messages as they are."""
    errors = re.search(r"Errors:\n(.*?)\n *- Expected a <class 'NoneType'>", message, re.DOTALL)
    if errors is None:
        return _one_line(message)
    group = re.match(r'Parser key "[\w.]+":', message)
    lines = [line.strip(" -") for line in errors[1].splitlines() if "class_path" not in line]
    given = re.search(r"\n *Given value: (?!Namespace)(.*)", message)
    if given is not None and not any("Got value" in line for line in lines):
        lines.append(f"Got value: {given[1]}")
    return " ".join([group[0], *lines] if group else lines)


def _one_line(error: object) -> str:
    return " ".join(str(error).split())


def plain(config: Any) -> Any:
    """A config as dicts, lists, strings and numbers, for YAML and JSON."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: plain(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, dict):
        return {key: plain(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [plain(value) for value in config]
    return str(config) if isinstance(config, Path) else config


def task_of(arguments: Sequence[str]) -> str:
    """``task`` of the YAML file named by ``--config`` (or of ``--task``): which dataclass to parse.

    Raises:
        UserError: the file cannot be read or is not a mapping.
    """
    values = dict(zip(arguments, arguments[1:], strict=False))
    for argument in arguments:
        name, _, value = argument.partition("=")
        if value:
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
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--config {path}: not YAML: {_one_line(error)}") from None
    if not isinstance(content, dict):
        raise UserError(f"--config {path}: expected a mapping of settings, got {content!r}")
    return content
