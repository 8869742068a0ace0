"""Criteria: pure functions that score every grain of a layer; the grains with the lowest scores go first."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from types import EllipsisType
from typing import TYPE_CHECKING

from sparsify.errors import SparsifyError
from sparsify.optim.papers import FU_2020, LIU_2017
from sparsify.optim.registry import OPTIMIZERS
from sparsify.optim.spec import OptimizerSpec
from sparsify.pruning import papers
from sparsify.publications import Publication

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Need:
    """A property that a criterion needs of the optimizer that a run was trained with; `name` puts it in words."""

    name: str
    met: Callable[[OptimizerSpec], bool]

    @property
    def optimizers(self) -> list[str]:
        """The names of the optimizers that have it."""
        return [name for name, spec in OPTIMIZERS.items() if self.met(spec)]


PATH = Need("a path", lambda spec: spec.selects)
SPLIT_PATH = Need("a path with a Γ", lambda spec: spec.selects and spec.couples)


@dataclass(frozen=True)
class PathState:
    """The path of one layer: entry steps, (grains,), or (outputs, inputs) of weights or kernels; Γ, Z as the weight.

    `per_epoch` is the number of steps of an epoch, where it is known.
    """

    entry: Tensor
    gamma: Tensor | None = None
    z: Tensor | None = None
    per_epoch: int | None = None


@dataclass(frozen=True)
class Scored:
    """All that a criterion may use of one layer: its weight (outputs, inputs, …), grain, path if any, and more.

    A weight in half precision is taken in float32.
    """

    name: str
    weight: Tensor
    grain: str
    generator: torch.Generator
    path: PathState | None = None
    scale: Callable[[], Tensor | None] = lambda: None  # γ of the normalisation behind the layer, (outputs,)
    gradient: Callable[[], Tensor | None] = lambda: None  # of the mean training loss, of the weight's shape
    fisher: Callable[[], Tensor | None] = lambda: None  # the mean squared gradient of an image's loss, of that shape
    left: Tensor | EllipsisType = ...  # which grains are left; by default all
    lacking: Callable[[], Collection[str]] = tuple  # the criteria that need what there is not, by their names

    def __post_init__(self) -> None:
        if self.weight.dtype.itemsize < 4:  # half precision: norms would overflow or tie, and torch has no distances
            object.__setattr__(self, "weight", self.weight.float())

    def norms(self, tensor: Tensor, order: float = 2) -> Tensor:
        """Return the L`order` norm of each grain of `tensor`: (outputs,), or |tensor| if grains are single weights."""
        from sparsify.optim.penalties import filter_norms

        if self.grain == "weight":
            return tensor.abs()
        return filter_norms(tensor) if order == 2 else tensor.flatten(1).norm(order, dim=1)

    def require_path(self, criterion: str) -> PathState:
        """Return the path. Raises SparsifyError if there is none."""
        if self.path is None:
            selecting = ", ".join(PATH.optimizers)
            needs = f"the path of a run trained with one of {selecting}; this one has none for {self.name}"
            raise _refusal(self, criterion, needs, about="path")
        return self.path

    def require_split(self) -> tuple[Tensor, Tensor]:
        """Return Γ and Z. Raises SparsifyError if there are none."""
        if self.path is None or self.path.gamma is None or self.path.z is None:
            splitting = ", ".join(SPLIT_PATH.optimizers)
            needs = f"Γ and Z of a run trained with one of {splitting}; this one has none for {self.name}"
            raise _refusal(self, "gamma", needs, about="path")
        return self.path.gamma, self.path.z


def _refusal(layer: Scored, criterion: str, needs: str, *, about: str = "criterion") -> SparsifyError:
    """Return the error for a criterion that lacks what it needs, with the others that lack nothing."""
    others = ", ".join(name for name in CRITERIA if name not in (criterion, *layer.lacking()))
    return SparsifyError(f"criterion '{criterion}' needs {needs}; choose from: {others}", about=about)


def lexicographic(first: Tensor, second: Tensor) -> Tensor:
    """Combine two float32 of each grain into one int64, which is ordered by `first`, then by `second`.

    It is an int64 because a float64 cannot hold two float32, and not a rank because ranks only order a single layer.
    """
    return (_ordered_bits(first) << 32) + _ordered_bits(second)


def _ordered_bits(values: Tensor) -> Tensor:
    """Return the bits of each float32 as an int64 between −2^31 and 2^31, in the order of the values."""
    import torch

    bits = (values.float() + 0.0).view(torch.int32).long()  # −0 becomes 0
    return torch.where(bits < 0, -(2**31) - bits, bits)  # the bits of negative numbers grow with their size


def _wide(values: Tensor) -> Tensor:
    """Return float64 if the device has it: in float32, squares of small weights vanish and long sums lose digits."""
    from sparsify.devices import widest

    return values.to(widest(values.device))


def _running_sums(values: Tensor) -> Tensor:
    """Return the sums of the first 1, 2, …, n values, added on the CPU: a GPU adds them in another order each time."""
    return values.cpu().cumsum(0).to(values.device)


def magnitude(layer: Scored) -> Tensor:
    """‖W_i‖₂ of a filter or neuron, |w| of a weight."""
    return layer.norms(layer.weight)


def l1(layer: Scored) -> Tensor:
    """‖W_i‖₁ of a filter or neuron (Li et al. 2017), |w| of a weight."""
    return layer.norms(layer.weight, 1)


def entry(layer: Scored) -> Tensor:
    """−(the step at which the grain first entered the support), then ‖W_i‖₂: what entered earlier stays longer.

    The first entry counts, even if a grain has left the support since. A neuron enters with its first weight, a filter
    whose kernels are selected with its first kernel; a single weight of a convolution enters with its filter or kernel.
    The authors' own order, `entry_norm`, counts epochs and norms.
    """
    steps = _first_entry(layer, layer.require_path("entry"))
    return lexicographic(-steps, layer.norms(layer.weight))


NEVER = 2000
"""The epoch at which a grain that never entered counts as entering, in `entry_norm`."""


def entry_norm(layer: Scored) -> Tensor:
    """‖W_i‖₂ − e_i, where e_i is the epoch, counted from 0, in which the grain first entered: DessiLBI's own order.

    It is the `prune_order` of the code that Fu et al. published with "DessiLBI: Exploring Structural Sparsity of Deep
    Networks via Differential Inclusion Paths" (ICML 2020; github.com/corwinliu9669/dS2LBI, `update_prune_order`). A
    grain that never entered has e_i = 2000, as there, so that it goes before all others, by its norm. Among grains of
    one epoch the norm decides, and a norm that is larger by 1 makes up for an epoch; `entry` compares single steps
    first. Two things differ. There, Γ is looked at after each epoch only: a grain that enters and leaves within one
    epoch enters later or never. And what never entered has its norm rounded to 0.0001, because float32 holds
    ‖W_i‖ − 2000 no better; here it is float64, so that small norms do not tie.

    Neurons, and single weights of a convolution, enter as in `entry`. Raises SparsifyError if there is no path, or if
    it does not say how many steps an epoch had.
    """
    import torch

    path = layer.require_path("entry-norm")
    if path.per_epoch is None:
        raise _refusal(
            layer, "entry-norm", f"the number of steps of an epoch, and the path of {layer.name} has none", about="path"
        )
    epochs = (torch.ceil(_first_entry(layer, path) / path.per_epoch) - 1).clamp(0, NEVER)
    return _wide(layer.norms(layer.weight)) - _wide(epochs)


def _first_entry(layer: Scored, path: PathState) -> Tensor:
    """Return the step at which each grain of the layer first entered."""
    steps = path.entry
    if layer.grain != "weight" and steps.ndim > 1:  # those of kernels or of single weights
        steps = steps.flatten(1).amin(1)
    return _of_each_grain(layer, steps)


def in_support(layer: Scored) -> Tensor:
    """Whether each grain is in the support at the end: Γ_i ≠ 0, or, if the optimizer has no Γ, W_i ≠ 0.

    A neuron is if any of its weights is. Raises SparsifyError if there is no path.
    """
    if layer.path is None:
        selecting = ", ".join(PATH.optimizers)
        raise SparsifyError(
            f"ratio 'support' needs the path of a run trained with one of {selecting}; this one has none for "
            f"{layer.name}, so leave it out of --ratios"
        )
    sparse = layer.weight if layer.path.gamma is None else _of_each_grain(layer, layer.path.gamma)
    return layer.norms(sparse) > 0


def gamma(layer: Scored) -> Tensor:
    """‖Γ_i‖, then ‖Z_i‖, because most of Γ is 0.

    If filters are selected by the scales behind them, a single weight of a filter has the values of the filter's scale.
    """
    gamma, z = (_of_each_grain(layer, tensor) for tensor in layer.require_split())
    return lexicographic(layer.norms(gamma), layer.norms(z))


def _of_each_grain(layer: Scored, values: Tensor) -> Tensor:
    """Return one value for each grain: of a single weight that of its filter or kernel, if the values are of these."""
    if layer.grain == "weight" and values.ndim < layer.weight.ndim:
        return values.view(*values.shape, *[1] * (layer.weight.ndim - values.ndim)).expand(layer.weight.shape)
    return values


def bn_scale(layer: Scored) -> Tensor:
    """|γ_i| of the BatchNorm behind a filter or neuron (Liu et al. 2017), |w| of a weight, which has no own scale.

    Raises SparsifyError if there is no normalisation with a scale behind the layer.
    """
    if layer.grain == "weight":
        return layer.weight.abs()
    scale = layer.scale()
    if scale is None:
        raise _refusal(layer, "bn-scale", f"a normalisation with a scale behind {layer.name}, and there is none")
    return scale.abs()


def taylor(layer: Scored) -> Tensor:
    """|Σ g·w| over a filter or neuron, |g·w| of a weight: how much, to first order, its removal changes the loss.

    g is the gradient of the mean cross-entropy on training images. This is the square root of the group contribution
    (Σ g·w)² of Molchanov et al. (2019): the order within and across layers is the same, but the root does not vanish in
    float32. Raises SparsifyError if there is no gradient.
    """
    gradient = layer.gradient()
    if gradient is None:
        raise _refusal(
            layer, "taylor", f"gradients on training images with labels, and there are none for {layer.name}"
        )
    change = layer.weight * gradient
    return change.abs() if layer.grain == "weight" else change.flatten(1).sum(1).abs()


def obd(layer: Scored) -> Tensor:
    """½·h·w² of a weight, Σ ½·h·w² of a filter or neuron: optimal brain damage (LeCun, Denker & Solla 1990).

    That is how much, to second order, a removal changes the loss at a minimum, if the Hessian is diagonal. h is here
    the diagonal of the empirical Fisher matrix: the mean over training images of the squared gradient of each image's
    own loss, not the square of a batch's gradient. LeCun et al. get h by a backward pass of second derivatives that
    leaves out those of the activations, as Gauss and Newton do; with the cross-entropy, the Fisher matrix of labels
    that the network itself would draw is the Gauss-Newton matrix. Raises SparsifyError if there are no gradients.
    """
    fisher = layer.fisher()
    if fisher is None:
        raise _refusal(layer, "obd", f"gradients on training images with labels, and there are none for {layer.name}")
    damage = _wide(layer.weight).square() * _wide(fisher) / 2
    return damage if layer.grain == "weight" else damage.flatten(1).sum(1)


def fpgm(layer: Scored) -> Tensor:
    """Σ_j ‖W_i − W_j‖₂ over the layer's grains j that are left (He et al. 2019): those near the median go first."""
    import torch

    if layer.grain != "weight":
        rows = layer.weight.flatten(1)
        # without matrix products, with which the distance of equal filters is not exactly 0
        return torch.cdist(rows, rows[layer.left], compute_mode="donot_use_mm_for_euclid_dist").sum(1)
    # Σ_j |w_i − w_j| without n² distances: the k-th smallest exceeds k weights, itself among them, and n − k exceed it
    values, order = _wide(layer.weight[layer.left].flatten()).sort(stable=True)
    above, total = _running_sums(values), values.sum()
    rank = torch.arange(1, len(values) + 1, device=values.device)
    distances = torch.empty_like(values)
    distances[order] = (2 * rank - len(values)) * values + total - 2 * above
    scores = torch.zeros(layer.weight.shape, dtype=values.dtype, device=values.device)
    scores[layer.left] = distances.view_as(scores[layer.left])
    return scores


