"""Processes that load data end with the process that they work for, and with nothing else."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from typing import Any

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def belong_to_parent() -> None:
    """Let this process, which another one has started, end with it at once, whatever ends it.

    A process that outlives a killed run would hold the lock of its folder. Ctrl-C and SIGTERM that
    go to a whole group are left to the parent, which finishes its step first: without its loading
    processes it could not.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        forked = multiprocessing.get_start_method() == "fork"
        if (forked and os.getppid() != parent.pid) or not parent.is_alive():
            os._exit(1)  # it ended before the line above
    else:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_end_on_sigterm_of, args=(parent.pid,), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _end_on_sigterm_of(parent: int) -> None:
    """The parent sends one to a worker that does not end otherwise."""
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent:
        pass
    os._exit(0)
