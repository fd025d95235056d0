"""Runs that end in the middle: kills, signals, and what a folder says after them."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from noisy_task import STEPS, Noisy, outcome, trainer_of
from safetensors.torch import load_file, save_file
from two_processes import run_in_two_processes

from pumlc.cli.train import main
from pumlc.engine.batches import EpochBatches
from pumlc.engine.checkpoint import StoredWeights, load_weights, save_weights
from pumlc.engine.config import TrainConfig
from pumlc.engine.processes import create_accelerator, end_processes, lost_processes_named
from pumlc.engine.run import RunFolder
from pumlc.engine.stopping import TrainingStoppedError
from pumlc.engine.task import Validation
from pumlc.errors import UserError


class Killed(Exception):
    pass


def stop_at(wanted: int, number: int | None = None):
    """Before a step, an exception that nothing expects, or a signal to this process."""

    def before(step: int) -> None:
        if step != wanted:
            return
        if number is None:
            raise Killed
        os.kill(os.getpid(), number)

    return before


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    trainer_of(folder, Noisy(), create_accelerator()).train()
    return outcome(folder)


@pytest.mark.parametrize("step", [0, 1, STEPS - 1, STEPS, STEPS + 2, 3 * STEPS - 1])
def test_a_kill_at_any_step_changes_nothing(tmp_path, whole, step):
    """With a checkpoint after every step."""
    accelerator = create_accelerator()
    with pytest.raises(Killed):
        trainer_of(tmp_path, Noisy(stop_at(step)), accelerator, checkpoint_minutes=0).train()
    task = Noisy()
    trainer_of(tmp_path, task, accelerator, resume=True, checkpoint_minutes=0).train()
    assert outcome(tmp_path) == whole
    assert task.served == 3 * STEPS - step  # no batch twice


def test_without_a_checkpoint_in_between_the_epoch_starts_again(tmp_path, whole):
    accelerator = create_accelerator()
    with pytest.raises(Killed):
        trainer_of(tmp_path, Noisy(stop_at(STEPS + 2)), accelerator).train()
    task = Noisy()
    trainer_of(tmp_path, task, accelerator, resume=True).train()
    assert outcome(tmp_path) == whole
    assert task.served == 2 * STEPS


def test_a_kill_between_the_last_step_and_validation(tmp_path, whole, monkeypatch):
    accelerator = create_accelerator()
    task = Noisy()
    monkeypatch.setattr(task, "validate", lambda accelerator: stop_at(0)(0))
    with pytest.raises(Killed):
        trainer_of(tmp_path, task, accelerator, checkpoint_minutes=0).train()
    again = Noisy()
    trainer_of(tmp_path, again, accelerator, resume=True).train()
    assert outcome(tmp_path) == whole
    assert again.served == 2 * STEPS


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_step_and_saves(tmp_path, whole, number):
    accelerator = create_accelerator()
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    trainer = trainer_of(tmp_path, Noisy(stop_at(STEPS + 1, number)), accelerator)
    place = f"stopped by {number.name} in epoch 2 after step 2/{STEPS}"
    with pytest.raises(TrainingStoppedError, match=place) as stopped:
        trainer.train()
    assert stopped.value.number == number
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers
    trainer_of(tmp_path, Noisy(), accelerator, resume=True).train()
    assert outcome(tmp_path) == whole


def test_a_signal_during_validation_stops_after_the_epoch(tmp_path, whole, monkeypatch):
    accelerator = create_accelerator()
    task = Noisy()
    validate = task.validate

    def signalled(accelerator):
        os.kill(os.getpid(), signal.SIGTERM)
        return validate(accelerator)

    monkeypatch.setattr(task, "validate", signalled)
    with pytest.raises(TrainingStoppedError, match="stopped by SIGTERM after epoch 1"):
        trainer_of(tmp_path, task, accelerator).train()
    trainer_of(tmp_path, Noisy(), accelerator, resume=True).train()
    assert outcome(tmp_path) == whole


def test_a_signal_in_the_last_validation_does_not_stop_a_finished_run(tmp_path, monkeypatch):
    task = Noisy()
    validate = task.validate
    monkeypatch.setattr(
        task, "validate", lambda a: os.kill(os.getpid(), signal.SIGTERM) or validate(a)
    )
    trainer_of(tmp_path, task, create_accelerator(), epochs=1).train()
    assert "last" in RunFolder(tmp_path).index()


TWICE = """
import os, signal
from pumlc.engine.stopping import StopSignals
stop = StopSignals(launched={launched})
with stop.caught():
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    print("goes on", stop.received == signal.SIGTERM, flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    print("goes on", flush=True)
"""


@pytest.mark.parametrize(
    ("launched", "status", "said"),
    [(False, 130, ["goes on True"]), (True, 0, ["goes on True", "goes on"])],
)
def test_a_second_ctrl_c_ends_at_once(launched, status, said):
    """A launcher passes the first one on; for its processes that is not a second one."""
    command = [sys.executable, "-c", TWICE.format(launched=launched)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()) == (status, said)
    assert ("interrupted" in done.stderr) is not launched


def test_the_command_says_how_the_run_goes_on(tmp_path, monkeypatch, capsys):
    def stopped(*arguments, **options):
        raise TrainingStoppedError(signal.SIGTERM, "in epoch 2 after step 3/9")

    monkeypatch.setattr("pumlc.engine.training.train_run", stopped)
    monkeypatch.delenv("RANK", raising=False)
    arguments = ["--config", "csv_lite0_cpu", "--out", str(tmp_path / "a run")]
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 143
    assert capsys.readouterr().err.splitlines() == [
        "stopped by SIGTERM in epoch 2 after step 3/9, all saved; go on with: "
        f"pumlc train --out '{tmp_path}/a run' --resume"
    ]
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit):
        main(arguments)
    assert capsys.readouterr().err == ""


def test_an_old_checkpoint_goes_on_at_its_epoch(tmp_path, whole):
    accelerator = create_accelerator()
    with pytest.raises(Killed):
        trainer_of(tmp_path, Noisy(stop_at(STEPS)), accelerator).train()
    file = tmp_path / "checkpoint" / "state.pt"
    state = torch.load(file, weights_only=True)
    assert state.pop("position") is None
    torch.save(state, file)
    trainer_of(tmp_path, Noisy(), accelerator, resume=True).train()
    assert outcome(tmp_path) == whole


def test_an_epoch_of_batches_goes_on_at_a_step():
    batches = EpochBatches(20, 3, seed=1)
    batches.epoch = 2
    expected = list(batches)
    batches.first = 4
    assert list(batches) == expected[4:]
    batches.first = len(expected)
    assert list(batches) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"checkpoint_minutes": -1.0}, "train.checkpoint_minutes must be at least 0, got -1"),
        ({"timeout_minutes": 0.0}, "train.timeout_minutes must be above 0"),
        ({"timeout_minutes": 1e9}, "train.timeout_minutes must be above 0, at most"),
    ],
)
def test_settings_of_minutes(change, message):
    with pytest.raises(UserError, match=message):
        TrainConfig(epochs=1, batch_size=1, learning_rate=1.0, **change)


# weights and the index


def saved(folder: Path, epoch: int) -> RunFolder:
    """A run folder with weights of an epoch: all of them are its number."""
    run = RunFolder(folder)
    run.weights.mkdir(exist_ok=True)
    state = {"w": torch.full((3,), float(epoch)), "n": torch.tensor(epoch)}
    entry = save_weights(run.weights / "best.safetensors", state, {"epoch": epoch, "score": None})
    run.add_to_index("best", entry)
    return run


def test_weights_and_their_entry_are_one_unit(tmp_path):
    run = saved(tmp_path, 1)
    before = (run.weights / "index.json").read_text()
    saved(tmp_path, 2)
    (run.weights / "index.json").write_text(before)  # killed between the two writes
    assert run.index()["best"]["epoch"] == 2
    (run.weights / "index.json").unlink()  # killed before the first index
    assert run.index()["best"]["epoch"] == 2


def test_an_entry_that_a_person_has_changed_counts(tmp_path):
    run = saved(tmp_path, 1)
    file = run.weights / "index.json"
    index = json.loads(file.read_text())
    index["best"]["extras"] = {"thresholds": [0.3]}
    file.write_text(json.dumps(index))
    assert run.index()["best"]["extras"] == {"thresholds": [0.3]}


def test_weights_of_an_earlier_version_are_described_by_the_index_alone(tmp_path):
    run = saved(tmp_path, 1)
    file = run.weights / "best.safetensors"
    save_file(load_file(file), file)  # no entry in the header
    (run.weights / "index.json").write_text('{"best": {"epoch": 7, "score": null}}')
    assert run.index() == {"best": {"epoch": 7, "score": None}}
    assert load_weights(file)["n"] == 1


def test_damaged_weights_are_refused(tmp_path):
    run = saved(tmp_path, 1)
    file = run.weights / "best.safetensors"
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"best.safetensors: damaged, its weights are not those"):
        load_weights(file)
    file.write_bytes(content[:20])
    assert run.index()["best"]["epoch"] == 1  # of index.json
    with pytest.raises(UserError, match="not a readable safetensors file"):
        load_weights(file)


class Climbing(Noisy):
    """The last epoch is the best one, or the first."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = list(scores)

    def validate(self, accelerator):
        score = self.scores.pop(0)
        return Validation(score, {}, {}, np.full(3, float(score)))


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize(("scores", "files"), [([1, 2, 3], 1), ([3, 2, 1], 2)])
def test_each_weight_is_stored_once(tmp_path, monkeypatch, scores, files, links):
    """``best``, ``last`` and the checkpoint, also on a system that cannot link."""
    if not links:
        monkeypatch.setattr(os, "link", lambda *names: (_ for _ in ()).throw(OSError(1, "no")))
    run = RunFolder(tmp_path)
    trainer_of(tmp_path, Climbing(scores), create_accelerator(), ema_decay=None).train()
    names = [run.weights / "best.safetensors", run.weights / "last.safetensors"]
    names.append(tmp_path / "checkpoint" / "model.safetensors")
    assert len({str(load_weights(name)) for name in names}) == files
    assert len({name.stat().st_ino for name in names}) == (files if links else 3)
    assert run.index()["last"]["epoch"] == 3
    assert run.index()["best"]["epoch"] == (3 if files == 1 else 1)


def test_a_kill_at_any_rename_or_link_changes_nothing(tmp_path, monkeypatch):
    """Before each of them, in a run whose files share their content."""
    accelerator, plain = create_accelerator(), {"link": os.link, "replace": os.replace}
    left = [-1]  # calls until the kill; never

    def counted(name):
        def call(*arguments):
            left[0] -= 1
            if not left[0]:
                raise Killed(name)
            return plain[name](*arguments)

        return call

    for name in plain:
        monkeypatch.setattr(os, name, counted(name))
    settings = {"epochs": 2, "ema_decay": None}
    trainer_of(tmp_path / "whole", Climbing([1.0, 2.0]), accelerator, **settings).train()
    whole, calls, killed = outcome(tmp_path / "whole"), -1 - left[0], []
    for number in range(3, calls + 1, 3):  # the first ones make the folder
        folder = tmp_path / str(number)
        trainer = trainer_of(folder, Climbing([1.0, 2.0]), accelerator, **settings)
        left[0] = number - 1  # run.json is one
        with pytest.raises(Killed) as kill:
            trainer.train()
        killed.append(str(kill.value))
        left[0] = -1
        task = Climbing([1.0, 2.0])
        trainer = trainer_of(folder, task, accelerator, resume=True, **settings)
        task.scores = [1.0, 2.0][trainer.epoch :]
        trainer.train()
        assert outcome(folder) == whole, (number, killed)
    assert set(killed) == {"link", "replace"}


def test_equal_weights_with_other_entries_are_two_files(tmp_path):
    stored, state = StoredWeights(), {"w": torch.ones(2)}
    for name, epoch in (("a", 1), ("b", 2), ("c", 1), ("d", None)):
        entry = None if epoch is None else {"epoch": epoch}
        stored.add(tmp_path / name, save_weights(tmp_path / name, state, entry, stored=stored))
    inodes = [(tmp_path / name).stat().st_ino for name in "abcd"]
    assert inodes[0] == inodes[2] != inodes[1]
    assert inodes[3] in inodes[:2]  # nothing more is to be said of these
    (tmp_path / "a").unlink()
    (tmp_path / "c").unlink()
    save_weights(tmp_path / "e", state, {"epoch": 1}, stored=stored)
    assert load_weights(tmp_path / "e")["w"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("content", ["[]", '{"best": 3}'])
def test_an_invalid_index(tmp_path, content):
    run = saved(tmp_path, 1)
    (run.weights / "index.json").write_text(content)
    with pytest.raises(UserError, match=r"index.json is not that of a run"):
        run.index()


# loading processes

PARENT = """
import multiprocessing, os, sys, time
from pumlc.engine.workers import belong_to_parent
def work(ready):
    belong_to_parent()
    ready.put(os.getpid())
    while True:
        time.sleep(0.01)
if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    ready = multiprocessing.SimpleQueue()
    workers = [multiprocessing.Process(target=work, args=(ready,), daemon=True) for _ in "ab"]
    for worker in workers:
        worker.start()
    print(*[ready.get() for _ in workers], flush=True)
    if "end" in sys.argv:
        sys.exit()  # multiprocessing ends its daemons by SIGTERM
    time.sleep(60)
"""


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def gone(pid: int) -> bool:
    """Whether a process ends, with ample time to do so."""
    end = time.monotonic() + 20
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not alive(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("way", ["kill", "end"])
def test_workers_end_with_their_parent_and_not_before(tmp_path, way):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    command = [sys.executable, str(script), way]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(workers) == 2
        if way == "kill":
            for worker in workers:  # as a terminal and a scheduler do it, to the whole group
                os.kill(worker, signal.SIGINT)
                os.kill(worker, signal.SIGTERM)
            time.sleep(0.2)
            assert all(alive(worker) for worker in workers)
            parent.kill()
        assert all(gone(worker) for worker in workers)
        assert parent.wait(20) == (-signal.SIGKILL if way == "kill" else 0)


# several processes


@pytest.mark.parametrize("lost", [True, False])
def test_a_lost_process_is_named_in_one_line(lost):
    reason = "[gloo/transport/tcp/pair.cc:561] Connection closed by peer" if lost else "a fault"
    with pytest.raises(RuntimeError if not lost else UserError) as caught, lost_processes_named():
        raise RuntimeError(reason)
    assert ("another process of this run has ended" in str(caught.value)) is lost
    assert reason in str(caught.value)


def test_how_long_a_silent_process_is_waited_for():
    handler = create_accelerator(timeout_minutes=2.5).init_handler
    assert handler is not None
    assert handler.timeout == timedelta(seconds=150)


def rank_main(rank: int, folder: Path) -> None:
    accelerator = create_accelerator()
    trainer_of(folder / "whole", Noisy(), accelerator).train()
    # one process alone has the signal, and all stop after the same step
    signalled = Noisy(stop_at(STEPS + 1, signal.SIGTERM) if rank == 1 else lambda step: None)
    try:
        trainer_of(folder / "cut", signalled, accelerator).train()
    except TrainingStoppedError as stopped:
        (folder / f"stopped{rank}").write_text(str(stopped))
    trainer_of(folder / "cut", Noisy(), accelerator, resume=True).train()
    end_processes(accelerator)


def test_two_processes_stop_together_and_go_on(tmp_path):
    run_in_two_processes(rank_main, tmp_path)
    for rank in (0, 1):
        said = (tmp_path / f"stopped{rank}").read_text()
        assert said == f"stopped by SIGTERM in epoch 2 after step 2/{STEPS}"
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")
