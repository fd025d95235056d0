"""The run folder: what was run, with what, and what came out.

run.json              resolved config, seeds, versions, world size, git commit, facts of the task
metrics.csv           one row per epoch
weights/NAME.safetensors    saved weights; with them, in the header, their epoch and validation
weights/index.json    the same for all weights, which people may read and change
checkpoint/           what a resumed run continues from
.lock                 held by the process that trains into the folder
"""

import csv
import json
import platform
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

import filelock
import safetensors

from pumlc.engine.selection import ERRORS, select_weights
from pumlc.errors import UserError
from pumlc.files import complete_file, make_folder, read_json, refuse_link, sync_folder, write_json
from pumlc.plain_numbers import is_finite_number
from pumlc.version import __version__

_LIBRARIES = (
    *("torch", "torchvision", "timm", "accelerate", "transformers"),
    *("pillow", "opencv-python-headless"),  # they decide the pixels
)
# the lock of a run that was killed is free when the system has ended its loading processes
_PATIENCE = 2.0
_FOLDERS = ("weights", "checkpoint", "checkpoint.previous", "checkpoint.tmp", "tensorboard")
# the key of a safetensors header that holds the entry of the index
ENTRY = "pumlc"


class RunExistsError(UserError):
    """A folder holds a run already, and something of it is saved."""


