"""Networks: their layers, masks, structure, evaluation, and physical shrinking."""
