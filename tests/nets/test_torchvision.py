"""torchvision's networks: trained, pruned, shrunk and loaded as ours, and refused in one line where they cannot be."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sparsify import Config, load, prune, shrink, train
from sparsify.cli.app import main
from sparsify.data.dataset import Split
from sparsify.data.registry import load_dataset
from sparsify.errors import SparsifyError
from sparsify.nets.comparing import relative_difference
from sparsify.nets.layers import find_layers
from sparsify.nets.mask import masked
from sparsify.nets.registry import network
from sparsify.nets.structure import Structure
from sparsify.pruning.cuts import cuts_of, make_mask
from sparsify.pruning.plan import PointPlan
from sparsify.pruning.subject import Subject
from sparsify.runs import Run, newest_run

NET = "torchvision:mobilenet_v3_small"


def photos(folder: Path, count: int) -> Path:
    """Two classes of 32×32 colour images, `count` to train on and 6 to measure on."""
    noise = np.random.default_rng(0)
    for part, images in (("train", count), ("test", 6)):
        for i in range(images):
            (folder / part / f"class{i % 2}").mkdir(parents=True, exist_ok=True)
            pixels = noise.integers(0, 200, (32, 32, 3), dtype=np.uint8) + np.uint8(55 * (i % 2))
            Image.fromarray(pixels).save(folder / part / f"class{i % 2}" / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("zoo")
    data = photos(folder / "photos", 12)
    line = f"train --model {NET} --data folder:{data} --opt sgd --epochs 1 --batch-size 4 --device cpu"
    assert main(shlex.split(f"{line} --runs-dir {folder / 'runs'}")) == 0
    return newest_run(folder / "runs")


def call(run: Run, line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    code = main([*shlex.split(line), "--runs-dir", str(run.path.parent)])
    answer = capsys.readouterr()
    return code, answer.out + answer.err


def test_a_run_is_named_for_a_file_and_loaded(trained: Run) -> None:
    assert trained.name.startswith("torchvision-mobilenet_v3_small-folder-photos-sgd-s0-")
    assert json.loads((trained.path / "config.json").read_text())["model"] == NET
    model = load(trained)
    assert torch.equal(model.classifier[3].weight, trained.tensors("model.safetensors")["classifier.3.weight"])
    assert model.classifier[3].out_features == 2


def test_it_is_pruned_by_names_ordinals_and_all_of_its_layers(trained: Run) -> None:
    model = load(trained)
    assert find_layers(model, "conv2,fc1").keys() == {"conv2", "fc1"}
    assert find_layers(model, "features.0.0,classifier.3").keys() == {"features.0.0", "classifier.3"}
    structure = Structure(model, torch.zeros(1, 3, 32, 32))
    everything = find_layers(model, "all", left_out=structure.left_out)
    assert structure.left_out() == {"classifier.3": "it makes the network's output"}
    assert [layer.name for layer in everything.values()] == list(structure.layers)[:-1]
    assert len(everything) == 53


def test_masked_and_shrunk_are_the_same_function_and_the_folder_is_loaded(
    trained: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    layers = "conv1,features.4.block.0.0,classifier.0"
    line = f"prune {trained.path} --layers {layers} --grain neuron --ratios 0.5 --shrink --device cpu"
    code, out = call(trained, line, capsys)
    assert code == 0, out
    assert "checked on 6 images: masked and shrunk logits differ by no more than" in out
    (folder,) = trained.path.glob("shrunk-*")
    small, model = load(folder), load(trained)
    assert (small.features[0][0].out_channels, small.classifier[0].out_features) == (8, 512)
    dataset = load_dataset(trained.config.data)
    images = dataset.normalise(dataset.test.images)
    mask = make_mask(model, images[:1], layers=layers, ratio=0.5, grain="neuron")
    with masked(model, mask), torch.inference_mode():
        assert relative_difference(model(images), small(images)) < 1e-5


def test_it_is_drawn_and_swept_in_rounds(trained: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(trained, f"viz filters {trained.path} --layer conv1", capsys)[0] == 0
    line = f"prune {trained.path} --layers conv1 --ratios 0.5 --rounds 2 --finetune 1 --recalibrate-bn --device cpu"
    code, out = call(trained, line, capsys)
    assert code == 0, out
    assert "in 2 rounds" in out


def test_shuffled_channels_are_followed_but_not_shrunk_where_halves_would_differ() -> None:
    """ShuffleNet deals the channels of two branches out to two halves, which must stay equally large.

    It does so behind the last convolution of a branch, and not behind the first.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)  # what the halves have left goes with the weights
        model = network("torchvision:shufflenet_v2_x0_5", (3, 32, 32), 10).eval()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    subject = Subject(model, Split(images, torch.zeros(2, dtype=torch.long)), lambda images: images)
    first, last = "stage2.0.branch2.0", "stage2.0.branch2.5"
    for layer in (first, last):
        mask, _ = subject.structure.remove(cuts_of(subject, PointPlan(layers=layer, ratio=0.5)))
        assert int((~mask[f"{layer}.weight"].flatten(1).any(1)).sum()) == 12
        assert mask.keys().isdisjoint({f"{other}.weight" for other in (first, last) if other != layer})
    cuts = cuts_of(subject, PointPlan(layers=f"conv1,{first}", ratio=0.5))
    small = shrink(model, cuts, images)
    with masked(model, subject.structure.remove(cuts)[0]), torch.inference_mode():
        assert relative_difference(model(images), small(images)) < 1e-5
    assert (small.conv1[0].out_channels, small.get_submodule(first).out_channels) == (12, 12)
    with pytest.raises(
        SparsifyError,
        match=r"'stage2.\d.branch2.0' is given other channels than it has, as where a forward around it splits",
    ):
        shrink(model, cuts_of(subject, PointPlan(layers=last, ratio=0.5)), images)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("resnt18", (3, 32, 32), r"unknown network 'torchvision:resnt18'; the nearest in torchvision: resnet18, "),
        ("ResNet18", (3, 32, 32), r"the nearest in torchvision: resnet18"),
        ("fasterrcnn_resnet50_fpn", (3, 32, 32), "unknown network"),
        ("resnet18", (1, 28, 28), r"torchvision:resnet18 takes images of 3 channels, and these are 1×28×28"),
        ("alexnet", (3, 32, 32), r"torchvision:alexnet does not take images of 3×32×32: .*too small"),
        ("inception_v3", (3, 32, 32), r"torchvision:inception_v3 does not take images of 3×32×32: "),
        ("vit_b_32", (3, 32, 32), r"does not take images of 3×32×32: Wrong image height! Expected 224 but got 32!"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(name: str, shape: tuple[int, int, int], message: str) -> None:
    with pytest.raises(SparsifyError, match=message) as caught:
        network(f"torchvision:{name}", shape, 10)
    assert "\n" not in str(caught.value)


def test_a_network_with_auxiliary_outputs_has_none_here() -> None:
    model = network("torchvision:googlenet", (3, 32, 32), 10)
    assert model.training
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_refusals_leave_nothing_behind(trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for model in ("torchvision:", "torchvision:resnt18", "torchvision:inception_v3", "torchvison:resnet18"):
        line = f"train --model {model} --data {shlex.quote(trained.config.data)} --device cpu --runs-dir {tmp_path}"
        capsys.readouterr()
        assert main(shlex.split(line)) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_single_image_is_too_few_for_batch_norm(tmp_path: Path) -> None:
    """32×32 images are single pixels behind the last convolution."""
    data = photos(tmp_path / "photos", 9)
    config = Config(model=NET, data=f"folder:{data}", opt="sgd", epochs=1, batch_size=4)
    with pytest.raises(SparsifyError, match="--batch-size 4: batches of 4 leave 1 of 9 images over, too few for Batch"):
        train(config, runs_dir=tmp_path / "runs", device="cpu")
    assert not (tmp_path / "runs").exists()
    model, images = network(NET, (3, 32, 32), 2).eval(), torch.zeros(501, 3, 32, 32, dtype=torch.uint8)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    split = Split(images, torch.zeros(501, dtype=torch.long))
    for option, count, batch in (("finetune", 129, 128), ("recalibrate-bn", 501, 500)):
        subject = Subject(model, split[slice(1)], training=split[slice(count)])
        how = {"finetune_epochs": 1} if option == "finetune" else {"recalibrate_bn": True}
        with pytest.raises(SparsifyError, match=f"--{option}: batches of {batch} leave 1 of {count} images over"):
            prune(subject, layers="conv1", ratios="0.5", **how)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
