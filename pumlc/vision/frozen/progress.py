"""Progress of a long pass over pictures: done, rate, and time left."""

import time
from collections.abc import Callable

_SECONDS_BETWEEN_LINES = 3.0


class Progress:
    """Lines such as ``features of train: 512/996 pictures, 61/s, 8 s left``.

    Args:
        what: the beginning of a line.
        total: the number of pictures.
        show: called with each line.
        each: also called, with the pictures done and their number, after each batch.
    """

    def __init__(
        self,
        what: str,
        total: int,
        show: Callable[[str], None],
        each: Callable[[int, int], None] | None = None,
    ) -> None:
        self.what, self.total, self.show, self.each = what, total, show, each
        self.done = 0
        self.started = self.shown = time.perf_counter()

    def add(self, count: int) -> None:
        """Count further pictures as done; show a line every few seconds and at the end."""
        self.done += count
        if self.each is not None:
            self.each(self.done, self.total)
        now = time.perf_counter()
        if now - self.shown < _SECONDS_BETWEEN_LINES and self.done < self.total:
            return
        self.shown = now
        rate = self.done / max(now - self.started, 1e-9)
        rest = f", {(self.total - self.done) / rate:.0f} s left" if self.done < self.total else ""
        self.show(f"{self.what}: {self.done}/{self.total} pictures, {rate:.0f}/s{rest}")
