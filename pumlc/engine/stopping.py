"""SIGTERM and Ctrl-C: a run finishes its step, saves and ends."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# a launcher passes on the Ctrl-C that its processes have already had from the terminal
_PASSED_ON_WITHIN = 1.0  # seconds


class TrainingStoppedError(Exception):
    """A signal asked a run to end. All of its steps are saved.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int, place: str) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} {place}")
        self.number = number


class StopSignals:
    """Whether SIGTERM or Ctrl-C has come; a second Ctrl-C ends the process at once.

    Args:
        launched: another process has started this one beside others and may pass signals on: a
            Ctrl-C within a second of the first is the same one.
    """

    def __init__(self, *, launched: bool = False) -> None:
        self.received: int | None = None
        self._launched = launched
        self._interrupted: float | None = None

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Inside the context, note the signals; outside the main thread nothing can be noted."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self._note) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or number
        if number != signal.SIGINT:
            return
        now = time.monotonic()
        if self._interrupted is None:
            self._interrupted = now
        elif not self._launched or now - self._interrupted > _PASSED_ON_WITHIN:
            os.write(2, b"interrupted\n")
            os._exit(128 + number)  # no exception: that would wait for whatever is going on
