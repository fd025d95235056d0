"""Methods x proportions of known labels x seeds: results.csv, a Markdown table and a plot.

python tools/sweep.py --config configs/sweeps/voc_features.yaml --out sweeps/voc

Finished cells are not run again, so the same command continues a sweep that was stopped, and a
longer list of methods, proportions or seeds adds to it. Every cell is a process of its own.
Learning rate, epochs and the method within a family are chosen by the known labels of held-out
training pictures, never by the test split. A cell that fails does not stop the others: the table is
that of the finished ones, the end names the failed ones, exit status 2.
"""

from pathlib import Path

from pumlc.cli import console
from pumlc.engine.config import parse
from pumlc.errors import UserError
from pumlc.sweep.grid import (
    FailedCells,
    Row,
    choose,
    chosen_settings,
    family_rows,
    grid,
    markdown,
    plot,
    run_cells,
    stopped_early,
    validation_column,
)
from pumlc.vision.sweep.config import SweepConfig
from pumlc.vision.sweep.feature_cells import feature_cells
from pumlc.vision.sweep.fine_tuned_cells import fine_tune_cells


def main(arguments: list[str] | None = None) -> None:
    out_option = ("--out", {"type": str, "required": True, "help": "folder of the sweep"})
    config, extra = parse(SweepConfig, arguments, program="tools/sweep.py", extra=(out_option,))
    out = Path(extra["out"])
    try:
        out.mkdir(parents=True, exist_ok=True)  # before features are extracted for nothing
    except OSError as error:
        raise UserError(f"--out {out} must be a folder or a new one: {error}") from None
    if config.features is not None:
        settings, run = feature_cells(config, out)
    else:
        settings, run = fine_tune_cells(config, out, Path(__file__).parent)
    cells = grid(list(config.methods), config.proportions, config.seeds)
    try:
        rows = run_cells(cells, out, settings, run, workers=config.workers)
    except FailedCells as error:
        if error.rows:
            print(_report(error.rows, out, config))
        raise
    print(_report(rows, out, config))


def _report(rows: list[Row], out: Path, config: SweepConfig) -> str:
    """Write table.md and plot.svg; return the table."""
    parts = [f"Test mAP, mean +- standard deviation over {len(config.seeds)} seeds."]
    finished = len({(row["method"], row["proportion"], row["seed"]) for row in rows})
    missing = len(config.methods) * len(config.proportions) * len(config.seeds) - finished
    if missing:
        parts.append(f"{missing} cells failed: some means are over fewer seeds.")
    rows = rows + family_rows(rows, config.families)
    for title, prepare in (
        ("one learning rate and number of epochs for all proportions", lambda rows, by: rows),
        ("one learning rate, every run stopped where its own validation is best", stopped_early),
    ):
        for metric in ("all", "frequent", "listed"):
            if any(row.get(metric) is not None for row in rows):
                by = validation_column(rows, metric)
                chosen = choose(prepare(rows, by), ["method"], by)
                parts += [f"Classes: {metric}; {title}", markdown(chosen, metric)]
        for by in dict.fromkeys(validation_column(rows, metric) for metric in ("all", "listed")):
            parts += [f"What was chosen, by {by}; {title}", chosen_settings(prepare(rows, by), by)]
    chosen = choose(rows, ["method"], validation_column(rows, config.metric))
    plot(chosen, config.metric, out / "plot.svg", out.name)
    report = "\n\n".join(parts)
    (out / "table.md").write_text(report + "\n")
    return report


if __name__ == "__main__":
    console.run(main)
