"""Torch data sets and loaders over `LabelledImages`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from pumlc.engine.batches import EpochBatches
from pumlc.errors import UserError
from pumlc.vision.data.decode import load_image
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.transforms import PictureTransform


class TrainingPictures(Dataset):
    """Pictures by ``(epoch, row)``: the augmentation is a function of seed, epoch and row.

    So a run repeats itself whatever the number of workers or processes, and a resumed run continues
    as the interrupted one would have.

    Args:
        images: pictures and observed labels.
        transform: that of training.
        seed: of the augmentation.
    """

    def __init__(self, images: LabelledImages, transform: PictureTransform, *, seed: int) -> None:
        self.images, self.transform, self.seed = images, transform, seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, row = key
        mixed = np.random.SeedSequence((self.seed, epoch, row)).generate_state(1)
        self.transform.set_random_seed(int(mixed[0]))
        return {
            "image": decode(self.images, row, self.transform),
            "labels": torch.from_numpy(self.images.labels[row].astype(np.int8)),
            "row": row,
        }


class Pictures(Dataset):
    """Pictures by row, for scoring."""

    def __init__(self, images: LabelledImages, transform: PictureTransform, rows: range) -> None:
        self.images, self.transform, self.rows = images, transform, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> torch.Tensor:
        return decode(self.images, self.rows[index], self.transform)


def decode(images: LabelledImages, row: int, transform: PictureTransform) -> torch.Tensor:
    """[H, W, 3] uint8 of one picture, in the size of the network.

    Raises:
        UserError: it cannot be decoded; the message names it and where the source lists it.
    """
    path = images.path(row)
    options = {"at_least": transform.decoded_size, "max_pixels": images.max_pixels}
    try:
        picture = load_image(path, **options)
    except UserError:  # only now, since finding the place may take a pass over the source
        picture = load_image(path, **options, where=f" ({images.place(row)})")
    return transform.pixels(picture)


def training_loader(pictures: TrainingPictures, batches: EpochBatches, workers: int) -> DataLoader:
    """Loader of the batches of one process; set ``batches.epoch`` before each pass."""
    return DataLoader(
        _Reporting(pictures),
        batch_sampler=_BatchSampler(batches),
        collate_fn=_collate,
        generator=torch.Generator(),  # or the global one would be drawn from, by number of workers
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_single_threaded,
    )


def scoring_loader(pictures: Pictures, batch_size: int, workers: int) -> DataLoader:
    """Loader in row order, ragged last batch included."""
    return DataLoader(
        _Reporting(pictures),
        batch_size=batch_size,
        collate_fn=_collate,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_single_threaded,
    )


def batches_of(loader: DataLoader) -> Iterator[Any]:
    """The batches of a loader of this module.

    Raises:
        UserError: a picture cannot be decoded, in whichever process; or a process was killed.
    """
    try:
        for batch in loader:
            if isinstance(batch, _Failure):
                raise batch.error
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise UserError(
            f"a process that loads pictures ended ({error}): out of memory? fewer workers need less"
        ) from error


@dataclass(frozen=True)
class _Failure:
    """What a worker returns in the place of a picture; raised there, it would lose its type."""

    error: UserError


class _Reporting(Dataset):
    """A data set whose `UserError` travels to the training process as an item."""

    def __init__(self, pictures: TrainingPictures | Pictures) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, key: Any) -> Any:
        try:
            return self.pictures[key]
        except UserError as error:
            return _Failure(error)


def _collate(items: list[Any]) -> Any:
    """A batch, or the first failure in it."""
    failures = [item for item in items if isinstance(item, _Failure)]
    return failures[0] if failures else default_collate(items)


class _BatchSampler(Sampler):
    """`EpochBatches` under the type DataLoader asks for."""

    def __init__(self, batches: EpochBatches) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


def _single_threaded(worker: int) -> None:
    """The workers are the parallelism; OpenCV's own threads would fight them for the cores."""
    cv2.setNumThreads(0)
