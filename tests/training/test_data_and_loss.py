"""What a Config says of images, labels, loss and first weights reaches the training, the run and its pruning."""

from __future__ import annotations

import dataclasses
import socket
import urllib.error
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from sparsify import Subject, evaluate, prune
from sparsify.config import Config, Places
from sparsify.data.dataset import Split, make_dataset
from sparsify.data.registry import DATASETS, DatasetSpec, augmentation, load_dataset
from sparsify.errors import SparsifyError
from sparsify.nets.modules import WhiteningConv2d
from sparsify.nets.outputs import loss_named, require_log_probabilities
from sparsify.nets.registry import NETS, NetworkSpec
from sparsify.pruning.subject import subject_of
from sparsify.runs import Run
from sparsify.training import iteration
from sparsify.training.iteration import Replayed
from sparsify.training.launch import time_iteration, train, train_side_by_side
from sparsify.training.starting import build, data_of, initial_model
from sparsify.training.trainer import Progress, Trainer


def tiny(**changes: Any) -> Config:
    return Config(
        **{"model": "tiny", "data": "digits", "opt": "sgd", "epochs": 3, "batch_size": 256, "val": 0.5} | changes
    )


@pytest.fixture(autouse=True)
def networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two small networks, "tiny", whose last layer is the second one, and the same with a log-softmax behind it."""

    def layers(shape: tuple[int, int, int], classes: int) -> list[nn.Module]:
        return [nn.Conv2d(shape[0], 4, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(36, classes)]

    def plain(shape: tuple[int, int, int], classes: int, options: Mapping[str, Any]) -> nn.Module:
        return nn.Sequential(*layers(shape, classes))

    def logged(shape: tuple[int, int, int], classes: int, options: Mapping[str, Any]) -> nn.Module:
        return nn.Sequential(*layers(shape, classes), nn.LogSoftmax(1))

    monkeypatch.setitem(NETS, "tiny", NetworkSpec(plain, "a small network"))
    monkeypatch.setitem(NETS, "tiny-log", NetworkSpec(logged, "a small network of log-probabilities"))


def weights(run: Run) -> dict[str, Tensor]:
    return load_file(run.path / "model.safetensors")


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return sorted(a) == sorted(b) and all(torch.equal(a[name], b[name]) for name in a)


class Stop(Exception):
    pass


def stop_after(epoch: int) -> Callable[[Progress], None]:
    def listener(progress: Progress) -> None:
        if progress.row is not None and progress.epoch == epoch:
            raise Stop

    return listener


# ---- augmentation ----


@pytest.mark.parametrize("augment", ["mirror+crop+autoaugment:0.6", "crop-flip", "random-erasing+rotation"])
def test_a_resumed_training_is_bit_for_bit_the_uninterrupted_one(augment: str, tmp_path: Path) -> None:
    config = tiny(augment=augment, val=0.9, batch_size=64)
    whole = train(config, device="cpu", runs_dir=tmp_path / "whole")
    with pytest.raises(Stop):
        train(config, device="cpu", runs_dir=tmp_path / "halves", listener=stop_after(2))
    torch.rand(3)  # what others draw in between changes nothing
    halves = train(config, device="cpu", runs_dir=tmp_path / "halves")
    assert same(weights(halves), weights(whole))
    assert halves.summary["train_loss"] == whole.summary["train_loss"]
    plain = train(dataclasses.replace(config, augment="none"), device="cpu", runs_dir=tmp_path / "whole")
    assert not same(weights(plain), weights(whole))


def test_an_image_is_changed_alike_in_batches_of_any_size(tmp_path: Path) -> None:
    """Without a step in between, the loss of an epoch is that of the same images."""
    found = []
    for batch_size in (50, 128):
        config = tiny(augment="autoaugment", batch_size=batch_size, epochs=1, lr=1e-30, val=0.9)
        found.append(train(config, device="cpu", runs_dir=tmp_path).summary["train_loss"])
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    plain = tiny(epochs=1, lr=1e-30, val=0.9)
    assert train(plain, device="cpu", runs_dir=tmp_path).summary["train_loss"] != pytest.approx(found[0], rel=1e-4)


def test_what_is_done_image_by_image_is_in_no_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = load_dataset("digits")
    captured = []
    monkeypatch.setattr(iteration, "has_streams", lambda _: True)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(iteration, "cuda_graph", lambda run, pool: captured.append(run) or run)
    for augment in ("crop-flip", "mirror+crop+autoaugment"):
        config = tiny(augment=augment)
        training = Trainer(Run(Path()), config, dataset, build(config, dataset), torch.device("cpu"))
        assert isinstance(training._advance, Replayed)
        monkeypatch.setattr(training.optimizer, "step", lambda: None)  # it would read the rate from the device
        draws = training.augment.draw(torch.arange(8), 0, 1)
        for step in range(1, 6):
            training.step(step, torch.arange(8), draws)
        assert len(captured) == 1, augment  # that of crop-flip


def test_the_sample_of_a_run_is_augmented_as_in_the_training(tmp_path: Path) -> None:
    run = train(tiny(augment="mirror+rotation:0.5", epochs=1), device="cpu", runs_dir=tmp_path)
    subject = subject_of(run)
    assert subject.sample is not None
    plain = dataclasses.replace(subject, augment="none").sample
    augment = augmentation("mirror+rotation:0.5")
    assert torch.equal(subject.sample.images, augment(plain.images, augment.draw(torch.arange(len(plain)), 0, 0)))
    assert not torch.equal(subject.sample.images, plain.images)


# ---- images ----


def test_images_are_resized_in_the_run_and_in_its_pruning(tmp_path: Path) -> None:
    config = tiny(resize=14, epochs=1)
    run = train(config, device="cpu", runs_dir=tmp_path)
    assert list(run.summary["shape"]) == [1, 14, 14]
    assert run.config.resize == 14
    subject = subject_of(run)
    assert subject.split.images.shape[1:] == subject.training.images.shape[1:] == (1, 14, 14)
    assert subject.normalise == load_dataset("digits", resize=14).normalise
    (row,) = prune(run, layers="0", ratios="0", device="cpu").rows
    assert row.accuracy == run.summary["accuracy"]


def test_pixels_that_are_not_normalised_are_not_normalised_in_the_pruning_either(tmp_path: Path) -> None:
    config = tiny(normalise=False, epochs=2)  # more of so few steps would be called a collapse
    run = train(config, device="cpu", runs_dir=tmp_path)
    subject = subject_of(run)
    assert subject.prepared(torch.tensor([51, 255], dtype=torch.uint8).view(2, 1, 1, 1)).flatten().tolist() == [
        pytest.approx(0.2),
        1.0,
    ]
    (row,) = prune(run, layers="0", ratios="0", device="cpu").rows
    assert row.accuracy == run.summary["accuracy"]
    assert not same(weights(run), weights(train(tiny(epochs=2), device="cpu", runs_dir=tmp_path)))


def test_trainings_side_by_side_have_each_its_own_images(tmp_path: Path) -> None:
    configs = [tiny(), tiny(normalise=False), tiny(resize=14)]
    together = train_side_by_side(configs, Places(device="cpu", runs_dir=tmp_path / "together"))
    for config, run in zip(configs, together, strict=True):
        assert same(weights(run), weights(train(config, device="cpu", runs_dir=tmp_path / "alone")))


# ---- loss ----


def test_nll_of_the_log_softmax_is_the_cross_entropy_to_the_bit() -> None:
    logits = torch.randn(64, 10, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(64) % 10
    found = []
    for loss, last in ((loss_named("cross-entropy"), nn.Identity()), (loss_named("nll"), nn.LogSoftmax(1))):
        given = logits.clone().requires_grad_()
        value = loss(last(given), labels)
        value.backward()
        found.append((value, given.grad))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_a_training_by_nll_is_that_by_the_cross_entropy_to_the_bit(tmp_path: Path) -> None:
    cross = train(tiny(), device="cpu", runs_dir=tmp_path)
    nll = train(tiny(model="tiny-log", loss="nll"), device="cpu", runs_dir=tmp_path)
    assert same(weights(nll), weights(cross))
    assert nll.summary["train_loss"] == cross.summary["train_loss"]
    assert nll.summary["loss"] == cross.summary["loss"]
    assert nll.name != cross.name


def test_nll_of_what_is_no_log_probability_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(SparsifyError, match=r"^--loss nll needs log-probabilities, and what tiny gives "):
        train(tiny(loss="nll"), device="cpu", runs_dir=tmp_path)
    assert list(tmp_path.rglob("*.*")) == []


def test_log_probabilities_sum_to_1() -> None:
    require_log_probabilities(torch.tensor([[0.25, 0.75]]).log(), "it")
    for wrong, total in ((torch.tensor([[0.25, 0.5]]).log(), "0.75"), (torch.full((1, 2), torch.nan), "nan")):
        with pytest.raises(SparsifyError) as caught:
            require_log_probabilities(wrong, "it")
        assert str(caught.value) == (
            f"--loss nll needs log-probabilities, and what it gives for an image sums to {total} as probabilities, not "
            "to 1; let the network end in LogSoftmax, or take --loss cross-entropy"
        )


def test_evaluation_by_nll_takes_log_probabilities_as_they_are() -> None:
    data = (torch.tensor([[0.5, 0.5], [0.125, 0.875]]).log(), [0, 1])
    found = evaluate(nn.Identity(), data, loss="nll")
    assert found.loss == pytest.approx((torch.tensor(2.0).log() - torch.tensor(0.875).log()).item() / 2)
    assert found.loss == pytest.approx(evaluate(nn.Identity(), data).loss)
    scaled = (2 * data[0], [0, 1])
    assert evaluate(nn.Identity(), scaled, loss="nll").loss == pytest.approx(2 * found.loss)
    with pytest.raises(SparsifyError, match=r"unknown loss 'mse'; choose from: cross-entropy, nll"):
        evaluate(nn.Identity(), data, loss="mse")


def test_the_subject_of_a_run_by_nll_has_its_loss(tmp_path: Path) -> None:
    run = train(tiny(model="tiny-log", loss="nll"), device="cpu", runs_dir=tmp_path)
    subject = subject_of(run)
    assert subject.loss is not None
    logs = torch.tensor([[0.25, 0.75]]).log()
    assert subject.loss(2 * logs, torch.tensor([1])).item() == pytest.approx(-2 * logs[0, 1].item())
    assert subject_of(train(tiny(), device="cpu", runs_dir=tmp_path)).loss is None
    assert len(prune(run, layers="0", ratios="0.5", criterion="taylor", finetune_epochs=1, device="cpu").rows) == 1


def test_labels_are_smoothed_in_training_and_not_in_evaluation(tmp_path: Path) -> None:
    """With a rate of next to nothing the weights are the first ones in both runs."""
    still = tiny(lr=1e-30, epochs=1, batch_size=len(load_dataset("digits").train))
    plain = train(still, device="cpu", runs_dir=tmp_path)
    smooth = train(dataclasses.replace(still, label_smoothing=0.3), device="cpu", runs_dir=tmp_path)
    assert smooth.summary["loss"] == plain.summary["loss"]
    dataset = load_dataset("digits")
    held = subject_of(plain)
    logits = initial_model(still)(held.normalise(held.training.images))
    logs = F.log_softmax(logits, 1)
    labels = held.training.labels
    # 1 - s of the label's own, s of the mean over the classes
    expected = -(0.7 * logs.gather(1, labels[:, None])[:, 0] + 0.3 * logs.mean(1)).mean()
    assert len(dataset.classes) == 10
    assert smooth.summary["train_loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert plain.summary["train_loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)


# ---- trained weights ----


def trained_of_ones(asked: list[nn.Module]) -> Callable[[nn.Module], str]:
    def load(model: nn.Module) -> str:
        asked.append(model)
        with torch.no_grad():
            model[0].weight.fill_(1.0)  # the last layer, 4, is left alone
        return "ones"

    return load


def test_a_training_starts_from_trained_weights_and_its_run_is_read_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[nn.Module] = []
    monkeypatch.setitem(NETS, "tiny", dataclasses.replace(NETS["tiny"], weights=trained_of_ones(asked)))
    config = tiny(pretrained=True)
    first, usual = initial_model(config), initial_model(tiny())
    assert torch.equal(first[0].weight, torch.ones_like(first[0].weight))
    assert torch.equal(first[4].weight, usual[4].weight)
    assert len(asked) == 1
    run = train(config, device="cpu", runs_dir=tmp_path)
    assert len(asked) == 2
    usual_run = train(tiny(), device="cpu", runs_dir=tmp_path)
    assert not same(weights(run), weights(usual_run))
    assert run.environment["pretrained"] == "ones"
    assert "pretrained" not in usual_run.environment
    monkeypatch.setitem(NETS, "tiny", dataclasses.replace(NETS["tiny"], weights=lambda _: pytest.fail("fetched")))
    assert train(config, device="cpu", runs_dir=tmp_path) == run
    assert same(run.model().state_dict(), weights(run))
    assert isinstance(subject_of(run), Subject)
    time_iteration(config, load_dataset("digits"), torch.device("cpu"))


def test_a_training_that_goes_on_does_not_load_its_first_weights_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[nn.Module] = []
    monkeypatch.setitem(NETS, "tiny", dataclasses.replace(NETS["tiny"], weights=trained_of_ones(asked)))
    config = tiny(pretrained=True, epochs=2)
    whole = train(config, device="cpu", runs_dir=tmp_path / "whole")
    with pytest.raises(Stop):
        train(config, device="cpu", runs_dir=tmp_path / "parts", listener=stop_after(2))  # the first epoch is kept
    assert len(asked) == 2
    monkeypatch.setitem(NETS, "tiny", dataclasses.replace(NETS["tiny"], weights=lambda _: pytest.fail("fetched")))
    parts = train(config, device="cpu", runs_dir=tmp_path / "parts")
    assert same(weights(parts), weights(whole))
    assert parts.environment["pretrained"] == "ones"


def test_a_sparse_start_leaves_trained_weights_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETS, "tiny", dataclasses.replace(NETS["tiny"], weights=trained_of_ones([])))
    config = Config(model="tiny", data="digits", opt="linbreg", pretrained=True)
    assert initial_model(config)[0].weight.eq(1).all()


def test_weights_that_are_neither_there_nor_to_be_fetched_are_one_line_and_leave_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent hosts are given up: while something is fetched, connections have a time limit."""
    limits = []

    def refuse(url: str, *_: object, **__: object) -> None:
        limits.append(socket.getdefaulttimeout())
        raise urllib.error.URLError(ConnectionRefusedError(111, "Connection refused"))

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    rgb = load_dataset("digits")
    images = rgb.train.images[:40].expand(-1, 3, -1, -1)
    split = Split(images, rgb.train.labels[:40])
    monkeypatch.setitem(DATASETS, "rgb", DatasetSpec(lambda _: make_dataset("rgb", split, split, rgb.classes), "grey"))
    model = "torchvision:squeezenet1_1"
    with pytest.raises(SparsifyError) as caught:
        train(Config(model=model, data="rgb", opt="sgd", pretrained=True), device="cpu", runs_dir=tmp_path / "runs")
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth") in message
    assert "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth" in message
    assert "Connection refused" in message
    assert limits == [10]
    assert socket.getdefaulttimeout() is None
    assert not (tmp_path / "runs").exists()


