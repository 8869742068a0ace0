"""Pruning: which grains are removed, and how accuracy and cost change."""
