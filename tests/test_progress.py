"""Lines of progress: when they come and what they say."""

import threading
import time

from pumlc.progress import Progress, working


def test_short_work_is_silent_and_long_work_has_a_line_every_ten_seconds(capsys):
    now = [100.0]
    progress = Progress(clock=lambda: now[0])
    for second in range(40):
        now[0] = 100.0 + second
        progress.show("pictures", 10 * second, 400)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "pictures: 50/400, 10 a second, 35 s left",
        "pictures: 150/400, 10 a second, 25 s left",
        "pictures: 250/400, 10 a second, 15 s left",
        "pictures: 350/400, 10 a second, 5 s left",
    ]


def test_each_work_has_its_own_clock_and_rate(capsys):
    now = [0.0]
    progress = Progress(clock=lambda: now[0])
    for what in ("train", "test"):
        progress.show(what, 64, 364)  # a batch, and the start of everything
        now[0] += 60.0
        progress.show(what, 64, 364)
        progress.show(what, 124, 364)
    assert capsys.readouterr().err.splitlines() == [
        f"{what}: 124/364, 1 a second, 4 min 0 s left" for what in ("train", "test")
    ]


def test_work_that_cannot_be_counted_says_how_long_it_takes(capsys, monkeypatch):
    monkeypatch.setattr("pumlc.progress.SILENT", 0.01)
    monkeypatch.setattr("pumlc.progress.INTERVAL", 0.01)
    with working("writing a.json"):
        until(lambda: "so far" in capsys.readouterr().err)
    assert not [each for each in threading.enumerate() if each.name == "working"]
    capsys.readouterr()  # a line that came before the end
    with working("writing a.json", shown=False):
        time.sleep(0.05)
    monkeypatch.setattr("pumlc.progress.SILENT", 60.0)
    with working("writing a.json"):
        pass
    assert capsys.readouterr().err == ""


def until(happened):
    while not happened():
        time.sleep(0.01)
