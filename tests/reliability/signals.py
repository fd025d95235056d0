"""Real processes of tools/train.py: SIGTERM, Ctrl-C, a full disk, a read-only folder, the power cut.

python signals.py; last line: figures; exit 1 if anything is lost or wrong. Mounts need root (skipped without).
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import common as c

c.reexec()
base = c.fresh("signals")
c.preload()
faults, figures, log = [], {}, base / "log.txt"


def fault(severity, text):
    faults.append(text)
    print(f"FAULT [{severity}] {text}", flush=True)


data = base / "pictures"
data.mkdir()
c.pictures_csv(data, 400, 8)
texts = base / "texts"
texts.mkdir()
c.text_data(texts)
SETTINGS = {
    "vision": c.vision_settings(data, train__epochs=3),
    "vision2": c.vision_settings(data, train__epochs=3, train__workers=2),
    "text": c.text_settings(texts, train__epochs=12),
}
reference = {}
for kind, settings in SETTINGS.items():
    assert c.run_tool("train", [*settings, "--out", base / f"{kind}_ref"], log) == 0, (
        log.read_text()[-1500:]
    )
    reference[kind] = c.outcome(base / f"{kind}_ref")
if c.difference(reference["vision"], reference["vision2"]):
    fault("high", "2 workers give other weights than none")


def real(arguments, out):
    return subprocess.Popen(
        [c.PY, str(c.PROJECT / "tools" / "train.py"), *map(str, arguments)],
        cwd=c.PROJECT,
        env=c.ENV,
        stdout=out,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def signalled(kind, number, whole_group, where):
    run = base / f"{kind}_sig"
    shutil.rmtree(run, ignore_errors=True)
    out = base / "real.txt"
    with out.open("w") as f:
        p = real([*SETTINGS[kind], "--out", run, "--train.log_every", "1"], f)
        end = time.time() + 120
        while time.time() < end and p.poll() is None and where not in out.read_text():
            time.sleep(0.02)
        began = time.time()
        (os.killpg if whole_group else os.kill)(p.pid, number)
        try:
            code = p.wait(60)
        except subprocess.TimeoutExpired:
            code = "timeout"
            os.killpg(p.pid, 9)
            p.wait()
    took = time.time() - began
    while c.leftovers(p.pid) and time.time() < began + 30:
        time.sleep(0.1)
    orphans, text = time.time() - began, out.read_text()
    name = (
        f"{kind} {signal.Signals(number).name}{' to the group' if whole_group else ''} at {where!r}"
    )
    done = len(re.findall(r"^epoch \d+, step", text, re.M))
    began_steps = re.findall(r"^epoch (\d+) step (\d+)/", text, re.M)
    traces = text.count("Traceback")
    print(
        f"{name}: exit {code} after {took:.1f} s, children gone after {orphans:.1f} s, epochs saved {done}, last step shown {began_steps[-1:]}, tracebacks {traces}, last line {text.strip().splitlines()[-1][:90] if text.strip() else ''!r}",
        flush=True,
    )
    if code == "timeout":
        fault("high", f"{name}: does not end")
    for q in c.leftovers(p.pid):
        fault("medium", f"{name}: process {q} stays")
        os.kill(q, 9)
    if number == signal.SIGINT and code != 130:
        fault("low", f"{name}: exit {code}, not 130")
    if number == signal.SIGTERM and code != 143:
        fault("low", f"{name}: exit {code}, not 143")
    if traces:
        fault("low", f"{name}: {traces} tracebacks")
    if code != 0 and began_steps and "go on with: pumlc train --out" not in text:
        fault("low", f"{name}: nothing says how the run goes on: {text[-200:]}")
    if code == 0:
        return
    again = (
        c.run_tool("train", ["--out", run, "--resume"], log)
        if (run / "run.json").is_file()
        else c.run_tool("train", [*SETTINGS[kind], "--out", run], log)
    )
    step = re.search(r"stopped by \w+ (in epoch \d+ after step \d+/\d+)", text)
    if step and f"resumed {step[1]}" not in log.read_text():
        fault("medium", f"{name}: steps are lost")
    different = c.difference(reference[kind], c.outcome(run)) if again == 0 else [f"exit {again}"]
    if different:
        fault("high", f"{name}: after --resume: {different}")
    figures.setdefault("signals", 0)
    figures["signals"] += 1


if os.environ.get("ONLY", "signals") == "signals" or "signals" in os.environ.get("ONLY", ""):
    for kind in ("vision", "vision2"):
        signalled(kind, signal.SIGTERM, False, "epoch 2 step 20")
        signalled(kind, signal.SIGINT, True, "epoch 2 step 20")
    signalled("vision2", signal.SIGINT, False, "epoch 1 step 3/")
    signalled("vision2", signal.SIGINT, True, "epoch 1 step 37/")
    signalled("text", signal.SIGTERM, True, "epoch 5 step 1")
    signalled("text", signal.SIGINT, True, "epoch 3 step 2")


# a second Ctrl-C ends at once, where the first one's step takes long
def long_steps():
    import pumlc.vision.task as task

    plain = task.VisionTask.training_step

    def step(self, network, batch, accelerator, number):
        if number == 3:
            print("a long step", flush=True)
            end = time.time() + 60
            while time.time() < end:
                time.sleep(0.01)
        return plain(self, network, batch, accelerator, number)

    task.VisionTask.training_step = step


(base / "twice.txt").unlink(missing_ok=True)
pid = c.fork_tool(
    "train",
    [*c.vision_settings(data, train__workers=2), "--out", base / "twice"],
    base / "twice.txt",
    long_steps,
)
end = time.time() + 120
while time.time() < end and (
    not (base / "twice.txt").exists() or "a long step" not in (base / "twice.txt").read_text()
):
    time.sleep(0.02)
os.kill(pid, signal.SIGINT)
time.sleep(0.5)
os.kill(pid, signal.SIGINT)
began = time.time()
code = c.wait(pid, 30)
figures["second_ctrl_c"] = [code, round(time.time() - began, 1)]
if code != 130 or time.time() - began > 10:
    fault("medium", f"a second Ctrl-C: exit {code} after {time.time() - began:.1f} s")


# steps lost: checkpoints every 0.12 seconds, the process is killed at the end of an epoch
def last_step():
    import pumlc.engine.loop as loop

    plain = loop.Trainer._validate_and_save

    def go(self):
        if self.epoch == EPOCH:
            os.kill(os.getpid(), 9)
        return plain(self)

    loop.Trainer._validate_and_save = go


import torch

lost = {}
for kind, EPOCH, epochs in (("second of three epochs", 2, 3), ("only epoch", 1, 1)):
    run = base / "lost"
    shutil.rmtree(run, ignore_errors=True)
    settings = c.vision_settings(data, train__epochs=epochs, train__checkpoint_minutes=0.002)
    c.run_tool("train", [*settings, "--out", run], log, last_step)
    state = torch.load(run / "checkpoint" / "state.pt", weights_only=True)
    lost[kind] = 37 * EPOCH - state["schedule"]["last_epoch"]
    if lost[kind] > 36:
        fault("medium", f"killed at the end of the {kind}: {lost[kind]} steps of 37 are lost")
figures["steps_lost_with_a_checkpoint_every_0.12_s"] = lost


# a full disk at every size up to what a run takes
def used(path):
    return sum(p.stat().st_blocks * 512 for p in path.rglob("*") if p.is_file())


tiny = c.vision_settings(data, train__epochs=3)
peak = 3 * used(base / "vision_ref")
mount = base / "mnt"
mount.mkdir()
ok = 0
full = 0
for step in range(14):
    size = int(peak * (step + 1) / 14 / 4096) * 4096
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(mount)], capture_output=True
    ).returncode:
        print("no mounts here: disk full skipped")
        break
    try:
        run = mount / "run"
        mark = log.stat().st_size if log.exists() else 0
        code = c.run_tool("train", [*tiny, "--out", run], log)
        text = log.read_text()[mark:]
        epochs = len(re.findall(r"^epoch \d+, step", text, re.M))
        line = next(
            (l for l in text.splitlines() if l.startswith("error")),
            text.strip().splitlines()[-1][:80],
        )
        moved = base / "moved"
        shutil.rmtree(moved, ignore_errors=True)
        if run.exists():
            shutil.copytree(run, moved)
        left = (
            sorted(str(p.relative_to(run)) for p in run.rglob("*") if "tmp" in p.name)
            if run.exists()
            else []
        )
    finally:
        subprocess.run(["umount", str(mount)], check=True)
    if code != 0:
        full += 1
        if code != 2 or "No space" not in line:
            fault("medium", f"disk of {size}: exit {code}: {line[:150]}")
        again = (
            c.run_tool("train", ["--out", moved, "--resume"], log)
            if (moved / "run.json").is_file()
            else "no run.json"
        )
        if again == "no run.json":
            again = c.run_tool("train", [*tiny, "--out", moved], log)
        different = (
            c.difference(reference["vision"], c.outcome(moved))
            if again == 0
            else [f"exit {again}: " + log.read_text().strip().splitlines()[-1][:150]]
        )
        print(
            f"disk of {size >> 10} KiB: exit {code} in epoch {epochs + 1}: {line[:80]!r}; left: {left[:3]}; after --resume elsewhere: {different or 'the same bits'}",
            flush=True,
        )
        if different:
            fault("high", f"disk of {size >> 10} KiB: after --resume: {different}")
    else:
        ok += 1
figures["disk_full_sizes"], figures["of_them_large_enough"] = full, ok
# ulimit -f
run = base / "limited"


def limit():
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


mark = log.stat().st_size
code = c.run_tool("train", [*tiny, "--out", run], log, limit)
print(f"ulimit -f: exit {code}: {log.read_text()[mark:].strip().splitlines()[-1][:120]}")
if code != 2:
    fault("medium", f"ulimit -f: exit {code}")
again = c.run_tool("train", ["--out", run, "--resume"], log)
if again or c.difference(reference["vision"], c.outcome(run)):
    fault("high", "ulimit -f: --resume does not end in the same")

# a read-only run folder
ro = base / "ro"
ro.mkdir()
shutil.copytree(base / "vision_ref", base / "source_ro")
if (
    subprocess.run(
        ["mount", "--bind", str(base / "source_ro"), str(ro)], capture_output=True
    ).returncode
    == 0
):
    subprocess.run(["mount", "-o", "remount,ro,bind", str(ro)], check=True)
    try:
        for name, arguments in (
            ("predict", [ro, data / "test0.png", "--out", base / "p.csv"]),
            ("evaluate", [ro]),
            ("audit", [ro]),
            ("audit", [ro, "--out", base / "a.csv"]),
            ("train", ["--out", ro, "--resume"]),
            ("export", [ro, "--out", base / "m.onnx"]),
        ):
            mark = log.stat().st_size
            code = c.run_tool(name, arguments, log)
            text = log.read_text()[mark:]
            print(
                f"read-only: {name} {' '.join(map(str, arguments[1:]))[-30:]}: exit {code}: {text.strip().splitlines()[-1][:110]}"
            )
            if code not in (0, 2) or "Traceback" in text:
                fault("medium", f"read-only folder: {name}: exit {code}")
    finally:
        subprocess.run(["umount", str(ro)], check=True)

# the power cut: a file system in a file, copied right after the run has said that an epoch is saved
image, cut = base / "disk.img", base / "cut.img"
for form in ("ext4", "xfs"):
    if shutil.which(f"mkfs.{form}") is None:
        continue
    with image.open("wb") as f:
        f.truncate(400 << 20)
    if (
        subprocess.run([f"mkfs.{form}", "-q", str(image)], capture_output=True).returncode
        or subprocess.run(
            ["mount", "-o", "loop", str(image), str(mount)], capture_output=True
        ).returncode
    ):
        print(f"{form}: no loop mounts here")
        continue
    try:
        run = mount / "run"
        out = base / "power.txt"
        if c.run_tool("train", [*tiny, "--out", run], log):
            fault("high", "power: the run failed")
        shutil.copy(
            image, cut
        )  # what would be on the disk without power, right after the run has ended
    finally:
        subprocess.run(["umount", str(mount)], check=True)
    if subprocess.run(
        ["mount", "-o", "loop", str(cut), str(mount)], capture_output=True
    ).returncode:
        print("cannot mount the copy")
        continue
    try:
        run = mount / "run"
        files = (
            {str(p.relative_to(run)): p.stat().st_size for p in run.rglob("*") if p.is_file()}
            if run.exists()
            else {}
        )
        empty = [n for n, size in files.items() if size == 0]
        print(
            f"power cut ({form}) right after 'done': {len(files)} files of the run are there, empty: {empty}, checkpoint: {[n for n in files if n.startswith('checkpoint')]}"
        )
        different = (
            c.difference(reference["vision"], c.outcome(run))
            if (run / "run.json").exists()
            and (run / "run.json").stat().st_size
            and (
                not (run / "weights/index.json").exists()
                or (run / "weights/index.json").stat().st_size
            )
            else ["everything"]
        )
        figures[f"power_cut_{form}_lost"] = (
            different if different == ["everything"] else len(different)
        )
        if different:
            fault(
                "medium",
                f"power cut on {form} after 'done': lost or empty: {different[:4]}... (no fsync)",
            )
    finally:
        subprocess.run(["umount", str(mount)], check=True)
if shutil.which("strace"):
    trace = base / "strace.txt"
    subprocess.run(
        [
            "strace",
            "-f",
            "-o",
            str(trace),
            "-e",
            "trace=fsync,fdatasync,sync_file_range,syncfs",
            c.PY,
            str(c.PROJECT / "tools/train.py"),
            *c.vision_settings(data, train__epochs=1),
            "--out",
            str(base / "traced"),
        ],
        cwd=c.PROJECT,
        env=c.ENV,
        capture_output=True,
        timeout=200,
    )
    figures["fsync_calls_of_a_run"] = len(re.findall(r"f(data)?sync\(|syncfs\(", trace.read_text()))
print(("FAULTS " if faults else "ok ") + str(len(faults)) + " " + json.dumps(figures))
sys.exit(bool(faults))
