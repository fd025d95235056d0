"""The facts of each loss are what its function does; `Loss.check` says what is wrong."""

import inspect
import math
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch
from loss_cases import CASES, EXCLUDING, make_inputs
from torch import Tensor

from pumlc.errors import UserError
from pumlc.labels import POSITIVE, UNKNOWN
from pumlc.losses import LOSSES, REQUIRED, Loss, Parameter
from pumlc.losses.spec import RESERVED

every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))

# valid settings of every loss, several for those with choices
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "pu": [
        {"gamma": 0.5, "alpha": 1.0},
        {"gamma": 0.0, "alpha": 2.0, "absent": "skip"},
        {"gamma": 0.5, "alpha": 0.0, "temperature_floor": 0.2, "epsilon": 1e-6},
    ],
    "pnu": [{}, {"supervised": 0.0}, {"rejection": None}, {"margin": 1.0}],
    "nnpu": [
        {"prior": prior, "surrogate": surrogate, "unlabeled": unlabeled}
        for prior in (0.0, 0.4, 1.0)
        for surrogate in ("sigmoid", "logistic")
        for unlabeled in ("all", "rest")
    ],
    "squared": [{"unknown": unknown} for unknown in ("ignore", "negative")],
    "reweighted": [
        {"unknown": unknown, **rates}
        for unknown in ("ignore", "negative")
        for rates in ({}, {"missed": 0.5, "invented": 0.1})
    ],
    "bce": [
        {"unknown": unknown, "smoothing": smoothing}
        for unknown in ("ignore", "negative")
        for smoothing in (0.0, 0.1, 0.5)
    ],
    "focal": [
        {"gamma": gamma, "alpha": alpha, "unknown": unknown}
        for gamma in (0.0, 2.0)
        for alpha in (None, 0.0, 0.25, 1.0)
        for unknown in ("ignore", "negative")
    ],
    "asl": [
        {"gamma_positive": 0, "gamma_negative": 4, "margin": margin, "unknown": unknown}
        for margin in (0.0, 0.05, 1.0)
        for unknown in ("ignore", "negative")
    ],
    "partial_asl": [
        {
            "mode": mode,
            "gamma_positive": 0,
            "gamma_negative": 1,
            "gamma_unknown": 2,
            "margin": margin,
            "likelihood_top_k": 2 if mode == "selective" else 0,
        }
        for mode in ("ignore", "negative", "selective")
        for margin in (0.0, 0.05, 1.0)
    ],
    "generalized_robust": [
        {
            "slope": 2,
            "intercept": -2,
            "mean": 0.8,
            "deviation": 0.5,
            "q_positive": q,
            "q_negative": r,
        }
        for q, r in ((0.01, 1), (0, 0), (1, 0.5))
    ],
    "hill": [
        {"gamma": 2.0, "margin": 1.0, "turning": 1.5, "unknown": unknown}
        for unknown in ("ignore", "negative")
    ],
    "splc": [{"threshold": t, "gamma": 2.0, "margin": 1.0} for t in (0.0, 0.6, 1.0)],
    "large_loss": [
        {"rate": rate, "mode": mode} for rate in (0.0, 0.3, 0.9) for mode in ("reject", "correct")
    ],
    "em": [{"alpha": alpha, "beta": 0.02} for alpha in (0.0, 0.2)],
    "role": [{"expected_positives": 2.0}],
    "softmax": [{}],
    "decoupled_softmax": [{}],
    "soft_topk": [{"k": 2, "alpha": 1.0}],
}
EVERY_SETTING = [(name, settings) for name, found in SETTINGS.items() for settings in found]


def second_of(loss: Loss, targets: Tensor) -> Tensor:
    return targets if loss.takes == "targets" else targets == POSITIVE


def with_tensors(loss: Loss, settings: dict[str, Any], logits: Tensor) -> dict[str, Any]:
    """The settings with the tensors that a training loop of one's own gives."""
    given: dict[str, Any] = {"estimate_logits": torch.zeros_like(logits)}
    return {**settings, **{n: v for n, v in given.items() if n in (loss.parameters or {})}}


def test_no_loss_is_left_out():
    assert set(SETTINGS) == set(LOSSES)


