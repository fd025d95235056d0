"""Where a trained model runs."""

import torch

from pumlc.errors import UserError


def choose_device(name: str | None) -> torch.device:
    """The device of this name; by default a GPU if there is one, else the CPU.

    Raises:
        UserError: there is no such device.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # the latter from a PyTorch without CUDA
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"device {name!r} cannot be used: {reason}") from error
