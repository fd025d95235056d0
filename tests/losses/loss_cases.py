"""Every loss with several parameter values, and data for them: what the contract tests run over."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch._dynamo
from torch import Tensor

from pumlc import losses
from pumlc.losses.numerics import at_least_float32


def traced_nonzero() -> Any:
    """A context in which torch.compile traces ``nonzero``; older versions do so if told to."""
    return torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True)


@dataclass(frozen=True)
class LossCase:
    """A loss with its parameters bound: ``loss(logits, targets, process_group=...)``."""

    name: str
    loss: Callable[..., Tensor]
    # "labels": the second argument is [B, C] in {1, 0, -1}; "positives": it is [B, L], bool
    takes: str
    # False where some part is a constant to the gradient by definition: autograd is then not the
    # derivative of the value
    true_gradient: bool = True
    # True where one row's loss depends on other rows (or, for "positives", on other labels)
    couples: bool = False

    def __str__(self) -> str:
        return self.name


def _role(logits: Tensor, targets: Tensor, **options) -> Tensor:
    estimates = 0.3 - 0.5 * at_least_float32(logits)
    return losses.role_loss(logits, targets, estimate_logits=estimates, **options)


def _em_with_pseudo_probabilities(logits: Tensor, targets: Tensor, **options) -> Tensor:
    pseudo = (0.2 * at_least_float32(logits.detach())).sigmoid()
    return losses.entropy_maximization_loss(
        logits, targets, pseudo_probabilities=pseudo, alpha=0.2, beta=0.4, **options
    )


def _selective_by_prior(logits: Tensor, targets: Tensor, **options) -> Tensor:
    prior = (targets == 1).float().mean(0)
    return losses.partial_asymmetric_loss(
        logits,
        targets,
        mode="selective",
        gamma_positive=0,
        gamma_negative=1,
        gamma_unknown=3,
        margin=0.1,
        prior=torch.zeros_like(prior),
        prior_threshold=0.5,
        **options,
    )


def _topk_of_each_row(scores: Tensor, positives: Tensor, **options) -> Tensor:
    k = torch.full((len(scores),), 3, dtype=torch.int32, device=scores.device)
    return losses.soft_topk_loss(scores, positives, k=k, alpha=0.7, **options)


def _chunked(scores: Tensor, positives: Tensor, **options) -> Tensor:
    """From embeddings: with the unit vectors as labels the queries are the scores."""
    labels = torch.eye(scores.shape[-1], dtype=scores.dtype)
    return losses.chunked_decoupled_softmax_loss(
        scores, labels, positives, temperature=1.0, chunk_size=4, **options
    )


PARTIAL = {"gamma_positive": 0.5, "gamma_negative": 1, "gamma_unknown": 2, "margin": 0.05}

CASES = [
    LossCase("pu/coco", partial(losses.pu_loss, gamma=0.55, alpha=1.0), "labels", False, True),
    LossCase("pu/voc", partial(losses.pu_loss, gamma=0.85, alpha=2.0), "labels", False, True),
    LossCase("pu/plain", partial(losses.pu_loss, gamma=0.0, alpha=1e9), "labels", True, True),
    LossCase(
        "pu/skip",
        partial(losses.pu_loss, gamma=0.0, alpha=1e9, absent="skip"),
        "labels",
        True,
        True,
    ),
    LossCase(
        "pu/epsilon",
        partial(losses.pu_loss, gamma=0.0, alpha=1e9, epsilon=1e-2),
        "labels",
        True,
        True,
    ),
    LossCase("pnu", losses.pnu_loss, "labels", couples=True),
    LossCase("pnu/known only", partial(losses.pnu_loss, rejection=None), "labels", couples=True),
    LossCase("pnu/two sides", partial(losses.pnu_loss, supervised=0.0), "labels", couples=True),
    LossCase("squared/ignore", partial(losses.squared_loss, unknown="ignore"), "labels"),
    LossCase("squared/negative", partial(losses.squared_loss, unknown="negative"), "labels"),
    LossCase(
        "reweighted/negative",
        partial(losses.reweighted_loss, missed=0.3, invented=0.05, unknown="negative"),
        "labels",
        False,
    ),
    LossCase("reweighted/no rates", partial(losses.reweighted_loss, unknown="ignore"), "labels"),
    LossCase("bce/ignore", partial(losses.binary_cross_entropy_loss, unknown="ignore"), "labels"),
    LossCase(
        "bce/negative", partial(losses.binary_cross_entropy_loss, unknown="negative"), "labels"
    ),
    LossCase(
        "bce/smoothed",
        partial(losses.binary_cross_entropy_loss, unknown="negative", smoothing=0.05),
        "labels",
    ),
    LossCase(
        "focal/published",
        partial(losses.focal_loss, gamma=2.0, alpha=0.25, unknown="negative"),
        "labels",
    ),
    LossCase(
        "focal/soft", partial(losses.focal_loss, gamma=0.5, alpha=None, unknown="ignore"), "labels"
    ),
    LossCase(
        "asl/published",
        partial(
            losses.asymmetric_loss,
            gamma_positive=0,
            gamma_negative=4,
            margin=0.05,
            unknown="negative",
        ),
        "labels",
    ),
    LossCase(
        "asl/no-margin",
        partial(
            losses.asymmetric_loss, gamma_positive=1, gamma_negative=0.5, margin=0, unknown="ignore"
        ),
        "labels",
    ),
    LossCase(
        "asl/detached",
        partial(
            losses.asymmetric_loss,
            gamma_positive=1,
            gamma_negative=4,
            margin=0.05,
            unknown="negative",
            detach_weight=True,
        ),
        "labels",
        False,
    ),
    LossCase(
        "partial_asl/negative",
        partial(losses.partial_asymmetric_loss, mode="negative", **PARTIAL),
        "labels",
    ),
    LossCase(
        "partial_asl/ignore",
        partial(losses.partial_asymmetric_loss, mode="ignore", **PARTIAL),
        "labels",
    ),
    LossCase(
        "partial_asl/selective",
        partial(losses.partial_asymmetric_loss, mode="selective", likelihood_top_k=2, **PARTIAL),
        "labels",
    ),
    LossCase("partial_asl/prior", _selective_by_prior, "labels"),
    LossCase(
        "hill/published",
        partial(losses.hill_loss, gamma=2.0, margin=1.0, turning=1.5, unknown="negative"),
        "labels",
    ),
    LossCase(
        "hill/known",
        partial(losses.hill_loss, gamma=0.0, margin=0.0, turning=2.0, unknown="ignore"),
        "labels",
    ),
    LossCase(
        "generalized_robust/begin",
        partial(
            losses.generalized_robust_loss,
            **{"slope": 0.0, "intercept": -2.0, "mean": 0.5, "deviation": 2.0},
            **{"q_positive": 0.01, "q_negative": 1.0},
        ),
        "labels",
        False,
    ),
    LossCase(
        "generalized_robust/cross entropy",
        partial(
            losses.generalized_robust_loss,
            **{"slope": 2.0, "intercept": -2.0, "mean": 0.8, "deviation": 0.5},
            **{"q_positive": 0.0, "q_negative": 0.0},
        ),
        "labels",
        False,
    ),
    LossCase(
        "splc/published",
        partial(losses.splc_loss, threshold=0.6, gamma=2.0, margin=1.0),
        "labels",
    ),
    LossCase(
        "splc/first-epoch",
        partial(losses.splc_loss, threshold=1.0, gamma=1.5, margin=0.5),
        "labels",
    ),
    LossCase(
        "large_loss/reject",
        partial(losses.large_loss_loss, rate=0.3, mode="reject"),
        "labels",
        couples=True,
    ),
    LossCase(
        "large_loss/correct",
        partial(losses.large_loss_loss, rate=0.3, mode="correct"),
        "labels",
        couples=True,
    ),
    LossCase("em", partial(losses.entropy_maximization_loss, alpha=0.2, beta=0.4), "labels"),
    LossCase("em/soft", _em_with_pseudo_probabilities, "labels", False),
    LossCase("role", partial(_role, expected_positives=2.0), "labels", False, True),
    LossCase(
        "nnpu/sigmoid",
        partial(
            losses.non_negative_pu_loss, prior=0.3, surrogate="sigmoid", unlabeled="all", beta=9.0
        ),
        "labels",
        couples=True,
    ),
    LossCase(
        "nnpu/step-back",
        partial(
            losses.non_negative_pu_loss,
            prior=0.9,
            surrogate="logistic",
            unlabeled="rest",
            gamma=0.5,
        ),
        "labels",
        False,
        True,
    ),
    LossCase("softmax", losses.softmax_loss, "positives", couples=True),
    LossCase("decoupled_softmax", losses.decoupled_softmax_loss, "positives", couples=True),
    LossCase(
        "soft_topk/sharp",
        partial(losses.soft_topk_loss, k=2, alpha=2.0),
        "positives",
        couples=True,
    ),
    LossCase("soft_topk/rows", _topk_of_each_row, "positives", couples=True),
]

# No name of LOSSES, and ranks share its labels in another way: for the contract alone.
CHUNKED = LossCase("chunked", _chunked, "positives", couples=True)


def make_inputs(
    case: LossCase, rows: int = 7, columns: int = 6, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Logits with spread and labels of every kind; one column and one row without a positive."""
    generator = torch.Generator().manual_seed(rows * 1000 + columns)
    logits = 2.0 * torch.randn(rows, columns, generator=generator, dtype=torch.float64) - 0.5
    targets = torch.randint(-1, 2, (rows, columns), generator=generator, dtype=torch.int8)
    targets[targets[:, 0] == 1, 0] = 0
    targets[1 % rows][targets[1 % rows] == 1] = -1
    assert rows == 1 or logits.std() > 1
    if rows * columns > 20:
        assert set(targets.unique().tolist()) == {-1, 0, 1}
    logits = logits.to(dtype)
    return logits, targets if case.takes == "labels" else targets == 1


