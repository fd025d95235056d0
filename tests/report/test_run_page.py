"""The report of runs: its numbers are those of the metrics, its texts are text."""

import csv
import re
from dataclasses import replace

import numpy as np
import pytest

from pumlc.errors import UserError
from pumlc.metrics import average_precision, mean_average_precision, paired_interval
from pumlc.report import (
    RunFigures,
    SplitScores,
    pictures_to_show,
    read_history,
    read_suspects,
    read_sweep,
    thumbnail,
    write_report,
)
from pumlc.report.class_pages import class_details, confused_pairs, telling_rows, worst_classes
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
        scores=with_pictures(scores_of()),
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
    assert [row["other"] for row in rows] == ["", "", "pictures"]
    turned = replace(
        worse,
        classes=worse.classes[::-1],
        labels=worse.labels[:, ::-1],
        probabilities=worse.probabilities[:, ::-1],
    )
    renamed = replace(first, classes=[f"{name}s" for name in first.classes])
    other = replace(first, labels=-first.labels)
    rows = summary_rows([("a", first), ("b", turned), ("c", renamed), ("d", other)])
    assert rows[1]["difference"] == difference
    assert [row["other"] for row in rows] == ["", "", "classes", "labels"]


def test_runs_on_other_pictures_are_said_to_be_so(tmp_path):
    runs = [run_of("a"), replace(run_of("b"), scores=scores_of(first="x.png"))]
    write_report(tmp_path / "p.html", runs, command="", split="test")
    text = (tmp_path / "p.html").read_text("utf-8")
    assert "cannot be compared: other pictures" in text
    assert "pumlc convert RUN NEW.csv --to csv" in text
    write_report(tmp_path / "p.html", [run_of("a"), run_of("b")], command="", split="test")
    assert "cannot be compared" not in (tmp_path / "p.html").read_text("utf-8")


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
    assert not re.search(r"(?:https?:)?//\w", re.sub(r'"data:[^"]*"', "", text))
    assert "Nothing suspicious." in text
    for word in ("loss", "Precision and recall", "Reliability", "data.name"):
        assert word in text
    with pytest.raises(ValueError, match="nothing to report"):
        write_report(file, [], command="", split="test")


def with_pictures(scores):
    picture = thumbnail(np.zeros((20, 30, 3), np.uint8))
    return replace(scores, pictures=dict.fromkeys(pictures_to_show(scores), picture))


def test_telling_pictures_are_those_of_a_search():
    scores = scores_of()
    for column in range(3):
        p, labels = scores.probabilities[:, column], scores.labels[:, column]
        found = telling_rows(scores, column)
        best, missed, false, uncertain = found.values()
        present = sorted((row for row in range(80) if labels[row] == 1), key=lambda row: p[row])
        absent = sorted((row for row in range(80) if labels[row] == -1), key=lambda row: p[row])
        assert best == present[::-1][:3]
        assert missed == present[:3]
        assert false == absent[::-1][:3]

        def distance(row, p=p, threshold=scores.thresholds[column]):
            return abs(np.log(p[row] / (1 - p[row])) - np.log(threshold / (1 - threshold)))

        assert uncertain == sorted(range(80), key=distance)[:3]
    each = average_precision(scores.probabilities, scores.labels)
    assert worst_classes(scores) == np.argsort(each).tolist()


def test_pairs_that_are_confused_are_those_of_a_loop():
    scores = scores_of()
    # what shows the first class is taken for the third
    probabilities = scores.probabilities.copy()
    probabilities[scores.labels[:, 0] == 1, 2] = 0.99
    scores = replace(scores, probabilities=probabilities)
    pairs = confused_pairs(scores)
    assert (pairs[0]["shown"], pairs[0]["called"]) == ("cat", "dog")
    rows = [r for r in range(80) if scores.labels[r, 0] == 1 and scores.labels[r, 2] == -1]
    assert pairs[0]["of"] == pairs[0]["times"] == len(rows)
    absent = [r for r in range(80) if scores.labels[r, 2] == -1]
    share = sum(probabilities[r, 2] >= 0.6 for r in absent) / len(absent)
    assert pairs[0]["expected"] == pytest.approx(len(rows) * share)


def test_a_class_has_the_curves_of_all_runs_and_the_pictures_of_the_first(tmp_path):
    first, second = with_pictures(scores_of()), scores_of(seed=1)
    second = replace(second, classes=("cat", "mouse", "dog"))
    details = class_details([("a", first), ("b", second)])
    lines = {each["name"]: str(each["plots"][0][1]).count("<polyline") for each in details}
    assert lines == {"cat": 2, HOSTILE: 1, "dog": 2}
    assert [title for title, _ in details[0]["pictures"]][0].startswith("best")
    run = RunFigures(name="a", scores=first)
    write_report(tmp_path / "r.html", [run], command="", split="test")
    text = (tmp_path / "r.html").read_text()
    assert text.count("<img") == sum(len(e) for d in details for _, e in d["pictures"])
    assert "<script" not in text


def test_a_sweep_is_a_table_with_paired_differences(tmp_path):
    rows = [
        [method, condition, seed, base + gain + seed]
        for method, gain in (("ours", 0), (HOSTILE, -2))
        for condition, base in (("known10", 50), ("known50", 60))
        for seed in (0, 1, 2)
    ]
    rows[-1][-1] += 3  # seed 2 of the second method: 1.5 more on average
    with (tmp_path / "chosen.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["method", "condition", "seed", "mAP"])
        writer.writerows([*rows, ["lacks", "known10", 0, ""]])
    sweep = read_sweep(tmp_path)
    assert sweep.conditions == ["known10", "known50"]
    (_, first, gap), (_, second, lag) = sweep.rows()
    assert (first, gap) == (["51.00 ± 1.00", "61.00 ± 1.00"], "–")
    assert second[0] == "49.00 ± 1.00"
    low, high = paired_interval(np.array([-2, -2, -0.5]))
    assert lag == f"-1.50 ({low:+.2f} to {high:+.2f})"
    write_report(tmp_path / "r.html", [], command="", split="test", sweeps=[sweep])
    text = (tmp_path / "r.html").read_text()
    assert "known50" in text
    assert "<script" not in text
    (tmp_path / "chosen.csv").write_text("method,condition,seed,mAP\na,b,0,high\n")
    with pytest.raises(ValueError, match="line 2: mAP is 'high', no number"):
        read_sweep(tmp_path)
    (tmp_path / "chosen.csv").write_text("method,seed,mAP\na,0,1\n")
    with pytest.raises(ValueError, match="no column 'condition'"):
        read_sweep(tmp_path)


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
    history.write_bytes(b"epoch\n\xff\n")  # of anyone
    with pytest.raises(UserError, match=r"metrics\.csv, line 2: not UTF-8"):
        read_history(history)
    file = tmp_path / "suspects.csv"
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["part", "given", "rank", "image", "class", "suspicion"])
        writer.writerows(["train", "absent", rank, "a", "b", 0.5] for rank in range(1, 50))
    assert [row["rank"] for row in read_suspects(file, most=2)] == ["1", "2"]
    page = tmp_path / "page.html"  # an audit of texts has no column wrong
    write_report(page, [], command="", split="test", suspects={"audit": read_suspects(file)})
    assert page.read_text().count('<th scope="row">a</th>') == 30
    with file.open("a") as stream:
        stream.write("train,absent\n")
    assert len(read_suspects(file, most=2)) == 2
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
