"""The network of one run as the start of another."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pumlc.engine.checkpoint import load_weights
from pumlc.engine.run import RunFolder
from pumlc.errors import UserError
from pumlc.vision.models.weights import load_backbone

_BRANCH = ".global_branch."


class RunWeights(NamedTuple):
    """Weights that a run has saved, in parts.

    Attributes:
        file: where they are.
        backbone: under timm's names.
        branches: of the converted convolutions, under the names of `add_local_global`.
        head: under the names of the head.
        classes: of the run; None if its folder does not say.
        pooling: of the run, before its head.
        log_odds: [2, C], slope and bias in the head that make log-odds of least-squares scores;
            None: its head has none.
    """

    file: Path
    backbone: dict[str, Tensor]
    branches: dict[str, Tensor]
    head: dict[str, Tensor]
    classes: list[str] | None
    pooling: str | None
    log_odds: Tensor | None

    def load_into_backbone(self, network: nn.Module) -> None:
        """Load the plain part.

        Raises:
            UserError: the network is another one.
        """
        load_backbone(network, self.backbone, str(self.file))

    def load_into_branches(self, network: nn.Module, *, converted: bool) -> None:
        """Load the local-global branches where there are any; new ones stay as they are.

        Raises:
            UserError: the network has none, or others.
        """
        if not self.branches:
            return
        if not converted:
            raise UserError(
                f"{self.file}: this network has local-global branches, without which it is "
                "another one; valid: model.local_global true"
            )
        own = {name: value.shape for name, value in network.state_dict().items() if _BRANCH in name}
        if own != {name: value.shape for name, value in self.branches.items()}:
            raise UserError(f"{self.file}: its local-global branches are not those of this network")
        network.load_state_dict(self.branches, strict=False)

    def load_into_head(
        self,
        head: nn.Module,
        classes: tuple[str, ...],
        *,
        pooling: str | None,
        regression: bool = False,
    ) -> bool:
        """Load the head if it is one of the same form, for the same classes in the same order.

        A head by least squares holds slope and bias of its calibration, z = slope * score + bias,
        so that z are log-odds. A loss that fits +1 and -1 starts from the scores instead: log-odds
        are up to ten times as large, and its first steps would only shrink them.

        Args:
            head: of the new network.
            classes: of the new run.
            pooling: of the new network; after another one the head would mean nothing.
            regression: whether the loss of the new run fits +1 and -1.
        """
        own = {name: parameter.shape for name, parameter in head.named_parameters()}
        saved = {name: value for name, value in self.head.items() if name in own}
        shapes = {name: value.shape for name, value in saved.items()}
        if self.classes != list(classes) or shapes != own or self.pooling != pooling:
            return False
        if regression and self.log_odds is not None:
            slope, bias = self.log_odds.to(saved["bias"].dtype)
            saved["weight"] = saved["weight"] / slope[:, None]
            saved["bias"] = (saved["bias"] - bias) / slope
        head.load_state_dict(saved, strict=False)
        return True


def run_weights(weights: str | None) -> RunWeights | None:
    """The weights of a run, if that is what a setting names.

    Args:
        weights: a run folder, whose preferred weights are taken, or a file in its ``weights``;
            anything else is not of a run.

    Raises:
        UserError: the run has saved no weights, or they are damaged.
    """
    file = run_weights_file(weights)
    if file is None:
        return None
    parts: dict[str, dict[str, Tensor]] = {"backbone": {}, "head": {}}
    for name, value in load_weights(file).items():
        part, _, rest = name.partition(".")
        if part not in parts:
            raise UserError(f"{file}: not the weights of an image run: it has {name!r}")
        parts[part][rest] = value
    branches = {name: value for name, value in parts["backbone"].items() if _BRANCH in name}
    converted = {name.partition(_BRANCH)[0] for name in branches}
    plain = {
        _timm_name(name, converted): value
        for name, value in parts["backbone"].items()
        if name not in branches
    }
    run = RunFolder(file.parents[1])
    content = run.read()
    pooling = content["config"]["model"].get("pooling")
    classes = content.get("classes")
    log_odds = _log_odds(run.index().get(file.stem, {}), len(classes or ()), file)
    return RunWeights(file, plain, branches, parts["head"], classes, pooling, log_odds)


def _log_odds(entry: dict[str, Any], num_classes: int, file: Path) -> Tensor | None:
    """Slope and bias that an entry of a run's weights records; None if it records none.

    Raises:
        UserError: what it records cannot be undone.
    """
    heads = entry.get("heads")
    found = heads.get("log_odds") if isinstance(heads, dict) else None
    if found is None:
        return None
    try:
        values = torch.tensor([found[name] for name in ("slope", "bias")], dtype=torch.float64)
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError):
        values = torch.empty(0)
    fits = values.shape == (2, num_classes) and bool(values.isfinite().all())
    if not fits or not bool((values[0] > 0).all()):
        raise UserError(
            f"{file}: its entry has wrong heads.log_odds; valid: slope and bias, a finite number "
            f"for each of the {num_classes} classes, the slopes above 0"
        )
    return values


def run_weights_file(weights: str | None) -> Path | None:
    """The file of `run_weights`; None if the setting names no run."""
    if weights is None:
        return None
    path = Path(weights)
    if (path / "run.json").is_file():
        run = RunFolder(path)
        return run.weights_file(run.preferred_weights())
    return path if (path.parents[1:] and (path.parents[1] / "run.json").is_file()) else None


def _timm_name(name: str, converted: set[str]) -> str:
    """The name of a parameter before its convolution was converted."""
    layer, _, last = name.rpartition(".")
    parent, _, child = layer.rpartition(".")
    return f"{parent}.{last}" if child == "conv" and parent in converted else name
