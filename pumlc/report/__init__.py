"""Pages for a person: one HTML file each, no network. Knows numbers and thumbnails, no model."""

from pumlc.report.class_pages import pictures_to_show
from pumlc.report.figures import RunFigures, SplitScores
from pumlc.report.model_card import Section, markdown_text, model_card, result_entry
from pumlc.report.review import Item, Review, Suspect, write_review
from pumlc.report.run_page import read_history, read_suspects, write_report
from pumlc.report.sweep_page import SweepFigures, read_sweep
from pumlc.report.thumbnails import thumbnail

__all__ = [
    "Item",
    "Review",
    "RunFigures",
    "Section",
    "SplitScores",
    "Suspect",
    "SweepFigures",
    "markdown_text",
    "model_card",
    "pictures_to_show",
    "read_history",
    "read_suspects",
    "read_sweep",
    "result_entry",
    "thumbnail",
    "write_report",
    "write_review",
]
