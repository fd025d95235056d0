"""Files of a model: in a directory, or in a repository on the hub."""

import re
from pathlib import Path
from typing import Any

from pumlc.errors import UserError
from pumlc.files import read_json, write_json

HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
WITH_CODE = ("config.json", "tokenizer_config.json")  # where `auto_map` names code of the model
TRAINING_DATA = "training_data.json"
"""The file of an exported encoder that says on which data, and which part, it was trained."""


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
    except (HFValidationError, RepositoryNotFoundError) as error:
        raise UserError(f"{source!r} is neither a directory nor a name on the hub") from error


def model_json(source: str, name: str) -> Any:
    """The content of a JSON file of a model; None if it has no such file.

    Raises:
        UserError: it is not JSON.
    """
    path = model_file(source, name)
    return None if path is None else read_json(path)


def training_data(source: str) -> dict[str, Any]:
    """What an encoder was trained on; empty where it is not said.

    Only directories that `pumlc export` wrote say so; a name on the hub is not asked. ``train`` and
    ``test`` are those of `pumlc.text.data.corpus.fingerprint`, ``drawn`` that of
    `pumlc.text.frozen.held_out.drawn_documents`.

    Raises:
        UserError: the file of the directory is not JSON.
    """
    path = Path(source) / TRAINING_DATA
    content = read_json(path) if path.is_file() else None
    return content if isinstance(content, dict) else {}


def run_encoder_folder(run: Path) -> Path:
    """The folder of a run with the shape of its encoder and its tokenizer.

    A run folder may come from anyone: this one is never taken for a name on the hub, and a model
    that needs code of its own is refused before transformers reads the files.

    Raises:
        UserError: the folder or its config.json is missing, or `auto_map` names code.
    """
    folder = run.resolve() / "encoder"
    if not (folder / "config.json").is_file():
        raise UserError(f"{run} is not a whole run of texts: {folder / 'config.json'} is missing")
    for name in WITH_CODE:
        path = folder / name
        if path.exists() and "auto_map" in _object(path):
            raise UserError(
                f"{path}: auto_map asks to run code that comes with the model, which is never done"
            )
    return folder


def drop_code_names(folder: Path) -> None:
    """Remove `auto_map` from the files of a saved model: its code was not run, nor will it be."""
    for name in WITH_CODE:
        path = folder / name
        if path.exists() and "auto_map" in (content := _object(path)):
            del content["auto_map"]
            write_json(path, content)


def _object(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} must be an object, got {content!r:.80}")
    return content
