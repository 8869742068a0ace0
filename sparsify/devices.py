"""Devices, precision, memory, and random numbers that are the same on every device."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import math
import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import torch
import torch.utils.deterministic
from torch import nn

from sparsify.errors import SparsifyError

Result = TypeVar("Result")


def resolve_device(name: str = "auto") -> torch.device:
    """Return the device `name`; "auto" is CUDA, else MPS, else the CPU.

    Raises SparsifyError for an unknown device and for one that this machine does not have.
    """
    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    available = [f"cuda:{index}" for index in range(torch.cuda.device_count())] + available
    if torch.cuda.is_available():
        os.environ.setdefault(*_DETERMINISTIC_CUBLAS)  # torch reads it at the first product on a GPU only
    if name == "auto":
        return torch.device(available[0])
    if name not in (*available, *(["cuda"] if available[0].startswith("cuda") else [])):
        kind = "absent" if name.split(":")[0] in ("cuda", "mps") else "unknown"
        raise SparsifyError(f"--device '{name}' is {kind}; this machine has: auto, {', '.join(available)}")
    return torch.device("cuda:0" if name == "cuda" else name)


def seed_dropout(device: torch.device, seed: int) -> None:
    """Seed torch's own generators of the CPU and of this device; those of other GPUs are left alone."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


@contextlib.contextmanager
def generators_kept(device: torch.device) -> Iterator[None]:
    """Restore the state of torch's own generators of the CPU and of this device afterwards."""
    before = torch.mps.get_rng_state() if device.type == "mps" else None
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        if before is not None:
            torch.mps.set_rng_state(before)


def describe(device: torch.device) -> str:
    """Return the device in words: a GPU's product name, else "cpu" or "mps"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def wait_for(device: torch.device) -> None:
    """Return when all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def widest(device: torch.device) -> torch.dtype:
    """Return float64 if the device has it, else float32."""
    return torch.float64 if device.type != "mps" else torch.float32


def has_streams(device: torch.device) -> bool:
    """Whether its work is queued in streams, and an iteration can be captured as a graph."""
    return device.type == "cuda"


def has_bfloat16(device: torch.device) -> bool:
    """Whether it has units for products of bfloat16; what has none emulates them, at a fraction of float32's speed."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return True
    if platform.machine() in ("x86_64", "AMD64"):  # oneDNN takes bfloat16 wherever there is AVX-512
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def arithmetic(precision: str, device: torch.device) -> str:
    """Return the type of products: "bfloat16" if `precision` is "fast" and the device has units for it, else "float32".

    Weights and all sums are float32.
    """
    return "bfloat16" if precision == "fast" and has_bfloat16(device) else "float32"


def autocast(precision: str, device: torch.device, *, cached: bool = True) -> torch.autocast:
    """Within it products are of the type `arithmetic`. `cached` casts a parameter once, whatever changes it since."""
    rounded = arithmetic(precision, device) == "bfloat16"
    return torch.autocast(device.type, torch.bfloat16, enabled=rounded, cache_enabled=cached)


def has_fused_kernels(device: torch.device) -> bool:
    """Whether optimizers have steps of their own for it: torch's fused ones, and those in Triton."""
    return device.type == "cuda"


CONTAINER = Path("/sys/fs/cgroup/memory.max")
"""Where Linux says how much memory the container that we are in may take."""


def room_for_data(device: torch.device) -> float:
    """Return how many bytes data may take: half of what is free on a GPU, of all on the CPU. The rest is the network's.

    On the CPU a container's limit counts. It is infinite where the system does not say how much there is.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf, others not these names
        return math.inf
    try:
        return min(total, int(CONTAINER.read_text())) / 2
    except (OSError, ValueError):  # it is not in one, or in one without a limit: "max"
        return total / 2


@contextlib.contextmanager
def enough_memory(what: str, way_out: str) -> Iterator[None]:
    """Raise SparsifyError, with `what` needed the memory and a `way_out`, if a GPU's memory runs out within it."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise SparsifyError(f"the GPU's memory is not enough for {what}; {way_out}") from error


def halving(function: Callable[[int], Result], batch_size: int) -> tuple[Result, int]:
    """Return `function(b)` and b, the first of batch_size, batch_size / 2, … for which the GPU's memory is enough.

    Raises torch.OutOfMemoryError if it is not enough for 1.
    """
    while True:
        try:
            return function(batch_size), batch_size
        except torch.OutOfMemoryError:
            if batch_size == 1:
                raise
        batch_size //= 2  # outside of the handler, which keeps what the failed attempt allocated


