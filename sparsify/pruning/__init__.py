"""Pruning: which grains go, and what that costs."""
