"""What a joint run saves beside least squares."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from pumlc.text.frozen.words import Words
from pumlc.text.joint.fit import JointFit
from pumlc.text.joint.fusion import FITTED_COLUMNS, TEXT_COLUMNS, Fusion, Logistic

PREFIX = "joint."
TERMS = "letters.json"
TYPES = {
    "map_coefficients": torch.float32,
    "label_embeddings": torch.float32,
    "letter_weights": torch.float32,
    "fitted_weights": torch.float64,
    "text_weights": torch.float64,
    "text_factor": torch.float64,
}


class JointHeads(nn.Module):
    """Buffers: the map [M, D], the L label texts as embeddings [L, D], weights of both regressions.

    The last entry of ``fitted_weights`` and of ``text_weights`` is the bias; ``text_factor`` [1]
    multiplies the probabilities of labels without a document.
    """

    map_coefficients: torch.Tensor
    label_embeddings: torch.Tensor
    letter_weights: torch.Tensor
    fitted_weights: torch.Tensor
    text_weights: torch.Tensor
    text_factor: torch.Tensor

    def __init__(self, buffers: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        for name, kind in TYPES.items():
            self.register_buffer(name, buffers[name].to(kind))

    @staticmethod
    def of(fit: JointFit, label_embeddings: np.ndarray, letters: Words) -> "JointHeads":
        """Those of a fit."""
        fusion = fit.fusion
        arrays = {
            "map_coefficients": fit.map_coefficients,
            "label_embeddings": label_embeddings,
            "letter_weights": letters.weights,
            "fitted_weights": np.append(fusion.fitted.weights, fusion.fitted.bias),
            "text_weights": np.append(fusion.text.weights, fusion.text.bias),
            "text_factor": np.array([fusion.weight]),
        }
        return JointHeads({name: torch.from_numpy(array) for name, array in arrays.items()})

    def fusion(self) -> Fusion:
        """From pairs to scores."""
        fitted, text = self.fitted_weights.numpy(), self.text_weights.numpy()
        return Fusion(
            Logistic(fitted[:-1], float(fitted[-1])),
            Logistic(text[:-1], float(text[-1])),
            float(self.text_factor[0]),
        )

    def check(self, *, anchors: int, labels: int, dimension: int) -> None:
        """Raise ValueError if the buffers, which may come from anyone, do not belong together.

        Args:
            anchors: of least squares.
            labels: of the run.
            dimension: of the embeddings.
        """
        shapes = {
            "map_coefficients": [anchors, dimension],
            "label_embeddings": [labels, dimension],
            "fitted_weights": [FITTED_COLUMNS + 1],
            "text_weights": [TEXT_COLUMNS + 1],
            "text_factor": [1],
        }
        for name, shape in shapes.items():
            tensor = getattr(self, name)
            if list(tensor.shape) != shape or not bool(tensor.isfinite().all()):
                raise ValueError(f"{PREFIX}{name} must be {shape} finite numbers")
