"""Rank the labels of a run's data that are probably wrong or missing, and write them as CSV.

python tools/audit.py runs/x
python tools/audit.py runs/x --split test --top 500 --out audit.csv
python tools/audit.py runs/x --data.root ELSEWHERE --data.csv ELSEWHERE/labels.csv
python tools/audit.py runs/x --folds 5

Labels that are unknown or negative with a high probability, positive ones with a low probability:
docs/audit.md. Pictures held out for validation are ranked apart from those trained on. With --folds
neither the run's network nor any other that saw a picture's labels scores it: linear heads do, on
features of the network that the run started from, trained without the picture's fold. Where the
run hid or flipped labels on purpose (label_manifest.npz), the table says how well that was found.
The last line is one JSON object.
"""

import argparse
import csv
import json
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from accelerate import Accelerator

import pumlc
from pumlc import tables
from pumlc.audit import GIVEN, rank_suspects, score_finding
from pumlc.cli import console
from pumlc.engine.config import require
from pumlc.engine.loop import create_accelerator, end_processes
from pumlc.engine.run import RunFolder
from pumlc.errors import UserError
from pumlc.labels import UNKNOWN, LabelManifest, read_manifest
from pumlc.vision.audit.out_of_fold import out_of_fold_scores
from pumlc.vision.config import DataConfig, VisionConfig
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.seen import fingerprints
from pumlc.vision.data.training_data import TrainingData, read_split, training_data
from pumlc.vision.evaluation import other_place
from pumlc.vision.frozen.features import frozen_network, pooled_features
from pumlc.vision.predictor import VisionPredictor
from pumlc.vision.scoring import probabilities_of, score_images

SHOWN = 3  # of each list, on the screen
COLUMNS = ["part", "given", "rank", "rank_in_class", "image", "class", "probability"]
NOTES = {
    "validation": "validation: not trained on, but the weights may have been chosen by it",
    "train": "train: the network was trained on these very labels and may repeat their errors",
}


class Part(NamedTuple):
    """Pictures that are ranked together; ``true_labels`` where some were changed on purpose."""

    name: str
    images: LabelledImages
    true_labels: np.ndarray | None


def training_parts(run: Path, config: DataConfig, seed: int) -> list[Part]:
    """Validation part and training part of a run, with the labels that training saw.

    Args:
        run: the run folder.
        config: the data of the run, where they are now.
        seed: that of the run, which decided what was held out.

    Raises:
        UserError: the labels are not those of the run any more.
    """
    data = training_data(config, seed=seed)
    manifest = read_manifest(run / "label_manifest.npz")
    if (data.manifest.shape, data.manifest.mask_hash) != (manifest.shape, manifest.mask_hash):
        raise UserError(
            f"{data.train.source}: {data.manifest.shape} labels with mask "
            f"{data.manifest.mask_hash}; the run was trained on {manifest.shape} with mask "
            f"{manifest.mask_hash}: the files have changed since"
        )
    if RunFolder(run).read().get("data", fingerprints(data)) != fingerprints(data):
        raise UserError(
            f"{data.train.source}: pictures or labels are not those that {run} was trained on"
        )
    truth = _true_labels(manifest, data) if manifest.changed().any() else None
    parts = [Part("train", data.train, None if truth is None else truth[data.rows])]
    if data.validation is not None:
        held = None if truth is None else _true_validation(truth, data)
        parts.insert(0, Part("validation", data.validation, held))
    return parts


def _true_validation(truth: np.ndarray, data: TrainingData) -> np.ndarray:
    if data.validation_manifest is None:
        assert data.validation_rows is not None
        return truth[data.validation_rows]
    assert data.validation is not None
    return data.validation_manifest.restore(data.validation.labels)


def _true_labels(manifest: LabelManifest, data: TrainingData) -> np.ndarray:
    observed = np.full(manifest.shape, UNKNOWN, np.int8)  # as in rows that are in neither part
    observed[data.rows] = data.train.labels
    if data.validation is not None and data.validation_rows is not None:
        observed[data.validation_rows] = data.validation.labels
    return manifest.restore(observed)


def scored_by_network(
    parts: Sequence[Part], predictor: VisionPredictor, accelerator: Accelerator, options: Namespace
) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Logits of each part by the run's network, and what the result says of them."""
    logits = [
        score_images(
            predictor.model,
            part.images,
            accelerator,
            batch_size=options.batch_size,
            workers=options.workers,
        )
        for part in parts
    ]
    return logits, {"weights": predictor.weights}


def scored_out_of_fold(
    parts: Sequence[Part], config: VisionConfig, options: Namespace
) -> tuple[list[np.ndarray], dict[str, Any]]:
    """The same by heads on frozen features, cross-fitted over the pictures of all parts."""
    network = frozen_network(config.data, config.model)
    features = [
        pooled_features(
            network,
            part.images,
            batch_size=options.batch_size,
            workers=options.workers,
            progress=partial(_progress, part.name),
        )
        for part in parts
    ]
    found = out_of_fold_scores(
        np.concatenate(features),
        np.concatenate([part.images.labels for part in parts]),
        config.loss,
        folds=options.folds,
        seed=config.train.seed,
    )
    chosen = {name: getattr(found, name) for name in ("learning_rate", "epochs", "agreement")}
    ends = np.cumsum([len(part.images) for part in parts])[:-1]
    return np.split(found.scores, ends), {"folds": options.folds, **chosen}


