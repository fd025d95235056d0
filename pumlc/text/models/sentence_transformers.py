"""Directories and repositories of sentence-transformers: their modules, as a `Head`."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pumlc.engine.foreign_code import as_user_error
from pumlc.errors import UserError
from pumlc.text.models.head import Head, Pooling
from pumlc.text.models.model_folder import check_source, model_file, model_json

POOLINGS: dict[Any, Pooling] = {
    "mean_tokens": "mean",
    "cls_token": "cls",
    "mean": "mean",
    "cls": "cls",
}


class Module(NamedTuple):
    """A part of a sentence-transformers model: its class, and where its files are."""

    kind: str
    folder: str


def modules_of(source: str) -> list[Module] | None:
    """The modules of a sentence-transformers model in their order; None for another model.

    Raises:
        UserError: modules.json does not say what they are.
    """
    listed = model_json(source, "modules.json")
    if listed is None:
        return None
    if not isinstance(listed, list) or not listed:
        raise UserError(f"{source}: modules.json must list modules, got {str(listed)[:80]}")
    modules = []
    for entry in listed:
        kind, folder = map(entry.get, ("type", "path")) if isinstance(entry, dict) else (None, None)
        if not isinstance(kind, str) or not isinstance(folder, str):
            raise UserError(f"{source}: modules.json: a module needs type and path, got {entry}")
        modules.append(Module(kind.rsplit(".", 1)[-1], folder))
    return modules


def backbone_folder(source: str) -> str:
    """Where the transformer is: older sentence-transformers keep it in a sub-folder.

    Raises:
        UserError: the source is neither a directory nor a name on the hub.
    """
    check_source(source)
    modules = modules_of(source) if Path(source).is_dir() else None
    return str(Path(source) / modules[0].folder) if modules else source


def read_head(source: str) -> Head | None:
    """The head that a sentence-transformers model asks for; None for another model.

    Raises:
        UserError: it has a module, pooling or activation that is not supported.
    """
    modules = modules_of(source)
    if modules is None:
        return None
    settings: dict[str, Any] = {"normalize": False}
    for module in modules:
        if module.kind == "Pooling":
            settings["pooling"] = _pooling(source, _module_config(source, module))
        elif module.kind == "Dense":
            if "projection" in settings:
                raise UserError(f"{source}: more than one Dense module is not supported")
            config = _module_config(source, module)
            name = config.get("activation_function", "torch.nn.modules.linear.Identity")
            settings["activation"] = str(name).rsplit(".", 1)[-1].lower()
            settings["projection"] = _dense_width(source, module, config)
        elif module.kind == "Normalize":
            settings["normalize"] = True
        elif module.kind != "Transformer":
            raise UserError(
                f"{source}: sentence-transformers module {module.kind!r} is not supported; "
                "supported: Transformer, Pooling, Dense, Normalize"
            )
    return Head(**settings)


def load_projection(source: str, projection: nn.Linear) -> None:
    """Fill a layer from the Dense module of the source, if it has one of the same width.

    Raises:
        UserError: the weights of the module are missing or damaged.
    """
    for module in modules_of(source) or []:
        if module.kind != "Dense":
            continue
        state = _dense_weights(source, module)
        weight, bias = state["linear.weight"], state.get("linear.bias")
        if weight.shape != projection.weight.shape:
            return
        with torch.no_grad():
            projection.weight.copy_(weight)
            projection.bias.copy_(torch.zeros(len(weight)) if bias is None else bias)


def _module_config(source: str, module: Module) -> dict[str, Any]:
    """The settings of a module; empty without a file of them."""
    name = f"{module.folder}/config.json"
    config = model_json(source, name) or {}
    if not isinstance(config, dict):
        raise UserError(f"{source}: {name} must be an object, got {str(config)[:80]}")
    return config


def _pooling(source: str, config: dict[str, Any]) -> Pooling:
    """``pooling_mode_*`` flags of older directories, ``pooling_mode`` of newer ones."""
    prefix = "pooling_mode_"
    flags = [name.removeprefix(prefix) for name, on in config.items() if on and prefix in name]
    modes = [str(config["pooling_mode"])] if "pooling_mode" in config else flags
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise UserError(f"{source}: pooling {modes} is not supported; supported: mean, cls")
    return POOLINGS[modes[0]]


def _dense_width(source: str, module: Module, config: dict[str, Any]) -> int:
    width = config.get("out_features")
    if not isinstance(width, int) or isinstance(width, bool):
        raise UserError(
            f"{source}: {module.folder}/config.json: out_features must be a whole number, "
            f"got {width!r}"
        )
    return width


def _dense_weights(source: str, module: Module) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    path = model_file(source, f"{module.folder}/model.safetensors")
    pickled = path is None
    if path is None:
        path = model_file(source, f"{module.folder}/pytorch_model.bin")
    where = f"{source}: no weights in {module.folder}"
    if path is None:
        raise UserError(f"{where}: there is neither model.safetensors nor pytorch_model.bin")
    with as_user_error(f"{where}: {path.name}"):
        state = torch.load(path, "cpu", weights_only=True) if pickled else load_file(path)
    if "linear.weight" not in state:
        raise UserError(f"{where}: no linear.weight in {path.name}")
    return state
