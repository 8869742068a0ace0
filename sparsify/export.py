"""Networks for other software: ONNX, checked against onnxruntime before anything is written."""

from __future__ import annotations

import contextlib
import io
import warnings

import torch
from torch import Tensor, nn

from sparsify.errors import SparsifyError
from sparsify.evaluation import evaluating
from sparsify.shrinking import relative_difference

ONNX_TOLERANCE = 1e-4
"""How far onnxruntime's logits may be from torch's, as a fraction of the largest: another program adds up otherwise."""

INPUT, OUTPUT = "images", "logits"


def to_onnx(model: nn.Module, example: Tensor) -> tuple[bytes, float]:
    """The network in evaluation mode as an ONNX file's content, and how far its outputs are from torch's.

    It maps `images` (n, …), normalised and for any n, to `logits` (n, classes). `example` are such inputs, at least
    two: the file is made from the first two and checked on all of them, and on one alone. Raises SparsifyError if the
    optional packages are missing, if the network cannot be exported, and if the difference is above ONNX_TOLERANCE.
    """
    _require_packages()
    with evaluating(model):
        content = _exported(model, example[:2])
        difference = max(_difference(model, content, inputs) for inputs in (example[:1], example))
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
            f"--onnx needs {error.name or 'a package'}, which is not installed: pip install 'sparsify-study[onnx]'"
        ) from error


def _exported(model: nn.Module, example: Tensor) -> bytes:
    how = {"input_names": [INPUT], "output_names": [OUTPUT], "dynamic_shapes": ({0: torch.export.Dim("n")},)}
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # it reports its steps on stdout
            warnings.simplefilter("ignore")
            program = torch.onnx.export(model, (example,), dynamo=True, verbose=False, **how)
    except Exception as error:  # whatever the network's own forward, or the exporter, raises
        reason = str(error).strip().splitlines() or [""]
        raise SparsifyError(f"the network cannot be exported: {type(error).__name__}: {reason[0]}") from error
    return program.model_proto.SerializeToString()


def _difference(model: nn.Module, content: bytes, inputs: Tensor) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (outputs,) = session.run([OUTPUT], {INPUT: inputs.numpy()})
    with torch.inference_mode():
        return relative_difference(model(inputs), torch.from_numpy(outputs))
