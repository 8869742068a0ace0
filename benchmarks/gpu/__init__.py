"""The check on a GPU, in one call."""
