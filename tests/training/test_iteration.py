"""Iterations replayed on fixed memory compute what they compute as they are; on a GPU they are CUDA graphs."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from sparsify.config import Config
from sparsify.data.dataset import Dataset, Normalise, Split
from sparsify.data.registry import augmentation, load_dataset
from sparsify.errors import SparsifyWarning
from sparsify.nets.outputs import loss_named
from sparsify.nets.registry import network
from sparsify.optim.inclusion import PathRecorder
from sparsify.optim.registry import OPTIMIZERS
from sparsify.runs import Run
from sparsify.training.iteration import WARM_UP, Eager, Iteration, Replayed, cuda_graph, stepper
from sparsify.training.launch import train
from sparsify.training.many import train_all
from sparsify.training.starting import initial_model
from sparsify.training.trainer import Trainer

pytestmark = pytest.mark.filterwarnings("ignore:the path may be too short")
CROSS_ENTROPY = loss_named("cross-entropy")
IMAGES, BATCH = 80, 36  # two batches of 36 and one of 8
TINY = Config(data="digits", epochs=2, batch_size=256, lr=0.05, mu=5)


def configs() -> list[Config]:
    made = []
    for opt, spec in OPTIMIZERS.items():
        if opt == "slimming":
            continue  # lenet has no BatchNorm
        options = {"opt": opt, "lr": 0.002 if "ada" in opt else 0.05} | ({"mu": 5} if "mu" in spec.defaults else {})
        made.append(Config(data="digits", epochs=2, batch_size=256, **options))
    return made


class Recorded:
    """In the place of a CUDA graph: what is captured is not run then, and each replay runs the same function."""

    def __init__(self) -> None:
        self.captures = self.replays = 0

    def __call__(self, run: Callable[[], None]) -> Callable[[], None]:
        self.captures += 1

        def replay() -> None:
            self.replays += 1
            run()

        return replay


def trained(config: Config, capture: Recorded | None = None) -> Iteration:
    """Train for five epochs of 15 steps in all: replayed from what `capture` records, or executed as they are.

    All is in float64, whose rounding is still far below 1e-10 after as many steps, on any processor.
    """
    digits = load_dataset("digits")
    dataset = dataclasses.replace(
        digits, train=digits.train[:IMAGES], normalise=lambda images: digits.normalise(images).double()
    )
    model = initial_model(config).to(torch.float64, memory_format=torch.channels_last)
    optimizer = OPTIMIZERS[config.opt].build(model, config)
    batches = list(torch.randperm(IMAGES, generator=torch.Generator().manual_seed(0)).split(BATCH))
    recorder = PathRecorder(model, optimizer, 5 * len(batches)) if OPTIMIZERS[config.opt].selects else None
    if recorder is not None:
        recorder.tensors = {name: tensor.double() for name, tensor in recorder.tensors.items()}
    iteration = Iteration(model, optimizer, dataset, augmentation("crop-flip"), CROSS_ENTROPY, "exact", recorder)
    iteration.loss_sum = iteration.loss_sum.double()
    advance: Eager | Replayed = Eager(iteration)
    if capture is not None:
        advance = Replayed(iteration, capture)
        advance.rate = advance.rate.double()
    draws = augmentation("crop-flip").draw(torch.arange(IMAGES), 0, 1)
    step = 0
    for _ in range(5):
        for index in batches:
            step += 1
            advance(index, draws[index], rate=config.lr * (1 - step / 50), step=step)
            if recorder is not None:
                recorder.note(step)
    return iteration


@pytest.mark.parametrize("config", configs(), ids=lambda config: config.opt)
def test_fixed_memory_and_a_rate_that_is_a_tensor_change_rounding_only(config: Config) -> None:
    if "mu" in OPTIMIZERS[config.opt].defaults:
        config = dataclasses.replace(config, mu=0.25, kappa=0.2)  # filters and weights enter from the 8th step on
    capture = Recorded()
    plain, replayed = trained(config), trained(config, capture)
    sizes = 2  # 36 and 8
    assert capture.captures == sizes
    assert capture.replays == 15 - sizes * WARM_UP
    for (name, p), q in zip(plain.model.named_parameters(), replayed.model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}")
    (loss, correct), (other_loss, other_correct) = plain.sums(), replayed.sums()
    assert loss == pytest.approx(other_loss, rel=1e-10)
    assert correct == other_correct
    assert replayed.sums() == (0.0, 0)  # each sum is of what came since the last one
    if plain.recorder is not None:
        for name, tensor in plain.recorder.tensors.items():
            found = replayed.recorder.tensors[name]
            if name.startswith("entry/"):
                assert torch.equal(found, tensor), name
            else:
                torch.testing.assert_close(found, tensor, rtol=0, atol=1e-10)


@pytest.mark.parametrize("config", configs(), ids=lambda config: config.opt)
def test_the_state_keeps_its_place_in_memory_when_the_rate_is_a_tensor(config: Config) -> None:
    """A captured kernel reads and writes the addresses of its capture."""
    model = initial_model(config)
    optimizer = OPTIMIZERS[config.opt].build(model, config)
    rate = torch.tensor(0.01)
    for group in optimizer.param_groups:
        group["lr"] = rate

    def places() -> dict[tuple[int, str], int]:
        states = enumerate(optimizer.state.values())
        return {(i, k): v.data_ptr() for i, state in states for k, v in state.items() if isinstance(v, Tensor)}

    images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    found = []
    for _ in range(3):
        optimizer.zero_grad()
        model(images).square().mean().backward()
        optimizer.step()
        found.append(places())
    assert found[1] == found[2]
    assert all(group["lr"] is rate for group in optimizer.param_groups)


def without_values(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six iterations on tensors that have no values: what asks for one fails."""
    monkeypatch.setattr("sparsify.training.iteration.torch.autocast", lambda *_, **__: contextlib.nullcontext())
    shape = (1, 28, 28) if config.model == "lenet" else (3, 32, 32)
    with torch.device("meta"):
        model = network(config.model, shape, 10).to(memory_format=torch.channels_last)
        images = torch.empty(12, *shape, dtype=torch.uint8)
        index, draws = torch.empty(8, dtype=torch.int64), torch.empty(8, 3, dtype=torch.int64)
        split = Split(images, torch.empty(12, dtype=torch.int64))
    data = Dataset("none", split, split, tuple("0123456789"), Normalise((0.0,) * shape[0], (1.0,) * shape[0]))
    optimizer = OPTIMIZERS[config.opt].build(model, config)
    recorder = PathRecorder(model, optimizer, 6) if OPTIMIZERS[config.opt].selects else None
    iteration = Iteration(model, optimizer, data, augmentation("crop-flip"), CROSS_ENTROPY, "exact", recorder)
    advance = Replayed(iteration, Recorded())
    for step in range(1, 7):
        advance(index, draws, rate=0.1, step=step)
        if recorder is not None:
            recorder.note(step)


