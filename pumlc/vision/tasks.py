"""Which task a config of pictures describes: a network to train, or heads on a frozen one."""

from typing import Any

from pumlc.vision.config import VisionConfig


def create_task(config: VisionConfig) -> Any:
    """The task of a run, `pumlc.engine.task.Task`; only its own modules are imported."""
    if config.is_frozen:
        from pumlc.vision.frozen.task import FrozenTask

        return FrozenTask(config)
    from pumlc.vision.task import VisionTask

    return VisionTask(config)