def lamp(layer: Scored) -> Tensor:
    """‖W_i‖² / Σ ‖W_j‖² over the layer's grains j that do not go before i (Lee et al. 2021, for single weights).

    Within a layer the order is that of `magnitude`. The largest grain of every layer has the score 1, so that with
    scope "global" a layer loses its last grain only when all others of the set are gone.
    """
    import torch

    norms = layer.norms(layer.weight)
    squares, order = _wide(norms.flatten()).square().sort(stable=True)
    not_smaller = _running_sums(squares.flip(0)).flip(0)
    scores = torch.empty_like(squares)
    scores[order] = squares / not_smaller.clamp_min(torch.finfo(squares.dtype).tiny)  # 0 in a layer of zeros
    return scores.view(norms.shape)


def random(layer: Scored) -> Tensor:
    """Random numbers, keyed by (seed, draw, layer)."""
    import torch

    shape = layer.weight.shape if layer.grain == "weight" else layer.weight.shape[:1]
    return torch.rand(shape, generator=layer.generator).to(layer.weight.device)


@dataclass(frozen=True)
class Criterion:
    """One criterion: its function, what it was published as, and what it needs of a run's optimizer.

    `score` gives one number for each grain: (outputs,), or the weight's shape where the grain is a single weight.
    `gradients` says that it needs those of a loss on training images.
    """

    score: Callable[[Scored], Tensor]
    papers: tuple[Publication, ...] = ()
    needs: Need | None = None
    gradients: bool = False

    @property
    def published(self) -> int | None:
        """The year of its publication; None if there is none."""
        return self.papers[0].year if self.papers else None


