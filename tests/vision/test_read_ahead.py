"""Reading in threads: the same as one after the other, no further ahead than asked for."""

import threading
import time

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pumlc.errors import UserError
from pumlc.vision.data.bad_pictures import BadPictures
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.loader import Pictures, batches_of, scoring_loader
from pumlc.vision.data.read_ahead import read_ahead, reading_threads
from pumlc.vision.data.transforms import evaluation_transform

CONFIG = {"input_size": (3, 8, 8), "mean": (0.5,) * 3, "std": (0.5,) * 3}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 30), st.integers(0, 4), st.integers(1, 9))
def test_results_come_in_order_and_items_are_not_taken_too_early(number, threads, ahead):
    given_out = 0

    def items():
        nonlocal given_out
        for item in range(number):
            given_out += 1
            yield item

    for done, result in enumerate(
        read_ahead(lambda i: i * i, items(), threads=threads, ahead=ahead)
    ):
        assert result == done * done
        assert given_out <= done + ahead


def test_reading_goes_on_while_the_caller_works():
    read = []
    results = read_ahead(read.append, range(6), threads=2, ahead=4)
    next(results)
    deadline = time.monotonic() + 30
    while len(read) < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert sorted(read) == [0, 1, 2, 3]  # three of them for results that nobody has asked for yet
    results.close()


@pytest.mark.parametrize("threads", [0, 3])
def test_an_error_stands_in_the_place_of_its_result(threads):
    results = read_ahead(lambda i: 1 // (i - 2), range(9), threads=threads, ahead=6)
    assert [next(results), next(results)] == [-1, -1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_threads_end_and_opencv_gets_its_own_back():
    before = cv2.getNumThreads()
    results = read_ahead(str, iter(int, 1), threads=2, ahead=3)  # endless
    assert next(results) == "0"
    results.close()
    assert cv2.getNumThreads() == before
    assert not [t for t in threading.enumerate() if t.name.startswith("pictures")]


def test_processes_of_one_machine_share_its_cores(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    alone = reading_threads()
    assert alone >= 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(2 * alone))
    assert reading_threads() == 1


def write_pictures(folder, number):
    random = np.random.RandomState(0)
    for row in range(number):
        Image.fromarray(random.randint(0, 256, (9, 12, 3), np.uint8)).save(folder / f"{row}.png")
    paths = np.array([f"{row}.png".encode() for row in range(number)])
    return LabelledImages("a.csv", folder, paths, np.ones((number, 1), np.int8), ("a",))


def test_batches_are_the_same_with_any_number_of_threads(tmp_path):
    pictures = Pictures(write_pictures(tmp_path, 11), evaluation_transform(CONFIG), range(0, 11, 2))
    expected = torch.stack([pictures[index] for index in range(6)])
    for workers in (0, 1, 3, None):
        batches = list(
            batches_of(scoring_loader(pictures, 4, workers), BadPictures(pictures.images))
        )
        assert [batch.keys for batch in batches] == [[0, 1, 2, 3], [4, 5]]
        assert torch.equal(torch.cat([batch.content for batch in batches]), expected)
    with pytest.raises(UserError, match="workers must be at least 0, got -1"):
        next(scoring_loader(pictures, 4, -1))
