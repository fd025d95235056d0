"""Time and memory of the text branch, as ratios measured in one run.

    python benchmarks/text.py [--threads 2] [--rounds 3] [--clock wall] [search] [step] [labels]

``search``: 7,000 queries against 78,741 labels, D = 384, against the bare float32 products of the
same blocks and, where it is installed, faiss IndexFlatIP; then its memory beyond inputs and result.
``step``: a training step with gradient caching against the same step in one graph, on an encoder in
the shape of MiniLM-L6 (random weights): 32 documents of 64 tokens, 512 labels of 8 tokens.
``labels``: one cached step of 64 documents as the labels grow, on an encoder of two layers.

The two sides of a ratio are run in turn, and the median of the ratios is shown. On a machine busy
with other work ``--clock cpu --threads 1`` says more than wall time.
"""

import argparse
import statistics
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
import torch
from losses import CLOCKS, MIB, interleaved, peak_bytes, seconds
from torch import Tensor
from transformers import BertConfig, BertModel

from pumlc.text.config import LossConfig
from pumlc.text.data.tokens import TokenizedTexts
from pumlc.text.models.embedding import encode_rows
from pumlc.text.models.encoder import DualEncoder, TextEncoder
from pumlc.text.models.head import Head
from pumlc.text.retrieval import search as search_module
from pumlc.text.retrieval.search import faiss_search, search
from pumlc.text.training.gradcache import Side, cached_backward
from pumlc.text.training.objective import Objective

QUERIES, LABELS, WIDTH = 7_000, 78_741, 384
CPU = torch.device("cpu")


def embeddings(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, WIDTH, generator=generator)
    return drawn / drawn.norm(dim=1, keepdim=True)


def bare_products(queries: Tensor, labels: Tensor) -> None:
    for rows in queries.split(search_module.QUERY_BLOCK):
        for part in labels.split(search_module.LABEL_BLOCK):
            torch.mm(rows, part.T)


def benchmark_search(rounds: int, clock: str) -> None:
    queries, labels = embeddings(QUERIES, 0), embeddings(LABELS, 1)
    print(f"\nsearch, {QUERIES:,} x {LABELS:,} x {WIDTH}, seconds")
    print("| k | ours | bare products | ratio | faiss IndexFlatIP | ours / faiss |")
    print("| --- | --- | --- | --- | --- | --- |")
    for k in (5, 10, 100):

        def ours(k=k) -> None:
            search(queries, labels, k)

        mine, bare, ratio = interleaved(ours, lambda: bare_products(queries, labels), rounds, clock)
        try:
            _, theirs, to_faiss = interleaved(
                ours, lambda k=k: faiss_search(queries, labels, k), rounds, clock
            )
            other = f"{theirs:.2f} | {to_faiss:.2f}"
        except ValueError:
            other = "not installed | -"
        print(f"| {k} | {mine:.2f} | {bare:.2f} | {ratio:.2f} | {other} |", flush=True)
    print("\nsearch, k = 10: peak memory beyond the embeddings and the result, MiB")
    print("| N | L | peak | scores of all pairs |")
    print("| --- | --- | --- | --- |")
    for rows, columns in ((1_000, 40_000), (2_000, 40_000), (2_000, 78_741)):
        peak = peak_bytes(lambda n=rows, m=columns: search(queries[:n], labels[:m], 10)) / MIB
        print(
            f"| {rows:,} | {columns:,} | {peak:.0f} | {rows * columns * 4 / MIB:.0f} |", flush=True
        )


def build_encoder(layers: int, width: int) -> DualEncoder:
    config = BertConfig(
        num_hidden_layers=layers,
        hidden_size=width,
        intermediate_size=4 * width,
        num_attention_heads=width // 32,
    )
    torch.manual_seed(0)
    return DualEncoder(TextEncoder(BertModel(config), Head()), shared=True).train()


