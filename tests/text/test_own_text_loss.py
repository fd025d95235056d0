"""A loss of one's own: it trains and is recorded, and nothing but training ever imports it."""

import json
import sys

import pytest
import torch
from small_texts import fresh_accelerator, gradients, text_config, train

import pumlc
from pumlc.engine.config import from_plain, plain
from pumlc.errors import UserError
from pumlc.text.config import TextConfig
from pumlc.text.evaluation import evaluate_run
from pumlc.text.task import TextTask

CODE = """
import torch
from pumlc.losses import decoupled_softmax_loss
from pumlc.losses.spec import Loss

def scaled(scores, positives, *, factor):
    assert positives.dtype == torch.bool
    return factor * decoupled_softmax_loss(scores, positives)

def faulty(scores, positives):
    raise KeyError("oops")

declared = Loss(
    name="declared", function=decoupled_softmax_loss, takes="positives", couples="labels",
    supports_excluded=True,
)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The module in the current folder, and not imported yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_text_loss.py").write_text(CODE)
    yield "own_text_loss"
    sys.modules.pop("own_text_loss", None)


@pytest.fixture
def own(corpus_folder, steady_bert_folder, tmp_path, module):
    def build(function, **changes):
        torch.manual_seed(0)
        changes = {"loss__name": f"{module}:{function}", "train__epochs": "1"} | changes
        return text_config(corpus_folder, steady_bert_folder, tmp_path / "cache", **changes)

    return build


def test_the_step_is_that_of_the_function(own, make, steady_bert_folder, accelerator):
    batch = next(iter(make(steady_bert_folder).batches(0, accelerator)))
    expected = gradients(make(steady_bert_folder), accelerator, batch)
    task = TextTask(own("scaled", **{"loss.parameters": "{factor: 2}"}))
    found = gradients(task, accelerator, batch)
    assert found[0]["loss"] == pytest.approx(2 * expected[0]["loss"])
    for name, gradient in expected[1].items():
        torch.testing.assert_close(found[1][name], 2 * gradient, atol=1e-5, rtol=1e-3)


def test_only_training_imports_it(own, module, tmp_path):
    config = own("scaled", **{"loss.parameters": "{factor: 2}"})
    assert module not in sys.modules
    run = train(TextTask(config), tmp_path / "run", fresh_accelerator()).path
    assert (
        json.loads((run / "run.json").read_text())["config"]["loss"]["name"] == f"{module}:scaled"
    )
    sys.modules.pop(module)
    (tmp_path / f"{module}.py").write_text("raise SystemExit('it was imported')")
    assert from_plain(TextConfig, plain(config)) == config
    assert evaluate_run(run, fresh_accelerator())["N"] == 40
    assert pumlc.load(run).predict(["red car"], top=1).labels
    assert module not in sys.modules


def test_a_fault_inside_keeps_its_type(own, accelerator):
    task = TextTask(own("faulty"))
    with pytest.raises(KeyError, match="oops"):
        gradients(task, accelerator, next(iter(task.batches(0, accelerator))))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_text_loss:missing", "has no 'missing'"),
        ("no_such_module:loss", "no module 'no_such_module'"),
        ("own_text_loss:CODE.x", "names no function of a module"),
    ],
)
def test_a_loss_that_is_not_there(own, name, message):
    with pytest.raises(UserError, match=message):
        TextTask(own("", loss__name=name))


def test_several_processes_and_excluded_pairs_want_a_declaration(own):
    plain_function = TextTask(own("scaled", **{"loss.parameters": "{factor: 2}"}))
    declared = TextTask(own("declared"))
    assert plain_function.steps_per_epoch(1) == declared.steps_per_epoch(1) == 5
    assert declared.steps_per_epoch(2) == 2
    with pytest.raises(UserError, match="own_text_loss:scaled trains in one process, got 2"):
        plain_function.steps_per_epoch(2)
    with pytest.raises(UserError, match="takes no argument excluded"):
        plain_function.objective.check(excluded=True, world_size=1)
    declared.objective.check(excluded=True, world_size=2)


def test_settings_of_a_declared_loss_are_checked(own):
    with pytest.raises(UserError, match="has no parameter 'factor'"):
        TextTask(own("declared", **{"loss.parameters": "{factor: 2}"}))
