"""The task that image settings describe: a network to train, or heads on a frozen one."""

from pathlib import Path
from typing import Any

from pumlc.vision.config import VisionConfig


def create_task(config: VisionConfig, folder: Path | None = None) -> Any:
    """Create the task of a run, and import only the modules that it needs.

    Args:
        config: the settings of the run.
        folder: folder of a resumed run, which lists the pictures it has skipped; None: a new run.

    Returns:
        A `pumlc.engine.task.Task`, or with heads a `pumlc.engine.task.TrainsItself`.
    """
    if config.is_frozen:
        from pumlc.vision.frozen.task import FrozenTask

        return FrozenTask(config, folder)
    from pumlc.vision.task import VisionTask

    return VisionTask(config, folder)
