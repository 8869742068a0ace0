"""Small networks that are hard to prune, each with the mask of one removed output, written out by hand.

Every network is a few modules and a function of them. `PROBLEMS` are the hard structures, `MORE` further kinds of
layers and inputs, `ODD` and `SOUND` networks that are unusual as objects: compiled, scripted, lazy and so on.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Index = list[int] | tuple[Any, ...]
Example = Tensor | tuple[Tensor, ...] | dict[str, Tensor]


class Net(nn.Module):
    """Modules, buffers and parameters by name, and a function of them and of the input."""

    def __init__(self, run: Callable[..., Any], **parts: nn.Module | nn.Parameter | Tensor) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, *inputs: Tensor, **named: Tensor) -> Any:
        return self.run(self, *inputs, **named)


@dataclass(frozen=True)
class Problem:
    """A network, and what is masked when one output of `layer` goes.

    - `mask`: the indices that are masked by parameter: a list of the first dimension, or a tuple as in `keep[tuple]`.
    - `optional`: the same for elements that may be masked or not, since nothing is said about them.
    - `ratio`: removes exactly this one grain, 1 / (grains of the layer), or one of each group of a convolution.
    - `mixed`: what goes is still felt by a reduction over channels, so that something stays behind.
    - `refusable`: a SparsifyError in the place of the mask is right, too.
    - `shrinks`: the masked grain can be removed physically with the network's forward as it is.
    - `probed`: that the mask is right can be shown with all layers cut out (see `test_the_masks_by_hand_are_right`).
    """

    build: Callable[[], nn.Module]
    example: tuple[int, ...] | Callable[[], Example]
    layer: str
    mask: Mapping[str, Index]
    ratio: float
    optional: Mapping[str, Index] = field(default_factory=dict)
    mixed: bool = False
    refusable: bool = False
    shrinks: bool = False
    probed: bool = True


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    """The network in evaluation mode, with scales, shifts and running statistics that are not the defaults."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build()
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
            if isinstance(module, (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)):
                for p in module.parameters():
                    nn.init.uniform_(p, 0.5, 1.5)
    return model.eval()


def drawn(example: tuple[int, ...] | Callable[[], Example], seed: int = 1) -> Example:
    """Two random inputs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return example() if callable(example) else torch.randn(example)


def rows(indices: list[int], *names: str) -> dict[str, Index]:
    """These indices of the weight and bias of each of these modules."""
    return {f"{name}.{kind}": indices for name in names for kind in ("weight", "bias")}


def conv(inputs: int, outputs: int, kernel: int = 3, **more: Any) -> nn.Conv2d:
    """A convolution that keeps the size, unless it has a stride."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **more)


def pooled(x: Tensor) -> Tensor:
    return x.mean((2, 3))


IMAGE, SIX, TOKENS = (2, 3, 8, 8), (2, 6), (2, 4, 5)


# gates and attention over channels -----------------------------------------------------------------------------------


def one_channel_gate() -> nn.Module:
    """f · σ(g(f)): a map of 6 channels times one of a single channel."""

    def run(net: Net, x: Tensor) -> Tensor:
        f = net.bn(net.conv(x)).relu()
        return net.head(pooled(f * net.gate(f).sigmoid()))

    return Net(run, conv=conv(3, 6), bn=nn.BatchNorm2d(6), gate=conv(6, 1, 1), head=nn.Linear(6, 4))


def gate_beside_its_map() -> nn.Module:
    """f · σ(g(f)) and f itself, side by side: a channel of f meets the gate in one half and is alone in the other."""

    def run(net: Net, x: Tensor) -> Tensor:
        f = net.conv(x)
        return net.head(pooled(torch.cat([f * net.gate(f).sigmoid(), f, f], 1)))

    return Net(run, conv=conv(3, 6), gate=conv(6, 1, 1), head=nn.Linear(18, 4))


def squeeze_and_excite() -> nn.Module:
    def run(net: Net, x: Tensor) -> Tensor:
        f = net.bn(net.conv(x)).relu()
        return net.head(f * net.excite(net.squeeze(pooled(f)).relu()).sigmoid()[:, :, None, None])

    parts = {"squeeze": nn.Linear(8, 3), "excite": nn.Linear(3, 8)}
    return Net(run, conv=conv(3, 8), bn=nn.BatchNorm2d(8), **parts, head=conv(8, 4))


