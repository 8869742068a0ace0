"""Random small networks, and what goes together in them, which is known from how each was built."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from hypothesis import assume
from hypothesis import strategies as st
from scipy.cluster.hierarchy import DisjointSet
from torch import Tensor, nn

Source = tuple[str, int] | None
"""What a channel is 0 without: an output of a layer, by the layer's name; None if it is not, as of the image."""

ZERO = ("zero", 0)
"""The source of a channel of zeros."""

WIDEST = 12


class Graph(nn.Module):
    """Operations one after the other on maps (n, channels, 4, 4); the maps that nothing uses go to the head."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[str, str, tuple[int, ...], int]] = []  # the operation, its name, its maps, a number
        self.parts, self.scales = nn.ModuleDict(), nn.ParameterDict()
        self.head: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        maps, used = [x], {0}
        for operation, name, sources, number in self.steps:
            inputs = [maps[source] for source in sources]
            maps += self.step(operation, name, number, *inputs)
            used |= set(sources)
        return self.head(torch.cat([one for index, one in enumerate(maps) if index not in used], 1)).mean((2, 3))

    def step(self, operation: str, name: str, number: int, x: Tensor, *more: Tensor) -> list[Tensor]:
        n, c, h, w = x.shape
        match operation:
            case "convolution" | "groups" | "depthwise" | "norm" | "prelu":
                return [self.parts[name](x)]
            case "linear":
                return [self.parts[name](x.mean((2, 3))).view(n, -1, 4, 4)]
            case "gate":
                return [x * self.parts[name](x).sigmoid()]
            case "excite":
                return [x * self.parts[name](x.mean((2, 3))).sigmoid()[:, :, None, None]]
            case "scale":
                return [x * self.scales[name]]
            case "relu":
                return [x.relu()]
            case "add":
                return [x + more[0]]
            case "multiply":
                return [x * more[0]]
            case "join":
                return [torch.cat([x, *more], 1)]
            case "chunk":
                return list(x.chunk(2, 1))
            case "slice":
                return [x[:, number:]]
            case "flip":
                return [x.flip(1)]
            case "shuffle":
                return [x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)]
            case "pixels":
                return [F.avg_pool2d(F.pixel_shuffle(x, 2), 2)]
            case "pad":
                return [F.pad(x, (0, 0, 0, 0, 1, 1))]
        raise AssertionError(operation)


@dataclass(repr=False)
class Built:
    """A network while it is built, with what is known of it.

    - `maps`: the source of each channel of each map.
    - `together`: which sources are combined elementwise, so that they go together.
    - `along`: the source of each index of a parameter's first dimension.
    - `layers`: the number of outputs of each layer but the head, by its module name. Depthwise convolutions are none.
    - `gated`: the maps that are multiplied by a single channel.
    """

    model: Graph = field(default_factory=Graph)
    maps: list[list[Source]] = field(default_factory=lambda: [[None] * 3])
    together: DisjointSet = field(default_factory=DisjointSet)
    along: dict[str, list[Source]] = field(default_factory=dict)
    layers: dict[str, int] = field(default_factory=dict)
    gated: list[list[Source]] = field(default_factory=list)

    def __repr__(self) -> str:
        """The operations in their order, with the numbers of the maps that they read, and each map's channels."""
        steps = ", ".join(f"{name}{list(sources)}" for _, name, sources, _ in self.model.steps)
        return f"<{steps}; maps of {[len(sources) for sources in self.maps]} channels>"

    def layer(self, name: str, module: nn.Module, outputs: int) -> list[Source]:
        """Add a layer, and return the sources that its outputs are."""
        full = f"parts.{name}"
        sources: list[Source] = [(full, index) for index in range(outputs)]
        self.layers[full] = outputs
        for source in sources:
            self.together.add(source)
        self.part(name, module, sources)
        return sources

    def part(self, name: str, module: nn.Module, sources: list[Source]) -> None:
        self.model.parts[name] = module
        for kind, _ in module.named_parameters():
            self.along[f"parts.{name}.{kind}"] = sources

    def goes(self, source: Source) -> tuple[str, int]:
        """One source that stands for all that go with this one. A channel that stays is its own."""
        if source not in self.together:
            return "stays", 0
        root: tuple[str, int] = self.together[source]
        return root

    def apart(self, sources: list[Source]) -> bool:
        """Whether each channel is of a layer, and no two of them go together."""
        return all(source in self.together for source in sources) and len(set(map(self.goes, sources))) == len(sources)

    def merge(self, one: list[Source], other: list[Source]) -> list[Source]:
        for first, second in zip(one, other, strict=True):
            if first in self.together and second in self.together:
                self.together.merge(first, second)
        return [second if first == ZERO else first for first, second in zip(one, other, strict=True)]

    def addable(self, one: list[Source], other: list[Source]) -> bool:
        """Not with what stays, and no channel twice: what goes together would then be a matter of opinion."""
        real = [[source for source in sources if source != ZERO] for sources in (one, other)]
        return len(one) == len(other) and all(map(self.apart, real))

    def mask(self, sources: set[Source]) -> dict[str, list[int]]:
        """The indices of each parameter that are masked when these sources, and all that go with them, go."""
        gone = {self.goes(source) for source in sources}
        found = {
            name: [i for i, one in enumerate(along) if self.goes(one) in gone] for name, along in self.along.items()
        }
        return {name: indices for name, indices in found.items() if indices}

    def group(self, layer: str) -> set[str]:
        """The layer, and all that are coupled with it, directly or by others."""
        groups = DisjointSet(self.layers)
        for first, *others in self.together.subsets():
            for other in others:
                groups.merge(first[0], other[0])
        return groups.subset(layer)

    def grains(self, layers: set[str]) -> int:
        """How many things these layers can lose."""
        return len({self.goes((layer, index)) for layer in layers for index in range(self.layers[layer])})


