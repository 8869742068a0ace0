"""Optimizers that select structure while they train, and ordinary ones."""
