"""Train a multi-label classifier.

python tools/train.py --config configs/voc2007_pumlc_10.yaml --data.root VOCdevkit --out runs/x
python tools/train.py --out runs/x --resume      # --data.root PLACE: the data are elsewhere now
torchrun --nproc-per-node 2 tools/train.py --config ... --out runs/x

Every setting of the YAML file can be overridden on the command line; --help lists those of images,
--task text --help those of texts.
"""

import argparse
import shlex
import sys

from pumlc.branches import branch_of
from pumlc.cli import console
from pumlc.engine.checkpoint import Checkpoint
from pumlc.engine.config import from_plain, parse, task_of
from pumlc.engine.loop import end_processes
from pumlc.engine.run import RunFolder
from pumlc.engine.training import train_run
from pumlc.errors import UserError

PLACES = ("root", "csv", "positive_list")


def resumed(arguments: list[str]) -> tuple:
    """`settings` of a run that goes on; only where its data are may have changed."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--out")
    for name in PLACES:
        parser.add_argument(f"--data.{name}", dest=name)
    try:
        options, rest = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise UserError(str(error)) from None
    if rest or options.out is None:
        valid = ", ".join(["--out RUN", *(f"--data.{name}" for name in PLACES)])
        raise UserError(
            f"--resume takes its settings from the run: only {valid} go with it (--out is needed), "
            f"got {rest or arguments}"
        )
    run = RunFolder(options.out)
    content = run.read()["config"]
    places = {name: getattr(options, name) for name in PLACES if getattr(options, name) is not None}
    for name in places:
        if name not in content["data"]:
            raise UserError(f"{run.path} has another task: --data.{name} does not apply to it")
    content["data"].update(places)
    if content["task"] == "vision" and Checkpoint(run.path).folder() is not None:
        content["model"]["weights"] = None  # the checkpoint has them all; the file may be gone
    branch = branch_of(content["task"])
    return from_plain(branch.config_class, content), branch.task_class, run, True


def settings(arguments: list[str]) -> tuple:
    """Config, task class, run folder and whether to resume, from the command line."""
    if "--resume" in arguments:
        return resumed(arguments)
    branch = branch_of(task_of(arguments))
    out = ("--out", {"type": str, "required": True, "help": "run folder to create"})
    resume = (
        "--resume",
        {
            "action": "store_true",
            "help": "continue the run in --out; else only where its data are now",
        },
    )
    config, extra = parse(
        branch.config_class, arguments, program="tools/train.py", extra=(out, resume)
    )
    return config, branch.task_class, RunFolder(extra["out"]), False


def main(arguments: list[str] | None = None) -> None:
    config, task_class, run, resume = settings(sys.argv[1:] if arguments is None else arguments)
    accelerator = train_run(config, task_class, run, resume=resume)
    if accelerator.is_main_process:
        print(f"done: {run.path}; next: python tools/evaluate.py {shlex.quote(str(run.path))}")
    end_processes(accelerator)


if __name__ == "__main__":
    console.run(main)
