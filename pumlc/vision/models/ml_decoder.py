"""ML-Decoder: a classification head of a fixed number of queries that attend to the map."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MLDecoder(nn.Module):
    """Fixed random queries attend to the map; each decodes a group of classes.

    With tokens ``E = relu(W x)`` of the map, K queries ``Q`` [K,width] that are not trained, and
    groups of ``G = ceil(C / K)`` classes::

        Q1 = norm(Q + attention(Q, E, E))
        Q2 = norm(Q1 + feed_forward(Q1))
        logits[k G + j] = <group_weight[k,:,j], Q2[k]> + bias[k G + j]

    features [B,D,H,W], or tokens [B,N,D] of a transformer -> logits [B,C]. Cost grows with K,
    not with C: 100 queries decode thousands of classes.

    Args:
        in_features: D.
        num_classes: C.
        queries: K; by default one per class, at most 100.
        width: channels of the decoder.
        attention_heads: number of heads of its attention.
        hidden: channels inside its feed-forward layer.
        dropout: probability in [0, 1).

    Raises:
        ValueError: ``queries`` is below 1 or above C, or ``width`` is not a multiple of
            ``attention_heads``.

    Source: Ridnik et al., "ML-Decoder: Scalable and Versatile Classification Head",
    arXiv 2111.12933, sections 2.3 and 2.4.

    Example:
        >>> head = MLDecoder(512, 1000, queries=20)
        >>> head(torch.zeros(2, 512, 7, 5)).shape
        torch.Size([2, 1000])
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        queries: int | None = None,
        width: int = 768,
        attention_heads: int = 8,
        hidden: int = 2048,
        dropout: float = 0.1,
    ):
        super().__init__()
        queries = min(num_classes, 100) if queries is None else queries
        if not 1 <= queries <= num_classes:
            raise ValueError(f"queries must be in 1 ... {num_classes} (classes), got {queries}")
        if width % attention_heads:
            raise ValueError(
                f"width {width} is not a multiple of {attention_heads} attention heads"
            )
        self.num_classes = num_classes
        self.attention_heads = attention_heads
        self.dropout = dropout
        self.embed = nn.Linear(in_features, width)
        self.query: Tensor
        self.register_buffer("query", torch.randn(queries, width))
        self.query_projection = nn.Linear(width, width)
        self.key_value_projection = nn.Linear(width, 2 * width)
        self.output_projection = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, width)
        )
        self.feed_forward_norm = nn.LayerNorm(width)
        group = -(-num_classes // queries)
        self.group_weight = nn.Parameter(torch.empty(queries, width, group))
        self.bias = nn.Parameter(torch.zeros(num_classes))
        nn.init.normal_(self.group_weight, std=width**-0.5)

    def forward(self, features: Tensor) -> Tensor:
        tokens = features.flatten(2).mT if features.ndim == 4 else features
        attended = self._attend(F.relu(self.embed(tokens)))
        decoded = self.attention_norm(self.query + self._drop(attended))
        decoded = self.feed_forward_norm(decoded + self._drop(self.feed_forward(decoded)))
        logits = torch.einsum("bkd,kdg->bkg", decoded, self.group_weight)
        # the last group may be longer than the number of remaining classes
        return logits.flatten(1)[:, : self.num_classes] + self.bias

    def _attend(self, tokens: Tensor) -> Tensor:
        """Multi-head attention of the queries to ``tokens`` [B,N,width]: [B,K,width]."""

        def split_heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (self.attention_heads, -1)).transpose(-3, -2)

        # one projection of the queries serves the whole batch
        query = split_heads(self.query_projection(self.query)).expand(tokens.shape[0], -1, -1, -1)
        key, value = map(split_heads, self.key_value_projection(tokens).chunk(2, dim=-1))
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return self.output_projection(attended.transpose(1, 2).flatten(2))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)
