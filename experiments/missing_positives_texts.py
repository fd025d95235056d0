"""Which loss of texts suffers least where training labels are missing: label vectors, three losses.

    python experiments/missing_positives_texts.py EURLEX57K --out FOLDER [--share 20] [--loss pnu]
    python experiments/missing_positives_texts.py EURLEX57K --out FOLDER --table

The encoder (MiniLM) stays as it is; 10,000 training documents, cut to 64 tokens, are embedded once.
A vector for each label starts at the embedding of its text and is trained by Adam. A step has 256
documents and sampled labels: those that its documents have, and 512 more, drawn at random.

A share of the pairs of a document and a label is missing (drawn with seed 0; what is missing at
20 % is missing at 40 % too). A tenth of the documents is held out: precision at 1 and at 5 by the
labels that are left chooses among the learning rates. Test labels are complete, choose nothing, and
have the propensities of the complete training labels.

Losses, on logits <x, v> / 0.05 + bias. An unlisted pair is unknown to PU. PNU needs negatives: in
each step it takes half of the unlisted pairs, drawn at random, for negatives and the rest for
unknown. With five labels among thousands, a pair drawn at random is negative with a probability
above 0.998.
"""

import argparse
import csv
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from embedded_texts import embedded
from torch import Tensor

from pumlc.labels import NEGATIVE
from pumlc.losses import decoupled_softmax_loss, pnu_loss, pu_loss
from pumlc.metrics import (
    PROPENSITY_PRESETS,
    inverse_propensities,
    precision_at_k,
    propensity_precision_at_k,
)
from pumlc.tables import table
from pumlc.text.config import DataConfig
from pumlc.text.data.corpus import Corpus, load_corpus

SHARES = (0, 20, 40)
RATES = (0.003, 0.01)
EPOCHS = 10
BATCH, SAMPLED, TEMPERATURE = 256, 512, 0.05
COLUMNS = ["P@1", "P@5", "PSP@5"]


def pnu(logits: Tensor, positives: Tensor) -> Tensor:
    """PNU with half of the unlisted pairs as known negatives."""
    drawn = torch.rand(logits.shape) < 0.5
    return pnu_loss(logits, positives.to(torch.int8).masked_fill(drawn & ~positives, NEGATIVE))


def pu(logits: Tensor, positives: Tensor) -> Tensor:
    """The published loss with its re-balance at 0.5."""
    return pu_loss(logits, positives.to(torch.int8), gamma=0.5, alpha=1.0)


# name -> function of logits and positives, and the bias of the logits
LOSSES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], float]] = {
    "decoupled softmax": (decoupled_softmax_loss, 0.0),
    "pnu": (pnu, -5.0),
    "pu": (pu, -5.0),
}


class Data(NamedTuple):
    """Embeddings of documents and labels, and who has which label."""

    corpus: Corpus
    train: Tensor
    test: Tensor
    labels: Tensor


def read(root: str, folder: Path) -> Data:
    """The data set, embedded once."""
    config = DataConfig(root=root, train_rows=10_000)
    corpus = load_corpus(config, seed=0)
    texts = {
        "train": [corpus.source.texts[int(row)] for row in corpus.train],
        "test": list(corpus.test.texts),
        "labels": list(corpus.source.label_texts),
    }
    vectors = {name: embedded(listed, folder / f"{name}.npy") for name, listed in texts.items()}
    return Data(corpus, **vectors)


def observed(data: Data, share: int) -> Any:
    """Labels of the training documents, bool CSR, without a share (percent) of them."""
    known = data.corpus.source.truth.tocsr().astype(np.int8)
    drawn = 100 * np.random.default_rng(0).random(known.nnz)
    known.data[drawn < share] = 0
    known.eliminate_zeros()
    return known[data.corpus.train].astype(bool)


def train(data: Data, labels: Any, rows: np.ndarray, loss: str, rate: float) -> Tensor:
    """The vectors of all labels after training on some documents."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    function, bias = LOSSES[loss]
    vectors = torch.nn.Parameter(data.labels.clone())
    optimizer = torch.optim.Adam([vectors], lr=rate)
    steps = len(rows) // BATCH
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.01, EPOCHS * steps)
    for _ in range(EPOCHS):
        for batch in np.array_split(random.permutation(rows), steps):
            sampled = random.choice(labels.shape[1], SAMPLED, replace=False)
            columns = np.union1d(labels[batch].indices, sampled)
            positives = torch.from_numpy(labels[batch][:, columns].toarray())
            scores = data.train[batch] @ vectors[torch.from_numpy(columns)].T
            optimizer.zero_grad()
            function(scores / TEMPERATURE + bias, positives).backward()
            optimizer.step()
            schedule.step()
    return vectors.detach()


def measured(documents: Tensor, vectors: Tensor, truth: Any, weights: np.ndarray) -> list[float]:
    """`COLUMNS` over the documents that have a label."""
    truth = sp.csr_array(truth)
    some = np.flatnonzero(np.diff(truth.indptr))
    ids = (documents[some] @ vectors.T).topk(5).indices.numpy()
    return [
        precision_at_k(ids, truth[some], 1),
        precision_at_k(ids, truth[some], 5),
        propensity_precision_at_k(ids, truth[some], 5, weights),
    ]


def run(data: Data, share: int, loss: str, rates: list[float], file: Path) -> None:
    """Train the candidates of a cell; a row for each."""
    labels = observed(data, share)
    order = np.random.RandomState(1).permutation(len(data.train))
    held_out, rows = order[: len(order) // 10], order[len(order) // 10 :]
    complete = data.corpus.source.truth[data.corpus.train]
    weights = inverse_propensities(complete, **PROPENSITY_PRESETS["default"])
    for rate in rates:
        started = time.perf_counter()
        vectors = train(data, labels, rows, loss, rate)
        by_left = measured(data.train[held_out], vectors, labels[held_out], weights)
        by_all = measured(data.test, vectors, data.corpus.test.truth, weights)
        row = [share, loss, rate, *(f"{value:.2f}" for value in [*by_left, *by_all])]
        print(*row, f"{time.perf_counter() - started:.0f} s", flush=True)
        with file.open("a", newline="") as stream:
            csv.writer(stream).writerow(row)


def show(file: Path) -> None:
    """The candidate of each cell that is best on what is held out."""
    with file.open(newline="") as stream:
        candidates = list(csv.reader(stream))
    rows = []
    for share, loss in itertools.product(SHARES, LOSSES):
        cell = [row for row in candidates if row[:2] == [str(share), loss]]
        if cell:
            best = max(cell, key=lambda row: float(row[3]) + float(row[4]))
            rows.append([f"{share} %", loss, *best[6:], best[2], len(cell)])
    print(table(["missing", "loss", *COLUMNS, "rate", "candidates"], rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("root")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--share", type=int, choices=SHARES, nargs="+", default=SHARES)
    parser.add_argument("--loss", choices=list(LOSSES), nargs="+", default=list(LOSSES))
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "candidates.csv"
    if not options.table:
        data = read(options.root, options.out)
        for share, loss in itertools.product(options.share, options.loss):
            run(data, share, loss, options.rates, file)
    show(file)


if __name__ == "__main__":
    main()
