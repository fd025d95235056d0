"""The model card of an image run: what it names, what it learned from, how well, and its limits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pumlc.engine.measured import measured_splits, number, numbers
from pumlc.errors import UserError
from pumlc.report import Section, markdown_text, model_card, result_entry
from pumlc.tables import table
from pumlc.vision.card_limits import limits
from pumlc.vision.config import TOWERS
from pumlc.vision.models.kernel_head import KernelHead
from pumlc.vision.predictor import VisionPredictor
from pumlc.vision.timm_folder import (
    check_for_timm,
    thresholds_of_logits,
    write_timm_folder,
)

MOST_CLASSES = 500
"""Classes in the table of a card; ``config.json`` of the folder has them all."""

_TIMM = """\
```python
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

# "hf-hub:USER/NAME" once the folder is on the hub
model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()
transform = create_transform(**resolve_model_data_config(model), is_training=False)
picture = Image.open("one.jpg").convert("RGB")
with torch.inference_mode():
    probabilities = model(transform(picture)[None])[0].sigmoid()
print(dict(zip(model.pretrained_cfg["label_names"], probabilities.tolist())))
```"""
_TRANSFORMERS = """\
```python
from transformers import pipeline

classify = pipeline("image-classification", model="FOLDER")  # or "USER/NAME"
print(classify("one.jpg", top_k=5))
```"""
_PUMLC = """\
```python
import pumlc

predictor = pumlc.load("RUN")
found = predictor.predict(["one.jpg"])
print(dict(zip(found.labels, found.probabilities[0])))
```"""


def card_of(predictor: VisionPredictor, *, folder: bool, calibrated: bool = False) -> str:
    """The card of a run.

    Args:
        predictor: of the run.
        folder: it goes into a folder of `write_folder`; otherwise it describes the run folder.
        calibrated: as for `write_folder`.

    Raises:
        UserError: files of the run folder are damaged.
    """
    run = predictor.run.read()
    measured = measured_splits(predictor.run, predictor.weights)
    name = predictor.run.path.absolute().name
    thresholds = predictor.thresholds
    if folder:
        thresholds = thresholds_of_logits(predictor, calibrated=calibrated)
    sections = [
        Section("What it does", _purpose(predictor)),
        Section("How to use it", _usage(folder)),
        Section("How well it does", _figures(measured)),
        Section("Classes and thresholds", _classes(predictor, measured, thresholds)),
        Section(
            "Probabilities",
            _calibration(predictor, folder=folder, calibrated=calibrated)
            + _curve(predictor, folder=folder),
        ),
        Section("What it learned from", _data(predictor, run)),
        Section("Limits", limits(predictor, run, measured, folder=folder)),
        Section("How it was made", _making(predictor, run)),
    ]
    return model_card(_metadata(predictor, run, measured, name), name, sections)


def write_folder(predictor: VisionPredictor, folder: Path, *, calibrated: bool = False) -> str:
    """Write card, settings and weights for timm and transformers, and say what was written.

    Raises:
        UserError: see `write_timm_folder` and `card_of`.
    """
    check_for_timm(predictor.model)
    card = card_of(predictor, folder=True, calibrated=calibrated)
    difference = write_timm_folder(predictor, folder, card=card, calibrated=calibrated)
    return (
        f"{folder}: weights {predictor.weights}, {len(predictor.labels)} classes, for timm and "
        f"transformers; logits differ from those of the run by at most {difference:.1e} on noise"
    )


def _metadata(
    predictor: VisionPredictor, run: Mapping[str, Any], measured: Mapping[str, Any], name: str
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "timm", "multi-label", "pumlc"],
    }
    source = str(run.get("starting_weights", ""))
    if source.startswith("timm ") and source.count("/") == 1 and ":" not in source:
        found["base_model"] = source.removeprefix("timm ")
    results = []
    for split, content in measured.items():
        figures = numbers(content["figures"].get("mAP"))
        metrics = [
            ("mean_average_precision", f"mAP ({key}), N = {content['N']}", value)
            for key, value in figures.items()
        ]
        if metrics:
            entry = result_entry(
                name,
                task="image-classification",
                data=predictor.config.data.name,
                split=split,
                metrics=metrics,
            )
            results += entry["results"]
    if results:
        found["model-index"] = [{"name": name, "results": results}]
    return found


def _purpose(predictor: VisionPredictor) -> list[str]:
    model, count = predictor.config.model, len(predictor.labels)
    of_timm = "" if model.backbone.startswith(TOWERS) else " of timm"
    trained = "frozen, with linear heads" if predictor.config.is_frozen else "fine-tuned"
    if isinstance(predictor.model.head, KernelHead):
        trained += " and a Gaussian kernel"
    return [
        f"It says for each of {count} classes how probable it is that a picture shows it. Each "
        "class is decided alone: a picture may show several classes, or none.",
        f"The network is {markdown_text(model.backbone)}{of_timm}, {trained}.",
        "Intended use: pictures like those that it learned from, to sort and find them, and as a "
        "first pass that a person checks. Not intended: decisions about people, and any use where "
        "nobody looks at the errors.",
    ]


def _usage(folder: bool) -> list[str]:
    return [_TIMM, "With transformers:", _TRANSFORMERS] if folder else [_PUMLC]


def _figures(measured: Mapping[str, Any]) -> list[str]:
    if not measured:
        return ["Not measured yet: `pumlc evaluate RUN` measures it on the split test."]
    parts = []
    for split, content in measured.items():
        figures = content["figures"]
        maps = numbers(figures.get("mAP"))
        averaged = number(figures.get("classes_averaged"))
        parts.append(
            f"Split {markdown_text(split)}, N = {content['N']} pictures. mAP is the mean of the "
            f"average precision of {'the' if averaged is None else int(averaged)} classes with a "
            "positive, in percent; the columns are its definitions. ECE is the expected "
            "calibration error of the probabilities, in percent."
        )
        row = [*maps.values(), number(figures.get("ECE"))]
        parts.append(table([*(f"mAP {key}" for key in maps), "ECE"], [row]))
        decisions = figures.get("decisions")
        rows = [
            [markdown_text(rule), *(values.get(key) for key in ("OP", "OR", "OF1", "CF1_macro"))]
            for rule, entry in (decisions.items() if isinstance(decisions, dict) else ())
            if (values := numbers(entry))
        ]
        if rows:
            columns = ["present if", "precision", "recall", "F1", "F1, mean of the classes"]
            parts.append(table(columns, rows))
    return parts


def _classes(
    predictor: VisionPredictor, measured: Mapping[str, Any], thresholds: np.ndarray
) -> list[str]:
    content = measured.get("test") or next(iter(measured.values()), {})
    known = content.get("known_labels")
    known = known if isinstance(known, dict) else {}
    precisions = numbers(content.get("figures", {}).get("AP"))
    rows = []
    for place, name in enumerate(predictor.labels[:MOST_CLASSES]):
        counts = numbers(known.get(name))
        rows.append(
            [
                markdown_text(name),
                f"{thresholds[place]:.3f}" if predictor.fitted else None,
                *(_count(counts.get(state)) for state in ("positive", "negative")),
                precisions.get(name),
            ]
        )
    rule = (
        "A class counts as present from its threshold on, which has the highest F1 on the labels "
        f"that it was fitted on ({markdown_text(predictor.fitted_on)})."
        if predictor.fitted
        else "No threshold was fitted, because nothing was held out; 0.5 is not a good choice for "
        "every class."
    )
    if content:
        split = markdown_text(content["split"])
        rule += f" Counts and AP (in percent) are of the split {split}."
    parts = [rule]
    parts.append(table(["class", "threshold", "present", "absent", "AP"], rows))
    if len(predictor.labels) > MOST_CLASSES:
        rest = len(predictor.labels) - MOST_CLASSES
        parts.append(f"{rest} more classes are in config.json.")
    return parts


def _count(value: float | None) -> int | None:
    return None if value is None else int(value)


def _calibration(predictor: VisionPredictor, *, folder: bool, calibrated: bool) -> list[str]:
    if predictor.config.is_frozen:
        return [
            "The heads are calibrated on scores of pictures that they were not fitted on "
            f"({markdown_text(predictor.fitted_on) or 'left-out scores'}): the sigmoid of a logit "
            "is the probability."
        ]
    if not predictor.calibrated_on:
        return [
            "Not calibrated, because nothing was held out (data.validation): the sigmoid of a "
            "logit ranks pictures, and may be far from the share of pictures that show the class."
        ]
    fitted = "Slope and bias of the logit of each class were fitted on the held-out part"
    if folder and not calibrated:
        return [
            f"{fitted}, but this folder has the logits of the run as they are: their sigmoid is "
            "not calibrated. `pumlc card RUN --calibrated` puts slope and bias into the last layer."
        ]
    return [f"{fitted}; probabilities include both."]


def _curve(predictor: VisionPredictor, *, folder: bool) -> list[str]:
    if not len(predictor.curve.at):
        return []
    if folder:
        return [
            "The probabilities of the run also follow a curve, the same for all classes, which no "
            "layer of timm has. So the sigmoid of a logit is near the probability of `pumlc "
            "predict`, but not the same. It ranks the same, and the thresholds allow for it."
        ]
    return ["Before the sigmoid, a rising curve changes the logits, the same for all classes."]


def _data(predictor: VisionPredictor, run: Mapping[str, Any]) -> list[str]:
    data = predictor.config.data
    labels = numbers(run.get("train_labels"))
    source = next(
        (str(value) for key in ("labels", "csv") if (value := getattr(data, key, None))), data.root
    )
    parts = [
        f"{_count(number(run.get('train_pictures')))} pictures of training and "
        f"{_count(number(run.get('validation_pictures')))} of validation, from "
        f"{markdown_text(Path(source).name)} (read as {markdown_text(data.name)})."
    ]
    if labels:
        total = sum(labels.values())
        words = {"positive": "present", "negative": "absent", "unknown": "unknown"}
        rows = [
            [words[key], int(labels[key]), 100 * labels[key] / total if total else None]
            for key in words
            if key in labels
        ]
        parts.append("States of the labels of the training part, picture by class:")
        parts.append(table(["state", "labels", "percent"], rows))
    parts += _policies(data)
    return parts


def _policies(data: Any) -> list[str]:
    """What became of uncertain labels, and what an experiment hid or changed."""
    parts = []
    if data.name == "labels":
        parts.append(f"Uncertain labels counted as {markdown_text(str(data.uncertain))}.")
    hidden = data.known < 1 or data.protocol != "proportion" or data.known_per_class is not None
    if hidden:
        parts.append(
            "This is an experiment: labels that are known were hidden before training (protocol "
            f"{markdown_text(data.protocol)}, known {data.known:g}, seed {data.label_seed})."
        )
    if data.false_negative or data.false_positive or getattr(data, "noise", None):
        parts.append("This is an experiment: labels were made wrong on purpose before training.")
    return parts


def _making(predictor: VisionPredictor, run: Mapping[str, Any]) -> list[str]:
    config = predictor.config
    heads = run.get("heads")
    versions = run.get("versions")
    found = {
        "weights": predictor.weights,
        "starting weights": run.get("starting_weights"),
        "loss": config.loss.name,
        "heads": heads.get("why") if isinstance(heads, dict) else None,
        "epochs": None if config.is_frozen else config.train.epochs,
        "size of pictures": " x ".join(map(str, predictor.model.data_config["input_size"][-2:])),
        "seed": config.train.seed,
        "commit": run.get("git_commit"),
        **(versions if isinstance(versions, dict) else {}),
    }
    rows = [
        [name, markdown_text(str(value))]
        for name, value in ((markdown_text(str(key)), value) for key, value in found.items())
        if value is not None
    ]
    return [table(["what", "value"], rows)]


def check_options(predictor: VisionPredictor, *, calibrated: bool) -> None:
    """Refuse an option that says nothing about this run.

    Raises:
        UserError: ``calibrated`` without a calibration.
    """
    if calibrated and not predictor.calibrated_on and not predictor.config.is_frozen:
        raise UserError(
            f"calibrated: {predictor.run.path} has no calibration, since it held nothing out; "
            "train with data.validation, or leave it out"
        )