@every_loss
def test_facts_are_those_of_the_signature(loss):
    first, second, *keywords = inspect.signature(loss.function).parameters.values()
    assert (first.name, second.name) == (
        ("logits", "targets") if loss.takes == "targets" else ("scores", "positives")
    )
    own = {k.name: k for k in keywords if k.name not in RESERVED}
    assert list(own) == list(loss.parameters)
    assert ("excluded" in [k.name for k in keywords]) == loss.supports_excluded
    types = get_type_hints(loss.function)
    for name, parameter in loss.parameters.items():
        default = own[name].default
        assert parameter.default == (REQUIRED if default is inspect.Parameter.empty else default)
        kinds = {"number": float, "integer": int, "flag": bool, "tensor": Tensor}
        members = get_args(types[name]) or (types[name],)
        if parameter.kind == "choice":
            assert get_origin(types[name]) is Literal
            assert parameter.choices == get_args(types[name])
        else:
            assert kinds[parameter.kind] in members, name
            assert parameter.takes_tensor == (Tensor in members), name
            assert parameter.none == (type(None) in members), name
        assert set(loss.ignores_unknown) <= set(own)


def values_at_the_bounds(parameter: Parameter, num_classes: int) -> list[Any]:
    """Valid values, the bounds and what lies just beside them, and values of another type."""
    if parameter.kind == "choice":
        return [*parameter.choices, "x"]
    bounds = [bound for bound in (parameter.low, parameter.high) if not math.isinf(bound)]
    bounds += [num_classes] if parameter.at_most_classes else []
    steps = (-1, 0, 1) if parameter.kind == "integer" else (-1, -0.01, 0, 0.01, 1)
    return [math.nan, "x", *(bound + step for bound in bounds for step in steps)]


def raises(*kinds: type[Exception], call: Any) -> bool:
    try:
        call()
    except kinds:
        return True
    return False


@pytest.mark.parametrize(("name", "settings"), EVERY_SETTING)
def test_ranges_are_those_of_the_function(name, settings):
    """At the bounds and just outside them the function and `check` agree."""
    loss, num_classes = LOSSES[name], 4
    logits = torch.linspace(-2, 2, 12).reshape(3, num_classes)
    targets = torch.tensor([[1, -1, 0, 1], [0, 1, -1, 0], [-1, 0, 1, 0]])
    for parameter_name, parameter in (loss.parameters or {}).items():
        if parameter.kind in ("tensor", "flag"):
            continue
        for value in values_at_the_bounds(parameter, num_classes):
            given = {**settings, parameter_name: value}
            tensors = with_tensors(loss, {}, logits)
            if parameter_name == "mode" and name == "partial_asl":
                given["likelihood_top_k"] = int(value == "selective")
            if parameter_name == "prior_threshold":
                given["mode"], tensors["prior"] = "selective", torch.zeros(num_classes)
            if parameter_name == "k" and value == num_classes:
                continue  # k is below the number of labels, which settings do not know
            refused = raises(
                UserError,
                call=lambda g=given, t=tensors: loss.check(
                    g, tensors=tuple(t), num_classes=num_classes
                ),
            )
            failed = raises(
                ValueError,
                TypeError,
                call=lambda g=given, t=tensors: loss.function(
                    logits, second_of(loss, targets), **g, **t
                ),
            )
            assert refused == failed, (parameter_name, value)


def found_by_a_backward_pass(loss: Loss, settings: dict[str, Any], num_classes=6) -> bool:
    """Whether an unknown label has a gradient, where one label of all is known."""
    logits = torch.linspace(-3, 3, 2 * num_classes).reshape(2, num_classes).requires_grad_()
    targets = torch.full((2, num_classes), UNKNOWN)
    targets[0, 0] = POSITIVE
    given = with_tensors(loss, settings, logits)
    loss(logits, second_of(loss, targets), **given).backward()
    assert logits.grad is not None
    return bool(logits.grad[targets == UNKNOWN].any())


@pytest.mark.parametrize(("name", "settings"), EVERY_SETTING)
def test_uses_unknown_is_what_a_backward_pass_finds(name, settings):
    loss = LOSSES[name]
    assert loss.uses_unknown(settings) is found_by_a_backward_pass(loss, settings)


def test_both_answers_of_uses_unknown_occur():
    answers = {(name, LOSSES[name].uses_unknown(settings)) for name, settings in EVERY_SETTING}
    for name, loss in LOSSES.items():
        assert (name, True) in answers
        assert ((name, False) in answers) == bool(loss.ignores_unknown)


