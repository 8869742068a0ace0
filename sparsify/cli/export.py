"""The command `sparsify export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sparsify.cli import console
from sparsify.cli.options import RunsDir, finished_run
from sparsify.errors import SparsifyError


def export(
    folder: str | None = None,
    /,
    *,
    onnx: Annotated[bool, Parameter(help="write model.onnx, checked against onnxruntime", negative=())] = False,
    runs_dir: RunsDir = Path("runs"),
) -> int:
    """Write a run (the newest unless one is named), or a shrunk network's folder, in a form for other software."""
    import torch

    from sparsify.devices import generator
    from sparsify.nets.deployment import INPUT, OUTPUT, to_onnx
    from sparsify.pruning.shrunk import Shrunk, is_shrunk, load_shrunk
    from sparsify.sums import write_recorded

    if not onnx:
        raise SparsifyError("export needs a format; there is one: --onnx")
    if folder is not None and is_shrunk(Path(folder)):
        network, shape, place = load_shrunk(Path(folder)), Shrunk.read(Path(folder)).shape, Path(folder)
    else:
        run = finished_run(folder, runs_dir)
        network, shape, place = run.model(), run.summary["shape"], run.output(runs_dir)
    inputs = torch.randn(8, *shape, generator=generator(0, "export"))
    content, difference = to_onnx(network, inputs)
    write_recorded(place, {"model.onnx": content})
    console.say(
        f"checked with onnxruntime: its logits differ from torch's by no more than {difference:.1e} of the largest"
    )
    console.say(f"written: {place / 'model.onnx'}; {INPUT} (n, {', '.join(map(str, shape))}), normalised → {OUTPUT}")
    return 0
