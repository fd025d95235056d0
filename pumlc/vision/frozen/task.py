"""A run with a frozen network: it computes features once, fits heads, and writes a run folder."""

import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from pumlc.engine.checkpoint import save_weights
from pumlc.engine.run import RunFolder
from pumlc.engine.task import Validation
from pumlc.errors import UserError, warn_user
from pumlc.estimators.kernel_heads import GaussianPart
from pumlc.labels import LabelMatrix, SparseLabels, dense
from pumlc.labels.known_cells import measured_cells, row_numbers
from pumlc.labels.sparse import label_rows
from pumlc.vision.config import OPEN_VOCABULARY, VisionConfig
from pumlc.vision.data.bad_pictures import BadPictures, read_bad_rows
from pumlc.vision.data.class_warnings import warn_of_classes, warn_of_similar_classes
from pumlc.vision.data.split import training_data
from pumlc.vision.frozen.fit import FittedHeads, choose_heads, fit_heads, left_out_together
from pumlc.vision.frozen.known_fit import choose_known_heads, fit_known_heads
from pumlc.vision.frozen.left_out import write_left_out
from pumlc.vision.frozen.open_vocabulary import OpenVocabulary
from pumlc.vision.frozen.scoring import frozen_features_of, head_logits, known_head_logits
from pumlc.vision.models.build import try_picture
from pumlc.vision.models.classifier import Classifier, create_classifier
from pumlc.vision.models.kernel_head import KernelHead
from pumlc.vision.models.run_weights import run_weights_file
from pumlc.vision.models.tower import save_tower
from pumlc.vision.models.weights import FOUND
from pumlc.vision.run_data import refuse_unfit_test
from pumlc.vision.run_record import (
    BadList,
    refuse_empty_training,
    refuse_unfit_validation,
    run_facts,
    write_run_record,
)
from pumlc.vision.scoring import as_listed, validate_logits

NAME = "last"
"""The name of the weights that a frozen run saves; there are no others."""


class FrozenTask:
    """Network, data and heads; satisfies `pumlc.engine.task.TrainsItself`.

    Args:
        config: the settings of the run, with ``heads``.
        folder: folder of a resumed run, which lists the pictures it has skipped; None: a new run.

    Raises:
        UserError: the pretrained weights of the network are missing (this is checked first); see
            also the readers.
    """

    def __init__(self, config: VisionConfig, folder: Path | None = None) -> None:
        self.config = config
        self.model = _frozen_classifier(config)
        listed = [] if folder is None else read_bad_rows(folder)
        self.data = training_data(config.data, seed=config.train.seed, skipped=listed)
        self.bad_list = BadList(self.data, config.data, listed)
        self.classes = self.data.train.classes
        refuse_empty_training(self.data.train, "heads on features")
        if self.data.validation is not None:
            refuse_unfit_validation(self.data.validation, config.data.name)
        if folder is None:
            refuse_unfit_test(config.data, self.classes)
        self.model.head = _linear(self.model.head, len(self.classes))
        self.vocabulary: OpenVocabulary | None = None
        if config.heads == OPEN_VOCABULARY:
            source, labels = str(config.model.label_vectors), self.data.train.matrix
            self.vocabulary = OpenVocabulary(source, self.classes, labels)
        warn_of_similar_classes(self.data.train.source, self.classes)
        warn_of_classes(self.data)

    def facts(self) -> dict[str, Any]:
        """The facts about data, network and heads in run.json, as plain JSON."""
        labels = self.data.train.matrix
        choose = choose_known_heads if isinstance(labels, SparseLabels) else choose_heads
        kind, reason = choose(self.config, labels)  # pyright: ignore[reportArgumentType]
        facts = {**run_facts(self.data, self.model), "heads": {"kind": kind, "why": reason}}
        if self.vocabulary is not None:
            facts["class_texts"] = self.vocabulary.facts()
        return facts

    def write_files(self, folder: Path) -> None:
        """Record in the run folder which labels were hidden and which pictures were seen."""
        self.bad_list.folder = folder
        write_run_record(folder, self.data, self.config.data.root)
        save_tower(self.model.backbone, folder)

    def create_trainer(self, run: RunFolder, accelerator: Accelerator) -> "FrozenTrainer":
        """Create the object that computes features, fits heads and fills the run folder."""
        return FrozenTrainer(self, run, accelerator)


