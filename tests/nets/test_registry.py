"""The networks compute what a textbook's own layers would, however they are computed."""

from __future__ import annotations

import copy
from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune

from sparsify.errors import SparsifyError
from sparsify.nets.layers import find_layers
from sparsify.nets.mask import masked
from sparsify.nets.registry import NETS, network, network_spec
from sparsify.nets.zoo.lenet import lenet
from sparsify.pruning.cuts import make_mask


def textbook_lenet(channels: int, padding: int) -> nn.Module:
    """LeNet in the usual order, ReLU before pooling, of torch's own modules."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 6, 5, padding=padding),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(6, 16, 5),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            conv3=nn.Conv2d(16, 120, 5),
            relu3=nn.ReLU(),
            flatten=nn.Flatten(1),
            fc1=nn.Linear(120, 84),
            relu4=nn.ReLU(),
            fc2=nn.Linear(84, 10),
        )
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batch", [1, 4, 7, 12])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_lenet_is_the_textbooks(shape: tuple[int, int, int], batch: int, training: bool) -> None:
    model = lenet(shape, 10).double().train(training)
    textbook = textbook_lenet(shape[0], (32 - shape[1]) // 2).double()
    textbook.load_state_dict(model.state_dict())
    images = torch.rand(batch, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(batch) % 10
    logits = []
    for net in (model, textbook):
        logits.append(net(images.clone()))
        F.cross_entropy(logits[-1], labels).backward()
    torch.testing.assert_close(*logits, rtol=0, atol=1e-12)
    for (name, p), q in zip(model.named_parameters(), textbook.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=0, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("training", [True, False])
def test_images_with_too_many_channels_are_not_taken_for_several(training: bool, batch: int) -> None:
    with pytest.raises(RuntimeError):
        lenet((1, 28, 28), 10).train(training)(torch.zeros(batch, 4, 28, 28))


def test_hooks_of_stacked_convolutions_run() -> None:
    """torch.nn.utils.prune computes the weight in one."""
    model = lenet((1, 28, 28), 10)
    masked = copy.deepcopy(model)
    with torch.no_grad():
        masked.conv2.weight[3] = 0
    prune.custom_from_mask(model.conv2, "weight", (masked.conv2.weight != 0).float())
    images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.conv2.weight_orig.mul_(2)
        masked.conv2.weight.mul_(2)
    assert torch.equal(model(images), masked(images))


PARAMETERS = {  # for 32×32 colour images and 10 classes
    "vgg-a": 9_750_922,  # 1,792 + 73,856 + 295,168 + 590,080 + 1,180,160 + 3 · 2,359,808, 2 · 262,656, 5,130
    "vgg-a-bn": 9_750_922 + 2 * 2752,
    "vgg-a-light": 611_434,
    "vgg-a-dropout": 9_750_922,
    "vgg16-bn": 15_253_578,
    "convnet": 1_757_002,  # 4,864 + 102,464 + 1,639,424 + 10,250
    "elu-net": 2_251_146,  # 3,584 + 147,584 + 2,097,408 + 2,570
    "resnet9": 2_145_354,  # 2,139,840 of nine convolutions, 2,944 of BatchNorm, 2,570
    "resnet-speed": 1_972_802,  # 312, 50,688 + 737,280 + 1,179,648 of convolutions, 2,304 of BatchNorm, 2,570
    "resnet18": 11_173_962,
    "resnet20": 272_474,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_of_the_networks_for_small_images(name: str) -> None:
    with torch.device("meta"):  # shapes alone
        model = network(name, (3, 32, 32), 10)
        assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
        assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("name", [name for name in NETS if name.startswith("vgg")])
def test_vgg_refuses_other_sizes(name: str) -> None:
    with pytest.raises(SparsifyError, match=r"VGG takes images of 32×32 pixels; these have 28×28"):
        network(name, (1, 28, 28), 10)


@pytest.mark.parametrize("name", NETS)
def test_conv3_and_fc1_of_every_network_are_pruned_as_if_they_were_gone(name: str) -> None:
    """conv3, or of two convolutions the second, and fc1 exist; what the mask leaves depends on nothing that went."""
    torch.manual_seed(0)
    side = 64 if name == "alexnet" else 32
    narrow = "width=0.25" if "width" in network_spec(name).settings else ""
    model = network(name, (3, side, side), 10, narrow).eval()
    last = "conv2" if name in ("convnet", "elu-net") else "conv3"
    layers = find_layers(model, f"{last},fc1")
    images = torch.rand(2, 3, side, side)
    mask = make_mask(model, images[:1], layers=f"{last},fc1", ratio=0.6)
    conv3 = layers[last]
    gone = ~mask[conv3.parameter].flatten(1).any(1)
    assert gone.sum() == round(0.6 * len(gone))
    felt = []
    with masked(model, mask), torch.inference_mode():
        before = model(images)
        for p, keep in ((p, mask[n]) for n, p in model.named_parameters() if n in mask):
            felt.append(bool(p[~keep].any()))
        assert not any(felt)
        handle = conv3.module.register_forward_hook(
            lambda _m, _i, output: output.index_fill(1, gone.nonzero()[:, 0], 9.0)
        )
        after = model(images)
        handle.remove()
    if any(isinstance(m, nn.BatchNorm2d) for m in model.modules()):
        assert torch.equal(before, after)  # the scale behind the filter is 0 too
