"""Statistics, comparisons of runs and of criteria, and quantities that are read from trained weights."""
