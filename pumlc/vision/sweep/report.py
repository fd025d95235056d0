"""The tables and the plot of a sweep over image methods."""

from collections.abc import Sequence
from pathlib import Path

from pumlc.files import write_text
from pumlc.sweep.cells import CELL_COLUMNS, Row
from pumlc.sweep.choose import Candidate, choose, family_rows, stopped_early
from pumlc.sweep.plot import plot
from pumlc.sweep.tables import chosen_settings, markdown
from pumlc.vision.sweep.config import SweepConfig

RATE = Candidate("learning_rate", "learning rate", "lowest rate", "highest rate")
EPOCHS = Candidate("epochs", "epochs", "fewest epochs", "most epochs", floor=1)
CANDIDATES = (RATE, EPOCHS)
"""What the rows of a cell differ in."""
METRICS = ("all", "frequent", "listed")
"""The columns of test mAP: over which classes it is the mean."""


def validation_column(rows: Sequence[Row], metric: str) -> str:
    """The column by which to choose for a metric.

    That of the metric's own classes, where known labels tell which these are: of "listed", not of
    "frequent".
    """
    own = f"validation_{metric}"
    return own if any(row.get(own) is not None for row in rows) else "validation"


def write_report(rows: Sequence[Row], config: SweepConfig, out: Path) -> str:
    """Write ``OUT/table.md`` and ``OUT/plot.svg``; return the text of the tables."""
    parts = [f"Test mAP, mean +- standard deviation over {len(config.seeds)} seeds."]
    num_finished = len({tuple(row[column] for column in CELL_COLUMNS) for row in rows})
    num_cells = len(config.methods) * len(config.proportions) * len(config.seeds)
    if num_finished < num_cells:
        parts.append(f"{num_cells - num_finished} cells failed: some means are over fewer seeds.")
    rows = [*rows, *family_rows(rows, config.families)]
    parts += _tables(rows, "one learning rate and number of epochs for all proportions", False)
    parts += _tables(
        rows, "one learning rate, every run stopped where its own validation is best", True
    )
    chosen = choose(rows, ["method"], validation_column(rows, config.metric), CANDIDATES)
    plot(chosen, config.metric, out / "plot.svg", title=out.name, metric_title="mAP, %")
    text = "\n\n".join(parts)
    write_text(out / "table.md", text + "\n")
    return text


def _tables(rows: Sequence[Row], title: str, stopped: bool) -> list[str]:
    """The test mAP of what was chosen, metric by metric, then which settings were chosen.

    Args:
        title: how it was chosen.
        stopped: the epochs of each run by its own validation, not one number for all.
    """

    def compared(by: str) -> Sequence[Row]:
        return stopped_early(rows, by, CANDIDATES, EPOCHS) if stopped else rows

    parts = []
    for metric in METRICS:
        if any(row.get(metric) is not None for row in rows):
            by = validation_column(rows, metric)
            chosen = choose(compared(by), ["method"], by, CANDIDATES)
            parts += [f"Classes: {metric}; {title}", markdown(chosen, metric)]
    for by in dict.fromkeys(validation_column(rows, metric) for metric in ("all", "listed")):
        settings = chosen_settings(compared(by), by, CANDIDATES, title="validation mAP")
        parts += [f"What was chosen, by {by}; {title}", settings]
    return parts
