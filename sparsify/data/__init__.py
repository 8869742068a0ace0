"""Data sets as uint8 tensors, and the folders where their files are."""
