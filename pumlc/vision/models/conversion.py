"""Convert the convolutions of a network to LG-conv, and fold them for inference."""

import torch
from torch import nn

from pumlc.errors import UserError
from pumlc.vision.models.lgconv import (
    ConvolutionWithBranch,
    FoldedLocalGlobalConv,
    LocalGlobalConv,
    why_unsupported,
)


def add_local_global(
    model: nn.Module,
    *,
    heads: int = 8,
    reduction: int = 4,
    kernel_sizes: tuple[int, ...] = (3,),
    minimum_channels: int = 16,
    depthwise: bool = True,
) -> list[str]:
    """Replace convolutions of ``model`` by ``LocalGlobalConv``, in place.

    ========================  ==================================================================
    converted                 ``nn.Conv2d`` and timm's ``Conv2dSame`` with a square kernel in
                              ``kernel_sizes``, of any stride, dilation and number of groups
    left, by option           fewer than ``minimum_channels`` input channels (the stem on RGB);
                              depthwise convolutions if ``depthwise`` is False
    left, by nature           everything that ``LocalGlobalConv`` refuses
    ========================  ==================================================================

    Parameters of the model keep their values and become ``<name>.conv.*``; the new ones are
    ``<name>.global_branch.*``. Heads and widths of a branch: see ``GlobalBranch``. Transformers
    (ViT, Swin) have no such convolutions: LG-conv does not apply to them.

    Args:
        model: any network, changed in place.
        heads: largest number of attention heads of a branch, at least 1.
        reduction: divides the channels inside a branch, at least 1.
        kernel_sizes: sides of the kernels that are converted.
        minimum_channels: fewest input channels of a converted convolution.
        depthwise: convert depthwise convolutions too.

    Returns:
        The names of the converted convolutions, in the order of the model.

    Raises:
        UserError: no convolution is converted; the message lists what the network has instead.
        ValueError: ``heads`` or ``reduction`` below 1.

    Source: arXiv 2306.16016, local-global convolution.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3))
        >>> add_local_global(network)
        ['2']
    """
    chosen, left = convolutions_to_convert(
        model,
        kernel_sizes=kernel_sizes,
        minimum_channels=minimum_channels,
        depthwise=depthwise,
    )
    if not chosen:
        seen = "; ".join(f"{reason} ({name})" for reason, name in left.items()) or "none"
        raise UserError(
            f"no convolution of {type(model).__name__} takes a global branch: wanted kernel sizes "
            f"{tuple(kernel_sizes)} and {minimum_channels} or more input channels; the network "
            f"has {seen}. A transformer has no such convolutions: train it without LG-conv"
        )
    for name, conv in chosen.items():
        parent, _, child = name.rpartition(".")
        layer = LocalGlobalConv(conv, heads=heads, reduction=reduction)
        setattr(model.get_submodule(parent), child, layer)
    return list(chosen)


def convolutions_to_convert(
    model: nn.Module,
    *,
    kernel_sizes: tuple[int, ...] = (3,),
    minimum_channels: int = 16,
    depthwise: bool = True,
) -> tuple[dict[str, nn.Conv2d], dict[str, str]]:
    """Find the convolutions that `add_local_global` would convert, and why it leaves the others.

    Args:
        model: any network; it stays as it is.
        kernel_sizes, minimum_channels, depthwise: see `add_local_global`.

    Returns:
        The convolutions to convert, by name; and for each reason against a conversion, the name of
        the first convolution that it applies to.
    """
    chosen: dict[str, nn.Conv2d] = {}
    left: dict[str, str] = {}
    for name, conv in _convolutions(model).items():
        if not set(conv.kernel_size) <= set(kernel_sizes):
            reason = f"a {conv.kernel_size[0]}x{conv.kernel_size[1]} kernel"
        elif conv.in_channels < minimum_channels:
            reason = f"{conv.in_channels} input channels"
        elif not depthwise and conv.groups == conv.in_channels:
            reason = "depthwise"
        else:
            reason = why_unsupported(conv)
        if reason:
            left.setdefault(reason, name)
        else:
            chosen[name] = conv
    return chosen, left


@torch.no_grad()
def fold_local_global(model: nn.Module) -> nn.Module:
    """Put every ``LocalGlobalConv`` of ``model`` into its inference form, in place.

    The outputs are those of eval mode. The result cannot be trained further: the statistics of the
    norms and the separate kernels are lost.

    Args:
        model: a network; without LG-conv it stays as it is. If it is itself a ``LocalGlobalConv``,
            it is not changed, and its inference form is returned.

    Returns:
        The model.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(16, 16, 3)).eval()
        >>> names = add_local_global(network)
        >>> x = torch.rand(1, 16, 5, 5)
        >>> before = network(x)
        >>> torch.allclose(fold_local_global(network)(x), before, atol=1e-6)
        True
    """
    if isinstance(model, LocalGlobalConv):
        return FoldedLocalGlobalConv(model)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, LocalGlobalConv):
                setattr(module, name, FoldedLocalGlobalConv(child))
    return model


def _convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    """The 2-D convolutions inside ``model`` that are not part of a converted one."""
    modules = dict(model.named_modules())
    converted = tuple(
        f"{name}." if name else ""
        for name, part in modules.items()
        if isinstance(part, ConvolutionWithBranch)
    )
    return {
        name: part
        for name, part in modules.items()
        if isinstance(part, nn.Conv2d) and name and not name.startswith(converted)
    }
