"""Whether two networks compute the same: the masked and the shrunk one, and from which module on they do not."""

from __future__ import annotations

import math
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sparsify.data.dataset import Inputs, part_of
from sparsify.devices import exactly
from sparsify.errors import SparsifyError, first_line
from sparsify.nets.evaluation import call, evaluating
from sparsify.nets.mask import Mask, masked
from sparsify.nets.parts import part_of as module_part
from sparsify.nets.tracing import tensors

REFUSED, ADVICE = "the network cannot be shrunk", "its masks are exact, and other layers may be shrunk"

TOLERANCE = 1e-5
"""How far the logits of the masked network and of its shrunk form may differ, as a fraction of the largest logit."""


def output_difference(model: nn.Module, mask: Mask, small: nn.Module, inputs: Inputs) -> float:
    """Return max |a − b| / max |a| for the outputs a of the masked and b of the shrunk network for `inputs`.

    Both are evaluated in their own precision, without TF32 and cuDNN. The result is infinite if the shapes differ.
    Raises SparsifyError if the shrunk network does not run, or if the outputs are no tensor.
    """
    with masked(model, mask), evaluating(model), _comparable(), torch.inference_mode():
        expected = call(model, inputs)
    try:
        with evaluating(small), _comparable(), torch.inference_mode():
            return _difference(expected, call(small, inputs))
    except Exception as error:  # whatever a forward raises that is made for the network's own number of channels
        reason = f"{type(error).__name__}: {first_line(error)}"
        where = _obstacle(small, error)
        raise SparsifyError(f"{REFUSED}: {where} ({reason}); {ADVICE}") from error


def _obstacle(model: nn.Module, error: Exception) -> str:
    """Return which forward raised the error, or which layer was given channels that are not its own."""
    names = {id(module): name for name, module in model.named_modules()}
    running = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    own = [names[id(one)] for one in running if id(one) in names]
    if not own or not own[-1]:
        return "its forward does not take fewer channels"
    if module_part(own[-1], model.get_submodule(own[-1])) is None:
        return f"the forward of '{own[-1]}' does not take fewer channels"
    return f"'{own[-1]}' is given other channels than it has, as where a forward around it splits at a fixed place"


def _difference(expected: Any, actual: Any) -> float:
    """Return the largest `relative_difference` of the tensors that two networks give."""
    pairs = list(zip(tensors(expected), tensors(actual), strict=True))
    if not pairs:
        raise SparsifyError(f"the network gives a {type(expected).__name__} without a tensor, so nothing is compared")
    return largest(relative_difference(one, other) for one, other in pairs)


def largest(differences: Iterable[float]) -> float:
    """Return the largest of some differences; NaN if one of them is, which Python's `max` may pass over."""
    return float(np.max(list(differences)))


def relative_difference(expected: Tensor, actual: Tensor) -> float:
    """Return max |a − b| / max |a|; only max |a − b| if a is 0, and infinity if the shapes differ."""
    if expected.shape != actual.shape:
        return math.inf
    size, difference = expected.abs().max().item(), (expected - actual).abs().max().item()
    return difference / size if size else difference


def first_apart(model: nn.Module, mask: Mask, small: nn.Module, inputs: Inputs) -> str:
    """Return the first module whose output differs between the masked and the shrunk network, "" if there is none.

    Modules are compared in the order in which they end, on two of the inputs, where their outputs have one shape.
    """
    few = part_of(inputs, slice(2))
    with masked(model, mask):
        expected = _outputs(model, few)
    found = _outputs(small, few)
    for name, output in expected.items():
        other = found.get(name)
        if other is not None and output.shape == other.shape and not relative_difference(output, other) <= TOLERANCE:
            return name
    return ""


def _outputs(model: nn.Module, inputs: Inputs) -> dict[str, Tensor]:
    """Return the first output of each module that gives a tensor, in the order in which they end."""
    outputs: dict[str, Tensor] = {}
    hooks = []
    for name, module in model.named_modules():

        def keep(module: nn.Module, given: Any, output: Any, name: str = name) -> None:
            if isinstance(output, Tensor) and output.is_floating_point():
                outputs.setdefault(name, output.clone())

        hooks.append(module.register_forward_hook(keep))
    try:
        with evaluating(model), _comparable(), torch.inference_mode():
            call(model, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: output for name, output in outputs.items() if name}


@contextmanager
def _comparable() -> Iterator[None]:
    """Make torch round alike for any number of channels.

    cuDNN may use Winograd's transforms for some numbers of channels only, which alone can differ by TOLERANCE.
    """
    enabled = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        with exactly("exact"):
            yield
    finally:
        torch.backends.cudnn.enabled = enabled
