"""Pooled features of pictures by a frozen network, each computed once in the fastest safe way."""

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pumlc.errors import UserError
from pumlc.vision.data.bad_pictures import BadPictures
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.loader import decode
from pumlc.vision.data.transforms import evaluation_transform
from pumlc.vision.frozen.engines import Engine, Precision, choose_engine
from pumlc.vision.frozen.progress import Progress
from pumlc.vision.frozen.store import DIGEST, FeatureStore, content_digest
from pumlc.vision.models.classifier import Classifier, other_features
from pumlc.vision.scoring import to_device

_BATCHES_KEPT_AT_ONCE = 16  # a killed pass loses at most these
# part of the cache key: other decodes give other features
_DECODING = "no larger than needed, whole rows"
_SAMPLE = 8  # pictures on which the ways to run the network are compared


@dataclass(frozen=True)
class Extractor:
    """Computes features of pictures and caches them.

    Args:
        classifier: with a linear head, in eval mode on its device; the features are those that the
            backbone's own pooling gives this head.
        cache: folder of the cached features, ``~`` for the home folder.
        precision: precision of the backbone.
        batch_size: pictures per batch.
        threads: threads that decode pictures; 0: one per core.
    """

    classifier: Classifier
    cache: Path
    precision: Precision
    batch_size: int = 64
    threads: int = 0

    @property
    def device(self) -> torch.device:
        return next(self.classifier.parameters()).device

    @property
    def width(self) -> int:
        """D, the length of a feature vector."""
        return self.classifier.head.in_features  # pyright: ignore

    @cached_property
    def store(self) -> FeatureStore:
        """The cached features of this network, identified by the content of its weights."""
        digest = hashlib.blake2b(digest_size=8)
        for name, value in self.classifier.backbone.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        others = other_features(self.classifier)
        settings = {n: self.classifier.data_config[n] for n in ("input_size", "mean", "std")}
        digest.update(json.dumps([settings, self.precision, _DECODING, *others]).encode())
        kind = type(self.classifier.backbone).__name__.lower()
        return FeatureStore(self.cache.expanduser() / f"{kind}_{digest.hexdigest()}", self.width)

    def features(
        self,
        images: LabelledImages,
        rows: Sequence[int] | range,
        *,
        bad: BadPictures | None = None,
        what: str = "features",
        show: Callable[[str], None] = lambda line: None,
        each: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Features of some pictures, from the cache or computed now and added to it.

        Args:
            images: the pictures; their labels play no part.
            rows: rows of the wanted pictures.
            bad: collects the pictures that cannot be read; by default only warnings name them.
            what: the beginning of the lines of progress.
            show: called with each of these lines.
            each: called with the pictures done and their number, after each batch.

        Returns:
            float32 [n, D], in the order of ``rows``; a row of nan for a bad picture.

        Raises:
            UserError: a picture cannot be read and may not be skipped, or a file of the cache is
                damaged.
        """
        bad = BadPictures(images) if bad is None else bad
        digests = self._digests(images, rows, bad)
        found, features = self.store.find(digests)
        _, first = np.unique(digests, return_index=True)
        missing = first[~found[first] & (digests[first] != b"")]  # equal pictures are computed once
        if len(missing):
            progress = Progress(what, len(missing), show, each)
            self._add(images, rows, digests, missing, bad, progress)
            found, features = self.store.find(digests)
        else:
            show(f"{what}: {len(rows)} pictures, all in the cache")
        features[~found] = np.nan
        for place in np.flatnonzero(~found & (digests != b"")).tolist():  # copies of a bad picture
            if rows[place] not in bad.reasons:
                bad.add(rows[place], f"{images.path(rows[place])}: the picture cannot be decoded")
        return features

    def _add(
        self,
        images: LabelledImages,
        rows: Sequence[int] | range,
        digests: np.ndarray,
        missing: np.ndarray,
        bad: BadPictures,
        progress: Progress,
    ) -> None:
        """Compute the missing features and store them, block by block."""
        named = [rows[place] for place in missing.tolist()]
        digest_of = dict(zip(named, digests[missing].tolist(), strict=True))
        wanted = list(digest_of)
        engine = self._engine(images, wanted)
        progress.show(
            f"{progress.what}: computed by {engine.name}, whose features differ from those of "
            f"torch in float32 by at most {engine.difference:.1e}"
        )
        block = _BATCHES_KEPT_AT_ONCE * self.batch_size
        for start in range(0, len(wanted), block):
            part = wanted[start : start + block]
            read, computed = self._compute(images, part, bad, engine, progress)
            if read:
                self.store.add([digest_of[row] for row in read], computed)

    def _digests(
        self, images: LabelledImages, rows: Sequence[int] | range, bad: BadPictures
    ) -> np.ndarray:
        """Digests of the pictures, [n]; empty for a picture that cannot be opened."""

        def digest(row: int) -> bytes | UserError:
            try:
                return content_digest(read_content(images, row))
            except UserError as error:
                return error

        with ThreadPoolExecutor(self._num_threads) as pool:
            found = list(pool.map(digest, rows))
        for row, one in zip(rows, found, strict=True):
            if isinstance(one, UserError):
                bad.add(row, str(one))
        return np.array([b"" if isinstance(one, UserError) else one for one in found], DIGEST)

    @property
    def _num_threads(self) -> int:
        return self.threads or len(os.sched_getaffinity(0))

    def _compute(
        self,
        images: LabelledImages,
        rows: Sequence[int],
        bad: BadPictures,
        engine: Engine,
        progress: Progress,
    ) -> tuple[list[int], np.ndarray]:
        """The rows whose pictures could be read, and their features."""
        read: list[int] = []
        parts = [np.empty((0, self.width), np.float32)]
        for pictures in self._batches(images, rows):
            for row, picture in pictures.items():
                if isinstance(picture, UserError):
                    bad.add(row, str(picture))
            good = {row: one for row, one in pictures.items() if isinstance(one, Tensor)}
            if good:
                batch = self._images(list(good.values()))
                parts.append(engine.pooled(batch).cpu().numpy())
                read += good
            progress.add(len(pictures))
        return read, np.concatenate(parts)

    def _engine(self, images: LabelledImages, rows: Sequence[int]) -> Engine:
        """The fastest way on the first pictures, or on noise if none of them can be read."""
        pictures = next(self._batches(images, rows[:_SAMPLE])).values()
        good = [one for one in pictures if isinstance(one, Tensor)]
        sample = self._images(good) if good else self._noise().to(self.device)
        return choose_engine(self.classifier, sample, self.precision, len(rows))

    def _images(self, pictures: Sequence[Tensor]) -> Tensor:
        """Decoded pictures as normalised network input, on the device of the network."""
        return to_device(torch.stack(list(pictures)), self.device, self.classifier.data_config)

    def _noise(self) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(1, *self.classifier.data_config["input_size"], generator=generator)

    def _batches(
        self, images: LabelledImages, rows: Sequence[int]
    ) -> Iterator[dict[int, Tensor | UserError]]:
        """Batches of row -> picture or error, which threads read one batch ahead of the network."""
        local = threading.local()

        def picture(row: int) -> Tensor | UserError:
            if not hasattr(local, "transform"):
                local.transform = evaluation_transform(self.classifier.data_config)
            try:
                return decode(images, row, local.transform)
            except UserError as error:
                return error

        batches = [
            rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)
        ]
        with ThreadPoolExecutor(self._num_threads) as pool:
            ahead = [pool.submit(picture, row) for row in batches[0]]
            for current, following in zip(batches, [*batches[1:], []], strict=True):
                ready, ahead = ahead, [pool.submit(picture, row) for row in following]
                yield {row: one.result() for row, one in zip(current, ready, strict=True)}


def read_content(images: LabelledImages, row: int) -> bytes:
    """The bytes of a picture's file.

    Args:
        images: the pictures.
        row: which of them.

    Raises:
        UserError: There is no such file; the message names it and where the source lists it.
    """
    path = images.path(row)
    if images.paths[row] in images.removed:
        raise UserError(f"{path}: its row was taken out of {images.source}")
    content = images.content(row)
    if isinstance(content, bytes):
        return content
    try:
        return content.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path} ({images.place(row)}): no such picture") from error