@pytest.mark.parametrize(
    ("model", "opt"),
    [
        *(("lenet", opt) for opt in ("sgd-pull", "slbi", "linbreg", "prox-sgd")),
        *(("vgg-a-bn", opt) for opt in ("sgd-pull", "slbi", "linbreg")),  # the first two select its scales
        *(("vgg-a-dropout", "slbi"), ("resnet20", "prox-sgd")),
    ],
)
def test_an_iteration_reads_nothing_back_from_the_device(model: str, opt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adam's step and, on CUDA, SGD's are torch's fused kernels, which know no tensors without values."""
    scales = "bn-scale" if model == "vgg-a-bn" and opt in ("slbi", "sgd-pull") else "grains"
    without_values(Config(model=model, opt=opt, data="digits", structure=scales), monkeypatch)


def test_what_reads_a_value_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match=r"item\(\) cannot be called on meta tensors"):
        without_values(Config(opt="sgd", data="digits"), monkeypatch)  # not the fused step: it reads the rate


@pytest.mark.parametrize("masked", [False, True])
def test_a_training_goes_with_the_last_reference_to_it(masked: bool) -> None:
    """With its graphs: the garbage collector could free them in the middle of another's capture."""
    dataset, model = load_dataset("digits"), initial_model(TINY)
    mask = {name: torch.ones_like(p, dtype=torch.bool) for name, p in model.named_parameters()} if masked else None
    gc.disable()
    try:
        training = Trainer(Run(Path()), TINY, dataset, model, torch.device("cpu"), mask=mask)
        optimizer = weakref.ref(training.optimizer)
        training.step(1, torch.arange(4), training.augment.draw(torch.arange(4), 0, 1))
        del training
        assert optimizer() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("opt", ["sgd", "slbi", "linbreg", "adam", "adagrad", "rprop", "adafactor"])
