"""Two machines: processes that share the data and an address, and nothing else."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch

from pumlc.cli.train import main
from pumlc.engine.checkpoint import load_weights

ROOT = Path(__file__).parents[2]


def arguments(data: Path, out: Path, batch_size: int) -> list[str]:
    return [
        *("--data.name", "coco", "--data.root", str(data), "--out", str(out)),
        *("--data.image_size", "32", "--data.validation", "0.25", "--data.augmentation", "flip"),
        *("--model.backbone", "test_resnet", "--model.batch_norm", "frozen"),
        *("--loss.name", "pu", "--loss.parameters", "{gamma: 0.5, alpha: 1.0}"),
        *("--loss.statistics", "global", "--train.learning_rate", "0.01", "--train.epochs", "2"),
        *("--train.batch_size", str(batch_size)),
    ]


def machine(number: int, port: int, home: Path, data: Path) -> subprocess.Popen:
    """One machine, as experiments/slurm_train.sh starts it: own home, own temporary folder."""
    home.mkdir()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PUMLC")},
        **{"HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": str(ROOT)},
        **{"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    }
    launcher = [
        *(sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"),
        *("--node-rank", str(number), "--master-addr", "127.0.0.1", "--master-port", str(port)),
    ]
    command = [*launcher, "-m", "pumlc", "train", *arguments(data, home / "run", 8)]
    with (home / "log").open("w") as log:
        return subprocess.Popen(
            command, cwd=home, env=environment, stdout=log, stderr=subprocess.STDOUT
        )


def test_two_machines_train_the_run_of_one(squares_coco, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    homes = [tmp_path / "first", tmp_path / "second"]
    machines = [machine(n, port, home, squares_coco) for n, home in enumerate(homes)]
    try:
        codes = [each.wait(240) for each in machines]
    finally:
        for each in machines:
            each.kill()
    assert codes == [0, 0], [(home / "log").read_text()[-2000:] for home in homes]
    assert not (homes[1] / "run").exists()  # the first machine alone writes

    main(arguments(squares_coco, tmp_path / "one", 16))
    one = load_weights(tmp_path / "one" / "weights" / "last.safetensors")
    two = load_weights(homes[0] / "run" / "weights" / "last.safetensors")
    # sums in another order: where a gradient is almost 0, Adam makes much of the last bits
    differences = torch.cat([(two[name] - value).abs().flatten() for name, value in one.items()])
    assert float(differences.float().mean()) < 1e-5
    assert float(differences.max()) < 2e-3  # half of a step of Adam