class RunFolder:
    """One folder per run; only the main process writes to it.

    Args:
        path: the folder; created by `start`.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.weights = self.path / "weights"
        self._rows: list[dict[str, Any]] = []

    def start(self, config: dict[str, Any], facts: dict[str, Any], world_size: int) -> None:
        """Create the folder and write run.json; a run that has saved nothing is replaced.

        Raises:
            RunExistsError: the folder holds a run that has saved something.
            UserError: there is a file of this name.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file; name a new folder for the run")
        if (self.path / "run.json").exists() and self.has_saved():
            raise RunExistsError(f"{self.path} already holds a run")
        self.path.mkdir(parents=True, exist_ok=True)
        make_folder(self.weights)
        sync_folder(self.path.parent)
        content = {
            "config": config,
            "world_size": world_size,
            "versions": versions(),
            "git_commit": git_commit(),
            **facts,
        }
        write_json(self.path / "run.json", content)

    def extend(self, epochs: int) -> None:
        """Record in run.json that the run goes on for more epochs than it had."""
        content = self.read()
        before = content["config"]["train"]["epochs"]
        if before != epochs:
            content["config"]["train"]["epochs"] = epochs
            known = content.get("epochs_before")
            content["epochs_before"] = [*(known if isinstance(known, list) else []), before]
            write_json(self.path / "run.json", content)

    def has_saved(self) -> bool:
        """Whether weights or a checkpoint are there."""
        checkpoints = (self.path / name for name in ("checkpoint", "checkpoint.previous"))
        return any(self.weights.glob("*.safetensors")) or any(c.is_dir() for c in checkpoints)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Create the folder if need be and let no other process train into it meanwhile.

        Raises:
            UserError: another process trains into it; or a link lies in the place of a folder that
                training writes to.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        for name in _FOLDERS:
            refuse_link(self.path / name)
        place = self.path / ".lock"
        if place.is_symlink():  # older releases of filelock would empty the file that it leads to
            place.unlink()
        lock = filelock.FileLock(place)
        try:
            lock.acquire(timeout=_PATIENCE)
        except filelock.Timeout as error:
            raise UserError(f"another process is training into {self.path}") from error
        except NotImplementedError:
            pass  # a file system without locks
        try:
            yield
        finally:
            lock.release()

    def read(self) -> dict[str, Any]:
        """The content of run.json.

        Raises:
            UserError: the folder holds no run, or its run.json is not that of one.
        """
        path = self.path / "run.json"
        if not path.is_file():
            raise UserError(f"{self.path} is not a run folder: it has no run.json")
        content = read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("config"), dict):
            raise UserError(f"{path} is not that of a run: it has no config")
        return content

    def add_metrics(self, row: dict[str, Any]) -> None:
        """Append a row to metrics.csv; columns may differ from row to row."""
        self._rows.append(row)
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        with complete_file(self.path / "metrics.csv") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self._rows)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.csv so far."""
        return self._rows

    @metrics.setter
    def metrics(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows

    def index(self) -> dict[str, dict[str, Any]]:
        """Name of the weights -> epoch, score, metrics, extras.

        An entry of ``weights/index.json`` counts if it has the checksum of the weights that are
        there; otherwise the entry in their own file counts. So a kill between the two writes
        changes nothing. Weights of earlier versions are described by index.json alone.

        Raises:
            UserError: index.json is not that of a run.
        """
        path = self.weights / "index.json"
        index = read_json(path) if path.is_file() else {}
        if not isinstance(index, dict) or not all(isinstance(e, dict) for e in index.values()):
            raise UserError(f"{path} is not that of a run: it must map names to entries")
        for file in sorted(self.weights.glob("*.safetensors")):
            own = entry_of(file)
            if "epoch" in own and own["checksum"] != index.get(file.stem, {}).get("checksum"):
                index[file.stem] = own
        for name, entry in index.items():
            problem = _problem_of_entry(entry)
            if problem:
                raise UserError(f"{path} is not that of a run: entry {name!r} {problem}")
        return index

    def add_to_index(self, name: str, entry: dict[str, Any]) -> None:
        """Describe the weights saved under ``name``."""
        write_json(self.weights / "index.json", {**self.index(), name: entry})

    def forget_weights(self, name: str) -> None:
        """Remove saved weights and their entry, if they are there."""
        index = self.index()
        if index.pop(name, None) is not None:
            write_json(self.weights / "index.json", index)
            (self.weights / f"{name}.safetensors").unlink(missing_ok=True)

    def weights_file(self, name: str) -> Path:
        """The file of saved weights.

        Raises:
            UserError: there are none of this name; those that exist are listed.
        """
        saved = sorted(file.stem for file in self.weights.glob("*.safetensors"))
        if name not in saved:  # a name with a path in it, too: anyone may have written index.json
            raise UserError(
                f"{self.path} has no weights {name!r}; saved: {', '.join(saved) or 'none'}"
            )
        return self.weights / f"{name}.safetensors"

    def preferred_weights(self) -> str:
        """The name to use when the user names none.

        The last weights, averaged if there is an average; or others, if they score better on
        validation. How much better they must be, says `pumlc.engine.selection`.
        """
        return select_weights(self.index()).name

    def preference(self, names: Collection[str]) -> dict[str, str]:
        """`preferred_weights` and what chose them, for a result; empty if ``names`` lacks them."""
        preferred = self.preferred_weights()
        if preferred not in names:
            return {}
        entry = self.index()[preferred]
        scored = entry.get("score") is not None
        by = entry.get("chosen_by") or ("validation" if scored else "last epoch")
        return {"preferred": preferred, "preferred_by": by}


def _problem_of_entry(entry: dict[str, Any]) -> str | None:
    """What is wrong with an entry of the index, which may come from anyone."""
    numbers = {"score": entry.get("score"), "start_share": entry.get("start_share", 0.0)}
    for name, value in numbers.items():
        if not (name == "score" and value is None) and not is_finite_number(value):
            return f"has the {name} {value!r:.80}, not a finite number"
    errors = entry.get(ERRORS, {})
    if not isinstance(errors, dict) or not all(
        value is None or is_finite_number(value) for value in errors.values()
    ):
        return f"has the {ERRORS} {errors!r:.80}, not finite numbers by name"
    if type(entry.get("epoch")) is not int:
        return f"has the epoch {entry.get('epoch')!r:.80}, not a whole number"
    if not isinstance(entry.get("extras", {}), dict):
        return f"has extras that are no mapping, but {entry['extras']!r:.80}"
    return None


def entry_of(file: Path) -> dict[str, Any]:
    """What a weights file says of itself, with its checksum; empty if it says nothing."""
    try:
        with safetensors.safe_open(file, "numpy") as content:
            entry = json.loads((content.metadata() or {}).get(ENTRY, "{}"))
    except (OSError, safetensors.SafetensorError, ValueError, RecursionError):
        return {}  # damaged: who loads the weights says so
    known = isinstance(entry, dict) and isinstance(entry.get("checksum"), str)
    return entry if known else {}


def preferred_line(result: dict[str, Any], name: str, value: float) -> str:
    """Which of several rows to quote, by `RunFolder.preference`, and its figure ``name``."""
    reason = {
        "validation": "chosen by validation",
        "last epoch": "no validation part, last epoch",
    }.get(result["preferred_by"], f"chosen by {result['preferred_by']}")
    return f"{reason}: {result['preferred']}, {name} {value:.2f}"


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of the libraries that decide the numbers."""
    found = {"python": platform.python_version(), "pumlc": __version__}
    # a package that is being installed, or was left half removed, has no name
    installed = {each.name.lower() for each in distributions() if each.name}
    return {**found, **{name: version(name) for name in _LIBRARIES if name in installed}}


def git_commit() -> str | None:
    """Commit of the source tree this package runs from, with ``+changes`` if it differs from it."""
    source = Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments],  # noqa: S607 - that of the user's own path
            cwd=source,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        commit = git("rev-parse", "HEAD")
        return f"{commit}+changes" if git("status", "--porcelain", "-uno") else commit
    except (OSError, subprocess.CalledProcessError):
        return None
