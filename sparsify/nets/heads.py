"""Heads: how many an attention has left when layers of its own lose outputs."""

from __future__ import annotations

import numpy as np
from torch import nn

from sparsify.nets.coupling import Removed

HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "heads")
"""What the attribute of an attention that holds its number of heads is called."""

WIDTHS = ("attn_dim", "all_head_size", "inner_dim")
"""What the attribute that holds the number of channels of all heads together is called."""


def heads_left(model: nn.Module, removed: Removed) -> dict[str, tuple[int, int]]:
    """Return for each attention whose own layers lost the outputs of whole heads, how many are left, and of how many.

    The attentions are by the names of their modules.
    """
    found = {}
    for name, module in model.named_modules():
        heads = next((n for one in HEADS if isinstance(n := getattr(module, one, None), int)), None)
        own = [gone for part, gone in removed.outputs.items() if part.rpartition(".")[0] == name]
        left = {_left(gone, heads) for gone in own} - {None} if heads else set()
        if heads is not None and len(left) == 1:
            count = left.pop()
            assert count is not None
            found[name] = count, heads
    return found


def _left(gone: np.ndarray, heads: int) -> int | None:
    """Return how many heads are left of blocks of outputs (queries, keys, values); None if parts of heads go."""
    for blocks in (1, 2, 3):
        if len(gone) % (blocks * heads) == 0:
            lost = gone.reshape(blocks, heads, -1).mean(2)
            if np.isin(lost, (0, 1)).all() and (lost == lost[0]).all():
                return int(heads - lost[0].sum())
    return None
