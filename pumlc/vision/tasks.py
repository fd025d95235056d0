"""Which task a config of pictures describes: a network to train, or heads on a frozen one."""

from pathlib import Path
from typing import Any

from pumlc.vision.config import VisionConfig


def create_task(config: VisionConfig, folder: Path | None = None) -> Any:
    """The task of a run, `pumlc.engine.task.Task`; only its own modules are imported.

    Args:
        config: the settings of the run.
        folder: of a run that goes on, which lists what it has skipped; None: a new run.
    """
    if config.is_frozen:
        from pumlc.vision.frozen.task import FrozenTask

        return FrozenTask(config, folder)
    from pumlc.vision.task import VisionTask

    return VisionTask(config, folder)
