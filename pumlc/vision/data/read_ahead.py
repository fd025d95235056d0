"""Pictures are read in threads while the network works on those before them.

Threads are enough: Pillow and OpenCV let go of the interpreter while they decode and resize. They
start at once, share the memory, and an error keeps its type.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import cv2

Item = TypeVar("Item")
Result = TypeVar("Result")


def reading_threads() -> int:
    """One thread for each core that this process may use; processes of one machine share them."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def read_ahead(
    read: Callable[[Item], Result], items: Iterable[Item], *, threads: int, ahead: int
) -> Generator[Result, None, None]:
    """What ``read`` makes of each item, in their order.

    Args:
        read: is called in several threads at once.
        items: are taken in this thread, no more than ``ahead`` before their results.
        threads: 0: each item is read here, when its result is asked for.
        ahead: so many items are being read or wait.

    Raises:
        Exception: what ``read`` raises, in the place of its result.
    """
    if threads == 0:
        yield from map(read, items)
        return
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="pictures")
    try:
        with _opencv_without_threads():
            for item in items:
                waiting.append(pool.submit(read, item))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _opencv_without_threads() -> Iterator[None]:
    """The reading threads are the parallelism; OpenCV's own would fight them for the cores."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
