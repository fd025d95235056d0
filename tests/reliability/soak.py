"""Long runs: memory, open files, /dev/shm, zombies of 5,000 steps with two workers; of 200 loads of a predictor.

python soak.py [steps=5000] [loads=200]; last line: figures; exit 1 where something grows.
"""

import gc
import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import common as c

c.reexec()
OPTIONS = dict(a.split("=") for a in sys.argv[1:])
STEPS, LOADS = int(OPTIONS.get("steps", 5000)), int(OPTIONS.get("loads", 200))
base = c.fresh("soak")
c.preload()
import numpy as np

faults, figures, log = [], {}, base / "log.txt"


def fault(severity, text):
    faults.append(text)
    print(f"FAULT [{severity}] {text}", flush=True)


def rss(pid):
    """Private memory: what is not shared with the zygote."""
    total = 0
    for line in open(f"/proc/{pid}/smaps_rollup"):
        if line.startswith(("Private_Clean", "Private_Dirty")):
            total += int(line.split()[1])
    return total / 1024


def shm_files(processes):
    """Files in /dev/shm of these processes: torch names a file by the process that made it."""
    names = [name.split("_") for name in os.listdir("/dev/shm")]
    return sum(any(part in processes for part in parts) for parts in names)


def slope(samples):
    """MiB per 1,000 steps over the second half."""
    half = samples[len(samples) // 2 :]
    if len(half) < 3:
        return 0.0
    x, y = np.array([s[0] for s in half], float), np.array([s[1] for s in half], float)
    return float(np.polyfit(x, y, 1)[0] * 1000)


data = base / "pictures"
data.mkdir()
c.pictures_csv(data, 534, 16)
epochs = -(-STEPS // 50)
run = base / "run"
pid = c.fork_tool(
    "train", [*c.vision_settings(data, train__epochs=epochs, train__workers=2), "--out", run], log
)
samples, workers, fds, zombies, shared, began = [], {}, [], 0, [], time.time()
code = None
while time.time() < began + 500:
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        code = os.waitstatus_to_exitcode(status)
        break
    time.sleep(1)
    try:
        text = (run / "metrics.csv").read_text() if (run / "metrics.csv").exists() else ""
        step = 50 * max(0, text.count("\n") - 1)
        samples.append((step, rss(pid), time.time()))
        fds.append(len(os.listdir(f"/proc/{pid}/fd")))
        shared.append(shm_files({str(pid), *map(str, workers)}))
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                stat = open(f"/proc/{entry}/stat").read().rsplit(")", 1)[1].split()
                if int(stat[1]) == pid:
                    if stat[0] == "Z":
                        zombies += 1
                    else:
                        workers.setdefault(int(entry), []).append((step, rss(entry)))
    except (OSError, ValueError):
        continue
if code is None:
    os.killpg(pid, 9)
    os.waitpid(pid, 0)
reached = samples[-1][0]
persistent = [w for w in workers.values() if len(w) > len(samples) / 2]
figures.update(
    steps=reached,
    exit=code,
    seconds=round(time.time() - began),
    main_MiB=[round(samples[len(samples) // 10][1]), round(samples[-1][1])],
    main_slope_MiB_per_1000_steps=round(slope(samples), 2),
    worker_slope=[round(slope(w), 2) for w in persistent],
    fds=[fds[len(fds) // 10], max(fds), fds[-1]],
    shm_files_at_most=max(shared),
    zombie_samples=zombies,
    processes_seen=len(workers),
)
if reached < STEPS * 0.9:
    print("ended before all steps:", reached)
if slope(samples) > 5 or any(slope(w) > 5 for w in persistent):
    fault("medium", f"memory grows: {figures}")
if fds[-1] > fds[len(fds) // 10] + 20:
    fault("medium", f"open files grow: {figures['fds']}")
time.sleep(6)
left = shm_files({str(pid), *map(str, workers)})
figures["shm_left"] = left
if left > 0:
    fault("low", f"{left} files stay in /dev/shm")
# loads of predictors in one process
texts = base / "texts"
texts.mkdir()
c.text_data(texts)
assert (
    c.run_tool("train", [*c.text_settings(texts, train__epochs=1), "--out", base / "trun"], log)
    == 0
)
short = base / "short"
assert c.run_tool("train", [*c.vision_settings(data, train__epochs=1), "--out", short], log) == 0
for kind, folder, inputs in (
    ("vision", short, [np.zeros((32, 32, 3), np.uint8)] * 4),
    ("text", base / "trun", ["red apple", "blue car"]),
):
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        import pumlc

        memory, times = [], []
        for n in range(LOADS):
            t = time.time()
            predictor = pumlc.load(folder, device="cpu")
            predictor.predict(inputs)
            times.append(time.time() - t)
            del predictor
            if n % 10 == 9:
                gc.collect()
                memory.append((n, rss(os.getpid())))
        os.write(
            w,
            json.dumps(
                {
                    "MiB": [round(memory[0][1]), round(memory[-1][1])],
                    "MiB_per_100_loads": round(slope(memory) / 10, 2),
                    "fds": len(os.listdir("/proc/self/fd")),
                    "seconds_per_load": round(float(np.median(times)), 3),
                    "last_over_first": round(
                        float(np.median(times[-20:]) / np.median(times[:20])), 2
                    ),
                }
            ).encode(),
        )
        os._exit(0)
    os.close(w)
    text = os.fdopen(r).read()
    os.waitpid(pid, 0)
    figures[f"{kind}_loads"] = json.loads(text) if text else "died"
    if not text or figures[f"{kind}_loads"]["MiB_per_100_loads"] > 5:
        fault("medium", f"{LOADS} loads of a {kind} predictor: {figures[f'{kind}_loads']}")
# one predictor, many predictions
r, w = os.pipe()
pid = os.fork()
if pid == 0:
    import pumlc

    v, t = pumlc.load(short, device="cpu"), pumlc.load(base / "trun", device="cpu")
    memory = []
    for n in range(2000):
        v.predict([np.zeros((32, 32, 3), np.uint8)])
        t.predict([f"red apple {n}"], top=3)
        if n % 100 == 99:
            gc.collect()
            memory.append((n, rss(os.getpid())))
    os.write(
        w, json.dumps([round(memory[0][1]), round(memory[-1][1]), round(slope(memory), 2)]).encode()
    )
    os._exit(0)
os.close(w)
figures["2000_predictions_MiB_and_slope"] = json.loads(os.fdopen(r).read() or "null")
os.waitpid(pid, 0)
print(("FAULTS " if faults else "ok ") + str(len(faults)) + " " + json.dumps(figures))
sys.exit(bool(faults))
