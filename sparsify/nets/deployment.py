"""Networks in use: latency side by side, size on disk, and ONNX."""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sparsify.data.dataset import Inputs, each, mapped
from sparsify.devices import products, wait_for
from sparsify.errors import SparsifyError, first_line
from sparsify.files import rows_as_bytes, tensors_as_bytes
from sparsify.nets.comparing import largest, relative_difference
from sparsify.nets.evaluation import call, evaluating
from sparsify.nets.shrinking import shrink_by
from sparsify.nets.structure import Cut, Structure
from sparsify.sums import write_recorded

WARM_UP = 3


@dataclass(frozen=True)
class Latency:
    """Seconds for one batch: the median of n forward passes, and their quartiles."""

    batch: int
    median: float
    low: float
    high: float
    n: int


@torch.inference_mode()
def latencies(models: Sequence[nn.Module], example: Inputs, *, batch: int, repetitions: int = 30) -> list[Latency]:
    """Time forward passes of each network on `batch` copies of the one input `example`, (1, …), in evaluation mode.

    The networks take turns, so that whatever slows the machine for a while slows all of them. The first three turns
    are not counted. On a GPU the time includes waiting for the end of the pass. Images are channels last, as they are
    everywhere else here, and products of float32 are not TF32.
    """
    inputs = mapped(lambda tensor: _laid_out(tensor.expand(batch, *tensor.shape[1:])), example)
    device = each(inputs)[0].device
    seconds = np.zeros((repetitions + WARM_UP, len(models)))
    with products(exact=True), contextlib.ExitStack() as modes:
        for model in models:
            modes.enter_context(evaluating(model))
        for turn in range(len(seconds)):
            for index, model in enumerate(models):
                wait_for(device)
                began = time.perf_counter()
                call(model, inputs)
                wait_for(device)
                seconds[turn, index] = time.perf_counter() - began
    quartiles = np.quantile(seconds[WARM_UP:], [0.5, 0.25, 0.75], axis=0).T
    return [Latency(batch, float(median), float(low), float(high), repetitions) for median, low, high in quartiles]


def _laid_out(inputs: Tensor) -> Tensor:
    images = inputs.ndim == 4
    return inputs.contiguous(memory_format=torch.channels_last if images else torch.contiguous_format)


BATCHES = (1, 64)


@dataclass(frozen=True)
class Deployed:
    """One point at one batch size: the shrunk network compared with the whole one on one device.

    `size` is in bytes, as safetensors. Latencies are in seconds per batch: the median of `n`, and their quartiles.
    `theoretical` is the ratio of multiply-accumulates and `measured` that of the median latencies, whole ÷ shrunk.
    `faster` is whether the ranges between the quartiles do not overlap.
    """

    layers: str
    ratio: float
    device: str
    batch: int
    n: int
    size_whole: int
    size: int
    whole: float
    whole_low: float
    whole_high: float
    shrunk: float
    shrunk_low: float
    shrunk_high: float
    theoretical: float
    measured: float
    faster: bool


def deploy(
    structure: Structure,
    points: Iterable[tuple[str, float, Sequence[Cut]]],
    *,
    device: str,
    batches: Sequence[int] = BATCHES,
    repetitions: int = 30,
) -> list[Deployed]:
    """Shrink a structure's network at each point (layers, ratio, cuts), and measure it beside the whole one, in turns.

    `device` is the name of the device that the network and the structure's example are on. Single weights that are
    removed stay as zeros, and save neither space nor time. Raises SparsifyError as `shrink` does.
    """
    model, example = structure.model, structure.example
    _, before = structure.remove([])
    rows = []
    for layers, ratio, cuts in points:
        small = shrink_by(structure, cuts, example).network if any(cut.drop.any() for cut in cuts) else model
        _, after = Structure(small, example).remove([])
        for batch in batches:
            whole, shrunk = latencies([model, small], example, batch=batch, repetitions=repetitions)
            rows.append(
                Deployed(
                    layers,
                    ratio,
                    device,
                    batch,
                    whole.n,
                    _stored_bytes(model),
                    _stored_bytes(small),
                    *(whole.median, whole.low, whole.high),
                    *(shrunk.median, shrunk.low, shrunk.high),
                    before.macs / after.macs,
                    whole.median / shrunk.median,
                    shrunk.high < whole.low,
                )
            )
    return rows


def save_deployed(path: Path, rows: Sequence[Deployed]) -> Path:
    """Write the rows as CSV, in one step, and return the path."""
    write_recorded(path.parent, {path.name: rows_as_bytes(Deployed, rows)})
    return path


def _stored_bytes(model: nn.Module) -> int:
    return len(tensors_as_bytes(dict(model.state_dict())))


ONNX_TOLERANCE = 1e-4
"""How far onnxruntime's logits may be from torch's, as a fraction of the largest: its sums are in another order."""

INPUT, OUTPUT = "images", "logits"


def to_onnx(model: nn.Module, example: Tensor) -> tuple[bytes, float]:
    """Return the content of an ONNX file of the network in evaluation mode, and how far its outputs are from torch's.

    It maps normalised `images` (n, …), for any n, to `logits` (n, classes). `example` holds at least two such inputs:
    the network is exported with the first two, and checked on all of them and on the first alone. Raises SparsifyError
    if the optional packages are missing, if the network cannot be exported, and if the difference is above
    ONNX_TOLERANCE.

    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    >>> content, difference = sparsify.to_onnx(model, torch.rand(2, 1, 2, 2))
    >>> Path("model.onnx").write_bytes(content) > 0 and difference < 1e-4
    True
    """
    _require_packages()
    with evaluating(model):
        content = _exported(model, example[:2])
        difference = largest(_difference(model, content, inputs) for inputs in (example[:1], example))
    if not difference <= ONNX_TOLERANCE:  # also if it is not a number
        raise SparsifyError(
            f"the ONNX form computes another function: its outputs differ by {difference:.1e} of the largest, "
            f"more than {ONNX_TOLERANCE:g}"
        )
    return content, difference


def _require_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise SparsifyError(
            f"ONNX needs {error.name or 'a package'}, which is not installed: pip install 'sparsify-study[onnx]'",
            about="ship",
        ) from error


def _exported(model: nn.Module, example: Tensor) -> bytes:
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # it reports its steps on stdout
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                verbose=False,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("n")},),
            )
    except Exception as error:  # the network's own forward and the exporter can raise anything
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise SparsifyError(f"the network cannot be exported: {reason}") from error
    assert program is not None  # dynamo=True gives a program
    content: bytes = program.model_proto.SerializeToString()
    return content


def _difference(model: nn.Module, content: bytes, inputs: Tensor) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (outputs,) = session.run([OUTPUT], {INPUT: inputs.numpy()})
    with torch.inference_mode():
        return relative_difference(model(inputs), torch.from_numpy(outputs))
