"""Read pictures in threads while the network works on earlier ones.

Threads are enough, since Pillow and OpenCV release the interpreter lock while they decode and
resize. Threads start at once and share the memory, and an error keeps its type.
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
    affinity = getattr(os, "sched_getaffinity", None)  # only Linux has it
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def read_ahead(
    read: Callable[[Item], Result], items: Iterable[Item], *, threads: int, ahead: int
) -> Generator[Result, None, None]:
    """Yield the result of ``read`` for each item, in order.

    Args:
        read: called in several threads at once.
        items: taken in this thread, at most ``ahead`` items before their results are used.
        threads: number of threads; 0: each item is read in this thread when its result is needed.
        ahead: largest number of items that are being read or wait.

    Raises:
        Exception: what ``read`` raises, when the result of that item is due.
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
    """Inside, OpenCV uses one thread: its own would compete with the reading threads for cores."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
