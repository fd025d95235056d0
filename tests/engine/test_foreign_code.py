"""Errors of readers that have no common type become one line, with the cause behind it."""

from contextlib import suppress

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pumlc.engine.foreign_code import as_user_error
from pumlc.errors import UserError


@pytest.mark.parametrize("error", [KeyError("key"), AttributeError("two\n lines"), EOFError()])
def test_any_error_becomes_one_line_with_its_cause(error):
    with pytest.raises(UserError) as caught, as_user_error("weights.pth"):
        raise error
    assert caught.value.__cause__ is error
    message = str(caught.value)
    assert message.startswith("weights.pth: ")
    assert message.removeprefix("weights.pth: ")
    assert "\n" not in message


def test_no_advice_to_run_the_code_in_a_file(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"net": torch.nn.Linear(1, 1)}, path)
    with pytest.raises(UserError, match="Python objects") as caught, as_user_error(str(path)):
        torch.load(path, weights_only=True)
    assert "weights_only" in str(caught.value.__cause__)
    assert "weights_only" not in str(caught.value)


def test_an_interrupt_stays_an_interrupt():
    with pytest.raises(KeyboardInterrupt), as_user_error("weights.pth"):
        raise KeyboardInterrupt


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@given(place=st.integers(0, 400), value=st.integers(0, 255))
def test_a_pickle_with_any_changed_byte_is_read_or_refused(tmp_path_factory, place, value):
    path = tmp_path_factory.mktemp("pickle") / "weights.pth"
    torch.save({"layer": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    content = bytearray(path.read_bytes())
    content[place % len(content)] = value
    path.write_bytes(content)
    with suppress(UserError), as_user_error(str(path)):
        torch.load(path, weights_only=True)