def random_texts(count: int, length: int) -> TokenizedTexts:
    ids = np.random.RandomState(0).randint(1_000, 30_000, count * length)
    return TokenizedTexts(ids, np.arange(count + 1) * length, pad_id=0)


def make_step(
    model: DualEncoder, documents: TokenizedTexts, labels: TokenizedTexts, *, cached: bool
) -> Callable[[], None]:
    """A forward and backward pass of the decoupled softmax over all labels, 5 positives a row."""
    random = np.random.RandomState(1)
    shape = (len(documents), len(labels))
    columns = random.randint(shape[1], size=(shape[0], 5))
    rows = np.repeat(np.arange(shape[0]), 5)
    ones = np.ones(columns.size, bool)
    positives = sp.csr_array((ones, (rows, columns.ravel())), shape)
    positives.sum_duplicates()
    objective = Objective(LossConfig(name="decoupled_softmax", temperature=0.05, score_chunk=8192))

    def loss(left: Tensor, right: Tensor) -> Tensor:
        return objective(left, right, positives, process_group=None)

    def side(encoder: TextEncoder, tokens: TokenizedTexts, chunk: int) -> Side:
        size = chunk if cached else len(tokens)
        pieces = [np.arange(len(tokens))[i : i + size] for i in range(0, len(tokens), size)]
        return Side(lambda piece: encode_rows(encoder, tokens, piece, CPU), pieces)

    sides = [side(model.documents, documents, 8), side(model.labels, labels, 64)]

    def step() -> None:
        model.zero_grad()
        if cached:
            cached_backward(sides, loss, device=CPU)
        else:
            loss(*(each.encode(each.chunks[0]) for each in sides)).backward()

    return step


def benchmark_step(rounds: int, clock: str) -> None:
    model = build_encoder(6, 384)
    documents, labels = random_texts(32, 64), random_texts(512, 8)
    cached = make_step(model, documents, labels, cached=True)
    plain = make_step(model, documents, labels, cached=False)
    ours, theirs, ratio = interleaved(cached, plain, rounds, clock)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    model.zero_grad()
    peaks = []
    for run in (cached, plain):
        model.zero_grad()
        peaks.append((peak_bytes(run) - weights) / MIB)
    print("\nstep: 32 documents x 64 tokens, 512 labels x 8 tokens, shape of MiniLM-L6")
    print("| | cached | one graph | ratio |")
    print("| --- | --- | --- | --- |")
    print(f"| seconds | {ours:.2f} | {theirs:.2f} | {ratio:.2f} |")
    print(
        f"| peak beyond the gradients, MiB | {peaks[0]:.0f} | {peaks[1]:.0f} | "
        f"{peaks[0] / peaks[1]:.2f} |",
        flush=True,
    )


def benchmark_labels(rounds: int, clock: str) -> None:
    model = build_encoder(2, 128)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    print("\nlabels: one cached step, 64 documents x 32 tokens, labels x 8 tokens, two layers")
    print("| labels | seconds | seconds per 1,000 labels | peak beyond the gradients, MiB |")
    print("| --- | --- | --- | --- |")
    for count in (1_000, 10_000, 78_741):
        step = make_step(model, random_texts(64, 32), random_texts(count, 8), cached=True)
        repeats = rounds if count <= 10_000 else 1
        taken = statistics.median(seconds(step, clock) for _ in range(repeats))
        peak = "-"
        if count <= 10_000:
            model.zero_grad()
            peak = f"{(peak_bytes(step) - weights) / MIB:.0f}"
        print(f"| {count:,} | {taken:.2f} | {1000 * taken / count:.3f} | {peak} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory of the text branch.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("parts", nargs="*", default=["search", "step", "labels"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} threads, {options.clock} time")
    parts = {"search": benchmark_search, "step": benchmark_step, "labels": benchmark_labels}
    for part in options.parts:
        parts[part](options.rounds, options.clock)


if __name__ == "__main__":
    main()
