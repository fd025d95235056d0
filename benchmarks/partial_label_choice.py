"""What the choice between candidates by a part with few known labels costs.

    python benchmarks/partial_label_choice.py --config configs/sweeps/voc_features.yaml \\
        --features.data.root VOCdevkit --methods_shown pnu,asl,partial_asl,pu_mlc_no_temperature

Every method, proportion and seed is trained as in a sweep, and one learning rate and number of
epochs is chosen for all of a method's cells: by the mAP of the held-out part's known labels, by
`estimated_average_precision`, and by the complete labels of that part, which nobody would have.
"lost" is the test mAP of the best candidate less that of the chosen one, mean over the methods.
"says" is the mean of what the choice goes by at the lowest proportion, over all candidates: that of
complete labels is what the others stand for.
"""

from collections import defaultdict

import numpy as np
from feature_sweep import opened

from pumlc.engine import console
from pumlc.engine.sweep import grid
from pumlc.metrics import average_precision, estimated_average_precision
from pumlc.vision.probe import Candidate, ProbeData, candidates, mean_percent

Values = dict[str, np.ndarray]


def class_values(data: ProbeData, candidate: Candidate) -> Values:
    """AP of each class by whatever may choose, and on the test split."""
    scores = candidate.held_out_scores
    return {
        "known labels": average_precision(scores, candidate.observed),
        "estimate": estimated_average_precision(scores, candidate.observed),
        "complete labels": average_precision(scores, data.train_labels[candidate.held_out]),
        "test": average_precision(candidate.test_scores, data.test_labels),
    }


def main() -> None:
    config, probe, data, names, _ = opened("benchmarks/partial_label_choice.py")
    # method -> candidate -> what it is measured by, a row per cell
    found: dict = {name: defaultdict(list) for name in names}
    for cell in grid(names, config.proportions, config.seeds):
        method = config.methods[cell.method]
        for candidate in candidates(data, method, probe, cell.proportion, cell.seed):
            key = (candidate.learning_rate, candidate.epochs)
            values = class_values(data, candidate)
            found[cell.method][key].append((cell.proportion, values))
        print(f"{cell.method} {cell.proportion} {cell.seed}: done", flush=True)
    lines = []
    for classes, columns in data.averages.items():
        lines += _lines(found, classes, columns, min(config.proportions))
    print(console.table(["classes", "chosen by", "lost", "says"], lines))


def _lines(found: dict, classes: str, columns: list[int], lowest: float) -> list[list]:
    # the choice is over all classes, or over the listed ones, as in a sweep
    chosen_by = columns if classes == "listed" else slice(None)

    def mean(measured: list[tuple[float, Values]], name: str, of: list[int] | slice) -> float:
        values = [mean_percent(each[name][of]) for _, each in measured]
        return float(np.mean([value for value in values if value is not None]))

    lines = []
    for name in ("known labels", "estimate", "complete labels"):
        lost, says = [], []
        for of_method in found.values():
            test = {key: mean(measured, "test", columns) for key, measured in of_method.items()}
            best = max(of_method, key=lambda key: mean(of_method[key], name, chosen_by))
            lost.append(max(test.values()) - test[best])
            says += [
                mean([(p, each) for p, each in measured if p == lowest], name, chosen_by)
                for measured in of_method.values()
            ]
        lines.append([classes, name, float(np.mean(lost)), float(np.mean(says))])
    return lines


if __name__ == "__main__":
    console.run(main)
