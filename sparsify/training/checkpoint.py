"""The checkpoint: one file with all that a bit-exact resume needs, so that it is never partly old and partly new."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsify.errors import SparsifyError, first_line, reason_given
from sparsify.files import regular, write_tensors
from sparsify.folders import make_folder
from sparsify.runs import Epoch
from sparsify.runs.folder import RunFolder
from sparsify.sums import sha256
from sparsify.training.distributed import ranks

FILE = "checkpoint.safetensors"

BEGUN = ("config.json", "environment.json")
"""The files of a run that are written when its training begins."""


def has_checkpoint(folder: Path) -> bool:
    """Whether a training has begun in the folder, and has not ended."""
    return (folder / FILE).exists()


@dataclass(frozen=True)
class Checkpoint:
    """What a resume needs after some epochs, copied to the host's memory: the training goes on meanwhile."""

    tensors: dict[str, Tensor]
    rows: list[Epoch]

    @classmethod
    def of(cls, model: nn.Module, optimizer: Optimizer, recorded: dict[str, Tensor], rows: list[Epoch]) -> Checkpoint:
        """Copy the weights, the optimizer's state, what is recorded so far (its path is one), and the metrics."""
        tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
        for name, parameter in model.named_parameters():
            for key, value in optimizer.state[parameter].items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer/{name}/{key}"] = value
        tensors |= {f"path/{name}": tensor for name, tensor in recorded.items()}
        return cls({name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}, list(rows))


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint. It has its own SHA-256 sum, and those of the files that are there since the beginning."""
    make_folder(folder)  # says so if it was deleted or moved
    files = {name: sha256(regular(folder / name).read_bytes()) for name in BEGUN}
    kept = {"rows": json.dumps(checkpoint.rows), "files": json.dumps(files)}
    tensors = checkpoint.tensors
    write_tensors(folder / FILE, tensors, kept | {"sha256": _digest(tensors, kept)})


class Saver:
    """Writes checkpoints of a run, and metrics.csv, in a thread, and as often as they take `SHARE` of the time.

    The first is written at once, and says how long one takes. Within `with`, an error or Ctrl-C has the newest one
    written before it goes on, if it is not; a process that is killed goes back to the last one that was. `part` is the
    training's part of the time, if others go on in between.
    """

    SHARE = 0.05

    def __init__(self, run: RunFolder, part: float = 1.0) -> None:
        self.run, self.part = run, part
        self._newest: Checkpoint | None = None  # that is not written
        self._began = self._seconds = 0.0  # when the last one was begun, and how long it took
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.wait()
            if kind is not None and self._newest is not None:
                self._write(self._newest)
        finally:
            self._pool.shutdown()

    def offer(self, checkpoint: Checkpoint) -> None:
        """Begin to write it, if it is time; else keep it. Raises what the writing of an earlier one has raised."""
        if not ranks().writes:
            return
        self._newest = checkpoint
        if self._writing is not None and not self._writing.done():
            return
        self.wait()
        if (time.perf_counter() - self._began) * self.SHARE * self.part >= self._seconds:
            self._newest, self._writing = None, self._pool.submit(self._write, checkpoint)

    def wait(self) -> None:
        """Wait for what is being written. Raises what this has raised, and then nothing more is written."""
        if self._writing is not None:
            try:
                self._writing.result()
            except Exception:
                self._newest = self._writing = None
                raise
            self._writing = None

    def _write(self, checkpoint: Checkpoint) -> None:
        self._began = time.perf_counter()
        save_checkpoint(self.run.path, checkpoint)
        self.run.write_metrics(checkpoint.rows)
        self._seconds = time.perf_counter() - self._began


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
        raise _damaged(file, reason_given(error)) from error


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
