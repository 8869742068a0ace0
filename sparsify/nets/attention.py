"""Attention: torch's MultiheadAttention without some of its heads or channels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsify.errors import SparsifyError


class NarrowAttention(nn.Module):
    """What an nn.MultiheadAttention computes (Vaswani et al. 2017, section 3.2.2), with heads of any number and width.

    softmax(scale · q kᵀ + mask) v for each of `num_heads` heads, with q, k and v from `in_proj`; the heads side by side
    go through `out_proj`. Torch's own module fixes the width of a head at embed_dim / num_heads, so that none can go.
    `of` makes one; it is called as the module that it replaces.
    """

    def __init__(
        self, in_proj: nn.Linear, out_proj: nn.Linear, num_heads: int, scale: float, dropout: float, batch_first: bool
    ) -> None:
        super().__init__()
        self.in_proj, self.out_proj = in_proj, out_proj
        self.num_heads, self.scale, self.dropout, self.batch_first = num_heads, scale, dropout, batch_first
        # nn.TransformerEncoder and its layers ask for these: so they call the module, and not their own fused forms
        self._qkv_same_embed_dim, self.in_proj_bias = False, None

    @classmethod
    def of(
        cls, name: str, module: nn.MultiheadAttention, ends: Sequence[np.ndarray], heads: Sequence[np.ndarray]
    ) -> NarrowAttention:
        """Return the attention with what is kept, bool: `ends` are the inputs and the outputs, (width,) each.

        `heads` are its queries, keys and values, (heads, width of a head) each; a head without any is left out. Raises
        SparsifyError if heads would have unlike numbers of channels, and for biases of keys and values.
        """
        if module.bias_k is not None or module.add_zero_attn:
            raise SparsifyError(f"the network cannot be shrunk: '{name}' adds a key and a value of its own")
        left = np.any([part.any(1) for part in heads], axis=0)
        widths = [set(part.sum(1)[left].tolist()) for part in heads]
        if any(len(width) != 1 for width in widths) or widths[0] != widths[1] or 0 in widths[0] | widths[2]:
            raise SparsifyError(
                f"the network cannot be shrunk: the heads of '{name}' would have unlike numbers of channels; remove "
                "whole heads (--grain head)"
            )
        entering, leaving = (torch.from_numpy(np.flatnonzero(end)) for end in ends)
        inner = torch.from_numpy(np.flatnonzero(np.concatenate([part.reshape(-1) for part in heads])))
        values = torch.from_numpy(np.flatnonzero(heads[2].reshape(-1)))
        assert module.in_proj_weight is not None
        return cls(
            _linear(module.in_proj_weight, module.in_proj_bias, inner, entering),
            _linear(module.out_proj.weight, module.out_proj.bias, leaving, values),
            int(left.sum()),
            module.head_dim**-0.5,
            module.dropout,
            module.batch_first,
        )

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the outputs and, if they are needed, the weights; arguments and shapes are MultiheadAttention's.

        `is_causal` is only a hint there, of what `attn_mask` holds, and is not used.
        """
        batched = query.ndim == 3
        q, k, v = (self._by_head(one, batched) for one in self._projected(query, key, value))
        mask = self._mask(attn_mask, key_padding_mask, q)
        dropout = self.dropout if self.training else 0.0
        shares = None
        if need_weights:
            scores = q @ k.mT * self.scale
            shares = F.dropout((scores if mask is None else scores + mask).softmax(-1), dropout)
            outputs = shares @ v
            shares = shares.mean(1) if average_attn_weights else shares
            shares = shares if batched else shares[0]
        else:
            outputs = F.scaled_dot_product_attention(q, k, v, mask, dropout, scale=self.scale)
        joined = outputs.transpose(1, 2).flatten(2)
        if not batched:
            joined = joined[0]
        elif not self.batch_first:
            joined = joined.transpose(0, 1)
        return self.out_proj(joined), shares

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Return the queries, keys and values of all heads."""
        values = self.out_proj.in_features
        keys = (self.in_proj.out_features - values) // 2
        rows = [keys, keys, values]
        if query is key and key is value:
            return self.in_proj(query).split(rows, -1)  # type: ignore[no-any-return]  # a module gives Any
        biases = (None,) * 3 if self.in_proj.bias is None else self.in_proj.bias.split(rows)
        parts = zip((query, key, value), self.in_proj.weight.split(rows), biases, strict=True)
        return tuple(F.linear(inputs, weight, bias) for inputs, weight, bias in parts)

    def _by_head(self, projected: Tensor, batched: bool) -> Tensor:
        """Return (…, channels) as (images, heads, length, channels of a head)."""
        if not batched:
            projected = projected[None]
        elif not self.batch_first:
            projected = projected.transpose(0, 1)
        return projected.reshape(*projected.shape[:-1], self.num_heads, -1).transpose(1, 2)

    def _mask(self, attn_mask: Tensor | None, key_padding_mask: Tensor | None, query: Tensor) -> Tensor | None:
        """Return the sum of the masks as numbers that are added to the scores: (images, heads or 1, length, keys)."""
        masks: list[Tensor] = []
        if attn_mask is not None:
            own = _added(attn_mask, query)
            masks.append(own.unflatten(0, (len(query), -1)) if own.ndim == 3 else own[None, None])
        if key_padding_mask is not None:
            own = _added(key_padding_mask, query)
            masks.append((own if own.ndim == 2 else own[None])[:, None, None])
        if len(masks) == 2:
            return masks[0] + masks[1]
        return masks[0] if masks else None


def _added(mask: Tensor, query: Tensor) -> Tensor:
    """Return a mask as numbers that are added to the scores: −∞ where one of bools is True."""
    if mask.dtype == torch.bool:
        return torch.zeros(mask.shape, dtype=query.dtype, device=mask.device).masked_fill_(mask, -torch.inf)
    return mask


def _linear(weight: Tensor, bias: Tensor | None, outputs: Tensor, inputs: Tensor) -> nn.Linear:
    """Return a linear layer with these rows and columns of a weight."""
    outputs, inputs = outputs.to(weight.device), inputs.to(weight.device)
    layer = nn.Linear(len(inputs), len(outputs), bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach()[outputs][:, inputs].contiguous(), weight.requires_grad)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach()[outputs], bias.requires_grad)
    return layer
