"""The optimizers of torch.optim: one maker of entries for all of them, which reads their own signatures."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sparsify.errors import SparsifyError
from sparsify.optim.spec import OptimizerSpec, Options, taken
from sparsify.publications import Publication
from sparsify.settings import Setting, settings_of, values_of

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

FLAG = "--opt-options"
FIELDS = ("lr", "momentum", "weight_decay")
"""What is a field of a Config, wherever an optimizer takes it."""

SET_HERE = ("params", "foreach", "maximize", "capturable", "differentiable", "fused")
"""What the training decides, not the user."""


def torch_optimizer(
    name: str,
    description: str,
    defaults: Mapping[str, float],
    *papers: Publication,
    colour: int,
    own: Mapping[str, Setting] | None = None,
) -> OptimizerSpec:
    """Return the entry of torch.optim's class `name`, which is what `description` says.

    `defaults` has those of `FIELDS` that the class takes; `papers` are what it was published as. Every other number and
    switch of its signature is one of the `opt_options`, with torch's default; `own` replaces or adds some. Each step is
    torch's own, but weight decay, L2 or decoupled as the class has it, acts only on what `decay_groups` says: weights
    of two or more dimensions, as in SLBI.
    """

    @functools.cache
    def settings() -> Mapping[str, Setting]:
        import torch

        return {**settings_of(getattr(torch.optim, name), without=(*FIELDS, *SET_HERE)), **(own or {})}

    def build(model: nn.Module, options: Options) -> Optimizer:
        """Build the optimizer of a network's parameters. Raises SparsifyError for options that it does not take."""
        import torch

        from sparsify.devices import has_fused_kernels
        from sparsify.optim.penalties import decay_groups

        kind: Any = getattr(torch.optim, name)
        given: dict[str, Any] = {field: taken(getattr(options, field)) for field in defaults}
        if options.opt_options:  # what is not given is left to torch, to the bit
            values = values_of(FLAG, options.opt, options.opt_options, settings())
            given |= {option: value for option, value in values.items() if value != settings()[option].default}
        if all(has_fused_kernels(p.device) for p in model.parameters()):
            # a step that can be captured reads no number back, so neither a learning rate that is a tensor
            given |= dict.fromkeys({"fused", "capturable"} & inspect.signature(kind).parameters.keys(), True)
        decays = "weight_decay" in given
        groups = decay_groups(model, given.pop("weight_decay")) if decays else model.named_parameters()
        try:
            optimizer: Optimizer = kind(groups, **given)
        except ValueError as error:  # torch's own limits, and what does not go together
            raise SparsifyError(f"{FLAG} {options.opt_options} with --opt {options.opt}: {error}") from error
        return optimizer

    def check(options: Options) -> None:
        from torch import nn

        build(nn.Linear(1, 1), options)

    return OptimizerSpec(build, description, defaults, colour, settings=settings, check=check, papers=papers)
