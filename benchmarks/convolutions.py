"""Search for convolutions that oneDNN computes wrongly, or that write outside their memory.

    python -m benchmarks.convolutions --quick      # fewer channels and sizes: 10 to 20 minutes
    python -m benchmarks.convolutions              # every kind of shape that shrinking can leave: hours

Each shape is computed forward and backward in float32, in several memory layouts, and compared with float64 in the
contiguous layout. This is repeated for each instruction set that oneDNN can be held to (ONEDNN_MAX_CPU_ISA) and for one
and two threads. Shapes are computed in child processes with a time limit. Where a child dies, hangs or finds a wrong
number, that shape is computed again in a process of its own, and so is each of its directions; the rest goes on in a
new child.

The C library checks the heap (MALLOC_CHECK_) and fills it (MALLOC_PERTURB_): a write behind a block aborts, and what is
read before it is written shows. That needs glibc with its libc_malloc_debug.so; the search itself needs fork.
Writes benchmarks/results/convolutions-<date>.json.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import functools
import itertools
import json
import multiprocessing
import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

HERE = Path(__file__).parent
ENVIRONMENT = {
    "LD_PRELOAD": "libc_malloc_debug.so.0",
    "MALLOC_CHECK_": "3",
    "MALLOC_PERTURB_": "1",
    "OMP_WAIT_POLICY": "PASSIVE",  # two threads on a busy machine would wait for each other on the cores they need
}
"""What a process reads when it begins."""

INSTRUCTION_SETS = {
    "SSE41": "sse4_1",
    "AVX": "avx",
    "AVX2": "avx2",
    "AVX2_VNNI": "avx_vnni",
    "AVX512_CORE": "avx512_bw",
    "AVX512_CORE_BF16": "avx512_bf16",
    "AVX512_CORE_AMX": "amx_tile",
}
"""oneDNN's names, and what the processor must have for each; the widest one is also what oneDNN takes by itself."""

LAYOUTS = {
    "channels_last": ("inputs", "weight"),
    "input": ("inputs",),
    "weight": ("weight",),
    "gradient": ("gradient",),
    "contiguous": (),
}
"""Which of the tensors that a convolution is given are channels_last; the others are contiguous."""

DIRECTIONS = ("forward", "grad input", "grad weight", "grad bias")


@dataclass(frozen=True)
class Shape:
    """A convolution and its input: (batch, inputs, height, width) → (batch, outputs, …)."""

    inputs: int
    outputs: int
    kernel: int
    stride: tuple[int, int]
    padding: int
    groups: int
    size: tuple[int, int]
    batch: int

    def __str__(self) -> str:
        return (
            f"Conv2d({self.inputs}, {self.outputs}, {self.kernel}, stride={self.stride}, padding={self.padding}, "
            f"groups={self.groups}) on {self.batch} × {self.size[0]} × {self.size[1]}"
        )


