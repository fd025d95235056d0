"""Train a multi-label classifier.

pumlc train --config voc2007_pumlc_10 --data.root VOCdevkit --out runs/x
pumlc train --out runs/x --resume      # with --data.root FOLDER if the data have moved
pumlc train --out runs/x --resume --train.epochs 20     # more epochs than the run had
pumlc train --config frozen --data.csv labels.csv --data.root PICTURES --out runs/x --evaluate
torchrun --nproc-per-node 2 -m pumlc train --config ... --out runs/x

--config takes a YAML file or the name of a recipe (pumlc recipes). Every setting of the file can be
overridden on the command line; --help lists those of images, --task text --help those of texts.
"""

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import make_dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from pumlc.branches import BRANCHES, Branch, branch_of
from pumlc.cli.options import option, parse_options, with_recipe_files
from pumlc.engine.command_line import parse, task_of
from pumlc.engine.config import from_plain
from pumlc.engine.stopping import TrainingStoppedError
from pumlc.errors import UserError

PROGRAM = "pumlc train"
_SWITCHES = ("--resume", "--evaluate")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, or resume a run."""
    given = with_recipe_files(arguments)
    resume, evaluates = "--resume" in given, "--evaluate" in given
    config, branch, out = _resumed(given) if resume else _settings(given)
    if evaluates and config.train.precision != "no":
        raise UserError(
            f"--evaluate measures in float32, and train.precision is {config.train.precision}; "
            "leave --evaluate out and give the command pumlc evaluate afterwards"
        )
    # the loop imports torch, which is slow: only after the command line has been checked
    from pumlc.engine.processes import end_processes
    from pumlc.engine.run import RunExistsError, RunFolder
    from pumlc.engine.training import train_run

    try:
        accelerator = train_run(config, branch.task_class, RunFolder(out), resume=resume)
    except RunExistsError as error:
        raise UserError(f"{error}; continue it with --resume, or choose another --out") from error
    except TrainingStoppedError as stopped:
        _end_stopped(stopped, out, config.loss.name)
    if evaluates:
        _evaluate(out, accelerator)
    elif accelerator.is_main_process:
        run = shlex.quote(str(out))
        page = f"pumlc report {run} --out report.html"
        print(f"done: {out}; next: pumlc evaluate {run}; as a page: {page}")
    end_processes(accelerator)


def _evaluate(run: Path, accelerator: Any) -> None:
    """Do what ``pumlc evaluate RUN`` does, in the processes of the training."""
    from pumlc.cli.evaluate import evaluate, evaluate_options

    accelerator.free_memory()  # the optimizer's, for one
    if accelerator.is_main_process:
        print(f"done: {run}; the test split:", flush=True)
    evaluate(evaluate_options([str(run)]), accelerator)


def _end_stopped(stopped: TrainingStoppedError, out: Path, loss: str) -> NoReturn:
    """Say how to resume a run that a signal has stopped, and exit with a shell's status for it."""
    if int(os.environ.get("RANK", "0")) == 0:  # only one of several processes prints
        own = f" --loss.name {loss}" if ":" in loss else ""
        command = f"pumlc train --out {shlex.quote(str(out))} --resume{own}"
        print(f"{stopped}, all saved; go on with: {command}", file=sys.stderr, flush=True)
    sys.exit(128 + stopped.number)


def _settings(arguments: Sequence[str]) -> tuple[Any, Branch, Path]:
    """Config, branch and run folder of a new run."""
    branch = branch_of(task_of(arguments))
    out = ("--out", {"type": str, "required": True, "help": "run folder to create"})
    resume = (
        "--resume",
        {
            "action": "store_true",
            "help": "continue the run in --out; only options that say where its data are now, "
            "--data.bad_pictures and more --train.epochs go with it",
        },
    )
    evaluate = (
        "--evaluate",
        {
            "action": "store_true",
            "help": "afterwards measure the test split, as pumlc evaluate does, without a second "
            "start of Python and torch",
        },
    )
    extra_options = (out, resume, evaluate)
    config, extra = parse(
        branch.config_class, arguments, program=PROGRAM, about=__doc__, extra=extra_options
    )
    return config, branch, Path(extra["out"])


