"""The Triton kernels of SLBI: on a GPU where there is one, and their logic in Triton's interpreter on the CPU."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sparsify.errors import SparsifyWarning
from sparsify.optim.registry import slbi_for
from sparsify.optim.slbi import SLBI

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")

PROGRAM = """
import copy, math, sys
import torch
sys.path.insert(0, sys.argv[1])
from benchmarks.reference import ReferenceSLBI
from sparsify.optim.fused import FusedSLBI, try_out
from sparsify.optim.inclusion import PathRecorder
from sparsify.optim.slbi import SLBI

device = sys.argv[2]
# small, for the interpreter is slow: a filter and a matrix of more than one block, and what is less than one
shapes = [(3, 3, 3, 3), (2, 150, 3, 3), (6,), (30, 40), (9,), (2, 5, 3)]

def parameters(channels_last):
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(shape, generator=generator).to(device) for shape in shapes]
    if channels_last:
        made = [t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t for t in made]
    return [t.requires_grad_() for t in made]

def run(kind, channels_last, **options):
    ps = parameters(channels_last)
    optimizer = kind(ps, lr=0.05, mu=2.0, **options)
    generator = torch.Generator().manual_seed(1)
    for _ in range(12):
        for p in ps:
            p.grad = torch.empty_like(p).copy_(0.3 * torch.randn(p.shape, generator=generator))
        optimizer.step()
    return ps, optimizer

# the options change the arithmetic, and the memory format only where the numbers lie
for options, channels_last in (
    ({}, False), ({}, True), ({"momentum": 0.0}, True), ({"dampening": 0.5}, False),
    ({"weight_decay": 0.02, "kappa": 3.0, "path_scale": 0.5}, True), ({"threshold": math.inf}, False),
    ({"threshold": 0.3}, True),
):
    ours, fused = run(FusedSLBI, channels_last, **options)
    theirs, reference = run(ReferenceSLBI, False, **options)
    entered = 0
    for p, q in zip(ours, theirs):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-5)
        if "z" in reference.state[q]:
            torch.testing.assert_close(fused.state[p]["z"], reference.state[q]["z"], rtol=1e-5, atol=1e-5)
            entered += int(fused.support(p).sum())
    assert (entered > 0) == (options.get("threshold") != math.inf)

# what one has begun the other goes on with
ps, fused = run(FusedSLBI, True)
qs = [p.detach().clone().requires_grad_() for p in ps]
plain = SLBI(qs, lr=0.05, mu=2.0)
plain.load_state_dict(copy.deepcopy(fused.state_dict()))
for p, q in zip(ps, qs):
    p.grad = torch.full_like(p, 0.1)
    q.grad = torch.full_like(q, 0.1)
fused.step()
plain.step()
for p, q in zip(ps, qs):
    torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-5)

# parameters of few bits move in float32, as in SLBI
shapes = [(3, 2, 2, 2), (4, 5), (4,)]
results = []
for kind in (FusedSLBI, SLBI):
    ps = [p.detach().to(torch.bfloat16).requires_grad_() for p in parameters(False)]
    half = kind(ps, lr=0.02, mu=0.2)
    for _ in range(15):
        for p in ps:
            p.grad = 0.05 * p.detach()
        half.step()
    results.append((ps, half))
(ps, fused), (qs, plain) = results
for p, q in zip(ps, qs):
    assert p.dtype == torch.bfloat16
    torch.testing.assert_close(p, q, rtol=0.01, atol=0.01)
    for key, value in plain.state[q].items():
        assert fused.state[p][key].dtype == torch.float32
        torch.testing.assert_close(fused.state[p][key], value, rtol=1e-2, atol=1e-3)
assert all(fused.support(p).any() for p in ps[:2])

# what does not lie filter after filter, is empty, or is float64, moves as in SLBI; single weights need no order
def odd():
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(3, 4, 5, 2, generator=generator).permute(2, 1, 0, 3), torch.randn(7, 6, generator=generator).T]
    made += [torch.randn(1, 4, 3, generator=generator).transpose(1, 2), torch.zeros(0, 3, 2, 2), torch.zeros(3, 0)]
    made += [torch.randn(4, 3, 2, 2, generator=generator).double()]
    return [p.to(device).requires_grad_() for p in made]

results = []
for kind in (FusedSLBI, SLBI):
    ps = odd()
    optimizer = kind(ps, lr=0.05, mu=0.1)
    for _ in range(8):
        for p in ps:
            p.grad = 0.3 * p.detach()
        optimizer.step()
    results.append((ps, optimizer))
