"""What the memory of label vectors costs: P@1 by how their moments are kept, the encoder frozen.

    python experiments/label_vector_moments.py --root EURLEX57K [--embeddings FOLDER]

10,000 documents of EURLEX57K and its test split are embedded once by MiniLM (64 tokens, kept in
FOLDER). Then only label vectors are trained, with the decoupled softmax over all labels of the
training documents, by the code that trains a run; they start at the mean of their documents. Rates
are those of configs/eurlex57k_vectors_cpu.yaml. The rows are

    adam clipped    gradient of all vectors, its norm clipped to 1, torch.optim.Adam: ``exact``
    full            fused, both moments of Adam, nothing clipped
    compact         fused, both moments in bfloat16, the second rounded at random
    no momentum     compact with beta_1 = 0: what leaving out the first moment would cost

Prints P@1 and P@5 of the test split for each seed (which orders the documents).
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from embedded_texts import embedded
from torch import Tensor

from pumlc.losses import chunked_decoupled_softmax_loss
from pumlc.losses.softmax_gradients import decoupled_softmax_gradients
from pumlc.metrics import precision_at_k
from pumlc.text.config import DataConfig
from pumlc.text.data.corpus import Corpus, load_corpus
from pumlc.text.models.fused_vectors import FusedLabelVectors
from pumlc.text.retrieval.search import search
from pumlc.text.training.objective import torch_csr

KINDS = ["adam clipped", "full", "compact", "no momentum"]
RATE, BATCH, TEMPERATURE, CHUNK, WARMUP = 2e-3, 64, 0.05, 4096, 0.1
EPSILON = 1e-8


def embeddings(corpus: Corpus, folder: Path) -> list[Tensor]:
    """Of the training and the test documents, [N, D] each."""
    documents = {
        "tr": [corpus.source.texts[row] for row in corpus.train],
        "te": list(corpus.test.texts),
    }
    return [embedded(texts, folder / f"{name}.npy") for name, texts in documents.items()]


def trained(kind: str, documents: Tensor, positives, start: Tensor, epochs: int, seed: int):
    """Label vectors [L, D] after some epochs."""
    count, width = start.shape
    moments = "full" if kind == "full" else "compact"
    vectors = FusedLabelVectors(count, width, 1.0, moments)
    vectors.start(np.arange(len(start)), start.numpy())
    weight = torch.nn.Parameter(start.clone())
    adam = torch.optim.Adam([weight], lr=RATE)
    betas = (0.0 if kind == "no momentum" else 0.9, 0.999)
    steps = epochs * (len(documents) // BATCH)
    warmup, step = round(WARMUP * steps), 0
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(len(documents), generator=generator)
        for rows in order[: len(order) // BATCH * BATCH].split(BATCH):
            factor = (step + 1) / warmup if step < warmup else (steps - step) / (steps - warmup)
            truth = torch_csr(positives[rows.numpy()], documents.device)
            options = {"temperature": TEMPERATURE, "chunk_size": CHUNK}
            group = {"lr": RATE * factor, "betas": betas, "eps": EPSILON}
            if kind == "adam clipped":
                adam.param_groups[0]["lr"] = group["lr"]
                adam.zero_grad()
                chunked_decoupled_softmax_loss(documents[rows], weight, truth, **options).backward()
                torch.nn.utils.clip_grad_norm_([weight], 1.0)
                adam.step()
            else:
                vectors.follow(lambda group=group: group)
                decoupled_softmax_gradients(
                    documents[rows], vectors.weight, truth, **options, take=vectors.update
                )
                vectors.exchange(None)
            step += 1
    return (weight if kind == "adam clipped" else vectors.weight).detach()


def main() -> None:
    parser = argparse.ArgumentParser(description="P@1 by how moments of label vectors are kept.")
    parser.add_argument("--root", required=True)
    parser.add_argument("--embeddings", type=Path, default=Path())
    parser.add_argument("--epochs", type=int, nargs="+", default=[3, 10])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    options = parser.parse_args()
    data = DataConfig(root=options.root, train_rows=10_000, document_length=64, label_length=16)
    corpus = load_corpus(data, seed=0)
    documents, queries = embeddings(corpus, options.embeddings)
    seen = np.flatnonzero(corpus.labels_seen())
    positives = corpus.source.truth[corpus.train][:, seen]
    counts = torch.from_numpy(np.asarray(positives.sum(0)).ravel()).float()
    start = torch.from_numpy(positives.T.astype(np.float32) @ documents.numpy()) / counts[:, None]
    print("| epochs | seed | moments | P@1 | P@5 |")
    print("| --- | --- | --- | --- | --- |")
    for epochs in options.epochs:
        for seed in options.seeds:
            for kind in options.kinds:
                vectors = trained(kind, documents, positives, start, epochs, seed)
                ids = seen[search(queries, vectors, 5)[0]]
                at = [precision_at_k(ids, corpus.test.truth, k) for k in (1, 5)]
                print(f"| {epochs} | {seed} | {kind} | {at[0]:.2f} | {at[1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
