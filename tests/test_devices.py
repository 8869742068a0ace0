"""Devices and exactness: settings of torch that come and go, also when they are nested."""

import platform

import pytest
import torch
from processes import said_by

from sparsify import devices
from sparsify.config import Places
from sparsify.devices import describe, exactly, halving, resolve_device
from sparsify.errors import SparsifyError


def flushes() -> bool:
    return bool(torch.tensor(1e-39) * 1 == 0)


def settings() -> tuple:
    return (
        flushes(),
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.benchmark,
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


def test_torchs_settings_are_put_back():
    before = settings()
    for precision in ("exact", "fast"):
        with exactly(precision):
            assert flushes()
            assert torch.backends.cudnn.allow_tf32 == (precision == "fast")
            assert torch.are_deterministic_algorithms_enabled() == (precision == "exact")
        assert settings() == before


def test_an_evaluation_inside_a_training_leaves_the_trainings_settings():
    with exactly("exact"):
        inside = settings()
        with exactly("fast"):
            assert settings() != inside
        assert settings() == inside
        assert flushes()


PROGRAM = """
import sys
import torch
from sparsify.devices import exactly

cudnn, onednn = torch.backends.cudnn, torch.backends.mkldnn
switches = (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn, onednn.matmul, onednn.conv, onednn.rnn)

def newer():
    return [one.fp32_precision for one in switches]

def older():
    try:
        return [torch.backends.cuda.matmul.allow_tf32, cudnn.allow_tf32, torch.get_float32_matmul_precision()]
    except RuntimeError:
        return "they differ"

exec(sys.argv[1])
before = newer(), older()
for precision, float32 in (("exact", "ieee"), ("fast", "tf32")):
    with exactly(precision):
        assert newer()[:3] == [float32] * 3, newer()
        assert precision == "fast" or newer()[3:] == ["ieee"] * 3, newer()
        assert (torch.backends.cuda.matmul.allow_tf32, cudnn.allow_tf32) == (precision == "fast",) * 2
        inside = newer()
        with exactly("exact"):
            pass
        assert newer() == inside
    assert (newer(), older()) == before, (precision, before, newer(), older())
torch.backends.fp32_precision = "none"
print(cudnn.conv.fp32_precision)
"""


FOLLOWS_IEEE = pytest.mark.skipif(
    torch.__version__.startswith("2.10."), reason="convolutions of torch 2.10 follow 'tf32' alone"
)


@pytest.mark.parametrize(
    ("use", "then"),
    [
        ("torch.backends.fp32_precision = 'tf32'", "none"),  # convolutions still follow it
        pytest.param("torch.backends.fp32_precision = 'ieee'", "none", marks=FOLLOWS_IEEE),
        ("cudnn.conv.fp32_precision = 'ieee'", "ieee"),
        ("torch.set_float32_matmul_precision('medium')", "tf32"),
    ],
)
def test_torchs_newer_switches_of_float32_are_read_set_and_put_back(use: str, then: str) -> None:
    """In a process of its own: torch cannot go back to its first settings."""
    assert said_by("import warnings; warnings.simplefilter('ignore')\n" + PROGRAM, use).strip() == then


def test_settings_are_put_back_after_an_error():
    before = settings()
    with pytest.raises(ZeroDivisionError), exactly("exact"):
        1 / 0  # noqa: B018 - it is the error that counts
    assert settings() == before


def test_auto_is_a_device_that_is_there():
    assert resolve_device("auto").type in ("cuda", "mps", "cpu")
    assert resolve_device("cpu") == torch.device("cpu")
    assert describe(torch.device("cpu")) == "cpu"


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="needs an x86 processor")
@pytest.mark.parametrize("unit", ["_is_avx512_bf16_supported", "_is_amx_tile_supported", None])
def test_fast_is_bfloat16_where_the_processor_has_units_for_it(unit, monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda name=name: name == unit)
    cpu = torch.device("cpu")
    assert devices.arithmetic("fast", cpu) == ("bfloat16" if unit else "float32")
    assert devices.arithmetic("exact", cpu) == "float32"
    one, other = torch.full((2, 2), 1 + 2**-10), torch.eye(2)
    for precision, rounded in (("fast", unit is not None), ("exact", False)):
        with devices.autocast(precision, cpu):
            product = one @ other
        assert product.dtype == (torch.bfloat16 if rounded else torch.float32)
        assert (product[0, 0].item() == 1) is rounded


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "", "cpu:x", "CPU"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(name):
    with pytest.raises(SparsifyError, match=rf"--device '{name}' is (unknown|absent).*auto.*cpu"):
        resolve_device(name)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
@pytest.mark.parametrize("megabytes", [4, 64])
def test_freed_memory_is_kept(megabytes: int) -> None:
    """In a process of its own: it lasts."""
    program = f"""
import resource
import torch
from sparsify.devices import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        [torch.zeros({megabytes} * 2**18) for _ in range(5)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed_memory()
faults()  # the first time, memory is taken
print(faults())
"""
    pages = 10 * 5 * megabytes * 2**20 / 4096
    assert int(said_by(program)) < 0.01 * pages


def test_the_batch_is_halved_until_the_memory_is_enough():
    tried = []

    def most_12(batch_size: int) -> str:
        tried.append(batch_size)
        if batch_size > 12:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "done"

    assert halving(most_12, 50) == ("done", 12)
    assert tried == [50, 25, 12]


def test_one_image_too_large_for_the_memory_is_no_endless_loop():
    def never(_batch_size: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        halving(never, 4)


def test_data_may_take_half_of_what_a_container_may_have(tmp_path, monkeypatch):
    cpu, limit = torch.device("cpu"), tmp_path / "memory.max"
    monkeypatch.setattr(devices, "CONTAINER", limit)
    whole = devices.room_for_data(cpu)
    limit.write_text("1000\n")
    assert devices.room_for_data(cpu) == 500
    limit.write_text("max\n")
    assert devices.room_for_data(cpu) == whole > 500


def test_a_place_can_be_a_device_of_torch() -> None:
    assert Places(device=torch.device("cpu")).device == "cpu"  # type: ignore[arg-type]
