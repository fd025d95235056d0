"""Weights written part by part are the file that safetensors would make at once."""

import pytest
import safetensors.torch
import torch

from pumlc.engine.weights_file import parts_of_file

USUAL = {
    "b": torch.randn(3, 2),
    "a.weight": torch.arange(5),
    "half": torch.randn(3).bfloat16(),
    'ü."x"': torch.ones(3, dtype=torch.bool),
    "count": torch.tensor(4),
    "none": torch.zeros(0, 3),
}
TYPES = [torch.float64, torch.float16, torch.int32, torch.int16, torch.uint8, torch.float8_e4m3fn]


@pytest.mark.parametrize("metadata", [{"format": "pt"}, {"entry": '{"text": "ä\\n/"}'}])
def test_it_is_the_file_of_safetensors(metadata):
    own = b"".join(parts_of_file(USUAL, metadata))
    assert own == safetensors.torch.save(USUAL, metadata)


def test_every_type_is_read_again():
    state = USUAL | {f"odd {dtype}": torch.arange(3).to(dtype) for dtype in TYPES}
    loaded = safetensors.torch.load(b"".join(parts_of_file(state, {})))
    assert loaded.keys() == state.keys()
    for name, value in state.items():
        assert loaded[name].dtype == value.dtype
        assert loaded[name].shape == value.shape
        assert torch.equal(loaded[name].double(), value.double())
