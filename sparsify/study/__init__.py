"""Studies: arms over seeds, what they measured, and what follows from it."""
