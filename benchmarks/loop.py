"""The training loop beside the bare step that it runs: processor seconds of both, in turn.

    python benchmarks/loop.py
    python benchmarks/loop.py --backbone resnet50 --size 224 --steps 30 --rounds 7

Bare is what nobody can leave out: forward pass, loss, backward pass, Adam, on pictures in memory.
The loop adds the norm of the gradient, means of the losses, the check that they are finite,
checkpoints and the schedule. The ratio is the median over the rounds, in processor time of one
thread. The end of an epoch, where weights and a checkpoint are written, is not in it.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pumlc.engine.config import TrainConfig
from pumlc.engine.loop import Trainer
from pumlc.engine.optimizer import create_optimizer
from pumlc.engine.processes import create_accelerator
from pumlc.engine.run import RunFolder
from pumlc.losses import pu_loss
from pumlc.tables import table
from pumlc.vision import create_classifier


class InMemory:
    """A task on the same pictures in every step."""

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor, steps: int) -> None:
        self.model, self.images, self.labels, self.steps = model, images, labels, steps

    def loss(self, network: nn.Module) -> Tensor:
        return pu_loss(network(self.images), self.labels, gamma=0.55, alpha=1.0)

    def facts(self) -> dict[str, Any]:
        return {}

    def write_files(self, folder: Path) -> None:
        pass

    def start(self, accelerator: Accelerator) -> None:
        pass

    def steps_per_epoch(self, world_size: int) -> int:
        return self.steps + 1  # one more than is timed: the end of an epoch is not part of it

    def batches(self, epoch: int, accelerator: Accelerator, first: int = 0) -> Iterator[int]:
        yield from range(self.steps)

    def training_step(
        self, network: nn.Module, batch: Any, accelerator: Accelerator, step: int
    ) -> dict[str, Tensor]:
        loss = self.loss(network)
        accelerator.backward(loss)
        return {"loss": loss.detach()}

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        pass

    def validate(self, accelerator: Accelerator) -> None:
        return None


def bare(task: InMemory, optimizer: torch.optim.Optimizer) -> None:
    for _ in range(task.steps):
        optimizer.zero_grad()
        task.loss(task.model).backward()
        optimizer.step()


def seconds(work: Any, *arguments: Any) -> float:
    start = time.process_time()
    work(*arguments)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--backbone", default="tf_efficientnet_lite0", help="timm name")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = create_classifier(options.backbone, 80, local_global=False, head="linear", weights=None)
    model.to(memory_format=torch.channels_last)  # pyright: ignore
    images = torch.randn(options.batch, 3, options.size, options.size)
    labels = (torch.rand(options.batch, 80) < 0.04).to(torch.int8)
    task = InMemory(
        model, images.contiguous(memory_format=torch.channels_last), labels, options.steps
    )
    config = TrainConfig(
        epochs=options.rounds + 1, batch_size=options.batch, learning_rate=1e-5, schedule="constant"
    )
    optimizer = create_optimizer(model, config)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(task, config, RunFolder(folder), create_accelerator())
        bare(task, optimizer)  # warms up
        pairs = []
        for _ in range(options.rounds):
            trainer.position = 0
            pairs.append((seconds(bare, task, optimizer), seconds(trainer._run_epoch)))
    ratios = [loop / alone for alone, loop in pairs]
    steps = [statistics.median(column) / options.steps for column in zip(*pairs, strict=True)]
    cells = [f"{1e3 * each:.1f}" for each in steps]
    heads = ["network", "bare, ms a step", "loop, ms a step", "loop / bare", "rounds"]
    spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
    print(table(heads, [[options.backbone, *cells, f"{statistics.median(ratios):.3f}", spread]]))


if __name__ == "__main__":
    main()
