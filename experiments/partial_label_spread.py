"""Which part of the spread over seeds comes from the known labels, and which from all the rest.

    python experiments/partial_label_spread.py --config configs/sweeps/voc_features.yaml \\
        --features.data.root VOCdevkit --methods_shown bce_ignore,partial_asl,pu_mlc,pnu

In a sweep one seed decides the mask, the held-out part, the order and the mixtures. Here each of
``--draws`` masks is combined with each of as many seeds of the rest. A two-way analysis of variance
without replication splits the variance of the test mAP into that of the masks, that of the rest and
what neither explains alone. Rate and epochs are chosen as in a sweep, over all cells.
"""

from pathlib import Path

import numpy as np
import torch

from pumlc.cli import console
from pumlc.engine.command_line import parse
from pumlc.labels import keep_proportion
from pumlc.sweep.choose import choose
from pumlc.tables import table
from pumlc.vision.frozen.config import Method, ProbeConfig
from pumlc.vision.frozen.features import frozen_features
from pumlc.vision.frozen.probe import ProbeData, probe_cell, probe_data
from pumlc.vision.sweep.config import SweepConfig
from pumlc.vision.sweep.report import CANDIDATES, validation_column


def components(values: np.ndarray) -> list[float]:
    """Standard deviations of masks, of the rest, of what is left, and of one draw of everything.

    Args:
        values: [masks, seeds of the rest].
    """
    masks, rest = values.shape
    of_mask, of_rest = values.mean(1), values.mean(0)
    left = values - of_mask[:, None] - of_rest + values.mean()
    mean_square = (left**2).sum() / ((masks - 1) * (rest - 1))
    variances = np.array(
        [
            max(0.0, of_mask.var(ddof=1) - mean_square / rest),
            max(0.0, of_rest.var(ddof=1) - mean_square / masks),
            mean_square,
        ]
    )
    return [*np.sqrt(variances), float(np.sqrt(variances.sum()))]


def scores(
    data: ProbeData, method: Method, config: ProbeConfig, proportion: float, draws: int, metric: str
) -> np.ndarray:
    """Test mAP [masks, seeds of the rest] of the candidate that validation prefers."""
    masks = [keep_proportion(data.train_labels, proportion, seed=mask) for mask in range(draws)]
    rows = [
        {"mask": mask, "rest": seed, **row}
        for mask in range(draws)
        for seed in range(draws)
        # seeds that no mask has: equal seeds would couple the two
        for row in probe_cell(data, method, config, masks[mask], 1000 + seed)
    ]
    found = np.empty((draws, draws))
    for row in choose(rows, [], validation_column(rows, metric), CANDIDATES):
        found[row["mask"], row["rest"]] = row[metric]
    return found


def main() -> None:
    extra = (
        ("--methods_shown", {"type": str, "required": True, "help": "names, comma separated"}),
        ("--proportion", {"type": float, "default": 0.1, "help": "share of known labels"}),
        ("--draws", {"type": int, "default": 5, "help": "masks, and seeds of the rest"}),
    )
    config, options = parse(
        SweepConfig, None, program="experiments/partial_label_spread.py", extra=extra
    )
    mode = config.features
    if mode is None:
        raise ValueError("the config has no features: this is about linear heads")
    torch.set_num_threads(1)  # heads are small
    train, test = [
        frozen_features(mode.data, mode.model, split, Path(mode.cache))
        for split in ("train", "test")
    ]
    data = probe_data(train, test, mode.probe)
    lines = []
    for name in options["methods_shown"].split(","):
        if name not in config.methods:
            raise ValueError(f"--methods_shown: no method {name!r} in {list(config.methods)}")
        values = scores(
            data,
            config.methods[name],
            mode.probe,
            options["proportion"],
            options["draws"],
            config.metric,
        )
        lines.append([name, values.mean(), *components(values)])
        print(f"{name}: done", flush=True)
    print(table(["method", "mAP", "mask", "rest", "left", "all"], lines))


if __name__ == "__main__":
    console.run(main)
