"""A loss by name: one of the package, or of a module of the user's own."""

import sys

import pytest
import torch

from pumlc.errors import UserError
from pumlc.losses import LOSSES, find_loss

MODULE = """
import torch
from pumlc.losses import Loss

NUMBER = 3

def squares(logits, targets, *, weight):
    return weight * (logits - targets).square().sum(1).mean()

DECLARED = Loss(name="mine", function=squares, takes="targets", couples="nothing")
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """The name of a module in the current folder, which is on no path yet."""
    name = "own_losses_of_a_test"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield name
    for module in (name, "broken_module_of_a_test"):
        sys.modules.pop(module, None)


def test_names_of_the_package():
    assert all(find_loss(name) is loss for name, loss in LOSSES.items())
    assert find_loss("bce", imports=True) is LOSSES["bce"]


def test_a_function_of_ones_own(own_module):
    loss = find_loss(f"{own_module}:squares", imports=True)
    logits, targets = torch.randn(4, 3), torch.zeros(4, 3, dtype=torch.int8)
    expected = 2 * logits.square().sum(1).mean()
    torch.testing.assert_close(loss(logits, targets, weight=2.0), expected)
    assert (loss.name, loss.takes, loss.couples) == (f"{own_module}:squares", "targets", "rows")
    assert not loss.supports_excluded
    assert loss.uses_unknown({"weight": 2.0}) is None
    loss.check({"anything": object()})
    with pytest.raises(UserError, match="process_group is set by the run"):
        loss.check({"process_group": 1})


def test_declared_facts_are_kept(own_module):
    loss = find_loss(f"{own_module}:DECLARED", imports=True)
    assert (loss.name, loss.couples) == (f"{own_module}:DECLARED", "nothing")


def test_nothing_is_imported_unless_asked_for(own_module):
    with pytest.raises(UserError, match="only a training that is given this name imports"):
        find_loss(f"{own_module}:squares")
    assert own_module not in sys.modules


def test_the_current_folder_comes_last(own_module, tmp_path):
    find_loss(f"{own_module}:squares", imports=True)
    assert sys.path[-1] == str(tmp_path)
    (tmp_path / "json.py").write_text("raise RuntimeError('shadowed')")
    sys.modules.pop(own_module)
    find_loss(f"{own_module}:squares", imports=True)
    assert sys.path.count(str(tmp_path)) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("puu", "unknown loss 'puu'; did you mean 'pu'.*package.module:function"),
        ("my_module.my_loss", "unknown loss 'my_module.my_loss'; .*package.module:function"),
        ("no_module_of_this_name:loss", "no module 'no_module_of_this_name', neither installed"),
        ("own_losses_of_a_test.inner:loss", "no module 'own_losses_of_a_test.inner'"),
        ("own_losses_of_a_test:square", "has no 'square'; did you mean 'squares'"),
        ("own_losses_of_a_test:NUMBER", "is of type int, which cannot be called"),
        ("own_losses_of_a_test:", "names no function of a module"),
        (":loss", "names no function of a module"),
        ("../own:loss", "names no function of a module"),
        ("own_losses_of_a_test:squares:x", "names no function of a module"),
    ],
)
def test_names_that_are_no_loss(own_module, name, message):
    with pytest.raises(UserError, match=message) as caught:
        find_loss(name, imports=True)
    assert str(caught.value).startswith("loss.name: ")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("import no_module_of_this_name", ModuleNotFoundError),
        ("raise KeyError('inside')", KeyError),
        ("def loss(:", SyntaxError),
    ],
)
def test_a_fault_inside_the_module_keeps_its_type(own_module, tmp_path, content, kind):
    (tmp_path / "broken_module_of_a_test.py").write_text(content)
    with pytest.raises(kind):
        find_loss("broken_module_of_a_test:loss", imports=True)
