"""Suspected label errors: ranking, judging and correcting them. Numbers and names, no model."""

from pumlc.audit.corrections import Correction, combine_corrections, read_corrections
from pumlc.audit.suspects import GIVEN, STATES, Suspects, rank_suspects, score_finding

__all__ = [
    "GIVEN",
    "STATES",
    "Correction",
    "Suspects",
    "combine_corrections",
    "rank_suspects",
    "read_corrections",
    "score_finding",
]