def shapes(quick: bool) -> list[Shape]:
    """Those to search: few channels, as shrinking leaves them, and some strided 1×1 convolutions of many."""
    all_inputs = (1, 2, 3, 4, 7, 8, 9, 12, 15, 16, 17) if quick else range(1, 18)
    all_outputs = (1, 8, 17) if quick else (1, 7, 8, 16, 17)
    sizes = ((4, 4), (9, 9), (16, 16)) if quick else ((2, 2), (4, 4), (5, 8), (9, 9), (16, 16), (32, 32))
    found = []
    for inputs, outputs, kernel, size in itertools.product(all_inputs, all_outputs, (1, 3, 5), sizes):
        few = quick or kernel > 1
        strides = ((1, 1), (2, 2)) if few else ((1, 1), (2, 2), (1, 2), (2, 1), (3, 3))
        groups = {1, *(group for group in (2, inputs) if inputs % group == outputs % group == 0)}
        for stride, group, batch in itertools.product(strides, sorted(groups), (6,) if few else (1, 6)):
            found.append(Shape(inputs, outputs, kernel, stride, kernel // 2, group, size, batch))
    many = ((16, 512, 56), (24, 1024, 56), (37, 64, 32), (64, 128, 56), (100, 30, 28), (200, 500, 28), (1000, 64, 14))
    return found + [Shape(inputs, outputs, 1, (2, 2), 0, 1, (size, size), 2) for inputs, outputs, size in many]


@dataclass(frozen=True)
class Case:
    """A shape in one of LAYOUTS."""

    shape: Shape
    layout: str


@dataclass(frozen=True)
class Reference:
    """Float32 operands of a shape, what each direction must give, and how far float32 may be off."""

    operands: dict[str, Tensor]
    exact: dict[str, Tensor]
    allowed: dict[str, Tensor]


@functools.lru_cache(maxsize=1)
def reference(shape: Shape) -> Reference:
    """In float64 and the contiguous layout, from random numbers.

    A sum of n products of float32 is off by at most γ = n·u / (1 − n·u) times the sum of their absolute values, in
    whatever order it is computed, with u = 2⁻²⁴; here n counts a bias and the rounding of the result as well.
    """
    generator = torch.Generator().manual_seed(0)
    fed = shape.inputs // shape.groups
    operands = {
        "inputs": torch.randn(shape.batch, shape.inputs, *shape.size, generator=generator),
        "weight": torch.randn(shape.outputs, fed, shape.kernel, shape.kernel, generator=generator),
        "bias": torch.randn(shape.outputs, generator=generator),
    }
    operands["gradient"] = torch.randn(_forward(shape, operands).shape, generator=generator)
    exact = _compute(shape, DIRECTIONS, {name: tensor.double() for name, tensor in operands.items()})
    absolute = _compute(shape, DIRECTIONS, {name: tensor.double().abs() for name, tensor in operands.items()})
    positions = operands["gradient"][:, 0].numel()
    products = (fed * shape.kernel**2, shape.outputs // shape.groups * shape.kernel**2, positions, positions)
    allowed = {}
    for direction, count in zip(DIRECTIONS, products, strict=True):
        terms = (count + 2) * 2.0**-24
        allowed[direction] = terms / (1 - terms) * absolute[direction] + 1e-37
    return Reference(operands, exact, allowed)


def fault(case: Case, directions: Sequence[str], steps: int) -> str:
    """The first direction whose numbers are not those of float64, and how far they are off; "" if there is none."""
    expected = reference(case.shape)
    given = dict(expected.operands)
    for name in LAYOUTS[case.layout]:
        given[name] = _channels_last(given[name])
    for _ in range(steps):
        for direction, found in _compute(case.shape, directions, given).items():
            error, allowed = (found.double() - expected.exact[direction]).abs(), expected.allowed[direction]
            if not bool((error <= allowed).all()):  # NaN is not
                times = (error / allowed).nan_to_num(float("inf")).max()
                return f"{direction}: off by {times:.2g} times the bound"
    return ""


def _channels_last(tensor: Tensor) -> Tensor:
    """A copy whose strides say channels_last, which `contiguous` leaves out for a kernel of 1×1."""
    return tensor.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format).permute(0, 3, 1, 2)


def _forward(shape: Shape, given: dict[str, Tensor]) -> Tensor:
    operands = (given["inputs"], given["weight"], given["bias"])
    return F.conv2d(*operands, shape.stride, shape.padding, groups=shape.groups)


def _compute(shape: Shape, directions: Sequence[str], given: dict[str, Tensor]) -> dict[str, Tensor]:
    """The result of each of these directions."""
    results = {"forward": _forward(shape, given)} if "forward" in directions else {}
    wanted = [direction in directions for direction in DIRECTIONS[1:]]
    if any(wanted):
        # fmt: off
        backward = torch.ops.aten.convolution_backward(
            given["gradient"], given["inputs"], given["weight"], [shape.outputs], shape.stride, [shape.padding] * 2,
            [1, 1], False, [0, 0], shape.groups, wanted,
        )
        # fmt: on
        results |= dict(zip(DIRECTIONS[1:], backward, strict=True))
    return {name: results[name] for name in directions}


@dataclass(frozen=True)
class Setting:
    """What a process computes with: oneDNN's instruction set and torch's threads."""

    isa: str
    threads: int


def _work(pipe: Connection, setting: Setting, cases: list[Case], directions: tuple[str, ...], steps: int) -> None:
    """In a child: send what is wrong with each case, "" if nothing is, until the first where something is."""
    os.environ["ONEDNN_MAX_CPU_ISA"] = setting.isa  # read by oneDNN at the process's first convolution
    torch.set_num_threads(setting.threads)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)  # the C library's last words
    for case in cases:
        found = fault(case, directions, steps)
        pipe.send(found)
        if found:
            return


def first_failure(
    setting: Setting, cases: list[Case], directions: tuple[str, ...], steps: int, limit: float
) -> tuple[int, str] | None:
    """Compute these cases in one process: where it fails first and how, or None. `limit` is in seconds, for a case."""
    fork = multiprocessing.get_context("fork")
    mine, theirs = fork.Pipe(duplex=False)
    child = fork.Process(target=_work, args=(theirs, setting, cases, directions, steps))
    child.start()
    theirs.close()
    place = 0
    try:
        while True:
            if not mine.poll(limit):
                return place, "hangs"
            try:
                found = mine.recv()
            except EOFError:
                break
            if found:
                return place, found
            place += 1
        child.join(limit)
        code = child.exitcode
        if code == 0:
            return None
        how = f"dies of {signal.Signals(-code).name}" if code is not None and code < 0 else f"ends with {code}"
        return min(place, len(cases) - 1), how  # a process can die at its end
    finally:
        child.kill()
        child.join()
        mine.close()


def search(setting: Setting, cases: list[Case], limit: float) -> Iterator[tuple[Case, dict[str, str]]]:
    """Each case that fails, with what becomes of it and of each of its directions in a process of its own."""
    while cases:
        failure = first_failure(setting, cases, DIRECTIONS, 3, limit)
        if failure is None:
            return
        place, how = failure
        case, cases = cases[place], cases[place + 1 :]
        outcomes = {}
        for name, directions in {"all": DIRECTIONS, **{name: (name,) for name in DIRECTIONS}}.items():
            alone = first_failure(setting, [case], directions, 20, limit)
            if alone is not None:
                outcomes[name] = alone[1]
        yield case, outcomes or {"only after others": how}


def summary(setting: Setting, failing: list[tuple[Case, dict[str, str]]]) -> list[dict[str, Any]]:
    """Failing cases by layout, kernel, stride and groups: which channels, sizes, and how many of each outcome."""
    groups: dict[tuple[Any, ...], list[tuple[Case, dict[str, str]]]] = {}
    for case, what in failing:
        shape = case.shape
        groups.setdefault((case.layout, shape.kernel, shape.stride, shape.padding, shape.groups), []).append(
            (case, what)
        )
    rows = []
    for (layout, kernel, stride, padding, group), members in groups.items():
        outcomes: dict[str, collections.Counter[str]] = {}
        for _, what in members:
            for direction, text in what.items():
                kind = "wrong numbers" if " off by " in text else text
                outcomes.setdefault(direction, collections.Counter())[kind] += 1
        case, what = members[0]
        rows.append(
            {
                **asdict(setting),
                "layout": layout,
                "kernel": kernel,
                "stride": stride,
                "padding": padding,
                "groups": group,
                "inputs": sorted({case.shape.inputs for case, _ in members}),
                "outputs": sorted({case.shape.outputs for case, _ in members}),
                "sizes": sorted({case.shape.size for case, _ in members}),
                "batches": sorted({case.shape.batch for case, _ in members}),
                "cases": len(members),
                "outcomes": {direction: dict(counts) for direction, counts in outcomes.items()},
                "first": f"{case.shape}: {'; '.join(f'{name}: {text}' for name, text in what.items())}",
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a third of the channels, three sizes")
    parser.add_argument("--isa", help="one of oneDNN's instruction sets; by default each that the processor has")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--layouts", nargs="+", default=list(LAYOUTS), choices=LAYOUTS)
    parser.add_argument("--batch", type=int, default=256, help="shapes a process")
    parser.add_argument("--limit", type=float, default=10, help="seconds that a shape may take")
    parser.add_argument("--output", type=Path, help="by default benchmarks/results/convolutions-<date>.json")
    arguments = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        # this command itself, again
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **ENVIRONMENT})  # nosec B606
    has = torch.cpu.get_capabilities()
    names = [arguments.isa] if arguments.isa else [name for name, needs in INSTRUCTION_SETS.items() if has.get(needs)]
    cases = [Case(shape, layout) for shape in shapes(arguments.quick) for layout in arguments.layouts]
    now = datetime.datetime.now(datetime.UTC)
    result: dict[str, Any] = {
        "date": now.isoformat(timespec="seconds"),
        "torch": torch.__version__.split("+")[0],
        "onednn": re.findall(r"MKL-DNN v(\S+)", torch.__config__.show())[0],
        "processor": torch.backends.cpu.get_cpu_capability(),
        "cases": len(cases),
        "searched": [],
        "failing": [],
    }
    path = arguments.output or HERE / "results" / f"convolutions-{now:%Y%m%dT%H%M%SZ}.json"
    for isa, threads in itertools.product(names, arguments.threads):
        setting, began = Setting(isa, threads), time.perf_counter()
        failing: list[tuple[Case, dict[str, str]]] = []
        for start in range(0, len(cases), arguments.batch):
            failing += search(setting, cases[start : start + arguments.batch], arguments.limit)
        rows = summary(setting, failing)
        result["searched"].append(asdict(setting))
        result["failing"] += rows
        print(
            f"{isa}, threads: {threads}, failing: {len(failing)} of {len(cases)}, {time.perf_counter() - began:.0f} s"
        )
        for row in rows:
            print(f"  {row['layout']}, inputs {row['inputs']}, {row['outcomes']}, {row['first']}", flush=True)
        path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"saved {path.name}")


if __name__ == "__main__":
    main()
