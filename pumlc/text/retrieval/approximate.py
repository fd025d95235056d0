"""Approximate search: labels in cells of similar ones, one byte a number, mapped into memory."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pumlc.errors import UserError
from pumlc.files import complete_file, make_folder, read_json, write_json, write_text
from pumlc.text.retrieval.search import search

FILE = "labels.faiss"
_VECTORS = "labels.npy"
_FACTS = "labels.json"
_PER_CELL = 40  # labels of a cell at least: faiss warns below 39
_SAMPLE_PER_CELL = 64  # labels that place the cells: with 256, faiss's number, four times as long
_JUDGES = 256  # queries that judge the recall
_DEPTH = 10
_MOST_CANDIDATES = 64
_BLOCK = 2**24  # numbers of candidates that are scored at a time
RECALL = 0.98
"""Of the 10 best labels of the exact search, the share that an index is to find."""


@dataclass(frozen=True)
class ApproximateIndex:
    """The labels of a run, to be searched without a look at each.

    Only the cells nearest to a query are looked at. Inner products of labels rounded to one byte a
    number give candidates; those of two bytes a number choose among them.

    Attributes:
        index: faiss's inverted file, one byte a number.
        vectors: float16 [L, D], or a map of a file; float32 where a number is too large for it.
        recall: share of the 10 best labels of the exact search that it found, when it was built.
        probes: cells that are looked at.
        candidates: how many there are for each label that is asked for.

    Source: Jegou, Douze & Schmid, "Product Quantization for Nearest Neighbor Search" (2011), for
    the inverted file; Douze et al., "The Faiss Library" (arXiv 2401.08281).
    """

    index: Any
    vectors: np.ndarray
    recall: float
    probes: int
    candidates: int

    @staticmethod
    def build(labels: np.ndarray, queries: np.ndarray) -> "ApproximateIndex":
        """Put labels into cells, and look at so many that the recall is `RECALL`.

        Step by step there are twice the cells or twice the candidates, whichever finds more.

        Args:
            labels: float32 [L, D].
            queries: float32 [N, D], of the kind that is searched for; the first 256 judge.

        Raises:
            UserError: faiss is not installed, or there is no label.
        """
        faiss = _faiss()
        count, width = labels.shape
        if not count:
            raise UserError("an approximate index needs at least one label")
        cells = max(1, min(round(4 * count**0.5), count // _PER_CELL))
        index = faiss.index_factory(width, f"IVF{cells},SQ8", faiss.METRIC_INNER_PRODUCT)
        index.cp.seed = 0
        index.cp.max_points_per_centroid = _SAMPLE_PER_CELL
        labels = np.ascontiguousarray(labels, np.float32)
        index.train(labels)
        index.add(labels)
        small = np.abs(labels).max() < np.finfo(np.float16).max
        vectors = labels.astype(np.float16 if small else np.float32)
        judges = np.ascontiguousarray(queries[:_JUDGES], np.float32)
        depth = min(_DEPTH, count)
        best = search(torch.from_numpy(judges), torch.from_numpy(labels), depth)[0]

        def looking_at(probes: int, candidates: int) -> ApproximateIndex:
            built = ApproximateIndex(index, vectors, 0.0, min(probes, cells), candidates)
            return replace(built, recall=found_share(built.search(judges, depth)[0], best))

        built = looking_at(1, 2)
        while built.recall < RECALL:
            more = []
            if built.probes < cells:
                more.append(looking_at(2 * built.probes, built.candidates))
            if built.candidates < min(_MOST_CANDIDATES, count / depth):
                more.append(looking_at(built.probes, 2 * built.candidates))
            if not more:
                break
            built = max(more, key=lambda each: each.recall)
        return built

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids int64 [N, k] and scores float32 [N, k], best first; -1 and -inf where there is none.

        Labels of the cells that are not looked at are not found: a row may end early.
        """
        self.index.nprobe = self.probes
        queries = np.ascontiguousarray(queries, np.float32)
        _, candidates = self.index.search(queries, self.candidates * k)
        ids = np.empty((len(queries), k), np.int64)
        scores = np.empty((len(queries), k), np.float32)
        size = max(1, _BLOCK // (candidates.shape[1] * queries.shape[1]))
        for start in range(0, len(queries), size):
            rows = slice(start, start + size)
            own = candidates[rows]
            exact = np.einsum("nkd,nd->nk", self.vectors[own].astype(np.float32), queries[rows])
            exact[own < 0] = -np.inf
            order = np.argsort(-exact, axis=1, kind="stable")[:, :k]
            ids[rows] = np.take_along_axis(own, order, axis=1)
            scores[rows] = np.take_along_axis(exact, order, axis=1)
        return ids, scores

    def save(self, folder: Path, key: str) -> None:
        """Write it below a folder; ``key`` names the labels and their vectors."""
        make_folder(folder)
        known_indexes().mkdir(parents=True, exist_ok=True)
        with complete_file(folder / _VECTORS, binary=True) as stream:
            np.save(stream, self.vectors)
        with complete_file(folder / FILE, binary=True) as stream:
            stream.write(_faiss().serialize_index(self.index))
        write_text(known_indexes() / _sha256(folder / FILE), "")
        looked = {"probes": self.probes, "candidates": self.candidates}
        write_json(folder / _FACTS, {"key": key, "recall": self.recall, **looked})

    @staticmethod
    def open(folder: Path, key: str) -> "ApproximateIndex | None":
        """The one that is saved, mapped into memory; None if there is none of this key.

        faiss does not check what it reads, and a run folder may be anyone's. So an index counts
        only if this user has built it, which `known_indexes` remembers.

        Raises:
            UserError: it is damaged.
        """
        if not all((folder / name).is_file() for name in (_FACTS, FILE, _VECTORS)):
            return None
        facts = read_json(folder / _FACTS)
        if not isinstance(facts, dict) or facts.get("key") != key:
            return None
        recall, looked = facts.get("recall"), (facts.get("probes"), facts.get("candidates"))
        counts = [number for number in looked if isinstance(number, int) and number >= 1]
        if not isinstance(recall, float) or len(counts) < len(looked):
            raise UserError(f"{folder / _FACTS}: damaged; delete {folder} to build it again")
        faiss = _faiss()
        if not (known_indexes() / _sha256(folder / FILE)).is_file():
            return None
        index = faiss.read_index(str(folder / FILE), faiss.IO_FLAG_MMAP)
        try:
            vectors = np.load(folder / _VECTORS, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            vectors = np.empty(0)
        if vectors.dtype.kind != "f" or vectors.shape != (index.ntotal, index.d):
            raise UserError(f"{folder / _VECTORS}: damaged; delete {folder} to build it again")
        return ApproximateIndex(index, vectors, recall, *counts)


def found_share(ids: np.ndarray, best: np.ndarray) -> float:
    """Share of the labels of ``best`` [N, k] that are in the same row of ``ids`` [N, k].

    >>> found_share(np.array([[1, 2], [3, -1]]), np.array([[2, 1], [3, 4]]))
    0.75
    """
    found = (best[:, :, None] == ids[:, None, :]).any(axis=2)
    return float(found[best >= 0].mean()) if (best >= 0).any() else 1.0


def known_indexes() -> Path:
    """Where the checksums of the indexes are that this user has built; no setting moves it."""
    return Path.home() / ".cache" / "pumlc" / "indexes"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _faiss() -> Any:
    try:
        import faiss  # type: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError("an approximate index needs: pip install faiss-cpu") from error
    return faiss
