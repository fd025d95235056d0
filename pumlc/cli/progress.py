"""How far long work is, for a person at a terminal or one who reads the log."""

import sys
import time
from collections.abc import Callable

SILENT = 5.0
"""Seconds of work that nothing is said of."""
INTERVAL = 10.0
"""Seconds between two lines."""


class Progress:
    """Lines on standard error with what is done, the rate and the time left.

    The first comes when the work takes longer than 5 seconds, then one every 10 seconds, also where
    the output is a file. Standard output is left to the result.

    Args:
        what: names the work.
        total: things to do.
        clock: seconds.
    """

    def __init__(
        self, what: str, total: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.what, self.total, self._clock = what, total, clock
        self._started = clock()
        self._next = self._started + SILENT

    def show(self, done: int) -> None:
        """Print a line, if it is time for one.

        Args:
            done: things done, of the total.
        """
        now = self._clock()
        if now < self._next or not done:
            return
        self._next = now + INTERVAL
        rate = done / (now - self._started)
        left = duration((self.total - done) / rate)
        print(
            f"{self.what}: {done}/{self.total}, {rate:.3g} a second, {left} left",
            file=sys.stderr,
            flush=True,
        )


def duration(seconds: float) -> str:
    """A time as a person says it.

    >>> duration(7.2), duration(200), duration(7300)
    ('7 s', '3 min 20 s', '2 h 2 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
