"""Progress of long work, for a person at a terminal and for a reader of the log."""

import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

SILENT = 5.0
"""Seconds of work before the first line."""
INTERVAL = 10.0
"""Seconds between two lines."""

MEGABYTES = " MB"

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
        print(f"{what}: {_line(done, total, rate)}", file=sys.stderr, flush=True)


class _Work:
    """How far a piece of work is; a thread reads it while the work goes on."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.count: tuple[int, int, str] | None = None  # done, total, unit
        self._first = (0, self.started)
        self._told: tuple[int, int, str] | None = None

    def reach(self, done: int, total: int, unit: str) -> None:
        last = self.count
        if last is None or last[1:] != (total, unit) or done < last[0]:  # another part of the work
            self._first = (done, time.monotonic())
        self.count = (done, total, unit)

    def line(self) -> str:
        """What is done, the rate and the time left; if nothing new was counted, the time so far."""
        now = time.monotonic()
        first, since = self._first
        count, told = self.count, self._told
        self._told = count
        done, total, unit = count or (first, 0, "")
        if count == told or not first < done < total or now <= since:
            return f"{duration(now - self.started)} so far"
        rate = (done - first) / (now - since)
        return _line(done, total, rate, unit)


_WORK: ContextVar[_Work | None] = ContextVar("work", default=None)
_T = TypeVar("_T")


@contextmanager
def working(what: str, *, shown: bool = True) -> Iterator[None]:
    """Lines on standard error while a piece of work goes on, in the main process alone.

    They come when those of `Progress` would. They have the rate and the time left if the work
    calls `reached` or `counted`, and the time so far if it does not. Work inside of other work
    counts for the outer one, which alone has lines.

    Args:
        what: names the work.
        shown: False: no line.
    """
    if not shown or _WORK.get() is not None or os.environ.get("RANK", "0") != "0":
        yield
        return
    ended, work = threading.Event(), _Work()

    def tell() -> None:
        wait = SILENT
        while not ended.wait(wait):
            print(f"{what}: {work.line()}", file=sys.stderr, flush=True)
            wait = INTERVAL

    thread = threading.Thread(target=tell, daemon=True, name="working")
    thread.start()
    token = _WORK.set(work)
    try:
        yield
    finally:
        _WORK.reset(token)
        ended.set()
        thread.join()


def reached(done: int, total: int, unit: str = "") -> None:
    """Say how far the work of `working` is; without such work nothing happens.

    Args:
        done: things done.
        total: things to do in all. With another total, or fewer things done, another part of the
            work begins, with a rate of its own.
        unit: `MEGABYTES`: both are bytes, and the line says megabytes.
    """
    work = _WORK.get()
    if work is not None:
        work.reach(done, total, unit)


def counted(items: Collection[_T]) -> Iterator[_T]:
    """The items, each counted for the line of `working` when it is taken.

    Example:
        >>> list(counted("abc"))
        ['a', 'b', 'c']
    """
    total = len(items)
    for done, item in enumerate(items):
        reached(done, total)
        yield item


def _line(done: int, total: int, rate: float, unit: str = "") -> str:
    left = duration((total - done) / rate)
    size = 1e6 if unit == MEGABYTES else 1
    share = f"{done / size:.0f}/{total / size:.0f}{unit}"
    return f"{share}, {rate / size:.3g}{unit} a second, {left} left"


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
