"""The figures that evaluations have left in a run folder, which may come from anyone."""

from typing import Any

from pumlc.engine.run import RunFolder
from pumlc.errors import UserError
from pumlc.files import read_json
from pumlc.plain_numbers import is_finite_number


def measured_splits(run: RunFolder, weights: str) -> dict[str, dict[str, Any]]:
    """What ``metrics.json`` and ``metrics-SPLIT.json`` say about saved weights.

    A file that has no figures of these weights, or those of another epoch, is left out: it is of an
    earlier evaluation.

    Args:
        run: the run folder.
        weights: the name of saved weights.

    Returns:
        Split -> the content of the file, with ``figures``, its entry for the weights.

    Raises:
        UserError: a file is not one that an evaluation has written.
    """
    epoch = run.index().get(weights, {}).get("epoch")
    found = {}
    for file in sorted(run.path.glob("metrics*.json")):
        content = read_json(file)
        if (
            not isinstance(content, dict)
            or not isinstance(content.get("split"), str)
            or type(content.get("N")) is not int
            or not isinstance(content.get("weights"), dict)
        ):
            raise UserError(
                f"{file}: not the result of an evaluation (it lacks split, N or weights); remove "
                "it, or evaluate the run again"
            )
        figures = content["weights"].get(weights)
        if isinstance(figures, dict) and figures.get("epoch") == epoch:
            found[content["split"]] = {**content, "figures": figures}
    return found


def number(value: Any) -> float | None:
    """A finite number, else None."""
    return value if is_finite_number(value) else None


def numbers(value: Any) -> dict[str, float]:
    """The finite numbers of a mapping; everything else is left out.

    Example:
        >>> numbers({"a": 1, "b": "x", "c": None})
        {'a': 1}
    """
    if not isinstance(value, dict):
        return {}
    return {str(key): found for key, part in value.items() if (found := number(part)) is not None}
