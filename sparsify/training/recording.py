"""What a training records of itself beside its metrics, if it is asked to, without changing a bit of its result.

Each recorder keeps tensors on the device, one value a step or a place, which a checkpoint holds and a file of the run
gets in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from sparsify.devices import generators_kept
from sparsify.runs.records import FACTORS

PLACES = 100
"""At how many steps of a training the landscape is looked at."""

LossOf = Callable[[nn.Module], Tensor]
"""The loss of a network on one batch of training images."""


class Recorder:
    """One record of a training of `total` steps. `tensors` are what it holds, by name."""

    def __init__(self, model: nn.Module, optimizer: Optimizer, total: int) -> None:
        self.tensors: dict[str, Tensor] = {}

    def look(self, step: int, rate: float, loss: LossOf) -> None:
        """Record what is so before iteration `step`, counted from 1, at its learning rate and on its batch."""

    def see(self, step: float | Tensor, loss: Tensor) -> None:
        """Record what is so within the iteration, when the gradients are there and the weights have not moved.

        It waits for no device, and can be captured in a graph.
        """

    def results(self, steps: int) -> dict[str, Tensor]:
        """Return what is recorded of the first `steps` steps, by name."""
        return {name: tensor[:steps] for name, tensor in self.tensors.items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Restore the recorder from a saved copy of its `tensors`."""
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])


class Losses(Recorder):
    """`loss`: the loss of every step on its own batch, (total,)."""

    def __init__(self, model: nn.Module, optimizer: Optimizer, total: int) -> None:
        super().__init__(model, optimizer, total)
        self._series = _Series(total, next(model.parameters()).device)
        self.tensors = {"loss": self._series.new()}

    def see(self, step: float | Tensor, loss: Tensor) -> None:
        self._series.write(self.tensors["loss"], step, loss.detach())


