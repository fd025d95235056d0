"""A function call in a process of its own."""

import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from pumlc.errors import UserError


def in_a_process(function: Callable[..., Any], *arguments: Any, preload: str) -> Any:
    """The result of a function of a module, called in a process that starts and ends with it.

    Args:
        function: what is called.
        arguments: what it is given; they are pickled, as is the result.
        preload: name of the module whose imports every such process is to start with; that of the
            first call counts.

    Raises:
        UserError: the process was killed; and whatever the function raises.
    """
    # forked from a server that has imported ``preload`` and done nothing else: a new
    # process takes seconds to import torch, one forked from here would inherit its threads
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    context.set_forkserver_preload([preload])
    receiver, sender = context.Pipe(duplex=False)
    # no pool: its workers wait for ever for a next task if this one is killed
    process = context.Process(  # pyright: ignore[reportAttributeAccessIssue]
        target=_send_result, args=(sender, function, arguments), daemon=True
    )
    process.start()
    sender.close()
    try:
        result, error = receiver.recv()
    except EOFError:
        process.join()
        raise UserError(
            f"its process ended with exit code {process.exitcode} (killed, out of memory?)"
        ) from None
    process.join()
    if error is not None:
        raise error
    return result


def _send_result(
    sender: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    try:
        outcome = (function(*arguments), None)
    except KeyboardInterrupt:  # the caller has it too, and says so
        return
    except (ValueError, OSError) as error:
        outcome = (None, error)
    except Exception as error:
        traceback.print_exc()  # which the sending loses
        outcome = (None, error)
    sender.send(outcome)
