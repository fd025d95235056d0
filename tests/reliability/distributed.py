"""Several gloo processes: the same curve, the same figures, and what a dying rank does to the others.

python distributed.py; last line: figures; exit 1 on any fault.
"""

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import common as c

c.reexec()
base = c.fresh("distributed")
c.preload()

faults, figures, log = [], {}, base / "log.txt"


def fault(severity, text):
    faults.append(text)
    print(f"FAULT [{severity}] {text}", flush=True)


data = base / "pictures"
data.mkdir()
csv_file = c.pictures_csv(data, 100, 33)


def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ranks(n, tool, arguments, timeout=150, hook=None):
    """n forked ranks; their exit codes and the text of each."""
    p, pids, outs = port(), [], []
    for r in range(n):
        out = base / f"rank{r}.txt"
        out.unlink(missing_ok=True)
        outs.append(out)

        def install(r=r):
            os.environ.update(
                RANK=str(r),
                LOCAL_RANK=str(r),
                WORLD_SIZE=str(n),
                LOCAL_WORLD_SIZE=str(n),
                MASTER_ADDR="127.0.0.1",
                MASTER_PORT=str(p),
            )
            if hook:
                hook(r)

        pids.append(c.fork_tool(tool, arguments, out, install))
    began, codes, times = time.time(), {}, {}
    while len(codes) < n and time.time() - began < timeout:
        for r, pid in enumerate(pids):
            if r not in codes:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    codes[r] = os.waitstatus_to_exitcode(status)
                    times[r] = time.time() - began
        time.sleep(0.05)
    for r, pid in enumerate(pids):
        if r not in codes:
            os.killpg(pid, 9)
            os.waitpid(pid, 0)
            codes[r] = "timeout"
            times[r] = timeout
    return codes, times, [o.read_text(errors="replace") if o.exists() else "" for o in outs]


def metrics(run):
    return [
        {k: float(v) for k, v in row.items() if k not in c.TIMES and v}
        for row in csv.DictReader((run / "metrics.csv").open())
    ]


common = dict(
    train__epochs=3,
    model__batch_norm="frozen",
    loss__mixup_weight="0",
    loss__statistics="global",
    train__ema_decay="0.9",
)
one, two = base / "one", base / "two"
codes, _, texts = ranks(
    1, "train", [*c.vision_settings(data, **common, train__batch_size=16), "--out", one]
)
assert codes[0] == 0, texts[0][-800:]
codes, _, texts = ranks(
    2, "train", [*c.vision_settings(data, **common, train__batch_size=8), "--out", two]
)
if set(codes.values()) != {0}:
    fault("high", f"2 ranks: {codes} {texts[1][-300:]}")
else:
    gap = max(
        abs(a[k] - b[k]) / max(1, abs(a[k])) for a, b in zip(metrics(one), metrics(two)) for k in a
    )
    figures["largest_gap_of_curves"] = gap
    if gap > 2e-3:
        fault(
            "high",
            f"1 rank x 16 and 2 ranks x 8 differ by {gap}: {metrics(one)[-1]} {metrics(two)[-1]}",
        )
again = base / "two_again"
ranks(2, "train", [*c.vision_settings(data, **common, train__batch_size=8), "--out", again])
if c.difference(c.outcome(two), c.outcome(again)):
    fault("medium", f"two runs on 2 ranks differ: {c.difference(c.outcome(two), c.outcome(again))}")
# killed on 2 ranks, resumed
killed = base / "killed"


def die(r):
    import pumlc.engine.loop as loop

    plain = loop.Trainer._run_epoch

    def go(self):
        if self.epoch == 2:
            os.kill(os.getpid(), 9)
        return plain(self)

    loop.Trainer._run_epoch = go


ranks(
    2, "train", [*c.vision_settings(data, **common, train__batch_size=8), "--out", killed], hook=die
)
codes, _, texts = ranks(2, "train", ["--out", killed, "--resume"])
if set(codes.values()) != {0} or c.difference(c.outcome(two), c.outcome(killed)):
    fault(
        "high",
        f"2 ranks killed and resumed: {codes} {c.difference(c.outcome(two), c.outcome(killed))}",
    )
