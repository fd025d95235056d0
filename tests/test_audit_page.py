"""The page of an audit: the suspects of the table, pictures beside them that have the tag."""

import csv
import json
import re

import numpy as np
import pytest

from pumlc.audit import STATES, rank_suspects
from pumlc.cli.predict import main as predict
from pumlc.cli.report import main as report
from pumlc.vision import guarantee
from pumlc.vision.audit import gallery
from pumlc.vision.audit.gallery import review_of
from pumlc.vision.audit.parts import Part
from pumlc.vision.audit.suspects import rank_part
from pumlc.vision.data.readers.coco import read_coco


@pytest.fixture(scope="module")
def run(squares_coco, tool, tmp_path_factory):
    folder = tmp_path_factory.mktemp("audited") / "run"
    tool("train").main(
        [
            *("--data.name", "coco", "--data.root", str(squares_coco), "--data.known", "0.7"),
            *("--data.false_negative", "0.2", "--data.false_positive", "0.1"),
            *("--data.validation", "0.25", "--data.image_size", "32"),
            *("--model.backbone", "test_resnet", "--loss.name", "bce", "--train.epochs", "1"),
            *("--loss.parameters.unknown", "ignore", "--train.batch_size", "16"),
            *("--train.learning_rate", "1e-2", "--out", str(folder)),
        ]
    )
    return folder


def rows_of(file):
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def content_of(page):
    text = page.read_text("utf-8")
    data = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    return json.loads(data[1]), text


def test_a_folder_gets_the_table_and_a_page_of_the_same_suspects(run, tool, tmp_path, capsys):
    out = tmp_path / "audit"
    tool("audit").main([str(run), "--top", "9", "--out", str(out)])
    printed = capsys.readouterr().out
    assert str(out / "review.html") in printed
    rows = rows_of(out / "suspects.csv")
    page, text = content_of(out / "review.html")
    shown = {
        (
            *(page["items"][s["item"]]["part"], s["given"]),
            *(page["items"][s["item"]]["name"], page["classes"][s["column"]]),
            s["suspicion"],
        )
        for s in page["suspects"]
    }
    assert len(rows) == len(page["suspects"]) == 2 * 3 * 9
    assert shown == {
        (r["part"], r["given"], r["image"], r["class"], float(r["suspicion"])) for r in rows
    }
    for suspect in page["suspects"]:
        column = suspect["column"]
        assert suspect["similar"]
        assert suspect["item"] not in suspect["similar"]
        for place in suspect["similar"] + page["typical"][str(column)]:
            assert column in page["items"][place]["present"]
    names = [(item["part"], item["name"]) for item in page["items"]]
    assert len(set(names)) == len(names) == len(re.findall(r'id="picture-\d+"', text))
    assert page["command"].startswith(f"pumlc audit {run} --top 9")


def test_a_table_alone(run, tool, tmp_path):
    tool("audit").main([str(run), "--top", "2", "--out", str(tmp_path / "suspects.csv")])
    assert [path.name for path in tmp_path.iterdir()] == ["suspects.csv"]


def test_what_a_person_decided_is_not_asked_again(run, tool, tmp_path):
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    tool("audit").main([str(run), "--out", str(first)])
    asked = [row for row in rows_of(first) if row["given"] == "absent"][:5]
    decisions = tmp_path / "decisions.csv"
    with decisions.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "class", "given", "corrected"])
        writer.writerows([r["image"], r["class"], "absent", "absent"] for r in asked)
    tool("audit").main([str(run), "--out", str(second), "--decisions", str(decisions)])
    decided = {(row["image"], row["class"]) for row in asked}
    before = {(row["image"], row["class"]) for row in rows_of(first)}
    after = {(row["image"], row["class"]) for row in rows_of(second)}
    assert len(decided) == 5
    assert not after & decided
    assert before - decided <= after
    with pytest.raises(ValueError, match="no such file"):
        tool("audit").main([str(run), "--decisions", str(tmp_path / "none.csv")])


def audited_squares(root, top=20):
    images = read_coco(root, "train", name="coco")
    random = np.random.RandomState(0)
    vectors = random.randn(len(images), 5).astype(np.float32)
    part = Part("train", images, None)
    return rank_part(part, random.rand(*images.labels.shape), vectors, top=top, decided=None)


def test_the_nearest_are_those_of_a_plain_search(squares_coco):
    audited = audited_squares(squares_coco)
    images, vectors = audited.part.images, audited.vectors
    review = review_of([audited], title="", command="")
    row_of = {path.decode(): row for row, path in enumerate(images.paths)}
    for suspect in review.suspects:
        row = row_of[review.items[suspect.item].name]
        cosines = {
            other: vectors[row] @ vectors[other] / np.linalg.norm(vectors[other])
            for other in np.flatnonzero(images.labels[:, suspect.column] == 1)
            if other != row
        }
        expected = sorted(cosines, key=lambda other: -cosines[other])[: gallery.SIMILAR]
        assert [row_of[review.items[place].name] for place in suspect.similar] == expected


