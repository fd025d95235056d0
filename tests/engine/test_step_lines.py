"""Lines of steps: every few steps, where steps are slow, and within a step that is slower still."""

import threading
import time

import pytest

from pumlc.engine.step_lines import StepLines


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("pumlc.engine.step_lines.time.monotonic", lambda: now[0])
    return now


def told(clock, seconds: float, *, log_every: int = 1000, steps: int = 12) -> list[float]:
    """When steps of so many seconds have a line."""
    lines, found = StepLines(log_every, shown=False), []
    with lines.epoch():
        for position in range(1, steps + 1):
            lines.begin("a step")
            clock[0] += seconds
            if lines.end(position):
                found.append(clock[0])
    return found


def test_a_line_every_few_steps(clock):
    assert told(clock, 0.1, log_every=5) == pytest.approx([0.5, 1.0])


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.5, []), (2.5, [7.5, 15, 22.5, 30]), (4, [8, 16, 24, 32, 40, 48]), (6, range(6, 73, 6))],
)
def test_the_next_line_would_come_after_more_than_ten_seconds(clock, seconds, expected):
    assert told(clock, seconds) == list(expected)


def test_a_line_within_a_step_that_takes_long(monkeypatch, capsys):
    monkeypatch.setattr("pumlc.engine.step_lines._LOOK", 0.01)
    monkeypatch.setattr("pumlc.engine.step_lines.INTERVAL", 0.1)
    lines = StepLines(1000, shown=True)
    with lines.epoch():
        time.sleep(0.2)  # between two steps: others tell of that
        assert capsys.readouterr().err == ""
        lines.begin("epoch 1 step 3/7")
        seen, limit = "", time.monotonic() + 20
        while seen.count("epoch 1 step 3/7: 0 s so far\n") < 2 and time.monotonic() < limit:
            seen += capsys.readouterr().err
            time.sleep(0.01)
        assert seen.count("\n") >= 2
        lines.end(3)
    assert not [each for each in threading.enumerate() if each.name == "steps"]
    quiet = StepLines(1000, shown=False)
    capsys.readouterr()
    with quiet.epoch():
        quiet.begin("epoch 1 step 3/7")
        time.sleep(0.2)
        quiet.end(3)
    assert capsys.readouterr().err == ""
