"""Which task a config of texts describes: encoders to train, or least squares on a frozen one."""

from pathlib import Path
from typing import Any

from pumlc.text.config import TextConfig
from pumlc.text.frozen.config import LEAST_SQUARES
from pumlc.text.joint.config import JOINT


def create_task(config: TextConfig, folder: Path | None = None) -> Any:
    """The task of a run, `pumlc.engine.task.Task`; only its own modules are imported.

    Args:
        config: the settings of the run.
        folder: of a run that goes on; None: a new run.

    Raises:
        UserError: the package of the encoder is missing, which is found before data are read; see
            also the tasks.
    """
    if config.kernel.embeddings or config.heads == "none":
        from pumlc.text.models.build import model_source

        model_source(config.encoder.model)
    if config.heads != "none":
        from pumlc.text.frozen.task import FrozenTextTask

        return FrozenTextTask(config, folder)
    from pumlc.text.task import TextTask

    return TextTask(config, folder)


def create_predictor(
    run_dir: Path | str, weights: str | None = None, device: str | None = None
) -> Any:
    """What predicts with a run folder of texts: see `pumlc.load`."""
    from pumlc.engine.config import from_plain
    from pumlc.engine.run import RunFolder

    config: TextConfig = from_plain(TextConfig, RunFolder(run_dir).read()["config"])
    if config.heads == JOINT:
        from pumlc.text.joint.predictor import JointTextPredictor

        return JointTextPredictor(run_dir, weights, device)
    if config.heads == LEAST_SQUARES:
        from pumlc.text.frozen.predictor import FrozenTextPredictor

        return FrozenTextPredictor(run_dir, weights, device)
    from pumlc.text.predictor import TextPredictor

    return TextPredictor(run_dir, weights, device)
