"""Pages for a person: one HTML file each, no network. Knows numbers and thumbnails, no model."""

from pumlc.report.review import Item, Review, Suspect, write_review
from pumlc.report.run_page import RunFigures, SplitScores, read_history, read_suspects, write_report
from pumlc.report.thumbnails import thumbnail

__all__ = [
    "Item",
    "Review",
    "RunFigures",
    "SplitScores",
    "Suspect",
    "read_history",
    "read_suspects",
    "thumbnail",
    "write_report",
    "write_review",
]
