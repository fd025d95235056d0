"""Shared by the checks of this folder: small data, a zygote that forks tools quickly, comparisons.

PROJECT: checkout of pumlc (default: the one these checks lie in), PY: its interpreter.
"""

import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import tqdm

PROJECT = Path(os.environ.get("PROJECT", Path(__file__).resolve().parents[2])).resolve()
PY = os.environ.get("PY", sys.executable)
HERE = Path(__file__).resolve().parent
# columns of metrics.csv that two runs of the same need not share
TIMES = ("seconds", "rows_per_second")
ENV = {
    **os.environ,
    "PYTHONPATH": str(PROJECT),
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PROJECT": str(PROJECT),
    "PY": PY,
}
SCRATCH = Path(os.environ.get("RELIAB_TMP", tempfile.gettempdir())) / "pumlc-checks"


def reexec():
    """Run this script under PY with the right environment (once)."""
    if os.environ.get("RELIAB_REEXEC") != "1":
        os.execve(PY, [PY, *sys.argv], {**ENV, "RELIAB_REEXEC": "1"})


def fresh(name):
    path = SCRATCH / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def pictures_csv(root, train=48, test=16, side=32, unlisted=True):
    """Noisy squares; returns the CSV file."""
    import numpy as np
    from PIL import Image

    random = np.random.RandomState(0)
    colours = {"red": (220, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 220)}
    lines = ["split,image,labels"]
    for split, count in (("train", train), ("test", test)):
        for i in range(count):
            present = [n for n in colours if random.rand() < 0.5] or ["red"]
            picture = random.randint(0, 60, (side, side, 3)).astype(np.uint8)
            for n in present:
                r, c = random.randint(0, side - 12, 2)
                picture[r : r + 12, c : c + 12] = colours[n]
            Image.fromarray(picture).save(root / f"{split}{i}.png")
            lines.append(f"{split},{split}{i}.png,{'|'.join(present)}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root / "labels.csv"


def vision_settings(root, **changes):
    settings = {
        "data.name": "csv",
        "data.csv": str(root / "labels.csv"),
        "data.root": str(root),
        "data.validation": "0.25",
        "data.image_size": "32",
        "model.backbone": "test_efficientnet",
        "loss.name": "pu",
        "loss.parameters": '{"gamma": 0.85, "alpha": 2.0}',
        "loss.mixup_weight": "1.0",
        "train.epochs": "3",
        "train.batch_size": "8",
        "train.learning_rate": "1e-3",
        "train.ema_decay": "0.9",
        "train.clip_norm": "1.0",
    }
    settings |= {k.replace("__", "."): str(v) for k, v in changes.items()}
    return [p for k, v in settings.items() for p in (f"--{k}", v)]


def text_settings(folder, **changes):
    settings = {
        "task": "text",
        "data.root": str(folder / "corpus"),
        "data.token_cache": str(folder / "cache"),
        "data.document_length": "16",
        "data.label_length": "8",
        "encoder.model": str(folder / "bert"),
        "encoder.document_chunk": "5",
        "encoder.label_chunk": "7",
        "loss.name": "decoupled_softmax",
        "loss.temperature": "0.05",
        "train.epochs": "3",
        "train.batch_size": "24",
        "train.learning_rate": "3e-3",
        "train.schedule": "linear",
        "data.validation": "0.2",
        "train.ema_decay": "0.9",
        "negatives.kind": "mined",
        "negatives.shortlist": "6",
        "negatives.per_document": "2",
        "negatives.refresh": "2",
    }
    settings |= {k.replace("__", "."): str(v) for k, v in changes.items()}
    return [p for k, v in settings.items() for p in (f"--{k}", v)]


def text_data(folder):
    """Tiny corpus and BERT, by the project's own test helpers."""
    sys.path.insert(0, str(PROJECT / "tests" / "text"))
    import conftest
    import small_texts

    (folder / "corpus").mkdir()
    (folder / "bert").mkdir()
    small_texts.write_corpus(folder / "corpus")
    maker = conftest.tokenizer
    maker = (
        getattr(maker, "__wrapped__", None)
        or getattr(maker, "_fixture_function", None)
        or maker.__pytest_wrapped__.obj
    )
    conftest.save_bert(folder / "bert", maker(), 0.2)


def preload():
    sys.path.insert(0, str(PROJECT))
    import torch, timm, accelerate, transformers, jsonargparse, pycocotools.coco  # noqa
    import torch.utils.data, sklearn.metrics  # noqa
    import pumlc.predictor, pumlc.engine.loop, pumlc.vision.task, pumlc.vision.predictor, pumlc.vision.evaluation  # noqa
    import pumlc.text.task, pumlc.text.predictor, pumlc.text.evaluation  # noqa

    torch.set_num_threads(1)


def fork_tool(tool, arguments, log, hook=None):
    """Start tools/TOOL.py in a forked child (a session of its own); returns the pid."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        # a command of its own has its own lock of progress bars; a forked one would share the lock
        # with all others, and one that is killed with it would hold up every later one
        tqdm.tqdm.set_lock(threading.RLock())
        os.setsid()
        os.environ["RANK"] = ""
        del os.environ["RANK"]
        fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        os.chdir(PROJECT)
        sys.argv = [str(PROJECT / "tools" / f"{tool}.py"), *map(str, arguments)]
        if hook is not None:
            hook()
        import runpy

        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
            code = 0
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else (0 if e.code is None else 1)
        except BaseException:
            import traceback

            traceback.print_exc()
            code = 71
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(pid, timeout=120):
    """Exit status (negative: signal); 'timeout' after which the child's session is killed."""
    end = time.time() + timeout
    while time.time() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    os.waitpid(pid, 0)
    return "timeout"


def run_tool(tool, arguments, log, hook=None, timeout=120):
    return wait(fork_tool(tool, arguments, log, hook), timeout)


def sha(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def outcome(run):
    """Everything a finished run says, apart from its times: file -> hash or content."""
    import csv

    run = Path(run)
    found = {f"weights/{p.name}": sha(p) for p in sorted((run / "weights").glob("*.safetensors"))}
    found |= {
        f"checkpoint/{p.name}": sha(p) for p in sorted((run / "checkpoint").glob("*.safetensors"))
    }
    index = run / "weights" / "index.json"
    found["index"] = json.loads(index.read_text()) if index.is_file() else None
    if (run / "metrics.csv").is_file():
        with (run / "metrics.csv").open() as file:
            found["metrics"] = [
                {k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)
            ]
    return found


def difference(a, b):
    return sorted(k for k in a.keys() | b.keys() if a.get(k) != b.get(k))


def leftovers(session):
    """Processes of a session that are still alive."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = open(f"/proc/{entry}/stat").read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(stat[3]) == session and stat[0] != "Z":
                found.append(int(entry))
    return found