@dataclass(frozen=True)
class ExcludingCase:
    """A loss that takes ``excluded``, called as ``case.loss(logits, second, excluded=...)``."""

    name: str
    parameters: dict[str, Any]

    def __str__(self) -> str:
        return self.name

    @property
    def takes(self) -> str:
        return "labels" if self.name.split("/")[0] in ("pu", "bce") else "positives"

    def loss(self, logits: Tensor, second: Tensor, **options) -> Tensor:
        return losses.LOSSES[self.name.split("/")[0]](logits, second, **self.parameters, **options)


EXCLUDING = [
    ExcludingCase("pu/coco", {"gamma": 0.55, "alpha": 1.0}),
    ExcludingCase("pu/skip", {"gamma": 0.5, "alpha": 2.0, "absent": "skip"}),
    ExcludingCase("pu/epsilon", {"gamma": 0.5, "alpha": 0.2, "epsilon": 1e-2}),
    ExcludingCase("pu/no floor", {"gamma": 0.85, "alpha": 0.3, "temperature_floor": 0.0}),
    ExcludingCase("bce/negative", {"unknown": "negative"}),
    ExcludingCase("bce/ignore", {"unknown": "ignore"}),
    ExcludingCase("bce/smoothed", {"unknown": "negative", "smoothing": 0.2}),
    ExcludingCase("softmax", {}),
    ExcludingCase("decoupled_softmax", {}),
    ExcludingCase("soft_topk/plain", {"k": 3, "alpha": 2.0}),
    ExcludingCase("soft_topk/sharp", {"k": 5, "alpha": 50.0}),
    ExcludingCase("soft_topk/flat", {"k": 1, "alpha": 0.01}),
]


def make_excluded_inputs(case: ExcludingCase) -> tuple[Tensor, Tensor, Tensor]:
    """Logits [8, 13] with spread, labels of every kind and a mask; some are excluded positives.

    Row 2 and column 5 keep nothing, column 4 one row, row 3 two labels, row 4 and column 6
    (almost) everything; row 6 keeps positives alone and row 7 has none.
    """
    generator = torch.Generator().manual_seed(3)
    logits = 2.0 * torch.randn(8, 13, generator=generator, dtype=torch.float64) - 0.5
    targets = torch.randint(-1, 2, (8, 13), generator=generator, dtype=torch.int8)
    excluded = torch.rand(8, 13, generator=generator) < 0.2
    excluded[:7, 4] = excluded[2] = excluded[:, 5] = excluded[3, 2:] = True
    excluded[4, :4] = excluded[:2, 6] = excluded[4:, 6] = False
    targets[6], targets[7] = 1, targets[7].clamp(max=0)
    assert (targets[excluded] == 1).sum() > 3
    return logits, targets if case.takes == "labels" else targets == 1, excluded
