"""The optimizers written as directly as the maths reads: the oracle of the tests and the benchmarks' baseline.

One parameter at a time, V, Z and Γ all stored, in the manner of the DessiLBI authors' published code. Nothing here is
shared with `sparsify`, and nothing here is clever.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def soft_threshold(z: Tensor, lam: float) -> Tensor:
    """sign(z)·max(0, |z| − λ)"""
    return z.sign() * torch.clamp(z.abs() - lam, min=0)


def group_threshold(z: Tensor, lam: float) -> Tensor:
    """Z_i·max(0, 1 − λ/‖Z_i‖₂) for each output filter i"""
    rows = z.reshape(z.shape[0], -1)
    norms = torch.norm(rows, 2, 1)
    factors = torch.clamp(1 - lam / norms, min=0)
    return (rows * factors[:, None]).reshape(z.shape)


def prox(z: Tensor, lam: float, penalty: str) -> Tensor:
    """The proximal map of one parameter's penalty."""
    return group_threshold(z, lam) if penalty == "filter" else soft_threshold(z, lam)


def resolve(p: Tensor, penalty: str | None) -> str | None:
    """ "auto" by dimension: convolutions (3-D and more) filter, 2-D weight, everything else outside the structure."""
    if penalty != "auto":
        return penalty
    if p.dim() >= 3:
        return "filter"
    if p.dim() == 2:
        return "weight"
    return None


class ReferenceSLBI(torch.optim.Optimizer):
    """V, W, Z and Γ of section "DessiLBI", line by line."""

    def __init__(
        self,
        params: Any,
        lr: float = 0.1,
        *,
        momentum: float = 0.9,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        kappa: float = 1.0,
        mu: float = 20.0,
        path_scale: float = 1.0,
        threshold: float = 1.0,
        penalty: str | None = "auto",
    ) -> None:
        defaults: dict[str, Any] = {"lr": lr, "momentum": momentum, "dampening": dampening}
        defaults |= {"weight_decay": weight_decay, "kappa": kappa, "mu": mu, "path_scale": path_scale}
        defaults |= {"threshold": threshold, "penalty": penalty}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # without a closure
        for group in self.param_groups:
            alpha, kappa, mu = group["lr"], group["kappa"], group["mu"]
            alpha_p = group["path_scale"] * alpha
            for w in group["params"]:
                if w.grad is None:
                    continue
                state = self.state[w]
                penalty = resolve(w, group["penalty"])

                if "v" not in state:
                    state["v"] = w.grad.clone()
                else:
                    state["v"] = group["momentum"] * state["v"] + (1 - group["dampening"]) * w.grad
                if group["weight_decay"] != 0 and w.dim() >= 2:
                    state["v"] = state["v"] + group["weight_decay"] * w

                if penalty is None:
                    w.sub_(alpha * kappa * state["v"])
                    continue
                if "z" not in state:
                    state["z"] = torch.zeros_like(w)
                    state["gamma"] = torch.zeros_like(w)
                old = w.clone()
                w.sub_(alpha * kappa * state["v"] + alpha_p * kappa / mu * (old - state["gamma"]))
                state["z"] = state["z"] + alpha_p / mu * (old - state["gamma"])
                state["gamma"] = kappa * prox(state["z"], group["threshold"], penalty)


class ReferenceSLBIAdam(torch.optim.Optimizer):
    """W, Z and Γ of section "DessiLBI + Adam", line by line."""

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        kappa: float = 1.0,
        mu: float = 20.0,
        path_scale: float = 20.0,
        threshold: float = 1.0,
        coupling: str = "decoupled",
        penalty: str | None = "auto",
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "coupling": coupling}
        defaults |= {"kappa": kappa, "mu": mu, "path_scale": path_scale, "threshold": threshold, "penalty": penalty}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # without a closure
        for group in self.param_groups:
            alpha, kappa, mu = group["lr"], group["kappa"], group["mu"]
            alpha_p = group["path_scale"] * alpha
            beta1, beta2 = group["betas"]
            for w in group["params"]:
                if w.grad is None:
                    continue
                state = self.state[w]
                penalty = resolve(w, group["penalty"])

                if "t" not in state:
                    state["t"] = 0
                    state["m"] = torch.zeros_like(w)
                    state["v"] = torch.zeros_like(w)
                state["t"] += 1
                g = w.grad
                if penalty is not None and group["coupling"] == "gradient":
                    # the gradient of loss + path_scale/(2μ)·‖W − Γ‖²
                    g = g + group["path_scale"] / mu * (w - state.get("gamma", torch.zeros_like(w)))
                state["m"] = beta1 * state["m"] + (1 - beta1) * g
                state["v"] = beta2 * state["v"] + (1 - beta2) * g**2
                m_hat = state["m"] / (1 - beta1 ** state["t"])
                v_hat = state["v"] / (1 - beta2 ** state["t"])
                direction = m_hat / (v_hat.sqrt() + group["eps"])
                if w.dim() >= 2:
                    direction = direction + group["weight_decay"] * w

                if penalty is None:
                    w.sub_(alpha * kappa * direction)
                    continue
                if "z" not in state:
                    state["z"] = torch.zeros_like(w)
                    state["gamma"] = torch.zeros_like(w)
                old = w.clone()
                pull = alpha_p * kappa / mu if group["coupling"] == "decoupled" else 0
                w.sub_(alpha * kappa * direction + pull * (old - state["gamma"]))
                state["z"] = state["z"] + alpha_p / mu * (old - state["gamma"])
                state["gamma"] = kappa * prox(state["z"], group["threshold"], penalty)


