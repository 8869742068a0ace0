"""Modules of the networks in `zoo`, in addition to torch's own."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
Prunable = Convolution | nn.Linear | nn.MultiheadAttention | nn.RNNBase
"""The modules with a weight that has elements of its own for each output, which can go."""


class StackedConv2d(nn.Conv2d):
    """A convolution that also takes s images stacked in the channels: (n, s·channels, h, w) → (n, s·filters, h′, w′).

    For these it is a grouped convolution, with the same filters for each image.
    """

    def forward(self, inputs: Tensor, stacked: int = 1) -> Tensor:
        """Convolve images stacked in the channels; `stacked` is their number s."""
        if stacked == 1:
            return super().forward(inputs)
        weight, bias = self.weight.repeat(stacked, 1, 1, 1), None if self.bias is None else self.bias.repeat(stacked)
        return F.conv2d(inputs, weight, bias, self.stride, self.padding, self.dilation, stacked * self.groups)


class FullConv2d(nn.Conv2d):
    """A convolution whose kernel covers its whole input: (n, channels, kernel, kernel) → (n, filters, 1, 1).

    In training mode it is computed as one matrix product, which gives the same sums in less time. In evaluation mode it
    is an ordinary convolution.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, channels, kernel, kernel) → (n, filters, 1, 1). Padding, stride and dilation are not supported."""
        if not self.training:
            return super().forward(inputs)
        rows, filters = (tensor.permute(0, 2, 3, 1).flatten(1) for tensor in (inputs, self.weight))
        return F.linear(rows, filters, self.bias)[:, :, None, None]


class Conv3x3(nn.Conv2d):
    """A 3×3 convolution with a padding of 1.

    In training mode on a CPU, maps of 2×2 are computed as one matrix product: each output depends on each input once,
    and five of the nine products of an ordinary convolution are with the padding. In evaluation mode it is an ordinary
    convolution.
    """

    bias: nn.Parameter

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__(channels, filters, 3, padding=1)

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, channels, height, width) → (n, filters, height, width)."""
        if not self.training or inputs.device.type != "cpu" or inputs.shape[2:] != (2, 2):
            return super().forward(inputs)
        # the filter's tap (1 + r − p, 1 + s − q) takes input (r, s) to output (p, q)
        taps = self.weight.to(inputs.dtype).permute(0, 2, 3, 1)
        windows = [taps[:, 1 - p : 3 - p, 1 - q : 3 - q] for p in (0, 1) for q in (0, 1)]
        rows = inputs.permute(0, 2, 3, 1).flatten(1)
        outputs = F.linear(rows, torch.stack(windows).flatten(0, 1).flatten(1), self.bias.repeat(4))
        maps: Tensor = outputs.unflatten(1, (2, 2, -1)).permute(0, 3, 1, 2)
        return maps


class WhiteningConv2d(nn.Conv2d):
    """A convolution that begins with filters which decorrelate the patches of the training images: `whiten`.

    It has two filters for each number of a patch, 2·channels·k² in all (Page 2018; Jordan 2024).
    """

    @torch.no_grad()
    def whiten(self, images: Tensor) -> None:
        """Set the filters to ±v/√(λ + ε) for the eigenvalues λ and eigenvectors v of E[p·pᵀ], in their order.

        `images` is (n, channels, height, width), normalised; p are its patches of the kernel's size; ε is 5·10⁻⁴. Each
        v has the sign with which its largest number is positive.
        """
        patches = F.unfold(images, self.kernel_size).transpose(0, 1).flatten(1).double().cpu()
        values, vectors = torch.linalg.eigh(patches @ patches.T / patches.shape[1])
        largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
        filters = (vectors * largest.sign() / (values + 5e-4).sqrt()).T.flip(0)
        self.weight.copy_(torch.cat([filters, -filters]).view_as(self.weight))


class StackingSequential(nn.Sequential):
    """A Sequential whose modules before the one named `until` get `STACK` images at a time, stacked in the channels.

    The function is the same, but faster: a CPU computes few channels as slowly as many. Images are stacked in training
    mode on a CPU if `STACK` divides the batch; otherwise it is an ordinary Sequential. The modules before `until` must
    be StackedConv2d or work on each channel alone (pooling, ReLU).
    """

    STACK = 4

    def __init__(self, modules: OrderedDict[str, nn.Module], *, until: str) -> None:
        super().__init__(modules)
        self.until = until

    def forward(self, images: Tensor) -> Tensor:
        """Map (n, channels, height, width) as an ordinary Sequential does."""
        if not self.training or images.device.type != "cpu" or len(images) % self.STACK:
            unstacked: Tensor = super().forward(images)  # type: ignore[no-untyped-call]  # torch does not annotate it
            return unstacked
        stacks: Tensor = images.unflatten(0, (-1, self.STACK))
        activations = stacks.flatten(1, 2).contiguous(memory_format=torch.channels_last)
        for name, module in self._modules.items():
            if name == self.until:
                activations = activations.unflatten(1, (self.STACK, -1)).flatten(0, 1)
            takes = (activations, self.STACK) if isinstance(module, StackedConv2d) else (activations,)
            activations = module(*takes)
        return activations


def is_plain(module: nn.Module) -> bool:
    """Whether a call of the module only runs its class's `forward`: no hook, not compiled, no `forward` of its own."""
    hooked = module._forward_pre_hooks or module._forward_hooks
    own = type(module).__call__ is not nn.Module.__call__ or "forward" in vars(module)
    return not (hooked or own or module._compiled_call_impl)


def stages_of(module: nn.Module) -> list[nn.Module]:
    """Return modules that, called one after the other in evaluation mode, compute to the bit what `module` computes.

    They are the children of a plain nn.Sequential, and in turn their children; any other module is a single stage.
    """
    in_a_row = type(module).forward in (nn.Sequential.forward, StackingSequential.forward)
    if not isinstance(module, nn.Sequential) or not in_a_row or not is_plain(module):
        return [module]
    return [stage for child in module for stage in stages_of(child)]


def computes_outputs_apart(module: nn.Module) -> TypeGuard[Convolution | nn.Linear]:
    """Whether each output depends only on its own row of the weight and its own element of the bias."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, StackedConv2d, FullConv2d, Conv3x3)
    return is_plain(module) and type(module) in kinds  # a subclass may mix them