# the same in the middle of an epoch, with a checkpoint after every step
within = base / "within"


def die_within(r):
    import pumlc.vision.task as task

    plain = task.VisionTask.training_step

    def step(self, network, batch, accelerator, number):
        if number == 7:
            os.kill(os.getpid(), 9)
        return plain(self, network, batch, accelerator, number)

    task.VisionTask.training_step = step


often = c.vision_settings(
    data, **common, train__batch_size=8, train__checkpoint_minutes=0, train__workers=1
)
ranks(2, "train", [*often, "--out", within], hook=die_within)
codes, _, texts = ranks(2, "train", ["--out", within, "--resume"])
figures["goes_on_within_an_epoch"] = "resumed in epoch 2 after step" in texts[0]
if (
    set(codes.values()) != {0}
    or c.difference(c.outcome(two), c.outcome(within))
    or not figures["goes_on_within_an_epoch"]
):
    fault(
        "high",
        f"2 ranks killed within an epoch: {codes} {c.difference(c.outcome(two), c.outcome(within))} {texts[0][-200:]}",
    )
codes, times, texts = ranks(1, "train", ["--out", killed, "--resume"])
print("resume of 2 ranks on 1:", codes, texts[0].strip().splitlines()[-1][:120])
if codes[0] != 2:
    fault("medium", "a run of 2 ranks was resumed on 1")
# the same figures of evaluation, uneven parts
results = {}
for n in (1, 2, 3):
    codes, _, texts = ranks(n, "evaluate", [one, "--batch-size", "8"])
    if set(codes.values()) != {0}:
        fault("high", f"evaluate on {n} ranks: {codes}")
        continue
    found = json.loads((one / "metrics.json").read_text())
    results[n] = (found["N"], {k: v["mAP"]["sklearn"] for k, v in found["weights"].items()})
if len({json.dumps(r) for r in results.values()}) > 1:
    worst = max(abs(results[1][1][k] - r[1][k]) for r in results.values() for k in r[1])
    (
        fault("high", f"evaluate: {results}")
        if worst > 1e-6 or len({r[0] for r in results.values()}) > 1
        else print("evaluate differs by", worst)
    )
figures["evaluate"] = results.get(3) and results[3][0]
# more ranks than pictures or batches
few = base / "few"
few.mkdir()
c.pictures_csv(few, 20, 2)
lines = (few / "labels.csv").read_text().splitlines()
(few / "labels.csv").write_text(
    "\n".join([*lines[:-2], "test,test0.png,red|blue", "test,test1.png,green"]) + "\n"
)
codes, times, texts = ranks(
    3,
    "train",
    [
        *c.vision_settings(few, **common, data__validation="0", train__batch_size=8),
        "--out",
        base / "x",
    ],
)
print("3 ranks x 8 of 20 pictures:", codes, texts[0].strip().splitlines()[-1][:140])
if set(codes.values()) != {2}:
    fault("medium", f"3 ranks of too few pictures: {codes} {texts[0][-200:]}")
small = base / "small"
codes, _, texts = ranks(
    3,
    "train",
    [
        *c.vision_settings(few, **common, data__validation="0.1", train__batch_size=2),
        "--out",
        small,
    ],
)
print("3 ranks, validation part of 2 pictures:", codes)
if set(codes.values()) != {0}:
    fault("high", f"3 ranks, validation part of 2: {codes} {texts[2][-300:]}")
else:
    codes, _, texts = ranks(3, "evaluate", [small, "--data.unlisted", "negative"])
    print("evaluate 2 pictures on 3 ranks:", codes, texts[0].strip().splitlines()[-1][:100])
    if set(codes.values()) - {0}:
        fault("medium", f"evaluate 2 pictures on 3 ranks: {codes} {texts[0][-300:]}")


# one rank dies: plain processes (as on several machines)
def raises(r):
    import pumlc.vision.task as task

    plain = task.VisionTask.training_step

    def step(self, network, batch, accelerator, number):
        if r == 1 and number == 6:
            raise ValueError("this rank has a broken picture.jpg")
        return plain(self, network, batch, accelerator, number)

    task.VisionTask.training_step = step


