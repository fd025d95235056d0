"""The loss core: pure functions of logits or scores and labels, for images and for texts.

Conventions::

    Labels      POSITIVE = 1, UNKNOWN = 0, NEGATIVE = -1, in a signed integer tensor ``targets``
                [B, C]. The contrastive losses take ``positives`` [B, L] instead: bool, 0/1 integers
                or torch sparse CSR.
    Names       ``logits`` are raw outputs per class, ``scores`` whatever is ranked,
                ``probabilities`` are in [0, 1]. A function takes what its parameter is called and
                never guesses.
    Reduction   Sum over labels, mean over rows, so that losses add up with plain weights. The PU
                losses are class-wise statistics of the batch, summed over classes, as published.
    Precision   Computed in float32 at least (float64 stays float64), whatever autocast says.
    Purity      A loss changes nothing of its caller: no tensor, no random state, no grad mode.
    Numbers     Keyword-only; none that a paper tunes per data set has a default.
    Excluded    ``excluded``: bool, True where a pair of row and label takes no part, as if the row
                did not have the label. Which losses take it: ``Loss.supports_excluded``.
    Errors      ``ValueError`` with what was got and what is valid. Label values are checked for
                tensors in main memory; on an accelerator the loader's check has to do, because a
                look at the values would make the host wait.
    Coupling    Each docstring says what a loss couples: nothing (rows and labels may be divided
                freely), the rows of the batch, or the labels of a row.
    Ranks       With ``process_group`` the value on every rank is that of the undivided computation
                and backward gives each rank its own slice of the undivided gradient. So gradients
                of shared parameters are to be SUMMED over ranks; where they are averaged (DDP),
                multiply the loss by the number of ranks. ``None``: no communication.
"""

from pumlc.losses.asymmetric import asymmetric_loss, partial_asymmetric_loss
from pumlc.losses.baselines import (
    binary_cross_entropy_loss,
    focal_loss,
    hill_loss,
    squared_loss,
)
from pumlc.losses.class_weights import weigh_classes
from pumlc.losses.correction import large_loss_entries, large_loss_loss, splc_loss
from pumlc.losses.find import find_loss
from pumlc.losses.generalized_robust import generalized_robust_loss
from pumlc.losses.nnpu import non_negative_pu_loss
from pumlc.losses.pnu import pnu_loss
from pumlc.losses.pu import pu_loss, pu_mixup_loss
from pumlc.losses.registry import LOSSES
from pumlc.losses.reweighted import reweighted_loss
from pumlc.losses.single_positive import (
    asymmetric_pseudo_labels,
    entropy_maximization_loss,
    role_loss,
)
from pumlc.losses.softmax import (
    chunked_decoupled_softmax_loss,
    decoupled_softmax_loss,
    softmax_loss,
)
from pumlc.losses.spec import REQUIRED, Loss, Parameter
from pumlc.losses.topk import soft_topk, soft_topk_loss

__all__ = [
    "LOSSES",
    "REQUIRED",
    "Loss",
    "Parameter",
    "asymmetric_loss",
    "asymmetric_pseudo_labels",
    "binary_cross_entropy_loss",
    "chunked_decoupled_softmax_loss",
    "decoupled_softmax_loss",
    "entropy_maximization_loss",
    "find_loss",
    "focal_loss",
    "generalized_robust_loss",
    "hill_loss",
    "large_loss_entries",
    "large_loss_loss",
    "non_negative_pu_loss",
    "partial_asymmetric_loss",
    "pnu_loss",
    "pu_loss",
    "pu_mixup_loss",
    "reweighted_loss",
    "role_loss",
    "soft_topk",
    "soft_topk_loss",
    "softmax_loss",
    "splc_loss",
    "squared_loss",
    "weigh_classes",
]
