"""The local-global convolution as its formula reads: the oracle of the tests and the benchmark."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pumlc.vision.models.lgconv import LocalGlobalConv


def plain_local_global(layer: LocalGlobalConv, x: Tensor) -> Tensor:
    """``conv(x) + norm(proj(x + summary * gate))``, every intermediate map held in full."""
    branch = layer.global_branch
    batch, channels, height, width = x.shape
    local = torch.relu(branch.reduction(x))
    mean = local.mean((2, 3), keepdim=True).expand_as(local)
    context = torch.cat([local, mean], dim=1)
    aggregate = branch.agg_attn(context).flatten(2).softmax(-1)
    gate = torch.sigmoid(branch.broad_attn(context)).flatten(2)
    values = branch.v(x).reshape(batch, branch.heads, channels // branch.heads, height * width)
    summary = torch.einsum("bhcn,bhn->bhc", values, aggregate)
    broadcast = torch.einsum("bhc,bhn->bhcn", summary, gate).reshape(x.shape)
    return layer.conv(x) + branch.norm(project(layer, x + broadcast))


def project(layer: LocalGlobalConv, maps: Tensor) -> Tensor:
    """``proj``, as a kernel that is zero but at its centre, where the padding is not "same"."""
    conv, proj = layer.conv, layer.global_branch.proj
    reach = conv.kernel_size[0] // 2
    if conv.padding == tuple(d * reach for d in conv.dilation):
        return proj(maps)
    centred = copy.deepcopy(conv)
    del centred.weight, centred.bias
    centred.weight = F.pad(proj.weight, (reach,) * 4)
    centred.bias = proj.bias
    return centred(maps)


class PlainLocalGlobalConv(nn.Module):
    """The published composition over the parameters of a ``LocalGlobalConv``."""

    def __init__(self, layer: LocalGlobalConv):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return plain_local_global(self.layer, x)
