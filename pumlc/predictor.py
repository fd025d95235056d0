"""`pumlc.load`: a run folder becomes something that predicts."""

from pathlib import Path
from typing import Any

from pumlc.engine.run import RunFolder


def load(run_dir: Path | str, weights: str | None = None, device: str | None = None) -> Any:
    """Load the trained model of a run folder.

    Args:
        run_dir: the folder that tools/train.py wrote.
        weights: name of saved weights; by default the best on validation, else the last.
        device: "cpu", "cuda", ...; by default a GPU if there is one.

    Returns:
        a predictor: ``predictor.predict(images or texts)`` gives scores and label names.

    Raises:
        ValueError: not a run folder, no such weights or device.
    """
    task = RunFolder(run_dir).read()["config"]["task"]
    if task == "text":
        from pumlc.text.predictor import TextPredictor

        return TextPredictor(run_dir, weights, device)
    from pumlc.vision.predictor import VisionPredictor

    return VisionPredictor(run_dir, weights, device)
