"""When the steps of an epoch have lines, so that nobody waits long without one."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pumlc.progress import INTERVAL, duration

_LOOK = 0.5  # seconds between two looks at the step


class StepLines:
    """Lines after some steps of an epoch, and within a step that takes long.

    Args:
        log_every: steps between two lines.
        shown: False: no line within a step.
    """

    def __init__(self, log_every: int, *, shown: bool) -> None:
        self.log_every = log_every
        self.shown = shown
        self._begun: tuple[str, float] | None = None  # the step, and when it began
        self._told = 0.0  # when the last line was printed
        self._seconds = 0.0  # of the last step

    @contextmanager
    def epoch(self) -> Iterator[None]:
        """Watch the steps of an epoch."""
        self._told = time.monotonic()
        ended = threading.Event()
        thread = threading.Thread(target=self._watch, args=(ended,), daemon=True, name="steps")
        if self.shown:
            thread.start()
        try:
            yield
        finally:
            self._begun = None
            ended.set()
            if self.shown:
                thread.join()

    def begin(self, place: str) -> None:
        """A step begins, at this place."""
        self._begun = place, time.monotonic()

    def end(self, position: int) -> bool:
        """The step has ended; whether it has a line.

        It has one every ``log_every`` steps, and where the next one would come too late.

        Args:
            position: steps of the epoch that have ended.
        """
        now = time.monotonic()
        if self._begun is not None:
            self._seconds = now - self._begun[1]
        self._begun = None
        due = position % self.log_every == 0 or now - self._told + self._seconds >= INTERVAL
        if due:
            self._told = now
        return due

    def _watch(self, ended: threading.Event) -> None:
        while not ended.wait(_LOOK):
            begun, now = self._begun, time.monotonic()
            if begun is None or now - max(begun[1], self._told) < INTERVAL - 2 * _LOOK:
                continue
            self._told = now
            print(f"{begun[0]}: {duration(now - begun[1])} so far", file=sys.stderr, flush=True)
