"""Linearised Bregman iterations (Bungert et al. 2022): LinBreg, and AdaBreg on Adam's direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from sparsify.optim.base import PenalizedOptimizer, check, check_adam, check_momentum, threshold_of
from sparsify.optim.penalties import Penalty, PenaltyChoice, prox, subgradient
from sparsify.optim.updates import Part, Rate, adam_step, add_scaled, decay, momentum_buffers, refuse_gaps


class BregmanOptimizer(PenalizedOptimizer):
    """Base of the linearised Bregman iterations: v moves, and θ = δ·prox_J(v). State of a structured parameter: `v`.

    v is a subgradient of the elastic net J_δ = J + ‖·‖²/(2δ) at θ. At a parameter's first step it is θ/δ + p with
    p ∈ ∂J(θ), and p = 0 for grains that are 0. After that, changes of θ from outside are lost at the next step.
    """

    STATE: ClassVar[frozenset[str]] = PenalizedOptimizer.STATE | {"v"}

    def _check(self, options: dict[str, Any]) -> None:
        super()._check(options)
        check("delta", options["delta"])

    def _has_master(self, penalty: Penalty | None) -> bool:
        return penalty is None  # elsewhere θ follows from v

    def _descend(self, group: dict[str, Any], parts: Sequence[Part], targets: list[Tensor], rate: Rate) -> None:
        """Move the targets by −rate·direction, in place; gradients and state are those of the parts."""
        raise NotImplementedError

    def _move(self, group: dict[str, Any], parts: list[Part]) -> None:
        rate, delta = group["lr"], group["delta"]
        inside = [(part, part.penalty) for part in parts if part.penalty]
        if inside:
            duals = [self._dual(group, part, penalty) for part, penalty in inside]
            self._descend(group, [part for part, _ in inside], duals, rate)
            for (part, penalty), v in zip(inside, duals, strict=True):
                threshold = threshold_of(part.weight, group["strength"], penalty)
                torch.mul(prox(v, threshold, penalty), delta, out=part.weight)
        outside = [part for part in parts if part.penalty is None]
        if outside:
            self._descend(group, outside, [part.weight for part in outside], rate * delta)  # J is 0 there: θ = δ·v

    def _dual(self, group: dict[str, Any], part: Part, penalty: Penalty) -> Tensor:
        if "v" not in part.state:
            threshold = threshold_of(part.weight, group["strength"], penalty)
            start = subgradient(part.weight, threshold, penalty)
            part.state["v"] = start.add_(part.weight, alpha=1 / group["delta"])
        dual: Tensor = part.state["v"]
        return dual


class LinBreg(BregmanOptimizer):
    r"""Linearised Bregman iteration with momentum. With g the gradient, τ = `lr`, δ = `delta`, λ = `strength`::

        m⁺ ← β·m + (1 − β)·τ·(g + weight_decay·θ)     β = momentum; m = 0 at the start
        v⁺ ← v − m⁺                                   v = θ/δ + p at the start, p ∈ ∂J(θ)
        θ⁺ ← δ·prox_J(v⁺)                             "filter": v_i·max(0, 1 − λ√n_i/‖v_i‖₂)
                                                      "weight": soft threshold at λ

    J(θ) = λ·Σ_i √n_i·‖θ_i‖₂ over the grains (filters, rows or single weights) of n_i weights. A grain that is 0 enters
    once its summed gradients reach the threshold (an inverse scale space); it can leave again. With λ = 0, β = 0 and
    δ = 1 it is SGD. Parameters outside the structure take θ ← θ − δ·m⁺. torch's SGD does not have the factor 1 − β.
    Weight decay is for weights of two or more dimensions only. `penalty` is a key of the param group: "auto" (by
    dimension: 3-D and more filter, 2-D weight, else None), "filter", "kernel" (as "filter", for the kernel of each
    input channel by itself), "weight" or None.

    State: `v` where there is structure, and `momentum_buffer` (m) with a momentum above 0; for half precision and the
    options of torch's own optimizers see `SelectingOptimizer`. θ starts sparse if the module does: see
    `sparsify.optim.penalties.make_sparse`.

    Source: Bungert, Roith, Tenbrinck & Burger, "A Bregman Learning Framework for Sparse Neural Networks", JMLR 23
    (2022), LinBreg and LinBreg with momentum; the start of v as in the authors' code. What differs from that code: its
    groups of a convolution are kernels (`penalty="kernel"`, the structure "kernels"), here filters are the default; and
    λ stays as it is, where their experiments raise or lower it by a schedule until a target sparsity is met. Raises
    SparsifyError for values out of range.

    >>> import torch
    >>> from sparsify import LinBreg
    >>> weight = torch.nn.Parameter(torch.zeros(1, 3))
    >>> optimizer = LinBreg([("weight", weight)], lr=0.5, momentum=0.0, strength=1.0)
    >>> for _ in range(4):
    ...     weight.grad = torch.tensor([[-1.0, -0.25, 0.0]])
    ...     optimizer.step()
    >>> weight.data
    tensor([[1., 0., 0.]])
    >>> optimizer.support("weight")
    tensor([[ True, False, False]])
    """

    STATE: ClassVar[frozenset[str]] = BregmanOptimizer.STATE | {"momentum_buffer"}

    def __init__(
        self,
        params: Any,
        lr: Rate = 0.5,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        strength: float = 0.05,
        delta: float = 1.0,
        penalty: PenaltyChoice = "auto",
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "momentum": momentum,
            "weight_decay": weight_decay,
            "strength": strength,
            "delta": delta,
            "penalty": penalty,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, lr, defaults)

    def _check(self, options: dict[str, Any]) -> None:
        super()._check(options)
        check_momentum(options["momentum"])

    def _descend(self, group: dict[str, Any], parts: Sequence[Part], targets: list[Tensor], rate: Rate) -> None:
        grads, momentum = [part.grad for part in parts], group["momentum"]
        if not momentum:
            decay(group, parts, targets, -rate)  # first, as the targets can be the weights themselves
            add_scaled(targets, grads, -rate)
            return
        buffers = momentum_buffers(parts)
        torch._foreach_mul_(buffers, momentum)
        add_scaled(buffers, grads, (1 - momentum) * rate)
        decay(group, parts, buffers, (1 - momentum) * rate)
        torch._foreach_sub_(targets, buffers)


class AdaBreg(BregmanOptimizer):
    r"""Linearised Bregman iteration on Adam's direction. With τ = `lr`, δ = `delta`, λ = `strength`::

        v⁺ ← v − τ·(m̂/(√ŝ + ε) + weight_decay·θ)      v = θ/δ + p at the start, p ∈ ∂J(θ)
        θ⁺ ← δ·prox_J(v⁺)                             J and its prox as in LinBreg

    m̂ and ŝ are Adam's bias-corrected moments of the gradient; AdaBreg as published has the moments themselves, without
    the correction, so that its first steps are of another length. Groups and λ differ as said of LinBreg. With λ = 0
    and δ = 1 it is AdamW: weight decay, of weights of two or more dimensions only, is not preconditioned. Parameters
    outside the structure take θ ← θ − δτ·(m̂/(√ŝ + ε) + weight_decay·θ). `penalty` as in LinBreg.

    State: `step`, `exp_avg`, `exp_avg_sq`, and `v` where there is structure.

    Source: Bungert, Roith, Tenbrinck & Burger, "A Bregman Learning Framework for Sparse Neural Networks", JMLR 23
    (2022), AdaBreg. Raises SparsifyError for values out of range.

    >>> import torch
    >>> from sparsify import AdaBreg
    >>> weight = torch.nn.Parameter(torch.zeros(1, 2))
    >>> optimizer = AdaBreg([("weight", weight)], lr=0.25, strength=0.5)
    >>> for gradient in (-1.0, -1.0, -1.0):
    ...     weight.grad = torch.tensor([[gradient, 0.0]])
    ...     optimizer.step()
    >>> optimizer.support("weight")
    tensor([[ True, False]])
    """

    STATE: ClassVar[frozenset[str]] = BregmanOptimizer.STATE | {"step", "exp_avg", "exp_avg_sq"}
    FUSED: ClassVar[bool] = True

    def __init__(
        self,
        params: Any,
        lr: Rate = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        strength: float = 0.05,
        delta: float = 1.0,
        penalty: PenaltyChoice = "auto",
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "strength": strength,
            "delta": delta,
            "penalty": penalty,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, lr, defaults)

    def _check(self, options: dict[str, Any]) -> None:
        super()._check(options)
        check_adam(options["betas"], options["eps"])

    def _check_parameters(self, params: list[Tensor]) -> None:
        super()._check_parameters(params)
        refuse_gaps(params, "AdaBreg")

    def _descend(self, group: dict[str, Any], parts: Sequence[Part], targets: list[Tensor], rate: Rate) -> None:
        decay(group, parts, targets, -rate)  # first, as the targets can be the weights themselves
        adam_step(targets, parts, lr=rate, betas=group["betas"], eps=group["eps"])
