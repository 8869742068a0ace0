"""SLBI and SLBI + Adam written as directly as the maths reads: the oracle of the tests and the benchmarks' baseline.

One parameter at a time, V, Z and Γ all stored, in the manner of the DessiLBI authors' published code. Nothing here is
shared with `sparsify`, and nothing here is clever.
"""

from __future__ import annotations

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
        defaults = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        defaults |= {"kappa": kappa, "mu": mu, "path_scale": path_scale, "threshold": threshold, "penalty": penalty}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self) -> None:
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
        kappa: float = 1.0,
        mu: float = 20.0,
        path_scale: float = 20.0,
        threshold: float = 1.0,
        penalty: str | None = "auto",
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps}
        defaults |= {"kappa": kappa, "mu": mu, "path_scale": path_scale, "threshold": threshold, "penalty": penalty}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self) -> None:
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
                state["m"] = beta1 * state["m"] + (1 - beta1) * w.grad
                state["v"] = beta2 * state["v"] + (1 - beta2) * w.grad**2
                m_hat = state["m"] / (1 - beta1 ** state["t"])
                v_hat = state["v"] / (1 - beta2 ** state["t"])
                direction = m_hat / (v_hat.sqrt() + group["eps"])

                if penalty is None:
                    w.sub_(alpha * kappa * direction)
                    continue
                if "z" not in state:
                    state["z"] = torch.zeros_like(w)
                    state["gamma"] = torch.zeros_like(w)
                old = w.clone()
                w.sub_(alpha * kappa * direction + alpha_p * kappa / mu * (old - state["gamma"]))
                state["z"] = state["z"] + alpha_p / mu * (old - state["gamma"])
                state["gamma"] = kappa * prox(state["z"], group["threshold"], penalty)
