"""The plots of the results pages, from the tables on these pages.

python experiments/results_plots.py

Each file in docs/images is drawn from the numbers that stand beside it, so that no plot can show
others.
"""

import matplotlib
from results_drawing import bars, figure, lines, number, save, tables
from results_plots_heads import (
    calibration,
    calibration_ways,
    embeddings_heads,
    kernel_heads,
    promised_recall,
)
from results_plots_wrong import (
    audit_estimates,
    audit_finds,
    audit_texts,
    noise_doubted,
    noise_methods,
)


def unseen_data() -> None:
    made, axes = figure(2)
    for place, (header, rows) in zip(axes, tables("unseen_data.md")[:2], strict=True):
        own = next(cells for name, cells in rows.items() if name.endswith("PNU"))
        lines(place, header[0], header[1:], {"PNU": own, "best baseline": rows["best baseline"]})
    save("unseen_data", made)


def pnu_parts() -> None:
    made, axes = figure(3)
    shown = {
        "pnu_positives": "positives alone",
        "pnu_two_sides": "+ known negatives",
        "pnu_known_only": "+ third bracket",
        "pnu": "+ unlabeled negatives",
    }
    sets = {"VOC subset, frequent": "voc", "Corel5k, frequent": "corel5k", "EURLEX57K": "eurlex57k"}
    for place, (title, name) in zip(axes, sets.items(), strict=True):
        header, rows = tables(f"tables_{name}.md")[0]
        lines(place, title, header[1:], {text: rows[method] for method, text in shown.items()})
    save("pnu_parts", made)


def pnu_behind() -> None:
    made, axes = figure(height=4)
    names, gaps, intervals, data = [], [], [], ""
    for name, cells in tables("pnu_behind.md")[0][1].items():
        data = name.strip() or data
        low, high = (float(part) for part in cells[3].split(" to "))
        gap = float(cells[2])
        names.append(f"{data}, {cells[0]}")
        gaps.append(gap)
        intervals.append((gap - low, high - gap))
    spans = list(zip(*intervals, strict=True))
    axes[0].errorbar(gaps, range(len(gaps)), xerr=spans, fmt="o", markersize=4, capsize=3)
    axes[0].axvline(0, color="grey", linewidth=0.8)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    axes[0].set(xlabel="mAP of PNU minus that of the best baseline; 95 % interval")
    save("pnu_behind", made)


def pnu_spread() -> None:
    made, axes = figure()
    rows: dict[str, dict[str, str]] = {}
    for known, cells in tables("pnu_spread.md")[0][1].items():
        rows.setdefault(cells[0], {})[f"{known.strip()} known"] = cells[-1]
    bars(axes[0], "VOC subset, five classes", rows, "standard deviation of the mAP, points")
    save("pnu_spread", made)


def pnu_fine_tuned() -> None:
    made, axes = figure(height=4.5)
    _, rows = tables("pnu_fine_tuned.md")[1]
    columns = ("10 % known", "50 % known", "100 % known")
    shown: dict[str, dict[str, str]] = {
        name: dict(zip(columns, cells, strict=False)) for name, cells in rows.items()
    }
    bars(axes[0], "VOC subset, five classes, fine-tuned", shown, "mAP, %")
    save("pnu_fine_tuned", made)


def pu_mlc_voc() -> None:
    made, axes = figure(2)
    rows = tables("pu_mlc_voc.md")[0][1]
    for place, column, title in ((axes[0], 1, "5 classes"), (axes[1], 2, "all 18 classes")):
        shown = {
            f"{cells[0].split(' (')[0]}\n{known.strip()} known": {"mAP": cells[column]}
            for known, cells in rows.items()
        }
        bars(place, title, shown, "mAP, %")
    save("pu_mlc_voc", made)


def frozen_heads() -> None:
    made, axes = figure()
    header, rows = tables("frozen_heads.md")[0]
    lines(axes[0], "heads by least squares", header[1:4], {n: c[:3] for n, c in rows.items()})
    save("frozen_heads", made)


def texts() -> None:
    made, axes = figure(height=4.5)
    kind = ["P@1", "P@3", "P@5", "PSP@1"]
    found = [rows for header, rows in tables("texts.md") if header[1:5] == kind]
    shown: dict[str, dict[str, str]] = {}
    for title, rows in zip(("EURLEX57K", "TIBcore-79K"), found, strict=False):
        for name, cells in rows.items():
            empty = {"EURLEX57K": "nan", "TIBcore-79K": "nan"}
            shown.setdefault(name.split(" (")[0], empty)[title] = cells[0]
    bars(axes[0], "10,000 training documents", shown, "P@1, %")
    save("texts", made)


def text_losses() -> None:
    made, axes = figure()
    header, rows = tables("text_losses.md")[0]
    columns = [header.index(name) for name in ("P@1", "nDCG@5", "R@100")]
    shown = {n: {header[c]: cells[c - 1] for c in columns} for n, cells in rows.items()}
    bars(axes[0], "EURLEX57K, 20 steps", shown, "%")
    save("text_losses", made)


def text_missing() -> None:
    made, axes = figure(2)
    points: dict[str, list[tuple[float, float, float]]] = {}
    loss = ""
    for name, (missing, first, five, _) in tables("text_missing.md")[0][1].items():
        loss = name.strip() or loss
        points.setdefault(loss, []).append((number(missing), number(first), number(five)))
    for place, column, unit in ((axes[0], 1, "P@1, %"), (axes[1], 2, "P@5, %")):
        for loss, rows in points.items():
            xs, ys = [row[0] for row in rows], [row[column] for row in rows]
            place.plot(xs, ys, marker="o", markersize=3, label=loss)
        place.set(xlabel="missing training labels, %", ylabel=unit)
    axes[1].legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    save("text_missing", made)


def classes_by_name() -> None:
    made, axes = figure(2)
    by_class, by_picture = tables("classes_by_name.md")[:2]
    shown = {n: dict(zip(by_class[0][3:6], c[2:5], strict=True)) for n, c in by_class[1].items()}
    among = {
        name: dict(zip(by_picture[0][2:], cells[1:], strict=True))
        for name, cells in by_picture[1].items()
        if cells[0] == "new"
    }
    bars(axes[0], "new classes, class by class", shown, "AP, %")
    axes[0].get_legend().remove()  # that of the plot beside it
    bars(axes[1], "among the new ones, picture by picture", among, "AP, %")
    save("classes_by_name", made)


def text_speed() -> None:
    made, axes = figure()
    header, rows = next(table for table in tables("text_speed.md") if table[0][0] == "k")
    columns = [header.index(name) for name in ("ours", "bare products", "faiss IndexFlatIP")]
    shown = {f"k = {n}": {header[c]: cells[c - 1] for c in columns} for n, cells in rows.items()}
    bars(axes[0], "search of 7,000 documents among 78,741 labels", shown, "seconds")
    save("text_speed", made)


def main() -> None:
    matplotlib.rcParams["svg.hashsalt"] = "pumlc"
    for draw in (
        *(unseen_data, pnu_parts, pnu_behind, pnu_spread, pnu_fine_tuned),
        *(pu_mlc_voc, frozen_heads, classes_by_name),
        *(embeddings_heads, kernel_heads, calibration, calibration_ways, promised_recall),
        *(noise_methods, noise_doubted, audit_finds, audit_estimates, audit_texts),
        *(texts, text_losses, text_missing, text_speed),
    ):
        draw()


if __name__ == "__main__":
    main()