class FrozenTrainer:
    """Computes features, fits and saves heads; satisfies `pumlc.engine.task.OwnTrainer`.

    Args:
        task: network and data.
        run: the run folder.
        accelerator: devices and processes.
    """

    def __init__(self, task: FrozenTask, run: RunFolder, accelerator: Accelerator) -> None:
        self.task, self.run, self.accelerator = task, run, accelerator

    def resume(self) -> None:
        """Read nothing: the features computed so far are in the cache."""
        self._print("starting again; features computed so far are in the cache")

    def train(self) -> None:
        """Compute the missing features, fit the heads, and save the network with its heads."""
        data, started = self.task.data, time.perf_counter()
        features, labels, rows = self._features("train")
        held_out = None if data.validation is None else self._features("validation")
        extracted = time.perf_counter()
        if not self.accelerator.is_main_process:
            return
        heads, left_out = self._fit(features, labels, rows)
        _set_head(self.task.model, heads)
        self._print(heads.facts["why"])
        row = {
            "epoch": 1,
            "seconds": round(time.perf_counter() - started, 1),
            "seconds_of_features": round(extracted - started, 1),
            f"{heads.facts['left_out']}/mAP": heads.mean_average_precision,
        }
        if held_out is not None:
            validation = self._validated(*held_out)
            row.update({f"validation/{name}": value for name, value in validation.metrics.items()})
        self._save(heads, left_out, row)
        self._print(", ".join(f"{name} {value:.4g}" for name, value in row.items()))

    def _fit(
        self, features: np.ndarray, labels: LabelMatrix, rows: np.ndarray
    ) -> tuple[FittedHeads, np.ndarray]:
        """The heads, and left-out logits of the whole training part for the run folder."""
        matrix, config = self.task.data.train.matrix, self.task.config
        groups = self.task.data.train.groups
        together = left_out_together(features, None if groups is None else groups[rows])
        if not isinstance(labels, SparseLabels) or not isinstance(matrix, SparseLabels):
            heads = fit_heads(features, dense(labels), config, groups=together)
            if self.task.vocabulary is not None:
                heads.facts["class_texts"] = self._fit_names(
                    features, dense(labels), heads, together
                )
            left_out = np.full(matrix.shape, np.nan, np.float32)
            left_out[rows] = heads.left_out_logits
            return heads, left_out
        cells = measured_cells(as_listed(matrix, config.data))
        heads = fit_known_heads(features, labels, cells.subset(rows), config, groups=together)
        left_out = np.full(cells.labels.nnz, np.nan, np.float32)
        left_out[np.isin(row_numbers(cells.labels), rows)] = heads.left_out_logits.data
        return heads, left_out

    def _fit_names(
        self, features: np.ndarray, labels: np.ndarray, heads: FittedHeads, groups: np.ndarray
    ) -> dict[str, Any]:
        """The map to class names, written into the run folder before the weights are there."""
        assert self.task.vocabulary is not None
        facts = self.task.vocabulary.fit(
            self.run.path,
            features,
            labels,
            heads.left_out_logits,
            groups=groups,
            seed=self.task.config.train.seed,
        )
        self._print(
            f"classes by name: mAP {facts['withheld_mAP']:.1f} over {facts['withheld_classes']} "
            f"classes, each withheld once (chance {facts['withheld_chance']:.1f})"
        )
        return facts

    def _validated(self, features: np.ndarray, labels: LabelMatrix, rows: np.ndarray) -> Validation:
        """The heads by the held-out part."""
        model, data = self.task.model, self.task.config.data
        if not isinstance(labels, SparseLabels):
            labels = as_listed(labels, data)
            return validate_logits(head_logits(model, features), labels)
        cells = measured_cells(as_listed(labels, data))
        known = known_head_logits(model, features, cells.labels)
        return validate_logits(known.logits, cells)

    def _features(
        self, part: Literal["train", "validation"]
    ) -> tuple[np.ndarray, LabelMatrix, np.ndarray]:
        """Features [n, D], labels [n, C] and rows [n] of the readable pictures of a part."""
        images = getattr(self.task.data, part)
        bad = BadPictures(images)
        try:
            features = frozen_features_of(
                self.task.model,
                images,
                self.task.config.features,
                self.accelerator,
                bad=bad,
                batch_size=self.task.config.train.batch_size,
                what=f"features of {part}",
                show=self._print,
            )
        finally:
            self.task.bad_list.note(part, bad)
        rows = bad.rest()
        return features[rows], label_rows(images.matrix, rows), rows

    def _save(self, heads: FittedHeads, left_out: np.ndarray, row: dict[str, Any]) -> None:
        """Save the results; weights with their entry are last: a run is complete or has none."""
        write_left_out(self.run.path, left_out)
        thresholds = {
            "global": heads.threshold,
            "per_class": heads.thresholds.tolist(),
            "global_in": heads.sharing,
            "fitted_on": heads.facts["left_out"],
        }
        extras: dict[str, Any] = {"thresholds": thresholds}
        if len(heads.curve.at):  # slope and bias are in the weights
            width = len(heads.thresholds)
            straight = {"slope": [1.0] * width, "bias": [0.0] * width}
            extras["calibration"] = {**straight, "curve": heads.curve.as_json()}
        entry = {
            "epoch": 1,
            "score": None,
            "chosen_by": heads.facts["left_out"],
            "heads": heads.facts,
            "extras": extras,
        }
        file = self.run.weights / f"{NAME}.safetensors"
        self.run.add_metrics(row)
        self.run.add_to_index(NAME, save_weights(file, self.task.model.state_dict(), entry))

    def _print(self, text: str) -> None:
        if self.accelerator.is_main_process:
            print(text, flush=True)


