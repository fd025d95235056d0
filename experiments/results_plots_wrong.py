"""Plots of the results pages about wrong labels; results_plots.py draws them."""

import re

from results_drawing import bars, figure, number, save, tables


def noise_methods() -> None:
    made, axes = figure(height=4.5)
    shown: dict[str, dict[str, str]] = {}
    for title, (header, rows) in zip(
        ("VOC subset", "COCO part"), tables("noise_methods.md")[:2], strict=True
    ):
        for name, cell in zip(header[1:], rows["mean"], strict=True):
            shown.setdefault(name, {})[title] = cell
    bars(axes[0], "mean over kinds of wrong and missing labels", shown, "mAP, %")
    save("noise_methods", made)


def noise_doubted() -> None:
    made, axes = figure(2, height=4.5)
    header, rows = tables("noise_doubted.md")[0]
    conditions = [name for name in rows if name != "mean"]
    for column, data in enumerate(header[1:]):
        heights, plain, best = [], [], []
        for height, name in enumerate(conditions):
            if not rows[name][column]:
                continue
            doubted, *others = (number(part) for part in rows[name][column].split("/"))
            heights.append(height)
            plain.append(doubted - others[-1])
            best.append(doubted - max(others))
        for place, gaps in zip(axes, (plain, best), strict=True):
            place.plot(gaps, heights, "o", markersize=4, label=data)
    titles = ("beside plain least squares", "beside the best of three forms")
    for place, title in zip(axes, titles, strict=True):
        place.axvline(0, color="grey", linewidth=0.8)
        place.set_yticks(range(len(conditions)), conditions)
        place.invert_yaxis()
        place.set(title=title, xlabel="difference in mAP, points")
    axes[1].legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    save("noise_doubted", made)


def audit_finds() -> None:
    made, axes = figure(height=4.5)
    shown: dict[str, dict[str, str]] = {}
    for header, rows in tables("audit_finds.md")[:2]:
        ours = next(name for name in rows if "--folds" in name)
        theirs = next(name for name in rows if name.startswith("logistic"))
        data = ""
        for column, title in enumerate(header[1:]):
            data = title.split(",")[0] if not title.startswith("(") else data
            noise = title[title.index("(") :]
            shown[f"{data} {noise}"] = {
                label: str(mean_of_lists(rows[name][column]))
                for label, name in (("audit --folds", ours), ("logistic regression", theirs))
            }
    bars(axes[0], "missing and wrong tags, mean of both lists", shown, "average precision, %")
    save("audit_finds", made)


def mean_of_lists(cell: str) -> float:
    negatives, positives = (number(part) for part in cell.split(" / "))
    return (negatives + positives) / 2


def audit_estimates() -> None:
    made, axes = figure(height=4)
    rows = {n: cells[2:] for n, cells in tables("audit_estimates.md")[0][1].items() if "(" in n}
    for column, name in enumerate(("missing tags", "wrong tags")):
        ratios = []
        for cells in rows.values():
            estimated, true = re.findall(r"\d+", cells[column])
            ratios.append(int(estimated) / int(true))
        axes[0].plot(ratios, range(len(rows)), "o", markersize=5, label=name)
    axes[0].axvline(1, color="grey", linewidth=0.8)
    axes[0].set_yticks(range(len(rows)), list(rows))
    axes[0].invert_yaxis()
    axes[0].set(xlabel="estimated number / true number")
    axes[0].legend(fontsize="small")
    save("audit_estimates", made)


def audit_texts() -> None:
    made, axes = figure()
    header, rows = tables("audit_texts.md")[0]
    shown: dict[str, dict[str, str]] = {}
    for seed, cells in rows.items():
        found = zip(header[-3:], cells[-3:], strict=True)
        shown[f"{cells[0]}, seed {seed.strip()}"] = {
            f"first {name.removeprefix('of ')}": str(100 * number(cell) / number(name))
            for name, cell in found
        }
    bars(axes[0], "3,000 documents of EURLEX57K", shown, "right, %")
    save("audit_texts", made)
