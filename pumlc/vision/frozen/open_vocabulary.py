"""Heads of a frozen run that also find classes by their names."""

from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from pumlc.errors import UserError
from pumlc.estimators.fitted_labels import fitted_labels
from pumlc.estimators.named_classes import FEWEST_CLASSES, fit_named_classes
from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN, LabelMatrix, SparseLabels
from pumlc.metrics import fit_thresholds
from pumlc.vision.class_texts import ClassTexts, write_class_texts
from pumlc.vision.models.class_vectors import text_vectors, vectors_checksum


class OpenVocabulary:
    """The vectors of a run's class names, from which its map is fitted.

    Args:
        source: ``model.label_vectors``: pip, a folder of a text encoder, a file of word vectors.
        classes: C names.
        labels: of the training part.

    Raises:
        UserError: the encoder cannot be read, or there is too little to learn from.
    """

    def __init__(self, source: str, classes: tuple[str, ...], labels: LabelMatrix) -> None:
        if isinstance(labels, SparseLabels):
            raise UserError(
                "heads open_vocabulary: these labels are too many for a matrix of pictures x "
                "classes (2^28), which the map to class names needs; valid: heads auto"
            )
        known = fitted_labels(labels)
        usable = int(((known == POSITIVE).any(0) & (known == NEGATIVE).any(0)).sum())
        if usable < FEWEST_CLASSES:
            raise UserError(
                f"heads open_vocabulary: {usable} classes have a present and an absent label in "
                f"the training part; a map to class names needs {FEWEST_CLASSES} or more"
            )
        self.source, self.checksum = source, vectors_checksum(source)
        self.vectors = text_vectors(source, classes)

    def facts(self) -> dict[str, Any]:
        """The entry of run.json."""
        width = self.vectors.shape[1]
        return {"source": self.source, "checksum": self.checksum, "dimension": width}

    def fit(
        self,
        run: Path,
        features: np.ndarray,
        labels: np.ndarray,
        left_out_logits: np.ndarray,
        *,
        groups: np.ndarray,
        seed: int,
    ) -> dict[str, Any]:
        """Fit the map and write it into the run folder.

        An unknown label counts with the probability that the class's own head gives it.

        Args:
            run: the run folder.
            features: [N, F].
            labels: [N, C] in {1, 0, -1}.
            left_out_logits: [N, C], calibrated, of heads that have not seen the row.
            groups: [N], equal for rows that are left out together.
            seed: of the run.

        Returns:
            what was chosen and how well withheld classes were found, as plain JSON.
        """
        known = fitted_labels(labels)
        present = np.where(known == UNKNOWN, expit(left_out_logits), known == POSITIVE)
        named, withheld = fit_named_classes(
            features, known, present, self.vectors, groups=groups, seed=seed
        )
        probabilities = expit(withheld.logits)
        one = fit_thresholds(probabilities, known[:, withheld.columns], per_class=False)
        threshold = float(np.ravel(one)[0])
        write_class_texts(run, ClassTexts(named, threshold, self.source, self.checksum))
        return {
            "penalty": withheld.penalty,
            "map_penalty": withheld.map_penalty,
            "power": withheld.power,
            "withheld_classes": len(withheld.columns),
            "withheld_mAP": withheld.mean_average_precision,
            "withheld_chance": withheld.chance,
            "threshold": threshold,
        }
