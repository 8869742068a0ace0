"""What tests of masks and of shrinking share: asking for them, and looking at what arrives behind layers cut out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from problem_networks import Example, Index
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from sparsify import SparsifyError, make_mask, shrink
from sparsify.errors import SparsifyWarning
from sparsify.nets.mask import Mask, apply_mask, masked

CUT = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def call(model: nn.Module, example: Example) -> list[Tensor]:
    """The tensors that a network gives for one input, several, or several by name."""
    with torch.no_grad():
        if isinstance(example, dict):
            return tree_leaves(model(**example))
        return tree_leaves(model(*example) if isinstance(example, tuple) else model(example))


def mask_of(model: nn.Module, which: Mapping[str, Index]) -> Mask:
    mask = {}
    parameters = dict(model.named_parameters())
    for name, index in which.items():
        mask[name] = torch.ones_like(parameters[name], dtype=torch.bool)
        mask[name][index] = False
    return mask


def removed(mask: Mask) -> dict[str, list]:
    """The indices that a mask removes: of the first dimension where it removes whole slices, else of all."""
    found = {}
    for name, keep in mask.items():
        gone = ~keep.reshape(len(keep), -1)
        if gone.any():
            whole = torch.equal(gone.any(1), gone.all(1))
            found[name] = (gone.all(1) if whole else ~keep).nonzero().squeeze(1).tolist()
    return found


def without(mask: Mask, optional: Mask) -> Mask:
    """The mask, in which the optional elements are kept."""
    return {name: keep | ~optional[name] if name in optional else keep for name, keep in mask.items()}


def require_one_line(error: SparsifyError) -> None:
    assert str(error).strip()
    assert "\n" not in str(error)


def asked(model: nn.Module, example: Example, layers: str, ratio: float) -> Mask:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SparsifyWarning)
        return make_mask(model, example, layers=layers, ratio=ratio, grain="neuron")


def asked_or_refused(model: nn.Module, example: Example, layers: str, ratio: float, refusable: bool) -> Mask | None:
    """The mask, or None if it is refused in one line, and may be."""
    try:
        return asked(model, example, layers, ratio)
    except SparsifyError as error:
        require_one_line(error)
        if not refusable:
            raise
        return None


def shrunk(model: nn.Module, mask: Mask, example: Example) -> nn.Module | None:
    """The shrunk network, which computes what the masked one does; None if it is refused in one line.

    That something stays as zeros, or all of it, is said in a warning, and is no refusal.
    """
    try:
        with warnings.catch_warnings():
            said = "some of what is masked stays as zeros|nothing is smaller"
            warnings.filterwarnings("ignore", said, SparsifyWarning)
            small = shrink(model, mask, example)
    except SparsifyError as error:
        require_one_line(error)
        return None
    other = tree_map(lambda tensor: tensor + torch.randn_like(tensor), example)
    for inputs in (example, other):
        with masked(model, mask):
            expected = call(model, inputs)
        for one, two in zip(expected, call(small, inputs), strict=True):
            assert one.shape == two.shape
            assert (one - two).abs().max() <= 1e-5 * max(one.abs().max().item(), 1e-3)
    return small


def count(model: nn.Module) -> int:
    """The number of parameters."""
    return sum(p.numel() for p in model.parameters())


def channels_of(module: nn.Module, tensor: Tensor) -> Tensor:
    """The tensor with its channels, of the input or output of a layer, in the first dimension."""
    return tensor.movedim(-1 if isinstance(module, nn.Linear) else 1, 0)


def arriving(
    model: nn.Module, example: Example, outputs: list[Tensor] | None = None
) -> tuple[list[Tensor], list[tuple[str, Tensor]]]:
    """What arrives at every layer and at the network's output, channels first; and what the layers give, by their name.

    The layers give `outputs`, in the order of their calls, in the place of what they compute: so nothing that arrives
    has passed through a layer.
    """
    arrived: list[Tensor] = []
    given: list[tuple[str, Tensor]] = []
    handles = []
    for name, module in model.named_modules():
        if not isinstance(module, CUT) or getattr(module, "groups", 1) == getattr(module, "in_channels", 0) > 1:
            continue  # a depthwise convolution keeps channels apart

        def look(module: nn.Module, inputs: tuple[Tensor], output: Tensor, name: str = name) -> Tensor:
            arrived.append(channels_of(module, inputs[0]).clone())
            output = output if outputs is None else outputs[len(given)]
            given.append((name, output))
            return output

        handles.append(module.register_forward_hook(look))
    results = call(model, example)
    for handle in handles:
        handle.remove()
    return [*arrived, *(output.movedim(1, 0) for output in results)], given


def disturbed(model: nn.Module, given: list[tuple[str, Tensor]], which: Mapping[str, Index], size: float) -> list:
    """What the layers give, with random numbers of this size where outputs go: for one size always the same."""
    tensors = []
    generator = torch.Generator().manual_seed(int(size))
    for name, tensor in given:
        tensor = tensor.clone()
        if f"{name}.weight" in which:
            channels, index = channels_of(model.get_submodule(name), tensor), which[f"{name}.weight"]
            shape = channels[index].shape
            channels[index] = size * torch.randn(shape, generator=generator, dtype=channels.dtype)
        tensors.append(tensor)
    return tensors


def require_masked_exactly(
    model: nn.Module, example: Example, which: Mapping[str, Index], *, mixed: bool = False
) -> int:
    """Fail unless what the removed outputs do not reach stays as it is under the mask, and what they reach is 0.

    All layers are cut out. The channels that the outputs reach are those that change when the outputs do: this needs
    nothing of the package but the application of a mask. With `mixed` something may stay behind of what they reach.
    Returns the number of channels that they reach.
    """
    whole, given = arriving(model, example)
    reached = [torch.zeros(len(tensor), dtype=torch.bool) for tensor in whole]
    for size in (0, 1, 3, 10):
        changed, _ = arriving(model, example, disturbed(model, given, which, size))
        for place, one, two in zip(reached, whole, changed, strict=True):
            place |= (one != two).flatten(1).any(1)
    apply_mask(model, mask_of(model, which))
    left, _ = arriving(model, example, disturbed(model, given, which, 0))
    for place, before, after in zip(reached, whole, left, strict=True):
        assert torch.equal(before[~place], after[~place])
        assert mixed or not after[place].any()
    return sum(int(place.sum()) for place in reached)
