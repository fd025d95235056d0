"""The losses by name, each with its facts. A new loss is a line here and a case of the tests."""

import math
from collections.abc import Mapping
from typing import Any

from pumlc.losses.asymmetric import asymmetric_loss, partial_asymmetric_loss
from pumlc.losses.baselines import (
    binary_cross_entropy_loss,
    focal_loss,
    hill_loss,
    squared_loss,
)
from pumlc.losses.correction import large_loss_loss, splc_loss
from pumlc.losses.generalized_robust import generalized_robust_loss
from pumlc.losses.nnpu import non_negative_pu_loss
from pumlc.losses.pnu import pnu_loss
from pumlc.losses.pu import pu_loss
from pumlc.losses.reweighted import reweighted_loss
from pumlc.losses.single_positive import entropy_maximization_loss, role_loss
from pumlc.losses.softmax import decoupled_softmax_loss, softmax_loss
from pumlc.losses.spec import REQUIRED, Loss, Parameter
from pumlc.losses.topk import soft_topk_loss


def _number(low: float = 0, high: float = math.inf, default: Any = REQUIRED, **facts: Any):
    return Parameter(kind="number", low=low, high=high, default=default, **facts)


def _choice(*choices: str, default: Any = REQUIRED) -> Parameter:
    return Parameter(kind="choice", choices=choices, default=default)


def _flag(default: bool) -> Parameter:
    return Parameter(kind="flag", default=default)


def _tensor(default: Any = REQUIRED) -> Parameter:
    return Parameter(kind="tensor", default=default, none=default is None)


UNKNOWN = _choice("ignore", "negative")
FINITE = _number(-math.inf, open_low=True, open_high=True)


def _wrong_selection(parameters: Mapping[str, Any]) -> str | None:
    """What is wrong with how ``partial_asl`` selects the unknown labels that it leaves out."""
    prior, threshold = parameters["prior"], parameters["prior_threshold"]
    if (prior is None) != (threshold is None):
        return "prior (a tensor) and prior_threshold must be given together; got one of them"
    mode, top_k = parameters["mode"], parameters["likelihood_top_k"]
    if (mode == "selective") != (top_k > 0 or prior is not None):
        return (
            "likelihood_top_k or prior must be given with mode 'selective' and with no other mode; "
            f"got mode {mode!r}, likelihood_top_k {top_k:g}"
        )
    return None