def errors_of_parts(loss: Loss, settings: dict[str, Any]) -> tuple[float, float]:
    """By how much the mean over two parts of the rows, and the sum over two of the labels, fail."""
    logits, targets = make_inputs(next(c for c in CASES if c.takes == "labels"), 20, 12)
    second, everything, parts = second_of(loss, targets), slice(None), (slice(7), slice(7, None))

    def value(rows: slice, columns: slice) -> Tensor:
        given = with_tensors(loss, settings, logits[rows, columns])
        return loss(logits[rows, columns], second[rows, columns], **given)

    whole = value(everything, everything)
    by_rows = (7 * value(parts[0], everything) + 13 * value(parts[1], everything)) / 20
    by_labels = value(everything, parts[0]) + value(everything, parts[1])
    return (by_rows - whole).abs().item(), (by_labels - whole).abs().item()


@every_loss
def test_what_it_couples_shows_in_parts(loss):
    errors = [errors_of_parts(loss, settings) for settings in SETTINGS[loss.name]]
    rows, labels = (max(error) for error in zip(*errors, strict=True))
    assert (rows > 1e-4) == (loss.couples == "rows")
    if loss.couples != "rows":
        assert (labels > 1e-4) == (loss.couples == "labels")
    assert rows > 1e-4 or rows < 1e-9
    assert labels > 1e-4 or labels < 1e-9
    depends_on_labels_too = loss.name in ("pnu", "large_loss", "role")
    if loss.couples == "rows":
        assert (labels > 1e-4) == depends_on_labels_too


def test_losses_that_take_excluded_have_cases():
    names = {case.name.split("/")[0] for case in EXCLUDING}
    assert names == {name for name, loss in LOSSES.items() if loss.supports_excluded}


@every_loss
def test_is_called_as_its_function(loss):
    logits, targets = make_inputs(next(c for c in CASES if c.takes == "labels"), 7, 6)
    settings = with_tensors(loss, SETTINGS[loss.name][0], logits)
    second = second_of(loss, targets)
    expected = loss.function(logits, second, **settings)
    assert torch.equal(loss(logits, second, **settings), expected)
    names = list(inspect.signature(loss.function).parameters)[:2]
    by_name = dict(zip(names, (logits, second), strict=True))
    assert torch.equal(loss(**by_name, **settings), expected)
    assert loss.paper
    assert loss.when


def test_whole_numbers_may_be_floats():
    """A settings file that is read as numbers says 2.0 for 2."""
    logits, positives = torch.randn(3, 6), torch.ones(3, 6, dtype=torch.bool)
    loss = LOSSES["soft_topk"]
    loss.check({"k": 2.0, "alpha": 1})
    assert torch.equal(
        loss(logits, positives, k=2.0, alpha=1.0), loss(logits, positives, k=2, alpha=1.0)
    )


SELECTIVE = {"gamma_positive": 0, "gamma_negative": 1, "gamma_unknown": 2, "margin": 0.05}


