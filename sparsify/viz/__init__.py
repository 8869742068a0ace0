"""Figures: pure functions that return a matplotlib Figure; only `save` writes."""
