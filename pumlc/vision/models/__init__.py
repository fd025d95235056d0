"""Classifiers: backbones, local-global convolutions, heads."""
