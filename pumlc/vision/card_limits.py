"""What a reader of a model card should not believe, from the numbers of the run."""

from collections.abc import Mapping, Sequence
from typing import Any

from pumlc.engine.measured import number, numbers
from pumlc.report import markdown_text
from pumlc.vision.predictor import VisionPredictor

FEW = 20
"""With fewer positives, the average precision of a class may be off by several percent."""
_NAMED = 10


def limits(
    predictor: VisionPredictor,
    run: Mapping[str, Any],
    measured: Mapping[str, Any],
    *,
    folder: bool,
) -> list[str]:
    """Sentences, as one list of Markdown."""
    found = [
        "It knows no other class, and was not tested on pictures from elsewhere. Differences "
        "between groups of people or places were not measured.",
        *_of_labels(run),
        *_of_training(predictor, run),
        *(line for split, content in measured.items() for line in _of_split(split, content)),
    ]
    if folder:
        found.append(
            "timm and transformers resize with Pillow, `pumlc predict` with averages over pixels: "
            "the same picture gives slightly other probabilities."
        )
    found.append(
        "The run states no licence. Whoever publishes the folder adds `license:` to the head of "
        "this file; the starting weights and the pictures have licences of their own."
    )
    return ["\n".join(f"- {line}" for line in found)]


def _of_labels(run: Mapping[str, Any]) -> list[str]:
    unknown = numbers(run.get("train_labels")).get("unknown")
    if not unknown:
        return []
    return [
        "Part of the training labels are unknown. If the labels that people gave are not a fair "
        "sample (for example, only what is easy to see), probabilities and thresholds inherit that."
    ]


def _of_training(predictor: VisionPredictor, run: Mapping[str, Any]) -> list[str]:
    found = []
    untrained = run.get("untrained_classes")
    if isinstance(untrained, list) and untrained:
        found.append(f"No training picture is known to show {_names(untrained)}.")
    if predictor.global_in:
        found.append(
            f"Too few pictures for fitting are known to show {_names(predictor.global_in)}, or not "
            "to: the threshold there is that of all classes together."
        )
    return found


def _of_split(split: str, content: Mapping[str, Any]) -> list[str]:
    where, found = f"split {markdown_text(split)}", []
    known = content.get("known_labels")
    known = known if isinstance(known, dict) else {}
    few = [name for name, counts in known.items() if numbers(counts).get("positive", 0) < FEW]
    if few:
        found.append(
            f"In the {where}, {len(few)} of {len(known)} classes have fewer than {FEW} known "
            f"positives, so that their AP says little: {_names(few)}."
        )
    unknown = number(content.get("unknown_labels"))
    if unknown:
        found.append(f"{int(unknown)} unknown labels of the {where} are left out of the figures.")
    seen = sum(numbers(content.get("seen")).values())
    if seen and split != "validation":
        found.append(
            f"{int(seen)} pictures of the {where} were also in training or validation, by their "
            "names: the figures are too good."
        )
    bad = content.get("bad_pictures")
    if isinstance(bad, list) and bad:
        found.append(f"{len(bad)} pictures of the {where} could not be read and are left out.")
    return found


def _names(names: Sequence[Any]) -> str:
    shown = ", ".join(markdown_text(str(name)) for name in names[:_NAMED])
    rest = len(names) - _NAMED
    return f"{shown} and {rest} more" if rest > 0 else shown
