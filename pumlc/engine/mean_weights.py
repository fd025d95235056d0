"""The mean of two saved weights of a run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pumlc.engine.checkpoint import load_weights
from pumlc.engine.processes import share_weights


def mean_of_weights(first: dict[str, Tensor], second: dict[str, Tensor]) -> dict[str, Tensor]:
    r"""The mean :math:`(\theta_1 + \theta_2) / 2` of two states of a model, in place of the first.

    Integer buffers (``num_batches_tracked``) are those of the second.
    """
    for name, value in second.items():
        if value.is_floating_point():
            first[name].lerp_(value, 0.5)
        else:
            first[name] = value
    return first


@contextmanager
def holding_mean(
    model: nn.Module, files: Sequence[Path], accelerator: Accelerator
) -> Iterator[None]:
    """Inside the context ``model`` holds the mean on all processes; afterwards its own again.

    Args:
        model: the bare model.
        files: the two files, which the main process alone reads.
        accelerator: the processes.
    """
    own = {name: value.detach().clone() for name, value in model.state_dict().items()}
    if accelerator.is_main_process:
        with torch.no_grad():
            model.load_state_dict(mean_of_weights(*(load_weights(file) for file in files)))
    share_weights(model, accelerator)
    try:
        yield
    finally:
        model.load_state_dict(own)
