"""How well an audit of documents finds labels that were hidden and labels that were added.

    python experiments/text_audit.py --config texts_frozen --data.root EURLEX57K \\
        --data.train_rows 3000

Of the training documents a part of the labels is hidden (--hidden 0.2), and wrong ones are added,
a part of the labels that are left (--added 0.02), drawn as often as each label occurs. Then least
squares score each document by the fit without it. Prints average precision (percent) of the hidden
ones among all labels that a document lacks, of the added ones among those that it has, and how many
of the first 20, 100 and 500 of each list are right. "Chance" is the share of them in the list.
"""

import argparse
import dataclasses
import json
import sys
import time
from typing import Any

import numpy as np
import scipy.sparse as sp

from pumlc.cli import console
from pumlc.cli.options import with_recipe_files
from pumlc.engine.command_line import parse
from pumlc.engine.processes import create_accelerator
from pumlc.progress import Progress
from pumlc.tables import table
from pumlc.text.config import TextConfig
from pumlc.text.data.matrix import SparseMatrix, canonical
from pumlc.text.data.text_split import TextSplit
from pumlc.text.frozen.kernel import Documents
from pumlc.text.frozen.task import FrozenTextTask
from pumlc.text.suspects import suspects_of

FIRST = (20, 100, 500)


def spoiled(
    truth: SparseMatrix, hidden: float, added: float, seed: int
) -> tuple[SparseMatrix, SparseMatrix, SparseMatrix]:
    """What is observed, what was hidden and what was added, each bool CSR [N, L]."""
    random = np.random.RandomState(seed)
    pairs = truth.tocoo()
    gone = random.rand(truth.nnz) < hidden
    shape = truth.shape

    def matrix(rows: np.ndarray, columns: np.ndarray) -> SparseMatrix:
        return canonical(sp.csr_array((np.ones(len(rows), bool), (rows, columns)), shape))

    count = round(added * int((~gone).sum()))
    rows = random.randint(0, shape[0], 3 * count)
    columns = pairs.col[random.randint(0, truth.nnz, 3 * count)]
    free = ~np.asarray(truth[rows, columns]).ravel()
    wrong = matrix(rows[free][:count], columns[free][:count])
    observed = canonical(matrix(pairs.row[~gone], pairs.col[~gone]) + wrong)
    return observed, matrix(pairs.row[gone], pairs.col[gone]), wrong


def figures(suspects: list[Any], sought: SparseMatrix, listed: int) -> dict[str, float]:
    """Average precision over all ``listed`` pairs, and the right ones among the first.

    A sought pair that is not in the list adds 0.
    """
    ranked = sorted(suspects, key=lambda suspect: -suspect.suspicion)
    right = np.array([bool(sought[suspect.row, suspect.column]) for suspect in ranked])
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    found = {f"of {k}": int(right[:k].sum()) for k in FIRST}
    return {
        "sought": sought.nnz,
        "chance": 100 * sought.nnz / listed,
        "AP": 100 * float(precision[right].sum()) / max(1, sought.nnz),
        **found,
    }


def measure(
    task: FrozenTextTask, documents: Documents, options: argparse.Namespace, seed: int
) -> Any:
    """Both lists after one drawing of hidden and added labels."""
    whole = task.corpus
    source = whole.source.rows(whole.train)
    observed, hidden, added = spoiled(source.truth, options.hidden, options.added, seed)
    noisy = TextSplit(source.texts, source.label_texts, observed)
    every, none = np.arange(len(noisy)), np.empty(0, np.int64)
    task.corpus = dataclasses.replace(whole, source=noisy, train=every, validation=none)
    heads = task.fit(documents, None, print)
    task.corpus = whole
    suspects = suspects_of(heads.left_out.stored, noisy)
    lacking = len(noisy) * len(heads.labels) - observed.nnz
    lists = (("missing", "unknown", hidden, lacking), ("wrong", "present", added, observed.nnz))
    return {
        name: figures([each for each in suspects if each.given == given], sought, listed)
        for name, given, sought, listed in lists
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--hidden", type=float, default=0.2)
    parser.add_argument("--added", type=float, default=0.02)
    parser.add_argument("--noise_seeds", type=int, nargs="+", default=[1, 2])
    options, rest = parser.parse_known_args(arguments)
    config, _ = parse(TextConfig, with_recipe_files(rest), program="experiments/text_audit.py")
    started = time.perf_counter()
    task = FrozenTextTask(config)
    documents = task.represent(create_accelerator(), Progress().show)
    results = {seed: measure(task, documents, options, seed) for seed in options.noise_seeds}
    rows = [
        [seed, name, *found.values()]
        for seed, lists in results.items()
        for name, found in lists.items()
    ]
    print(table(["noise seed", "list", *results[options.noise_seeds[0]]["missing"]], rows))
    print(f"{len(documents)} documents, {time.perf_counter() - started:.0f} s")
    print(json.dumps(results))


if __name__ == "__main__":
    console.run(lambda: main(sys.argv[1:]))
