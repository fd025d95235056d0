"""Suspected label errors: the ranking, how its finds are scored, and the tool on a real run."""

import csv
import json
import sys

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from pumlc.audit import GIVEN, STATES, rank_suspects, score_finding
from pumlc.vision.data.readers.coco import read_coco


def example(seed, rows=30, classes=4):
    random = np.random.RandomState(seed)
    labels = random.randint(-1, 2, (rows, classes)).astype(np.int8)
    return random.randint(0, 20, (rows, classes)) / 20, labels


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), name=st.sampled_from(list(GIVEN)), top=st.integers(1, 60))
def test_ranking_is_that_of_a_plain_sort(seed, name, top):
    probabilities, labels = example(seed)
    sign = 1 if name == "positive" else -1
    entries = [
        (sign * probabilities[row, column], row, column)
        for row in range(30)
        for column in range(4)
        if labels[row, column] == GIVEN[name]
    ]
    expected = sorted(entries)[:top]
    found = rank_suspects(probabilities, labels, given=name, top=top)
    assert list(zip(found.rows, found.columns, strict=True)) == [e[1:] for e in expected]
    np.testing.assert_array_equal(found.probabilities, [sign * e[0] for e in expected])
    classes = [e[2] for e in expected]
    assert found.ranks_in_class.tolist() == [
        classes[: place + 1].count(column) for place, column in enumerate(classes)
    ]


@pytest.mark.parametrize("name", GIVEN)
def test_finding_is_scored_over_what_is_known_to_be_wrong(name):
    probabilities, labels = example(3, rows=200)
    random = np.random.RandomState(0)
    truth = random.choice([-1, 0, 1], labels.shape, p=[0.5, 0.2, 0.3]).astype(np.int8)
    found = score_finding(probabilities, labels, truth, given=name, at=(10, 1000))
    chosen = (labels == GIVEN[name]) & (truth != 0)
    wrong = truth[chosen] == (-1 if name == "positive" else 1)
    assert (found["checked"], found["wrong"]) == (chosen.sum(), wrong.sum())
    assert np.isnan(found["P@1000"])
    suspicion = probabilities[chosen] * (-1 if name == "positive" else 1)
    expected = [
        np.mean(wrong[suspicion >= value]) for value in suspicion[wrong]
    ]  # precision at each find, ties together
    assert found["AP"] == pytest.approx(100 * np.mean(expected))
    truth[chosen] = 1 if name == "positive" else -1
    assert np.isnan(score_finding(probabilities, labels, truth, given=name)["AP"])


def test_a_perfect_classifier_finds_all_and_an_inverted_one_none():
    random = np.random.RandomState(0)
    truth = random.choice([-1, 1], (500, 3), p=[0.7, 0.3]).astype(np.int8)
    labels = np.where(random.rand(500, 3) < 0.1, -truth, truth).astype(np.int8)
    for name in ("negative", "positive"):
        perfect = score_finding((1 + truth) / 2, labels, truth, given=name)
        assert (perfect["AP"], perfect["P@10"]) == (100, 100)
        assert score_finding((1 - truth) / 2, labels, truth, given=name)["P@10"] == 0


def test_refusals():
    probabilities, labels = example(0)
    with pytest.raises(ValueError, match="given is 'absent'; valid: unknown, negative, positive"):
        rank_suspects(probabilities, labels, given="absent")
    with pytest.raises(ValueError, match="top is -1, below 0"):
        rank_suspects(probabilities, labels, given="unknown", top=-1)
    with pytest.raises(ValueError, match=r"decided has shape \(3,\), labels \(30, 4\)"):
        rank_suspects(probabilities, labels, given="unknown", decided=[True] * 3)
    with pytest.raises(ValueError, match=r"shape \(30, 3\), labels \(30, 4\)"):
        rank_suspects(probabilities[:, :3], labels, given="unknown")
    with pytest.raises(ValueError, match=r"true_labels have shape \(29, 4\)"):
        score_finding(probabilities, labels, labels[1:], given="unknown")
    probabilities[2, 1] = np.nan
    with pytest.raises(ValueError, match="row 2, column 1 is nan"):
        score_finding(probabilities, labels, labels, given="unknown")


def train(tool, run, root, *settings):
    tool("train").main(
        [
            *("--data.name", "coco", "--data.root", str(root), "--data.known", "0.7"),
            *("--data.false_negative", "0.2", "--data.false_positive", "0.1"),
            *(
                "--data.validation",
                "0.25",
                "--data.image_size",
                "32",
                "--data.augmentation",
                "flip",
            ),
            *("--model.backbone", "test_resnet", "--loss.name", "bce"),
            *("--loss.parameters.unknown", "ignore", "--train.epochs", "6"),
            *("--train.batch_size", "16", "--train.learning_rate", "1e-2", "--out", str(run)),
            *settings,
        ]
    )


