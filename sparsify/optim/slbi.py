"""DessiLBI, the split linearized Bregman iteration (Fu et al. 2020, 2022), and DessiLBI + Adam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from sparsify.errors import unknown
from sparsify.optim.base import SelectingOptimizer, check, check_adam, check_momentum
from sparsify.optim.penalties import THRESHOLD, PenaltyChoice, grain_norms, prox, residual, support
from sparsify.optim.spec import COUPLINGS
from sparsify.optim.updates import Part, Rate, accumulated, adam_step, add_scaled, decay, momentum_buffers, refuse_gaps


class SplitOptimizer(SelectingOptimizer):
    """Base of the SLBI family: the parameters W are coupled to a sparse copy Γ = κ·prox_λ(Z), which starts at 0.

    A subclass has to move W by the gradient of the loss in `_descend`. State of a structured parameter: `z`.
    """

    STATE: ClassVar[frozenset[str]] = SelectingOptimizer.STATE | {"z"}

    def _check(self, options: dict[str, Any]) -> None:
        super()._check(options)
        for name in ("kappa", "mu", "path_scale"):
            check(name, options[name])
        check("threshold", options["threshold"], infinite=True)

    def _descend(self, group: dict[str, Any], parts: Sequence[Part]) -> None:
        """Move every weight by the gradient of the loss and the weight decay (−ακ·direction), in place."""
        raise NotImplementedError

    def _move(self, group: dict[str, Any], parts: list[Part]) -> None:
        inside, zs, residuals = [], [], []  # those with structure, their Z and W − Γ, before W or Z moves
        for part in parts:
            if part.penalty:
                if "z" not in part.state:
                    part.state["z"] = torch.zeros_like(part.weight)
                z = part.state["z"]
                inside.append(part)
                zs.append(z)
                residuals.append(residual(part.weight, z, group["kappa"], group["threshold"], part.penalty))
        if not inside:
            self._descend(group, parts)
            return
        rate = group["lr"] * group["path_scale"] / group["mu"]
        self._move_weights(group, parts, inside, residuals, rate)
        add_scaled(zs, residuals, rate)

    def _move_weights(
        self,
        group: dict[str, Any],
        parts: Sequence[Part],
        inside: Sequence[Part],
        residuals: list[Tensor],
        rate: float | Tensor,
    ) -> None:
        """Move every weight by the gradient, and those `inside` the structure, whose W − Γ these are, towards Γ.

        `rate` is α_p/μ, that of Z.
        """
        self._descend(group, parts)
        add_scaled([part.weight for part in inside], residuals, -rate * group["kappa"])

    def _z(self, parameter: Tensor) -> Tensor:
        """Return Z of one parameter; zeros before the first step."""
        z = self.state[parameter].get("z") if parameter in self.state else None
        return torch.zeros_like(parameter, dtype=accumulated(parameter)) if z is None else z

    @torch.no_grad()
    def gamma(self, parameter: Tensor | str) -> Tensor:
        """Return Γ = κ·prox_λ(Z) of one parameter; zeros before the first step."""
        found, group, penalty = self._structure(parameter)
        gamma: Tensor = group["kappa"] * prox(self._z(found), group["threshold"], penalty)
        return gamma

    @torch.no_grad()
    def sizes(self, parameter: Tensor | str) -> Tensor:
        """Return the norm of each grain of Γ, κ·max(0, ‖Z_i‖ − λ), in the shape of `penalties.grain_norms`."""
        found, group, penalty = self._structure(parameter)
        norms = grain_norms(self._z(found), penalty)
        sizes: Tensor = group["kappa"] * (norms - group["threshold"]).clamp(min=0)
        return sizes

    @torch.no_grad()
    def support(self, parameter: Tensor | str) -> Tensor:
        """Return which grains of one parameter have Γ ≠ 0, in the shape of `penalties.grain_norms`.

        The parameter can be named, as in `SelectingOptimizer.support`.
        """
        found, group, penalty = self._structure(parameter)
        return support(self._z(found), group["threshold"], penalty)  # of Z, as a tiny κ rounds a small Γ to 0


class SLBI(SplitOptimizer):
    r"""Split linearized Bregman iteration. With g the gradient, α = `lr`, κ = `kappa`, ν = `mu`, λ = `threshold`::

        V  ← m·V + (1 − dampening)·g          first step: V = g
        V  ← V + weight_decay·W               only for weights of two or more dimensions
        W⁺ ← W − ακ·V − (α_p κ/μ)(W − Γ)      α_p = path_scale·α
        Z⁺ ← Z + (α_p/μ)(W − Γ)               old W, old Γ
        Γ⁺ ← κ·prox(Z⁺)                       "filter": Z_i·max(0, 1 − λ/‖Z_i‖₂); "weight": soft threshold at λ

    V = Z = Γ = 0 at the start. Parameters outside the structure take W ← W − ακ·V. `penalty` is a key of the param
    group: "auto" (by dimension: 3-D and more filter, 2-D weight, else None), "filter", "kernel" (as "filter", for the
    kernel of each input channel by itself), "weight" or None.

    State: `momentum_buffer`, and `z` where there is structure; for half precision and the options of torch's own
    optimizers see `SelectingOptimizer`. Γ is a function of Z: `optimizer.gamma(parameter)`.

    Source: Fu et al., "DessiLBI: Exploring Structural Sparsity of Deep Networks via Differential Inclusion Paths",
    ICML 2020, eq. (3); momentum as in the authors' code. What differs from that code (github.com/corwinliu9669/dS2LBI):
    it prunes after the training and fine-tunes, where `prune` with `finetune_epochs` does so without augmentation; it
    looks at Γ after each epoch, the path here at each step. Raises SparsifyError for values out of range.

    >>> import torch
    >>> from sparsify import SLBI
    >>> layer = torch.nn.Linear(3, 1)
    >>> layer.weight.data = torch.tensor([[2.0, 0.5, -1.0]])
    >>> optimizer = SLBI(layer.named_parameters(), lr=0.1, mu=1.0)
    >>> for _ in range(8):
    ...     layer.weight.grad = torch.tensor([[-0.1, 0.0, 0.1]])
    ...     optimizer.step()
    >>> optimizer.support("weight")
    tensor([[ True, False, False]])
    """

    STATE: ClassVar[frozenset[str]] = SplitOptimizer.STATE | {"momentum_buffer"}

    def __init__(
        self,
        params: Any,
        lr: Rate = 0.1,
        *,
        momentum: float = 0.9,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        kappa: float = 1.0,
        mu: float = 20.0,
        path_scale: float = 1.0,
        threshold: float = THRESHOLD,
        penalty: PenaltyChoice = "auto",
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "kappa": kappa,
            "mu": mu,
            "path_scale": path_scale,
            "threshold": threshold,
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
        check_momentum(options["momentum"], options["dampening"])

    def _descend(self, group: dict[str, Any], parts: Sequence[Part]) -> None:
        grads = [part.grad for part in parts]
        if group["dampening"]:
            kept = 1 - group["dampening"]
            grads = [kept * part.grad if "momentum_buffer" in part.state else part.grad for part in parts]
        buffers = momentum_buffers(parts)
        # into a new V, which takes one pass; in place, m·V and + g would take two
        velocity = list(torch._foreach_add(grads, buffers, alpha=group["momentum"]))
        decay(group, parts, velocity, 1.0)
        add_scaled([part.weight for part in parts], velocity, -group["lr"] * group["kappa"])
        if group["capturable"] or isinstance(group["lr"], Tensor):  # a CUDA graph's buffers must stay where they are
            torch._foreach_copy_(buffers, velocity)
        else:
            for part, v in zip(parts, velocity, strict=True):
                part.state["momentum_buffer"] = v


class SLBIAdam(SplitOptimizer):
    r"""Split linearized Bregman iteration on Adam's direction. With α = `lr` and α_p = `path_scale`·α::

        W⁺ ← W − ακ·(m̂/(√v̂ + ε) + weight_decay·W) − (α_p κ/μ)(W − Γ)
        Z⁺ ← Z + (α_p/μ)(W − Γ)               old W, old Γ
        Γ⁺ ← κ·prox(Z⁺)                       as in SLBI

    m̂ and v̂ are Adam's bias-corrected moments of the loss gradient alone: the coupling is not preconditioned, and
    neither is weight decay, as in AdamW (Loshchilov & Hutter 2019); it is for weights of two or more dimensions only.
    With `coupling` "gradient" they are of g + (path_scale/μ)·(W − Γ) instead, g being the loss gradient, and W has no
    pull of its own; Z moves as before. Adam then scales the coupling, too, as L2 regularisation in Adam: how hard a
    weight is pulled depends on the size of its gradients, and W⁺ − W is about ακ whatever μ is. So does a public
    combination of DessiLBI with Adam (github.com/JurrivhLeon/DessiAdam, with path_scale = 1), whose weight decay is in
    the gradient, too, and whose first moment is divided by √(1 − β₁ᵗ). Another one does a step of SGD besides, which is
    no option here.
    `path_scale` compensates for Adam's small α: with path_scale = 1 and α = 3e-4 the path is too short for anything to
    enter. `penalty` as in SLBI.

    ακ moves W and, with path_scale/μ, pulls it; how far the path goes is Σ α_p/μ, without κ. So κ/10 with 10α makes the
    path ten times as long and pulls no harder. That decides whether the support alone is a network.

    State: `step`, `exp_avg`, `exp_avg_sq`, and `z` where there is structure. Raises SparsifyError for values out of
    range.

    >>> import torch
    >>> from sparsify import SLBIAdam
    >>> conv = torch.nn.Conv2d(1, 2, 2)
    >>> conv.weight.data = torch.tensor([1.0, 0.1]).view(2, 1, 1, 1).expand(2, 1, 2, 2).clone()
    >>> optimizer = SLBIAdam(conv.named_parameters(), lr=1e-3, mu=0.2)
    >>> for _ in range(10):
    ...     conv.weight.grad = torch.zeros_like(conv.weight)
    ...     optimizer.step()
    >>> optimizer.support("weight")  # of the filters, whose norms were 2 and 0.2
    tensor([ True, False])
    """

    STATE: ClassVar[frozenset[str]] = SplitOptimizer.STATE | {"step", "exp_avg", "exp_avg_sq"}
    FUSED: ClassVar[bool] = True
    LATER: ClassVar[Mapping[str, Any]] = {**SplitOptimizer.LATER, "coupling": "decoupled"}

    def __init__(
        self,
        params: Any,
        lr: Rate = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        kappa: float = 1.0,
        mu: float = 20.0,
        path_scale: float = 20.0,
        threshold: float = THRESHOLD,
        coupling: str = "decoupled",
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
            "kappa": kappa,
            "mu": mu,
            "path_scale": path_scale,
            "threshold": threshold,
            "coupling": coupling,
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
        if options["coupling"] not in COUPLINGS:
            raise unknown("coupling", str(options["coupling"]), COUPLINGS)

    def _check_parameters(self, params: list[Tensor]) -> None:
        super()._check_parameters(params)
        refuse_gaps(params, "SLBIAdam")

    def _move_weights(
        self,
        group: dict[str, Any],
        parts: Sequence[Part],
        inside: Sequence[Part],
        residuals: list[Tensor],
        rate: float | Tensor,
    ) -> None:
        if group["coupling"] == "decoupled":
            super()._move_weights(group, parts, inside, residuals, rate)
            return
        pull = group["path_scale"] / group["mu"]
        grads = iter(torch._foreach_add([part.grad for part in inside], residuals, alpha=pull))
        self._descend(group, [part._replace(grad=next(grads)) if part.penalty else part for part in parts])

    def _descend(self, group: dict[str, Any], parts: Sequence[Part]) -> None:
        rate, weights = group["lr"] * group["kappa"], [part.weight for part in parts]
        decay(group, parts, weights, -rate)
        adam_step(weights, parts, lr=rate, betas=group["betas"], eps=group["eps"])