def cbam() -> nn.Module:
    """Channel attention from a mean and a maximum by the same two layers, then attention over the places."""

    def run(net: Net, x: Tensor) -> Tensor:
        f = net.conv(x).relu()
        mean, most = (net.expand(net.reduce(pool).relu()) for pool in (pooled(f), f.amax((2, 3))))
        f = f * (mean + most).sigmoid()[:, :, None, None]
        places = torch.cat([f.mean(1, keepdim=True), f.amax(1, keepdim=True)], 1)
        return net.head(pooled(f * net.spatial(places).sigmoid()))

    parts = {"reduce": nn.Linear(6, 2, bias=False), "expand": nn.Linear(2, 6, bias=False), "spatial": conv(2, 1)}
    return Net(run, conv=conv(3, 6), **parts, head=nn.Linear(6, 4))


def eca() -> nn.Module:
    """A convolution of one channel that runs over the channels' means, and gates them."""

    def run(net: Net, x: Tensor) -> Tensor:
        f = net.bn(net.conv(x)).relu()
        return net.head(pooled(f * net.eca(pooled(f)[:, None])[:, 0].sigmoid()[:, :, None, None]))

    over = nn.Conv1d(1, 1, 3, padding=1, bias=False)
    return Net(run, conv=conv(3, 6), bn=nn.BatchNorm2d(6), eca=over, head=nn.Linear(6, 4))


# parts of the channels -----------------------------------------------------------------------------------------------


def chunk_gate() -> nn.Module:
    def run(net: Net, x: Tensor) -> Tensor:
        values, gates = net.bn(net.conv(x)).chunk(2, 1)
        return net.head(pooled(values * gates.tanh()))

    return Net(run, conv=conv(3, 8), bn=nn.BatchNorm2d(8), head=nn.Linear(4, 3))


def glu() -> nn.Module:
    return Net(lambda net, x: net.head(F.glu(net.fc(x), 1)), fc=nn.Linear(6, 10), head=nn.Linear(5, 3))


def split() -> nn.Module:
    """3 and 5 of the channels go different ways, and are added behind them."""

    def run(net: Net, x: Tensor) -> Tensor:
        few, many = net.conv(x).split([3, 5], 1)
        return net.head(pooled((net.left(few.relu()) + net.right(net.bn(many).relu())).relu()))

    parts = {"bn": nn.BatchNorm2d(5), "left": conv(3, 4), "right": conv(5, 4)}
    return Net(run, conv=conv(3, 8), **parts, head=nn.Linear(4, 3))


def slices_added() -> nn.Module:
    def run(net: Net, x: Tensor) -> Tensor:
        f = net.conv(x)
        return net.head(pooled((f[:, :4] + net.bn(f[:, 4:])).relu()))

    return Net(run, conv=conv(3, 8), bn=nn.BatchNorm2d(4), head=nn.Linear(4, 3))


def slices_swapped() -> nn.Module:
    def run(net: Net, x: Tensor) -> Tensor:
        f = net.conv(x)
        return net.head(pooled(net.bn(torch.cat([f[:, 4:], f[:, :4]], 1)).relu()))

    return Net(run, conv=conv(3, 8), bn=nn.BatchNorm2d(8), head=nn.Linear(8, 3))


def flipped() -> nn.Module:
    """The channels of one convolution are added to those of another in the opposite order."""
    run = lambda net, x: net.head(pooled((net.one(x).flip(1) + net.other(x)).relu()))  # noqa: E731
    return Net(run, one=conv(3, 6), other=conv(3, 6), head=nn.Linear(6, 3))


def folded() -> nn.Module:
    """A convolution's own channels are added in the opposite order."""

    def run(net: Net, x: Tensor) -> Tensor:
        f = net.conv(x)
        return net.head(pooled((f + f.flip(1)).relu()))

    return Net(run, conv=conv(3, 6), head=nn.Linear(6, 3))


def dense() -> nn.Module:
    """Each layer sees what all before it have made, and a normalisation runs over all of it."""

    def run(net: Net, x: Tensor) -> Tensor:
        first = net.one(x).relu()
        second = net.other(first).relu()
        return net.head(pooled(net.bn(torch.cat([first, second], 1)).relu()))

    return Net(run, one=conv(3, 4), other=conv(4, 3), bn=nn.BatchNorm2d(7), head=nn.Linear(7, 3))


