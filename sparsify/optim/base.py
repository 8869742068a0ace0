"""The base of the optimizers that select: options, states, the step, the support and the penalty."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

from sparsify.errors import SparsifyError, unknown
from sparsify.optim.penalties import Penalty, grain_norms, grain_size, penalty_of
from sparsify.optim.updates import Part, Rate, accumulated, batches
from sparsify.text import listed


def check(name: str, value: float, *, strict: bool = True, infinite: bool = False) -> None:
    """Raise SparsifyError unless the value of the option `name` is above 0, or at least 0 if not `strict`."""
    bad = math.isnan(value) or value < 0 or (strict and value == 0) or (math.isinf(value) and not infinite)
    if bad:
        raise SparsifyError(f"{name} is {value}; it must be finite and {'above' if strict else 'at least'} 0")


def check_momentum(momentum: float, dampening: float = 0.0) -> None:
    """Raise SparsifyError unless momentum is in [0, 1) and dampening in [0, 1]."""
    check("momentum", momentum, strict=False)
    if not (momentum < 1 and 0 <= dampening <= 1):
        raise SparsifyError(f"momentum is {momentum} and dampening {dampening}; they must lie in [0, 1) and [0, 1]")


def check_adam(betas: tuple[float, float], eps: float) -> None:
    """Raise SparsifyError unless both betas are in [0, 1) and eps is above 0."""
    if not all(0 <= beta < 1 for beta in betas):
        raise SparsifyError(f"betas are {betas}; both must be at least 0 and below 1")
    check("eps", eps)


class SelectingOptimizer(Optimizer):
    """Base of the optimizers with a support: each structured parameter has a sparse copy, or is sparse itself.

    A grain is 0 as a whole or in the support. A param group's `penalty` says what a grain is: "filter", "kernel" (of
    one input channel of a filter), "weight", "auto" (by dimension), or None. A subclass moves the parameters in
    `_move`, gives the norms of the sparse copy's grains in `sizes`, and names its tensors in STATE.

    State that sums over steps is float32 for parameters of fewer bits, and so is all arithmetic. Such a parameter has a
    float32 copy in its state, too, the `master`: it is what moves, and the parameter is the master rounded. A weight
    that something else has changed since the last step (a mask, a file that was loaded) is taken as it is.

    The options of torch's own optimizers, in each param group: `maximize` ascends. `foreach` is None for lists of a
    good size, True for all parameters of a group at once, False for one at a time. `capturable` keeps all state in its
    place in memory, for a CUDA graph. `fused` is None, or whether the step is a fused kernel of torch or Triton;
    `differentiable` is False: other values are refused, those that are set in a param group later at the next step.
    """

    STATE: ClassVar[frozenset[str]] = frozenset({"master"})
    """The names of all state that a parameter can have."""

    FUSED: ClassVar[bool] = False
    """Whether the step is a fused kernel."""

    LATER: ClassVar[Mapping[str, Any]] = {
        "weight_decay": 0.0,
        "maximize": False,
        "foreach": None,
        "capturable": False,
        "differentiable": False,
        "fused": None,
    }
    """The options that states of older versions lack, at what they were then."""

    def __init__(self, params: Any, lr: Rate, defaults: dict[str, Any]) -> None:
        self._checked: list[list[Any]] = []
        super().__init__(params, {"lr": lr, **defaults})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group as torch.optim does. Raises SparsifyError for options and parameters that it does not take."""
        self._check({**self.defaults, **param_group})
        super().add_param_group(param_group)
        try:
            self._check_parameters(self.param_groups[-1]["params"])
        except SparsifyError:
            self.param_groups.pop()
            raise

    def _check_changes(self) -> None:
        """Raise SparsifyError for an option that was set in a param group since the last step, as `_check` does.

        The rate is not among them: it is new in every step, and a look at one that is a tensor would wait for a GPU.
        """
        names = [name for name in self.defaults if name != "lr"]
        now = [[group[name] for name in names] for group in self.param_groups]
        if len(now) != len(self._checked) or any(
            one is not other for pair in zip(now, self._checked, strict=True) for one, other in zip(*pair, strict=True)
        ):
            for group in self.param_groups:
                self._check({**group, "lr": 0.0})
            self._checked[:] = now  # in place, as torch 2.10 compiles it

    def _check(self, options: dict[str, Any]) -> None:
        """Raise SparsifyError for an option of a param group that is out of range or not available."""
        name = type(self).__name__
        if options["penalty"] not in (known := ("auto", "filter", "kernel", "weight", None)):
            raise SparsifyError(f"unknown penalty '{options['penalty']}'; choose from: {', '.join(map(str, known))}")
        lr = options["lr"]
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise SparsifyError(f"lr is a tensor of shape {tuple(lr.shape)}; it must be a number or a tensor of one")
        check("lr", float(lr), strict=False)
        check("weight_decay", options["weight_decay"], strict=False)
        if options["differentiable"]:
            raise SparsifyError(f"differentiable is True, but a step of {name} has no derivative; leave it False")
        if options["fused"] is not None and options["fused"] != self.FUSED:
            kernel = "always takes a fused kernel" if self.FUSED else "has no fused kernel"
            raise SparsifyError(f"fused is {options['fused']}, but {name} {kernel}; leave it None")
        if options["fused"] and options["foreach"]:
            raise SparsifyError("foreach and fused are True; at most one of them can be")

    def _check_parameters(self, params: list[Tensor]) -> None:
        """Raise SparsifyError for a parameter that the optimizer does not take."""
        for p in params:
            if p.is_complex():
                raise SparsifyError(
                    f"a parameter of shape {tuple(p.shape)} is {p.dtype}; {type(self).__name__} takes real numbers "
                    "only, so keep real and imaginary parts as two parameters"
                )

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Fill in what an older state lacks: options that were added later, at what they were before."""
        super().__setstate__(state)
        self._checked = []
        for options in (self.defaults, *self.param_groups):
            for name, value in self.LATER.items():
                options.setdefault(name, value)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state as torch.optim does, but float32 sums of parameters of fewer bits as they are.

        What an older state lacks is filled in. Raises SparsifyError, and changes nothing, if the state is that of
        another optimizer or of another network.
        """
        saved: dict[str, Any] = {}

        def look(_: Optimizer, given: dict[str, Any]) -> None:
            self._refuse_foreign(given)
            saved.update(given)

        def restore(_: Optimizer) -> None:
            for number, p in self._numbered(saved):
                for key, value in saved["state"].get(number, {}).items():
                    if isinstance(value, Tensor):  # torch has rounded it to the parameter's type, and left `step`
                        dtype = value.dtype if key == "step" else accumulated(p)
                        self.state[p][key] = value.to(p.device, dtype)

        # after the hooks of others, which may change the state that is given, and before those that see it loaded
        hooks = (
            self.register_load_state_dict_pre_hook(look),
            self.register_load_state_dict_post_hook(restore, prepend=True),
        )
        try:
            super().load_state_dict(state_dict)
        finally:
            for hook in hooks:
                hook.remove()

    def _numbered(self, state_dict: dict[str, Any]) -> Iterator[tuple[int, Tensor]]:
        """Yield the number of each parameter in a state, and the parameter."""
        for group, saved in zip(self.param_groups, state_dict["param_groups"], strict=False):
            yield from zip(saved["params"], group["params"], strict=False)

    def _refuse_foreign(self, state_dict: dict[str, Any]) -> None:
        """Raise SparsifyError for a state of another optimizer or of another network."""
        name = type(self).__name__
        if not {"state", "param_groups"} <= state_dict.keys():
            raise SparsifyError(f"this is not a state of {name}: it has no state and param_groups, as of an optimizer")
        for group in state_dict["param_groups"]:
            missing = sorted(self.defaults.keys() - self.LATER.keys() - group.keys())
            if missing:
                raise SparsifyError(f"this is not a state of {name}: its param groups have no {listed(missing)}")
            self._check({**self.LATER, **group})
        for number, p in self._numbered(state_dict):
            state = state_dict["state"].get(number, {})
            strange = sorted(state.keys() - self.STATE)
            if strange:
                raise SparsifyError(f"this is not a state of {name}: its parameters have {listed(strange)}")
            for key, value in state.items():
                if isinstance(value, Tensor) and value.ndim and value.shape != p.shape:
                    raise SparsifyError(
                        f"this is the state of another network: {key} of parameter {number} has the shape "
                        f"{tuple(value.shape)}, and the parameter {tuple(p.shape)}"
                    )

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Do one iteration. `closure`, if given, re-evaluates the loss with its gradients; the loss is returned.

        Raises SparsifyError, before anything moves, if a gradient is sparse, and for options of a param group that have
        been set since the last step and are out of range or not available.
        """
        self._check_changes()
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        present = [[p for p in group["params"] if p.grad is not None] for group in self.param_groups]
        for p in itertools.chain.from_iterable(present):
            if p.grad.is_sparse:
                raise SparsifyError(
                    f"the gradient of a parameter of shape {tuple(p.shape)} is sparse, and {type(self).__name__} takes "
                    "dense gradients only; make its layer with sparse=False"
                )
        for group, params in zip(self.param_groups, present, strict=True):
            for batch in batches(params, group["foreach"]):
                parts = [self._part(group, p) for p in batch]
                self._move(group, parts)
                for p, part in zip(batch, parts, strict=True):
                    if part.weight is not p:
                        p.copy_(part.weight)
        return loss

    def step_noting(self, number: float | Tensor, entries: Mapping[Tensor, Tensor]) -> frozenset[Tensor]:
        """Do one iteration, that of this number; return the parameters whose `entries` are written by it.

        `entries[p]`, float32, holds for each grain of p the step at which it first was in the support, inf before; p's
        `support` says which are. Here none is written: a fused kernel, which has the grains at hand, does it.
        """
        self.step()
        return frozenset()

    def _move(self, group: dict[str, Any], parts: list[Part]) -> None:
        """Do one iteration of some parameters of a group."""
        raise NotImplementedError

    def _part(self, group: dict[str, Any], p: Tensor) -> Part:
        """Return what a step moves of a parameter that has a gradient."""
        penalty = penalty_of(p, group["penalty"])
        weight, grad = self._weight(p, penalty), p.grad
        assert grad is not None
        grad = grad.to(weight.dtype)
        return Part(weight, -grad if group["maximize"] else grad, self.state[p], penalty, p)

    def _weight(self, p: Tensor, penalty: Penalty | None) -> Tensor:
        """Return the parameter, or its master if it has fewer bits than float32."""
        dtype, state = accumulated(p), self.state[p]
        if dtype == p.dtype:
            return p
        if "master" in state:
            master: Tensor = state["master"]
            # not what was changed from outside since the last step
            master.copy_(torch.where(master.to(p.dtype) == p, master, p.to(dtype)))
            return master
        weight = p.to(dtype)
        if self._has_master(penalty):
            state["master"] = weight
        return weight

    def _has_master(self, penalty: Penalty | None) -> bool:
        """Whether a parameter of few bits needs a float32 copy: not if the weights follow from other state."""
        return True

    def sizes(self, parameter: Tensor | str) -> Tensor:
        """Return the norm of each grain of the sparse copy, in the shape of `penalties.grain_norms`."""
        raise NotImplementedError

    @torch.no_grad()
    def support(self, parameter: Tensor | str) -> Tensor:
        """Return which grains of the sparse copy are not 0, in the shape of `sizes`.

        The parameter can be named if the optimizer was made with names, as by `model.named_parameters()` or
        `parameter_groups(model)`: "conv1.weight", or "conv1" for the weight of that module.
        """
        return self.sizes(parameter) > 0

    def structured(self) -> Iterator[Tensor]:
        """Yield every parameter that has a sparse copy."""
        for group in self.param_groups:
            yield from (p for p in group["params"] if penalty_of(p, group["penalty"]))

    def penalty(self, parameter: Tensor | str) -> Penalty | None:
        """Return the parameter's resolved penalty; None if it is outside the structure or not this optimizer's."""
        parameter = self._named(parameter)
        for group in self.param_groups:
            if any(p is parameter for p in group["params"]):
                return penalty_of(parameter, group["penalty"])
        return None

    def _named(self, parameter: Tensor | str) -> Tensor:
        """Return the parameter of a name, of a parameter or of the module whose weight it is."""
        if isinstance(parameter, Tensor):
            return parameter
        named: dict[str, Tensor] = {}
        for group in self.param_groups:
            named |= zip(group.get("param_names", ()), group["params"], strict=False)
        if not named:
            raise SparsifyError(
                f"{type(self).__name__} knows no names, so not '{parameter}'; make it with model.named_parameters() or "
                "parameter_groups(model)"
            )
        found = named.get(parameter, named.get(f"{parameter}.weight"))
        if found is None:
            raise unknown("parameter", parameter, named)
        return found

    def _structure(self, parameter: Tensor | str) -> tuple[Tensor, dict[str, Any], Penalty]:
        """Return a structured parameter, its param group and its resolved penalty; raise SparsifyError for others."""
        found = self._named(parameter)
        for group in self.param_groups:
            if any(p is found for p in group["params"]) and (penalty := penalty_of(found, group["penalty"])):
                return found, group, penalty
        which = "this parameter" if isinstance(parameter, Tensor) else f"'{parameter}'"
        raise SparsifyError(f"{which} is not part of the optimizer's structure: it has no sparse copy")


class PenalizedOptimizer(SelectingOptimizer):
    """Base of the optimizers whose weights θ are sparse themselves, by J(θ) = λ·Σ_i √n_i·‖θ_i‖₂ over the grains θ_i.

    n_i is the number of weights of a grain. For "weight" it is 1, and J is λ‖θ‖₁; for "filter" it is that of a filter
    or row, for "kernel" that of a kernel, and J is the group lasso of Yuan & Lin (2006). λ is `strength`, a key of the
    param group.
    """

    def _check(self, options: dict[str, Any]) -> None:
        super()._check(options)
        check("strength", options["strength"], strict=False)

    @torch.no_grad()
    def sizes(self, parameter: Tensor | str) -> Tensor:
        """Return the norm of each grain of θ, in the shape of `penalties.grain_norms`."""
        found, _, penalty = self._structure(parameter)
        return grain_norms(found.to(accumulated(found)), penalty)


def threshold_of(parameter: Tensor, strength: float | Tensor, penalty: Penalty) -> float | Tensor:
    """Return λ·√n_i, the norm above which the prox of J keeps a grain."""
    return strength * math.sqrt(grain_size(parameter, penalty))