def test_only_what_can_be_captured_is_replayed(opt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adafactor reads norms back; replayed, it would go on with those of the capture."""
    config = Config(data="digits", opt=opt)
    model = initial_model(config)
    data = load_dataset("digits")
    optimizer = OPTIMIZERS[opt].build(model, config)
    iteration = Iteration(model, optimizer, data, augmentation("none"), CROSS_ENTROPY, "exact", None)
    assert type(stepper(iteration)) is Eager
    monkeypatch.setattr("sparsify.training.iteration.has_streams", lambda device: True)
    monkeypatch.setattr("torch.cuda.graph_pool_handle", lambda: None)
    assert type(stepper(iteration)) is (Eager if opt == "adafactor" else Replayed)


def test_an_iteration_is_captured_anew_where_its_decay_changes(tmp_path: Path, monkeypatch) -> None:
    """A graph holds the decay as the number that it was at the capture."""
    captures: list[Recorded] = []

    def recorded(iteration: Iteration) -> Replayed:
        captures.append(Recorded())
        return Replayed(iteration, captures[-1])

    monkeypatch.setattr("sparsify.training.trainer.stepper", recorded)
    config = Config(
        **{"data": "digits", "opt": "adamw", "weight_decay": 0.5, "epochs": 4, "batch_size": 200},
        decay_schedule="multi-step",
        decay_schedule_options="milestones=1+3,gamma=0.5",
    )
    train(config, device="cpu", runs_dir=tmp_path)
    assert [one.captures for one in captures] == [1, 1, 1]  # of the first epoch, the next two, and the last


@pytest.mark.cuda
@pytest.mark.parametrize("config", configs(), ids=lambda config: config.opt)
def test_a_cuda_graph_computes_what_its_kernels_compute(config: Config, tmp_path: Path, monkeypatch) -> None:
    config = dataclasses.replace(config, epochs=5)
    run = train(config, device="cuda", runs_dir=tmp_path / "graph")
    monkeypatch.setattr("sparsify.training.trainer.stepper", Eager)
    other = train(config, device="cuda", runs_dir=tmp_path / "eager")
    assert run.summary["train_loss"] == pytest.approx(other.summary["train_loss"], rel=1e-2)
    ours, theirs = (load_file(r.path / "model.safetensors") for r in (run, other))
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-2, atol=1e-3)


@pytest.mark.cuda
def test_a_graph_is_captured_and_replayed() -> None:
    with torch.cuda.stream(torch.cuda.Stream()):
        total = torch.zeros((), device="cuda")
        total += 1  # loads the kernel
        replay = cuda_graph(lambda: total.add_(1))
        replay()
        replay()
    torch.cuda.synchronize()
    assert total.item() == 3


class FailingCapture:
    """In the place of torch.cuda.graph: the end of a capture fails after what failed in it, as with CUDA."""

    ended: ClassVar[list[bool]] = []

    def __init__(self, _graph: object, **_how: object) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        self.ended.append(kind is None)
        if kind is not None:
            raise RuntimeError("the capture was invalidated")


@pytest.mark.parametrize("error", [RuntimeError("no value"), KeyboardInterrupt()], ids=["an error", "Ctrl-C"])
def test_after_a_failed_capture_another_one_succeeds_and_ctrl_c_stops_the_training(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the success that ends the capture mode of torch's generator."""
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: None)
    monkeypatch.setattr(torch.cuda, "graph", FailingCapture)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(device="cpu"))
    monkeypatch.setattr(FailingCapture, "ended", [])

    def iteration() -> None:
        raise error

    if isinstance(error, RuntimeError):
        with pytest.warns(SparsifyWarning, match=r"cannot be captured as a CUDA graph \(no value\)"):
            assert cuda_graph(iteration) is iteration
    else:
        with pytest.raises(KeyboardInterrupt):
            cuda_graph(iteration)
    assert FailingCapture.ended == [False, True]


@pytest.mark.cuda
def test_dropout_works_after_a_failed_capture() -> None:
    drop, ones = torch.nn.Dropout(0.5), torch.ones(100, device="cuda")
    with torch.cuda.stream(torch.cuda.Stream()):
        with pytest.warns(SparsifyWarning, match="cannot be captured"):
            again = cuda_graph(lambda: drop(ones).mul_(drop(ones).sum().item()))
        again()
        torch.randn(3, device="cuda")
    torch.cuda.synchronize()


@pytest.mark.cuda
def test_an_iteration_that_cannot_be_captured_is_run_as_it_is_with_a_warning() -> None:
    total = torch.ones((), device="cuda")
    with torch.cuda.stream(torch.cuda.Stream()), pytest.warns(UserWarning, match="cannot be captured"):
        again = cuda_graph(lambda: total.add_(total.item()))
    again()
    assert total.item() == 2


@pytest.mark.cuda
def test_a_resumed_training_on_cuda_is_bit_for_bit_the_uninterrupted_one(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(progress) -> None:
        if progress.row is not None and progress.epoch == 2:
            raise Stop

    config = dataclasses.replace(TINY, epochs=4)
    whole = train(config, device="cuda", runs_dir=tmp_path / "whole")
    with pytest.raises(Stop):
        train(config, device="cuda", runs_dir=tmp_path / "halves", listener=stop)
    halves = train(config, device="cuda", runs_dir=tmp_path / "halves")
    for name in ("model.safetensors", "z.safetensors"):
        ours, theirs = load_file(halves.path / name), load_file(whole.path / name)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.cuda
def test_seeds_that_overlap_are_the_same_as_alone(tmp_path: Path) -> None:
    several = [dataclasses.replace(TINY, seed=seed, epochs=4) for seed in range(4)]
    together = train_all(several, device="cuda", runs_dir=tmp_path / "together")
    for run, config in zip(together, several, strict=True):
        alone = train(config, device="cuda", runs_dir=tmp_path / "alone")
        ours, theirs = (load_file(r.path / "model.safetensors") for r in (run, alone))
        for name in theirs:
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-5)
