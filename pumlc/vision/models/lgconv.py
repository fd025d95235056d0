"""Local-global convolution (LG-conv): a convolution with a global branch beside it.

With ``x`` [B,C,H,W] and a convolution that reads ``groups`` groups of channels::

    r        = relu(reduction(x))                            [B,M,H,W]
    context  = concat(r, mean of r over the map)             [B,2M,H,W]
    a        = softmax over the map of agg_attn(context)     [B,heads,H,W]
    g        = sigmoid(broad_attn(context))                  [B,heads,H,W]
    summary  = sum over the map of a * v(x)                  one vector [B,C/heads] per head
    branch   = norm(proj(x + summary * g))                   [B,C',H',W']
    LG(x)    = conv(x) + branch

reduction, agg_attn, broad_attn, v and proj are 1x1 convolutions, norm is a BatchNorm whose weight
starts near zero, so that a converted network starts as the network it was.

The branch is computed without storing ``v(x)`` or ``summary * g``. ``v`` is linear and ``a`` sums
to one, so ``summary = v(sum a * x)``: ``v`` acts on one vector per head. ``proj`` is linear too, so
``proj(x + summary * g) = proj(x) + low rank term``. The low rank term is the product of [C',heads]
and [heads,H'W'] at the positions of the stride. In eval mode norm is an affine map. Then
norm(proj(x)) is a 1x1 convolution, and is added to the centre of conv's kernel.

Source: Yuan et al., "Positive Label Is All You Need for Multi-Label Classification",
arXiv 2306.16016 (ICME 2024), local-global convolution.
"""

import copy

import torch
import torch.nn.functional as F
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

NORM_WEIGHT_STD = 1e-4
MINIMUM_MIDDLE_CHANNELS = 8


