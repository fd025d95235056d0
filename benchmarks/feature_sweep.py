"""What the benchmarks on the config of a feature sweep share: how they are opened."""

from typing import Any

import torch

from pumlc.engine.config import parse
from pumlc.vision.feature_cells import extracted
from pumlc.vision.probe import ProbeConfig, ProbeData, probe_data
from pumlc.vision.sweep import SweepConfig

METHODS = ("--methods_shown", {"type": str, "required": True, "help": "names, comma separated"})


def opened(
    program: str, *more: tuple[str, dict[str, Any]]
) -> tuple[SweepConfig, ProbeConfig, ProbeData, list[str], dict[str, Any]]:
    """Config, settings of the heads, data, names of the methods, other options.

    Args:
        program: for --help.
        more: options beside the config's settings and ``--methods_shown``.

    Raises:
        ValueError: the config has no features, or not these methods.
    """
    config, options = parse(SweepConfig, None, program=program, extra=(METHODS, *more))
    if config.features is None:
        raise ValueError("the config has no features: this is about linear heads")
    names = options.pop("methods_shown").split(",")
    for name in names:
        if name not in config.methods:
            raise ValueError(f"--methods_shown: no method {name!r} in {list(config.methods)}")
    torch.set_num_threads(1)  # heads are small
    train, test = extracted(config.features)
    data = probe_data(train, test, config.features.probe)
    return config, config.features.probe, data, names, options
