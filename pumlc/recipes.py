"""The settings that ship with the package: one YAML file for each claim.

Their first lines say in a fixed form what they are for::

    # claim: what the file is to show
    # hardware: what it needs
    # time: how long it takes there, "not measured" where nobody has
"""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from pumlc.errors import UserError

_FACT = re.compile(r"# (claim|hardware|time): (.+)")


@dataclass(frozen=True)
class Recipe:
    """A shipped YAML file.

    Attributes:
        name: what ``--config`` takes: the path below the folder of recipes, without the ending.
        file: the file.
        claim: what it is to show.
        hardware: what it needs.
        time: how long it takes there.
    """

    name: str
    file: Path
    claim: str
    hardware: str
    time: str


def recipes_folder() -> Path:
    """The folder of recipes: inside of an installed package, beside it in a checkout."""
    inside = Path(__file__).parent / "configs"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "configs"


def recipes() -> list[Recipe]:
    """All recipes, by name."""
    return [_read(name, file) for name, file in _files().items()]


def recipe_file(name: str | Path) -> Path:
    """The file that is meant by a path or by the name of a recipe; a file that exists wins.

    Raises:
        UserError: there is neither; the nearest names are listed.
    """
    path = Path(name)
    if path.is_file():
        return path
    files = _files()
    if str(name) in files:
        return files[str(name)]
    near = difflib.get_close_matches(path.stem, files, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"recipes: {', '.join(files)}"
    raise UserError(f"{name}: no such file, and no recipe of this name; {hint}")


def _files() -> dict[str, Path]:
    folder = recipes_folder()
    files = sorted(folder.rglob("*.yaml"))
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}


def _read(name: str, file: Path) -> Recipe:
    facts: dict[str, str] = dict.fromkeys(("claim", "hardware", "time"), "not said")
    for line in file.read_text("utf-8").splitlines():
        fact = _FACT.fullmatch(line)
        if fact is None:
            break
        facts[fact[1]] = fact[2]
    return Recipe(name, file, **facts)
