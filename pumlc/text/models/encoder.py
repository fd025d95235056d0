"""Transformers that turn a text into one vector, and pairs of them for documents and labels."""

import copy
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from pumlc.text.models.head import Head
from pumlc.text.models.label_vectors import LabelVectors

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TextEncoder(nn.Module):
    """A backbone and its `Head`: token ids [B, T] to float32 vectors [B, D].

    Args:
        backbone: a model of transformers; its pooler, which nothing here uses, is removed.
        head: what happens to its last hidden states.
    """

    def __init__(self, backbone: "PreTrainedModel", head: Head) -> None:
        super().__init__()
        if getattr(backbone, "pooler", None) is not None:
            backbone.pooler = None  # type: ignore[assignment]
        self.backbone, self.head = backbone, head
        width = int(backbone.config.hidden_size)
        self.projection = None if head.projection is None else nn.Linear(width, head.projection)
        self.dimension: int = head.projection or width

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode a batch; pooling and normalisation are computed in float32.

        Args:
            input_ids: int64 [B, T].
            attention_mask: int64 [B, T], 1 where there is a token.

        Returns:
            float32 [B, D].
        """
        hidden = self.backbone(input_ids=input_ids, attention_mask=attention_mask)[0].float()
        if self.head.pooling == "cls":
            pooled = hidden[:, 0]
        else:
            weight = attention_mask.unsqueeze(-1).float()
            pooled = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)
        if self.projection is not None:
            pooled = self.projection(pooled.to(self.projection.weight.dtype)).float()
        if self.head.activation == "tanh":
            pooled = pooled.tanh()
        return F.normalize(pooled, dim=-1) if self.head.normalize else pooled


class DualEncoder(nn.Module):
    """Encoders of documents and of labels: one for both, or two that start out equal.

    Args:
        encoder: the encoder of documents.
        shared: whether it encodes the labels too.
        label_vectors: stand in for the texts of some labels; None: every label is its text.
    """

    def __init__(
        self, encoder: TextEncoder, *, shared: bool, label_vectors: LabelVectors | None = None
    ) -> None:
        super().__init__()
        self.documents = encoder
        self.label_vectors = label_vectors
        # registered once when shared: each weight is saved once and has one gradient
        self.separate_labels = None if shared else copy.deepcopy(encoder)

    @property
    def labels(self) -> TextEncoder:
        """The encoder of labels."""
        return self.documents if self.separate_labels is None else self.separate_labels