def shuffled() -> nn.Module:
    """ShuffleNet's shuffle of 8 channels in 2 groups: channel c goes to 2·(c mod 4) + c div 4."""

    def run(net: Net, x: Tensor) -> Tensor:
        f = net.conv(x)
        n, c, h, w = f.shape
        f = f.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return net.head(pooled(net.bn(f).relu()))

    return Net(run, conv=conv(3, 8), bn=nn.BatchNorm2d(8), head=nn.Linear(8, 3))


# channels that are made of several, or several of one ----------------------------------------------------------------


def pixel_shuffle() -> nn.Module:
    run = lambda net, x: net.head(pooled(net.bn(F.pixel_shuffle(net.conv(x), 2)).relu()))  # noqa: E731
    return Net(run, conv=conv(3, 16), bn=nn.BatchNorm2d(4), head=nn.Linear(4, 3))


def pixel_unshuffle() -> nn.Module:
    run = lambda net, x: net.head(pooled(net.bn(F.pixel_unshuffle(net.conv(x), 2)).relu()))  # noqa: E731
    return Net(run, conv=conv(3, 4), bn=nn.BatchNorm2d(16), head=nn.Linear(16, 3))


def linear_as_channels() -> nn.Module:
    run = lambda net, x: net.head(pooled(net.bn(net.fc(x).view(len(x), -1, 2, 2)).relu()))  # noqa: E731
    return Net(run, fc=nn.Linear(6, 16), bn=nn.BatchNorm2d(4), head=nn.Linear(4, 3))


def linear_as_four_channels() -> nn.Module:
    run = lambda net, x: net.head(net.conv(net.fc(x).view(len(x), 4, 2, 2)).relu().flatten(1))  # noqa: E731
    return Net(run, fc=nn.Linear(6, 16), conv=conv(4, 5), head=nn.Linear(20, 3))


# sums ----------------------------------------------------------------------------------------------------------------


def residual() -> nn.Module:
    def run(net: Net, x: Tensor) -> Tensor:
        f = net.bn(net.stem(x)).relu()
        return net.head(pooled((f + net.bn2(net.conv2(net.bn1(net.conv1(f)).relu()))).relu()))

    parts = {"conv1": conv(6, 5), "bn1": nn.BatchNorm2d(5), "conv2": conv(5, 6, bias=False), "bn2": nn.BatchNorm2d(6)}
    return Net(run, stem=conv(3, 6), bn=nn.BatchNorm2d(6), **parts, head=nn.Linear(6, 3))


