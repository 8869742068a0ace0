"""BatchNorm: its scale as a criterion, and its statistics re-estimated after pruning."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from sparsify import Split, Subject, prune
from sparsify.data.augmentation import crop_and_flip
from sparsify.data.registry import augmentation
from sparsify.errors import SparsifyError
from sparsify.nets.evaluation import evaluate, recalibrated
from sparsify.pruning.cuts import make_mask
from sparsify.pruning.sweep import Sweep


def network(scales: tuple[float, ...] = (0.5, -2.0, 0.1, 1.0)) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(1), nn.Linear(4 * 16, 3)
    )
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor(scales))
        model[1].bias.fill_(0.1)
    return model


def subject(**changes: object) -> Subject:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (40, 2, 4, 4), generator=generator, dtype=torch.uint8)
    split = Split(images[:20], torch.arange(20) % 3)
    return dataclasses.replace(Subject(network(), split, training=Split(images[20:], torch.arange(20) % 3)), **changes)


def test_bn_scale_removes_the_smallest_scales() -> None:
    """|γ| is 0.5, 2, 0.1, 1: the third filter goes first, then the first."""
    mask = make_mask(network(), torch.zeros(1, 2, 4, 4), layers="0", ratio=0.5, criterion="bn-scale")
    assert mask["0.weight"].flatten(1).any(1).tolist() == [False, True, False, True]
    assert mask["1.weight"].tolist() == [False, True, False, True]


def test_bn_scale_without_a_normalisation_is_refused_but_for_single_weights() -> None:
    model, image = network(), torch.zeros(1, 2, 4, 4)
    with pytest.raises(
        SparsifyError, match="'bn-scale' needs a normalisation with a scale behind 4, and there is none"
    ):
        make_mask(model, image, layers="4", ratio=0.3, criterion="bn-scale", grain="neuron")
    by_scale, by_size = (
        make_mask(model, image, layers="4", ratio=0.3, criterion=criterion) for criterion in ("bn-scale", "magnitude")
    )
    assert torch.equal(by_scale["4.weight"], by_size["4.weight"])


def test_statistics_are_of_images_as_they_were_in_training() -> None:
    """Cropped and mirrored images have other means; each is one of its own image, and nothing is drawn twice alike."""
    plain, augmented = subject(), subject(augment="crop-flip")
    draws = augmentation("crop-flip").draw(torch.arange(20), 0, 0)
    assert torch.equal(augmented.sample.images, crop_and_flip(plain.sample.images, draws))
    assert torch.equal(augmented.sample.labels, plain.sample.labels)
    assert not torch.equal(augmented.sample.images, plain.sample.images)
    by_hand = subject(training=augmented.sample)
    with recalibrated(by_hand.model, augmented.sample.images) as model:
        expected = evaluate(model, by_hand.split).accuracy
    (row,) = prune(augmented, layers="0", ratios="0", recalibrate_bn=True).rows
    assert row.recalibrated_accuracy == expected


def test_recalibrated_statistics_are_those_of_the_images_and_go_back() -> None:
    model = network()
    images = torch.rand(30, 2, 4, 4, generator=torch.Generator().manual_seed(2))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with recalibrated(model, images, batch_size=10), torch.no_grad():
        outputs = model[0](images).transpose(0, 1).flatten(1)
        batches = [model[0](part).transpose(0, 1).flatten(1) for part in images.split(10)]
        torch.testing.assert_close(model[1].running_mean, outputs.mean(1))
        torch.testing.assert_close(model[1].running_var, torch.stack([b.var(1) for b in batches]).mean(0))
        assert [model.training, model[0].training, model[1].training] == [True] * 3  # as it was
    assert model[1].momentum == 0.1
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_sweep_with_recalibration_measures_both(tmp_path) -> None:
    plain = prune(subject(), layers="0", ratios=[0, 0.5])
    both = prune(subject(), layers="0", ratios=[0, 0.5], recalibrate_bn=True)
    assert [row.accuracy for row in both.rows] == [row.accuracy for row in plain.rows]
    assert both.plan.recalibrate_bn
    assert not plain.plan.recalibrate_bn
    assert both.id != plain.id
    assert Sweep.read(both.save(tmp_path)) == both
    assert Sweep.read(plain.save(tmp_path)) == plain
    model = network()
    target = subject()
    mask = make_mask(model, target.split.images[:1].float(), layers="0", ratio=0.5)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name in mask:
                p.mul_(mask[name])
        model[1].momentum = None
        model[1].reset_running_stats()
        model(target.training.images.float())
        correct = (model.eval()(target.split.images.float()).argmax(1) == target.split.labels).sum()
    assert both.rows[1].recalibrated_accuracy == correct.item() / 20


def test_recalibration_needs_a_batch_norm_and_training_images() -> None:
    plain = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Flatten(1), nn.Linear(4 * 16, 3))
    with pytest.raises(SparsifyError, match="the network has no BatchNorm with statistics to re-estimate"):
        prune(subject(model=plain), layers="0", recalibrate_bn=True)
    with pytest.raises(SparsifyError, match="the network comes without training images"):
        prune(subject(training=None), layers="0", recalibrate_bn=True)


def test_a_frozen_network_is_not_fine_tuned() -> None:
    target = subject()
    target.model.requires_grad_(False)
    with pytest.raises(SparsifyError, match="--finetune: no parameter of the network requires a gradient"):
        prune(target, layers="0", finetune_epochs=1)
