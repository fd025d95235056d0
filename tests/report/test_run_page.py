"""The report of runs: its numbers are those of the metrics, its texts are text."""

import csv
import re

import numpy as np
import pytest

from pumlc.metrics import average_precision, mean_average_precision
from pumlc.report import RunFigures, SplitScores, read_history, read_suspects, write_report
from pumlc.report.plots import HEIGHT, WIDTH, Line, line_plot, ticks
from pumlc.report.run_page import class_rows, summary_rows

HOSTILE = "</style><script>alert(1)</script>\"'&"


def scores_of(seed=0, noise=0.5, first="0.png"):
    random = np.random.RandomState(0)
    labels = random.choice([-1, 0, 1], (80, 3), p=[0.6, 0.1, 0.3]).astype(np.int8)
    scores = labels + noise * np.random.RandomState(seed).randn(80, 3)
    return SplitScores(
        classes=("cat", HOSTILE, "dog"),
        paths=[first, *(f"{row}.png" for row in range(1, 80))],
        labels=labels,
        probabilities=1 / (1 + np.exp(-scores)),
        thresholds=np.array([0.4, 0.5, 0.6]),
    )


def run_of(name):
    return RunFigures(
        name=name,
        facts={"data.name": "csv", "note": HOSTILE},
        history=[{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0, "mAP": 50}],
        scores=scores_of(),
    )


def test_the_rows_of_the_classes_are_those_of_a_loop():
    run = scores_of()
    each = average_precision(run.probabilities, run.labels)
    rows = class_rows(run)
    assert [row["AP"] for row in rows] == sorted(100 * each)
    for row in rows:
        column = run.classes.index(row["name"])
        pairs = [
            (p >= run.thresholds[column], t)
            for p, t in zip(run.probabilities[:, column], run.labels[:, column], strict=True)
            if t != 0
        ]
        hits = sum(1 for found, t in pairs if found and t == 1)
        assert row["precision"] == pytest.approx(100 * hits / sum(found for found, _ in pairs))
        assert row["recall"] == pytest.approx(100 * hits / sum(t == 1 for _, t in pairs))
        assert (row["present"], row["absent"]) == (
            sum(t == 1 for _, t in pairs),
            sum(t == -1 for _, t in pairs),
        )


def test_runs_beside_the_first_one():
    first, worse = scores_of(), scores_of(seed=1, noise=3)
    rows = summary_rows([("a", first), ("b", worse), ("c", scores_of(first="x.png"))])
    assert rows[0]["mAP"] == mean_average_precision(
        first.probabilities, first.labels, definition="sklearn"
    )
    difference = rows[1]["difference"]
    assert difference["value"] == pytest.approx(rows[1]["mAP"] - rows[0]["mAP"])
    assert difference["low"] < difference["value"] < difference["high"] < 0
    assert rows[2]["difference"] is None


def test_the_page_shows_text_as_text(tmp_path):
    suspects = [
        {
            "image": HOSTILE,
            "class": "cat",
            "given": "absent",
            "part": "train",
            "rank": "1",
            "suspicion": "0.9",
            "wrong": "",
        }
    ]
    file = tmp_path / "report.html"
    write_report(
        file,
        [run_of("runs/a"), run_of(HOSTILE)],
        command="pumlc report " + HOSTILE,
        split="test",
        suspects={"audit": suspects, "clean": []},
    )
    text = file.read_text("utf-8")
    assert "<script" not in text
    assert text.count("</style>") == 1
    assert "script-src 'none'" in text.replace("&#39;", "'")
    assert not re.search(r"(?:https?:)?//\w", text)
    assert "Nothing suspicious." in text
    for word in ("loss", "Precision and recall", "Reliability", "data.name"):
        assert word in text
    with pytest.raises(ValueError, match="nothing to report"):
        write_report(file, [], command="", split="test")


def test_a_run_that_was_not_scored_has_its_curves(tmp_path):
    run = RunFigures(name="texts", history=[{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}])
    write_report(tmp_path / "r.html", [run], command="", split="test")
    text = (tmp_path / "r.html").read_text()
    assert "polyline" in text
    assert "<h2>On split" not in text


def test_points_lie_inside_of_the_plot_and_the_axes_are_round():
    plot = line_plot(
        [Line("a", [0, 1, 2, np.nan], [3, -1e3, 1e3, 0], kind="dots")],
        title="t",
        x_label="x",
        y_label="y",
    )
    found = re.search(r'points="([^"]*)"', plot)
    assert found is not None
    places = [tuple(map(float, pair.split(","))) for pair in found[1].split()]
    assert len(places) == 3
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in places)
    assert places[1][1] > places[0][1] > places[2][1]
    assert ticks(0, 7) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert ticks(-0.03, 0.02) == [-0.03, -0.02, -0.01, 0, 0.01, 0.02]


def test_files_of_a_run_and_an_audit(tmp_path):
    history = tmp_path / "metrics.csv"
    assert read_history(history) == []
    history.write_text("epoch,loss,word\n1,2.5,x\n2,,y\n")
    assert read_history(history) == [{"epoch": 1, "loss": 2.5}, {"epoch": 2}]
    file = tmp_path / "suspects.csv"
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["part", "given", "rank", "image", "class", "suspicion"])
        writer.writerows(["train", "absent", rank, "a", "b", 0.5] for rank in range(1, 50))
    assert [row["rank"] for row in read_suspects(file, most=2)] == ["1", "2"]
    file.write_text("a,b\n")
    with pytest.raises(ValueError, match="no column 'part'"):
        read_suspects(file)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_readable_by_everyone_and_without_a_complaint(browser, tmp_path, scheme, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    file = tmp_path / "report.html"
    names = ("class", "given", "part", "rank", "suspicion", "wrong")
    suspects = {"audit": [{"image": "x" * 300, **dict.fromkeys(names, "1")}]}
    runs = [run_of("runs/a"), run_of("runs/b")]
    write_report(file, runs, command="pumlc report", split="test", suspects=suspects)
    complaints = []
    for bypass in (False, True):  # the second time for axe, whose script the page forbids
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=bypass
        )
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        if bypass:
            found = axe.Axe().run(page).response["violations"]
            assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []
        context.close()
    assert complaints == []
