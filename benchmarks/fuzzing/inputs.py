"""Targets of `python -m benchmarks.fuzz`: what a person types or writes, and the small files of a run.

A target is a function of bytes. It returns nothing, and may only raise SparsifyError. `SEEDS` are inputs to begin with.
"""

from __future__ import annotations

import functools
import json
import struct
import tempfile
from importlib import resources
from pathlib import Path

from torch import nn

from sparsify.cli.options import parse_seeds
from sparsify.config import Config
from sparsify.files import parse_json, parse_rows
from sparsify.nets.layers import find_sets
from sparsify.nets.mask import load_mask
from sparsify.nets.registry import network
from sparsify.pruning.plan import SweepPlan
from sparsify.pruning.ratios import parse_ratios
from sparsify.pruning.sweep import SweepRow, plan_of_rows
from sparsify.runs.records import Epoch, Summary
from sparsify.study.toml import load_study


def text_of(content: bytes) -> str:
    """The text as Python reads an argument: bytes that are no UTF-8 become lone surrogates."""
    return content.decode(errors="surrogateescape")


@functools.cache
def lenet() -> nn.Module:
    """A network whose layers are looked for."""
    return network("lenet", (1, 28, 28), 10)


@functools.cache
def folder() -> Path:
    """An empty folder, in which each input is a file."""
    return Path(tempfile.mkdtemp(prefix="fuzz-"))


def ratios(content: bytes) -> None:
    """`--ratios`, `ratio` and `ratios` of a study."""
    found = parse_ratios(text_of(content))
    assert found, "no ratio and no error"
    assert list(found) == sorted(set(found))
    assert all(0 <= ratio <= 1 for ratio in found)


def layers(content: bytes) -> None:
    """`--layers`: names and patterns."""
    plan = SweepPlan(layers=(text_of(content),))
    assert find_sets(lenet(), plan.layers, "lenet", dict)


def seeds(content: bytes) -> None:
    """`--seeds`."""
    assert len(set(parse_seeds(text_of(content)))) > 0


def study(content: bytes) -> None:
    """A study's TOML file."""
    path = folder() / "study.toml"
    path.write_bytes(content)
    assert load_study(str(path)).arms


def setting(content: bytes) -> None:
    """`--set`."""
    assert load_study("quick", [text_of(content)]).arms


def config(content: bytes) -> None:
    """config.json of a run."""
    assert Config.from_dict(parse_json(content, dict)).name


def summary(content: bytes) -> None:
    """summary.json of a run."""
    assert parse_json(content, Summary)["classes"]


def metrics(content: bytes) -> None:
    """metrics.csv of a run."""
    assert parse_rows(content, Epoch)


def sweep(content: bytes) -> None:
    """The table of a sweep."""
    assert plan_of_rows(parse_rows(content, SweepRow)).points


def safetensors(content: bytes) -> None:
    """A file of tensors, a mask's."""
    path = folder() / "mask.safetensors"
    path.write_bytes(content)
    assert load_mask(path)


def tensors(header: bytes, content: bytes) -> bytes:
    """A safetensors file of a header and its content."""
    return struct.pack("<Q", len(header)) + header + content


_SUMMARY = {
    "status": "finished",
    "held_out": "test",
    "accuracy": 0.5,
    "count": 2,
    "epochs": 1,
    "steps": 1,
    "seconds_per_epoch": 0.1,
    "support": {"conv1.weight": {"in": 1, "of": 6}},
    "shape": [1, 28, 28],
    "classes": ["0", "1"],
    "sha256": {"model.safetensors": "00"},
}
_SWEEP = (
    b"criterion,grain,scope,layers,ratio,draw,correct,count,accuracy,params,macs,compression,speedup\n"
    b"magnitude,auto,layer,conv3,0.5,0,1,2,0.5,10,20,1.5,1.5\n"
)
_OWN_OPTIONS = b"""[[arms]]
model = "convnet"
net = { norm = "batch", dropout = 0.5 }
opt = "adam"
opt_options = { betas = [0.9, 0.99], amsgrad = true }
schedule = "step-lr"
schedule_options = { step_size = 5, gamma = 0.5 }
augment = "mirror+crop:0.5"
record = ["loss", "gradients"]
published = { "test accuracy" = 0.5, source = "a paper" }
"""
_STUDIES = resources.files("sparsify") / "study" / "builtin"

SEEDS: dict[str, list[bytes]] = {
    "ratios": [b"0:0.6:0.1", b"0,0.3,0.6", b"0.5", b"0:1:1e-3"],
    "layers": [b"conv3,fc1", b"all", b"conv*", b"conv[12],fc?"],
    "seeds": [b"32", b"3,5", b"0, 1,2"],
    "study": [
        *(one.read_bytes() for one in sorted(_STUDIES.iterdir(), key=str) if one.name.endswith(".toml")),
        _OWN_OPTIONS,
    ],
    "setting": [
        b"net=activation=relu",
        b"schedule=step-lr",
        b"augment=mirror+crop:0.5",
        b"record=loss,gradients",
        b"epochs=5",
        b"seeds=[0,1]",
        b"sweep.controls=true",
        b'sweep.layers="conv1"',
        b"val=0.1",
    ],
    "config": [json.dumps(Config(opt=opt).to_dict()).encode() for opt in ("sgd", "slbi")],
    "summary": [json.dumps(_SUMMARY).encode()],
    "metrics": [",".join(Epoch.__annotations__).encode() + b"\n1,12,0.1,2.3,0.1,,,2.2,0.2,1.5\n"],
    "sweep": [_SWEEP],
    "safetensors": [tensors(b'{"a":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}}', b"\0\1")],
}
