"""Torch data sets and loaders over `LabelledImages`."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import albumentations as A
import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from pumlc.engine.batches import EpochBatches
from pumlc.errors import UserError
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.transforms import read_image


class TrainingPictures(Dataset):
    """Pictures by ``(epoch, row)``: the augmentation is a function of seed, epoch and row.

    So a run repeats itself whatever the number of workers or processes, and a resumed run continues
    as the interrupted one would have.

    Args:
        images: pictures and observed labels.
        transform: albumentations pipeline.
        seed: of the augmentation.
    """

    def __init__(self, images: LabelledImages, transform: A.Compose, *, seed: int) -> None:
        self.images, self.transform, self.seed = images, transform, seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, row = key
        mixed = np.random.SeedSequence((self.seed, epoch, row)).generate_state(1)
        self.transform.set_random_seed(int(mixed[0]))
        return {
            "image": decode(self.images, row, self.transform),
            "targets": torch.from_numpy(self.images.labels[row].astype(np.int8)),
            "row": row,
        }


class Pictures(Dataset):
    """Pictures by row, for scoring."""

    def __init__(self, images: LabelledImages, transform: A.Compose, rows: range) -> None:
        self.images, self.transform, self.rows = images, transform, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> torch.Tensor:
        return decode(self.images, self.rows[index], self.transform)


def decode(images: LabelledImages, row: int, transform: A.Compose) -> torch.Tensor:
    """[3, H, W] float32 of one picture; an error names the picture and where the source has it."""
    try:
        picture = read_image(images.path(row))
    except ValueError:  # only now, since finding the place may take a pass over the source
        picture = read_image(images.path(row), f" ({images.place(row)})")
    return transform(image=picture)["image"]


def training_loader(pictures: TrainingPictures, batches: EpochBatches, workers: int) -> DataLoader:
    """Loader of the batches of one process; set ``batches.epoch`` before each pass."""
    return DataLoader(
        pictures,
        batch_sampler=_AsSampler(batches),
        generator=torch.Generator(),  # or the global one would be drawn from, by number of workers
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_single_threaded,
    )


def scoring_loader(pictures: Pictures, batch_size: int, workers: int) -> DataLoader:
    """Loader in row order, ragged last batch included."""
    return DataLoader(
        pictures,
        batch_size=batch_size,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_single_threaded,
    )


def batches_of(loader: DataLoader) -> Iterator[Any]:
    """The batches of a loader; what goes wrong in its processes is told as if it were in this one.

    Raises:
        UserError: a picture cannot be decoded, or a process was killed.
    """
    try:
        yield from loader
    except ValueError as error:
        # "Caught ValueError in DataLoader worker process 0", a traceback, and what it was
        found = re.search(
            r"in DataLoader worker.*\npumlc.errors.UserError: (.*)", str(error), re.DOTALL
        )
        if found is None:
            raise
        raise UserError(found[1].strip()) from None
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise UserError(
            f"a process that loads pictures ended ({error}): out of memory? fewer workers need less"
        ) from None


class _AsSampler(Sampler):
    """`EpochBatches` under the type DataLoader asks for."""

    def __init__(self, batches: EpochBatches) -> None:
        self.batches = batches
        self.__len__: Callable[[], int] = batches.__len__

    def __iter__(self) -> Any:
        return iter(self.batches)


def _single_threaded(worker: int) -> None:
    """The workers are the parallelism; OpenCV's own threads would fight them for the cores."""
    cv2.setNumThreads(0)
