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
from sparsify.nets.parts import OUTPUT, Part, channelwise_part, part_of, projections, vectors
from sparsify.nets.tracing import WeightUses, first_tensor, plainly, running, tensors

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
            self.index = np.concatenate([np.empty(0, dtype=int), *(np.arange(p.inputs) for p in self.parts.values())])
            for part in self.parts.values():
                if part.kind not in (OUTPUT, "attention") and part not in self._functional.values():
                    stack.enter_context(_forward_replaced(part.module, functools.partial(self._forward, part)))
            for name, attention in self._attentions.items():
                stack.enter_context(_forward_replaced(attention, functools.partial(self._attend, name, attention)))
            if self._functional:
                stack.enter_context(WeightUses(self._functional, lambda part, inputs, _: self._forward(part, inputs)))
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
        outputs = self._run(marks, torch.nan)
        places, reached = self._without_marks
        return self._hits & ~places, not reached and any(bool(output.isnan().any()) for output in outputs)

    def zeros(self, source: Source) -> np.ndarray:
        """Return which places are 0 because all channels of a source are: (places,). They are products with these."""
        always = self._always_zero
        self._run({source: np.arange(source.count)}, 0.0)
        because: np.ndarray = self._hits & ~always
        return because

    @functools.cached_property
    def _always_zero(self) -> np.ndarray:
        self._run({}, 0.0)
        always: np.ndarray = self._hits
        return always

    def _run(self, marks: Mapping[Source, np.ndarray], mark: float) -> list[Tensor]:
        self._mark = mark
        self._marks = {source.part: channels for source, channels in marks.items() if not source.parameter}
        self._calls: dict[str, int] = {}
        self._hits = np.zeros(self.places, dtype=bool)
        parameters = {source: channels for source, channels in marks.items() if source.parameter}
        with _marked_parameters(self.model, parameters, mark), running("followed"):
            outputs = tensors(call(self.model, self._example))
        for part, output in zip(self.parts_at_the_end, outputs, strict=True):
            self._hit(part, output)
        return outputs

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
        self._attentions: dict[str, nn.MultiheadAttention] = {}
        found: dict[str, Part | None] = {}

        def note(name: str, part: Part | None, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if name not in found:
                found[name] = part or channelwise_part(name, module, first_tensor(args, kwargs), output)
            known = found[name]
            if known is not None and not known.passes:
                self._outputs.setdefault(name, []).append(_cloned(output))

        def note_attention(name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            assert isinstance(module, nn.MultiheadAttention)
            self._attentions[name] = module
            self._outputs.setdefault(name, []).append(_cloned(output))

        def note_use(part: Part, inputs: Tensor, output: Tensor) -> Tensor:
            self._outputs.setdefault(part.name, []).append(_cloned(output))
            found[part.name] = part
            return output

        with contextlib.ExitStack() as hooks:
            for name, module in self.model.named_modules():
                part = part_of(name, module)
                if isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
                    hook = functools.partial(note_attention, name)
                elif part is not None or vectors(module):
                    hook = functools.partial(note, name, part)
                else:
                    continue
                hooks.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
            with running("run on the example"):
                outputs = tensors(call(self.model, self._example))
        parts = {name: part for name, part in found.items() if part is not None}
        for name, attention in self._attentions.items():
            parts |= {part.name: part for part in projections(name, attention)}
        self._functional = {}
        for name, module in self.model.named_modules():
            part = part_of(name, module)
            if part is not None and part.kind == "layer" and name not in parts:
                self._functional[id(module.weight)] = part
        if self._functional:
            with WeightUses(self._functional, note_use), running("run on the example"):
                call(self.model, self._example)
            self._functional = {key: part for key, part in self._functional.items() if part.name in found}
            parts |= {part.name: part for part in self._functional.values()}
        self.parts_at_the_end = [_end(f"output {k}", self.model, output) for k, output in enumerate(outputs)]
        return parts | {part.name: part for part in self.parts_at_the_end}

    def _find_sources(self) -> Iterator[Source]:
        for name, part in self.parts.items():
            if part.outputs and not part.passes:
                yield Source(part.outputs, part=name)
        for name, parameter in self.model.named_parameters():
            owners = {".".join(name.split(".")[:depth]) for depth in range(name.count(".") + 1)}
            if owners & (self.parts.keys() | self._attentions.keys()) or not parameter.is_floating_point():
                continue
            table = isinstance(self.model.get_submodule(name.rpartition(".")[0]), nn.Embedding)
            for dimension, count in enumerate(parameter.shape):
                if count > 1 and not (table and dimension == 0):
                    yield Source(count, parameter=name, dimension=dimension)

    def _forward(self, part: Part, *args: Any, **kwargs: Any) -> Any:
        inputs = first_tensor(args, kwargs)
        hit = self._hit(part, inputs)
        if part.passes:
            return inputs.clone()  # what is changed in place later must not change what entered
        channels = self._marks.get(part.name, np.empty(0, dtype=int))
        if part.kind == "depthwise":
            channels = np.union1d(channels, np.flatnonzero(np.repeat(hit, part.outputs // part.inputs)))
        output = self._given(part.name)
        if len(channels):
            output.index_fill_(part.leaving, torch.as_tensor(channels, device=output.device), self._mark)
        return output

    def _attend(self, name: str, attention: nn.MultiheadAttention, *args: Any, **kwargs: Any) -> Any:
        into, out = (self.parts[part.name] for part in projections(name, attention))
        for inputs in {id(one): one for one in (*args[:3], *kwargs.values()) if isinstance(one, Tensor)}.values():
            if inputs.is_floating_point() and inputs.shape[-1] == into.inputs:
                self._hit(into, inputs)
        marked = np.zeros(into.outputs, dtype=bool)
        marked[self._marks.get(into.name, [])] = True
        queries, keys, values = (ends.reshape(attention.num_heads, -1) for ends in np.split(marked, 3))
        mixed = np.logical_or(queries, keys).any(axis=1, keepdims=True) & np.isnan(self._mark)
        self._note(out, np.logical_or(values, mixed).reshape(-1))
        result, weights = self._given(name)
        channels = self._marks.get(out.name, np.empty(0, dtype=int))
        result.index_fill_(-1, torch.as_tensor(channels, device=result.device), self._mark)
        return result, weights.fill_(torch.nan) if weights is not None and mixed.any() else weights

    def _given(self, name: str) -> Any:
        """Return what a module gave for the example in this call of it."""
        calls, number = self._outputs[name], self._calls.get(name, 0)
        if number == len(calls):
            raise SparsifyError(f"how often '{name}' is called depends on what enters the network")
        self._calls[name] = number + 1
        return pytree.tree_map_only(Tensor, Tensor.clone, calls[number])

    def _hit(self, part: Part, inputs: Tensor) -> np.ndarray:
        """Note and return which channels that enter a part are marked: (inputs,)."""
        hit = _marked(inputs, part.entering, self._mark)
        if len(hit) != part.inputs:
            raise SparsifyError(f"{len(hit)} channels enter '{part.name}', which has {part.inputs}")
        self._note(part, hit)
        return hit

    def _note(self, part: Part, hit: np.ndarray) -> None:
        start = self.first_place[part.name]
        self._hits[start : start + part.inputs] |= hit


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
def _marked_parameters(model: nn.Module, marks: Mapping[Source, np.ndarray], mark: float) -> Iterator[None]:
    parameters = {source.parameter: model.get_parameter(source.parameter) for source in marks}
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    try:
        for source, channels in marks.items():
            parameter = parameters[source.parameter]
            where = torch.as_tensor(channels, device=parameter.device)
            parameter.index_fill_(source.dimension, where, mark)
        yield
    finally:
        for name, value in before.items():
            parameters[name].copy_(value)


def _marked(inputs: Tensor, dimension: int, mark: float) -> np.ndarray:
    """Return which channels hold a NaN, or if that is the mark nothing but zeros: (channels,)."""
    values = torch.atleast_1d(inputs.detach())  # a loss has no channels
    channels = values.movedim(dimension, 0).reshape(values.shape[dimension], -1)
    channels = torch.view_as_real(channels).flatten(1) if channels.is_complex() else channels
    found = channels.abs().amax(1) == 0 if mark == 0 else channels.amax(1).isnan()  # the greatest is NaN if any is
    hit: np.ndarray = found.cpu().numpy()
    return hit


def _cloned(output: Any) -> Any:
    """Return a copy of what a module gave, without zeros: a 0 is only where one is marked."""

    def clone(tensor: Tensor) -> Tensor:
        copied = tensor.detach().clone()
        return copied.masked_fill_(copied == 0, 1) if copied.is_floating_point() else copied

    return pytree.tree_map_only(Tensor, clone, output)


def _end(name: str, model: nn.Module, output: Tensor) -> Part:
    """Return the part that stands for a network's output; its channels run along dimension 1, or last of three."""
    along = -1 if output.ndim in (0, 1, 3) else 1
    count = output.shape[along] if output.ndim else 1
    return Part(name, model, OUTPUT, count, 0, along, along)
