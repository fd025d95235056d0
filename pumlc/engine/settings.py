"""The tree of settings that a dataclass of dataclasses describes: names, groups, unknown ones."""

import dataclasses
import difflib
import types
from collections.abc import Iterator, Sequence
from typing import Any, Union, get_args, get_origin

from pumlc.errors import UserError

_IMPORTS = ("class_path", "init_args")  # with these a parser would import what a file names


def field_names(config_class: type, prefix: str = "") -> list[str]:
    """Dotted names of every setting of a dataclass of dataclasses, optional ones too."""
    names = []
    for field in dataclasses.fields(config_class):
        group = None if get_origin(field.type) is dict else group_class(field.type)
        if group is None:
            names.append(prefix + field.name)
        else:
            names += field_names(group, f"{prefix}{field.name}.")
    return names


def group_class(kind: Any) -> type | None:
    """The dataclass in the type of a setting: ``A``, ``A | None`` or ``dict[str, A]``."""
    for part in (kind, *get_args(kind)):
        if isinstance(part, type) and dataclasses.is_dataclass(part):
            return part
    return None


def setting_paths(content: dict[Any, Any]) -> Iterator[list[str]]:
    """The names, outermost first, of every setting in nested mappings."""
    for name, value in content.items():
        below = setting_paths(value) if isinstance(value, dict) and value else [[]]
        yield from ([str(name), *path] for path in below)


def unknown_setting(path: Sequence[str], config_class: type) -> str | None:
    """What is wrong with a path of names, with the nearest setting; None for a setting."""
    kind: Any = config_class
    for depth, name in enumerate(path):
        if get_origin(kind) is dict:
            kind = get_args(kind)[1]  # the name is the user's own
            continue
        group = group_class(kind)
        if group is None:
            return None
        if "." in name:  # "data.known: 1" is valid YAML for a setting
            whole = [*path[:depth], *name.split("."), *path[depth + 1 :]]
            return unknown_setting(whole, config_class)
        kinds = {field.name: field.type for field in dataclasses.fields(group)}
        if name not in kinds:
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
        return ".".join(meant if unknown_setting(whole, config_class) else whole)
    near = difflib.get_close_matches(".".join(path), field_names(config_class), n=1, cutoff=0.5)
    return near[0] if near else None


def check_groups(content: Any, config_class: type, place: str, prefix: str = "") -> None:
    """Refuse what would make a parser import a module that a file names, and empty settings.

    Groups of settings are mappings of settings. A parser of dataclasses would also take the name
    of a class for a group, or a mapping with ``class_path``, and import it. And it lets null pass
    for every setting, whatever its type.

    Args:
        content: nested mappings, from a YAML file or run.json; a key may be a dotted name.
        config_class: the dataclass that they are to become.
        place: where they were read, for the message.

    Raises:
        UserError: a group is no mapping, a mapping has ``class_path`` or ``init_args``, or a
            setting that must have a value has none.
    """
    if not isinstance(content, dict):
        name = f"{prefix.rstrip('.')} must be" if prefix else "expected"
        raise UserError(f"{place}: {name} a mapping of settings, got {_shown(content)}")
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    for key, value in content.items():
        name, dot, rest = str(key).partition(".")
        if name in _IMPORTS:
            raise UserError(f"{place}: {prefix}{name} is no setting; nothing is imported by name")
        if name in fields:
            _check_setting(fields[name], {rest: value} if dot else value, place, prefix)


def _check_setting(field: dataclasses.Field[Any], value: Any, place: str, prefix: str) -> None:
    """The checks of `check_groups` for one setting or group and what is below it."""
    name, group = f"{prefix}{field.name}", group_class(field.type)
    if value is None and _takes_null(field.type):
        return
    if group is not None and get_origin(field.type) is dict and isinstance(value, dict):
        for key, one in value.items():
            check_groups(one, group, place, f"{name}.{key}.")
    elif group is not None:
        check_groups(value, group, place, f"{name}.")
    elif value is None:
        has_default = (field.default, field.default_factory) != (dataclasses.MISSING,) * 2
        hint = "; leave it out for its default" if has_default else ""
        raise UserError(f"{place}: {name} must have a value, got null{hint}")


def _takes_null(kind: Any) -> bool:
    if get_origin(kind) in (Union, types.UnionType):
        return types.NoneType in get_args(kind)
    return kind is Any


def _shown(value: Any) -> str:
    """A value as a YAML or JSON file spells it, where Python spells it otherwise."""
    return "null" if value is None else repr(value)
