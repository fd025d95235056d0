"""The standard errors by which a run selects weights, of pictures."""

import json

import numpy as np
from scipy.sparse import csr_array

from pumlc.cli.train import main
from pumlc.labels.known_cells import MeasuredCells
from pumlc.metrics import mean_average_precision, resample_counts
from pumlc.vision.scoring import resampled_scores


def test_the_score_of_each_resample():
    """Of unknown labels that count as absent, and of pictures that are drawn together."""
    random = np.random.RandomState(0)
    logits, labels = random.randn(40, 3), random.randint(-1, 2, (40, 3)).astype(np.int8)
    labels[:, 2] = np.where(random.rand(40) < 0.4, 1, 0)  # never known to be absent
    judged = labels.copy()
    judged[:, 2] = np.where(labels[:, 2] == 1, 1, -1)
    groups = np.repeat([7, 3, 9, 1], 10)
    for given in (None, groups):
        numbers = np.arange(40) if given is None else np.repeat([2, 1, 3, 0], 10)
        counts = resample_counts(numbers.max() + 1, 100)[:, numbers]
        expected = [
            mean_average_precision(
                np.repeat(logits, drawn, 0), np.repeat(judged, drawn, 0), definition="sklearn"
            )
            for drawn in counts
        ]
        np.testing.assert_allclose(resampled_scores(logits, labels, given), expected)
    few = np.where(np.cumsum(labels == 1).reshape(40, 3) > 9, -1, labels)
    assert np.isnan(resampled_scores(logits, few)).all()
    stored = csr_array(judged)
    same = csr_array((logits[judged != 0], stored.indices, stored.indptr), shape=stored.shape)
    cells = MeasuredCells(stored, np.array([False, False, True]), np.arange(40))
    np.testing.assert_array_equal(resampled_scores(same, cells), resampled_scores(logits, labels))


def test_a_run_has_them_and_one_that_selects_the_best_has_none(squares_coco, tmp_path, capsys):
    common = [
        *("--data.name", "coco", "--data.root", str(squares_coco), "--data.image_size", "32"),
        *("--data.validation", "0.25", "--model.backbone", "test_resnet", "--loss.name", "bce"),
        *("--loss.parameters", "{unknown: negative}", "--train.batch_size", "8"),
        *("--train.epochs", "2", "--train.learning_rate", "0.01"),
    ]
    main([*common, "--out", str(tmp_path / "one")])
    assert "weights to use: " in capsys.readouterr().out
    index = json.loads((tmp_path / "one" / "weights" / "index.json").read_text())
    errors = index["last"]["standard_errors"]
    assert errors["last"] == 0
    assert (errors["best"] > 0) is (index["best"]["epoch"] == 1)
    main([*common, "--train.selection", "best", "--out", str(tmp_path / "other")])
    assert "weights to use: " not in capsys.readouterr().out
    index = json.loads((tmp_path / "other" / "weights" / "index.json").read_text())
    assert "standard_errors" not in index["last"]
