"""Start a function in two processes that find each other through gloo, as torchrun would."""

import os
import socket
from collections.abc import Callable
from typing import Any

import torch
from torch.multiprocessing.spawn import start_processes

from pumlc.cli.console import end_at_once


def run_in_two_processes(function: Callable[..., Any], *arguments: Any) -> None:
    """Call ``function(rank, *arguments)`` in both; an exception of either one is raised here."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start_processes(_call, (port, function, arguments), 2, start_method="spawn")


def _call(rank: int, port: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE="2",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    torch.set_num_threads(1)
    function(rank, *arguments)
    end_at_once(0)
