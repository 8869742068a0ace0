"""Data sets as uint8 tensors, and where their files are found."""
