"""A head beyond linear: the mean of a linear layer and of a Gaussian kernel with landmarks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

LANDMARKS = "landmarks"
"""The name of the buffer by which saved weights show this head, and its number of landmarks."""


class KernelHead(nn.Module):
    """Logits (x W^T + b + k(x) V^T + c) / 2 of features x, with k_j(x) = exp(-|u - v_j|^2).

    u is (x - mean) * scale at length 1, and so are the landmarks v_j. The first two terms alone are
    a linear head on the same scale: another network may start from them.

    Args:
        in_features: D.
        out_features: C.
        landmarks: L.

    Attributes:
        weight, bias: [C, D] and [C].
        kernel_weight, kernel_bias: [C, L] and [C].
        mean, scale: [D].
        landmarks: [L, D].
    """

    mean: Tensor
    scale: Tensor
    landmarks: Tensor

    def __init__(self, in_features: int, out_features: int, landmarks: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = nn.Parameter(torch.zeros(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.kernel_weight = nn.Parameter(torch.zeros(out_features, landmarks))
        self.kernel_bias = nn.Parameter(torch.zeros(out_features))
        self.register_buffer("mean", torch.zeros(in_features))
        self.register_buffer("scale", torch.ones(in_features))
        self.register_buffer(LANDMARKS, torch.zeros(landmarks, in_features))

    def forward(self, features: Tensor) -> Tensor:
        # in half precision the sums over landmarks, whose terms nearly cancel, would be lost
        with torch.autocast(features.device.type, enabled=False):
            features = features.to(self.weight.dtype)
            unit = (features - self.mean) * self.scale
            unit = unit / unit.norm(dim=1, keepdim=True).clamp_min(torch.finfo(unit.dtype).tiny)
            kernel = torch.exp(2 * (unit @ self.landmarks.T - 1))
            linear = nn.functional.linear(features, self.weight, self.bias)
            return (linear + nn.functional.linear(kernel, self.kernel_weight, self.kernel_bias)) / 2


def chosen_classes(head: "nn.Linear | KernelHead", rows: Sequence[int]) -> "nn.Linear | KernelHead":
    """A head of the same kind with the classes of some rows, in their order; in float32."""
    inputs, size = head.in_features, len(rows)
    if isinstance(head, KernelHead):
        chosen = KernelHead(inputs, size, len(head.landmarks))
    else:
        chosen = nn.Linear(inputs, size)
    of_classes = dict(head.named_parameters())
    state = head.state_dict()
    chosen.load_state_dict(
        {name: value[list(rows)] if name in of_classes else value for name, value in state.items()}
    )
    return chosen


@torch.no_grad()
def set_linear(
    head: "nn.Linear | KernelHead", row: int, coefficients: Tensor, constant: float
) -> None:
    """Make the logit of a class linear in the features, whatever the head is."""
    factor = 1
    if isinstance(head, KernelHead):  # its logit is half the sum of both parts
        factor = 2
        head.kernel_weight[row], head.kernel_bias[row] = 0, 0
    head.weight[row], head.bias[row] = factor * coefficients, factor * constant


POOLED_HEADS = (nn.Linear, KernelHead)
"""Heads on the pooled features of a network."""