def test_data_with_one_class_is_refused() -> None:
    """As a folder is whose images lie in one folder more: train/images/*.png."""
    images = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
    split = Split(images, torch.zeros(2, dtype=torch.int64))
    one = make_dataset("wrapped", split, split, ("images",))
    with pytest.raises(SparsifyError, match="has one class, 'images': there is nothing to tell apart; a folder of"):
        build(Config(data="digits", opt="sgd"), one)


def test_what_whitens_begins_by_the_images_that_are_trained_on(tmp_path: Path) -> None:
    config = Config(
        model="resnet-speed", net="width=0.0625", data="colour-digits", val=0.5, opt="sgd", lr=1e-30, epochs=1
    )
    held = data_of(config)
    expected = WhiteningConv2d(3, 24, 2)
    expected.whiten(held.normalise(held.train.images))
    assert torch.equal(initial_model(config).conv1.weight, expected.weight)
    still = train(config, device="cpu", runs_dir=tmp_path)
    assert torch.equal(still.tensors("model.safetensors")["conv1.weight"], expected.weight)
    drawn = build(dataclasses.replace(config, net="width=0.0625,whitening=false"), held)
    assert not torch.equal(drawn.conv1.weight, expected.weight)
    assert all(
        torch.equal(weight, drawn.state_dict()[name])
        for name, weight in initial_model(config).state_dict().items()
        if name != "conv1.weight"
    )