_ALL = (
    Loss(
        name="pu",
        function=pu_loss,
        takes="targets",
        couples="rows",
        parameters={
            "gamma": _number(),
            "alpha": _number(),
            "absent": _choice("keep", "skip", default="keep"),
            "temperature_floor": _number(0, 1, default=0.1),
            "epsilon": _number(0, 1, default=0.0),
        },
        supports_excluded=True,
        paper="PU-MLC (arXiv 2306.16016)",
        when="positives alone, priors unknown",
    ),
    Loss(
        name="pnu",
        function=pnu_loss,
        takes="targets",
        couples="rows",
        parameters={
            "supervised": _number(default=10.0),
            "gamma_negative": _number(default=4.0),
            "margin": _number(0, 1, default=0.05),
            "rejection": _number(1, default=2.0, none=True),
        },
        paper="this package, docs/partial_labels.md",
        when="some labels of both kinds, the rest missing at random",
    ),
    Loss(
        name="nnpu",
        function=non_negative_pu_loss,
        takes="targets",
        couples="rows",
        parameters={
            "prior": _number(0, 1, tensor=True),
            "surrogate": _choice("sigmoid", "logistic"),
            "unlabeled": _choice("all", "rest"),
            "beta": _number(default=0.0),
            "gamma": _number(0, 1, default=1.0),
        },
        paper="Kiryo et al. (NeurIPS 2017)",
        when="positives alone, priors known",
    ),
    Loss(
        name="bce",
        function=binary_cross_entropy_loss,
        takes="targets",
        couples="nothing",
        parameters={"unknown": UNKNOWN, "smoothing": _number(0, 0.5, default=0.0)},
        supports_excluded=True,
        ignores_unknown={"unknown": "ignore"},
        paper="Cole et al. (CVPR 2021)",
        when="all labels, or the baseline to beat",
    ),
    Loss(
        name="squared",
        function=squared_loss,
        takes="targets",
        couples="nothing",
        parameters={"unknown": UNKNOWN},
        ignores_unknown={"unknown": "ignore"},
        regression=True,
        paper="Manwani & Sastry (2013)",
        when="wrong labels, at rates nobody knows",
    ),
    Loss(
        name="reweighted",
        function=reweighted_loss,
        takes="targets",
        couples="nothing",
        parameters={
            "missed": _number(0, 1, open_high=True, tensor=True, default=0.0),
            "invented": _number(0, 1, open_high=True, tensor=True, default=0.0),
            "unknown": UNKNOWN,
        },
        ignores_unknown={"unknown": "ignore"},
        paper="Liu & Tao (TPAMI 2016)",
        when="wrong labels, at rates known per class",
    ),
    Loss(
        name="focal",
        function=focal_loss,
        takes="targets",
        couples="nothing",
        parameters={
            "gamma": _number(),
            "alpha": _number(0, 1, none=True),
            "unknown": UNKNOWN,
        },
        ignores_unknown={"unknown": "ignore", "alpha": 1},
        paper="Lin et al. (ICCV 2017)",
        when="many easy negatives",
    ),
    Loss(
        name="asl",
        function=asymmetric_loss,
        takes="targets",
        couples="nothing",
        parameters={
            "gamma_positive": _number(),
            "gamma_negative": _number(),
            "margin": _number(0, 1),
            "unknown": UNKNOWN,
            "detach_weight": _flag(default=False),
        },
        ignores_unknown={"unknown": "ignore", "margin": 1},
        paper="Ben-Baruch et al. (ICCV 2021)",
        when="all labels, positives rare, some negatives wrong",
    ),
    Loss(
        name="partial_asl",
        function=partial_asymmetric_loss,
        takes="targets",
        couples="labels",
        parameters={
            "mode": _choice("negative", "ignore", "selective"),
            "gamma_positive": _number(),
            "gamma_negative": _number(),
            "gamma_unknown": _number(),
            "margin": _number(0, 1),
            "likelihood_top_k": Parameter(kind="integer", low=0, at_most_classes=True, default=0),
            "prior": _tensor(default=None),
            "prior_threshold": _number(0, 1, default=None, none=True),
            "detach_weight": _flag(default=False),
        },
        ignores_unknown={"mode": "ignore", "margin": 1},
        relation=_wrong_selection,
        paper="Ben-Baruch et al. (CVPR 2022)",
        when="some labels of each kind, most unknown",
    ),
    Loss(
        name="hill",
        function=hill_loss,
        takes="targets",
        couples="nothing",
        parameters={
            "gamma": _number(),
            "margin": _number(),
            "turning": _number(1),
            "unknown": UNKNOWN,
        },
        ignores_unknown={"unknown": "ignore"},
        paper="Zhang et al. (arXiv 2112.07368)",
        when="unknown taken as negative, some wrongly",
    ),
    Loss(
        name="splc",
        function=splc_loss,
        takes="targets",
        couples="nothing",
        parameters={"threshold": _number(0, 1), "gamma": _number(), "margin": _number()},
        paper="Zhang et al. (arXiv 2112.07368)",
        when="positives alone, and a model that can recognise others",
    ),
    Loss(
        name="large_loss",
        function=large_loss_loss,
        takes="targets",
        couples="rows",
        parameters={
            "rate": _number(0, 1, open_high=True),
            "mode": _choice("reject", "correct"),
        },
        paper="Kim et al. (CVPR 2022)",
        when="as splc, with a share instead of a threshold",
    ),
    Loss(
        name="em",
        function=entropy_maximization_loss,
        takes="targets",
        couples="nothing",
        parameters={
            "alpha": _number(),
            "beta": _number(),
            "pseudo_probabilities": _tensor(default=None),
        },
        ignores_unknown={"alpha": 0},
        paper="Zhou et al. (ECCV 2022)",
        when="one or a few positives a row",
    ),
    Loss(
        name="role",
        function=role_loss,
        takes="targets",
        couples="rows",
        parameters={
            "estimate_logits": _tensor(),
            "expected_positives": _number(0, at_most_classes=True),
        },
        paper="Cole et al. (CVPR 2021)",
        when="one positive a row, the mean number known",
    ),
    Loss(
        name="generalized_robust",
        function=generalized_robust_loss,
        takes="targets",
        couples="nothing",
        parameters={
            "slope": FINITE,
            "intercept": FINITE,
            "mean": FINITE,
            "deviation": _number(open_low=True, open_high=True),
            "q_positive": _number(0, 1),
            "q_negative": _number(0, 1),
        },
        paper="Chen et al. (IJCAI 2024)",
        when="one positive a row, a model that can recognise others",
    ),
    Loss(
        name="softmax",
        function=softmax_loss,
        takes="positives",
        couples="labels",
        supports_excluded=True,
        paper="DEXML (arXiv 2310.10636)",
        when="thousands of labels, one positive a row",
    ),
    Loss(
        name="decoupled_softmax",
        function=decoupled_softmax_loss,
        takes="positives",
        couples="labels",
        supports_excluded=True,
        paper="DEXML (arXiv 2310.10636)",
        when="thousands of labels, several positives a row",
    ),
    Loss(
        name="soft_topk",
        function=soft_topk_loss,
        takes="positives",
        couples="labels",
        parameters={
            "k": Parameter(kind="integer", low=1, tensor=True),
            "alpha": _number(open_low=True, open_high=True),
        },
        supports_excluded=True,
        paper="DEXML (arXiv 2310.10636)",
        when="thousands of labels, who is in the first k",
    ),
)

LOSSES: dict[str, Loss] = {loss.name: loss for loss in _ALL}
"""The facts about every loss, by the name that settings have for it."""