def operations(built: Built, sources: list[Source]) -> list[str]:
    """What can be done to one map."""
    count = len(sources)
    own = all(source in built.together for source in sources)
    conditions = {
        "convolution": True,
        "groups": count % 2 == 0 and count >= 4,
        "linear": True,
        "depthwise": own and count > 1,
        "norm": True,
        "prelu": count > 1,  # one slope might as well be that of all channels
        "scale": True,
        "relu": True,
        "gate": count > 1,
        "excite": built.apart(sources),
        "add": any(built.addable(sources, other) for other in built.maps),
        "multiply": built.apart(sources) and any(built.addable(sources, other) for other in built.maps),
        "join": True,
        "chunk": count % 2 == 0,
        "slice": count > 1,
        "flip": True,
        "shuffle": count % 2 == 0,
        "pixels": count % 4 == 0 and built.apart(sources),
        "pad": count + 2 <= WIDEST,
    }
    return [name for name, possible in conditions.items() if possible]


def do(built: Built, draw: st.DrawFn, operation: str, index: int) -> None:
    """Draw the details of an operation on a map, and add it to the network."""
    name = f"{operation}{len(built.model.steps)}"
    sources, inputs, number = built.maps[index], [index], 0
    count = len(sources)
    results = [sources]
    match operation:
        case "convolution":
            outputs = draw(st.integers(1, 6))
            results = [built.layer(name, nn.Conv2d(count, outputs, 3, padding=1), outputs)]
        case "groups":
            results = [built.layer(name, nn.Conv2d(count, 4, 1, groups=2), 4)]
        case "linear":
            channels = draw(st.integers(2, 3))  # one channel of 16 neurons might as well be their sum
            neurons = built.layer(name, nn.Linear(count, 16 * channels), 16 * channels)
            for neuron in range(16 * channels):
                built.together.merge(neurons[neuron], neurons[neuron - neuron % 16])
            results = [neurons[::16]]
        case "gate":
            built.layer(name, nn.Conv2d(count, 1, 1), 1)
            built.gated.append(sources)
        case "excite":
            built.merge(sources, built.layer(name, nn.Linear(count, count), count))
        case "depthwise":
            built.part(name, nn.Conv2d(count, count, 3, padding=1, groups=count), sources)
        case "norm":
            built.part(name, nn.BatchNorm2d(count), sources)
        case "prelu":
            built.part(name, nn.PReLU(count), sources)
        case "scale":
            built.model.scales[name] = nn.Parameter(torch.rand(count, 1, 1, dtype=torch.float64) + 0.5)
            built.along[f"scales.{name}"] = sources
        case "add" | "multiply":
            fitting = [i for i, other in enumerate(built.maps) if built.addable(sources, other)]
            if operation == "multiply":
                fitting = [i for i in fitting if built.apart(built.maps[i])]
            inputs.append(draw(st.sampled_from(fitting)))
            results = [built.merge(sources, built.maps[inputs[1]])]
        case "join":
            fitting = [i for i, other in enumerate(built.maps) if count + len(other) <= WIDEST]
            assume(fitting)
            inputs.append(draw(st.sampled_from(fitting)))
            results = [sources + built.maps[inputs[1]]]
        case "chunk":
            results = [sources[: count // 2], sources[count // 2 :]]
        case "slice":
            number = draw(st.integers(1, count - 1))
            results = [sources[number:]]
        case "flip":
            results = [sources[::-1]]
        case "shuffle":
            results = [[sources[half * count // 2 + place] for place in range(count // 2) for half in range(2)]]
        case "pixels":
            for place in range(count):
                built.together.merge(sources[place], sources[place - place % 4])
            results = [sources[::4]]
        case "pad":
            results = [[ZERO, *sources, ZERO]]
    if operation == "norm":  # its shift
        results = [[None if source == ZERO else source for source in sources]]
    built.model.steps.append((operation, name, tuple(inputs), number))
    built.maps += results


@st.composite
def graphs(draw: st.DrawFn) -> Built:
    """A network in float64 and evaluation mode of a convolution, 3 to 7 operations and a head."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = Built()
        do(built, draw, "convolution", 0)
        for _ in range(draw(st.integers(3, 7))):
            index = draw(st.integers(0, len(built.maps) - 1))
            do(built, draw, draw(st.sampled_from(operations(built, built.maps[index]))), index)
        used = {source for _, _, sources, _ in built.model.steps for source in sources}
        channels = sum(len(sources) for index, sources in enumerate(built.maps) if index not in used)
        built.model.head = nn.Conv2d(channels, 3, 1)
        for module in built.model.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight.data, module.bias.data, module.running_var):
                    tensor.uniform_(0.5, 1.5)
    # a gate of channels that all go together, even if they do so only later, would go with them
    assume(all(len(set(map(built.goes, sources))) > 1 for sources in built.gated))
    built.model.double().eval()
    return built
