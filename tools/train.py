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
from contextlib import nullcontext

from accelerate.utils import set_seed

from pumlc.engine import console
from pumlc.engine.checkpoint import Checkpoint
from pumlc.engine.config import from_plain, parse, plain, task_of
from pumlc.engine.loop import Trainer, create_accelerator, end_processes
from pumlc.engine.run import RunFolder

PLACES = ("root", "csv", "positive_list")


def task_classes(name: str) -> tuple[type, type]:
    """The config and the task of a branch of the package."""
    if name == "vision":
        from pumlc.vision.config import VisionConfig
        from pumlc.vision.task import VisionTask

        return VisionConfig, VisionTask
    if name == "text":
        from pumlc.text.config import TextConfig
        from pumlc.text.task import TextTask

        return TextConfig, TextTask
    raise ValueError(f"task must be vision or text, got {name!r}")


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
        raise ValueError(str(error)) from None
    if rest or options.out is None:
        valid = ", ".join(["--out RUN", *(f"--data.{name}" for name in PLACES)])
        raise ValueError(
            f"--resume takes its settings from the run: only {valid} go with it (--out is needed), "
            f"got {rest or arguments}"
        )
    run = RunFolder(options.out)
    content = run.read()["config"]
    places = {name: getattr(options, name) for name in PLACES if getattr(options, name) is not None}
    for name in places:
        if name not in content["data"]:
            raise ValueError(f"{run.path} has another task: --data.{name} does not apply to it")
    content["data"].update(places)
    if content["task"] == "vision" and Checkpoint(run.path).folder() is not None:
        content["model"]["weights"] = None  # the checkpoint has them all; the file may be gone
    config_class, task_class = task_classes(content["task"])
    return from_plain(config_class, content), task_class, run, True


def settings(arguments: list[str]) -> tuple:
    """Config, task class, run folder and whether to resume, from the command line."""
    if "--resume" in arguments:
        return resumed(arguments)
    config_class, task_class = task_classes(task_of(arguments))
    out = ("--out", {"type": str, "required": True, "help": "run folder to create"})
    resume = (
        "--resume",
        {
            "action": "store_true",
            "help": "continue the run in --out; else only where its data are now",
        },
    )
    config, extra = parse(config_class, arguments, program="tools/train.py", extra=(out, resume))
    return config, task_class, RunFolder(extra["out"]), False


def main(arguments: list[str] | None = None) -> None:
    config, task_class, run, resume = settings(sys.argv[1:] if arguments is None else arguments)
    accelerator = create_accelerator(config.train.precision)
    if resume and run.read()["world_size"] != accelerator.num_processes:
        raise ValueError(
            f"{run.path} ran on {run.read()['world_size']} process(es), this is "
            f"{accelerator.num_processes}; resume on as many"
        )
    set_seed(config.train.seed)
    task = task_class(config)
    trainer = Trainer(task, config.train, run, accelerator)  # refuses before a folder is there
    facts = task.facts()
    if resume and facts.get("data") != run.read().get("data", facts.get("data")):
        raise ValueError(f"{run.path}: its data are not those that the run started with")
    with run.held() if accelerator.is_main_process else nullcontext():
        if accelerator.is_main_process and not resume:
            run.start(plain(config), facts, accelerator.num_processes)
            shown = (f"{name} {value}" for name, value in facts.items() if type(value) is int)
            print(", ".join(shown))
        if accelerator.is_main_process:  # also if it goes on: it may have been killed before
            task.write_manifest(run.path / "label_manifest.npz")
        accelerator.wait_for_everyone()
        if resume:
            trainer.resume()
        trainer.train()
    if accelerator.is_main_process:
        print(f"done: {run.path}; next: python tools/evaluate.py {shlex.quote(str(run.path))}")
    end_processes(accelerator)


if __name__ == "__main__":
    console.run(main)
