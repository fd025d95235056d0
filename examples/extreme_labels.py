"""Twenty thousand labels in one's own loop: chunked loss, exact search, metrics.

python examples/extreme_labels.py

Rows are embedded by a linear layer, each label by a vector of its own. The loss over all labels is
computed in chunks, so that the scores of a batch never exist at once. The data are generated.
With texts and a settings file: docs/guides/many_labels.md.
"""

import numpy as np
import scipy.sparse as sp
import torch

from pumlc.losses import chunked_decoupled_softmax_loss
from pumlc.metrics import precision_at_k, recall_at_k
from pumlc.text import search

LABELS, ROWS, TEST, WIDTH, BATCH, STEPS = 20_000, 4_000, 500, 32, 256, 60


def data(seed: int = 0) -> tuple[torch.Tensor, sp.csr_array]:
    """Features [ROWS + TEST, WIDTH] with noise, and the three labels that each row is about."""
    random = np.random.RandomState(seed)
    meaning = random.randn(LABELS, WIDTH).astype(np.float32)
    # a few labels have most of the documents, as everywhere
    chosen = (LABELS * random.rand(ROWS + TEST, 3) ** 4).astype(int)
    features = meaning[chosen].mean(axis=1) + 0.1 * random.randn(ROWS + TEST, WIDTH)
    rows = np.repeat(np.arange(ROWS + TEST), 3)
    ones = np.ones(len(rows), np.int8)
    positives = sp.csr_array((ones, (rows, chosen.ravel())), shape=(ROWS + TEST, LABELS))
    positives.data[:] = 1  # a label that was drawn twice
    return torch.from_numpy(features.astype(np.float32)), positives


def main() -> None:
    """Train, search the best labels of the test rows, and print P@1, P@3 and R@10."""
    torch.manual_seed(0)
    features, positives = data()
    encoder = torch.nn.Linear(WIDTH, WIDTH, bias=False)
    vectors = torch.nn.Parameter(torch.randn(LABELS, WIDTH) / WIDTH**0.5)
    optimizer = torch.optim.Adam([*encoder.parameters(), vectors], lr=0.05)
    for step in range(STEPS):
        rows = torch.randperm(ROWS)[:BATCH]
        loss = chunked_decoupled_softmax_loss(
            encoder(features[rows]),
            vectors,
            # a million labels: torch's sparse CSR, which the loss takes too
            torch.from_numpy(positives[rows.numpy()].toarray() > 0),
            temperature=1.0,
            chunk_size=4096,
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0 or step == STEPS - 1:
            print(f"step {step}: loss {loss.item():.2f} nats")

    test = slice(ROWS, ROWS + TEST)
    ids, _ = search(encoder(features[test]).detach(), vectors.detach(), 10)
    for k in (1, 3):
        print(f"P@{k} {precision_at_k(ids, positives[test], k):.1f}")
    print(f"R@10 {recall_at_k(ids, positives[test], 10):.1f} of {LABELS} labels, N = {TEST}")


if __name__ == "__main__":
    main()
