"""Pages for a person: one HTML file each, no network. Knows numbers and thumbnails, no model."""

from pumlc.report.review import Item, Review, Suspect, write_review
from pumlc.report.thumbnails import thumbnail

__all__ = ["Item", "Review", "Suspect", "thumbnail", "write_review"]
