import pytest
import torch

from pumlc.engine.device import choose_device


def test_the_device_of_a_name():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device(None).type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", ""])
def test_no_such_device(name):
    with pytest.raises(ValueError, match=f"device '{name}' cannot be used: .+"):
        choose_device(name)
