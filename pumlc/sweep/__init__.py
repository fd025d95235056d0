"""Grids of runs: run what is missing, choose by validation, tabulate, plot."""
