"""Plots of the results pages about heads and their probabilities; results_plots.py draws them."""

from results_drawing import bars, figure, lines, number, save, tables


def embeddings_heads() -> None:
    made, axes = figure()
    header, rows = tables("embeddings_heads.md")[0]
    shown = {name.split(" (")[0].removeprefix("for comparison: "): c for name, c in rows.items()}
    lines(axes[0], "heads on frozen features", header[1:], shown)
    axes[0].legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    save("embeddings_heads", made)


def kernel_heads() -> None:
    made, axes = figure(height=4.5)
    header, rows = tables("kernel_heads.md")[0]
    shown: dict[str, dict[str, str]] = {}
    for name, cells in rows.items():
        data = name.split(" (")[0].split(",")[0]
        for known, cell in zip(header[1:], cells, strict=True):
            if cell:
                linear, *others = (number(part) for part in cell.split(",")[0].split(" / "))
                gains = zip(("always", "where it is clearly better"), others, strict=True)
                shown[f"{data}, {known} known"] = {way: f"{it - linear:.1f}" for way, it in gains}
    bars(axes[0], "with a kernel, beside linear heads", shown, "difference in mAP, points")
    axes[0].axvline(0, color="grey", linewidth=0.8)
    save("kernel_heads", made)


def calibration() -> None:
    made, axes = figure(2)
    header, rows = tables("calibration.md")[0]
    columns = [
        number(name.removeprefix("known ").removeprefix("positives alone ")) for name in header[1:]
    ]
    titles = ("present and absent labels known", "positives alone")
    for part, (place, title) in enumerate(zip(axes, titles, strict=True)):
        color = -1
        for name, cells in rows.items():
            if name.startswith("share listed"):
                continue
            platt = name.strip() == "Platt"
            color += not platt
            measured = [
                (at, number(cell))
                for at, cell in zip(
                    columns[3 * part : 3 * part + 3], cells[3 * part :], strict=False
                )
                if cell
            ]
            place.plot(
                *zip(*measured, strict=True),
                marker="o",
                markersize=3,
                color=f"C{color}",
                linestyle="--" if platt else "-",
                label=None if platt else name,
            )
        place.set(title=title, xlabel="known labels, %", ylabel="ECE, % (dashed: Platt)")
    axes[1].legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    save("calibration", made)


def calibration_ways() -> None:
    made, axes = figure(height=6)
    header, rows = tables("calibration_ways.md")[0]
    names = ("the package's", "Platt of each class", "isotonic of each class", "temperature")
    shown = {
        column: {name: rows[name][place] for name in names}
        for place, column in enumerate(header[1:])
    }
    bars(axes[0], "known labels, present and absent", shown, "ECE, %")
    save("calibration_ways", made)


def promised_recall() -> None:
    made, axes = figure(height=4.5)
    shown: dict[str, dict[str, str]] = {}
    data = ""
    for name, cells in tables("promised_recall.md")[0][1].items():
        data = name.split(" (")[0].strip() or data
        shown[f"{data}, {cells[0]} known"] = {
            "missing at random": cells[2],
            "the hard ones missing": cells[4] or "nan",
        }
    bars(axes[0], "classes in which nine true tags in ten are found", shown, "cases, %")
    axes[0].axvline(95, color="grey", linewidth=0.8)
    save("promised_recall", made)