def _frozen_classifier(config: VisionConfig) -> Classifier:
    """The network with its pretrained weights, and a head of one class."""
    model = config.model
    weights = FOUND if model.weights == "auto" else model.weights
    if weights is None:
        warn_user(
            f"features of {model.backbone} with random weights (model.weights none) say little "
            "about the pictures; valid: 'auto', 'pip', 'pretrained' or a weights file"
        )
    if run_weights_file(weights) is not None:
        warn_user(
            f"features of the run {weights}: where it was trained on these pictures, its network "
            "knows their labels, and leave-one-out scores are too good"
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # random weights: the same in every run
        try:
            classifier = create_classifier(
                model.backbone,
                1,
                local_global=False,
                head="linear",
                weights=weights,
                image_size=config.data.input_size,
                batch_norm=model.batch_norm,
                pooling=model.pooling,
                mirror=model.mirror,
            )
        except UserError as error:
            if weights != FOUND:
                raise
            raise UserError(
                f"heads on frozen features need the weights of {model.backbone}: {error}"
            ) from error
    try_picture(classifier, model)
    for parameter in classifier.backbone.parameters():
        parameter.requires_grad = False
    return classifier.eval().to(memory_format=torch.channels_last)  # pyright: ignore


def _linear(head: nn.Module, num_classes: int) -> nn.Linear:
    assert isinstance(head, nn.Linear)
    new = nn.utils.skip_init(nn.Linear, head.in_features, num_classes)  # `_set_head` fills it
    assert isinstance(new, nn.Linear)
    return new


def _set_head(model: Classifier, heads: FittedHeads) -> None:
    assert isinstance(model.head, nn.Linear)
    model.head = model.head if heads.gaussian is None else _kernel_head(heads.gaussian)
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(heads.coefficients.T))
        model.head.bias.copy_(torch.from_numpy(heads.intercept))


def _kernel_head(part: GaussianPart) -> KernelHead:
    """A head with the Gaussian part; the linear one is still zero."""
    landmarks, num_classes = part.coefficients.shape
    head = KernelHead(part.landmarks.shape[1], num_classes, landmarks)
    with torch.no_grad():
        for own, value in (
            (head.mean, part.design.mean),
            (head.scale, 1 / part.design.spread),
            (head.landmarks, part.landmarks),
            (head.kernel_weight, part.coefficients.T),
            (head.kernel_bias, part.intercept),
        ):
            own.copy_(torch.from_numpy(value))
    return head