class Gradients(Recorder):
    """`change`: ‖g_k − g_{k−1}‖₂ of step k, and `distance`: ‖W_k − W_{k−1}‖₂, (total,); both are 0 at the first step.

    g_k is the gradient of all parameters at the weights W_k, on the batch of step k. Their ratio is the effective
    smoothness β_k along the way of the training; that of Santurkar et al. 2018, on one batch, is the landscape's.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, total: int) -> None:
        super().__init__(model, optimizer, total)
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._series = _Series(total, self._parameters[0].device)
        before = {f"gradient/{i}": torch.zeros_like(p) for i, p in enumerate(self._parameters)}
        before |= {f"weight/{i}": p.detach().clone() for i, p in enumerate(self._parameters)}
        self.tensors = {"change": self._series.new(), "distance": self._series.new(), **before}

    @torch.no_grad()
    def see(self, step: float | Tensor, loss: Tensor) -> None:
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._parameters]
        weights = [p.detach() for p in self._parameters]
        first = self._series.steps[0] == step
        for name, kind, now in (("change", "gradient", gradients), ("distance", "weight", weights)):
            before = [self.tensors[f"{kind}/{i}"] for i in range(len(now))]
            moved = _distance(now, before)
            self._series.write(self.tensors[name], step, torch.where(first, torch.zeros_like(moved), moved))
            torch._foreach_copy_(before, now)

    def results(self, steps: int) -> dict[str, Tensor]:
        return {name: self.tensors[name][:steps] for name in ("change", "distance")}


class Landscape(Recorder):
    """The loss along the gradient at `PLACES` steps, as Santurkar et al. 2018 (section 3.2) look at it, on one batch.

    With g the gradient at W and η = f·α for each f of `FACTORS`: `loss` is L(W − ηg), `change` ‖∇L(W) − ∇L(W − ηg)‖₂,
    each (places, factors), `gradient` is ‖g‖₂ and `start` L(W), (places,). The effective smoothness at a place is the
    largest change / (η‖g‖₂). `step` and `rate` are those of the places. BatchNorm is in training mode, and neither its
    statistics nor random numbers are changed.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, total: int) -> None:
        super().__init__(model, optimizer, total)
        self._model = model
        count = min(PLACES, total)
        steps = [1 + place * total // count for place in range(count)]
        self._place = {step: place for place, step in enumerate(steps)}
        device = next(model.parameters()).device
        wide, narrow = (count, len(FACTORS)), (count,)
        self.tensors = {name: torch.zeros(wide, device=device) for name in ("loss", "change")}
        self.tensors |= {name: torch.zeros(narrow, device=device) for name in ("start", "gradient", "rate")}
        self.tensors["step"] = torch.tensor(steps, device=device)

    def look(self, step: int, rate: float, loss: LossOf) -> None:
        place = self._place.get(step)
        if place is None:
            return
        weights = {name: p.detach() for name, p in self._model.named_parameters() if p.requires_grad}
        start, gradient = self._at(weights, loss)
        self.tensors["start"][place], self.tensors["gradient"][place] = start, _norm(gradient)
        self.tensors["rate"][place] = rate
        for column, factor in enumerate(FACTORS):
            moved = torch._foreach_add(list(weights.values()), gradient, alpha=-factor * rate)
            there, other = self._at(dict(zip(weights, moved, strict=True)), loss)
            self.tensors["loss"][place, column] = there
            self.tensors["change"][place, column] = _distance(other, gradient)

    def results(self, steps: int) -> dict[str, Tensor]:
        return {name: tensor[self.tensors["step"] <= steps] for name, tensor in self.tensors.items()}

    def _at(self, weights: dict[str, Tensor], loss: LossOf) -> tuple[Tensor, list[Tensor]]:
        """Return the loss and its gradient at these weights. The network and torch's generators stay as they are."""
        weights = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
        buffers = {name: buffer.clone() for name, buffer in self._model.named_buffers()}
        with generators_kept(next(self._model.parameters()).device), torch.enable_grad():
            value = loss(_Moved(self._model, weights | buffers))
            gradient = torch.autograd.grad(value, list(weights.values()), allow_unused=True)
        parts = zip(gradient, weights.values(), strict=True)
        return value.detach(), [torch.zeros_like(weight) if part is None else part for part, weight in parts]


class _Moved(nn.Module):
    """A network with other weights and buffers."""

    def __init__(self, model: nn.Module, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self.model, self.tensors = model, tensors

    def forward(self, images: Tensor) -> Tensor:
        """The network's output."""
        logits: Tensor = functional_call(self.model, self.tensors, (images,))
        return logits


class _Series:
    """One value for every step of a training, written where the step says, which can be a tensor on the device."""

    def __init__(self, total: int, device: torch.device) -> None:
        self.steps = torch.arange(1, total + 1, device=device, dtype=torch.float32)

    def new(self) -> Tensor:
        return torch.zeros_like(self.steps)

    def write(self, values: Tensor, step: float | Tensor, value: Tensor) -> None:
        values.copy_(torch.where(self.steps == step, value.float(), values))


def _norm(tensors: list[Tensor]) -> Tensor:
    """‖t‖₂ of all tensors as one vector."""
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))
    return norm


def _distance(first: list[Tensor], second: list[Tensor]) -> Tensor:
    """‖a − b‖₂ of two lists of tensors, each as one vector."""
    return _norm(list(torch._foreach_add(first, second, alpha=-1)))


RECORDERS: dict[str, type[Recorder]] = {"loss": Losses, "gradients": Gradients, "landscape": Landscape}
"""The recorders by the names that a Config's `record` has."""


def held(recorders: Mapping[str, Recorder]) -> dict[str, Tensor]:
    """Return the tensors of all recorders, each as "gradients/change", for a checkpoint."""
    return {f"{name}/{key}": tensor for name, one in recorders.items() for key, tensor in one.tensors.items()}


def recorders(names: str, model: nn.Module, optimizer: Optimizer, total: int) -> dict[str, Recorder]:
    """Return the recorders that `names` asks for, with commas between them, for a training of `total` steps."""
    return {name: RECORDERS[name](model, optimizer, total) for name in names.split(",") if name}
