"""Pages from what the package says of itself: losses, recipes, commands and their options.

They are written into ``docs/reference/generated`` before each build, so that no page can say
anything else than the code.
"""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from pumlc.cli.main import COMMANDS
from pumlc.losses import LOSSES, REQUIRED, Loss
from pumlc.recipes import recipes
from pumlc.tables import table


def losses() -> str:
    """One table of all losses, and the parameters of each."""
    rows = [
        [
            f"`{name}`",
            f"{{py:func}}`~pumlc.losses.{loss.function.__name__}`",
            loss.takes,
            loss.couples,
            "yes" if loss.supports_excluded else "no",
            _unknown(loss),
            loss.when,
            loss.paper,
        ]
        for name, loss in LOSSES.items()
    ]
    names = ["name", "function", "takes", "couples", "excluded", "unknown labels", "when", "paper"]
    parts = [table(names, rows), "", "## Parameters", ""]
    for name, loss in LOSSES.items():
        if not loss.parameters:
            continue
        parts += [f"`{name}`", ""]
        for parameter, facts in loss.parameters.items():
            default = "" if facts.default is REQUIRED else f"; default `{facts.default}`"
            parts.append(f"- `{parameter}`: {facts.describe()}{default}")
        parts.append("")
    return "\n".join(parts)


def _unknown(loss: Loss) -> str:
    if loss.takes == "positives":
        return "count as not positive"
    if not loss.ignores_unknown:
        return "used"
    values = [f"`{key}: {value}`" for key, value in loss.ignores_unknown.items()]
    return f"unused with {' or '.join(values)}"


def recipe_list() -> str:
    """All recipes with claim, hardware and time, and their files."""
    rows = [[f"`{r.name}`", r.claim, r.hardware, r.time] for r in recipes()]
    parts = [table(["recipe", "claim", "hardware", "time"], rows), ""]
    for recipe in recipes():
        content = recipe.file.read_text("utf-8")
        parts += [f"## {recipe.name}", "", "```yaml", content.rstrip(), "```", ""]
    return "\n".join(parts)


def commands() -> str:
    """Every command with its options, as ``--help`` prints them."""
    rows = [[f"[`{name}`](#pumlc-{name})", about] for name, about in COMMANDS.items()]
    parts = [table(["command", "what it does"], rows), ""]
    for name in COMMANDS:
        parts += [f"## pumlc {name}", "", "```text", _help(name), "```", ""]
        if name == "train":
            parts += [
                "With `--task text`:",
                "",
                "```text",
                _help(name, "--task", "text"),
                "```",
                "",
            ]
    return "\n".join(parts)


def _help(*arguments: str) -> str:
    shown = subprocess.run(
        [sys.executable, "-m", "pumlc", *arguments, "--help"],
        env={"PATH": "", "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return shown.stdout.rstrip()


PAGES: dict[str, Callable[[], str]] = {
    "losses": losses,
    "recipes": recipe_list,
    "commands": commands,
}


def write(app: Sphinx) -> None:
    """Write the pages; one that says the same as before keeps its time, so it is not built anew."""
    folder = Path(app.srcdir) / "reference" / "generated"
    folder.mkdir(exist_ok=True)
    for name, content in PAGES.items():
        file = folder / f"{name}.md"
        text = content() + "\n"
        if not file.exists() or file.read_text("utf-8") != text:
            file.write_text(text, "utf-8")


def skip_generated(
    app: Sphinx, kind: str, name: str, member: Any, skip: bool, options: Any
) -> bool:
    """Leave out what ``NamedTuple`` writes itself, and scikit-learn's ``set_fit_request``."""
    of_a_tuple = str(getattr(member, "__doc__", "")).startswith("Alias for field number")
    return skip or of_a_tuple or re.fullmatch(r"set_\w+_request", name) is not None


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("builder-inited", write)
    app.connect("autodoc-skip-member", skip_generated)
    return {"parallel_read_safe": True}
