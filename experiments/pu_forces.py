"""Why PU without re-balance (gamma 0) fails on thousands of labels: what its gradient spends.

    python experiments/pu_forces.py EURLEX57K

Draws a batch of 64 documents and logits around several means, and prints the sum of the gradient
of pu_loss over the labels that no document of the batch has, and over the pairs that are positive.
No model is trained: the loss sees logits alone.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from pumlc.cli import console
from pumlc.losses import pu_loss
from pumlc.tables import table
from pumlc.text.data.readers import read_corpus

DOCUMENTS = 64
SPREAD = 2.0  # standard deviation of the logits of a label


def main(arguments: list[str]) -> None:
    random = np.random.RandomState(0)
    train, _ = read_corpus(Path(arguments[0]), "xmc")
    rows = random.permutation(len(train))[:DOCUMENTS]
    labels = torch.from_numpy(train.truth[rows].toarray().astype(np.int8))
    in_batch = (labels == 1).any(dim=0)
    noise = torch.from_numpy(SPREAD * random.randn(*labels.shape))
    lines = []
    for gamma in (0.0, 0.5):
        for mean in (0.0, -5.0, -10.0, -15.0):
            logits = (noise + mean).requires_grad_()
            pu_loss(logits, labels, gamma=gamma, alpha=1.0).backward()
            gradient = logits.grad
            assert gradient is not None
            down, up = gradient[:, ~in_batch].sum(), -gradient[labels == 1].sum()
            lines.append([gamma, mean, round(down.item(), 1), round(up.item(), 1)])
    print(f"{int((~in_batch).sum())} of {len(in_batch)} labels have no document in the batch")
    print(table(["gamma", "mean logit", "lowers these", "raises positives"], lines))


if __name__ == "__main__":
    console.run(lambda: main(sys.argv[1:]))
