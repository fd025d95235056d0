"""Classes of pictures that no training picture has, found by their names.

    python experiments/classes_by_name.py FEATURES.npz ... [--share 0.1] [--draws 3]

A file holds train, train_labels, test, test_labels (1 present, 0 unknown, -1 absent) and classes,
as for audit_order.py. A tenth of the classes is held out of training: of those with a present label
in both parts, drawn anew for each draw. The rest is what `pumlc train --heads open_vocabulary`
does: least squares for the classes of training, and a linear map from features to embeddings of
class names (MiniLM without training), whose numbers are chosen by classes that are withheld from
those of training. Test labels choose nothing.

The first table has the mean AP of the new classes over the test pictures: by name, by the head of
the class of training whose name is nearest, and by chance (the share of pictures). The second one
has the AP of the new classes of a picture (label ranking average precision, of pictures with one),
ranked among the new classes and among all classes; the classes of training are scored by their own
heads. By chance: random scores for the new classes. The last column is the AP of all classes of a
picture, without the new classes in the list (which are then missed) and with them.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score

from pumlc.estimators.class_calibration import calibrate_classes
from pumlc.estimators.design import identical_rows
from pumlc.estimators.least_squares import fit_least_squares
from pumlc.estimators.named_classes import fit_named_classes
from pumlc.tables import table
from pumlc.vision.models.class_vectors import text_vectors


def mean_ap(scores: np.ndarray, present: np.ndarray) -> float:
    """Over classes with a present label, in percent."""
    found = [
        average_precision_score(present[:, column], scores[:, column])
        for column in range(present.shape[1])
        if present[:, column].any()
    ]
    return 100 * float(np.mean(found))


def ranked_ap(scores: np.ndarray, present: np.ndarray) -> float:
    """Label ranking AP of pictures that have one of the labels, in percent."""
    rows = present.any(axis=1)
    return 100 * float(label_ranking_average_precision_score(present[rows], scores[rows]))


def measure(data: dict[str, np.ndarray], vectors: np.ndarray, share: float, seed: int) -> list:
    """One draw of new classes; see the module."""
    random = np.random.default_rng(seed)
    labels, truth = data["train_labels"].astype(np.int8), data["test_labels"] == 1
    usable = np.flatnonzero((labels == 1).any(0) & truth.any(0))
    new = np.zeros(len(vectors), bool)
    new[random.choice(usable, max(2, round(share * len(usable))), replace=False)] = True
    seen = ~new & (labels == 1).any(0)
    train, test, known = data["train"], data["test"], labels[:, seen]
    groups = identical_rows(train)
    named, _ = fit_named_classes(train, known, known == 1, vectors[seen], groups=groups)
    coefficients, intercept = named.heads(vectors[new])
    by_name = test @ coefficients + intercept
    heads = fit_least_squares(train, known, groups=groups)
    slope, bias = calibrate_classes(heads.loo_scores, known)[:2]
    trained = heads.scores(test) * slope + bias
    nearest = trained[:, np.argmax(vectors[new] @ vectors[seen].T, axis=1)]
    by_chance = random.permuted(by_name.ravel()).reshape(by_name.shape)
    listed, unseen = seen | new, truth & new

    def among_all(scores: np.ndarray, shown: np.ndarray) -> float:
        mixed = np.full(truth.shape, -np.inf)
        mixed[:, seen], mixed[:, new] = trained, scores
        return ranked_ap(mixed[:, listed], shown[:, listed])

    ways = (by_name, nearest, by_chance)
    missed = np.full_like(by_name, trained.min() - 1)
    return [
        *(mean_ap(scores, truth[:, new]) for scores in ways[:2]),
        100 * float(truth[:, new].mean()),
        *(ranked_ap(scores, truth[:, new]) for scores in ways),
        *(among_all(scores, unseen) for scores in ways),
        among_all(missed, truth),
        among_all(by_name, truth),
    ]


WAYS = ["by name", "nearest class", "chance"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--draws", type=int, default=3)
    options = parser.parse_args()
    columns, rankings = [], []
    for file in options.files:
        with np.load(file) as content:
            data = dict(content)
        vectors = text_vectors("pip", data["classes"].tolist())
        results = [measure(data, vectors, options.share, seed) for seed in range(options.draws)]
        means, spreads = np.mean(results, axis=0), np.std(results, axis=0)
        cells = [f"{mean:.1f} ± {spread:.1f}" for mean, spread in zip(means, spreads, strict=True)]
        ahead = sum(result[0] > result[1] for result in results)
        columns.append([file.stem, len(vectors), len(data["test"]), *cells[:3], ahead])
        rankings.append([file.stem, *cells[3:9], f"{cells[9]}, {cells[10]}"])
    print(table(["data", "classes", "N", *WAYS, f"ahead, of {options.draws} draws"], columns))
    both = [f"{way}, among {which}" for which in ("new", "all") for way in WAYS]
    print(table(["data", *both, "all classes without, with new ones"], rankings))


if __name__ == "__main__":
    main()
