"""Probing: what marked channels reach, found by running the network itself."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sparsify.data.dataset import Inputs
from sparsify.errors import SparsifyError
from sparsify.nets.evaluation import call, evaluating
from sparsify.nets.parts import OUTPUT, Part, channelwise_part, part_of, vectors

LARGE = 128
"""The least height and width of an image of which a quarter of each is tried first."""


@dataclass(frozen=True)
class Source:
    """Channels that can be marked: the outputs of a part, or the slices of a parameter along one of its dimensions.

    `part` is the name of the part. `parameter` is the name of a parameter that belongs to no part, else "".
    """

    count: int
    part: str = ""
    parameter: str = ""
    dimension: int = 0


class Probe:
    """A network in which each layer gives what it gives for the example, whatever enters, and channels can be marked.

    A mark is a NaN: all that is computed from a marked channel is NaN, too, up to the next layers. So a run shows which
    *places* the marked channels reach: a place is a channel that enters a part of the network. A normalisation across
    channels hands each channel on as if its statistics were constants.

    Use it as a context manager. Raises SparsifyError if the network cannot be run on the example.
    """

    def __init__(self, model: nn.Module, example: Inputs) -> None:
        self.model, self._example = model, example

    def __enter__(self) -> Probe:
        with contextlib.ExitStack() as stack:
            stack.enter_context(evaluating(self.model))
            stack.enter_context(plainly())
            self.parts = self._record_quickly()
            self.sources = list(self._find_sources())
            counts = np.cumsum([0, *(part.inputs for part in self.parts.values())])
            self.first_place = dict(zip(self.parts, counts.tolist(), strict=False))
            self.places = int(counts[-1])
            for part in (part for part in self.parts.values() if part.kind != OUTPUT):
                stack.enter_context(_forward_replaced(part.module, functools.partial(self._forward, part)))
            for module in self.model.modules():
                if isinstance(module, (nn.LocalResponseNorm, nn.CrossMapLRN2d)):
                    stack.enter_context(_forward_replaced(module, Tensor.clone))
            self._without_marks = np.zeros(self.places, dtype=bool), False
            self._without_marks = self.run({})
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def run(self, marks: Mapping[Source, np.ndarray]) -> tuple[np.ndarray, bool]:
        """Return which places the marked channels reach, (places,), and whether they reach the network's outputs.

        `marks` are indices of channels.
        """
        self._marks = {source.part: channels for source, channels in marks.items() if not source.parameter}
        self._calls = dict.fromkeys(self.parts, 0)
        self._hits = np.zeros(self.places, dtype=bool)
        parameters = {source: channels for source, channels in marks.items() if source.parameter}
        with _marked_parameters(self.model, parameters), running("followed"):
            outputs = tensors(call(self.model, self._example))
        for part, output in zip(self.parts_at_the_end, outputs, strict=True):
            self._hit(part, output)
        places, reached = self._without_marks
        return self._hits & ~places, not reached and any(bool(output.isnan().any()) for output in outputs)

    def _record_quickly(self) -> dict[str, Part]:
        """Record on a corner of a large image if the network takes it: the channels run the same way, in less time."""
        whole = self._example
        if isinstance(whole, Tensor) and whole.ndim == 4 and min(whole.shape[2:]) >= LARGE:
            try:
                self._example = whole[:, :, : whole.shape[2] // 4, : whole.shape[3] // 4]
                return self._record()
            except SparsifyError:  # it is made for the size of the example
                self._example = whole
        return self._record()

    def _record(self) -> dict[str, Part]:
        """Run the network on the example, and return the parts that it calls; keep what they give."""
        self._outputs: dict[str, list[Any]] = {}
        found: dict[str, Part | None] = {}
        handles = []
        for name, module in self.model.named_modules():
            part = part_of(name, module)
            if part is None and not vectors(module):
                continue

            def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any,
                     name: str = name, part: Part | None = part) -> None:  # fmt: skip
                if name not in found:
                    found[name] = part or channelwise_part(name, module, _first(args, kwargs), output)
                if found[name] is not None and not found[name].passes:  # type: ignore[union-attr]
                    self._outputs.setdefault(name, []).append(_cloned(output))

            handles.append(module.register_forward_hook(note, with_kwargs=True))
        try:
            with running("run on the example"):
                outputs = tensors(call(self.model, self._example))
        finally:
            for handle in handles:
                handle.remove()
        parts = {name: part for name, part in found.items() if part is not None}
        self.parts_at_the_end = [_end(f"output {k}", self.model, output) for k, output in enumerate(outputs)]
        return parts | {part.name: part for part in self.parts_at_the_end}

    def _find_sources(self) -> Iterator[Source]:
        for name, part in self.parts.items():
            if part.outputs and not part.passes:
                yield Source(part.outputs, part=name)
        for name, parameter in self.model.named_parameters():
            owners = {".".join(name.split(".")[:depth]) for depth in range(name.count(".") + 1)}
            if owners & self.parts.keys() or not parameter.is_floating_point():
                continue
            table = isinstance(self.model.get_submodule(name.rpartition(".")[0]), nn.Embedding)
            for dimension, count in enumerate(parameter.shape):
                if count > 1 and not (table and dimension == 0):
                    yield Source(count, parameter=name, dimension=dimension)

    def _forward(self, part: Part, *args: Any, **kwargs: Any) -> Any:
        inputs = _first(args, kwargs)
        hit = self._hit(part, inputs)
        if part.passes:
            return inputs.clone()  # what is changed in place later must not change what entered
        calls = self._outputs[part.name]
        if self._calls[part.name] == len(calls):
            raise SparsifyError(f"how often '{part.name}' is called depends on what enters the network")
        output = _cloned(calls[self._calls[part.name]])
        self._calls[part.name] += 1
        channels = self._marks.get(part.name, np.empty(0, dtype=int))
        if part.kind == "depthwise":
            each = part.outputs // part.inputs
            channels = np.union1d(channels, np.flatnonzero(np.repeat(hit, each)))
        if len(channels):
            output.index_fill_(part.leaving, torch.as_tensor(channels, device=output.device), torch.nan)
        return output

    def _hit(self, part: Part, inputs: Tensor) -> np.ndarray:
        """Note and return which channels that enter a part are marked: (inputs,)."""
        hit = _marked(inputs, part.entering)
        if len(hit) != part.inputs:
            raise SparsifyError(f"{len(hit)} channels enter '{part.name}', which has {part.inputs}")
        start = self.first_place[part.name]
        self._hits[start : start + part.inputs] |= hit
        return hit


def _end(name: str, model: nn.Module, output: Tensor) -> Part:
    """Return the part that stands for a network's output; its channels run along dimension 1, or last of three."""
    along = -1 if output.ndim in (1, 3) else 1
    count = output.shape[along] if output.ndim else 1
    return Part(name, model, OUTPUT, count, 0, along, along)


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """Run networks op by op: not compiled, without gradients, and attention without its fused forms."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            torch.no_grad(),
            torch.compiler.set_stance("force_eager"),
            torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
        ):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextlib.contextmanager
def running(what: str) -> Iterator[None]:
    try:
        yield
    except SparsifyError as error:
        raise SparsifyError(f"the network cannot be {what}: {error}") from error
    except Exception as error:  # whatever the network's own forward raises
        reason = str(error).strip().partition("\n")[0]
        raise SparsifyError(f"the network cannot be {what}: {type(error).__name__}: {reason}") from error


@contextlib.contextmanager
def _forward_replaced(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    own = module.__dict__.get("forward")
    module.__dict__["forward"] = forward
    try:
        yield
    finally:
        if own is None:
            del module.__dict__["forward"]
        else:
            module.__dict__["forward"] = own


@contextlib.contextmanager
def _marked_parameters(model: nn.Module, marks: Mapping[Source, np.ndarray]) -> Iterator[None]:
    parameters = {source.parameter: model.get_parameter(source.parameter) for source in marks}
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    try:
        for source, channels in marks.items():
            parameter = parameters[source.parameter]
            where = torch.as_tensor(channels, device=parameter.device)
            parameter.index_fill_(source.dimension, where, torch.nan)
        yield
    finally:
        for name, value in before.items():
            parameters[name].copy_(value)


def _first(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    inputs = args[0] if args else next(iter(kwargs.values()), None)
    if not isinstance(inputs, Tensor):
        raise SparsifyError(f"a layer is given a {type(inputs).__name__} in place of a tensor")
    return inputs


def _marked(inputs: Tensor, dimension: int) -> np.ndarray:
    """Return which channels hold a NaN: (channels,)."""
    marked = inputs.detach().isnan()
    flat = marked.movedim(dimension, -1).flatten(0, -2) if marked.ndim > 1 else marked.reshape(1, -1)
    hit: np.ndarray = flat.any(0).cpu().numpy()
    return hit


def _cloned(output: Any) -> Any:
    return pytree.tree_map_only(Tensor, lambda tensor: tensor.detach().clone(), output)


def tensors(outputs: Any) -> list[Tensor]:
    """Return the tensors of floating-point numbers that a network gives."""
    if isinstance(outputs, Tensor):
        return [outputs] if outputs.is_floating_point() else []
    if isinstance(outputs, Mapping):
        outputs = list(outputs.values())
    elif not isinstance(outputs, (list, tuple)):
        outputs = list(getattr(outputs, "__dict__", {}).values())
    return [tensor for output in outputs for tensor in tensors(output)]
