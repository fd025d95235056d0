"""Files of a model: in a directory, or in a repository on the hub."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from pumlc.errors import UserError

HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


class Module(NamedTuple):
    """A part of a sentence-transformers model: its class, and where its files are."""

    kind: str
    folder: str


def check_source(source: str) -> None:
    """Raise UserError unless ``source`` is a directory or could be a name on the hub."""
    if not Path(source).is_dir() and not HUB_NAME.fullmatch(source):
        raise UserError(f"{source!r} is neither a directory nor a name on the hub")


def model_file(source: str, name: str) -> Path | None:
    """A file of a directory or of a repository on the hub; None if it has no such file.

    Raises:
        UserError: the source is neither.
    """
    check_source(source)
    if Path(source).is_dir():
        path = Path(source) / name
        return path if path.is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        return Path(hf_hub_download(source, name))
    except (EntryNotFoundError, LocalEntryNotFoundError):
        return None
    except (HFValidationError, RepositoryNotFoundError):
        raise UserError(f"{source!r} is neither a directory nor a name on the hub") from None


def model_json(source: str, name: str) -> Any:
    """The content of a JSON file of a model; None if it has no such file.

    Raises:
        UserError: it is not JSON.
    """
    path = model_file(source, name)
    if path is None:
        return None
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from None


def module_config(source: str, module: Module) -> dict[str, Any]:
    """The settings of a module; empty if it has none.

    Raises:
        UserError: they are not a JSON object.
    """
    name = f"{module.folder}/config.json"
    config = model_json(source, name) or {}
    if not isinstance(config, dict):
        raise UserError(f"{source}: {name} must be an object, got {str(config)[:80]}")
    return config


def modules_of(source: str) -> list[Module] | None:
    """The modules of a sentence-transformers model in their order; None if it is none.

    Raises:
        UserError: modules.json does not say what they are.
    """
    listed = model_json(source, "modules.json")
    if listed is None:
        return None
    if not isinstance(listed, list) or not listed:
        raise UserError(f"{source}: modules.json must list modules, got {str(listed)[:80]}")
    found = []
    for entry in listed:
        kind, folder = map(entry.get, ("type", "path")) if isinstance(entry, dict) else (None, None)
        if not isinstance(kind, str) or not isinstance(folder, str):
            raise UserError(f"{source}: modules.json: a module needs type and path, got {entry}")
        found.append(Module(kind.rsplit(".", 1)[-1], folder))
    return found


def backbone_folder(source: str) -> str:
    """Where the transformer is: older sentence-transformers keep it in a sub-folder.

    Raises:
        UserError: the source is neither a directory nor a name on the hub.
    """
    check_source(source)
    modules = modules_of(source) if Path(source).is_dir() else None
    return str(Path(source) / modules[0].folder) if modules else source
