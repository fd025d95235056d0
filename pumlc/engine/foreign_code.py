"""Code of other packages that raises no common type: its errors become one line for a person."""

import pickle  # for the type of an error alone
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pumlc.errors import UserError


@contextmanager
def as_user_error(problem: str) -> Iterator[None]:
    """Turn whatever the block raises into a `UserError` with the exception as its cause.

    The readers of torch, safetensors, transformers and tokenizers raise almost any type over a
    damaged file: a pickle of torch alone gives UnpicklingError, EOFError, KeyError, RuntimeError
    and what its opcodes run into. Keep the block small: a fault of our own code in it would be
    shown as one of the file.

    Args:
        problem: what cannot be done, with the file or folder; the reason follows.

    Raises:
        UserError: ``problem``, then the reason in one line (`why_unreadable`).

    Example:
        >>> with as_user_error("model.bin holds no weights"):
        ...     raise EOFError("Ran out of input")
        Traceback (most recent call last):
        pumlc.errors.UserError: model.bin holds no weights: Ran out of input
    """
    try:
        yield
    except Exception as error:
        raise UserError(f"{problem}: {why_unreadable(error)}") from error


def why_unreadable(error: Exception) -> str:
    """What went wrong when foreign code read a file, in one line.

    torch advises to load what it refuses together with the code in it, which is no advice for files
    of others.
    """
    if isinstance(error, pickle.UnpicklingError) and "weights_only" in str(error):
        return (
            "it holds Python objects beside tensors, which could run code and are not loaded; save "
            "the weights alone, best as .safetensors"
        )
    if isinstance(error, KeyError):  # of pickle: its message is the first byte, as a number
        return "it is damaged or of another kind"
    return " ".join(str(error).split()) or type(error).__name__


def without_kernels(config: Any) -> Any:
    """A configuration of transformers, with the attention that the model class has by itself.

    A ``config.json`` may name a kernel of the hub as its attention (``"owner/name"``). With the
    package kernels installed, transformers would download that code and run it, whatever
    ``trust_remote_code`` and ``local_files_only`` say.

    Args:
        config: changed in place, and its parts (``text_config`` and the like) with it.
    """
    config._attn_implementation = None
    return config
