"""How alike documents are: their embeddings and their words together."""

from dataclasses import dataclass

import numpy as np

from pumlc.text.data.matrix import SparseMatrix
from pumlc.text.frozen.config import KernelConfig
from pumlc.text.frozen.words import InnerProducts


@dataclass(frozen=True)
class Documents:
    """What a kernel sees of N documents.

    Attributes:
        embeddings: float32 [N, D] of length 1; [N, 0] where none are compared.
        words: float32 CSR [N, V]; [N, 0] where none are compared.
    """

    embeddings: np.ndarray
    words: SparseMatrix

    def __len__(self) -> int:
        return len(self.embeddings)

    def rows(self, index: np.ndarray) -> "Documents":
        """The documents of an index."""
        return Documents(self.embeddings[index], self.words[index])


class Kernel:
    """The kernel of documents with the anchors.

    Args:
        anchors: the M documents that all others are compared with.
        config: which parts are added.
    """

    def __init__(self, anchors: Documents, config: KernelConfig) -> None:
        self.anchors, self.config = anchors, config
        self._products = InnerProducts(anchors.words) if config.words else None

    def __call__(self, documents: Documents) -> np.ndarray:
        """float32 [n, M]."""
        values = np.zeros((len(documents), len(self.anchors)), np.float32)
        if self.config.embeddings:
            cosines = documents.embeddings @ self.anchors.embeddings.T
            values += np.exp(self.config.sharpness * (cosines - 1))
        if self._products is not None:
            values += self._products(documents.words)
        return values


def unit_rows(embeddings: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, float32; a row of zeros stays."""
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return (embeddings / np.where(length > 0, length, 1)).astype(np.float32)
