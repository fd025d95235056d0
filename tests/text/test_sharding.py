"""Labels divided over two processes: the step and the run are those of one process."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from small_texts import text_config, write_filter
from two_processes import run_in_two_processes

from pumlc.engine.checkpoint import Checkpoint
from pumlc.engine.config import plain
from pumlc.engine.loop import Trainer
from pumlc.engine.processes import end_processes
from pumlc.engine.run import RunFolder
from pumlc.files import read_json
from pumlc.text.task import TextTask
from pumlc.text.training.sharding import gather_embeddings, shard_of, sum_gradients

STEPS = {
    "softmax": {"loss__name": "softmax"},
    "decoupled softmax": {"encoder__shared": "false"},
    "chunked": {"loss__score_chunk": "4"},
    "soft top-k": {
        "loss__name": "soft_topk",
        "loss.parameters.k": "3",
        "loss.parameters.alpha": "2",
    },
    "bce": {"loss__name": "bce", "loss.parameters.unknown": "negative"},
    "pu": {
        "loss__name": "pu",
        "loss.parameters.gamma": "0.5",
        "loss.parameters.alpha": "1",
        "loss__bias": "-19",
    },
    "mined": {"negatives__kind": "mined", "negatives__per_document": "2"},
    "one graph": {"encoder__gradient_cache": "false"},
    "label vectors": {"encoder__label_vectors": "true"},
    "mined label vectors": {
        "encoder__label_vectors": "true",
        "negatives__kind": "mined",
        "negatives__per_document": "2",
    },
}
# each with and without pairs that take no part
FILTERED = ["", "filtered "]
RUN = {"negatives__kind": "mined", "negatives__refresh": "1", "data__validation": "0.2"}
FUSED = {
    "data__validation": "0.2",
    "encoder__label_vectors": "true",
    "encoder__label_vector_update": "fused",
    "loss__score_chunk": "4",
}
RUNS = {
    "run": RUN,
    "run with label vectors": {**RUN, "encoder__label_vectors": "true"},
    "run with fused vectors": FUSED,
    "run with fused vectors, full": {**FUSED, "encoder__label_vector_moments": "full"},
}
BATCH = np.arange(0, 110, 11)


def one_step(folders, accelerator, size, name) -> dict[str, torch.Tensor]:
    """Loss and every gradient of the step on BATCH."""
    torch.manual_seed(0)
    changes = {"train__batch_size": str(size), **STEPS[name.removeprefix("filtered ")]}
    if name.startswith("filtered"):
        changes["data__root"] = str(folders[2] / "filtered")
    config = text_config(*folders, **changes)
    task = TextTask(config)
    task.start(accelerator)
    if config.negatives.kind == "mined" or config.encoder.label_vectors:
        next(iter(task.batches(0, accelerator)))
    losses = task.training_step(task.model, BATCH, accelerator, 0)
    found = {n: p.grad for n, p in task.model.named_parameters() if p.grad is not None}
    return {"loss": losses["loss"], **found}


def whole_run(folders, accelerator, size, folder: Path, changes: dict[str, str]) -> None:
    """A run of two epochs; its weights and validation are in ``folder``."""
    torch.manual_seed(0)
    task = TextTask(text_config(*folders, train__batch_size=str(size), **changes))
    run = RunFolder(folder)
    if accelerator.is_main_process:
        run.start(plain(task.config), task.facts(), accelerator.num_processes)
    accelerator.wait_for_everyone()
    Trainer(task, task.config.train, run, accelerator).train()


def rank_main(rank: int, folders, out: Path) -> None:
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    group = torch.distributed.group.WORLD

    # uneven shares, and a gradient that each rank knows a part of
    own = torch.arange(6.0).view(3, 2)[shard_of(3, rank, 2)].requires_grad_()
    everyone = gather_embeddings(own, shard_of(3, rank, 2), 3, group)
    assert torch.equal(everyone, torch.arange(6.0).view(3, 2))
    (everyone * (rank + 1) * torch.tensor([[1.0], [2.0], [3.0]])).sum().backward()
    expected = 3 * torch.tensor([[1.0], [2.0], [3.0]])[shard_of(3, rank, 2)].expand(-1, 2)
    assert own.grad is not None
    assert torch.equal(own.grad, expected)

    # a weight that one rank has no gradient of, and one that nobody uses
    weights = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
    weights[0].grad = torch.full((2,), 1.0 + rank)
    if rank == 1:
        weights[1].grad = torch.ones(2)
    sum_gradients(weights, group)
    gradients = [None if w.grad is None else w.grad.tolist() for w in weights]
    assert gradients == [[3.0, 3.0], [1.0, 1.0], None]

    for name in (prefix + name for prefix in FILTERED for name in STEPS):
        found = one_step(folders, accelerator, len(BATCH) // 2, name)
        save_file(found, out / f"{name}-{rank}.safetensors")
    for name, changes in RUNS.items():
        whole_run(folders, accelerator, 12, out / name, changes)
    end_processes(accelerator)


@pytest.fixture(scope="module")
def folders(corpus_folder, steady_bert_folder, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    write_filter(shutil.copytree(corpus_folder, cache / "filtered"))
    return corpus_folder, steady_bert_folder, cache


@pytest.fixture(scope="module")
def two_ranks(folders, tmp_path_factory) -> Path:
    """What two processes computed; started once for the module."""
    out = tmp_path_factory.mktemp("ranks")
    run_in_two_processes(rank_main, folders, out)
    return out


@pytest.mark.parametrize("prefix", FILTERED)
@pytest.mark.parametrize("step", STEPS)
def test_two_ranks_take_the_step_of_one(two_ranks, folders, accelerator, step, prefix):
    name = prefix + step
    expected = one_step(folders, accelerator, len(BATCH), name)
    for rank in (0, 1):
        found = load_file(two_ranks / f"{name}-{rank}.safetensors")
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(
                found[key], value, atol=1e-5, rtol=1e-3, msg=lambda m, k=key: f"{k}: {m}"
            )
    assert max(value.abs().max() for key, value in expected.items() if key != "loss") > 1e-2


@pytest.mark.parametrize("name", RUNS)
def test_a_run_on_two_ranks_ends_in_the_weights_of_one(
    two_ranks, folders, accelerator, tmp_path, name
):
    whole_run(folders, accelerator, 24, tmp_path / "one", RUNS[name])
    expected = load_file(tmp_path / "one" / "weights" / "last.safetensors")
    found = load_file(two_ranks / name / "weights" / "last.safetensors")
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=2e-3, rtol=1e-2)
    scores = [
        read_json(folder / "weights" / "index.json")["last"]["metrics"]["R@10"]
        for folder in (tmp_path / "one", two_ranks / name)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=3)


def test_shares_are_half_open_and_cover_everything():
    for count in range(12):
        for world_size in range(1, 6):
            shares = [shard_of(count, rank, world_size) for rank in range(world_size)]
            assert [i for share in shares for i in range(count)[share]] == list(range(count))
            sizes = [share.stop - share.start for share in shares]
            assert max(sizes) - min(sizes) <= 1


def test_more_processes_than_labels_is_refused(folders):
    task = TextTask(text_config(*folders))
    with pytest.raises(ValueError, match="27 labels cannot be divided over 28 processes"):
        task.steps_per_epoch(28)


def test_a_checkpoint_of_two_ranks_has_the_moments_of_all_vectors(
    two_ranks, folders, accelerator, tmp_path
):
    name = "run with fused vectors, full"
    whole_run(folders, accelerator, 24, tmp_path / "one", RUNS[name])
    expected, found = (
        Checkpoint(folder).load()["task"] for folder in (tmp_path / "one", two_ranks / name)
    )
    for moment in ("first", "second"):
        one, two = (state[f"label_vectors.{moment}"] for state in (expected, found))
        assert (one.abs().amax(1) > 0).all()
        torch.testing.assert_close(two, one, atol=2e-4, rtol=0.1)
    assert found["label_vectors.steps"] == expected["label_vectors.steps"] > 0
