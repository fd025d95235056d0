"""Scripts of what was tried: targets that hide, folds that take no part, what is printed."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
from PIL import Image
from safetensors.torch import save_file

from pumlc.audit.left_out import left_out_scores
from pumlc.labels import flip

EXPERIMENTS = Path(__file__).parent.parent / "experiments"


@pytest.fixture
def script(monkeypatch):
    """Import a script by its name, as Python does that starts it."""
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    return importlib.import_module


@pytest.fixture
def data():
    """Features that are not negative, [60, 6], and labels [60, 3] that they decide."""
    random = np.random.RandomState(0)
    features = np.abs(random.standard_normal((60, 6))).astype(np.float32)
    values = features[:, :3] - features[:, 3:] + 0.3 * random.standard_normal((60, 3))
    return features, np.where(values > 0, 1, -1).astype(np.int8)


@pytest.fixture
def file(data, tmp_path):
    features, labels = data
    path = tmp_path / "small.npz"
    np.savez(
        path,
        train=features[:40],
        train_labels=labels[:40],
        test=features[40:],
        test_labels=labels[40:],
        classes=np.array(["a", "b", "c"]),
    )
    return path


def printed(script, name, arguments, monkeypatch, capsys) -> list[list[str]]:
    """The cells of the tables that a script prints."""
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    script(name).main()
    lines = capsys.readouterr().out.splitlines()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]


def test_the_two_kernels_are_those_of_the_audit(script, data):
    kernels = script("two_kernels")
    features, labels = data
    pair = kernels.Kernels.of(features, np.cbrt(features)).fit(labels)
    np.testing.assert_allclose(kernels.left_out(pair), left_out_scores(features, labels), atol=1e-5)


def test_a_hidden_label_plays_no_part(script, data):
    kernels = script("two_kernels")
    features, labels = data
    rows = kernels.Kernels.of(features)
    first = rows.fit(labels)
    share = np.zeros(labels.shape)
    share[7, 1] = 1
    again = rows.fit(labels, like=first, targets=kernels.hidden(first, labels, share))
    for place, heads in enumerate(again):
        own = (rows.linear, rows.mapped)[place]
        np.testing.assert_allclose(
            heads.scores(own)[7, 1], first[place].loo_scores[7, 1], atol=1e-3
        )
        np.testing.assert_allclose(
            np.delete(heads.scores(own), 1, axis=1),
            np.delete(first[place].scores(own), 1, axis=1),
            atol=1e-4,
        )


def test_no_label_of_a_fold_takes_part_in_its_scores(script, data):
    kernels = script("two_kernels")
    features, labels = data
    rows = kernels.Kernels.of(features)

    def scores(given):
        return kernels.scores_of_folds(rows, given, lambda _, own: (own, own))

    changed = labels.copy()
    changed[7] *= -1
    before, after = scores(labels), scores(changed)
    np.testing.assert_array_equal(before[7], after[7])
    assert (before != after).any()


def test_orders_of_an_audit(script, file, monkeypatch, capsys):
    arguments = [file, "--seeds", "0", "1"]
    rows = printed(script, "audit_tried", arguments, monkeypatch, capsys)
    orders = script("audit_tried").ORDERS
    tables = [rows[start + 2 : start + 2 + len(orders)] for start in (0, len(orders) + 2)]
    assert [[row[0] for row in table] for table in tables] == [list(orders)] * 2
    assert all(row[2] and row[3].endswith(" of 2") for table in tables for row in table[1:])


@pytest.mark.parametrize("group", ["doubt", "soft"])
def test_ways_to_doubt(group, script, file, monkeypatch, capsys):
    conditions = ["fn20", "uniform10"]
    arguments = [file, "--group", group, "--seeds", "0", "--conditions", *conditions]
    rows = printed(script, "noise_tried", arguments, monkeypatch, capsys)
    assert [row[0] for row in rows[2:]] == list(script("noise_tried").WAYS[group])
    for _, mean, _, best, worst in rows[3:]:
        assert 0 < float(mean) <= 100
        assert best.split()[0] in conditions
        assert worst.split()[0] in conditions


def test_soft_positives_are_those_of_the_package(script, data):
    from pumlc.estimators import fit_soft_positives

    noise = script("noise_tried")
    features, labels = data
    labels = flip(labels, false_negative=0.0, false_positive=0.3, seed=0)
    case = noise.Case(noise.Rows.of(features, features), labels)
    np.testing.assert_allclose(
        noise.soft(case, positives=True, negatives=False),
        fit_soft_positives(features, labels).scores(features),
        atol=1e-5,
    )


def test_features_of_both_splits_and_what_is_not_listed_in_one_file(
    script, monkeypatch, capsys, tmp_path
):
    for number in range(4):
        Image.new("RGB", (40, 30), (60 * number, 90, 0)).save(tmp_path / f"{number}.png")
    listed = "image,labels,split\n0.png,a|b,train\n1.png,b,train\n2.png,a,train\n3.png,b,test\n"
    (tmp_path / "labels.csv").write_text(listed)
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "weights.safetensors")
    out = tmp_path / "small.npz"
    rows = printed(
        script,
        "features",
        [out, "--data", "csv", "--root", tmp_path, "--csv", tmp_path / "labels.csv"]
        + ["--backbone", "test_resnet", "--weights", tmp_path / "weights.safetensors"]
        + ["--cache", tmp_path / "cache"],
        monkeypatch,
        capsys,
    )
    assert rows[2:] == [["train", "3", "2", "4"], ["test", "1", "2", "1"]]
    with np.load(out) as arrays:
        assert arrays["classes"].tolist() == ["a", "b"]
        assert arrays["train_labels"].tolist() == [[1, 1], [-1, 1], [1, -1]]
        assert arrays["test_labels"].tolist() == [[-1, 1]]
        assert arrays["train"].shape[0] == 3
        assert len(np.unique(arrays["train"], axis=0)) == 3
        assert arrays["test"].shape == (1, arrays["train"].shape[1])
