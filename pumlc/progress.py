"""Progress of long work, for a person at a terminal and for a reader of the log."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SILENT = 5.0
"""Seconds of work before the first line."""
INTERVAL = 10.0
"""Seconds between two lines."""

ShowProgress = Callable[[str, int, int], None]
"""Called with the name of the work, the number of things done and the number of all things."""


class Progress:
    """Lines on standard error with what is done, the rate and the time left.

    The first line comes when the work has taken 5 seconds, then one every 10 seconds. A file gets
    the same lines as a terminal. Standard output is left to the result.

    Args:
        clock: returns the time in seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._what: str | None = None

    def show(self, what: str, done: int, total: int) -> None:
        """Print a line, if it is time for one.

        Args:
            what: names the work; with another name the clock starts anew.
            done: things done.
            total: things to do in all.
        """
        now = self._clock()
        if what != self._what:  # the rate counts from the first call, without start-up
            self._what, self._started, self._first, self._next = what, now, done, now + SILENT
        if now < self._next or done == self._first:
            return
        self._next = now + INTERVAL
        rate = (done - self._first) / (now - self._started)
        left = duration((total - done) / rate)
        print(
            f"{what}: {done}/{total}, {rate:.3g} a second, {left} left", file=sys.stderr, flush=True
        )


@contextmanager
def working(what: str, *, shown: bool = True) -> Iterator[None]:
    """Lines on standard error while a piece of work goes on that cannot be counted.

    They come when those of `Progress` would, with the time so far.

    Args:
        what: names the work.
        shown: False: no line, as in all processes but the main one.
    """
    if not shown:
        yield
        return
    ended, started = threading.Event(), time.monotonic()

    def tell() -> None:
        wait = SILENT
        while not ended.wait(wait):
            so_far = duration(time.monotonic() - started)
            print(f"{what}: {so_far} so far", file=sys.stderr, flush=True)
            wait = INTERVAL

    thread = threading.Thread(target=tell, daemon=True, name="working")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def duration(seconds: float) -> str:
    """A time as a person says it.

    Example:
        >>> duration(7.2), duration(200), duration(7300)
        ('7 s', '3 min 20 s', '2 h 1 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
