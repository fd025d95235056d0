"""Train a multi-label classifier.

python tools/train.py --config configs/voc2007_pumlc_10.yaml --data.root VOCdevkit --out runs/x
python tools/train.py --out runs/x --resume
torchrun --nproc-per-node 2 tools/train.py --config ... --out runs/x

Every setting of the YAML file can be overridden on the command line; --help lists those of images,
--task text --help those of texts.
"""

import sys

from accelerate.utils import set_seed

from pumlc.engine import console
from pumlc.engine.config import from_plain, parse, plain, task_of
from pumlc.engine.loop import Trainer, create_accelerator, end_processes
from pumlc.engine.run import RunFolder


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


def settings(arguments: list[str]) -> tuple:
    """Config, task class, run folder and whether to resume, from the command line."""
    if "--resume" in arguments:
        rest = [a for a in arguments if a != "--resume"]
        if len(rest) == 1 and rest[0].startswith("--out="):
            rest = rest[0].split("=", 1)
        if len(rest) != 2 or rest[0] != "--out":
            raise ValueError(
                f"--resume takes its settings from the run: only --out RUN goes with it, got {rest}"
            )
        run = RunFolder(rest[1])
        content = run.read()["config"]
        config_class, task_class = task_classes(content["task"])
        return from_plain(config_class, content), task_class, run, True
    config_class, task_class = task_classes(task_of(arguments))
    out = ("--out", {"type": str, "required": True, "help": "run folder to create"})
    resume = (
        "--resume",
        {"action": "store_true", "help": "continue the run in --out; takes no other option"},
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
    if accelerator.is_main_process and not resume:
        run.start(plain(config), facts, accelerator.num_processes)
        task.write_manifest(run.path / "label_manifest.npz")
        print(", ".join(f"{name} {value}" for name, value in facts.items() if type(value) is int))
    accelerator.wait_for_everyone()
    if resume:
        trainer.resume()
    trainer.train()
    if accelerator.is_main_process:
        print(f"done: {run.path}; next: python tools/evaluate.py {run.path}")
    end_processes(accelerator)


if __name__ == "__main__":
    console.run(main)
