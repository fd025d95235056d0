"""The model card of a text run: what it names, what it learned from, how well, and its limits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pumlc.engine.measured import measured_splits, number, numbers
from pumlc.errors import UserError
from pumlc.report import Section, markdown_text, model_card, result_entry
from pumlc.tables import table
from pumlc.text.export import export_sentence_transformers
from pumlc.text.predictor import TextPredictor

_SHOWN = 20
_KINDS = {
    "all": "all labels",
    "zero_shot": "labels unseen in training, ranked among all",
    "zero_shot_among_unseen": "labels unseen in training, ranked among these",
}
_SENTENCE_TRANSFORMERS = """\
```python
import json
import numpy as np
from sentence_transformers import SentenceTransformer

encoder = SentenceTransformer("FOLDER")  # or "USER/NAME"
labels = json.load(open("FOLDER/labels.json", encoding="utf-8"))
scores = np.load("FOLDER/label_embeddings.npy") @ encoder.encode("Import duties on bananas")
print([labels[place] for place in (-scores).argsort()[:10]])
```"""
_PUMLC = """\
```python
import pumlc

predictor = pumlc.load("RUN")
print(predictor.predict(["Import duties on bananas"], top=10))
```"""


def card_of(predictor: Any, *, folder: bool) -> str:
    """The card of a run.

    Args:
        predictor: of the run, with an encoder that was trained or not.
        folder: it goes into a folder of `write_folder`; otherwise it describes the run folder.

    Raises:
        UserError: files of the run folder are damaged.
    """
    run = predictor.run.read()
    measured = measured_splits(predictor.run, predictor.weights)
    name = predictor.run.path.absolute().name
    sections = [
        Section("What it does", _purpose(predictor)),
        Section("How to use it", [_SENTENCE_TRANSFORMERS if folder else _PUMLC]),
        Section("How well it does", _figures(measured)),
        Section("Labels and threshold", _labels(predictor)),
        Section("What it learned from", _data(predictor, run)),
        Section("Limits", _limits(run)),
        Section("How it was made", _making(predictor, run)),
    ]
    return model_card(_metadata(predictor, measured, name), name, sections)


def check_options(predictor: Any, *, calibrated: bool) -> None:
    """Refuse an option that says nothing about a text run.

    Raises:
        UserError: ``calibrated``.
    """
    if calibrated:
        raise UserError("calibrated: it is for image runs; scores of texts are inner products")


def write_folder(predictor: Any, folder: Path, *, calibrated: bool = False) -> str:
    """Write card, encoder and labels for sentence-transformers, and say what was written.

    Raises:
        UserError: the run has least squares on an encoder that was not trained, or the folder is
            there already.
    """
    if not isinstance(predictor, TextPredictor):
        raise UserError(
            f"{predictor.run.path} has least squares on an encoder that was not trained, which "
            "sentence-transformers cannot express; pumlc card without a folder writes its card, "
            "and pumlc predict has its scores"
        )
    card = card_of(predictor, folder=True)
    export_sentence_transformers(predictor, folder, side="documents", card=card)
    return (
        f"{folder}: encoder of documents, weights {predictor.weights}, for sentence-transformers; "
        f"label_embeddings.npy has {len(predictor.labels)} labels"
    )


def _metadata(predictor: Any, measured: Mapping[str, Any], name: str) -> dict[str, Any]:
    encoder = isinstance(predictor, TextPredictor)
    found: dict[str, Any] = {
        **({"library_name": "sentence-transformers"} if encoder else {}),
        "pipeline_tag": "sentence-similarity" if encoder else "text-classification",
        "tags": ["multi-label", "extreme-classification", "pumlc"],
    }
    results = []
    for split, content in measured.items():
        metrics = [
            (key.lower(), f"{key}, N = {content['N']}", value)
            for key, value in numbers(content["figures"].get("all")).items()
        ]
        if metrics:
            entry = result_entry(
                name, task="text-classification", data=_source(predictor), split=split,
                metrics=metrics,
            )  # fmt: skip
            results += entry["results"]
    return {**found, "model-index": [{"name": name, "results": results}]} if results else found


def _source(predictor: Any) -> str:
    return Path(predictor.config.data.source).name


def _purpose(predictor: Any) -> list[str]:
    trained = isinstance(predictor, TextPredictor)
    how = (
        "A dual encoder turns documents and labels into vectors; the score of a pair is their "
        "inner product."
        if trained
        else "Least squares on the features of an encoder that was not trained."
    )
    return [
        f"It ranks {len(predictor.labels)} labels for a document. {how}",
        "Intended use: documents like those that it learned from, to suggest labels that a person "
        "or a program accepts or not. Not intended: decisions about people.",
    ]


def _figures(measured: Mapping[str, Any]) -> list[str]:
    if not measured:
        return ["Not measured yet: `pumlc evaluate RUN` measures it on the split test."]
    parts = []
    for split, content in measured.items():
        figures = content["figures"]
        found = {name: values for name in _KINDS if (values := numbers(figures.get(name)))}
        if not found:
            continue
        columns = list(next(iter(found.values())))
        parts.append(
            f"Split {markdown_text(split)}, N = {content['N']} documents, in percent. A label that "
            "is not listed counts as wrong, whether or not it fits."
        )
        rows = [[_KINDS[k], *(values.get(c) for c in columns)] for k, values in found.items()]
        parts.append(table(["true labels", *columns], rows))
        if decided := numbers(figures.get("decisions")):
            parts.append(
                table(["labels that count as present", *decided], [["", *decided.values()]])
            )
    return parts


def _labels(predictor: Any) -> list[str]:
    shown = ", ".join(markdown_text(name) for name in predictor.labels[:_SHOWN])
    rest = len(predictor.labels) - _SHOWN
    parts = [f"{shown} and {rest} more, in labels.json." if rest > 0 else f"{shown}."]
    decisions = predictor.decisions
    if decisions is None:
        return [*parts, "No threshold was fitted, because nothing was held out."]
    return [
        *parts,
        f"The probability of a score is sigmoid({decisions.slope:.4g} * score "
        f"{decisions.bias:+.4g}). A label counts as present from probability "
        f"{decisions.threshold:.3f} on; all three numbers were fitted on "
        f"{markdown_text(decisions.fitted_on)}.",
    ]


def _data(predictor: Any, run: Mapping[str, Any]) -> list[str]:
    counts = {key: number(run.get(f"{key}_texts")) for key in ("train", "validation", "test")}
    named = [f"{int(count)} of {key}" for key, count in counts.items() if count is not None]
    seen, labels = (number(run.get(key)) for key in ("labels_seen_in_training", "labels"))
    parts = [f"{markdown_text(_source(predictor))}: documents: {', '.join(named)}."]
    if seen is not None and labels is not None:
        parts.append(f"{int(seen)} of {int(labels)} labels have a training document.")
    parts.append(
        "A label of a document is listed or not; one that is not listed may fit all the same."
    )
    return parts


def _limits(run: Mapping[str, Any]) -> list[str]:
    lines = [
        "It was not tested on documents from elsewhere. Differences between languages, or between "
        "groups of people that texts are about, were not measured.",
        "The run states no licence. Whoever publishes the folder adds `license:` to the head of "
        "this file; the encoder that it started from and the texts have licences of their own.",
    ]
    seen, labels = (number(run.get(key)) for key in ("labels_seen_in_training", "labels"))
    if seen is not None and labels is not None and seen < labels:
        lines.insert(
            1, f"{int(labels - seen)} labels were never seen in training: they are found by text."
        )
    return ["\n".join(f"- {line}" for line in lines)]


def _making(predictor: Any, run: Mapping[str, Any]) -> list[str]:
    config, versions = predictor.config, run.get("versions")
    trained = isinstance(predictor, TextPredictor)
    found = {
        "weights": predictor.weights,
        "encoder at the start": Path(str(config.encoder.model)).name,
        "loss": config.loss.name if trained else None,
        "epochs": config.train.epochs if trained else None,
        "seed": config.train.seed,
        "commit": run.get("git_commit"),
        **(versions if isinstance(versions, dict) else {}),
    }
    rows = [
        [markdown_text(str(name)), markdown_text(str(value))]
        for name, value in found.items()
        if value is not None
    ]
    return [table(["what", "value"], rows)]
