"""Suspected label errors of a run on pictures."""
