"""Studies: arms over several seeds, their results, and the findings that follow from these."""
