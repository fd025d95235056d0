"""The two branches of the package, chosen in one place by the ``task`` of a run."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from pumlc.errors import UserError


@dataclass(frozen=True)
class Branch:
    """What a branch offers to the commands; its modules are imported when they are first used.

    Attributes:
        name: the value of ``task`` in settings.
        config: names of the module and the dataclass of the settings of a run.
        task: names of the module and the callable that makes the task of a run
            (`pumlc.engine.task.Task`) from its settings.
        predictor: names of the module and the class behind `pumlc.load`.
        evaluation: name of the module with ``evaluate_run``, ``report`` and ``OPTIONS``. The last
            names the options of the first two that this branch alone has.
        card: name of the module with ``card_of``, ``check_options`` and ``write_folder``.
    """

    name: str
    config: tuple[str, str]
    task: tuple[str, str]
    predictor: tuple[str, str]
    evaluation: str
    card: str

    @property
    def config_class(self) -> Any:
        return getattr(import_module(self.config[0]), self.config[1])

    @property
    def places(self) -> tuple[str, ...]:
        """Settings that say where the data are: a run may go on after they were moved."""
        return import_module(self.config[0]).PLACES

    @property
    def task_class(self) -> Any:
        return getattr(import_module(self.task[0]), self.task[1])

    @property
    def predictor_class(self) -> Any:
        return getattr(import_module(self.predictor[0]), self.predictor[1])

    @property
    def evaluation_module(self) -> Any:
        return import_module(self.evaluation)

    @property
    def card_module(self) -> Any:
        return import_module(self.card)


BRANCHES = {
    branch.name: branch
    for branch in (
        Branch(
            "vision",
            config=("pumlc.vision.config", "VisionConfig"),
            task=("pumlc.vision.tasks", "create_task"),
            predictor=("pumlc.vision.predictor", "VisionPredictor"),
            evaluation="pumlc.vision.evaluation",
            card="pumlc.vision.card",
        ),
        Branch(
            "text",
            config=("pumlc.text.config", "TextConfig"),
            task=("pumlc.text.tasks", "create_task"),
            predictor=("pumlc.text.tasks", "create_predictor"),
            evaluation="pumlc.text.evaluation",
            card="pumlc.text.card",
        ),
    )
}


def branch_of(task: Any, run: Path | str | None = None) -> Branch:
    """The branch of a value of ``task``.

    Args:
        task: the value.
        run: the run folder that has it in its settings, for the message.

    Raises:
        UserError: there is none of this name.
    """
    if not isinstance(task, str) or task not in BRANCHES:
        where = "" if run is None else f"{Path(run) / 'run.json'}: "
        raise UserError(f"{where}task must be {' or '.join(BRANCHES)}, got {task!r}")
    return BRANCHES[task]