def scaled(p: Tensor, strength: float, penalty: str) -> float:
    """λ times the root of a grain's size"""
    size = p[0].numel() if penalty == "filter" else 1
    return strength * math.sqrt(size)


def subgradient(w: Tensor, lam: float, penalty: str) -> Tensor:
    """λ·sign(w), or λ·W_i/‖W_i‖ for each output filter i that is not 0"""
    if penalty == "weight":
        return lam * w.sign()
    result = torch.zeros_like(w)
    for i in range(len(w)):
        norm = w[i].norm()
        if norm > 0:
            result[i] = lam * w[i] / norm
    return result


class ReferenceBregman(torch.optim.Optimizer):
    """LinBreg, or AdaBreg with `adam=True`: v, θ and the moments of each parameter, line by line."""

    def __init__(
        self,
        params: Any,
        lr: float = 0.1,
        *,
        momentum: float = 0.9,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        strength: float = 0.01,
        delta: float = 1.0,
        penalty: str | None = "auto",
        adam: bool = False,
    ) -> None:
        self.adam = adam
        defaults = {"lr": lr, "strength": strength, "delta": delta, "penalty": penalty, "weight_decay": weight_decay}
        super().__init__(params, defaults | ({"betas": betas, "eps": eps} if adam else {"momentum": momentum}))

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # without a closure
        for group in self.param_groups:
            tau, delta = group["lr"], group["delta"]
            for w in group["params"]:
                if w.grad is None:
                    continue
                state = self.state[w]
                penalty = resolve(w, group["penalty"])
                lam = scaled(w, group["strength"], penalty) if penalty else 0.0
                if not state:
                    state["dual"] = w / delta + (subgradient(w, lam, penalty) if penalty else 0.0)
                    state["m"] = torch.zeros_like(w)
                    state["s"] = torch.zeros_like(w)
                    state["t"] = 0
                state["t"] += 1
                decay = group["weight_decay"] * w if w.dim() >= 2 else 0.0
                if self.adam:
                    beta1, beta2 = group["betas"]
                    state["m"] = beta1 * state["m"] + (1 - beta1) * w.grad
                    state["s"] = beta2 * state["s"] + (1 - beta2) * w.grad**2
                    m_hat = state["m"] / (1 - beta1 ** state["t"])
                    s_hat = state["s"] / (1 - beta2 ** state["t"])
                    state["dual"] = state["dual"] - tau * (m_hat / (s_hat.sqrt() + group["eps"]) + decay)
                else:
                    beta = group["momentum"]
                    state["m"] = beta * state["m"] + (1 - beta) * tau * (w.grad + decay)
                    state["dual"] = state["dual"] - state["m"]
                w.copy_(delta * (prox(state["dual"], lam, penalty) if penalty else state["dual"]))


class ReferenceProxSGD(torch.optim.Optimizer):
    """A gradient step with momentum and the prox of the penalty over the step's length, line by line."""

    def __init__(
        self,
        params: Any,
        lr: float = 0.02,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        strength: float = 1e-4,
        penalty: str | None = "auto",
    ) -> None:
        defaults: dict[str, Any] = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, defaults | {"strength": strength, "penalty": penalty})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # without a closure
        for group in self.param_groups:
            length = group["lr"] / (1 - group["momentum"])
            for w in group["params"]:
                if w.grad is None:
                    continue
                state = self.state[w]
                state["v"] = group["momentum"] * state["v"] + w.grad if "v" in state else w.grad.clone()
                if w.dim() >= 2:
                    state["v"] = state["v"] + group["weight_decay"] * w
                w.sub_(group["lr"] * state["v"])
                penalty = resolve(w, group["penalty"])
                if penalty is not None:
                    w.copy_(prox(w, length * scaled(w, group["strength"], penalty), penalty))