class GlobalBranch(nn.Module):
    """The parameters of the global branch, under the released names.

    The convolution beside it decides:

    ==========================  ============================================================
    heads                       at most ``heads``: the largest number that divides in_channels
                                (one group) or the number of groups
    channels of ``reduction``   max(8, in_channels / groups / ``reduction``)
    groups of ``v``, ``proj``   those of the convolution: 1 gives the released dense branch
    stride of ``proj``          that of the convolution
    ==========================  ============================================================

    So the branch of a depthwise convolution is as cheap as the convolution; the pointwise
    convolutions around it mix the channels.

    Args:
        conv: the convolution beside it.
        heads: largest number of attention heads.
        reduction: divides the channels of ``reduction``.
    """

    def __init__(self, conv: nn.Conv2d, *, heads: int, reduction: int):
        super().__init__()
        channels, groups = conv.in_channels, conv.groups
        middle = max(MINIMUM_MIDDLE_CHANNELS, channels // groups // reduction)
        divided = channels if groups == 1 else groups
        self.heads = max(h for h in range(1, heads + 1) if divided % h == 0)
        self.reduction = nn.Conv2d(channels, middle, 1)
        self.agg_attn = nn.Conv2d(2 * middle, self.heads, 1)
        self.broad_attn = nn.Conv2d(2 * middle, self.heads, 1)
        self.v = nn.Conv2d(channels, channels, 1, groups=groups)
        stride = (conv.stride[0], conv.stride[1])
        self.proj = nn.Conv2d(channels, conv.out_channels, 1, stride=stride, groups=groups)
        self.norm = nn.BatchNorm2d(conv.out_channels)
        nn.init.normal_(self.norm.weight, std=NORM_WEIGHT_STD)

    def attention_weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """The weights of both attentions for ``attention``, aggregate first, then broadcast."""
        weight = torch.cat([self.agg_attn.weight, self.broad_attn.weight])
        local_weight, mean_weight = weight.chunk(2, dim=1)
        bias = torch.cat([_bias(self.agg_attn), _bias(self.broad_attn)])
        return local_weight, mean_weight.flatten(1), bias


def attention(
    x: Tensor, reduction: nn.Conv2d, weights: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """The two attentions of a map.

    Args:
        x: [B,C,H,W].
        reduction: the convolution of that name.
        weights: the weight of the local features [2*heads,M,1,1], that of their mean [2*heads,M],
            and the bias [2*heads]. The mean of the map is one vector per image, so its weight is
            applied only to this vector.

    Returns:
        The aggregate attention [B,heads,HW], whose rows sum to one, and the broadcast gate
        [B,heads,H,W].
    """
    local_weight, mean_weight, bias = weights
    local = F.relu_(F.conv2d(x, reduction.weight, reduction.bias))
    mean = F.linear(local.mean((2, 3)), mean_weight, bias)
    logits = F.conv2d(local, local_weight) + mean[:, :, None, None]
    aggregate, gate = logits.chunk(2, dim=1)
    return aggregate.flatten(2).softmax(-1), gate.sigmoid()


def head_vectors(pooled: Tensor, v: nn.Conv2d, proj: Tensor) -> Tensor:
    """The vector that each head adds to the output where its gate is one.

    ``v`` is applied to one vector per head, and ``proj`` to the channels of the head in the result.

    Args:
        pooled: [B,heads,C], the map summed with the aggregate attention.
        v: the convolution of that name.
        proj: [C',C/groups,1,1].

    Returns:
        [B,heads,C'].
    """
    batch, heads, channels = pooled.shape
    if v.groups == 1:
        weight = v.weight.view(heads, -1, channels).mT
        summary = torch.baddbmm(_bias(v).view(heads, 1, -1), pooled.transpose(0, 1), weight)
        onto_output = proj.view(len(proj), heads, -1).permute(1, 2, 0)
        return torch.bmm(summary, onto_output).transpose(0, 1)
    # each group lies in one head, so every channel has one summary and one head
    own = pooled.view(batch, heads, heads, -1).diagonal(dim1=1, dim2=2).mT.flatten(1)
    summary = _grouped_linear(own, v.weight, v.groups) + _bias(v)
    vectors = _grouped_linear(summary, proj, v.groups).view(batch, heads, -1)
    return torch.diag_embed(vectors.mT, dim1=1, dim2=2).flatten(2)


def add_gated(output: Tensor, vectors: Tensor, gate: Tensor) -> Tensor:
    """``output[b,:,i,j] + sum_h vectors[b,h,:] * gate[b,h,i,j]``, in the layout of ``output``.

    Without gradients it works in place, to save memory: nobody else uses ``output``.
    """
    left, right = vectors.to(output.dtype).mT, gate.to(output.dtype).flatten(2)
    pixels = output.flatten(2)
    channels_last = not output.is_contiguous()
    if channels_last:
        pixels, left, right = pixels.mT, right.mT, left.mT
    if not torch.is_grad_enabled():
        pixels.baddbmm_(left, right)
        return output
    total = torch.baddbmm(pixels, left, right)
    return (total.mT if channels_last else total).view(output.shape)


class _AddAtCentre(torch.autograd.Function):
    """``kernel`` plus ``centre`` [C',C,1,1] at its middle, with one copy and no padding.

    With a small batch the kernel is as large as the map, so every copy of it costs time in a
    training step.
    """

    @staticmethod
    def forward(ctx, kernel, centre):
        total = kernel.clone()
        _middle(total).add_(centre)
        return total

    @staticmethod
    def backward(ctx, *gradients):
        # a copy, since the first becomes the kernel's .grad, which may be added to in place
        return gradients[0], _middle(gradients[0]).clone()


def _middle(kernel: Tensor) -> Tensor:
    """[C',C,K,K] -> [C',C,1,1], a view."""
    reach = kernel.shape[-1] // 2
    return kernel[:, :, reach : reach + 1, reach : reach + 1]


def _grouped_linear(vectors: Tensor, weight: Tensor, groups: int) -> Tensor:
    """A grouped 1x1 convolution of vectors [B,C], a hundred times faster than ``conv2d``."""
    inputs = vectors.unflatten(1, (groups, 1, -1))
    return (inputs * weight.view(groups, -1, weight.shape[1])).sum(-1).flatten(1)


class ConvolutionWithBranch(nn.Module):
    """The common part of both forms: the convolution, and the positions of its kernel's centre."""

    conv: nn.Conv2d

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Apply ``self.conv`` with another kernel and bias to x [B,C,H,W]."""
        conv = self.conv
        if isinstance(conv, Conv2dSame):
            missing = [_same_padding(conv, axis, x.shape[axis + 2]) for axis in (1, 0)]
            x = F.pad(x, [side for total in missing for side in (total // 2, total - total // 2)])
        return F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)

    def at_centres(self, maps: Tensor, size: torch.Size) -> Tensor:
        """``maps`` [B,K,H,W] at the pixels under the kernel's centre: [B,K,H',W'], a view."""
        for axis in (0, 1):
            first = _first_centre(self.conv, axis, maps.shape[axis + 2])
            stride = self.conv.stride[axis]
            last = first + (size[axis] - 1) * stride
            maps = maps[(slice(None),) * (axis + 2) + (slice(first, last + 1, stride),)]
        return maps

    def add_term(
        self,
        output: Tensor,
        x: Tensor,
        attentions: tuple[Tensor, Tensor],
        v: nn.Conv2d,
        proj: Tensor,
    ) -> Tensor:
        """``output`` [B,C',H',W'] plus the low rank term of the summaries.

        Args:
            output: the sum of the convolution and the linear branch.
            x: [B,C,H,W].
            attentions: see `attention`.
            v: the convolution of that name.
            proj: [C',C/groups,1,1].
        """
        aggregate, gate = attentions
        pooled = torch.bmm(aggregate, x.flatten(2).mT)
        return add_gated(
            output, head_vectors(pooled, v, proj), self.at_centres(gate, output.shape[2:])
        )


class LocalGlobalConv(ConvolutionWithBranch):
    """``conv`` with a global branch beside it, which replaces ``conv`` in a network.

    ``LG(x) = conv(x) + norm(proj(x + summary * gate))``; the module's docstring has the formulas.
    x [B,C,H,W] -> [B,C',H',W'], the shape of ``conv(x)``. The branch reads the pixels under the
    centre of the kernel, even if padding shifts these from the pixels that ``proj`` with the same
    stride would read.

    With ``global_branch.norm`` in train mode, statistics of the batch normalise the branch, and it
    costs a ninth of a 3x3 convolution. In eval mode (frozen, as PU-MLC trains it) its linear part
    is merged into the kernel. Gradients reach every parameter in both modes.

    Args:
        conv: the convolution; it becomes a part of the layer.
        heads: largest number of attention heads, at least 1.
        reduction: divides the channels inside the branch, at least 1.

    Raises:
        ValueError: the branch cannot stand beside ``conv``, which is a subclass of ``nn.Conv2d``
            that changes its weights, or has a kernel that is not square and odd, a padding mode
            other than zeros, or a padding beyond "same"; or ``heads`` or ``reduction`` is below 1.

    Source: arXiv 2306.16016, local-global convolution; state-dict names of the released code.

    Example:
        >>> conv = nn.Conv2d(32, 48, 3, stride=2, padding=1)
        >>> layer = LocalGlobalConv(conv)
        >>> layer(torch.zeros(2, 32, 9, 7)).shape == conv(torch.zeros(2, 32, 9, 7)).shape
        True
    """

    def __init__(self, conv: nn.Conv2d, *, heads: int = 8, reduction: int = 4):
        super().__init__()
        if heads < 1 or reduction < 1:
            raise ValueError(f"heads and reduction must be at least 1, got {heads}, {reduction}")
        reason = why_unsupported(conv)
        if reason:
            raise ValueError(f"no global branch can stand beside {conv}: {reason}")
        self.conv = conv
        self.global_branch = GlobalBranch(conv, heads=heads, reduction=reduction)
        self.global_branch.to(device=conv.weight.device, dtype=conv.weight.dtype)
        self.global_branch.train(conv.training)

    def forward(self, x: Tensor) -> Tensor:
        conv, branch = self.conv, self.global_branch
        attentions = attention(x, branch.reduction, branch.attention_weights())
        if not branch.norm.training:
            weight, bias, proj = self.merged()
            output = self.convolve(x, weight, bias)
            return self.add_term(output, x, attentions, branch.v, proj)
        output = self.convolve(x, conv.weight, conv.bias)
        pixels = self.at_centres(x, output.shape[2:])
        proj = branch.proj
        linear = F.conv2d(pixels, proj.weight, proj.bias, groups=proj.groups)
        return output + branch.norm(self.add_term(linear, x, attentions, branch.v, proj.weight))

    def merged(self) -> tuple[Tensor, Tensor, Tensor]:
        """Merge convolution and linear branch, for a norm that is the map ``scale * y + shift``.

        Returns:
            kernel: ``conv.weight`` with ``scale * proj.weight`` added at its centre.
            bias: [C'], ``conv.bias + scale * proj.bias + shift``.
            proj: ``scale * proj.weight``.
        """
        conv, proj, norm = self.conv, self.global_branch.proj, self.global_branch.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        scaled = proj.weight * scale[:, None, None, None]
        weight = _AddAtCentre.apply(conv.weight, scaled)
        bias = scale * (_bias(proj) - norm.running_mean) + norm.bias
        return weight, bias if conv.bias is None else bias + conv.bias, scaled


class FoldedLocalGlobalConv(ConvolutionWithBranch):
    """The inference form of a ``LocalGlobalConv`` whose norm is in eval mode: the same function.

    Everything that does not depend on the input is computed once.

    Args:
        layer: stays as it is.
    """

    def __init__(self, layer: LocalGlobalConv):
        super().__init__()
        branch = layer.global_branch
        kernel, bias, proj = layer.merged()
        self.conv = copy.deepcopy(layer.conv)
        self.conv.weight.data = kernel
        self.conv.bias = nn.Parameter(bias)
        self.reduction = branch.reduction
        local_weight, mean_weight, bias = branch.attention_weights()
        self.local_weight = nn.Parameter(local_weight.contiguous())
        self.mean_weight = nn.Parameter(mean_weight.contiguous())
        self.bias = nn.Parameter(bias)
        self.v = branch.v
        self.proj = nn.Parameter(proj)
        self.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        output = self.convolve(x, self.conv.weight, self.conv.bias)
        attentions = attention(x, self.reduction, (self.local_weight, self.mean_weight, self.bias))
        return self.add_term(output, x, attentions, self.v, self.proj)


def why_unsupported(conv: nn.Conv2d) -> str | None:
    """The reason why ``LocalGlobalConv`` refuses ``conv``; None if it accepts it."""
    if type(conv) not in (nn.Conv2d, Conv2dSame):
        return f"its type is {type(conv).__name__}, not nn.Conv2d or timm's Conv2dSame"
    height, width = conv.kernel_size
    if height != width or height % 2 == 0:
        return f"its kernel is {height}x{width}, not square and odd"
    if conv.padding_mode != "zeros":
        return f"its padding mode is {conv.padding_mode}, not zeros"
    if any(_first_centre(conv, axis, height) < 0 for axis in (0, 1)):
        return f"its padding {conv.padding} lets the kernel's centre leave the map"
    return None


def _first_centre(conv: nn.Conv2d, axis: int, size: int) -> int:
    """The pixel under the kernel's centre at the first output, on an axis of ``size`` pixels."""
    kernel, dilation = conv.kernel_size[axis], conv.dilation[axis]
    reach = dilation * (kernel // 2)
    if isinstance(conv, Conv2dSame):
        return reach - _same_padding(conv, axis, size) // 2
    if isinstance(conv.padding, str):
        return 0 if conv.padding == "same" else reach
    return reach - conv.padding[axis]


def _same_padding(conv: nn.Conv2d, axis: int, size: int) -> int:
    """Zeros that ``Conv2dSame`` adds in all on an axis, to give ceil(size / stride) outputs."""
    stride = conv.stride[axis]
    used = (
        (-(-size // stride) - 1) * stride + (conv.kernel_size[axis] - 1) * conv.dilation[axis] + 1
    )
    return max(used - size, 0)


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias
