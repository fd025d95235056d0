"""Which weights a run selects: the last ones, unless the held-out part can tell."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from noisy_task import Noisy, trainer_of
from safetensors.torch import load_file
from two_processes import run_in_two_processes

from pumlc.engine.processes import create_accelerator, end_processes
from pumlc.engine.run import RunFolder
from pumlc.engine.selection import ERRORS, select_weights, standard_error
from pumlc.engine.task import Validation

NAMES = ("last", "best", "last-ema", "best-ema")
MEANS = [{"best": 1, "last": 3}, {"best-ema": 2, "last-ema": 3}]


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
    run, _ = trained(tmp_path / "taken", [50.0, 40.0, 44.9], noise)
    assert run.preferred_weights() == "best"
    said = (
        "weights to use: best; on the held-out part best (epoch 1) scores 5.10 +- 2.00 above last"
    )
    assert f"{said}, more than 2.5 standard errors" in capsys.readouterr().out
    assert not (run.weights / "mean.safetensors").exists()
    run, _ = trained(tmp_path / "end", [40.0, 41.0, 50.0], noise)
    assert run.preferred_weights() == "last"
    assert "weights to use: last; none score higher" in capsys.readouterr().out


NOISE = np.array([-1.0, 0.0, 1.0])


def test_the_mean_is_used_where_others_are_hardly_better(tmp_path, capsys):
    run, rows = trained(tmp_path, [50.0, 40.0, 47.5, 49.0], NOISE, epochs=3)
    assert run.preferred_weights() == "mean"
    assert (
        "weights to use: mean; on the held-out part best (epoch 1) scores 2.50 +- 2.00 above last, "
        "more than one standard error and at most 2.5: the mean of both is used"
        in capsys.readouterr().out
    )
    best, last, mean = (
        load_file(run.weights / f"{name}.safetensors") for name in ("best", "last", "mean")
    )
    for name, value in mean.items():
        expected = (best[name] + last[name]) / 2 if value.is_floating_point() else last[name]
        torch.testing.assert_close(value, expected)
    assert any(not torch.equal(best[name], last[name]) for name in mean)
    entry = run.index()["mean"]
    assert entry["score"] == 49.0
    assert entry["mean_of"] == {"best": 1, "last": 3}
    assert rows[-1]["validation-mean/score"] == "49.0"
    assert rows[-1]["selection/best_minus_last"] == "2.5"


def test_the_model_keeps_its_own_weights_beside_the_mean(tmp_path):
    task = Scripted([50.0, 40.0, 47.5, 49.0], NOISE)
    trainer_of(tmp_path, task, create_accelerator(), epochs=3, ema_decay=None).train()
    last = load_file(tmp_path / "weights" / "last.safetensors")
    for name, value in task.model.state_dict().items():
        assert torch.equal(value, last[name])


def test_a_longer_run_forgets_the_mean_of_the_shorter_one(tmp_path):
    run, _ = trained(tmp_path, [50.0, 40.0, 47.5, 49.0], NOISE, epochs=3)
    stale = json.loads((run.weights / "index.json").read_text())["mean"]
    task = Scripted([50.0, 40.0, 47.5, 47.6], NOISE)
    task.looks = 3
    more = {"epochs": 4, "ema_decay": None}
    trainer_of(tmp_path, task, create_accelerator(), resume=True, **more).train()
    assert not (run.weights / "mean.safetensors").exists()
    index = run.index()
    assert "mean" not in index
    assert run.preferred_weights() == "last"
    # as a kill after the first of both steps would leave it
    index["last"]["score"], index["last"][ERRORS] = 47.5, {"best": 2.0}
    assert select_weights({**index, "mean": stale}).name == "best"


class Remembering(Scripted):
    """Also keeps the weights of its last look at the held-out part."""

    def validate(self, accelerator):
        self.seen = {name: value.clone() for name, value in self.model.state_dict().items()}
        return super().validate(accelerator)


def rank_main(rank: int, folder: Path) -> None:
    accelerator = create_accelerator()
    task = Remembering([50.0, 40.0, 47.5, 49.0], NOISE)
    own = folder / str(rank)  # the second process finds no weights of the first
    own.mkdir()
    trainer_of(own, task, accelerator, epochs=3, ema_decay=None).train()
    torch.save(task.seen, folder / f"{rank}.pt")
    end_processes(accelerator)


def test_two_processes_score_the_same_mean(tmp_path):
    run_in_two_processes(rank_main, tmp_path)
    saved = load_file(tmp_path / "0" / "weights" / "mean.safetensors")
    assert not list((tmp_path / "1").rglob("*.safetensors"))
    for rank in range(2):
        seen = torch.load(tmp_path / f"{rank}.pt")
        assert saved.keys() == seen.keys()
        for name, value in saved.items():
            assert torch.equal(seen[name], value), (rank, name)


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
    st.sampled_from([None, 10.0, 11.0, 12.0]),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.0, 0.5]),
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(NAMES, st.sampled_from([None, 0.0, 1.0, 1.5]))
    ),
)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, entries)),
    st.none() | st.sampled_from(MEANS),
)
def test_the_rule(index, mean_of):
    mean = {} if mean_of is None else {"mean": {"epoch": 3, "score": 99.0, "mean_of": mean_of}}
    found = select_weights({**index, **mean})
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
    error = scored[last][ERRORS].get(found.best, math.nan)
    between = error is not None and error < gain <= 2.5 * error
    assert (found.mean_of is not None) == between
    if found.name == last:
        assert gain == 0 or error is None or gain <= error
    elif found.name == "mean":
        assert between
        assert mean_of is not None
        assert set(mean_of) == {found.best, last}
        assert all(usable[name]["epoch"] == epoch for name, epoch in mean_of.items())
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
