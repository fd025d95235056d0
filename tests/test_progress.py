"""Lines of progress: when they come and what they say."""

import threading
import time

import pumlc.progress
from pumlc.progress import MEGABYTES, Progress, counted, reached, working


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


def test_work_that_counts_says_its_rate_and_the_time_left(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("pumlc.progress.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("pumlc.progress.SILENT", 0.01)
    with working("reading a.csv"):
        reached(0, 4_000_000, MEGABYTES)
        clock[0] = 2.0
        reached(1_000_000, 4_000_000, MEGABYTES)
        until(lambda: "reading a.csv: 1/4 MB, 0.5 MB a second, 6 s left" in capsys.readouterr().err)


def test_another_part_of_the_work_has_a_rate_of_its_own(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("pumlc.progress.time.monotonic", lambda: clock[0])
    work = pumlc.progress._Work()
    work.reach(0, 100, "")
    assert work.line() == "0 s so far"
    clock[0] = 10.0
    work.reach(50, 100, "")
    assert work.line() == "50/100, 5 a second, 10 s left"
    assert work.line() == "10 s so far"  # what follows the counted part has no time left
    work.reach(0, 100, "")  # the same file again
    assert work.line() == "10 s so far"
    clock[0] = 11.0
    work.reach(50, 100, "")
    assert work.line() == "50/100, 50 a second, 1 s left"
    work.reach(60, 80, "")  # another file
    clock[0] = 12.0
    work.reach(70, 80, "")
    assert work.line() == "70/80, 10 a second, 1 s left"
    work.reach(80, 80, "")
    assert work.line() == "12 s so far"


def test_work_inside_of_work_counts_for_the_outer_one(capsys, monkeypatch):
    monkeypatch.setattr("pumlc.progress.SILENT", 0.01)
    monkeypatch.setattr("pumlc.progress.INTERVAL", 0.01)
    with working("outer"), working("inner"):
        reached(0, 3)
        time.sleep(0.02)
        reached(1, 3)
        until(lambda: "outer: 1/3" in (seen := capsys.readouterr().err) and "inner" not in seen)


def test_only_the_main_process_has_lines(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("pumlc.progress.SILENT", 0.01)
    with working("reading a.csv"):
        time.sleep(0.05)
    assert capsys.readouterr().err == ""


def test_counting_without_work_does_nothing(capsys):
    reached(1, 2)
    assert list(counted("ab")) == ["a", "b"]
    assert capsys.readouterr() == ("", "")


def until(happened):
    while not happened():
        time.sleep(0.01)
