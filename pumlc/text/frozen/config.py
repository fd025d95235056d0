"""Settings of least squares on frozen embeddings and words."""

from dataclasses import dataclass, field

from pumlc.engine.config import require

LEAST_SQUARES = "least_squares"
"""The value of ``loss.name`` of such a run."""


@dataclass(kw_only=True)
class KernelConfig:
    """How alike two documents are: the sum of a kernel of embeddings and one of words."""

    embeddings: bool = True
    """exp(-sharpness (1 - cosine)) of the embeddings"""
    sharpness: float = 4.0
    """how fast that kernel falls"""
    words: bool = True
    """the inner product of TF-IDF vectors of words and pairs of words"""
    word_count: int | None = 50
    """words kept of a document; null: all"""
    penalties: list[float] = field(default_factory=lambda: [0.1, 0.3, 1.0])
    """candidates for the ridge penalty; leave-one-out nDCG@5 chooses"""
    anchors: int = 10_000
    """training documents that a document is compared with; of more, so many are drawn. Memory
    grows with its square, and with it times the number of labels"""

    rare_labels: float = 0.0
    """scores are multiplied by this power of the inverse propensity: above 0, rare labels rank
    higher"""

    def __post_init__(self) -> None:
        parts = self.embeddings or self.words
        require(parts, "kernel.embeddings", self.embeddings, "true where kernel.words is false")
        require(self.sharpness > 0, "kernel.sharpness", self.sharpness, "above 0")
        if self.word_count is not None:
            require(self.word_count >= 1, "kernel.word_count", self.word_count, "at least 1")
        least = min(self.penalties, default=0)
        require(least > 0, "kernel.penalties", self.penalties, "at least one, above 0")
        require(0 <= self.rare_labels <= 1, "kernel.rare_labels", self.rare_labels, "in [0, 1]")
        require(self.anchors >= 2, "kernel.anchors", self.anchors, "at least 2")
