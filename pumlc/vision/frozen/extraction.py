"""Pooled features of pictures by a frozen network: each computed once, the fastest safe way."""

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
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.loader import decode
from pumlc.vision.data.transforms import evaluation_transform
from pumlc.vision.frozen.engines import Engine, Precision, choose_engine
from pumlc.vision.frozen.progress import Progress
from pumlc.vision.frozen.store import DIGEST, FeatureStore, content_digest
from pumlc.vision.models.classifier import Classifier

_BATCHES_KEPT_AT_ONCE = 16  # a killed pass loses no more
_SAMPLE = 8  # pictures that choose how the network is run


@dataclass(frozen=True)
class Extractor:
    """What makes features of pictures, and where they are kept.

    Args:
        classifier: with a linear head, in eval mode on its device; its features are what the
            backbone's own pooling gives that head.
        cache: folder of the kept features, ``~`` for the home folder.
        precision: that of the backbone.
        batch_size: pictures at a time.
        threads: that decode pictures, 0: one for each core.
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
        """D."""
        return self.classifier.head.in_features  # pyright: ignore

    @cached_property
    def store(self) -> FeatureStore:
        """The features of this very network, by the content of its weights."""
        digest = hashlib.blake2b(digest_size=8)
        for name, value in self.classifier.backbone.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        settings = {n: self.classifier.data_config[n] for n in ("input_size", "mean", "std")}
        digest.update(json.dumps([settings, self.precision]).encode())
        kind = type(self.classifier.backbone).__name__.lower()
        return FeatureStore(self.cache.expanduser() / f"{kind}_{digest.hexdigest()}", self.width)

    def features(
        self,
        images: LabelledImages,
        rows: Sequence[int] | range,
        *,
        what: str = "features",
        show: Callable[[str], None] = lambda line: None,
    ) -> np.ndarray:
        """Features of some pictures, from the cache or computed now and put there.

        Args:
            images: the pictures; their labels play no part.
            rows: which of them.
            what: the beginning of the lines of progress.
            show: what these are given to.

        Returns:
            float32 [n, D], in the order of ``rows``.

        Raises:
            UserError: a picture is missing or cannot be decoded; a file of the cache is damaged.
        """
        digests = self._digests(images, rows)
        found, features = self.store.find(digests)
        _, first = np.unique(digests, return_index=True)
        missing = first[~found[first]]  # of equal pictures one is computed
        if len(missing):
            self._add(images, rows, digests, missing, what, show)
            _, features = self.store.find(digests)
        else:
            show(f"{what}: {len(rows)} pictures, all in the cache")
        return features

    def _add(
        self,
        images: LabelledImages,
        rows: Sequence[int] | range,
        digests: np.ndarray,
        missing: np.ndarray,
        what: str,
        show: Callable[[str], None],
    ) -> None:
        """Compute what is missing and keep it, block by block."""
        engine = self._engine(images, [rows[place] for place in missing])
        show(
            f"{what}: by {engine.name}, which differs from torch in float32 by at most "
            f"{engine.difference:.1e} in a feature"
        )
        progress = Progress(what, len(missing), show)
        block = _BATCHES_KEPT_AT_ONCE * self.batch_size
        for start in range(0, len(missing), block):
            part = missing[start : start + block]
            computed = self._compute(images, [rows[place] for place in part], engine, progress)
            self.store.add(digests[part], computed)

    def _digests(self, images: LabelledImages, rows: Sequence[int] | range) -> np.ndarray:
        def digest(row: int) -> bytes:
            try:
                return content_digest(images.path(row).read_bytes())
            except FileNotFoundError as error:
                place = images.place(row)
                raise UserError(f"{images.path(row)} ({place}): no such picture") from error

        with ThreadPoolExecutor(self._num_threads) as pool:
            return np.array(list(pool.map(digest, rows)), DIGEST)

    @property
    def _num_threads(self) -> int:
        return self.threads or len(os.sched_getaffinity(0))

    def _compute(
        self, images: LabelledImages, rows: Sequence[int], engine: Engine, progress: Progress
    ) -> np.ndarray:
        parts = []
        for batch in self._batches(images, rows):
            parts.append(engine.pooled(batch.to(self.device, non_blocking=True)).cpu().numpy())
            progress.add(len(batch))
        return np.concatenate(parts)

    def _engine(self, images: LabelledImages, rows: Sequence[int]) -> Engine:
        sample = next(self._batches(images, rows[:_SAMPLE])).to(self.device)
        return choose_engine(self.classifier, sample, self.precision, len(rows))

    def _batches(self, images: LabelledImages, rows: Sequence[int]) -> Iterator[Tensor]:
        """Decoded pictures; threads read the next batch while the network has this one."""
        local = threading.local()

        def picture(row: int) -> Tensor:
            if not hasattr(local, "transform"):
                local.transform = evaluation_transform(self.classifier.data_config)
            return decode(images, row, local.transform)

        size = self.batch_size
        starts = range(0, len(rows), size)
        with ThreadPoolExecutor(self._num_threads) as pool:
            ahead = [pool.submit(picture, row) for row in rows[:size]]
            for start in starts:
                current = ahead
                ahead = [pool.submit(picture, r) for r in rows[start + size : start + 2 * size]]
                yield torch.stack([one.result() for one in current])