CRITERIA: dict[str, Criterion] = {
    "magnitude": Criterion(magnitude, (papers.JANOWSKY_1989,)),
    "l1": Criterion(l1, (papers.LI_2017,)),
    "entry": Criterion(entry, (FU_2020,), needs=PATH),
    "entry-norm": Criterion(entry_norm, (FU_2020,), needs=PATH),
    "gamma": Criterion(gamma, (FU_2020,), needs=SPLIT_PATH),
    "random": Criterion(random),
    "bn-scale": Criterion(bn_scale, (LIU_2017,)),
    "taylor": Criterion(taylor, (papers.MOLCHANOV_2019,), gradients=True),
    "obd": Criterion(obd, (papers.LECUN_1990,), gradients=True),
    "fpgm": Criterion(fpgm, (papers.HE_2019,)),
    "lamp": Criterion(lamp, (papers.LEE_2021,)),
}


def ordered(criterion: str, *, reverse: bool) -> str:
    """Return the name of a criterion's order: "magnitude", or "magnitude-reversed" for the opposite one."""
    return f"{criterion}-reversed" if reverse else criterion


NAMED = f"{', '.join(CRITERIA)}. entry: by the step of entry; entry-norm: norm minus epoch of entry, as DessiLBI's code"
"""The criteria as the help of a command names them."""
