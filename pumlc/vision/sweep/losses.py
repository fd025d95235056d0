"""Check the losses of a sweep before its first cell."""

from collections.abc import Sequence

from pumlc.errors import UserError
from pumlc.losses import find_loss
from pumlc.vision.config import KNOWN
from pumlc.vision.frozen.config import Method


def check_method(name: str, method: Method, *, epochs: Sequence[int], num_classes: int) -> None:
    """Refuse a loss that cannot be imported or does not take its parameters.

    Args:
        name: the name of the method, for messages.
        method: its loss.
        epochs: the numbers of epochs that it is trained for.
        num_classes: the number of classes of the data.

    Raises:
        UserError: there is no such loss, or it does not take a parameter or the value that this
            parameter has in some epoch.
    """
    try:
        loss = find_loss(method.loss.name, imports=True)
    except UserError as error:
        raise UserError(f"methods.{name}.{error}") from error
    # from the second epoch on parameters change linearly, so the first and last value suffice
    for epoch in sorted({1, min(2, max(epochs)), max(epochs)}):
        parameters = method.parameters(epoch)
        loss.check(
            parameters,
            where=f"methods.{name}.loss.parameters",
            tensors=[parameter for parameter, value in parameters.items() if value == KNOWN],
            num_classes=num_classes,
        )
