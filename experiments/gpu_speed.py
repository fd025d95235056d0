"""Pictures a second of training on one GPU: plain backbone and LG-conv, eager and compiled.

    experiments/gpu_speed.sh PICTURES            all of it, under 8 minutes, on a machine with a GPU
    python experiments/gpu_speed.py --tiny       the same code in seconds, on any processor

Each form is a network and a way to run it. Its steps are those of PU-MLC: a batch and half as many
mixtures, PU loss and mixup term, Adam, BatchNorm frozen, the last stage trained (with LG-conv the
branches of all stages too), in bf16 and channels_last. A form is timed for some seconds after it
was warmed up; a form that does not fit into the time that is left is not begun, and its cells stay
empty. "Share of the peak" divides the counted FLOPs of a step by the peak of the data sheet. The
file that --out names has a JSON object for each form, and is rewritten after each.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pumlc.files import write_json
from pumlc.losses import pu_loss, pu_mixup_loss
from pumlc.tables import table
from pumlc.vision import create_classifier
from pumlc.vision.data.mixup import mix_halves
from pumlc.vision.data.transforms import normalised
from pumlc.vision.models.trained_part import train_last_stages

CLASSES = 80
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""FLOPs a second in bf16 without sparsity, by part of the device's name (data sheets)."""


class Form(NamedTuple):
    """A network and a way to run it."""

    backbone: str
    local_global: bool
    compiled: bool

    @property
    def name(self) -> str:
        kind = " + LG-conv" if self.local_global else ""
        return f"{self.backbone}{kind}, {'compiled' if self.compiled else 'eager'}"


def forms(backbones: list[str]) -> Iterator[Form]:
    """The eager ones first: compiling may take what is left of the time."""
    for compiled in (False, True):
        for backbone in backbones:
            for local_global in (False, True):
                yield Form(backbone, local_global, compiled)


class Step:
    """A training step of a form.

    Args:
        form: the network and how it is run.
        device: where.
        batch: pictures.
        size: their side.
    """

    def __init__(self, form: Form, device: torch.device, batch: int, size: int) -> None:
        self.model = create_classifier(
            form.backbone,
            CLASSES,
            local_global=form.local_global,
            head="linear",
            weights=None,
            image_size=size,
            batch_norm="frozen",
        )
        train_last_stages(self.model, 1, None)
        self.model.to(device).to(memory_format=torch.channels_last)  # pyright: ignore
        self.network: nn.Module = torch.compile(self.model) if form.compiled else self.model  # pyright: ignore
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(trained, lr=1e-4, fused=True)
        # bytes, as they leave the loader
        self.pixels = torch.randint(0, 256, (batch, size, size, 3), dtype=torch.uint8).to(device)
        self.labels = (torch.rand(batch, CLASSES) < 0.04).to(torch.int8).to(device)

    def __call__(self) -> Tensor:
        self.optimizer.zero_grad()
        config = self.model.data_config
        images = normalised(self.pixels, config["mean"], config["std"])
        mixed, permutation, lam = mix_halves(images, 0.3)
        with torch.autocast(images.device.type, torch.bfloat16):
            logits = self.network(torch.cat([images, mixed]))
        own, mixtures = logits[: len(images)], logits[len(images) :]
        loss = pu_loss(own, self.labels, gamma=0.55, alpha=1.0)
        loss = loss + pu_mixup_loss(own, self.labels, mixtures, permutation=permutation, lam=lam)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_per_step(step: Step, device: torch.device, seconds: float) -> float:
    for _ in range(3):  # chooses kernels; compiles
        step()
    wait_for(device)
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        for _ in range(5):
            step()
        wait_for(device)
        steps += 5
    return (time.perf_counter() - start) / steps


def measured(form: Form, device: torch.device, options: argparse.Namespace) -> dict[str, Any]:
    step = Step(form, device, options.batch, options.size)
    flops = 0
    if not form.compiled:  # what is compiled does the same work, and hides it from the counter
        with FlopCounterMode(display=False) as counter:
            step()
        flops = counter.get_total_flops()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    taken = seconds_per_step(step, device, options.seconds)
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return {
        "form": form.name,
        "pictures_per_second": options.batch / taken,
        "flops_per_step": flops,
        "seconds_per_step": taken,
        "peak_memory": memory,
    }


def peak_of(device: torch.device) -> float | None:
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAKS.items() if part in name), None)


def show(results: list[dict[str, Any]], wanted: list[Form], peak: float | None) -> None:
    """A row a form; against the plain backbone, run in the same way."""
    found = {result["form"]: result for result in results}
    rows = []
    for form in wanted:
        result = found.get(form.name)
        if result is None:
            rows.append([form.name, None, None, None, None])
            continue
        rate = result["pictures_per_second"]
        plain = found.get(form._replace(local_global=False).name)
        eager = found.get(form._replace(compiled=False).name)
        share = None
        if peak is not None and eager is not None:
            share = f"{eager['flops_per_step'] / result['seconds_per_step'] / peak:.0%}"
        against = None if plain is None else f"{rate / plain['pictures_per_second']:.2f}"
        memory = f"{result['peak_memory'] / 2**30:.1f}"
        rows.append([form.name, f"{rate:.0f}", against, share, memory])
    heads = ["form", "pictures a second", "of the plain backbone", "share of the peak", "GiB"]
    print(table(heads, rows))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--backbones", nargs="+", default=["resnet50", "resnet101"])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--seconds", type=float, default=8.0, help="of measuring a form")
    parser.add_argument("--limit", type=float, default=360.0, help="seconds of all forms")
    parser.add_argument("--out", type=Path, default=Path("gpu_speed.json"))
    parser.add_argument("--tiny", action="store_true", help="a small network, for a processor")
    options = parser.parse_args()
    if options.tiny:
        options.backbones, options.batch, options.size = ["test_resnet"], 4, 32
        options.seconds = 0.1
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    started, results = time.monotonic(), []
    wanted, longest = list(forms(options.backbones)), 0.0
    for form in wanted:
        begun = time.monotonic()
        if begun - started + longest > options.limit:
            break
        results.append(measured(form, device, options))
        write_json(options.out, {"forms": results, "settings": vars(options) | {"out": None}})
        longest = max(longest, time.monotonic() - begun)
    show(results, wanted, peak_of(device))


if __name__ == "__main__":
    main()
