"""Excluded pairs in training: the loss is what it would be if the row did not have the label."""

import shutil

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from small_texts import LABELS, text_config, write_filter

from pumlc.losses import LOSSES, pu_loss
from pumlc.text.config import LossConfig
from pumlc.text.data.tokens import tokenize
from pumlc.text.task import TextTask
from pumlc.text.training.objective import Objective

CASES = {
    "softmax": ("softmax", {}, None),
    "decoupled softmax": ("decoupled_softmax", {}, None),
    "chunked": ("decoupled_softmax", {}, 4),
    "one chunk": ("decoupled_softmax", {}, 100),
    "soft top-k": ("soft_topk", {"k": 3, "alpha": 2.0}, None),
    "sharp soft top-k": ("soft_topk", {"k": 5, "alpha": 50.0}, None),
    "flat soft top-k": ("soft_topk", {"k": 1, "alpha": 0.01}, None),
    "bce": ("bce", {"unknown": "negative"}, None),
    "smoothed bce": ("bce", {"unknown": "negative", "smoothing": 0.2}, None),
    "bce of positives": ("bce", {"unknown": "ignore"}, None),
    "pu": ("pu", {"gamma": 0.5, "alpha": 1.0}, None),
    "pu of present": ("pu", {"gamma": 0.5, "alpha": 1.0, "absent": "skip"}, None),
}


def naive_loss(scores, positives, excluded, config):
    """Row by row (PU: label by label) over the labels that are left."""
    name, parameters = config.name, config.parameters
    total = scores.sum() * 0.0
    if name == "pu":
        for column, kept in enumerate(~excluded.T):
            if kept.any():
                own = scores[kept, column, None], positives[kept, column, None].to(torch.int8)
                total = total + pu_loss(*own, **parameters)
        return total
    for row, kept in enumerate(~excluded):
        own, truth = scores[row, kept], positives[row, kept]
        if name == "bce":
            smoothing = parameters.get("smoothing", 0.0)
            loss = -(1 - smoothing) * F.logsigmoid(own) - smoothing * F.logsigmoid(-own)
            other = -smoothing * F.logsigmoid(own) - (1 - smoothing) * F.logsigmoid(-own)
            total = total + loss[truth].sum()
            if parameters["unknown"] == "negative":
                total = total + other[~truth].sum()
        elif kept.any() and not (name == "soft_topk" and parameters["k"] >= kept.sum()):
            total = total + LOSSES[name](own[None], truth[None], **parameters)
    return total / len(scores)


@pytest.fixture
def batch():
    """Embeddings of 8 documents and 13 labels, who has which, and what is excluded."""
    random = np.random.RandomState(0)
    documents, labels = (
        torch.from_numpy(random.standard_normal(shape).astype(np.float32)).requires_grad_()
        for shape in ((8, 4), (13, 4))
    )
    excluded = random.random_sample((8, 13)) < 0.2
    excluded[2] = True
    excluded[:, 5] = True
    excluded[3] = np.arange(13) > 1  # fewer labels are left than soft top-k selects
    excluded[4] = False
    excluded[:, 6] = False
    excluded[2, 6] = True
    positives = (random.random_sample((8, 13)) < 0.3) & ~excluded
    positives[6] = ~excluded[6]  # no negative is left
    positives[7] = False
    positives[3] = ~excluded[3]
    return documents, labels, sp.csr_array(positives), sp.csr_array(excluded)


@pytest.mark.parametrize("case", CASES)
def test_the_loss_is_that_of_the_pairs_that_are_left(batch, case):
    name, parameters, chunk = CASES[case]
    config = LossConfig(
        name=name, temperature=0.5, bias=-0.2, parameters=parameters, score_chunk=chunk
    )
    documents, labels, positives, excluded = batch
    value = Objective(config)(documents, labels, positives, process_group=None, excluded=excluded)
    dense = [torch.from_numpy(matrix.toarray()) for matrix in (positives, excluded)]
    expected = naive_loss(documents @ labels.T / 0.5 - 0.2, dense[0], dense[1], config)
    torch.testing.assert_close(value, expected)
    found, wanted = (torch.autograd.grad(v, (documents, labels)) for v in (value, expected))
    for own, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(own, other, atol=1e-5, rtol=1e-4)
    assert max(gradient.abs().max() for gradient in wanted) > 1e-3


@pytest.mark.parametrize("case", ["softmax", "decoupled softmax", "chunked", "soft top-k", "bce"])
def test_nothing_excluded_is_the_plain_loss(batch, case):
    name, parameters, chunk = CASES[case]
    config = LossConfig(name=name, temperature=0.5, parameters=parameters, score_chunk=chunk)
    documents, labels, positives, _ = batch
    plain, apart = (
        Objective(config)(documents, labels, positives, process_group=None, excluded=none)
        for none in (None, sp.csr_array((8, 13), dtype=bool))
    )
    torch.testing.assert_close(apart, plain)


@pytest.fixture
def filtered(corpus_folder, tmp_path):
    folder = shutil.copytree(corpus_folder, tmp_path / "filtered")
    write_filter(folder)
    return folder


@pytest.mark.parametrize("kind", ["all", "mined"])
@pytest.mark.parametrize("chunk", ["null", "5"])
def test_a_step_leaves_excluded_pairs_out(
    filtered, steady_bert_folder, tmp_path, accelerator, kind, chunk
):
    """Against the texts themselves, also where another document's draw brings a pair back."""
    torch.manual_seed(0)
    changes = {"negatives__kind": kind, "loss__score_chunk": chunk}
    task = TextTask(text_config(filtered, steady_bert_folder, tmp_path, **changes))
    batch = next(iter(task.batches(0, accelerator)))
    value = float(task.training_step(task.model, batch, accelerator, 0)["loss"])
    source = task.corpus.source
    rows = task.corpus.train[batch]
    assert source.excluded is not None
    excluded = source.excluded[rows].toarray()
    truth = source.positives[rows].toarray() & ~excluded
    labels = task._step_labels(batch, source.truth[rows], 0, 1)
    if kind == "all":
        assert len(labels) == len(LABELS)
    assert excluded[:, labels].any()
    embeddings = [
        encoder(
            **(tokens := tokenize(own, task.tokenizer, max_length=16)).batch(np.arange(len(tokens)))
        )
        for encoder, own in (
            (task.model.documents, [str(source.texts[row]) for row in rows]),
            (task.model.labels, [str(LABELS[label]) for label in labels]),
        )
    ]
    scores = embeddings[0] @ embeddings[1].T / 0.05
    dense = [torch.from_numpy(matrix[:, labels]) for matrix in (truth, excluded)]
    expected = naive_loss(scores, dense[0], dense[1], task.config.loss)
    assert value == pytest.approx(expected.item(), rel=1e-4)


def test_a_label_with_nothing_but_excluded_pairs_is_unseen(
    corpus_folder, steady_bert_folder, tmp_path
):
    folder = shutil.copytree(corpus_folder, tmp_path / "filtered")
    (folder / "filter_labels_train.txt").write_text("".join(f"{row} 0\n" for row in range(120)))
    task = TextTask(text_config(folder, steady_bert_folder, tmp_path))
    assert task.corpus.source.positives[:, [0]].nnz > 0
    assert not task.corpus.labels_seen()[0]
    everything = "".join(f"{row} {column}\n" for row in range(120) for column in range(27))
    (folder / "filter_labels_train.txt").write_text(everything)
    with pytest.raises(ValueError, match="no training document has a label"):
        TextTask(text_config(folder, steady_bert_folder, tmp_path))
