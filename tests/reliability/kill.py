"""Kills of tools/train.py: does --resume end in the weights of an uninterrupted run, bit by bit?

python kill.py [random=30] [exhaustive=1]; last line: figures; exit 1 if anything is lost or wrong.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import common as c

c.reexec()
OPTIONS = dict(a.split("=") for a in sys.argv[1:])
RANDOM, EXHAUSTIVE = int(OPTIONS.get("random", 30)), int(OPTIONS.get("exhaustive", 1))
faults, figures = [], {}
base = c.fresh("kill")
c.preload()
log = base / "log.txt"


def fault(text):
    faults.append(text)
    print("FAULT", text, flush=True)


def counting(run, kill_at=None, half=False, record=None):
    """Count file-system events below ``run``; SIGKILL oneself before (half: inside the write after) number kill_at."""

    def install():
        state = {"n": 0, "armed": False}
        prefix = str(run)

        def below(path, fd=-1):
            try:
                path = os.fspath(path)
            except TypeError:
                return False
            if isinstance(path, bytes):
                path = os.fsdecode(path)
            if not os.path.isabs(path) and isinstance(fd, int) and fd >= 0:
                path = os.path.join(os.readlink(f"/proc/self/fd/{fd}"), path)
            return path == prefix or path.startswith(prefix + "/")

        def hook(event, args):
            if event == "open":
                path, mode, flags = args
                if (
                    not isinstance(flags, int)
                    or not flags & (os.O_WRONLY | os.O_RDWR)
                    or isinstance(path, int)
                ):
                    return
                if not below(path):
                    return
            elif event == "os.rename" or event in ("os.mkdir",):
                if not below(args[0], args[2]):
                    return
            elif event == "os.link":
                if not below(args[1], args[3]):
                    return
            elif event in ("os.remove", "os.rmdir"):
                if not below(args[0], args[1]):
                    return
            else:
                return
            state["n"] += 1
            if record is not None:
                with open(record, "a") as f:
                    f.write(f"{state['n']} {event} {args[0]}\n")
            if kill_at == state["n"]:
                if half and event == "open":
                    state["armed"] = True
                else:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        if half:
            fsync = os.fsync

            def torn(descriptor):
                if state["armed"]:  # as if the write had come half as far
                    os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
                    os.kill(os.getpid(), signal.SIGKILL)
                return fsync(descriptor)

            os.fsync = torn

    return install


def consistency(run, pairs):
    """Saved weights whose index entry is of other weights; and what a load would take."""
    from pumlc.engine.run import RunFolder

    index = RunFolder(run).index()  # of index.json and the weights' own headers: what a load takes
    wrong = []
    for p in sorted((run / "weights").glob("*.safetensors")):
        entry = index.get(p.stem)
        if (p.stem, c.sha(p), json.dumps(entry, sort_keys=True)) not in pairs:
            wrong.append(
                f"{p.stem}: "
                + (
                    "no entry in index.json"
                    if entry is None
                    else f"weights are not those of the entry (epoch {entry['epoch']})"
                )
            )
    for name in index:
        if not (run / "weights" / f"{name}.safetensors").is_file():
            wrong.append(f"{name}: in the index without a file")
    return wrong


def pairs_of(run, settings):
    """Runs uninterrupted, recording every valid (name, weights, entry)."""
    out = base / "pairs.jsonl"
    out.unlink(missing_ok=True)

    def install():
        from pumlc.engine.run import RunFolder

        plain = RunFolder.add_to_index

        def recorded(self, name, entry):
            plain(self, name, entry)
            with open(out, "a") as f:
                f.write(
                    json.dumps(
                        [
                            name,
                            c.sha(self.weights / f"{name}.safetensors"),
                            json.dumps(json.loads(json.dumps(entry)), sort_keys=True),
                        ]
                    )
                    + "\n"
                )

        RunFolder.add_to_index = recorded

    code = c.run_tool("train", [*settings, "--out", run], log, install)
    assert code == 0, (code, log.read_text()[-2000:])
    return {tuple(json.loads(line)) for line in out.read_text().splitlines()}


def resumed(run, settings):
    """Finish a killed run; returns how often it was told to start again from nothing."""
    if not (run / "run.json").is_file():
        return c.run_tool("train", [*settings, "--out", run], log)
    return c.run_tool("train", ["--out", run, "--resume"], log)


def check(kind, settings, workers_settings=None):
    reference = base / f"{kind}_reference"
    started = time.time()
    pairs = pairs_of(reference, settings)
    seconds = time.time() - started
    expected = c.outcome(reference)
    again = base / f"{kind}_again"
    assert c.run_tool("train", [*settings, "--out", again], log) == 0
    different = c.difference(expected, c.outcome(again))
    if different:
        fault(f"{kind}: two uninterrupted runs differ: {different}")
    rng = random.Random(1)
    wrong_state = lost = refused = 0
    orphaned = 0.0
    # random moments, every third run is killed twice
    for number in range(RANDOM):
        run = base / f"{kind}_random"
        shutil.rmtree(run, ignore_errors=True)
        use = workers_settings if workers_settings and number % 5 == 4 else settings
        pid = c.fork_tool("train", [*use, "--out", run], log)
        time.sleep(rng.uniform(0.0, 1.0) * seconds * (1.5 if use is workers_settings else 1))
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        c.wait(pid)
        if use is workers_settings and (run / "run.json").is_file():
            began = time.time()
            orphans = c.leftovers(pid)
            if orphans and c.run_tool("train", ["--out", run, "--resume"], log) == 2:
                refused += 1
            while c.leftovers(pid) and time.time() < began + 60:
                time.sleep(0.1)
            orphaned = max(orphaned, time.time() - began)
            for p in c.leftovers(pid):
                fault(f"{kind}: process {p} outlives the killed run by a minute")
                os.kill(p, 9)
        if run.exists() and consistency(run, pairs):
            wrong_state += 1
        if number % 3 == 0 and (run / "run.json").is_file():
            pid = c.fork_tool("train", ["--out", run, "--resume"], log)
            time.sleep(rng.uniform(0.0, 1.0) * seconds)
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            c.wait(pid)
            end = time.time() + 60
            while c.leftovers(pid) and time.time() < end:
                time.sleep(0.1)
        code = resumed(run, use)
        different = c.difference(expected, c.outcome(run)) if code == 0 else [f"exit {code}"]
        if different:
            lost += 1
            fault(f"{kind}: random kill {number}: {different}")
    figures[f"{kind}_random_kills"] = RANDOM
    figures[f"{kind}_random_lost"] = lost
    if workers_settings:
        figures["resume_refused_beside_orphaned_workers"] = refused
        figures["orphaned_workers_seconds"] = round(orphaned, 1)
        if refused:
            fault(
                f"{kind}: --resume right after the kill was refused {refused} times: orphaned workers hold the lock of the folder"
            )
    figures[f"{kind}_random_inconsistent_before_resume"] = wrong_state
    if EXHAUSTIVE:
        record = base / f"{kind}_events.txt"
        record.unlink(missing_ok=True)
        run = base / f"{kind}_events"
        assert (
            c.run_tool("train", [*settings, "--out", run], log, counting(run, record=str(record)))
            == 0
        )
        events = [line for line in record.read_text().splitlines()]
        lost, states = 0, {}
        todo = [(n, False) for n in range(1, len(events) + 1)]
        todo += [(n, True) for n, line in enumerate(events, 1) if " open " in line]
        for n, half in todo[:: max(1, EXHAUSTIVE)]:
            run = base / f"{kind}_point"
            shutil.rmtree(run, ignore_errors=True)
            code = c.run_tool("train", [*settings, "--out", run], log, counting(run, n, half))
            if code != -9:
                continue  # a file that is opened and not written through pumlc.files: no half of it
            bad = consistency(run, pairs) if run.exists() else []
            for b in bad:
                states.setdefault(b, []).append(n)
            code = resumed(run, settings)
            different = c.difference(expected, c.outcome(run)) if code == 0 else [f"exit {code}"]
            if different:
                lost += 1
                fault(
                    f"{kind}: killed {'inside' if half else 'before'} event {events[n - 1].replace(str(base), '')}: {different}"
                )
        figures[f"{kind}_kill_points"] = len(todo[:: max(1, EXHAUSTIVE)])
        figures[f"{kind}_kill_points_lost"] = lost
        figures[f"{kind}_states_inconsistent"] = sum(map(len, states.values()))
        for text, points in states.items():
            print(
                f"{kind}: inconsistent until resumed: {text}: {len(points)} kill points", flush=True
            )
    return seconds


data = base / "pictures"
data.mkdir()
c.pictures_csv(data)
# a checkpoint after every step: kills come between, before and inside of them
settings = c.vision_settings(data, train__checkpoint_minutes=0)
t = check(
    "vision", settings, c.vision_settings(data, train__checkpoint_minutes=0, train__workers=2)
)
texts = base / "texts"
texts.mkdir()
c.text_data(texts)
t2 = check("text", c.text_settings(texts, train__checkpoint_minutes=0))
figures["seconds_of_a_run"] = [round(t, 1), round(t2, 1)]
print(("FAULTS " if faults else "ok ") + json.dumps(figures))
sys.exit(bool(faults))
