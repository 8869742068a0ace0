"""Statistics and comparisons of what was measured, and what can be read off weights."""
