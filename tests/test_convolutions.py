"""Convolutions whose backward pass writes outside its memory in oneDNN: found by shape, and computed another way."""

from __future__ import annotations

import copy

import pytest
import torch
from processes import said_by
from torch import Tensor, nn

from sparsify import devices
from sparsify.data.dataset import Split
from sparsify.devices import overruns, safe_convolutions
from sparsify.nets.evaluation import loss_gradients
from sparsify.training.finetuning import Recipe, finetune


@pytest.fixture
def avx2(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decision for a processor with AVX2 and without AVX-512."""
    monkeypatch.setattr(devices.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.Conv2d(1, 8, 1, stride=2), True),
        (nn.Conv2d(7, 8, 1, stride=2), True),
        (nn.Conv2d(8, 8, 1, stride=2), False),
        (nn.Conv2d(4, 8, 1, stride=(1, 2)), True),
        (nn.Conv2d(4, 8, 1, stride=(2, 1)), True),
        (nn.Conv2d(4, 8, 1, stride=2, padding="valid"), True),
        (nn.Conv2d(4, 8, 1, stride=2, padding=1), False),
        (nn.Conv2d(4, 8, 1), False),
        (nn.Conv2d(4, 8, 3, stride=2), False),
        (nn.Conv2d(4, 8, 1, stride=2, groups=2), False),
        (nn.Conv1d(4, 8, 1, stride=2), False),
        (nn.Linear(4, 8), False),
        (nn.Conv2d(4, 8, 1, stride=2, device="meta"), False),
    ],
)
@pytest.mark.usefixtures("avx2")
def test_which_convolutions_overrun(module: nn.Module, expected: bool) -> None:
    assert overruns(module) == expected


@pytest.mark.parametrize(
    ("machine", "capability", "held_to", "channels"),
    [
        ("x86_64", "AVX2", None, 8),
        ("AMD64", "AVX2", None, 8),
        ("x86_64", "AVX512", None, 16),
        ("x86_64", "AVX2", "avx2", 16),  # it may have AVX-512 all the same
        ("x86_64", "DEFAULT", "default", 16),
        ("aarch64", "DEFAULT", None, 0),
        ("arm64", "NO AVX", None, 0),
    ],
)
def test_up_to_how_many_channels_on_which_processor(
    machine: str, capability: str, held_to: str | None, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices.platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    if held_to is not None:
        monkeypatch.setenv("ATEN_CPU_CAPABILITY", held_to)
    found = [count for count in range(1, 20) if overruns(nn.Conv2d(count, 8, 1, stride=2))]
    assert found == list(range(1, channels))


@pytest.mark.usefixtures("avx2")
def test_a_strided_convolution_sees_the_same_pixels_and_is_afterwards_what_it_was() -> None:
    convolution = nn.Conv2d(1, 1, 1, stride=(2, 3), bias=False)
    nn.init.constant_(convolution.weight, 10)
    inputs = torch.arange(12.0).view(1, 1, 3, 4)
    with safe_convolutions(nn.Sequential(convolution)):
        assert convolution.stride == (1, 1)
        assert convolution(inputs).tolist() == [[[[0, 30], [80, 110]]]]
        with safe_convolutions(convolution):  # again, inside
            assert convolution(input=inputs).tolist() == [[[[0, 30], [80, 110]]]]
    with pytest.raises(ZeroDivisionError), safe_convolutions(convolution):
        1 / 0  # noqa: B018 - it is the error that counts
    assert convolution.stride == (2, 3)
    assert not convolution._forward_pre_hooks


@pytest.mark.usefixtures("avx2")
def test_other_modules_are_not_touched() -> None:
    model = nn.Sequential(nn.Conv2d(4, 8, 3, stride=2), nn.Conv2d(8, 8, 1, stride=2), nn.Conv2d(8, 3, 1))
    before = [dict(module.__dict__) for module in model]
    with safe_convolutions(model):
        assert [module.__dict__ for module in model] == before
        assert not any(module._forward_pre_hooks for module in model)


def network() -> nn.Sequential:
    """Its 1×1 convolution is the smallest that oneDNN's backward pass is known to fail on."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 8, 1, stride=2), nn.ReLU())
    model = nn.Sequential(*layers, nn.AvgPool2d(4), nn.Flatten(1), nn.Linear(8, 2))
    return model.to(memory_format=torch.channels_last)


def problem() -> Split:
    generator = torch.Generator().manual_seed(1)
    return Split(torch.rand(48, 1, 8, 8, generator=generator), torch.arange(48) % 2)


def relative_difference(found: dict[str, Tensor], exact: dict[str, Tensor]) -> float:
    """The largest, of any tensor."""
    assert found.keys() == exact.keys()
    return max(((found[name] - exact[name]).abs().max() / exact[name].abs().max()).item() for name in exact)


def train_through_the_package() -> None:
    """Every way that trains or takes gradients here, against float64, which oneDNN does not compute."""
    from sparsify.data.dataset import Dataset
    from sparsify.data.registry import augmentation
    from sparsify.training.iteration import Iteration

    split = problem()
    exact = loss_gradients(network().double(), split, Tensor.double)
    for _ in range(20):
        assert relative_difference(loss_gradients(network(), split), exact) < 1e-5

    tuned, exactly_tuned = network(), network().double()
    finetune(tuned, {}, split, recipe=Recipe(epochs=10, lr=0.1, batch_size=12))
    finetune(exactly_tuned, {}, split, Tensor.double, recipe=Recipe(epochs=10, lr=0.1, batch_size=12))
    assert relative_difference(dict(tuned.state_dict()), dict(exactly_tuned.state_dict())) < 1e-4

    weights = []
    for dtype in (torch.float32, torch.float64):
        model = network().to(dtype)
        data = Dataset("pixels", split, split, ("0", "1"), lambda images, dtype=dtype: images.to(dtype))
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        iteration = Iteration(
            model, optimizer, data, augmentation("none"), torch.nn.functional.cross_entropy, "exact", None
        )
        for step in range(1, 41):
            iteration(torch.arange(48), torch.zeros(48, 3), step)
        weights.append(dict(model.state_dict()))
    assert relative_difference(*weights) < 1e-4


def test_the_smallest_case_is_trained_where_onednn_has_no_avx512() -> None:
    """In a process of its own: without `safe_convolutions` it dies, hangs or fails to agree."""
    program = (
        f"import runpy, torch; train = runpy.run_path({__file__!r})['train_through_the_package']\n"
        "for threads in (1, 2): print(threads, flush=True); torch.set_num_threads(threads); train()"
    )
    assert said_by(program, ONEDNN_MAX_CPU_ISA="AVX2", OMP_NUM_THREADS="2") == "1\n2\n"


@pytest.mark.usefixtures("avx2")
def test_networks_without_such_a_convolution_are_trained_to_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    first = nn.Sequential(nn.Conv2d(1, 9, 1), nn.ReLU(), nn.Conv2d(9, 8, 1, stride=2), nn.Flatten(1), nn.Linear(128, 2))
    other = copy.deepcopy(first)
    finetune(first, {}, problem(), recipe=Recipe(epochs=2, batch_size=12))
    monkeypatch.setattr(devices, "overruns", lambda module: False)
    finetune(other, {}, problem(), recipe=Recipe(epochs=2, batch_size=12))
    assert all(torch.equal(one, two) for one, two in zip(first.parameters(), other.parameters(), strict=True))
