"""A step with a vector for each of up to 1.3 million labels: seconds, memory, silence; search.

    python benchmarks/extreme.py [--labels 131073 501070 1305265] [--processes 1] [step] [search]

``step`` makes a data set whose labels follow a power law, as many as LF-AmazonTitles-131K,
LF-Wikipedia-500K and LF-AmazonTitles-1.3M have. It trains on it with the command (384 dimensions,
batch 256, a small encoder) and stops it after a few steps, so that it saves a checkpoint. It prints

- the seconds of a step, the median over the steps, against those of the four matrix products that
  no exact step can do without (scores, scores again, the gradient of the documents, that of the
  vectors), measured in the same run;
- the peak of the resident memory, of all processes together, from the start to the checkpoint;
- the longest time without a line, from the first one on, always wall time, and the line before.

``search`` prints the milliseconds a text of the exact search and of the index that ``predict
--index ivf`` keeps, mapped into memory, with its recall, for 256 texts at once and for one text at
a time. Labels are means of vectors of their words; texts are means of labels, with noise.

On a machine busy with other work ``--clock cpu --threads 1`` says more than wall time.
"""

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import scipy.sparse as sp
import torch
from losses import CLOCKS, seconds
from torch import Tensor

from pumlc.text.retrieval.approximate import ApproximateIndex
from pumlc.text.retrieval.search import search

LABELS = [131_073, 501_070, 1_305_265]
WIDTH, BATCH, CHUNK, STEPS = 384, 256, 4_096, 6
VOCABULARY, WORDS_OF_LABEL, LABELS_OF_DOCUMENT = 20_000, 3, 22
SEEN = 0.87  # share of the labels that a training document has, as in LF-AmazonTitles-1.3M
GIB = 2**30


