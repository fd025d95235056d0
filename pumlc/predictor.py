"""`pumlc.load`: a run folder becomes something that predicts."""

from pathlib import Path
from typing import Any

from pumlc.branches import branch_of
from pumlc.engine.run import RunFolder


def load(run_dir: Path | str, weights: str | None = None, device: str | None = None) -> Any:
    """Load the trained model of a run folder.

    Args:
        run_dir: the folder that a training run wrote.
        weights: name of saved weights; by default the best on validation, else the last.
        device: "cpu", "cuda", ...; by default a GPU if there is one.

    Returns:
        a predictor: ``predictor.predict(images or texts)`` gives scores and label names.

    Raises:
        UserError: not a run folder, no such weights or device.
    """
    branch = branch_of(RunFolder(run_dir).read()["config"].get("task"), run_dir)
    return branch.predictor_class(run_dir, weights, device)
