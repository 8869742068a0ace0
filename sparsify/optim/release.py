"""The control of DessiLBI that lets as many grains go as a run of it, at the same steps, but at random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from sparsify.devices import permutation
from sparsify.errors import SparsifyError
from sparsify.optim.penalties import Penalty, grain_norms, grain_size, over_grains
from sparsify.optim.slbi import SLBI
from sparsify.optim.updates import Part

JUST_INSIDE = 1 + 1e-5
"""‖Z_i‖/λ of a grain that is in the support, at least: above 1 by more than a float32 norm is rounded."""


class RandomRelease(SLBI):
    r"""SLBI whose support is given: grain i is in it from step r_i on, for good, and not before.

    The step is that of SLBI, after which::

        Z_i ← 0                                        before step r_i: Γ_i = 0, and W_i is pulled to 0
        Z_i ← Z_i·max(1, λ·(1 + 10⁻⁵)/‖Z_i‖)           from then on: Γ_i follows W_i as in SLBI

    so that the pull is SLBI's, but for which grains are let go, and when. `follow` takes the steps; without them
    nothing is ever in the support, as in SLBI with λ = ∞. `permuted` makes them from the path of a run with SLBI: what
    that has beyond this optimizer is due to which grains it selects, not to how many are free of the pull, or when.

    State: that of SLBI, and `step`, the number of steps so far.

    >>> import torch
    >>> from sparsify import RandomRelease
    >>> layer = torch.nn.Linear(2, 1)
    >>> optimizer = RandomRelease(layer.named_parameters(), lr=0.1, mu=1.0)
    >>> optimizer.follow({"weight": torch.tensor([[2.0, torch.inf]])})
    >>> for _ in range(2):
    ...     layer.weight.grad = torch.zeros_like(layer.weight)
    ...     optimizer.step()
    >>> optimizer.support("weight")
    tensor([[ True, False]])
    """

    STATE: ClassVar[frozenset[str]] = SLBI.STATE | {"step"}

    def __init__(self, *args: Any, **options: Any) -> None:
        self._release: dict[Tensor, Tensor] = {}
        super().__init__(*args, **options)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_release": self._release}

    def follow(self, release: Mapping[str, Tensor]) -> None:
        """Let each grain go at its step in `release`, by the names of the parameters, in the shape of the support.

        A step is counted from 1; that of a grain which never goes is inf. Raises SparsifyError for a parameter that
        has no structure or is not named here, and for steps of another shape.

        >>> layer = torch.nn.Linear(2, 1)
        >>> optimizer = sparsify.RandomRelease(layer.named_parameters())
        >>> optimizer.follow({"weight": torch.tensor([[1.0, torch.inf]])})
        """
        found = {}
        for name, steps in release.items():
            parameter, _, penalty = self._structure(name)
            shape = tuple(grain_norms(parameter, penalty).shape)
            if tuple(steps.shape) != shape:
                raise SparsifyError(f"{name} has {tuple(steps.shape)} steps of release; its grains are {shape}")
            found[parameter] = steps.to(parameter.device, torch.float32)
        missing = sum(parameter not in found for parameter in self.structured())
        if missing:
            raise SparsifyError(f"{missing} parameters have no steps of release; {', '.join(release)} have some")
        self._release = found

    @torch.no_grad()
    def _move(self, group: dict[str, Any], parts: list[Part]) -> None:
        super()._move(group, parts)
        for part in parts:
            if part.penalty:
                self._hold(part, self._release.get(part.parameter), part.penalty, group["threshold"])

    @staticmethod
    def _hold(part: Part, release: Tensor | None, penalty: Penalty, threshold: float) -> None:
        z, state = part.state["z"], part.state
        if "step" not in state:
            state["step"] = torch.zeros((), device=z.device)
        state["step"] += 1
        if release is None:
            z.zero_()
            return
        inside, norms = (over_grains(one, z) for one in (release <= state["step"], grain_norms(z, penalty)))
        least = threshold * JUST_INSIDE
        even = least / grain_size(z, penalty) ** 0.5  # a grain of zeros has no direction
        held = torch.where(norms > 0, z * (least / norms.clamp(min=torch.finfo(z.dtype).tiny)).clamp(min=1), even)
        z.copy_(torch.where(inside, held, 0))


def permuted(entry: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """The steps of entry of a path, each layer's in another order, which the seed and the layer's name decide.

    As many grains of a layer enter at each step as before. `entry` is as in `InclusionPath`.
    """
    found = {}
    for name, steps in entry.items():
        order = permutation(steps.numel(), seed, "release", name).to(steps.device)
        found[name] = steps.flatten()[order].view(steps.shape)
    return found