def zipf_words(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    weights = 1 / np.arange(1, VOCABULARY + 1)
    return random.choice(VOCABULARY, shape, p=weights / weights.sum())


def make_data(folder: Path, labels: int) -> None:
    """A data set in the layout xmc: a tenth as many documents as labels, 22 labels a document."""
    random = np.random.default_rng(0)
    words = zipf_words(random, (labels, WORDS_OF_LABEL))
    texts = [" ".join(f"w{word}" for word in row) for row in words]
    texts = [f"{text} n{number % 997}" for number, text in enumerate(texts)]
    (folder / "raw").mkdir(parents=True)
    (folder / "raw" / "Y.txt").write_text("\n".join(texts) + "\n")
    seen = random.permutation(labels)[: round(SEEN * labels)]
    for short, documents in (("trn", max(2_000, labels // 10)), ("tst", 512)):
        extra = LABELS_OF_DOCUMENT * documents - (len(seen) if short == "trn" else 0)
        ranks = np.minimum(random.zipf(1.4, max(0, extra)), len(seen)) - 1
        columns = seen[np.concatenate([ranks, np.arange(len(seen))] if short == "trn" else [ranks])]
        rows = random.integers(documents, size=len(columns))
        matrix = sp.csr_array((np.ones(len(columns), bool), (rows, columns)), (documents, labels))
        matrix.sum_duplicates()
        sp.save_npz(folder / f"Y.{short}.npz", sp.csr_matrix(matrix))
        lines = []
        for row in range(documents):
            own = matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]][:3]
            lines.append(" ".join(texts[label] for label in own) or "w0")
        (folder / "raw" / f"{short}_X.txt").write_text("\n".join(lines) + "\n")


def make_encoder(folder: Path) -> None:
    """The shape of an encoder of two layers, and a tokenizer of the words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    names = [
        "[PAD]",
        "[UNK]",
        *(f"w{i}" for i in range(VOCABULARY)),
        *(f"n{i}" for i in range(997)),
    ]
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]"}
    vocabulary = {word: number for number, word in enumerate(names)}
    words = Tokenizer(models.WordLevel(vocabulary, special["unk_token"]))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=64, **special)
    tokenizer.save_pretrained(folder)
    shape = BertConfig(
        vocab_size=len(names),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=64,
    )
    torch.manual_seed(0)
    BertModel(shape).save_pretrained(folder)


def command(folder: Path, options: argparse.Namespace) -> list[str]:
    settings = {
        "data.root": folder / "data",
        "data.token_cache": folder / "tokens",
        "data.document_length": 16,
        "data.label_length": 8,
        "encoder.model": folder / "encoder",
        "encoder.projection": WIDTH,
        "encoder.label_chunk": 4096,
        "encoder.label_vectors": "true",
        "encoder.label_vector_update": options.update,
        "encoder.label_vector_moments": options.moments,
        "loss.name": "decoupled_softmax",
        "loss.temperature": 0.05,
        "loss.score_chunk": CHUNK,
        "train.epochs": 1,
        "train.batch_size": BATCH // options.processes,
        "train.learning_rate": 1e-4,
        "train.log_every": 1,
    }
    start = [sys.executable, "-u", "-m"]
    if options.processes > 1:
        start += ["torch.distributed.run", "--nproc-per-node", str(options.processes), "-m"]
    arguments = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    return [*start, "pumlc", "train", "--task", "text", *arguments, "--out", str(folder / "run")]


@dataclass
class Watched:
    """What is seen of a command from outside.

    Attributes:
        steps: clock at the end of each step.
        peak: largest sum of the resident memory of its processes, in bytes.
        silence: the longest time between two lines, in seconds, and the line before.
        first: seconds from the start to the first step.
    """

    steps: list[float] = field(default_factory=list)
    peak: int = 0
    silence: tuple[float, str] = (0.0, "")
    first: float = 0.0


def processes_of(started: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        parent = psutil.Process(started.pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def total_of(started: subprocess.Popen[str], read: Callable[[psutil.Process], float]) -> float:
    total = 0.0
    for process in processes_of(started):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += read(process)
    return total


def timed_lines(stream, watched: Watched) -> Iterator[str]:
    before, line = None, ""
    for following in stream:
        now = time.monotonic()
        if before is not None:  # not the imports
            watched.silence = max(watched.silence, (now - before, line.strip()[:60]))
        before, line = now, following
        yield following


def watch(arguments: list[str], threads: int, clock: str) -> Watched:
    """Run a training until it has taken STEPS + 1 steps, and stop it."""
    watched, started_at = Watched(), time.monotonic()
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
    started = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )

    def sample() -> None:
        while started.poll() is None:
            resident = total_of(started, lambda process: process.memory_info().rss)
            watched.peak = max(watched.peak, int(resident))
            time.sleep(0.1)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    for line in timed_lines(started.stdout, watched):
        print("   ", line, end="", flush=True)
        if not line.startswith("epoch 1 step"):
            continue
        if not watched.steps:
            watched.first = time.monotonic() - started_at
        times = {
            "wall": time.perf_counter,
            "cpu": lambda: total_of(started, lambda p: sum(p.cpu_times()[:2])),
        }
        watched.steps.append(times[clock]())
        if len(watched.steps) == STEPS + 1:
            started.send_signal(signal.SIGTERM)
    started.wait()
    sampler.join()
    return watched


def bare_products(queries: Tensor, labels: Tensor) -> None:
    for part in labels.split(CHUNK):
        scores = queries @ part.T
        torch.mm(queries, part.T)
        torch.mm(scores, part)
        torch.mm(scores.T, queries)


def benchmark_step(options: argparse.Namespace) -> None:
    rows = []
    for labels in options.labels:
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            folder = Path(name)
            make_data(folder / "data", labels)
            make_encoder(folder / "encoder")
            found = watch(command(folder, options), options.threads, options.clock)
        queries, vectors = torch.randn(BATCH, WIDTH), torch.randn(labels, WIDTH)
        bare_products(queries, vectors[:CHUNK])
        bare = statistics.median(
            seconds(lambda q=queries, v=vectors: bare_products(q, v), options.clock)
            for _ in range(3)
        )
        step = statistics.median(np.diff(found.steps))
        rows.append(
            f"| {labels:,} | {options.update} | {options.processes} | {step:.2f} | {bare:.2f} | "
            f"{step / bare:.2f} | {found.peak / GIB:.2f} | {found.first:.0f} | "
            f"{found.silence[0]:.1f} | {found.silence[1]} |"
        )
    print(f"\nstep: {WIDTH} dimensions, batch {BATCH}, {options.moments} moments")
    print(
        "| labels | update | processes | seconds | four bare products | ratio | peak GiB | "
        "seconds to the first step | longest silence | after |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    print("\n".join(rows), flush=True)


def label_vectors(count: int) -> tuple[Tensor, Tensor]:
    """Vectors of labels, and 512 of texts."""
    random = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(0)
    words = torch.randn(VOCABULARY, WIDTH, generator=generator)
    labels = torch.randn(count, WIDTH, generator=generator).mul_(0.5)
    chosen = torch.from_numpy(zipf_words(random, (count, WORDS_OF_LABEL)))
    for column in range(WORDS_OF_LABEL):
        for rows in torch.arange(count).split(CHUNK):
            labels[rows] += words[chosen[rows, column]]
    labels /= labels.norm(dim=1, keepdim=True)
    own = torch.from_numpy(random.integers(count, size=(512, 2)))
    texts = labels[own].mean(1) + 0.02 * torch.randn(512, WIDTH, generator=generator)
    return labels, texts / texts.norm(dim=1, keepdim=True)


def benchmark_search(options: argparse.Namespace) -> None:
    clock = options.clock
    print("\nsearch for the 10 best labels, milliseconds a text")
    print("| labels | search | 256 texts at once | one at a time | recall | seconds to build |")
    print("| --- | --- | --- | --- | --- | --- |")
    for count in options.labels:
        labels, texts = label_vectors(count)
        judges, others = texts[:256], texts[256:]

        def times(find: Callable[[Tensor], object], others=others) -> str:
            find(others)
            together = statistics.median(seconds(lambda: find(others), clock) for _ in range(3))
            singles = [seconds(lambda t=text: find(t[None]), clock) for text in others[:20]]
            return f"{1000 * together / len(others):.1f} | {1000 * statistics.median(singles):.1f}"

        def exact(queries: Tensor, labels=labels) -> object:
            return search(queries, labels, 10)

        if "exact" in options.index:
            print(f"| {count:,} | exact | {times(exact)} | 1 | 0 |", flush=True)
        if "ivf" not in options.index:
            continue
        start = CLOCKS[clock]()
        index = ApproximateIndex.build(labels.numpy(), judges.numpy())
        building = CLOCKS[clock]() - start
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            index.save(Path(folder), "benchmark")
            opened = ApproximateIndex.open(Path(folder), "benchmark")
            assert opened is not None
            found = times(lambda queries, i=opened: i.search(queries.numpy(), 10))
            print(
                f"| {count:,} | ivf | {found} | {index.recall:.3f} | {building:.0f} |", flush=True
            )


def main() -> None:
    parser = argparse.ArgumentParser(description="A step, and a search, with up to 1.3 M labels.")
    parser.add_argument("parts", nargs="*", default=["step", "search"])
    parser.add_argument("--labels", type=int, nargs="+", default=LABELS)
    parser.add_argument("--update", choices=["fused", "exact"], default="fused")
    parser.add_argument("--moments", choices=["compact", "full"], default="compact")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--index", nargs="+", choices=["exact", "ivf"], default=["exact", "ivf"])
    parser.add_argument("--folder", help="where temporary files go")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} threads, {options.clock} time")
    for part in options.parts:
        {"step": benchmark_step, "search": benchmark_search}[part](options)


if __name__ == "__main__":
    main()
