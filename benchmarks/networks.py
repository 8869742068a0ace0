"""What works on which network: one row for every classification network of torchvision, and for 20 of timm.

    python -m benchmarks.networks                                  # hours; it goes on where it was stopped
    python -m benchmarks.networks --only resnet18 timm/levit_128s

Weights are random, images the smallest of SIZES that the network accepts. Each network is pruned with `all`, its
filters and neurons by 30%, and shrunk, in a process of its own with one thread and a time limit. Its cost is compared
with the parameters that the shrunk network has, and with the multiply-accumulates that torch.utils.flop_counter sees,
of the whole network and of the shrunk one. A few networks are exported to ONNX, and compared with onnxruntime.

Writes benchmarks/results/networks-<date>.json after each network and, of what stands in it, networks.md beside it. A
network that stands in the file is skipped: to measure it again, take its row out. It needs fork.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import importlib.util
import multiprocessing
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models

from benchmarks.measure import machine, save
from benchmarks.networks_table import RATIO, Results, Row, overview
from sparsify.data.dataset import Split
from sparsify.errors import SparsifyError, unknown
from sparsify.files import parse_json, write_text
from sparsify.nets.deployment import to_onnx
from sparsify.nets.mask import Mask
from sparsify.nets.shrinking import shrink_by
from sparsify.nets.structure import Cost
from sparsify.pruning.cuts import cuts_of
from sparsify.pruning.plan import PointPlan
from sparsify.pruning.subject import Subject

HERE = Path(__file__).parent
SIZES = (64, 128, 224, 256, 299)
TIMM = (
    "cait_xxs24_224",
    "convnextv2_atto",
    "cspresnet50",
    "dla34",
    "dpn48b",
    "ecaresnet26t",
    "edgenext_xx_small",
    "ese_vovnet19b_dw",
    "ghostnet_100",
    "hrnet_w18_small",
    "levit_128s",
    "mixer_s32_224",
    "mixnet_s",
    "mobilevit_xxs",
    "nf_resnet26",
    "poolformer_s12",
    "repvgg_a0",
    "res2net50_26w_4s",
    "skresnet18",
    "xcit_nano_12_p16_224",
)
"""Small networks of 20 families that torchvision lacks."""

EXPORTED = ("densenet121", "efficientnet_b0", "mobilenet_v3_small", "resnet18", "shufflenet_v2_x1_0", "squeezenet1_1")


# what the package says -----------------------------------------------------------------------------------------------


def subject_of(model: nn.Module, image: Tensor) -> Subject:
    """The network with one image; its structure is found once for all steps."""
    return Subject(model, Split(image, torch.zeros(1, dtype=torch.long)))


def pruned_by(subject: Subject) -> tuple[Mask, Cost, Cost]:
    """The mask of 30% of all filters and neurons, the cost of the whole network, and what is left of it."""
    cuts = cuts_of(subject, PointPlan(layers="all", ratio=RATIO, grain="neuron"))
    mask, left = subject.structure.remove(cuts)
    return mask, subject.structure.remove([])[1], left


# one network, in a process of its own --------------------------------------------------------------------------------


def build(network: str) -> nn.Module:
    """The network with random weights, in evaluation mode."""
    torch.manual_seed(0)
    library, _, name = network.rpartition("/")
    if library:
        import timm

        model: nn.Module = timm.create_model(name)
        return model.eval().requires_grad_(False)  # torch's counter fails on some that require it
    # these two would take minutes for a truncated normal distribution
    more = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    found: nn.Module = models.get_model(name, weights=None, **more)
    return found.eval()


def smallest_images(model: nn.Module) -> Tensor:
    """Two random images of the smallest of SIZES that the network accepts. Raises what it raises at the last."""
    for size in SIZES:
        images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        try:
            with torch.no_grad():
                model(images)
        except Exception:  # whatever the network raises for a size
            if size == SIZES[-1]:
                raise
        else:
            break
    return images


def counted(model: nn.Module, image: Tensor) -> int:
    """The multiply-accumulates for one image, as torch counts them: two operations each."""
    counter = FlopCounterMode(display=False)
    # attention as a whole would hide its linear layers
    with torch.no_grad(), without_fast_attention(), counter:
        model(image)
    return counter.get_total_flops() // 2


@contextlib.contextmanager
def without_fast_attention() -> Iterator[None]:
    """Have attention compute step by step: torch does not count the products of its fused form on a CPU."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def steps(network: str, export: bool) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """The steps by their names; each gives what it has found, as fields of the row."""
    model: nn.Module
    images: Tensor
    subject: Subject
    mask: Mask
    small: nn.Module

    def built() -> dict[str, Any]:
        nonlocal model, images, subject
        model = build(network)
        images = smallest_images(model)
        subject = subject_of(model, images[:1])
        params = sum(p.numel() for p in model.parameters())
        shape = " × ".join(map(str, images.shape[1:]))
        return {"images": shape, "params": params, "macs_counted": counted(model, images[:1])}

    def looked_at() -> dict[str, Any]:
        structure = subject.structure
        left_out = structure.left_out()
        return {"taken": len(structure.layers) - len(left_out), "left_out": left_out}

    def pruned() -> dict[str, Any]:
        nonlocal mask
        mask, whole, left = pruned_by(subject)
        return {"macs": whole.macs, "params_left": left.params, "macs_left": left.macs}

    def made_small() -> dict[str, Any]:
        nonlocal small
        shrinking = shrink_by(subject.structure, mask, images)
        small, kept = shrinking.network, shrinking.removal.kept
        shrunk = "in part" if kept else "yes"
        return {"shrunk": shrunk, "kept": list(kept), "params_shrunk": sum(p.numel() for p in small.parameters())}

    def counted_small() -> dict[str, Any]:
        return {"macs_shrunk_counted": counted(small, images[:1])}

    def exported() -> dict[str, Any]:
        to_onnx(small, images)
        return {"onnx": "equal"}

    yield "building", built
    yield "layers", looked_at
    yield "pruning", pruned
    yield "shrinking", made_small
    yield "counting", counted_small
    if export:
        yield "exporting", exported


def measure(network: str, export: bool, found: Callable[[Mapping[str, Any]], None]) -> None:
    """Go through the steps, and tell each finding as fields of a Row; a refusal, or an error, is the last."""
    for step, do in steps(network, export):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that a mask is not a removal; `shrink` refuses it
                found(do())
        except SparsifyError as error:
            found({"onnx" if step == "exporting" else "shrunk": str(error)})
            return
        except Exception as error:  # the network itself, or a fault of the package
            first = (str(error).strip().splitlines() or [""])[0]
            found({"failed": f"{step}: {type(error).__name__}: {first}"})
            return


def _work(pipe: Connection, network: str, export: bool) -> None:
    torch.set_num_threads(1)
    measure(network, export, pipe.send)


def row_of(network: str, *, export: bool, limit: float, work: Callable[..., None] = _work) -> Row:
    """Measure one network in a process of its own, which is stopped after `limit` seconds."""
    fork = multiprocessing.get_context("fork")
    mine, theirs = fork.Pipe(duplex=False)
    child = fork.Process(target=work, args=(theirs, network, export))
    began = time.perf_counter()
    child.start()
    theirs.close()
    row, failed, unfinished = Row(network=network), "", ""
    try:
        while True:
            if not mine.poll(max(0, began + limit - time.perf_counter())):
                unfinished = f"not done in {limit:g} s"
                break
            try:
                row = dataclasses.replace(row, **mine.recv())
            except EOFError:
                child.join()
                if child.exitcode:
                    code = child.exitcode
                    failed = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
                break
    finally:
        child.kill()
        child.join()
        mine.close()
    seconds = round(time.perf_counter() - began, 1)
    return dataclasses.replace(row, failed=failed or row.failed, unfinished=unfinished, seconds=seconds)


def known(timm: bool) -> list[str]:
    """The networks in their order."""
    return [*models.list_models(module=models), *(f"timm/{name}" for name in TIMM if timm)]


def chosen(only: Sequence[str], names: Sequence[str]) -> list[str]:
    """All, or those that are asked for. Raises SparsifyError for an unknown one."""
    for name in only:
        if name not in names:
            raise unknown("network", name, names)
    return [name for name in names if not only or name in only]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these networks; timm's as timm/NAME")
    parser.add_argument("--onnx", nargs="*", default=EXPORTED, metavar="NAME", help="the networks that are exported")
    parser.add_argument("--limit", type=float, default=900, help="seconds that a network may take")
    parser.add_argument("--output", type=Path, help="by default benchmarks/results/networks-<date>.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    now = datetime.datetime.now(datetime.UTC)
    about = machine(torch.device("cpu"), now)
    path = arguments.output or HERE / "results" / f"networks-{now:%Y%m%d}.json"
    has_timm = importlib.util.find_spec("timm") is not None
    if not has_timm:
        print(f"timm is not installed: {len(TIMM)} networks are left out")
    try:
        names = chosen(arguments.only, known(has_timm))
    except SparsifyError as error:
        sys.exit(str(error))
    results = Results(**about, timm=metadata.version("timm") if has_timm else None)
    if path.exists():
        try:
            results = parse_json(path.read_bytes(), Results)
        except SparsifyError as error:
            sys.exit(f"{path}: {error}")
    done = {row.network for row in results.networks}
    for name in names:
        if name in done:
            continue
        row = row_of(name, export=name in arguments.onnx, limit=arguments.limit)
        results.networks.append(dataclasses.replace(row, commit=about["git_commit"]))
        save(path, dataclasses.asdict(results))
        write_text(path.parent / "networks.md", overview(results))
        print(f"{name}: {row.failed or row.unfinished or row.shrunk}, {row.seconds:.1f} s", flush=True)
    print(f"saved {path.name}")


if __name__ == "__main__":
    main()