def killed_at(r):
    import pumlc.vision.task as task

    plain = task.VisionTask.training_step

    def step(self, network, batch, accelerator, number):
        if r == 1 and number == 6:
            os.kill(os.getpid(), 9)
        return plain(self, network, batch, accelerator, number)

    task.VisionTask.training_step = step


def validation_raises(r):
    import pumlc.vision.task as task

    plain = task.VisionTask.validate

    def step(self, accelerator):
        if r == 1:
            raise ValueError("this rank has a broken picture.jpg")
        return plain(self, accelerator)

    task.VisionTask.validate = step


def start_raises(r):
    if r == 1:
        import pumlc.vision.task as task

        def step(self, config):
            raise ValueError("this rank has no data")

        task.VisionTask.__init__ = step


def save_raises(r):
    if r == 0:
        import pumlc.engine.checkpoint as checkpoint

        def save(self, *a):
            raise OSError(28, "No space left on device")

        checkpoint.Checkpoint.save = save


def stopped(r):
    import pumlc.vision.task as task

    plain = task.VisionTask.training_step

    def step(self, network, batch, accelerator, number):
        if r == 1 and number == 6:
            os.kill(os.getpid(), signal.SIGSTOP)
        return plain(self, network, batch, accelerator, number)

    task.VisionTask.training_step = step


for name, hook, other in (
    ("exception in a step on rank 1", raises, 0),
    ("SIGKILL of rank 1 in a step", killed_at, 0),
    ("exception in validation on rank 1", validation_raises, 0),
    ("exception at the start on rank 1", start_raises, 0),
    ("disk full on rank 0", save_raises, 1),
    ("rank 1 stops responding (SIGSTOP)", stopped, 0),
):
    out = base / "dying"
    shutil.rmtree(out, ignore_errors=True)
    waits = {"train__timeout_minutes": 0.25} if "SIGSTOP" in name else {}
    codes, times, texts = ranks(
        2,
        "train",
        [*c.vision_settings(data, **common, **waits, train__batch_size=8), "--out", out],
        timeout=75,
        hook=hook,
    )
    shown = (texts[other].strip().splitlines() or [""])[-1][:140]
    print(
        f"{name}: exit {codes}, after {[round(times[r], 1) for r in sorted(times)]} s; the other says: {shown}",
        flush=True,
    )
    if "SIGSTOP" in name:
        figures["seconds_waited_for_a_rank_that_stops_responding"] = (
            "over 75" if codes[other] == "timeout" else round(times[other])
        )
        if codes[other] != 2 or "did not answer for train.timeout_minutes" not in texts[other]:
            fault("medium", f"{name}: the other rank: exit {codes[other]}: {shown}")
    elif codes[other] == "timeout":
        fault("high", f"{name}: the other rank still waits after 75 s")
    elif times[other] - times[1 - other] > 60:
        fault("medium", f"{name}: the other rank took {times[other] - times[1 - other]:.0f} s")
    elif "Traceback" in texts[other]:
        fault("low", f"{name}: the other rank ends with a traceback of gloo: {shown}")
# torchrun
torchrun = [c.PY, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
(data / "train5.png").rename(data / "keep.png")
(data / "train5.png").write_bytes(b"broken")
began = time.time()
p = subprocess.run(
    [
        *torchrun,
        str(c.PROJECT / "tools/train.py"),
        *map(str, c.vision_settings(data, **common, train__batch_size=8)),
        "--out",
        str(base / "t1"),
    ],
    cwd=c.PROJECT,
    env=c.ENV,
    capture_output=True,
    text=True,
    timeout=150,
)
print(
    f"torchrun, a broken picture: exit {p.returncode} after {time.time() - began:.0f} s, its error shown: {'train5.png' in p.stderr}, lines of stderr: {len(p.stderr.splitlines())}"
)
if p.returncode == 0 or "train5.png" not in p.stderr:
    fault("medium", f"torchrun, a broken picture: {p.returncode}")
(data / "keep.png").replace(data / "train5.png")
print(("FAULTS " if faults else "ok ") + str(len(faults)) + " " + json.dumps(figures))
sys.exit(bool(faults))
