"""Which weights a run selects: the last ones, unless the held-out part can tell."""

import csv
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from noisy_task import Noisy, trainer_of

from pumlc.engine.processes import create_accelerator
from pumlc.engine.run import RunFolder
from pumlc.engine.selection import ERRORS, select_weights, standard_error
from pumlc.engine.task import Validation

NAMES = ("last", "best", "last-ema", "best-ema")


class Scripted(Noisy):
    """Scores that are given, with the resamples around them that are given."""

    def __init__(self, scores, noise=None):
        super().__init__()
        self.scores, self.noise, self.looks = scores, noise, 0

    def validate(self, accelerator):
        score = self.scores[self.looks]
        noise = None if self.noise is None else score + self.noise * self.looks
        self.looks += 1
        return Validation(score, {"score": score}, {}, noise)


def trained(folder, scores, noise=None, **settings):
    task = Scripted(scores, noise)
    common = {"epochs": len(scores), "ema_decay": None, **settings}
    trainer_of(folder, task, create_accelerator(), **common).train()
    with (folder / "metrics.csv").open() as file:
        return RunFolder(folder), list(csv.DictReader(file))


def test_the_last_weights_stay_unless_others_are_clearly_better(tmp_path, capsys):
    noise = np.array([-1.0, 0.0, 1.0])  # times the number of the look: an error of 2 after 3
    run, rows = trained(tmp_path / "kept", [50.0, 40.0, 48.5], noise)
    assert run.preferred_weights() == "last"
    assert run.index()["last"][ERRORS] == {"best": 2.0, "last": 0.0}
    assert (
        "weights to use: last; on the held-out part best (epoch 1) scores 1.50 +- 2.00 above"
        in (capsys.readouterr().out)
    )
    assert rows[-1]["selection/best_minus_last"] == "1.5"
    assert rows[-1]["selection/standard_error"] == "2.0"
    assert rows[0]["selection/best_minus_last"] == ""
    run, _ = trained(tmp_path / "taken", [50.0, 40.0, 47.5], noise)
    assert run.preferred_weights() == "best"
    said = (
        "weights to use: best; on the held-out part best (epoch 1) scores 2.50 +- 2.00 above last"
    )
    assert f"{said}, more than one standard error" in capsys.readouterr().out
    run, _ = trained(tmp_path / "end", [40.0, 41.0, 50.0], noise)
    assert run.preferred_weights() == "last"
    assert "weights to use: last; none score higher" in capsys.readouterr().out


def test_a_part_that_is_too_small_keeps_the_last_weights(tmp_path, capsys):
    run, rows = trained(tmp_path, [50.0, 40.0, 41.0], np.full(3, np.nan))
    assert run.preferred_weights() == "last"
    assert run.index()["last"][ERRORS] == {"best": None, "last": None}
    said = "best (epoch 1) scores 9.00 above last, but the part is too small to tell"
    assert said in capsys.readouterr().out
    assert rows[-1]["selection/best_minus_last"] == "9.0"
    assert "selection/standard_error" not in rows[-1]


def test_without_resamples_the_best_score_selects(tmp_path, capsys):
    run, rows = trained(tmp_path, [50.0, 40.0, 49.9])
    assert run.preferred_weights() == "best"
    assert "weights to use" not in capsys.readouterr().out
    assert "selection/best_minus_last" not in rows[-1]


def test_the_errors_are_in_the_weights_file_too(tmp_path):
    run, _ = trained(tmp_path, [50.0, 40.0, 48.5], np.array([-1.0, 0.0, 1.0]))
    (run.weights / "index.json").unlink()
    assert run.preferred_weights() == "last"


def test_a_longer_run_compares_with_its_own_end(tmp_path):
    noise = np.array([-1.0, 0.0, 1.0])
    trained(tmp_path, [50.0, 40.0], noise)
    task = Scripted([0.0, 0.0, 49.0, 48.5], noise)
    task.looks = 2
    more = {"epochs": 4, "ema_decay": None}
    trainer_of(tmp_path, task, create_accelerator(), resume=True, **more).train()
    run = RunFolder(tmp_path)
    assert run.index()["last"][ERRORS] == {"best": 3.0, "last": 0.0}
    assert run.preferred_weights() == "last"


entries = st.builds(
    lambda score, epoch, share, errors: {
        "score": score,
        "epoch": epoch,
        "start_share": share,
        ERRORS: errors,
    },
    st.one_of(st.none(), st.sampled_from([10.0, 11.0, 12.0, 13.0])),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.5]),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from([None, 0.0, 1.0, 1.5])),
)


@given(st.dictionaries(st.sampled_from(NAMES), entries))
def test_the_rule(index):
    found = select_weights(index)
    usable = {n: e for n, e in index.items() if e["start_share"] <= 0.1}
    scored = {n: e for n, e in usable.items() if e["score"] is not None}
    last = "last-ema" if "last-ema" in usable else "last"
    if not scored:
        assert found.name == last
        return
    top = max(e["score"] for e in scored.values())
    if last not in scored:
        assert scored[found.name]["score"] == top
        return
    gain = top - scored[last]["score"]
    if found.name == last:
        error = scored[last][ERRORS].get(found.best, math.nan)
        assert gain == 0 or error is None or gain <= error
    else:
        assert scored[found.name]["score"] == top
        errors = scored[last][ERRORS]
        assert found.name not in errors or gain > errors[found.name] >= 0


def test_the_error_of_a_difference_is_paired_and_leaves_out_what_has_no_score():
    random = np.random.RandomState(0)
    common = 10 * random.randn(500)
    one, other = common + random.randn(500), common + random.randn(500)
    assert standard_error(one, other) == pytest.approx(np.std(one - other, ddof=1))
    one[:400] = np.nan
    assert standard_error(one, other) == pytest.approx(np.std((one - other)[400:], ddof=1))
    one[1:] = np.nan
    assert standard_error(one, other) is None


def test_an_average_is_compared_with_all_others(tmp_path):
    trainer = trainer_of(tmp_path, Noisy(), create_accelerator())
    trainer.train()
    index = json.loads((tmp_path / "weights" / "index.json").read_text())
    assert set(index["last-ema"][ERRORS]) == set(NAMES)
