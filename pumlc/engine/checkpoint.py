"""Files that survive a crash: weights as safetensors, and the state a run resumes from."""

import hashlib
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from pumlc.engine.foreign_code import as_user_error
from pumlc.engine.run import ENTRY, entry_of
from pumlc.engine.weights_file import bytes_of, parts_of_file
from pumlc.errors import UserError
from pumlc.files import complete_file, link_file, sync_folder


class StoredWeights:
    """The weights files that a process has written, so that it stores equal ones once."""

    def __init__(self) -> None:
        self._entries: dict[Path, dict[str, Any]] = {}

    def add(self, path: Path, entry: dict[str, Any]) -> None:
        """Take note of a file and of its entry, with the checksum."""
        self._entries[path] = entry

    def find(self, entry: dict[str, Any]) -> Path | None:
        """A file with these weights, and with the rest of the entry if it says more of them."""
        for path, known in self._entries.items():
            checksum = {"checksum": known["checksum"]}
            if entry in (known, checksum) and path.is_file():
                return path
        return None


def save_weights(
    path: Path,
    state: dict[str, Tensor],
    entry: dict[str, Any] | None = None,
    *,
    stored: StoredWeights | None = None,
) -> dict[str, Any]:
    """Write weights to ``path`` (safetensors), complete or not at all.

    Args:
        path: the place.
        state: name -> tensor.
        entry: what is known of these weights, as plain JSON. It is in the same file, so that no
            kill can leave one without the other.
        stored: if one of these files says the same, it gets ``path`` as a second name, and nothing
            is written.

    Returns:
        the entry, with the ``checksum`` of the weights.
    """
    contiguous = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    # tied parameters share storage, which safetensors refuses: the later names get a copy
    seen: set[int] = set()
    for name, value in contiguous.items():
        if value.numel() and value.data_ptr() in seen:
            contiguous[name] = value.clone()
        seen.add(value.data_ptr())
    described = {**(entry or {}), "checksum": _checksum(contiguous)}
    same = None if stored is None else stored.find(described)
    if same is not None:
        link_file(same, path)
    else:
        metadata = {ENTRY: json.dumps(described, allow_nan=False)}
        # not save_file: its files are readable by their owner alone, and a full disk is no OSError
        with complete_file(path, binary=True) as file:
            for part in parts_of_file(contiguous, metadata):
                file.write(part)
    return described


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        UserError: the file is missing, is not a complete safetensors file, or has changed since it
            was written.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such weights file")
    try:
        state = safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise UserError(f"{path}: not a readable safetensors file ({error})") from error
    expected = entry_of(path).get("checksum")
    if expected is not None and expected != _checksum(state):
        raise UserError(
            f"{path}: damaged, its weights are not those that were written (their checksum "
            "differs); take another copy, or other weights of the run"
        )
    return state


def saved_shape(path: Path, name: str) -> tuple[int, ...] | None:
    """The shape of a tensor of a safetensors file, which is not read; None: no such tensor or file.

    What is wrong with a file, `load_weights` says.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return tuple(file.get_slice(name).get_shape()) if name in file.keys() else None  # noqa: SIM118
    except (safetensors.SafetensorError, OSError):
        return None


def _checksum(state: dict[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values."""
    found = hashlib.sha256()
    for name in sorted(state):
        value = state[name].contiguous()
        found.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        found.update(bytes_of(value))
    return found.hexdigest()


def load_into(model: nn.Module, path: Path) -> None:
    """Load weights of exactly this model.

    Raises:
        UserError: names or shapes differ; the first few of each are listed.
    """
    state = load_weights(path)
    own = model.state_dict()
    problems = [
        *(f"{name}: missing in the file" for name in own.keys() - state.keys()),
        *(f"{name}: not in the model" for name in state.keys() - own.keys()),
        *(
            f"{name}: {list(state[name].shape)} in the file, {list(own[name].shape)} in the model"
            for name in own.keys() & state.keys()
            if state[name].shape != own[name].shape
        ),
    ]
    if problems:
        listed = "\n  ".join(sorted(problems)[:10])
        raise UserError(
            f"{path}: weights of another model, {len(problems)} differences:\n  {listed}"
        )
    for name, value in state.items():
        # floats of another width are a choice of who saved them; other numbers are no weights
        if value.dtype != own[name].dtype and not (
            value.is_floating_point() and own[name].is_floating_point()
        ):
            raise UserError(f"{path}: {name} is of type {value.dtype}, not {own[name].dtype}")
        if value.is_floating_point() and not torch.isfinite(value.float()).all():
            raise UserError(
                f"{path}: {name} has numbers that are not finite: the training has diverged, or "
                "the file is damaged"
            )
    model.load_state_dict(state)


class Checkpoint:
    """The folder ``checkpoint`` of a run: all that resuming at the step of the save needs.

    A new state is written beside the old one and flushed to the disk; then a rename puts it there,
    so that a kill or a power cut at any moment leaves a complete checkpoint.
    """

    def __init__(self, run_dir: Path) -> None:
        self.path, self._stored = run_dir / "checkpoint", StoredWeights()
        self._previous = run_dir / "checkpoint.previous"

    def save_weights(
        self, file: Path, state: dict[str, Tensor], entry: dict[str, Any]
    ) -> dict[str, Any]:
        """As the function, for weights of the run: a checkpoint of equal ones shares their file."""
        described = save_weights(file, state, entry, stored=self._stored)
        self._stored.add(file, described)
        return described

    def save(self, weights: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
        """Write ``weights`` (name -> state dict) and ``state`` (tensors and plain values).

        Raises:
            OSError: the folder may not be written, or the disk is full; the checkpoint is then as
                before, and nothing of the new one stays.
        """
        temporary = self.path.with_name("checkpoint.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            self._write(temporary, weights, state)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        if self.path.exists():  # if not, the previous one is the only one
            shutil.rmtree(self._previous, ignore_errors=True)
            os.replace(self.path, self._previous)
        os.replace(temporary, self.path)
        sync_folder(self.path.parent)
        shutil.rmtree(self._previous, ignore_errors=True)

    def _write(
        self, folder: Path, weights: dict[str, dict[str, Tensor]], state: dict[str, Any]
    ) -> None:
        """Write a new folder, flushed to the disk with all that is in it."""
        folder.mkdir()
        for name, tensors in weights.items():
            save_weights(folder / f"{name}.safetensors", tensors, stored=self._stored)
        content = io.BytesIO()
        torch.save(state, content)
        with complete_file(folder / "state.pt", binary=True) as file:
            file.write(content.getbuffer())  # not torch.save: a full disk is to be an OSError

    def folder(self) -> Path | None:
        """The newest complete checkpoint, None before the first one."""
        return next((path for path in (self.path, self._previous) if path.is_dir()), None)

    def load(self) -> dict[str, Any]:
        """The state saved last (weights are read from `folder` by name).

        Raises:
            UserError: there is none, or it cannot be read.
        """
        folder = self.folder()
        if folder is None:
            raise UserError(f"{self.path.parent}: no checkpoint to resume from")
        with as_user_error(f"{folder / 'state.pt'}: cannot be read"):
            return torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
