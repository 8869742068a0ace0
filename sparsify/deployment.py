"""What pruning buys where a network runs: its size on disk and its latency after the filters are gone for good."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save
from torch import Tensor, nn

from sparsify.cost import Cut, Structure
from sparsify.files import write_rows
from sparsify.latency import latencies
from sparsify.shrinking import shrink

BATCHES = (1, 64)


@dataclass(frozen=True)
class Deployed:
    """One point at one batch size, the shrunk network beside the whole one on one device.

    `size` is in bytes, as safetensors. Latencies are seconds a batch: the median of `n`, and its quartiles.
    `theoretical` is the ratio of multiply-accumulates, `measured` that of the median latencies, whole ÷ shrunk;
    `faster` is whether the quartiles are apart.
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
    model: nn.Module,
    points: Iterable[tuple[str, float, Sequence[Cut]]],
    example: Tensor,
    *,
    device: str,
    batches: Sequence[int] = BATCHES,
    repetitions: int = 30,
) -> list[Deployed]:
    """Shrink the network at each point (layers, ratio, cuts), and measure it beside the whole one, in turns.

    `example` is one normalised input, (1, …), on the network's device; `device` is its name. Single weights that are
    removed stay as zeros, and save neither space nor time. Raises SparsifyError as `shrink` does.
    """
    structure = Structure(model, example)
    _, before = structure.remove([])
    rows = []
    for layers, ratio, cuts in points:
        small = shrink(model, cuts, example) if any(cut.drop.any() for cut in cuts) else model
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
                    _size(model),
                    _size(small),
                    *(whole.median, whole.low, whole.high),
                    *(shrunk.median, shrunk.low, shrunk.high),
                    before.macs / after.macs,
                    whole.median / shrunk.median,
                    shrunk.high < whole.low,
                )
            )
    return rows


def save_deployed(path: Path, rows: Sequence[Deployed]) -> Path:
    """Write them as CSV, in one step, and return the path."""
    write_rows(path, Deployed, rows)
    return path


def _size(model: nn.Module) -> int:
    return len(save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}))
