"""Check the losses of a sweep before its first cell."""

from collections.abc import Sequence

from pumlc.vision.frozen.config import KNOWN, Method
from pumlc.vision.task import try_loss


def check_method(name: str, method: Method, *, epochs: Sequence[int]) -> None:
    """Refuse a loss that does not take its parameters.

    Args:
        name: the method's, for the message.
        method: its loss.
        epochs: numbers of epochs it is trained for.

    Raises:
        UserError: the loss does not take a parameter, or a value of it.
    """
    import torch

    # from the second epoch on parameters move in a straight line, so its ends stand for all
    for epoch in sorted({1, min(2, max(epochs)), max(epochs)}):
        parameters = {
            key: torch.full((3,), 0.5) if value == KNOWN else value
            for key, value in method.parameters(epoch).items()
        }
        try_loss(method.loss.name, parameters, 3, where=f"methods.{name}.loss.")
