"""Sweeps over image methods."""
