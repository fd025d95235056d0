"""Weights in the format of safetensors, written part by part."""

import json
import struct
from collections.abc import Iterator
from functools import cache
from typing import Any

import safetensors.torch
import torch
from torch import Tensor


def parts_of_file(
    state: dict[str, Tensor], metadata: dict[str, str]
) -> Iterator[bytes | memoryview]:
    """What `safetensors.torch.save` returns, without its two copies of all weights.

    The length of the header (8 bytes, the lowest first), the header (JSON: type, shape and place of
    each tensor), then the numbers, those of the widest types first.

    Args:
        state: contiguous tensors in main memory that share no storage.
        metadata: for the header.
    """
    ordered = sorted(state, key=lambda name: (-state[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name in ordered:
        value, start = state[name], end
        end += value.numel() * value.element_size()
        place = {"shape": list(value.shape), "data_offsets": [start, end]}
        header[name] = {"dtype": _type_name(value.dtype), **place}
    content = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    content += b" " * (-len(content) % 8)
    yield struct.pack("<Q", len(content)) + content
    for name in ordered:
        yield bytes_of(state[name])


def bytes_of(value: Tensor) -> memoryview:
    """The bytes of a contiguous tensor in main memory, not copied."""
    return value.reshape(-1).view(torch.uint8).numpy().data


@cache
def _type_name(dtype: torch.dtype) -> str:
    """What safetensors calls a type."""
    file = safetensors.torch.save({"x": torch.zeros(0, dtype=dtype)})
    (length,) = struct.unpack("<Q", file[:8])
    return json.loads(file[8 : 8 + length])["x"]["dtype"]
