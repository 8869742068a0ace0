"""What networks of the zoo share: their activations, He's initialisation, and the check of a kernel."""

from __future__ import annotations

from torch import nn

from sparsify.errors import SparsifyError

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "elu": nn.ELU}
"""Each is monotone, so that max pooling before it gives what pooling behind it gives, from a quarter of the numbers."""


def initialise(model: nn.Module, init: str, *kinds: type[nn.Conv2d | nn.Linear]) -> None:
    """Draw the weights of the layers of these kinds anew if `init` is "he"; else, "torch", leave torch's own.

    As in He et al. 2015 weights are normal with variance 2 / fan-in, and biases are 0.
    """
    if init != "he":
        return
    for layer in model.modules():
        if isinstance(layer, kinds):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def convolution(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """Return a padded convolution without a bias, which BatchNorm behind it has."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


def require_odd(kernel: int) -> None:
    """Raise SparsifyError for a kernel that cannot be padded by the same number on both sides."""
    if kernel % 2 == 0:
        raise SparsifyError(f"--net has a kernel of {kernel}×{kernel}; where images are padded it must be odd: 3, 5, 7")
