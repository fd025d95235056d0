"""Dual encoders for tagging texts, from a thousand to a million labels."""