def test_heads_that_never_saw_a_label_find_it_too(squares_coco, tool, tmp_path, capsys):
    torch.manual_seed(0)
    weights = tmp_path / "start.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), weights)
    run, root = tmp_path / "run", squares_coco
    short = ["--train.epochs", "1", "--model.weights", str(weights)]
    train(tool, run, root, *short)
    capsys.readouterr()
    tool("audit").main([str(run), "--folds", "4"])
    output = capsys.readouterr().out.strip().splitlines()
    assert any("never saw the labels of the picture (least squares" in line for line in output)
    assert not any("trained on these very labels" in line for line in output)
    result = json.loads(output[-1])
    assert (result["folds"], list(result["parts"])) == (4, ["validation", "train"])
    for found in result["parts"]["train"].values():
        assert found["AP"] > 100 * found["wrong"] / found["checked"] + 15
    assert 0 <= result["missed"] <= 0.5
    with (run / "audit.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert all(float(row["wrong"]) >= 0.25 for row in rows)
    assert (run / "audit.csv").is_file()
    tool("audit").main([str(run), "--folds", "4", "--out", str(tmp_path / "audit")])
    assert "pairs of near-duplicate pictures have different tags" in capsys.readouterr().out
    with (tmp_path / "audit" / "duplicates.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows  # random weights: all pictures look alike
    assert all((row["given"] == "present") != (row["other_given"] == "present") for row in rows)
    kept = weights.rename(tmp_path / "elsewhere.safetensors")
    tool("train").main(["--out", str(run), "--resume"])  # what it started from may be gone
    kept.rename(weights)
    for options in (["--folds", "1"], ["--folds", "3", "--split", "test"]):
        with pytest.raises(ValueError, match="folds must be at least 2, with split train"):
            tool("audit").main([str(run), *options])
    train(tool, tmp_path / "random", root, "--train.epochs", "1")
    with pytest.raises(ValueError, match="folds: .* started from random weights"):
        tool("audit").main([str(tmp_path / "random"), "--folds", "3"])


def test_an_audit_never_imports_a_loss_of_ones_own(
    squares_coco, tool, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "audited_loss.py").write_text(
        "def loss(logits, targets):\n    return (logits - targets).square().mean()\n"
    )
    weights, run = tmp_path / "start.safetensors", tmp_path / "run"
    save_file(timm.create_model("test_resnet").state_dict(), weights)
    own = ["--loss.name", "audited_loss:loss", "--loss.parameters", "{}"]
    train(tool, run, squares_coco, *own, "--train.epochs", "1", "--model.weights", str(weights))
    (tmp_path / "audited_loss.py").unlink()
    del sys.modules["audited_loss"]
    capsys.readouterr()
    for options in ([], ["--folds", "2"]):
        tool("audit").main([str(run), *options])
    result = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert result["folds"] == 2
    assert "audited_loss" not in sys.modules


def test_the_tool_finds_what_was_hidden_and_flipped(squares_coco, tool, tmp_path, capsys):
    run, root = tmp_path / "run", squares_coco
    train(tool, run, root)
    capsys.readouterr()
    tool("audit").main([str(run), "--top", "20", "--out", str(tmp_path / "audit.csv")])
    output = capsys.readouterr().out.strip().splitlines()
    parts = json.loads(output[-1])["parts"]
    assert list(parts) == ["validation", "train"]
    assert any("trained on these very labels" in line for line in output)
    hidden = parts["train"]["unknown"]
    assert hidden["checked"] == hidden["labels"]
    chance = 100 * hidden["wrong"] / hidden["checked"]
    assert hidden["AP"] > chance + 15
    assert parts["train"]["negative"]["wrong"] > 0
    assert parts["train"]["positive"]["wrong"] > 0
    with (tmp_path / "audit.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["part"], row["given"]) for row in rows} == {
        (part, name) for part in parts for name in STATES.values()
    }
    first = [row for row in rows if (row["part"], row["given"]) == ("train", "unknown")]
    assert [int(row["rank"]) for row in first] == list(range(1, 21))
    values = [float(row["probability"]) for row in first]
    assert values == sorted(values, reverse=True)
    assert [row["suspicion"] for row in first] == [row["probability"] for row in first]
    assert first[0]["file"] == str(root / "train" / first[0]["image"])
    present = [row for row in rows if row["given"] == "present"]
    for row in present:
        assert float(row["suspicion"]) + float(row["probability"]) == pytest.approx(1, abs=2e-6)
    assert {row["class"] for row in rows} <= {"red", "green", "blue"}
    tool("audit").main([str(run), "--split", "test"])
    result = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert result["parts"] == {
        "test": {name: {"labels": count} for name, count in counts_of_test(root).items()}
    }
    assert (run / "audit-test.csv").is_file()
    with pytest.raises(ValueError, match="top must be at least 1, got 0"):
        tool("audit").main([str(run), "--top", "0"])
    change_a_label_mask(run)
    with pytest.raises(ValueError, match="has changed since the run"):
        tool("audit").main([str(run)])


def counts_of_test(root):
    content = json.loads((root / "annotations" / "instances_val.json").read_text())
    present = len({(a["image_id"], a["category_id"]) for a in content["annotations"]})
    return {"unknown": 0, "negative": 3 * len(content["images"]) - present, "positive": present}


def change_a_label_mask(run):
    content = json.loads((run / "run.json").read_text())
    content["config"]["data"]["label_seed"] = 1
    (run / "run.json").write_text(json.dumps(content))


def test_a_run_on_a_positive_list(squares_coco, squares_csv, tool, tmp_path, capsys, monkeypatch):
    """Six pictures are not listed, four have a wrong class, two certainly have none."""
    truth = read_coco(squares_coco, "train", name="coco").labels
    lines = []
    for row in range(6, 96):
        present = np.flatnonzero(truth[row] == 1)
        listed = present[:1] if row >= 12 else [int(np.argmin(truth[row]))] if row < 10 else []
        lines.append(f"{row}.png,{' '.join(map(str, listed))}\n")
    file, run = tmp_path / "list.txt", tmp_path / "run"
    file.write_text("".join(lines))
    monkeypatch.chdir(tmp_path)
    tool("train").main(
        [
            *("--data.name", "coco", "--data.root", str(squares_coco), "--data.validation", "0.2"),
            *("--data.protocol", "positive-list", "--data.positive_list", "list.txt"),
            *("--data.image_size", "32", "--data.augmentation", "flip"),
            *("--model.backbone", "test_resnet", "--loss.name", "hill", "--train.epochs", "1"),
            *("--loss.parameters", "{gamma: 2, margin: 1, turning: 1.5, unknown: negative}"),
            *("--train.batch_size", "8", "--train.learning_rate", "1e-2", "--out", str(run)),
        ]
    )
    assert "train_pictures 72, validation_pictures 18" in capsys.readouterr().out
    labels = json.loads((run / "run.json").read_text())["train_labels"]
    assert labels["negative"] == 0

    def last_line():
        return json.loads(capsys.readouterr().out.strip().splitlines()[-1])

    tool("audit").main([str(run)])
    parts = last_line()["parts"].values()
    assert sum(part["positive"]["wrong"] for part in parts) == 4
    hidden = sum(part["unknown"]["wrong"] for part in parts)
    given = sum(part["positive"]["labels"] for part in parts)
    assert hidden == (truth[6:] == 1).sum() - (given - 4)
    for options, pictures, seen in (
        (["--split", "train"], 96, {"train": 72, "validation": 18}),
        (["--data.csv", str(squares_csv)], 33, {"train": 0, "validation": 0}),
    ):
        tool("evaluate").main([str(run), "--weights", "last", *options])
        result = last_line()
        assert (result["N"], result["seen"]) == (pictures, seen)
    tool("train").main(["--out", str(run), "--resume"])
    moved = file.rename(tmp_path / "moved.txt")
    here = ["--data.positive_list", str(moved)]
    with pytest.raises(ValueError, match=r"list\.txt"):
        tool("audit").main([str(run)])
    tool("audit").main([str(run), *here])
    assert sum(part["positive"]["wrong"] for part in last_line()["parts"].values()) == 4
    # every known label is positive: as in training the unknown count as negative, class by class
    tool("evaluate").main([str(run), "--weights", "last", "--split", "validation", *here])
    out = capsys.readouterr().out
    assert "in 3 classes, whose known labels are all positive, unknown counts as negative" in out
    result = json.loads(out.strip().splitlines()[-1])
    logged = json.loads((run / "weights" / "index.json").read_text())["last"]["score"]
    assert result["weights"]["last"]["mAP"]["sklearn"] == pytest.approx(logged)
    assert (result["classes_unknown_as_negative"], result["classes_without_negative"]) == (3, 0)
    assert result["unknown_labels"] == 0  # none is left out: all count
    for name, options, reason in (
        ("evaluate", ["--split", "test"], "must be left out with split test"),
        ("audit", ["--split", "test"], "must be left out with split test"),
        ("audit", ["--data.csv", str(squares_csv)], "must be left out with data.csv"),
    ):
        with pytest.raises(ValueError, match=f"data.positive_list {reason}"):
            tool(name).main([str(run), *options, *here])
    # another list in its place is no more believed than a changed file
    other = tmp_path / "other.txt"
    other.write_text("".join(lines[1:]))
    with pytest.raises(ValueError, match="has changed since the run"):
        tool("audit").main([str(run), "--data.positive_list", str(other)])
    validation = [str(run), "--split", "validation", "--data.positive_list", str(other)]
    with pytest.raises(ValueError, match="not those that .*run was trained and validated on"):
        tool("evaluate").main(validation)
    moved.rename(file)
    # a picture without a positive less: the mask over all pictures stays, the training set does not
    assert lines[4] == "10.png,\n"
    for changed, reason in (
        (lines[:4] + lines[5:], "pictures or labels are not those"),
        (["6.png,0 1 2\n", *lines[1:]], "has changed since the run"),
    ):
        file.write_text("".join(changed))
        with pytest.raises(ValueError, match=reason):
            tool("audit").main([str(run)])
        with pytest.raises(ValueError, match="its data are not those that the run started with"):
            tool("train").main(["--out", str(run), "--resume"])
