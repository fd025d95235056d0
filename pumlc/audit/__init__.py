"""Suspected label errors: ranking them and judging the ranking. Numbers only, no model."""

from pumlc.audit.suspects import GIVEN, Suspects, rank_suspects, score_finding

__all__ = ["GIVEN", "Suspects", "rank_suspects", "score_finding"]