def _progress(part: str, done: int, total: int) -> None:
    print(f"features of {part}: {done}/{total}", flush=True)


def suspects_of(part: Part, probabilities: np.ndarray, top: int | None) -> list[list[Any]]:
    """Rows of the CSV file, kind by kind, the most suspicious first."""
    images, rows = part.images, []
    for given in GIVEN:
        found = rank_suspects(probabilities, images.labels, given=given, top=top)
        for rank, (row, column, probability, in_class) in enumerate(
            zip(*found, strict=True), start=1
        ):
            place = [rank, in_class, images.path(row), images.classes[column]]
            rows.append([part.name, given, *place, f"{probability:.6f}"])
    return rows


def write_csv(path: Path, rows: list[list[Any]]) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    temporary.replace(path)


def figures_of(part: Part, probabilities: np.ndarray) -> dict[str, dict[str, float | None]]:
    """Per given label: how many there are and, where the truth is known, how well it is found."""
    counts = part.images.counts()
    if part.true_labels is None:
        return {given: {"labels": counts[given]} for given in GIVEN}
    found: dict[str, dict[str, float | None]] = {}
    for given in GIVEN:
        score = score_finding(probabilities, part.images.labels, part.true_labels, given=given)
        plain = {name: None if np.isnan(value) else value for name, value in score.items()}
        found[given] = {"labels": counts[given], **plain}
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path, help="run folder written by tools/train.py")
    parser.add_argument("--split", default="train", help="default: train and its validation part")
    parser.add_argument("--data.root", dest="root", help="another place of the data")
    parser.add_argument("--data.csv", dest="csv", help="another place of the CSV file")
    parser.add_argument(
        "--data.positive_list",
        dest="positive_list",
        help="another place of the run's list, for --split train",
    )
    parser.add_argument(
        "--out", type=Path, help="CSV file to write; default: RUN/audit[-SPLIT].csv"
    )
    parser.add_argument("--top", type=int, default=100, help="so many labels of each kind and part")
    parser.add_argument("--weights", help="saved weights; default: best on validation, else last")
    parser.add_argument(
        "--folds", type=int, help="score by heads that never saw a picture's labels; for example 5"
    )
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args(arguments)
    if RunFolder(options.run).read()["config"]["task"] != "vision":
        raise UserError(f"{options.run} is a text run; an audit is of the labels of pictures")
    for name in ("top", "batch_size"):
        if getattr(options, name) < 1:
            flag = "--" + name.replace("_", "-")
            raise UserError(f"{flag} must be at least 1, got {getattr(options, name)}")
    require(
        options.positive_list is None or options.split == "train",
        "--data.positive_list",
        options.positive_list,
        f"left out with --split {options.split}, whose labels are those of the data set",
    )
    apart = options.split == "train" and options.weights is None
    require(
        options.folds is None or (options.folds >= 2 and apart),
        "--folds",
        options.folds,
        "at least 2, with --split train and without --weights",
    )
    name = "audit.csv" if options.split == "train" else f"audit-{options.split}.csv"
    out = options.out or options.run / name
    console.check_out(out)
    accelerator = create_accelerator()
    if options.folds is not None and accelerator.num_processes > 1:
        raise UserError(f"--folds runs in one process, not in {accelerator.num_processes}")
    predictor = pumlc.load(options.run, options.weights, str(accelerator.device))
    config = predictor.config
    data = other_place(
        config.data,
        options.root,
        options.csv,
        positive_list=options.positive_list,
    )
    if options.folds is not None and config.model.weights is None:
        raise UserError(
            f"--folds: {options.run} started from random weights, which have no features"
        )
    if options.split == "train":
        parts = training_parts(options.run, data, config.train.seed)
    else:
        images = read_split(data, options.split, classes=predictor.labels)
        parts = [Part(options.split, images, None)]
    if options.folds is None:
        logits, origin = scored_by_network(parts, predictor, accelerator, options)
    else:
        logits, origin = scored_out_of_fold(parts, replace(config, data=data), options)
    rows: list[list[Any]] = []
    result: dict[str, Any] = {"run": str(options.run), **origin, "parts": {}}
    for part, scores in zip(parts, logits, strict=True):
        probabilities = probabilities_of(scores)
        rows += suspects_of(part, probabilities, options.top)
        result["parts"][part.name] = figures_of(part, probabilities)
    if accelerator.is_main_process:
        write_csv(out, rows)
        report(result, out, rows)
    end_processes(accelerator)


def report(result: dict[str, Any], out: Path, rows: list[list[Any]]) -> None:
    """Print the figures, the first of each list, what they rest on, and the JSON line."""
    table = [[part, g, *f.values()] for part, k in result["parts"].items() for g, f in k.items()]
    names = max((list(f) for k in result["parts"].values() for f in k.values()), key=len)
    filled = [row + [None] * (2 + len(names) - len(row)) for row in table]
    print(tables.table(["part", "given", *names], filled))
    first = [row for row in rows if row[COLUMNS.index("rank")] <= SHOWN]
    print(tables.table(COLUMNS, first))
    if "folds" in result:
        print(
            f"scored by linear heads that never saw a picture's labels: {result['folds']} folds, "
            f"learning rate {result['learning_rate']:g}, {result['epochs']} epochs"
        )
    else:
        for part in result["parts"]:
            if part in NOTES:
                print(NOTES[part])
        print(f"weights: {result['weights']}")
    print(f"{len(rows)} labels, the most suspicious of each list first -> {out}")
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    console.run(main)
