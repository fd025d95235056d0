"""What the tests of texts are made of."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from pumlc.engine.command_line import parse
from pumlc.engine.config import plain
from pumlc.engine.loop import Trainer
from pumlc.engine.run import RunFolder
from pumlc.text.config import TextConfig
from pumlc.text.task import TextTask

COLOURS = ["red", "green", "blue"]
NOUNS = ["apple", "pear", "plum", "car", "boat", "bird", "fish", "fruit", "colour"]
WORDS = [*COLOURS, "runs", "swims", "flies", *NOUNS]
LABELS = [f"{colour} {noun}" for colour in COLOURS for noun in NOUNS]
UNSEEN = [4, 13, 22]


def write_sentence_transformers(folder: Path, modules: dict[str, dict]) -> None:
    """Turn a directory of transformers into one of sentence-transformers: module kind -> config."""
    listed = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
    ]
    for index, (kind, config) in enumerate(modules.items(), start=1):
        path = f"{index}_{kind}"
        (folder / path).mkdir(exist_ok=True)
        (folder / path / "config.json").write_text(json.dumps(config))
        listed.append({"idx": index, "name": str(index), "path": path, "type": f"x.models.{kind}"})
    (folder / "modules.json").write_text(json.dumps(listed))


def fresh_accelerator() -> Accelerator:
    """An accelerator without the state of earlier tests, which those of a process share."""
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(cpu=True)


def write_corpus(folder: Path) -> None:
    """A data set in the xmc layout whose documents name their labels among other words."""
    random = np.random.RandomState(0)
    (folder / "raw").mkdir()
    (folder / "raw" / "Y.txt").write_text("\n".join(LABELS) + "\n")
    for short, count in (("trn", 120), ("tst", 40)):
        labels = np.setdiff1d(np.arange(len(LABELS)), UNSEEN if short == "trn" else [])
        rows = [random.choice(labels, random.randint(1, 4), replace=False) for _ in range(count)]
        texts = []
        for row in rows:
            words = [LABELS[label] for label in row] + ["runs", "swims"]
            texts.append(" ".join(random.permutation(words)))
        (folder / "raw" / f"{short}_X.txt").write_text("\n".join(texts) + "\n")
        positives = np.zeros((count, len(LABELS)), bool)
        for row, own in zip(positives, rows, strict=True):
            row[own] = True
        sp.save_npz(folder / f"Y.{short}.npz", sp.csr_matrix(positives))


def write_filter(folder: Path) -> None:
    """Exclude a third of all training pairs of the data set, labels that a document has or not."""
    pairs = np.argwhere(np.random.RandomState(1).random_sample((120, len(LABELS))) < 1 / 3)
    np.savetxt(folder / "filter_labels_train.txt", pairs, fmt="%d")


def text_config(corpus: Path, model: Path, cache: Path, **changes: str) -> TextConfig:
    """A small run; ``changes`` are settings with two underscores in place of the dot."""
    settings = {
        "data.root": str(corpus),
        "data.token_cache": str(cache),
        "data.document_length": "16",
        "data.label_length": "8",
        "encoder.model": str(model),
        "encoder.document_chunk": "5",
        "encoder.label_chunk": "7",
        "loss.name": "decoupled_softmax",
        "loss.temperature": "0.05",
        "train.epochs": "2",
        "train.batch_size": "24",
        "train.learning_rate": "3e-3",
        "train.schedule": "linear",
    }
    settings |= {name.replace("__", "."): value for name, value in changes.items()}
    arguments = [part for name, value in settings.items() for part in (f"--{name}", value)]
    return parse(TextConfig, arguments, program="test")[0]


def train(
    task: TextTask, folder: Path, accelerator: Accelerator, trainer: type[Trainer] = Trainer
) -> RunFolder:
    """What tools/train.py does."""
    run = RunFolder(folder)
    run.start(plain(task.config), task.facts(), 1)
    task.write_files(run.path)
    trainer(task, task.config.train, run, accelerator).train()
    return run


class Killed(BaseException):
    """Ends a run as a kill does: nothing of the package catches it."""


def train_killed_and_resumed(
    make: Callable[[], TextTask],
    folder: Path,
    accelerator: Accelerator,
    after: tuple[int, int] = (1, 0),
) -> RunFolder:
    """A run that is killed after some saved epochs and steps, and goes on in a fresh task."""

    class TrainerKilled(Trainer):
        def _save(self) -> None:
            super()._save()
            if (self.epoch, self.position) == after:
                raise Killed

    with contextlib.suppress(Killed):
        train(make(), folder, accelerator, TrainerKilled)
    task, run = make(), RunFolder(folder)
    trainer = Trainer(task, task.config.train, run, accelerator)
    trainer.resume()
    assert (trainer.epoch, trainer.position) == after
    trainer.train()
    return run


def gradients(
    task: TextTask, accelerator: Accelerator, batch: np.ndarray, step: int = 0
) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Losses and the gradient of every weight after one step."""
    task.model.zero_grad()
    task.model.train()
    torch.manual_seed(1)
    losses = task.training_step(task.model, batch, accelerator, step)
    gradients = {}
    for name, parameter in task.model.named_parameters():
        assert parameter.grad is not None, name
        gradients[name] = parameter.grad.clone()
    return {name: float(value) for name, value in losses.items()}, gradients
