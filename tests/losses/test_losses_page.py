"""What docs/losses.md shows is what the package does."""

import re
from pathlib import Path

from pumlc import losses
from pumlc.tables import table

PAGE = (Path(__file__).parents[2] / "docs" / "losses.md").read_text()


def test_python_blocks_run():
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "losses.md", "exec"), {})


def facts() -> str:
    """The table and the list of the page."""
    header = ["name", "function", "takes", "couples", "excluded", "unknown labels", "when"]
    rows = [
        [
            f"`{loss.name}`",
            f"`{loss.function.__name__}`",
            loss.takes,
            loss.couples,
            "yes" if loss.supports_excluded else "no",
            unknown_labels(loss),
            loss.when,
        ]
        for loss in losses.LOSSES.values()
    ]
    lines = [
        f"- `{loss.name}`: " + ", ".join(parameter_text(*item) for item in loss.parameters.items())
        for loss in losses.LOSSES.values()
        if loss.parameters
    ]
    return table(header, rows) + "\n\nParameters:\n\n" + "\n".join(lines)


def unknown_labels(loss: losses.Loss) -> str:
    if loss.takes == "positives":
        return "count as not positive"
    without = [f"{name}: {value}" for name, value in (loss.ignores_unknown or {}).items()]
    return f"unused with {' or '.join(without)}" if without else "used"


def parameter_text(name: str, parameter: losses.Parameter) -> str:
    required = parameter.default is losses.REQUIRED
    null = "null" if parameter.default is None else parameter.default
    return f"`{name}` ({parameter.describe()}{'' if required else f'; {null}'})"


def test_the_facts_are_those_of_the_package():
    expected = facts()
    assert expected in PAGE, f"docs/losses.md must have this:\n{expected}"


def test_every_situation_names_a_loss():
    situations = {loss.function.__name__ for loss in losses.LOSSES.values()}
    head = PAGE[: PAGE.index("## ")]
    assert not [name for name in situations if name not in head]
