"""Torch data sets and loaders over `LabelledImages`."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from pumlc.engine.batches import EpochBatches
from pumlc.engine.config import require
from pumlc.engine.workers import belong_to_parent
from pumlc.errors import UserError
from pumlc.vision.data.bad_pictures import BadPictures, allowed_bad
from pumlc.vision.data.decode import load_row
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.read_ahead import read_ahead, reading_threads
from pumlc.vision.data.transforms import PictureTransform


class TrainingPictures(Dataset):
    """Pictures by ``(epoch, row)``, with an augmentation that depends on seed, epoch and row.

    So a run is reproducible with any number of workers or processes, and a resumed run continues
    as the interrupted one would have.

    Args:
        images: pictures and observed labels.
        transform: the transform of training.
        seed: seed of the augmentation.
    """

    def __init__(self, images: LabelledImages, transform: PictureTransform, *, seed: int) -> None:
        self.images, self.transform, self.seed = images, transform, seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        return _or_error(*self.read(key))

    def read(self, key: tuple[int, int]) -> tuple[dict[str, Any] | None, dict[int, str]]:
        """Read a picture with its labels.

        If bad pictures are skipped, the picture of the next row takes the place of a bad one, so
        that batches stay full in every process.

        Args:
            key: epoch and row.

        Returns:
            Picture, labels and row, or None; and for each row whose picture could not be read, the
            reason.
        """
        epoch, row = key
        mixed = np.random.SeedSequence((self.seed, epoch, row)).generate_state(1)
        self.transform.set_random_seed(int(mixed[0]))
        images, bad = self.images, {}
        while True:
            try:
                picture = decode(images, row, self.transform)
            except UserError as error:
                bad[row] = str(error)
            else:
                labels = torch.from_numpy(images.row_labels(row).astype(np.int8))
                return {"image": picture, "labels": labels, "row": row}, bad
            too_many = not images.may_skip(row) or len(bad) > allowed_bad(images)
            if too_many or len(bad) == len(self):
                return None, bad
            row = (row + 1) % len(self)


class Pictures(Dataset):
    """Pictures by row, for scoring."""

    def __init__(self, images: LabelledImages, transform: PictureTransform, rows: range) -> None:
        self.images, self.transform, self.rows = images, transform, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> torch.Tensor:
        return _or_error(*self.read(index))

    def read(self, index: int) -> tuple[torch.Tensor | None, dict[int, str]]:
        """One picture, or None; and for its row the reason why it could not be read."""
        row = self.rows[index]
        try:
            return decode(self.images, row, self.transform), {}
        except UserError as error:
            return None, {row: str(error)}


def _or_error(item: Any, bad: dict[int, str]) -> Any:
    if item is None:
        raise UserError(next(reversed(bad.values())))
    return item


def decode(images: LabelledImages, row: int, transform: PictureTransform) -> torch.Tensor:
    """Decode one picture in the size of the network.

    Args:
        images: the pictures.
        row: which of them.
        transform: gives the size, and the augmentation.

    Returns:
        [H, W, 3] uint8.

    Raises:
        UserError: It cannot be decoded; the message names it and where the source lists it.
    """
    if images.paths[row] in images.removed:
        raise UserError(f"{images.path(row)}: its row was taken out of {images.source}")
    try:
        picture = load_row(images, row, at_least=transform.decoded_size)
    except UserError:  # add the place only now: finding it may take a pass over the source
        where = f" ({images.place(row)})"
        picture = load_row(images, row, at_least=transform.decoded_size, where=where)
    return transform.pixels(picture)


def training_loader(pictures: TrainingPictures, batches: EpochBatches, workers: int) -> DataLoader:
    """The loader of the batches of one process; set ``batches.epoch`` before each pass.

    Args:
        pictures: the training pictures.
        batches: the rows of each batch.
        workers: processes that load pictures; 0: only this one.
    """
    return DataLoader(
        _Reporting(pictures),
        batch_sampler=_BatchSampler(batches),
        collate_fn=_collate,
        generator=torch.Generator(),  # else draws from the global one would depend on the workers
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_start_worker,
    )


def scoring_loader(
    pictures: Pictures, batch_size: int, workers: int | None = None
) -> Iterator["Batch"]:
    """Batches in row order, read while the network works; the last one may be smaller.

    Args:
        pictures: the pictures to score.
        batch_size: pictures per batch.
        workers: threads that read pictures; 0: only this one; None: one per core.

    Raises:
        UserError: ``workers`` is below 0.
    """
    require(workers is None or workers >= 0, "workers", workers, "at least 0")
    threads = reading_threads() if workers is None else workers
    read = _Reporting(pictures).__getitem__
    ahead = 2 * batch_size  # the next batch is read while one is scored
    items = read_ahead(read, range(len(pictures)), threads=threads, ahead=ahead)
    while batch := list(islice(items, batch_size)):
        collated = _collate(batch)
        if torch.cuda.is_available() and collated.content is not None:
            collated = collated._replace(content=collated.content.pin_memory())
        yield collated


class Batch(NamedTuple):
    """A batch of the loaders of this module.

    Attributes:
        content: the readable pictures, collated; None if there are none.
        keys: their keys in the data set, in the order of ``content``.
        bad: row -> the reason why its picture could not be read.
    """

    content: Any
    keys: list[Any]
    bad: dict[int, str]


def batches_of(loader: Iterable[Batch], bad: BadPictures) -> Iterator[Batch]:
    """The batches of a loader of this module.

    Args:
        loader: loads the pictures of a part.
        bad: collects the pictures that no process could read.

    Raises:
        UserError: a picture cannot be read and may not be skipped, or a loading process was
            killed.
    """
    try:
        for batch in loader:
            bad.merge([batch.bad])
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise UserError(
            f"a process that loads pictures ended ({error}). If memory ran out, use fewer workers"
        ) from error


class _Reporting(Dataset):
    """Items with keys and errors: an error that is raised in a worker would lose its type."""

    def __init__(self, pictures: TrainingPictures | Pictures) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, key: Any) -> tuple[Any, Any, dict[int, str]]:
        content, bad = self.pictures.read(key)
        return key, content, bad


def _collate(items: list[tuple[Any, Any, dict[int, str]]]) -> Batch:
    read = [(key, content) for key, content, _ in items if content is not None]
    bad = {row: reason for *_, reasons in items for row, reason in reasons.items()}
    content = default_collate([content for _, content in read]) if read else None
    return Batch(content, [key for key, _ in read], bad)


class _BatchSampler(Sampler):
    """`EpochBatches` with the type that DataLoader requires."""

    def __init__(self, batches: EpochBatches) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


def _start_worker(worker: int) -> None:
    belong_to_parent()
    # the workers run in parallel already; OpenCV's own threads would compete for the cores
    cv2.setNumThreads(0)
