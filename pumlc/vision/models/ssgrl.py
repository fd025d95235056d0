"""SSGRL: one feature vector per class, with messages between classes along a label graph."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

CLASSES_AT_ONCE = 16


class SSGRL(nn.Module):
    """Semantic decoupling, a gated graph network, and one linear classifier per class.

    features [B,D,H,W] are averaged over 2x2 pixels and projected to ``width`` channels with a
    BatchNorm; ``SemanticDecoupling`` gives every class a vector ``f`` [B,C,width], ``GatedGraph``
    passes messages between them along ``label_graph``, and::

        o_c = tanh(W [h_c, f_c])
        logits_c = <classifier_c, o_c> + bias_c

    ``label_graph`` None leaves the graph out: ``o_c = tanh(W f_c)``. Label vectors and graph are
    saved with the weights.

    Args:
        in_features: D.
        label_vectors: [C,V], what the classes' names mean (`pumlc.vision.models.class_vectors`).
        label_graph: [C,C], weight of the message from class c' to class c, or None.
        width: channels of the class vectors (published: 1024).
        inner: rank of the bilinear attention (published: 512).
        steps: passes over the graph (published: 3).

    Raises:
        ValueError: ``label_vectors`` or ``label_graph`` has another shape or is not finite, or the
            features are not a map.

    Source: Chen et al., "Learning Semantic-Specific Graph Representation for Multi-Label Image
    Recognition", ICCV 2019, arXiv 1908.07325; sizes as in PU-MLC, arXiv 2306.16016.

    Example:
        >>> head = SSGRL(512, torch.randn(5, 300), label_graph=torch.eye(5))
        >>> head(torch.zeros(2, 512, 7, 6)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        in_features: int,
        label_vectors: Tensor,
        *,
        label_graph: Tensor | None,
        width: int = 1024,
        inner: int = 512,
        steps: int = 3,
    ):
        super().__init__()
        if label_vectors.ndim != 2 or not torch.isfinite(label_vectors).all():
            raise ValueError(
                f"label_vectors must be finite, one row per class, got {list(label_vectors.shape)}"
            )
        classes = len(label_vectors)
        self.project = nn.Conv2d(in_features, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.decouple = SemanticDecoupling(width, label_vectors, inner=inner)
        self.graph = None if label_graph is None else GatedGraph(width, label_graph, steps=steps)
        if self.graph is not None and len(self.graph.graph) != classes:
            raise ValueError(
                f"label_graph has {len(self.graph.graph)} classes, but label_vectors has {classes}"
            )
        self.output = nn.Linear(width if self.graph is None else 2 * width, width)
        self.classifier = nn.Parameter(torch.empty(classes, width))
        self.bias = nn.Parameter(torch.zeros(classes))
        nn.init.uniform_(self.classifier, -(width**-0.5), width**-0.5)

    def forward(self, features: Tensor) -> Tensor:
        if features.ndim != 4:
            raise ValueError(
                f"SSGRL takes a map [B,D,H,W]; this backbone gives {list(features.shape)}"
            )
        pooled = F.avg_pool2d(features, 2, ceil_mode=True, count_include_pad=False)
        vectors = self.decouple(self.norm(self.project(pooled)))
        states = [vectors] if self.graph is None else [self.graph(vectors), vectors]
        outputs = torch.tanh(self.output(torch.cat(states, dim=-1)))
        return (outputs * self.classifier).sum(-1) + self.bias


class SemanticDecoupling(nn.Module):
    """Features [B,D,H,W] to one vector per class [B,C,D], by attention guided by the label vector.

    With pixels ``f_n`` and label vectors ``x_c``::

        s_nc = <a, P tanh((U f_n) * (V x_c))>
        f_c  = sum_n softmax_n(s_nc) f_n

    ``P`` and ``a`` are linear and follow each other, so ``P^T a`` is computed first: it is one
    vector, and no matrix multiplies [B,N,C,inner]. That tensor exists only for a few classes at a
    time, and is computed again for the gradient.

    Args:
        in_features: D.
        label_vectors: [C,V].
        inner: rank of the bilinear attention.

    Source: arXiv 1908.07325, equations 1 to 3.
    """

    def __init__(self, in_features: int, label_vectors: Tensor, *, inner: int):
        super().__init__()
        self.label_vectors: Tensor
        self.register_buffer("label_vectors", label_vectors.detach().clone().float())
        self.of_pixel = nn.Linear(in_features, inner, bias=False)
        self.of_label = nn.Linear(label_vectors.shape[1], inner, bias=False)
        self.mix = nn.Linear(inner, inner, bias=False)
        self.score = nn.Linear(inner, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        pixels = features.flatten(2).mT
        from_pixels = self.of_pixel(pixels)
        from_labels = self.of_label(self.label_vectors)
        direction = self.score.weight[0] @ self.mix.weight
        scores = [
            checkpoint(_scores, from_pixels, some, direction, use_reentrant=False)
            if torch.is_grad_enabled()
            else _scores(from_pixels, some, direction)
            for some in from_labels.split(CLASSES_AT_ONCE)
        ]
        return torch.einsum("bnc,bnd->bcd", torch.cat(scores, dim=2).softmax(1), pixels)


def _scores(from_pixels: Tensor, from_labels: Tensor, direction: Tensor) -> Tensor:
    """[B,N,inner] and [c,inner] -> [B,N,c]."""
    return torch.tanh(from_pixels[:, :, None] * from_labels) @ direction


class GatedGraph(nn.Module):
    """Gated messages along a label graph: [B,C,D] -> [B,C,D].

    With ``A`` = ``label_graph`` and ``h = vectors`` at first, ``steps`` times::

        m = [A h, A^T h]
        z = sigmoid(W_z m + U_z h)      r = sigmoid(W_r m + U_r h)
        h = (1 - z) h + z tanh(W m + U (r h))

    Args:
        width: D.
        label_graph: [C,C], weight of the message from class c' to class c.
        steps: passes over the graph.

    Raises:
        ValueError: the graph is not square or not finite.

    Source: Li et al., "Gated Graph Sequence Neural Networks", ICLR 2016; arXiv 1908.07325,
    equation 5.
    """

    def __init__(self, width: int, label_graph: Tensor, *, steps: int):
        super().__init__()
        if label_graph.ndim != 2 or label_graph.shape[0] != label_graph.shape[1]:
            raise ValueError(f"label_graph must be [C,C], got {list(label_graph.shape)}")
        if not torch.isfinite(label_graph).all():
            raise ValueError("label_graph has entries that are not finite")
        self.graph: Tensor
        self.register_buffer("graph", label_graph.detach().clone().float())
        self.steps = steps
        self.of_message = nn.Linear(2 * width, 3 * width)
        self.of_state = nn.Linear(width, 2 * width, bias=False)
        self.of_kept_state = nn.Linear(width, width, bias=False)

    def forward(self, vectors: Tensor) -> Tensor:
        state = vectors
        for _ in range(self.steps):
            message = torch.cat([self.graph @ state, self.graph.mT @ state], dim=-1)
            update, reset, candidate = self.of_message(message).chunk(3, dim=-1)
            state_update, state_reset = self.of_state(state).chunk(2, dim=-1)
            update = torch.sigmoid(update + state_update)
            reset = torch.sigmoid(reset + state_reset)
            candidate = torch.tanh(candidate + self.of_kept_state(reset * state))
            state = (1 - update) * state + update * candidate
        return state
