"""Parts: the modules of a network that have channels, and how the channels run through each of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from sparsify.nets.layers import CONVOLVING, IN_PROJECTION

ACROSS = "across"
"""The kind of a normalisation that mixes channels: each is divided by a statistic of several."""

OUTPUT = "output"
"""The kind of what stands for a tensor that the network itself gives."""


@dataclass(frozen=True)
class Part:
    """A module with channels: `inputs` of them enter along dimension `entering`, `outputs` leave along `leaving`.

    The kind is one of
    - "layer": each output is computed from all inputs, or those of its group;
    - "depthwise": a convolution, each of whose outputs is computed from one input;
    - "channelwise": each channel is passed on alone, scaled, shifted or the like;
    - "across": as "channelwise", but with a statistic of several channels (LayerNorm, GroupNorm);
    - "recurrent": an LSTM or the like, whose outputs are not followed;
    - "attention": one of the two projections of torch's MultiheadAttention;
    - "output": no module, but a tensor that the network itself gives.
    """

    name: str
    module: nn.Module
    kind: str
    inputs: int
    outputs: int
    entering: int
    leaving: int

    @property
    def passes(self) -> bool:
        """Whether the module hands the channels on as they are."""
        return self.kind in ("channelwise", ACROSS)


def part_of(name: str, module: nn.Module) -> Part | None:
    """Return the part that one of torch's own modules, or of a subclass, is; None if it has no channels of its own."""
    if isinstance(module, CONVOLVING):
        inputs, outputs, dimension = module.in_channels, module.out_channels, -len(module.kernel_size) - 1
        kind = "depthwise" if 1 < module.groups == inputs else "layer"
        return Part(name, module, kind, inputs, outputs, dimension, dimension)
    if isinstance(module, nn.Linear):
        return Part(name, module, "layer", module.in_features, module.out_features, -1, -1)
    if isinstance(module, _NormBase):
        return Part(name, module, "channelwise", module.num_features, module.num_features, 1, 1)
    if isinstance(module, nn.GroupNorm):
        kind = "channelwise" if module.num_groups == module.num_channels else ACROSS
        return Part(name, module, kind, module.num_channels, module.num_channels, 1, 1)
    if isinstance(module, nn.PReLU):
        count = module.num_parameters
        return Part(name, module, "channelwise", count, count, 1, 1) if count > 1 else None
    if type(module) in (nn.LayerNorm, nn.RMSNorm):
        shape: tuple[int, ...] = module.normalized_shape  # type: ignore[assignment]
        count = shape[0]
        if len(shape) > 1:
            return None
        return Part(name, module, ACROSS, count, count, -1, -1)
    if isinstance(module, nn.RNNBase):
        return Part(name, module, "recurrent", module.input_size, 0, -1, -1)
    return None


def projections(name: str, module: nn.MultiheadAttention) -> tuple[Part, Part]:
    """Return the parts of an attention: the projection to queries, keys and values, and that of its outputs."""
    width = module.embed_dim
    return (
        Part(f"{name}.{IN_PROJECTION}", module, "attention", width, 3 * width, -1, -1),
        Part(f"{name}.out_proj", module.out_proj, "attention", width, width, -1, -1),
    )


def vectors(module: nn.Module) -> list[nn.Parameter]:
    """Return the module's parameters if it has no modules of its own and they are vectors of one length; else []."""
    found = list(module.parameters(recurse=False))
    alike = {tuple(p.shape) for p in found}
    if any(True for _ in module.children()) or len(alike) != 1 or found[0].ndim != 1 or len(found[0]) < 2:
        return []
    return found


@torch.no_grad()
def channelwise_part(name: str, module: nn.Module, inputs: Tensor, output: object) -> Part | None:
    """Return the part that a module with a vector of parameters is, such as a LayerScale or a norm of one's own.

    It is one if it gives what it takes with each element of the vector at one channel. Which dimension the channels run
    along, and whether they are mixed, is found by a NaN in the vector and in the input.
    """
    found = vectors(module)
    if not found or not isinstance(output, Tensor) or output.shape != inputs.shape or not output.is_floating_point():
        return None
    count = len(found[0])
    before = [p[0].clone() for p in found]
    try:
        for p in found:
            p[0] = torch.nan
        reached = module.forward(inputs).isnan()  # not a call: the hook that asks would be called again
    finally:
        for p, value in zip(found, before, strict=True):
            p[0] = value
    for dimension in (d for d in range(1, inputs.ndim) if inputs.shape[d] == count):
        first = torch.zeros(count, dtype=torch.bool, device=inputs.device)
        first[0] = True
        if torch.equal(reached, first.view(-1, *[1] * (inputs.ndim - dimension - 1)).expand(reached.shape)):
            marked = inputs.index_fill(dimension, torch.zeros(1, dtype=torch.long, device=inputs.device), torch.nan)
            mixed = module.forward(marked).isnan().transpose(0, dimension)[1:].any()
            return Part(name, module, ACROSS if mixed else "channelwise", count, count, dimension, dimension)
    return None
