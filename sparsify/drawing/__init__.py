"""Drawing: pure functions of numbers, frames and tensors that return a matplotlib Figure; only `save` writes."""
