"""Parametrized networks, such as with weight_norm or spectral_norm: the same networks with weights of their own."""

from __future__ import annotations

import copy
import warnings

from torch import Tensor, nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.utils._pytree import tree_leaves

from sparsify.errors import SparsifyError, SparsifyWarning, first_line


def copied(model: nn.Module) -> nn.Module:
    """Return a copy of the network. Raises SparsifyError if it cannot be copied.

    Tensors that were computed, and are kept in a module, alone, in a list or in a dict, are copied by their values:
    torch refuses to copy them.
    """
    computed = {
        id(tensor): tensor.detach().clone()
        for module in model.modules()
        for tensor in tree_leaves(list(vars(module).values()))
        if isinstance(tensor, Tensor) and not tensor.is_leaf
    }
    try:
        return copy.deepcopy(model, computed)
    except Exception as error:  # whatever a module's attributes raise
        raise SparsifyError(f"the network cannot be copied: {type(error).__name__}: {first_line(error)}") from error


def with_own_weights(model: nn.Module) -> nn.Module:
    """Return the network, or if weights are computed from others a copy that has them as they are now.

    Warns (SparsifyWarning) that such a parametrization, as by weight_norm or spectral_norm, is left out of the copy.
    """
    computed = [name for name, module in model.named_modules() if _parametrized(module)]
    if not computed:
        return model
    names = ", ".join(computed)
    text = (
        f"the weights of {names} are computed from others (weight_norm or the like); a copy with plain weights is taken"
    )
    warnings.warn(text, SparsifyWarning, stacklevel=3)
    plain = copied(model)
    for name in computed:
        module = plain.get_submodule(name)
        if parametrize.is_parametrized(module):
            # not by remove_parametrizations: it takes the weight from the class that the copy shares with the network
            values = {own: getattr(module, own).detach().clone() for own in module.parametrizations}  # type: ignore[union-attr]
            module.__class__ = parametrize.type_before_parametrizations(module)
            del module.parametrizations
            for own, value in values.items():
                module.register_parameter(own, nn.Parameter(value))
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, WeightNorm):
                remove_weight_norm(module, hook.name)
            elif isinstance(hook, SpectralNorm):
                remove_spectral_norm(module, hook.name)
    return plain


def _parametrized(module: nn.Module) -> bool:
    old = any(isinstance(hook, (WeightNorm, SpectralNorm)) for hook in module._forward_pre_hooks.values())
    return old or parametrize.is_parametrized(module)
