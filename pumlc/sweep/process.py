"""A function call in a process of its own."""

import multiprocessing
import os
import sys
import threading
import traceback
from collections.abc import Callable
from io import TextIOWrapper
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pumlc.errors import UserError


class RemoteError(RuntimeError):
    """A fault in another process: type and message; its cause has the traceback as text."""


class _RemoteTraceback(Exception):
    """The traceback of another process, printed as the cause of a `RemoteError`."""


def in_a_process(
    function: Callable[..., Any], *arguments: Any, preload: str, log: Path | None = None
) -> Any:
    """The result of a function of a module, called in a process that starts and ends with it.

    The process ends with this one, whatever ends this one. It may start processes of its own.

    Args:
        function: what is called.
        arguments: what it is given; they are pickled, as is the result.
        preload: name of a module that every such process has imported when it starts; the name of
            the first call counts.
        log: a file to which the output of the process is appended; None: it has that of this one.

    Raises:
        UserError: as the function, or the process was killed.
        OSError: as the function.
        RemoteError: the function raised any other exception.
    """
    # forked from a server that has imported ``preload`` and done nothing else: a new
    # process takes seconds to import torch, one forked from here would inherit its threads
    methods = multiprocessing.get_all_start_methods()
    method = "forkserver" if "forkserver" in methods else "spawn"
    if multiprocessing.get_start_method() not in methods:
        # a worker of joblib has a method of its own, which the new process would look for in vain
        multiprocessing.set_start_method(method, force=True)
    context = multiprocessing.get_context(method)
    context.set_forkserver_preload([preload])
    receiver, sender = context.Pipe(duplex=False)
    # no pool: its workers wait for ever for a next task if this one is killed
    process = context.Process(  # pyright: ignore[reportAttributeAccessIssue]
        target=_send_result, args=(sender, function, arguments, log)
    )
    process.start()
    sender.close()
    try:
        kind, *content = receiver.recv()
    except EOFError as error:
        process.join()
        raise UserError(
            f"its process ended with exit code {process.exitcode} (killed, out of memory?)"
        ) from error
    except BaseException:  # Ctrl-C: not a daemon, it would outlive the exception
        process.terminate()
        process.join()
        raise
    process.join()
    if kind == "result":
        return content[0]
    if kind == "fault":
        summary, trace = content
        raise RemoteError(summary) from _RemoteTraceback(f"\n{trace}")
    raise {"user": UserError, "system": OSError}[kind](*content)


def _send_result(
    sender: Connection,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    log: Path | None,
) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if log is not None:
        _write_output_to(log)
    # errors travel as text: an exception of foreign code need not survive pickling
    try:
        outcome = ("result", function(*arguments))
    except KeyboardInterrupt:  # the caller has it too, and says so
        return
    except UserError as error:
        outcome = ("user", str(error))
    except OSError as error:
        outcome = ("system", str(error))
    except Exception as error:  # noqa: BLE001 (it is raised again in the other process)
        outcome = ("fault", f"{type(error).__name__}: {error}", traceback.format_exc())
    if log is not None and outcome[0] != "result":
        print(f"error: {outcome[-1]}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    sender.send(outcome)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _write_output_to(log: Path) -> None:
    """Let all output, of libraries and further processes too, go to the end of a file."""
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, TextIOWrapper)
        stream.reconfigure(encoding="utf-8", line_buffering=True)  # who watches sees how far it is
