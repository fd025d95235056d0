"""The trained parameters of a classifier, chosen by stage of its backbone or by name."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from timm.models import group_parameters
from torch import nn

from pumlc.errors import UserError

BRANCH = "global_branch"


def stages(backbone: nn.Module) -> list[list[str]]:
    """Names of the parameters of each stage of a timm network, the stem first.

    The stages are the coarse groups of timm: the four layers of a ResNet, the blocks of a ViT.
    Parameters after the last stage belong to it. A normalisation between the last stage and the
    head belongs to no stage, since the head can do the same as its scale and shift.

    Args:
        backbone: a timm network, with or without local-global branches.

    Raises:
        UserError: timm does not divide the network into stages.

    Example:
        >>> import timm
        >>> [len(names) for names in stages(timm.create_model("resnet18", num_classes=0))]
        [3, 12, 15, 15, 15]
    """
    network: Any = backbone
    try:
        groups = group_parameters(network, network.group_matcher(coarse=True))
    except (AttributeError, AssertionError) as error:
        raise UserError(
            f"model.train_stages: timm does not divide {type(backbone).__name__} into stages; name "
            "the trained parameters by patterns: model.trainable"
        ) from error
    names = [groups[number] for number in sorted(groups)]
    parts = [part for part in names if not all(_normalises(backbone, name) for name in part)]
    parts[-1] = [n for n in parts[-1] if n.count(".") > 1 or not _normalises(backbone, n)]
    return parts


def _normalises(backbone: nn.Module, parameter: str) -> bool:
    module = backbone.get_submodule(parameter.rpartition(".")[0])
    return "norm" in type(module).__name__.lower()


def train_last_stages(model: Any, number: int, branches: int | None = None) -> list[str]:
    """Train the head, the last stages of the backbone, and local-global branches.

    Args:
        model: a `pumlc.vision.Classifier`, changed in place.
        number: number of trained stages, counted from the last; 0: none.
        branches: number of stages, counted from the last, whose local-global branches are trained,
            even if their other parameters are frozen; None: the branches of all stages and the
            stem.

    Returns:
        The names of the trained parameters, in the order of the model.

    Raises:
        UserError: the backbone has fewer stages than ``number``; see also `stages`.
    """
    parts = stages(model.backbone)
    if not 0 <= number < len(parts):
        raise UserError(
            f"model.train_stages {number}: {type(model.backbone).__name__} has {len(parts) - 1} "
            f"stages after its stem; valid: 0 ... {len(parts) - 1}, or none to train all of it"
        )
    with_branches = len(parts) if branches is None else branches
    kept = set()
    for position, names in enumerate(reversed(parts), start=1):
        for name in names:
            is_branch = BRANCH in name.split(".")
            if position <= (with_branches if is_branch else number):
                kept.add(f"backbone.{name}")
    kept |= {name for name, _ in model.named_parameters() if name.startswith("head.")}
    return _train_only(model, kept)


def freeze(model: nn.Module, trainable: Sequence[str]) -> list[str]:
    """Train only the parameters whose names match.

    Args:
        model: changed in place.
        trainable: patterns of ``fnmatch``; a parameter of a ``Classifier``'s backbone matches with
            and without the prefix ``backbone.``. PU-MLC trains a ResNet with
            ``["layer4.*", "*global_branch*", "head.*"]``.

    Returns:
        The names of the trained parameters, in the order of the model.

    Raises:
        UserError: a pattern matches no parameter; then the model is not changed.

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
        >>> freeze(network, ["1.*"])
        ['1.weight', '1.bias']
    """
    names = dict(model.named_parameters())
    matched = {
        pattern: {
            name
            for name in names
            if fnmatchcase(name, pattern) or fnmatchcase(name.removeprefix("backbone."), pattern)
        }
        for pattern in trainable
    }
    useless = [pattern for pattern, matches in matched.items() if not matches]
    if useless:
        raise UserError(
            f"model.trainable: no parameter matches {', '.join(map(repr, useless))}; the names are "
            "like " + ", ".join(list(names)[:: max(1, len(names) // 5)])
        )
    return _train_only(model, set().union(*matched.values()))


def _train_only(model: nn.Module, names: set[str]) -> list[str]:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]
