"""The tables and the plot of a sweep over image methods."""

from collections.abc import Sequence
from pathlib import Path

from pumlc.files import write_csv, write_text
from pumlc.sweep.cells import CELL_COLUMNS, Row
from pumlc.sweep.choose import Candidate, choose, family_rows, stopped_early
from pumlc.sweep.comparison import against_the_best, chosen_columns, ranking
from pumlc.sweep.plot import plot
from pumlc.sweep.tables import chosen_settings, latex, markdown
from pumlc.vision.sweep.config import SweepConfig

RATE = Candidate("learning_rate", "learning rate", "lowest rate", "highest rate")
EPOCHS = Candidate("epochs", "epochs", "fewest epochs", "most epochs", floor=1)
DECAY = Candidate("weight_decay", "weight decay", "lowest decay", "highest decay", floor=0)
CANDIDATES = (RATE, DECAY, EPOCHS)
"""The settings in which the rows of a cell differ."""
METRICS = ("all", "frequent", "listed")
"""The columns of test mAP, named by the classes that they average."""


LAST_EPOCH = ", last epoch"
"""What the tables add to the name of a method whose weights were not chosen by validation."""


def last_epoch_rows(rows: Sequence[Row]) -> list[Row]:
    """The rows of fine-tuned cells once more, with the weights of the last epoch."""
    kept = [name for name in METRICS if name != "frequent"]
    return [
        {
            **{name: value for name, value in row.items() if name not in METRICS},
            **{name: row.get(f"{name}_last_epoch") for name in kept},
            "method": f"{row['method']}{LAST_EPOCH}",
        }
        for row in rows
        if row.get("all_last_epoch") is not None
    ]


def validation_column(rows: Sequence[Row], metric: str) -> str:
    """The column by which to choose for a metric.

    It is the validation of the metric's own classes if rows have it ("listed"), else that of all
    classes ("frequent" depends on complete labels).
    """
    own = f"validation_{metric}"
    return own if any(row.get(own) is not None for row in rows) else "validation"


def write_report(rows: Sequence[Row], config: SweepConfig, out: Path) -> str:
    """Write the tables and the plot; return the text of the tables.

    OUT/table.md, table.tex    methods by conditions
    OUT/chosen.csv             the choice of validation: a row for each method, condition and seed
    OUT/plot.svg               the metric of the config
    """
    parts = [f"Test mAP, mean +- standard deviation over {len(config.seeds)} seeds."]
    num_finished = len({tuple(row[column] for column in CELL_COLUMNS) for row in rows})
    cells = config.grid()
    if num_finished < len(cells):
        parts.append(f"{len(cells) - num_finished} cells failed: some means are over fewer seeds.")
    others = {file.stem for file in (out / "cells").glob("*.json")} - {cell.name for cell in cells}
    if others:
        parts.append(
            f"Not in these tables: {len(others)} finished cells of other methods, conditions or "
            "seeds, which this command did not name. The same command with them has all."
        )
    rows = [*rows, *family_rows(rows, config.families), *last_epoch_rows(rows)]
    parts += _tables(rows, "one learning rate and number of epochs for all conditions", False)
    parts += _tables(
        rows, "one learning rate, every run stopped where its own validation is best", True
    )
    by = validation_column(rows, config.metric)
    chosen = choose(rows, ["method"], by, CANDIDATES)
    parts += _comparison(chosen, config)
    _write_chosen(chosen, config.metric, by, out / "chosen.csv")
    write_text(out / "table.tex", latex(chosen, config.metric))
    title = f"{out.name}: {_classes_of(config)}"
    plot(chosen, config.metric, out / "plot.svg", title=title, metric_title="test mAP, %")
    text = "\n\n".join(parts)
    write_text(out / "table.md", text + "\n")
    return text


def _comparison(chosen: Sequence[Row], config: SweepConfig) -> list[str]:
    """Ranks of all methods, and the first method beside the best of the others."""
    first = next(iter(config.methods))
    own = [
        first,
        first + LAST_EPOCH,
        *(name for name, members in config.families.items() if first in members),
    ]
    titled = {
        f"Ranks. Classes: {config.metric}": ranking(chosen, config.metric),
        f"{first} beside the best of the others, by test. Classes: {config.metric}": (
            against_the_best(chosen, config.metric, own)
        ),
    }
    return [part for title, text in titled.items() if text for part in (title, text)]


def _write_chosen(chosen: Sequence[Row], metric: str, by: str, file: Path) -> None:
    settings = [candidate.column for candidate in CANDIDATES]
    rows = chosen_columns(chosen, metric, by, settings)
    columns = list(rows[0])
    write_csv(file, columns, ([row[name] for name in columns] for row in rows))


def _classes_of(config: SweepConfig) -> str:
    """The classes that the metric averages, in words for the title of the plot."""
    mode = config.features
    listed = config.fine_tune.classes if mode is None and config.fine_tune else []
    if mode is not None:
        listed = mode.probe.classes
    if config.metric == "listed":
        return f"mean over {len(listed)} listed classes"
    if config.metric == "frequent":
        assert mode is not None
        return f"mean over classes with {mode.probe.min_positives} positives in train and in test"
    return "mean over all classes with a positive in test"


def _tables(rows: Sequence[Row], title: str, stopped: bool) -> list[str]:
    """The test mAP of the chosen rows for each metric, then the chosen settings.

    Args:
        rows: the rows of all cells.
        title: how the rows were chosen.
        stopped: choose the epochs of each run by its own validation, not one number for all.
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