def padded_shortcut() -> nn.Module:
    """Option A of the ResNets for CIFAR: every second pixel, between 2 channels of zeros on either side."""

    def run(net: Net, x: Tensor) -> Tensor:
        f = net.bn(net.stem(x)).relu()
        shortcut = F.pad(f[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        return net.head(pooled((shortcut + net.bn2(net.conv2(net.bn1(net.conv1(f)).relu()))).relu()))

    parts = {"conv1": conv(4, 8, stride=2), "bn1": nn.BatchNorm2d(8), "conv2": conv(8, 8), "bn2": nn.BatchNorm2d(8)}
    return Net(run, stem=conv(3, 4), bn=nn.BatchNorm2d(4), **parts, head=nn.Linear(8, 3))


def image_before_the_norm() -> nn.Module:
    """CoordConv: the channels of the raw image come first, and the normalisation runs over all."""
    run = lambda net, x: net.head(pooled(net.bn(torch.cat([x, net.conv(x)], 1)).relu()))  # noqa: E731
    return Net(run, conv=conv(3, 5), bn=nn.BatchNorm2d(8), head=nn.Linear(8, 3))


def two_heads() -> nn.Module:
    def run(net: Net, x: Tensor) -> Tensor:
        f = pooled(net.conv(x).relu())
        return torch.cat([net.boxes(f), net.scores(f)], 1)

    return Net(run, conv=conv(3, 6), boxes=nn.Linear(6, 4), scores=nn.Linear(6, 3))


def ends_in_a_sum() -> nn.Module:
    """What the stem gives reaches the output past the other two."""

    def run(net: Net, x: Tensor) -> Tensor:
        f = net.stem(x).relu()
        return pooled(f + net.conv2(net.conv1(f).relu()))

    return Net(run, stem=conv(3, 4), conv1=conv(4, 6), conv2=conv(6, 4))


EXCITED = rows([3], "conv", "bn", "excite")
ATTENDED = {**rows([1], "conv"), "expand.weight": [1]}
STREAM = {**rows([2], "stem", "bn", "bn2"), "conv2.weight": [2]}
SHORTCUT = {**rows([1], "stem", "bn"), **rows([3], "conv2", "bn2")}
SLICED = {**rows([1, 5], "conv"), **rows([1], "bn")}

PROBLEMS = {
    "one-channel-gate": Problem(one_channel_gate, IMAGE, "conv", rows([2], "conv", "bn"), 1 / 6, shrinks=True),
    "one-channel-gate-itself": Problem(one_channel_gate, IMAGE, "gate", rows([0], "gate"), 1, mixed=True),
    "gate-beside-its-map": Problem(gate_beside_its_map, IMAGE, "conv", rows([2], "conv"), 1 / 6, shrinks=True),
    "squeeze-excite-map": Problem(squeeze_and_excite, IMAGE, "conv", EXCITED, 1 / 8, shrinks=True),
    "squeeze-excite-excite": Problem(squeeze_and_excite, IMAGE, "excite", EXCITED, 1 / 8, shrinks=True),
    "squeeze-excite-squeeze": Problem(squeeze_and_excite, IMAGE, "squeeze", rows([1], "squeeze"), 1 / 3, shrinks=True),
    "cbam-map": Problem(cbam, IMAGE, "conv", ATTENDED, 1 / 6, mixed=True),
    "cbam-expand": Problem(cbam, IMAGE, "expand", ATTENDED, 1 / 6, mixed=True),
    "cbam-reduce": Problem(cbam, IMAGE, "reduce", {"reduce.weight": [0]}, 1 / 2, shrinks=True),
    "cbam-spatial": Problem(cbam, IMAGE, "spatial", rows([0], "spatial"), 1, mixed=True),
    "eca-map": Problem(eca, IMAGE, "conv", rows([4], "conv", "bn"), 1 / 6, mixed=True),
    "eca-itself": Problem(eca, IMAGE, "eca", {"eca.weight": [0]}, 1, mixed=True),
    "chunk": Problem(chunk_gate, IMAGE, "conv", rows([1, 5], "conv", "bn"), 1 / 4, shrinks=True),
    "glu": Problem(glu, SIX, "fc", rows([3, 8], "fc"), 1 / 5, shrinks=True),
    "split": Problem(split, IMAGE, "conv", {**rows([4], "conv"), **rows([1], "bn")}, 1 / 8),
    "split-added": Problem(split, IMAGE, "right", rows([3], "left", "right"), 1 / 4, shrinks=True),
    "slices-added": Problem(slices_added, IMAGE, "conv", SLICED, 1 / 4),
    "slices-swapped": Problem(slices_swapped, IMAGE, "conv", {**rows([1], "conv"), **rows([5], "bn")}, 1 / 8),
    "flipped": Problem(flipped, IMAGE, "one", {**rows([1], "one"), **rows([4], "other")}, 1 / 6, shrinks=True),
    "folded": Problem(folded, IMAGE, "conv", rows([1, 4], "conv"), 1 / 3, shrinks=True),
    "dense-first": Problem(dense, IMAGE, "one", rows([2], "one", "bn"), 1 / 4, shrinks=True),
    "dense-second": Problem(dense, IMAGE, "other", {**rows([1], "other"), **rows([5], "bn")}, 1 / 3, shrinks=True),
    "channel-shuffle": Problem(shuffled, IMAGE, "conv", {**rows([5], "conv"), **rows([3], "bn")}, 1 / 8),
    "pixel-shuffle": Problem(
        pixel_shuffle, IMAGE, "conv", {**rows([4, 5, 6, 7], "conv"), **rows([1], "bn")}, 1 / 4, shrinks=True
    ),
    "pixel-unshuffle": Problem(
        pixel_unshuffle, IMAGE, "conv", {**rows([1], "conv"), **rows([4, 5, 6, 7], "bn")}, 1 / 4, shrinks=True
    ),
    "linear-as-channels": Problem(
        linear_as_channels, SIX, "fc", {**rows([8, 9, 10, 11], "fc"), **rows([2], "bn")}, 1 / 4, shrinks=True
    ),
    "linear-as-four-channels": Problem(linear_as_four_channels, SIX, "fc", rows([4, 5, 6, 7], "fc"), 1 / 4),
    "residual-stem": Problem(residual, IMAGE, "stem", STREAM, 1 / 6, shrinks=True),
    "residual-branch": Problem(residual, IMAGE, "conv2", STREAM, 1 / 6, shrinks=True),
    "residual-inner": Problem(residual, IMAGE, "conv1", rows([0], "conv1", "bn1"), 1 / 5, shrinks=True),
    # 0.15 is one of the stem's 4 channels, and one of the 8 of what it is added to
    "padded-shortcut-stem": Problem(padded_shortcut, IMAGE, "stem", SHORTCUT, 0.15, shrinks=True),
    "padded-shortcut-branch": Problem(padded_shortcut, IMAGE, "conv2", SHORTCUT, 1 / 8, shrinks=True),
    "padded-shortcut-alone": Problem(padded_shortcut, IMAGE, "conv2", rows([7], "conv2", "bn2"), 1 / 8),
    "image-before-the-norm": Problem(
        image_before_the_norm, IMAGE, "conv", {**rows([2], "conv"), **rows([5], "bn")}, 1 / 5, shrinks=True
    ),
    "two-heads": Problem(two_heads, IMAGE, "boxes", rows([1], "boxes"), 1 / 4),
    "head": Problem(one_channel_gate, IMAGE, "head", rows([1], "head"), 1 / 4),
    "ends-in-a-sum": Problem(ends_in_a_sum, IMAGE, "stem", rows([1], "stem", "conv2"), 1 / 4),
    "ends-in-a-sum-inner": Problem(ends_in_a_sum, IMAGE, "conv1", rows([1], "conv1"), 1 / 6, shrinks=True),
    "two-heads-trunk": Problem(two_heads, IMAGE, "conv", rows([5], "conv"), 1 / 6, shrinks=True),
}


# further kinds of layers ---------------------------------------------------------------------------------------------


def transposed() -> nn.Module:
    run = lambda net, x: net.head(pooled(net.bn(net.up(net.conv(x).relu())).relu()))  # noqa: E731
    up = nn.ConvTranspose2d(6, 4, 2, stride=2)
    return Net(run, conv=conv(3, 6), up=up, bn=nn.BatchNorm2d(4), head=nn.Linear(4, 3))


def grouped(groups: int) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        run = lambda net, x: net.head(pooled(net.bn(net.grouped(net.conv(x).relu())).relu()))  # noqa: E731
        inner = conv(8, 8, groups=groups)
        return Net(run, conv=conv(3, 8), grouped=inner, bn=nn.BatchNorm2d(8), head=nn.Linear(8, 3))

    return build


def depthwise() -> nn.Module:
    """A depthwise convolution and a PReLU with a slope for each channel, behind a concatenation."""

    def run(net: Net, x: Tensor) -> Tensor:
        return net.head(pooled(net.prelu(net.bn(net.depthwise(torch.cat([net.one(x), net.other(x)], 1))))))

    parts = {"depthwise": conv(7, 7, groups=7, bias=False), "bn": nn.BatchNorm2d(7), "prelu": nn.PReLU(7)}
    return Net(run, one=conv(3, 3), other=conv(3, 4), **parts, head=nn.Linear(7, 3))


def layer_scale() -> nn.Module:
    """x + g · f(x), with a number for each channel, and one for all."""

    def run(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        return net.head(pooled((x + net.g * net.conv(x).relu() * net.strength).relu()))

    g, strength = nn.Parameter(torch.rand(6, 1, 1) + 0.5), nn.Parameter(torch.ones(()))
    return Net(run, stem=conv(3, 6), conv=conv(6, 6), g=g, strength=strength, head=nn.Linear(6, 3))


def raw_gate() -> nn.Module:
    """A gate and a shift along the channel; the gate's channel is its second dimension."""
    run = lambda net, x: net.head(pooled((net.conv(x) * net.g + net.shift).relu()))  # noqa: E731
    g, shift = nn.Parameter(torch.rand(1, 6, 1, 1) + 0.5), nn.Parameter(torch.rand(6, 1, 1) + 0.5)
    return Net(run, conv=conv(3, 6), g=g, shift=shift, head=nn.Linear(6, 3))


def normed(norm: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    run = lambda net, x: net.head(pooled(net.norm(net.conv(x)).relu()))  # noqa: E731
    return lambda: Net(run, conv=conv(3, 6), norm=norm(), head=nn.Linear(6, 3))


def mean_taken_off() -> nn.Module:
    def run(net: Net, x: Tensor) -> Tensor:
        f = net.conv(x)
        return net.head(pooled((f - f.mean(1, keepdim=True)).relu()))

    return Net(run, conv=conv(3, 6), head=nn.Linear(6, 3))


def softmax_over_channels() -> nn.Module:
    run = lambda net, x: net.head(pooled(net.conv(x).softmax(1)))  # noqa: E731
    return Net(run, conv=conv(3, 6), head=nn.Linear(6, 3))


def norm_of_tokens() -> nn.Module:
    run = lambda net, x: net.head(net.norm(net.embed(x)).relu().mean(1))  # noqa: E731
    return Net(run, embed=nn.Linear(5, 6), norm=nn.LayerNorm(6), head=nn.Linear(6, 3))


def positions() -> nn.Module:
    """Tokens with an embedding of their place; a token of its own stands before them."""

    def run(net: Net, x: Tensor) -> Tensor:
        tokens = torch.cat([net.own.expand(len(x), 1, 6), net.embed(x)], 1) + net.places
        return net.head(net.fc(tokens.relu()).relu()[:, 0])

    parts = {"own": nn.Parameter(torch.rand(1, 1, 6)), "places": nn.Parameter(torch.rand(1, 5, 6))}
    return Net(run, embed=nn.Linear(5, 6), **parts, fc=nn.Linear(6, 7), head=nn.Linear(7, 3))


def multihead() -> nn.Module:
    def run(net: Net, x: Tensor) -> Tensor:
        x = net.embed(x)
        return net.head((x + net.attention(x, x, x, need_weights=False)[0]).relu().mean(1))

    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    return Net(run, embed=nn.Linear(5, 8), attention=attention, head=nn.Linear(8, 3))


def heads(x: Tensor) -> Tensor:
    """(n, tokens, 8) → (n, 2 heads, tokens, 4)."""
    return x.unflatten(2, (2, 4)).transpose(1, 2)


def fused_attention() -> nn.Module:
    def run(net: Net, x: Tensor) -> Tensor:
        x = net.embed(x)
        q, k, v = (heads(part) for part in net.qkv(x).chunk(3, 2))
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return net.head((x + net.proj(attended)).relu().mean(1))

    parts = {"qkv": nn.Linear(8, 24), "proj": nn.Linear(8, 8)}
    return Net(run, embed=nn.Linear(5, 8), **parts, head=nn.Linear(8, 3))


def separate_attention() -> nn.Module:
    def run(net: Net, x: Tensor) -> Tensor:
        x = net.embed(x)
        q, k, v = (heads(layer(x)) for layer in (net.query, net.key, net.value))
        attended = ((q @ k.transpose(2, 3) / 2).softmax(3) @ v).transpose(1, 2).flatten(2)
        return net.head((x + net.proj(attended)).relu().mean(1))

    parts = {name: nn.Linear(8, 8) for name in ("query", "key", "value", "proj")}
    return Net(run, embed=nn.Linear(5, 8), **parts, head=nn.Linear(8, 3))


def two_inputs() -> nn.Module:
    run = lambda net, left, right: net.head((net.one(left) + net.other(right)).relu())  # noqa: E731
    return Net(run, one=nn.Linear(4, 6), other=nn.Linear(5, 6), head=nn.Linear(6, 3))


def two_named_inputs() -> nn.Module:
    def run(net: Net, *, image: Tensor, features: Tensor) -> Tensor:
        return net.head(net.bn(torch.cat([pooled(net.conv(image)), net.fc(features)], 1)).relu())

    return Net(run, conv=conv(3, 4), fc=nn.Linear(5, 3), bn=nn.BatchNorm1d(7), head=nn.Linear(7, 3))


def two_outputs() -> nn.Module:
    def run(net: Net, x: Tensor) -> dict[str, Tensor]:
        f = pooled(net.conv(x).relu())
        return {"boxes": net.boxes(f), "scores": net.scores(f)}

    return Net(run, conv=conv(3, 6), boxes=nn.Linear(6, 4), scores=nn.Linear(6, 3))


def recurrent() -> nn.Module:
    run = lambda net, x: net.head(net.lstm(net.embed(x).relu())[0][:, -1])  # noqa: E731
    return Net(run, embed=nn.Linear(5, 6), lstm=nn.LSTM(6, 7, batch_first=True), head=nn.Linear(7, 3))


def one_dimension() -> nn.Module:
    run = lambda net, x: net.head(net.bn(net.conv(x)).relu().flatten(1))  # noqa: E731
    return Net(run, conv=nn.Conv1d(3, 5, 3), bn=nn.BatchNorm1d(5), head=nn.Linear(30, 2))


def called_twice() -> nn.Module:
    """The same layer behind two others, which are not combined by it."""
    run = lambda net, x: net.head(net.shared(net.one(x).relu()).relu() + net.shared(net.other(x).relu()))  # noqa: E731
    parts = {name: nn.Linear(6, 5) for name in ("one", "other")}
    return Net(run, **parts, shared=nn.Linear(5, 4), head=nn.Linear(4, 3))


def head_first() -> nn.Module:
    run = lambda net, x: net.head(net.fc(pooled(net.conv(x).relu())).relu())  # noqa: E731
    return Net(run, head=nn.Linear(5, 3), conv=conv(3, 6), fc=nn.Linear(6, 5))


def a_pair() -> Example:
    return torch.randn(2, 4), torch.randn(2, 5)


def by_name() -> Example:
    return {"image": torch.randn(2, 3, 8, 8), "features": torch.randn(2, 5)}


def instance_norm() -> nn.Module:
    return nn.InstanceNorm2d(6)


LATER = {**rows([1], "other"), "depthwise.weight": [4], **rows([4], "bn"), "prelu.weight": [4]}
SCALED = {**rows([2], "stem", "conv"), "g": [2]}
GATED = {**rows([2], "conv"), "g": (0, 2), "shift": [2]}
PLACED = {**rows([2], "embed"), "own": (..., 2), "places": (..., 2)}
OUT = rows([3], "embed", "attention.out_proj")
PROJECTED = rows([3], "embed", "proj")

MORE = {
    "before-transposed": Problem(transposed, IMAGE, "conv", rows([2], "conv"), 1 / 6),
    "transposed": Problem(
        transposed,
        IMAGE,
        "up",
        {"up.weight": (slice(None), 1), "up.bias": [1], **rows([1], "bn")},
        1 / 4,
        refusable=True,
        probed=False,
    ),
    # each group loses equally many: of 2 groups one of four each, of 4 groups one of two each
    "before-2-groups": Problem(grouped(2), IMAGE, "conv", rows([3, 6], "conv"), 1 / 4, shrinks=True),
    "2-groups": Problem(grouped(2), IMAGE, "grouped", rows([1, 5], "grouped", "bn"), 1 / 4, shrinks=True),
    "before-4-groups": Problem(grouped(4), IMAGE, "conv", rows([1, 3, 4, 6], "conv"), 1 / 2, shrinks=True),
    "4-groups": Problem(grouped(4), IMAGE, "grouped", rows([0, 3, 5, 6], "grouped", "bn"), 1 / 2, shrinks=True),
    # 0.16 is one of the 4 channels, and one of the 7 that the depthwise convolution sees
    "before-depthwise": Problem(depthwise, IMAGE, "other", LATER, 0.16, shrinks=True),
    "depthwise": Problem(depthwise, IMAGE, "depthwise", LATER, 1 / 7, shrinks=True, probed=False),
    "layer-scale": Problem(layer_scale, IMAGE, "conv", SCALED, 1 / 6),
    "raw-gate": Problem(raw_gate, IMAGE, "conv", GATED, 1 / 6),
    "group-norm-of-one": Problem(normed(lambda: nn.GroupNorm(6, 6)), IMAGE, "conv", rows([2], "conv", "norm"), 1 / 6),
    "group-norm-of-three": Problem(
        normed(lambda: nn.GroupNorm(2, 6)),
        IMAGE,
        "conv",
        rows([2], "conv"),
        1 / 6,
        optional=rows([2], "norm"),
        mixed=True,
    ),
    "instance-norm": Problem(normed(instance_norm), IMAGE, "conv", rows([2], "conv"), 1 / 6, shrinks=True),
    "batch-norm-without-scale": Problem(
        normed(lambda: nn.BatchNorm2d(6, affine=False)),
        IMAGE,
        "conv",
        rows([2], "conv"),
        1 / 6,
        mixed=True,
        refusable=True,
    ),
    "mean-over-channels": Problem(mean_taken_off, IMAGE, "conv", rows([2], "conv"), 1 / 6, mixed=True),
    "softmax-over-channels": Problem(softmax_over_channels, IMAGE, "conv", rows([2], "conv"), 1 / 6, mixed=True),
    "layer-norm": Problem(
        norm_of_tokens, TOKENS, "embed", rows([2], "embed"), 1 / 6, optional=rows([2], "norm"), mixed=True
    ),
    "positions": Problem(positions, TOKENS, "embed", PLACED, 1 / 6),
    "multihead-before": Problem(multihead, TOKENS, "embed", OUT, 1 / 8, refusable=True, probed=False),
    "multihead-out": Problem(multihead, TOKENS, "attention.out_proj", OUT, 1 / 8, refusable=True, probed=False),
    "fused-attention-value": Problem(fused_attention, TOKENS, "qkv", rows([17], "qkv"), 1 / 24),
    "fused-attention-query": Problem(
        fused_attention, TOKENS, "qkv", rows([1], "qkv"), 1 / 24, optional=rows([9], "qkv"), mixed=True
    ),
    "fused-attention-out": Problem(fused_attention, TOKENS, "proj", PROJECTED, 1 / 8, shrinks=True),
    "separate-attention-value": Problem(separate_attention, TOKENS, "value", rows([5], "value"), 1 / 8),
    "separate-attention-key": Problem(
        separate_attention, TOKENS, "key", rows([1], "key"), 1 / 8, optional=rows([1], "query"), mixed=True
    ),
    "separate-attention-before": Problem(separate_attention, TOKENS, "embed", PROJECTED, 1 / 8, shrinks=True),
    "two-inputs": Problem(two_inputs, a_pair, "one", rows([1], "one", "other"), 1 / 6, shrinks=True),
    "two-named-inputs": Problem(
        two_named_inputs, by_name, "fc", {**rows([2], "fc"), **rows([6], "bn")}, 1 / 3, shrinks=True
    ),
    "two-outputs": Problem(two_outputs, IMAGE, "conv", rows([5], "conv"), 1 / 6),
    "lstm": Problem(recurrent, TOKENS, "embed", rows([2], "embed"), 1 / 6, refusable=True, probed=False),
    "one-dimension": Problem(one_dimension, (2, 3, 8), "conv", rows([3], "conv", "bn"), 1 / 5, shrinks=True),
    "called-twice": Problem(called_twice, SIX, "shared", rows([2], "shared"), 1 / 4, shrinks=True),
    "head-first": Problem(head_first, IMAGE, "fc", rows([2], "fc"), 1 / 5, shrinks=True),
}


# networks that are unusual as objects --------------------------------------------------------------------------------


def plain() -> nn.Sequential:
    parts = (conv(3, 6), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(6, 3))
    return nn.Sequential(*parts)


def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it is deprecated, and still in use
        return torch.jit.script(plain().eval())


def compiled() -> nn.Module:
    return torch.compile(plain(), backend="eager")


def without_gradients() -> nn.Module:
    class Inference(nn.Sequential):
        @torch.no_grad()
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    return Inference(*plain())


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.LazyLinear(3))


def holding_a_result() -> nn.Module:
    """It keeps tensors that autograd made, which `copy.deepcopy` refuses."""
    model = plain()
    model.result = model[5].weight * 2
    model.features = {"first": [model[5].weight * 3]}
    return model


def tied() -> nn.Module:
    """An autoencoder whose two inner layers are one weight."""
    run = lambda net, x: net.head(net.decoder(net.encoder(x).relu()).relu())  # noqa: E731
    net = Net(run, encoder=nn.Linear(6, 6), decoder=nn.Linear(6, 6), head=nn.Linear(6, 3))
    net.decoder.weight = net.encoder.weight
    return net


def in_a_circle() -> nn.Module:
    """A layer that is fed what it has made."""
    run = lambda net, x: net.head(net.fc(net.fc(x).relu()).relu())  # noqa: E731
    return Net(run, fc=nn.Linear(6, 6), head=nn.Linear(6, 3))


PLAIN = rows([2], "0", "1")

ODD = {
    "compiled": Problem(compiled, IMAGE, "conv1", {f"_orig_mod.{name}": which for name, which in PLAIN.items()}, 1 / 6),
    "without-gradients": Problem(without_gradients, IMAGE, "conv1", PLAIN, 1 / 6),
    "holding-a-result": Problem(holding_a_result, IMAGE, "conv1", PLAIN, 1 / 6),
}
"""Those with a mask. `compiled` has its parameters' names with a prefix, as torch gives them."""

SOUND = {
    "scripted": (scripted, IMAGE),
    "lazy": (lazy, IMAGE),
    "tied": (tied, SIX),
    "in-a-circle": (in_a_circle, SIX),
}
"""Networks, and the shape of their input, for which a refusal is as right as a mask and a shrunk network that agree."""
