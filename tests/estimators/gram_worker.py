"""What each of two processes fits for test_gram_sums; imported there, run in spawn."""

from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from pumlc.estimators import LeastSquares, fit_least_squares

NUM_RANKS = 2
SHARES = [slice(0, 36), slice(36, 90)]
FITS = ("complete", "masked", "weighted")


def inputs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels and groups; no group is in both shares."""
    random = np.random.default_rng(0)
    features = random.normal(size=(90, 6))
    labels = np.where(features[:, :3] + random.normal(size=(90, 3)) > 0.4, 1, -1).astype(np.int8)
    return features, labels, np.arange(90) // 4


def fit(name: str, rows: slice, reduce) -> LeastSquares:
    features, labels, groups = inputs()
    options = {}
    if name == "masked":
        labels[np.random.default_rng(1).random(labels.shape) < 0.4] = 0
    if name == "weighted":
        options["row_weights"] = np.linspace(0.5, 2, 90)[rows]
        options["class_weights"] = [[1.0, 2.0], [1.0, 1.0], [0.5, 3.0]]
    given = features[rows], labels[rows]
    return fit_least_squares(*given, groups=groups[rows], reduce=reduce, **options)


def total(array: np.ndarray) -> np.ndarray:
    """The sum over the processes, as a user's own training would take it."""
    tensor = torch.from_numpy(np.array(array))
    dist.all_reduce(tensor)
    return tensor.numpy()


def work(rank: int, folder: str) -> None:
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=NUM_RANKS)
    for name in FITS:
        heads = fit(name, SHARES[rank], total)
        file = Path(folder) / f"{name}{rank}.npz"
        np.savez(
            *(file, heads.coefficients, heads.intercept, heads.loo_scores, heads.penalty),
        )
    dist.destroy_process_group()