@pytest.mark.parametrize(
    ("name", "settings", "options", "message"),
    [
        ("pu", {"gama": 1, "alpha": 1}, {}, "pu has no parameter 'gama'; did you mean 'gamma'"),
        ("pu", {"gamma": 1, "alpha": 1, "zz": 1}, {}, "valid: absent, alpha, epsilon"),
        ("softmax", {"gamma": 1}, {}, r"'gamma'; valid: none; .*set loss.parameters to \{\}"),
        ("soft_topk", {}, {}, "loss.parameters: soft_topk needs k, alpha$"),
        ("soft_topk", {"k": "abc", "alpha": 2}, {}, "k must be a whole number .*, got 'abc'"),
        ("soft_topk", {"k": 2.5, "alpha": 2}, {}, "k must be a whole number .*, got 2.5"),
        ("soft_topk", {"k": 0, "alpha": 2}, {}, "k must be a whole number of at least 1"),
        ("soft_topk", {"k": math.inf, "alpha": 2}, {}, "k must be a whole number"),
        ("soft_topk", {"k": 2, "alpha": 0}, {}, "alpha must be a number above 0 for soft_topk"),
        ("pu", {"gamma": True, "alpha": 1}, {}, "gamma must be a number .*, got True"),
        ("pu", {"gamma": None, "alpha": 1}, {}, "gamma must be a number .*, got None"),
        ("pu", {"gamma": -1, "alpha": 1}, {}, "loss.parameters.gamma must be .*at least 0"),
        ("bce", {"unknown": "ignor"}, {}, "unknown must be 'ignore' or 'negative' for bce"),
        ("bce", {"unknown": "ignore"}, {"where": "methods.b.loss.parameters"}, None),
        ("bce", {}, {"where": "methods.b.loss.parameters"}, "^methods.b.loss.parameters: bce need"),
        ("focal", {"gamma": 1, "alpha": 2, "unknown": "ignore"}, {}, r"in \[0, 1\] or null"),
        ("focal", {"gamma": 1, "alpha": None, "unknown": "ignore"}, {}, None),
        ("large_loss", {"rate": 1, "mode": "reject"}, {}, r"rate must be a number in \[0, 1\)"),
        ("asl", {**SELECTIVE, "detach_weight": 1}, {}, "no parameter 'gamma_unknown'"),
        ("role", {"expected_positives": 2}, {}, "role needs the tensor estimate_logits, which no"),
        ("role", {}, {"tensors": ("estimate_logits",)}, "role needs expected_positives$"),
        (
            "role",
            {"expected_positives": 5},
            {"tensors": ("estimate_logits",), "num_classes": 4},
            "from 0 to the number of classes, 4",
        ),
        ("em", {"alpha": 1, "beta": 1, "pseudo_probabilities": 0.5}, {}, "a tensor, which no conf"),
        ("em", {"alpha": 1, "beta": 1, "pseudo_probabilities": None}, {}, None),
        ("bce", {"unknown": "ignore", "process_group": 1}, {}, "process_group is set by the run"),
        ("bce", {"unknown": "ignore", "excluded": 1}, {}, "excluded comes from the data"),
        (
            "nnpu",
            {"prior": "known", "surrogate": "sigmoid", "unlabeled": "all"},
            {},
            r"prior must be a number in \[0, 1\] for nnpu, got 'known'",
        ),
        (
            "nnpu",
            {"prior": "known", "surrogate": "sigmoid", "unlabeled": "all"},
            {"tensors": ("prior",)},
            None,
        ),
        ("nnpu", {"surrogate": "sigmoid", "unlabeled": "all"}, {"tensors": ("prior",)}, None),
        ("pu", {"gamma": "known", "alpha": 1}, {"tensors": ("gamma",)}, "gamma must be a number"),
        ("partial_asl", {**SELECTIVE, "mode": "selective"}, {}, "must be given with mode 'select"),
        (
            "partial_asl",
            {**SELECTIVE, "mode": "ignore", "likelihood_top_k": 1},
            {},
            "with no other mode; got mode 'ignore', likelihood_top_k 1",
        ),
        (
            "partial_asl",
            {**SELECTIVE, "mode": "selective", "likelihood_top_k": 5},
            {"num_classes": 4},
            "likelihood_top_k must be a whole number from 0 to the number of classes, 4",
        ),
        ("partial_asl", {**SELECTIVE, "mode": "selective", "likelihood_top_k": 5}, {}, None),
        (
            "partial_asl",
            {**SELECTIVE, "mode": "selective", "prior_threshold": 0.5},
            {},
            "must be given together",
        ),
        (
            "partial_asl",
            {**SELECTIVE, "mode": "selective", "prior_threshold": 0.5},
            {"tensors": ("prior",)},
            None,
        ),
    ],
)
def test_check(name, settings, options, message):
    if message is None:
        LOSSES[name].check(settings, **options)
        return
    with pytest.raises(UserError, match=message):
        LOSSES[name].check(settings, **options)


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        (Parameter(kind="number"), "a number"),
        (Parameter(kind="number", low=0, high=1, open_low=True), "a number in (0, 1]"),
        (Parameter(kind="flag"), "true or false"),
        (Parameter(kind="tensor", none=True), "a tensor or null"),
    ],
)
def test_descriptions(parameter, text):
    assert parameter.describe() == text


def test_every_parameter_kind_is_used():
    kinds = {p.kind for loss in LOSSES.values() for p in (loss.parameters or {}).values()}
    assert kinds == {"number", "integer", "choice", "flag", "tensor"}