(ps, fused), (qs, plain) = results
for p, q in zip(ps, qs):
    exact = dict(rtol=1e-12, atol=1e-12) if p.dtype == torch.float64 else dict(rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(p, q, **exact)
    torch.testing.assert_close(fused.state[p]["z"], plain.state[q]["z"], **exact)
assert all(fused.support(p).any() for p in (*ps[:3], ps[-1]))

# the kernels write at which step a grain enters, once; where they cannot, the recorder does, for either step
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        more = [torch.randn(3, 150, 3, 3).contiguous(memory_format=torch.channels_last), torch.randn(30, 40)]
        made = dict(zip("abcdefgh", odd() + more, strict=True))
        for name, p in made.items():
            self.register_parameter(name, torch.nn.Parameter(p.detach()))

found = []
for kind in (FusedSLBI, SLBI):
    torch.manual_seed(0)
    net = Net().to(device)
    half = torch.nn.Parameter(torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(2)).bfloat16().to(device))
    net.register_parameter("i", half)
    optimizer = kind(net.named_parameters(), lr=0.05, mu=0.1)
    recorder = PathRecorder(net, optimizer, 14)
    generator = torch.Generator().manual_seed(3)
    history = {name: [] for name, p in net.named_parameters() if p.ndim > 1}
    for step in range(1, 15):
        for p in net.parameters():
            p.grad = torch.empty_like(p).copy_(2 * torch.randn(p.shape, generator=generator))
        # a tensor of the step is what a graph has
        recorder.advance(step if step % 2 else torch.tensor(float(step), device=device))
        for name in history:
            history[name].append(optimizer.support(name).clone())
    left = 0
    for name, supports in history.items():
        stack = torch.stack(supports)
        expected = torch.where(stack.any(0), stack.int().argmax(0) + 1.0, math.inf)
        assert torch.equal(recorder.tensors[f"entry/{name}"], expected), (kind, name)
        left += int((stack.any(0) & ~stack[-1]).sum())  # has left again
    assert left > 0
    found.append(optimizer)
number = torch.tensor(99.0, device=device)
entries = {p: torch.full(found[0].support(p).shape, math.inf, device=device) for p in found[0].structured()}
written = found[0].step_noting(number, entries)
names = {id(p): name for name, p in zip(found[0].param_groups[0]["param_names"], found[0].param_groups[0]["params"])}
assert {names[id(p)] for p in written} == {"c", "g", "h", "i"}, {names[id(p)] for p in written}
assert all((entries[p] == 99).equal(found[0].support(p)) for p in written)
assert found[1].step_noting(number, entries) == frozenset()

try_out(torch.device(device))

shapes = [(6, 3, 3, 3)]
ps, fused = run(FusedSLBI, True)

ps[0].grad = torch.zeros(shapes[0], device=device)
try:
    fused.step()
except ValueError as error:
    assert "must lie alike in memory" in str(error)
else:
    raise AssertionError("a gradient in another memory format was taken")
print("equal")
"""


def run(device: str, **environment: str) -> None:
    command = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent.parent), device]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "equal", done.stderr


def test_the_kernels_equal_the_reference_in_the_interpreter() -> None:
    run("cpu", TRITON_INTERPRET="1")


@pytest.mark.cuda
def test_the_kernels_equal_the_reference_on_a_gpu() -> None:
    run("cuda")


@pytest.mark.parametrize("capability", [75, 80, 90, 100])
@pytest.mark.parametrize(("kernel", "loads"), [("_weights", 4), ("_filters", 5)])
def test_the_kernels_compile_for_a_gpu_and_move_each_number_once(
    kernel: str, loads: int, capability: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # W, g, V and Z are read and W, V and Z written: 7 numbers a weight, 1.4 times the 5 of a fused SGD with momentum.
    # The norm of a filter reads its Z once more, from the cache; from memory it would be 8, or 1.6 times.
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from sparsify.optim import fused

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    function = getattr(fused, kernel)
    kinds = {"size": "i32", "block": "constexpr", "noted": "constexpr"}
    types = {name: kinds.get(name, "*fp32" if name.endswith("_ptr") else "fp32") for name in function.arg_names}
    aligned = {(at,): [["tt.divisibility", 16]] for at, name in enumerate(types) if name.endswith("_ptr")}
    source = ASTSource(function, types, {"block": fused.BLOCK, "noted": False}, aligned)
    compiled = compile(source, target=GPUTarget("cuda", capability, 32))
    assert compiled.asm["cubin"]
    moved = {"ld": 0, "st": 0}
    for operation, numbers in re.findall(r"(ld|st)\.global(?:\.v(\d))?\.b32", compiled.asm["ptx"]):
        moved[operation] += int(numbers or 1)
    threads = 32 * compiled.metadata.num_warps
    # beside the numbers, every thread reads the learning rate
    assert moved == {"ld": loads * fused.BLOCK // threads + 1, "st": 3 * fused.BLOCK // threads}


def test_without_a_gpu_the_plain_step_is_taken_and_where_triton_does_not_run_it_says_so() -> None:
    assert slbi_for(torch.device("cpu")) is SLBI
    absent = torch.device("cuda", torch.cuda.device_count())
    with pytest.warns(SparsifyWarning, match=r"^Triton does not run here \(.+\); SLBI's step takes several passes"):
        assert slbi_for(absent) is SLBI


@pytest.mark.cuda
def test_on_a_gpu_the_fused_step_is_taken() -> None:
    assert slbi_for(torch.device("cuda")).__name__ == "FusedSLBI"
