"""What is measured and not tested: speed, faults, coverage, networks; each is run by `python -m benchmarks.NAME`."""
