"""What `python -m benchmarks.fuzz` puts to the test, and what it has found."""
