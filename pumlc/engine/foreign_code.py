"""Code of other packages that raises no common type: its errors become one line for a person."""

from collections.abc import Iterator
from contextlib import contextmanager

from pumlc.errors import UserError


@contextmanager
def as_user_error(problem: str) -> Iterator[None]:
    """Turn whatever the block raises into a `UserError` with the exception as its cause.

    The readers of torch, safetensors, transformers and tokenizers raise almost any type over a
    damaged file: a pickle of torch alone gives UnpicklingError, EOFError, KeyError, RuntimeError
    and what its opcodes run into. Keep the block small: a fault of our own code in it would be
    shown as one of the file.

    Args:
        problem: what cannot be done, with the file or folder; the message of the exception follows.

    Raises:
        UserError: ``problem``, then the message of the exception in one line.

    Example:
        >>> with as_user_error("model.bin holds no weights"):
        ...     raise EOFError("Ran out of input")
        Traceback (most recent call last):
        pumlc.errors.UserError: model.bin holds no weights: Ran out of input
    """
    try:
        yield
    except Exception as error:
        message = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{problem}: {message}") from error
