"""Texts and their labels: readers, sparse matrices, tokens."""