def test_pictures_for_comparison_are_no_more_than_said(squares_coco, monkeypatch):
    monkeypatch.setattr(gallery, "OTHERS", 2)
    audited = audited_squares(squares_coco, top=3)
    asked = {
        int(row)
        for given in STATES
        for row in rank_suspects(
            audited.probabilities, audited.part.images.labels, given=given, top=3
        ).rows
    }
    review = review_of([audited], title="", command="")
    most = len(asked) + 2 + gallery.SIMILAR + 4 * (gallery.TYPICAL + 1)
    assert len(review.items) <= most < len(audited.part.images)
    for suspect in review.suspects:
        for place in suspect.similar:
            assert suspect.column in review.items[place].present


def test_a_report_of_the_run_and_its_audit(run, tool, tmp_path, capsys):
    tool("audit").main([str(run), "--top", "3", "--out", str(tmp_path / "audit")])
    out = tmp_path / "report.html"
    report([str(run), str(tmp_path / "audit"), "--out", str(out)])
    assert str(out) in capsys.readouterr().out
    text = out.read_text()
    tool("evaluate").main([str(run), "--json"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    expected = result["weights"][result["preferred"]]
    assert f"<td>{expected['mAP']['sklearn']:.2f}</td><td>{expected['ECE']:.2f}</td>" in text
    for name in ("red", "green", "blue", "Suspects of", "model.backbone"):
        assert name in text
    with pytest.raises(ValueError, match=r"neither a run folder \(it has no run.json\)"):
        report([str(tmp_path), "--out", str(out)])


def test_predictions_that_promise_a_recall(run, squares_coco, tmp_path, capsys):
    pictures = str(squares_coco / "train")
    out = tmp_path / "p.csv"
    promise = ["--recall", "0.5", "--confidence", "0.9"]  # takes 4 known positives
    predict([str(run), pictures, "--out", str(out), *promise])
    said = capsys.readouterr().err
    assert "finds 0.5 of the true tags with confidence 0.9, for 3 of 3 classes" in said
    truth = read_coco(squares_coco, "train", name="coco")
    rows = {(row["path"], row["label"]): row["present"] for row in rows_of(out)}
    for column, name in enumerate(truth.classes):
        present = np.flatnonzero(truth.labels[:, column] == 1)
        found = [rows[str(truth.path(int(row))), name] == "1" for row in present]
        assert np.mean(found) > 0.4
    with pytest.raises(ValueError, match=r"recall 0.99 with confidence 0.95 needs 299 known"):
        predict([str(run), pictures, "--recall", "0.99"])
    with pytest.raises(ValueError, match="--recall must be between 0 and 1, got 90"):
        predict([str(run), pictures, "--recall", "90"])
    with pytest.raises(ValueError, match="leave out --threshold"):
        predict([str(run), pictures, "--recall", "0.9", "--threshold", "0.5"])


def test_predictions_that_promise_a_precision(run, squares_coco, tmp_path, capsys):
    pictures, out = str(squares_coco / "train"), tmp_path / "p.csv"
    promise = ["--precision", "0.3", "--confidence", "0.8"]
    predict([str(run), pictures, "--out", str(out), *promise])
    said = capsys.readouterr().err
    assert "0.3 of what is called present is so with confidence 0.8, for" in said
    assert "if present and absent labels are known equally often" in said
    truth = read_coco(squares_coco, "train", name="coco")
    called = [row for row in rows_of(out) if row["present"] == "1"]
    position = {str(truth.path(row)): row for row in range(len(truth))}
    right = [
        truth.labels[position[row["path"]], truth.classes.index(row["label"])] == 1
        for row in called
    ]
    assert called
    assert np.mean(right) >= 0.3
    with pytest.raises(ValueError, match=r"precision 0.99 with confidence 0.95 cannot be promised"):
        predict([str(run), pictures, "--precision", "0.99"])
    with pytest.raises(ValueError, match="give one of them"):
        predict([str(run), pictures, "--precision", "0.9", "--recall", "0.9"])
    with pytest.raises(
        ValueError, match=r"--confidence 0\.9 has nothing to hold for: give --recall"
    ):
        predict([str(run), pictures, "--confidence", "0.9"])


def test_a_class_without_a_promise_is_told_what_it_lacks(
    run, squares_coco, tmp_path, capsys, monkeypatch
):
    found = guarantee.Guarantee(
        np.array([0.5, np.inf, np.inf]), np.array([18, 18, 3]), np.array([4, 4, 4])
    )
    monkeypatch.setattr(guarantee, "guaranteed_thresholds", lambda *_, **__: found)
    pictures, out = str(squares_coco / "train"), str(tmp_path / "p.csv")
    predict([str(run), pictures, "--out", out, "--precision", "0.8"])
    said = capsys.readouterr().err
    assert "  green: of 18 known labels, too many of the most probable are absent\n" in said
    assert "  blue: 3 known labels, 4 or more needed\n" in said
