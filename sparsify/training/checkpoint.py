"""The checkpoint: one file with all that a bit-exact resume needs, so that it is never partly old and partly new."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsify.errors import SparsifyError, first_line
from sparsify.files import regular, write_tensors
from sparsify.folders import make_folder
from sparsify.runs import Epoch
from sparsify.sums import sha256

FILE = "checkpoint.safetensors"

BEGUN = ("config.json", "environment.json")
"""The files of a run that are written when its training begins."""


def has_checkpoint(folder: Path) -> bool:
    """Whether a training has begun in the folder, and has not ended."""
    return (folder / FILE).exists()


def save_checkpoint(
    folder: Path, model: nn.Module, optimizer: Optimizer, recorded: dict[str, Tensor], rows: list[Epoch]
) -> None:
    """Write the weights, the optimizer's state, what is recorded so far (its path is one), and the metrics so far.

    It has its own SHA-256 sum, and those of the files that are there since the training began.
    """
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state[parameter].items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{name}/{key}"] = value
    tensors |= {f"path/{name}": tensor for name, tensor in recorded.items()}
    tensors = {name: tensor.detach().cpu() for name, tensor in tensors.items()}  # from the device once
    make_folder(folder)  # says so if it was deleted or moved
    files = {name: sha256(regular(folder / name).read_bytes()) for name in BEGUN}
    kept = {"rows": json.dumps(rows), "files": json.dumps(files)}
    write_tensors(folder / FILE, tensors, kept | {"sha256": _digest(tensors, kept)})


def load_checkpoint(
    folder: Path, model: nn.Module, optimizer: Optimizer
) -> tuple[dict[str, Tensor], list[Epoch]] | None:
    """Restore model and optimizer in place. Return what is recorded and the metrics, or None without a checkpoint.

    Raises SparsifyError if the file is damaged, or one of `BEGUN`.
    """
    file = folder / FILE
    if not has_checkpoint(folder):
        return None
    try:
        with safe_open(regular(file), "pt") as opened:
            kept = dict(opened.metadata() or {})
            digest = kept.pop("sha256")
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
            if _digest(tensors, kept if "files" in kept else {}) != digest:  # older ones have no sums of files
                raise ValueError("its SHA-256 sum is not the one that was written")
            rows = json.loads(kept["rows"])
            files = json.loads(kept.get("files", "{}"))
        model.load_state_dict(_part(tensors, "model/"))
        parameters = dict(model.named_parameters())
        for name, tensor in _part(tensors, "optimizer/").items():
            parameter_name, key = name.rsplit("/", 1)
            parameter = parameters[parameter_name]
            # like the parameter, so that its device and its memory format come back, too
            like = torch.empty_like(parameter, dtype=tensor.dtype) if tensor.shape == parameter.shape else None
            value = tensor.to(parameter.device) if like is None else like.copy_(tensor)
            optimizer.state[parameter][key] = value
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _damaged(file, first_line(error)) from error
    for name in BEGUN if files else ():
        if sha256(_content(folder / name)) != files[name]:
            raise _damaged(folder / name, f"its SHA-256 sum is not the one in {FILE}")
    return _part(tensors, "path/"), rows


def delete_checkpoint(folder: Path) -> None:
    """Delete the checkpoint of a run that has ended, if there is one."""
    with contextlib.suppress(OSError):  # someone else's run, or a read-only disk: it is a run all the same
        (folder / FILE).unlink(missing_ok=True)


def _content(file: Path) -> bytes:
    try:
        return regular(file).read_bytes()
    except (OSError, SparsifyError) as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, reason: object) -> SparsifyError:
    return SparsifyError(f"{file} is damaged ({reason}); delete the run's folder and train it again")


def _digest(tensors: dict[str, Tensor], kept: dict[str, str]) -> str:
    """Return the SHA-256 sum of all values and of what is kept with them; safetensors does not detect a flipped bit."""
    digest = hashlib.sha256()
    if kept:
        shapes = {name: [str(tensor.dtype), *tensor.shape] for name, tensor in tensors.items()}
        digest.update(json.dumps([kept, shapes], sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().contiguous().view(-1).numpy().tobytes())
    return digest.hexdigest()


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
