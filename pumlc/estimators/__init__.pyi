from .classifier import PartialLabelClassifier as PartialLabelClassifier
from .least_squares import (
    PENALTIES as PENALTIES,
    LeastSquares as LeastSquares,
    fit_least_squares as fit_least_squares,
)
from .moved import fit_moved_positives as fit_moved_positives
from .noisy_labels import (
    NoisyLabelHeads as NoisyLabelHeads,
    fit_noisy_labels as fit_noisy_labels,
)
from .soft_positives import fit_soft_positives as fit_soft_positives