def keep_freed_memory() -> None:
    """Make the C library keep freed memory for later requests, for the rest of the process.

    Every step of a training and every batch of a sweep frees and requests the same blocks of some megabytes. glibc
    returns such blocks to the system, which then provides them page by page: a third of the time of LeNet's step and of
    evaluating VGG on a CPU. Does nothing on systems other than Linux with glibc.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(AttributeError, OSError):  # another C library, without mallopt or with another name
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_M_MMAP_MAX, 0)  # no block is mapped by itself: such blocks are never kept
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


@contextlib.contextmanager
def safe_convolutions(model: nn.Module) -> Iterator[None]:
    """Within it the network's forward passes leave no convolution to autograd whose backward pass `overruns`.

    A 1×1 convolution with a stride sees every stride-th pixel alone: it is handed these, with a stride of 1, which is
    the same function. Other modules are not touched. The backward pass need not be within it.
    """
    convolutions = [
        (module, module.stride) for module in model.modules() if isinstance(module, nn.Conv2d) and overruns(module)
    ]
    hooks = []
    try:
        for module, stride in convolutions:
            hooks.append(module.register_forward_pre_hook(_taking_every(stride), with_kwargs=True))
            module.stride = (1, 1)
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module, stride in convolutions:
            module.stride = stride


def overruns(module: nn.Module) -> bool:
    """Whether oneDNN's gradient of this convolution's weight may write outside its memory, if it is channels_last.

    oneDNN copies the pixels that a 1×1 convolution with a stride sees into a buffer of as many channels as there are,
    but strides through it by a whole vector: 8 channels with AVX2, 16 with AVX-512 (oneDNN 3.12 and before; its issue
    6035). benchmarks/convolutions.py searches for others of the kind.
    """
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and max(module.stride) > 1
        and module.padding in ((0, 0), "valid")
        and module.groups == 1
        and module.weight.shape[1] < _vector()
        and module.weight.device.type == "cpu"
    )


def _vector() -> int:
    """An upper limit of the channels that are one vector to oneDNN on this processor; 0 if it is not for x86."""
    if platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available():
        return 0
    # that variable holds torch to less than the processor has, and oneDNN does not read it
    without_avx512 = torch.backends.cpu.get_cpu_capability() == "AVX2" and "ATEN_CPU_CAPABILITY" not in os.environ
    return 8 if without_avx512 else 16


def _taking_every(stride: tuple[int, ...]) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Any]:
    """A forward pre-hook that leaves of the module's input every row and column that the stride does not skip."""
    rows, columns = stride

    def take(_module: nn.Module, positional: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if not positional:
            return (), keywords | {"input": keywords["input"][..., ::rows, ::columns]}
        return (positional[0][..., ::rows, ::columns], *positional[1:]), keywords

    return take


_DETERMINISTIC_CUBLAS = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


class _Memory(Protocol):
    """The setting that torch adds to its module `torch.utils.deterministic` where type checkers do not see it."""

    fill_uninitialized_memory: bool


@contextlib.contextmanager
def exactly(precision: str) -> Iterator[None]:
    """Set torch to float32 without TF32 and to deterministic kernels if `precision` is "exact".

    With either precision denormals are flushed to 0: the momentum of dead filters decays into them, and they are slow.
    torch's settings are restored afterwards.
    """
    deterministic = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    benchmark = torch.backends.cudnn.benchmark
    exact = precision == "exact"
    if exact:
        os.environ.setdefault(*_DETERMINISTIC_CUBLAS)
    # warn_only: a network of the user's own may need a kernel that has no deterministic form
    torch.use_deterministic_algorithms(exact, warn_only=True)
    torch.backends.cudnn.benchmark = False
    memory = cast("_Memory", torch.utils.deterministic)
    flushed, filled = _flushes_denormals(), memory.fill_uninitialized_memory
    memory.fill_uninitialized_memory = False  # nothing here reads memory before it is written
    torch.set_flush_denormal(True)
    try:
        with products(exact=exact):
            yield
    finally:
        torch.set_flush_denormal(flushed)
        memory.fill_uninitialized_memory = filled
        torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
        torch.backends.cudnn.benchmark = benchmark


@contextlib.contextmanager
def products(*, exact: bool) -> Iterator[None]:
    """Within it a GPU's products and convolutions of float32 are TF32 unless `exact`; then a CPU rounds none either.

    torch has older switches (`allow_tf32`), and newer ones (`fp32_precision`), which are what its kernels go by. An
    older one raises RuntimeError when it is read while the newer ones say something else. All are set, so that they
    agree, and put back: a newer one that follows torch.backends.fp32_precision goes on doing so.
    """
    cuda = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    onednn: Any = torch.backends.mkldnn
    gpu: list[Any] = [cuda, cudnn.conv, cudnn.rnn]
    switches = [(one, one.fp32_precision) for one in (*gpu, onednn.matmul, onednn.conv, onednn.rnn)]
    products = _older(lambda: cuda.allow_tf32, cuda.fp32_precision)
    convolutions = _older(lambda: cudnn.allow_tf32, cudnn.conv.fp32_precision)
    level = None
    with contextlib.suppress(RuntimeError):  # as an older one
        level = torch.get_float32_matmul_precision()  # "medium" is more than allow_tf32 can say
    try:
        cuda.allow_tf32 = cudnn.allow_tf32 = not exact
        for one, _ in switches if exact else switches[: len(gpu)]:
            one.fp32_precision = "ieee" if exact else "tf32"
        yield
    finally:
        cuda.allow_tf32, cudnn.allow_tf32 = products, convolutions
        if level is not None:
            torch.set_float32_matmul_precision(level)
        for one, before in switches:
            one.fp32_precision = "none"
            if one.fp32_precision != before:
                one.fp32_precision = before


def _older(read: Callable[[], bool], newer: str) -> bool:
    """Return what an older switch says; if it raises, because it says something else, the opposite of the newer one."""
    try:
        return read()
    except RuntimeError:
        return newer != "tf32"


def _flushes_denormals() -> bool:
    """Whether `torch.set_flush_denormal` is on; torch has no function that returns it."""
    return bool(torch.tensor(1e-39) * 1 == 0)


def key(seed: int, *purpose: object) -> int:
    """Return a seed of 63 bits that depends on the arguments alone, not on the process or the machine."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: object) -> torch.Generator:
    """Return a generator on the CPU, seeded by `key`, so that every device gets the same numbers."""
    return torch.Generator().manual_seed(key(seed, *purpose))


def permutation(count: int, seed: int, *purpose: object) -> torch.Tensor:
    """Return a permutation of 0 … count − 1, keyed by the arguments: int64, on the CPU."""
    return torch.randperm(count, generator=generator(seed, *purpose))
