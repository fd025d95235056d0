from .classifier import PartialLabelClassifier as PartialLabelClassifier
from .cross_validation import cross_val_predict as cross_val_predict
from .confident_learning import confident_errors as confident_errors
from .kernel_heads import KernelHeads as KernelHeads, fit_kernel_heads as fit_kernel_heads
from .least_squares import (
    PENALTIES as PENALTIES,
    LeastSquares as LeastSquares,
    fit_least_squares as fit_least_squares,
)
from .loss_mixtures import clean_probabilities as clean_probabilities
from .moved import fit_moved_positives as fit_moved_positives
from .noisy_labels import (
    NoisyLabelHeads as NoisyLabelHeads,
    fit_noisy_labels as fit_noisy_labels,
)
from .soft_positives import fit_soft_positives as fit_soft_positives
from .transitions import Transitions as Transitions, class_transitions as class_transitions
