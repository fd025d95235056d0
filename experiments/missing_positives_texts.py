"""Which loss of texts suffers least where positives are missing: data sets with a part of them gone.

    python experiments/missing_positives_texts.py hide EURLEX57K FOLDER     FOLDER/0, FOLDER/20, FOLDER/40
    pumlc train --config eurlex57k_vectors_cpu --data.root FOLDER/20 ... --out RUN
    pumlc evaluate RUN --data.root EURLEX57K
    python experiments/missing_positives_texts.py table RUN ...

``hide`` drops each training pair of a document and a label with the given probability (seed 0;
documents that lose all their labels stay). A share of pairs that is missing at 20 % is missing at
40 % too. The test part is left complete, and `pumlc evaluate` with the complete set takes the
propensities of complete training labels for all runs.

`sampled_pnu` is PNU for texts, whose labels are positive or unknown: some pairs that are not
listed, drawn at random in every step, are its known negatives. With about five positives among
thousands of labels, a pair drawn at random is negative with a probability above 0.998.
"""

import json
import sys
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from pumlc.cli import console
from pumlc.labels import NEGATIVE
from pumlc.losses import pnu_loss
from pumlc.tables import table

SHARES = (0, 20, 40)


def sampled_pnu(scores: Tensor, positives: Tensor, *, share: float, supervised: float) -> Tensor:
    """``loss.name`` of a run: PNU with a share of the unlisted pairs of a step as known negatives."""
    drawn = torch.rand(scores.shape, device=scores.device) < share
    targets = positives.to(torch.int8).masked_fill(drawn & ~positives.bool(), NEGATIVE)
    return pnu_loss(scores, targets, supervised=supervised)


def hide(root: Path, folder: Path) -> None:
    """Write the data set with a part of its training pairs missing, once for each share."""
    known = sp.load_npz(root / "Y.trn.npz").tocsr()
    drawn = 100 * np.random.default_rng(0).random(known.nnz)
    for share in SHARES:
        place = folder / str(share)
        place.mkdir(parents=True)
        (place / "raw").symlink_to((root / "raw").resolve())
        (place / "Y.tst.npz").symlink_to((root / "Y.tst.npz").resolve())
        kept = known.copy()
        kept.data[drawn < share] = 0
        kept.eliminate_zeros()
        sp.save_npz(place / "Y.trn.npz", kept)
        print(f"{place}: {kept.nnz} of {known.nnz} pairs")


def show(runs: list[Path]) -> None:
    """The metrics of evaluated runs, one row each."""
    columns = ["P@1", "P@5", "PSP@1", "PSP@5", "R@10", "R@100"]
    rows = []
    for run in runs:
        result = json.loads((run / "metrics.json").read_text("utf-8"))
        figures = result["weights"]["last"]["all"]
        rows.append([run.name, result["N"], *(f"{figures[name]:.2f}" for name in columns)])
    print(table(["run", "N", *columns], rows))


def main(arguments: list[str]) -> None:
    command, *paths = arguments
    if command == "hide":
        hide(*map(Path, paths))
    else:
        show([Path(path) for path in paths])


if __name__ == "__main__":
    console.run(lambda: main(sys.argv[1:]))