def _resumed(arguments: Sequence[str]) -> tuple[Any, Branch, Path]:
    """Config, branch and folder of a resumed run, with the few settings that may have changed."""
    from pumlc.engine.checkpoint import Checkpoint
    from pumlc.engine.run import RunFolder

    places = dict.fromkeys(place for branch in BRANCHES.values() for place in branch.places)
    valid = [
        *(*_SWITCHES, "--out", "--loss.name", "--train.epochs"),
        *(f"--{place}" for place in places),
    ]
    unknown = _unknown(arguments, valid)
    if unknown or not any(argument.partition("=")[0] == "--out" for argument in arguments):
        raise UserError(
            "--resume takes the settings of the run. It needs --out RUN, and only "
            f"{', '.join(f'--{place}' for place in places)} may go with it (and --loss.name, if "
            "the loss is your own, and --train.epochs, for more epochs than the run had); got "
            f"{unknown or list(arguments)}"
        )
    kinds = [
        ("out", Path, option("folder of the run")),
        ("resume", bool, option("continue the run in --out", default=False)),
        ("evaluate", bool, option("afterwards measure the test split", default=False)),
        ("loss_name", str, option("the loss of the run, if it is your own", flag="--loss.name")),
        ("epochs", int, option("more epochs than the run had", flag="--train.epochs")),
        *(
            (p.replace(".", "_"), str, option("replaces the setting of the run", flag=f"--{p}"))
            for p in places
        ),
    ]
    options: Any = parse_options(
        make_dataclass("ResumeOptions", kinds), arguments, program=PROGRAM, about=__doc__ or ""
    )
    run = RunFolder(options.out)
    content = run.read()["config"]
    branch = branch_of(content.get("task"), run.path)
    for place in places:
        value = getattr(options, place.replace(".", "_"))
        if value is not None and place not in branch.places:
            raise UserError(f"--{place} does not apply to {run.path}, which has another task")
        if value is not None:
            group, name = place.split(".")
            _group(content, group, run.path)[name] = value
    if branch.name == "vision" and Checkpoint(run.path).folder() is not None:
        # the checkpoint has all weights; the file may be gone
        _group(content, "model", run.path)["weights"] = None
    config = from_plain(branch.config_class, content)
    _check_loss(config.loss.name, options.loss_name, run.path)
    if options.epochs is not None:
        config = _extended(config, options.epochs, run.path)
    return config, branch, run.path


def _group(content: dict[str, Any], name: str, run: Path) -> dict[str, Any]:
    """A group of the settings in run.json, which may be anyone's."""
    group = content.get(name)
    if not isinstance(group, dict):
        raise UserError(f"{run / 'run.json'}: {name} must be an object, got {group!r:.80}")
    return group


def _extended(config: Any, epochs: int, run: Path) -> Any:
    """The config of a run that goes on for more epochs than it had."""
    if getattr(config, "is_frozen", False):
        raise UserError(f"--train.epochs: the heads of {run} are fitted at once, not in epochs")
    if epochs < config.train.epochs:
        raise UserError(
            f"--train.epochs must be at least the {config.train.epochs} of {run}, got {epochs}"
        )
    return replace(config, train=replace(config.train, epochs=epochs))


def _check_loss(recorded: str, named: str | None, run: Path) -> None:
    """Refuse to import the user's own loss that run.json names, unless the command line names it.

    A run folder may come from anyone, and importing a module runs its code.
    """
    if named is not None and named != recorded:
        raise UserError(f"--loss.name {named}: {run} was trained with {recorded}")
    if ":" in recorded and named is None:
        raise UserError(
            f"{run} was trained with the loss {recorded}, which is not part of pumlc. A run folder "
            f"may not import code by itself; if you trust this loss, add --loss.name {recorded}"
        )


def _unknown(arguments: Sequence[str], valid: Sequence[str]) -> list[str]:
    """The arguments that are neither valid options nor their values."""
    unknown, rest = [], iter(arguments)
    for argument in rest:
        flag, equals, _ = argument.partition("=")
        if flag not in valid:
            unknown.append(argument)
        elif not equals and flag not in _SWITCHES:
            next(rest, None)
    return unknown
