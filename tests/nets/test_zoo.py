"""The networks' options: what each builds, exactly, and that all of it is pruned, shrunk, counted and trained."""

from __future__ import annotations

import json
import shlex
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sparsify import Config, load, shrink
from sparsify.cli.app import main
from sparsify.errors import SparsifyError
from sparsify.nets.comparing import relative_difference
from sparsify.nets.mask import masked
from sparsify.nets.registry import NETS, network, network_spec
from sparsify.nets.structure import Cost, Cut, Structure
from sparsify.runs import newest_run

Shape = tuple[int, int, int]

COLOUR, SMALL, GREY = (3, 32, 32), (3, 16, 16), (1, 28, 28)


def seeded(name: str, shape: Shape, options: str | dict[str, Any] = "", seed: int = 0) -> nn.Module:
    """The network in evaluation mode; BatchNorm's scales, shifts and running statistics are not the defaults."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = network(name, shape, 10, options)
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    return model.eval()


def images(shape: Shape, count: int = 3) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))


def same_state(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return list(states[0]) == list(states[1]) and all(map(torch.equal, states[0].values(), states[1].values()))


def parameters(name: str, shape: Shape, options: str = "") -> int:
    with torch.device("meta"):  # where no weights are drawn
        return sum(p.numel() for p in network(name, shape, 10, options).parameters())


def kinds(model: nn.Module) -> str:
    """Its modules in a row: "conv1 bn1 pool1 …"."""
    return " ".join(name for name, _ in model.named_children())


# what is built -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("convnet", "norm=batch", 1_757_258),  # as published: 1,757,002 and 2 · 2 · 64
        ("convnet", "kernels=5+3", 4_864 + 36_928 + 64 * 36 * 1024 + 1024 + 10_250),
        ("convnet", "kernels=3+3", 1_792 + 36_928 + 64 * 36 * 1024 + 1024 + 10_250),
        ("convnet", "hidden=100", 4_864 + 102_464 + 160_100 + 1_010),
        ("convnet", "hidden=300,channels=32+16,padding=same", 2_432 + 12_816 + 16 * 64 * 300 + 300 + 3_010),
        ("convnet", "output=log-softmax,dropout=0.3,activation=tanh,init=he", 1_757_002),
        ("elu-net", "norm=batch", 2_251_146 + 2 * (128 + 128 + 256)),
        ("elu-net", "channels=256+256", 7_168 + 590_080 + 256 * 64 * 256 + 256 + 2_570),
        ("resnet9", "kernel=5", 2_139_840 * 25 // 9 + 2_944 + 2_570),
        ("resnet9", "width=0.5,dropout=0.2", 535_392 + 1_472 + 1_290),
        ("resnet-speed", "whitening=false,activation=relu,init=he,test_mirror=true", 1_972_802),
        ("lenet", "activation=tanh,init=he", 62_006),
        ("vgg-a", "norm=batch,dropout=0.5", 9_750_922 + 2 * 2752),
        ("vgg-a-bn", "norm=none", 9_750_922),
        ("resnet20", "width=2", 1_084_586),
    ],
)
def test_parameters_for_32_by_32_colour_images(name: str, options: str, count: int) -> None:
    assert parameters(name, COLOUR, options) == count


def test_parameters_of_alexnet_are_torchvisions_and_those_of_batchnorm() -> None:
    assert parameters("alexnet", (3, 64, 64)) == 57_044_810
    assert parameters("alexnet", (1, 64, 64), "norm=batch") == 57_044_810 - 2 * 64 * 121 + 2 * 1152


def test_resnet9_has_nine_convolutions() -> None:
    model = network("resnet9", COLOUR, 10)
    found = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert len(found) == 9
    assert sum(module.weight.numel() for module in found) == 2_139_840  # "2.14 M"


@pytest.mark.parametrize(
    ("name", "options", "row"),
    [
        ("convnet", "", "conv1 pool1 relu1 conv2 pool2 relu2 flatten fc1 relu3 fc2"),
        (
            "convnet",
            "norm=batch,dropout=0.3,activation=tanh,output=log-softmax",
            "conv1 bn1 pool1 tanh1 dropout1 conv2 bn2 pool2 tanh2 dropout2 flatten fc1 tanh3 fc2 log_softmax",
        ),
        (
            "elu-net",
            "norm=batch,dropout=0.1",
            "conv1 pool1 elu1 bn1 dropout1 conv2 pool2 elu2 bn2 dropout2 flatten fc1 bn3 elu3 fc2",
        ),
        (
            "lenet",
            "activation=tanh",
            "conv1 pool1 tanh1 conv2 pool2 tanh2 conv3 tanh3 flatten fc1 tanh4 fc2",
        ),
    ],
)
def test_what_comes_behind_what(name: str, options: str, row: str) -> None:
    assert kinds(network(name, COLOUR, 10, options)) == row


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", ["relu", "tanh", "elu"])
def test_pooling_before_the_activation_is_the_usual_order_to_the_bit(activation: str, training: bool) -> None:
    model = seeded("convnet", SMALL, f"channels=8+8,hidden=12,norm=batch,activation={activation}").train(training)
    conv1, bn1, pool1, act1, conv2, bn2, pool2, act2, *rest = model
    usual = nn.Sequential(conv1, bn1, act1, pool1, conv2, bn2, act2, pool2, *rest)
    found, wanted = (net(images(SMALL, 64)) for net in (model, usual))
    assert torch.equal(found, wanted)
    gradients = [
        torch.autograd.grad(F.cross_entropy(out, torch.zeros(64).long()), conv1.weight) for out in (found, wanted)
    ]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "options", "other"),
    [
        ("vgg-a", "norm=batch", "vgg-a-bn"),
        ("vgg-a-bn", "norm=none", "vgg-a"),
        ("vgg-a", "width=0.25", "vgg-a-light"),
        ("vgg-a", "dropout=0.5", "vgg-a-dropout"),
    ],
)
def test_an_option_gives_the_network_that_has_a_name_of_its_own(name: str, options: str, other: str) -> None:
    ours, theirs = seeded(name, COLOUR, options), seeded(other, COLOUR)
    assert same_state(ours, theirs)
    assert str(ours) == str(theirs)
    with torch.inference_mode():
        assert torch.equal(ours(images(COLOUR)), theirs(images(COLOUR)))


@pytest.mark.parametrize("name", NETS)
def test_an_option_at_its_default_changes_nothing_and_any_other_value_changes_the_network(name: str) -> None:
    shape = (3, 64, 64) if name == "alexnet" else COLOUR
    settings = network_spec(name).settings
    spelled = {option: setting.default for option, setting in settings.items()}
    with torch.device("meta"):  # the sizes of the whole network; the weights are drawn of a narrow one
        whole = [network(name, shape, 10, options) for options in ("", spelled)]
    assert str(whole[0]) == str(whole[1])
    narrow = {"width": 0.0625} if "width" in settings else {}
    plain, again = (seeded(name, shape, options) for options in (narrow, spelled | narrow))
    assert same_state(plain, again)
    assert str(plain) == str(again)
    for option, setting in settings.items():
        if option == "width":
            continue
        for value in OTHERS[option]:
            if value != setting.default and value in (setting.choices or [value]):
                changed = seeded(name, shape, narrow | {option: value})
                assert str(plain) != str(changed) or not same_state(plain, changed), (option, value)


OTHERS = {
    "activation": ["relu", "tanh"],
    "init": ["torch", "he"],
    "channels": [(8, 16)],
    "kernels": [(5, 3), (3, 5)],
    "padding": ["same", "valid"],
    "hidden": [100],
    "norm": ["none", "batch"],
    "dropout": [0.0, 0.25],
    "output": ["logits", "log-softmax"],
    "kernel": [5],
    "whitening": [False],
    "test_mirror": [True],
}


@pytest.mark.parametrize(
    ("name", "options"),
    [("lenet", ""), ("convnet", "channels=200+100,hidden=200"), ("resnet9", ""), ("resnet20", ""), ("vgg-a-light", "")],
)
def test_he_draws_weights_of_variance_2_over_the_fan_in_and_torch_less(name: str, options: str) -> None:
    for init, factor in (("he", 2), ("torch", 1 / 3)):
        model = network(name, COLOUR, 10, ",".join(filter(None, (options, f"init={init}"))))
        layers = [
            module for module in model.modules() if isinstance(module, nn.Conv2d) and module.weight.numel() > 9000
        ]
        assert layers
        for layer in layers:
            fan_in = layer.weight[0].numel()
            assert float(layer.weight.detach().var()) * fan_in == pytest.approx(factor, rel=0.1), init
            if init == "he" and layer.bias is not None:
                assert not layer.bias.any()


def test_the_identity_passes_on_what_it_has_channels_for() -> None:
    model, given = network("resnet-speed", COLOUR, 10), torch.rand(2, 64, 6, 6)
    found = model.stage2.conv(given)
    assert torch.equal(found[:, :64], given)
    assert float(found[:, 64:].detach().std()) > 0.1, "the other filters are drawn"
    narrow = network("resnet-speed", COLOUR, 10, "width=0.125").stage1.conv
    assert torch.equal(narrow(given[:, :24]), given[:, :8])


def test_the_mirror_mean_is_of_an_image_and_its_mirror_and_not_in_training() -> None:
    model, plain = (seeded("resnet-speed", SMALL, f"width=0.125,test_mirror={word}") for word in ("true", "false"))
    given = images(SMALL)
    with torch.no_grad():
        torch.testing.assert_close(model(given), (plain(given) + plain(given.flip(3))) / 2)
        torch.testing.assert_close(model(given), model(given.flip(3)))
        assert relative_difference(model(given), plain(given)) > 1e-3
        assert torch.equal(model.train()(given), plain.train()(given))


def test_dropout_changes_what_is_trained_and_not_what_is_measured() -> None:
    for name in ("convnet", "elu-net", "resnet9", "vgg-a-light"):
        model, plain = (seeded(name, COLOUR, options) for options in ("dropout=0.5", ""))
        assert str(model) != str(plain)
        assert same_state(model, plain)
        with torch.no_grad():
            assert torch.equal(model(images(COLOUR)), model(images(COLOUR)))
            assert torch.equal(model(images(COLOUR)), plain(images(COLOUR)))
            model.train()
            assert not torch.equal(model(images(COLOUR)), model(images(COLOUR)))


def test_nll_of_log_softmax_is_the_cross_entropy_to_the_bit() -> None:
    ours, logits = (seeded("convnet", GREY, f"output={output}") for output in ("log-softmax", "logits"))
    labels = torch.tensor([3, 1, 4])
    with torch.no_grad():
        assert torch.equal(F.nll_loss(ours(images(GREY)), labels), F.cross_entropy(logits(images(GREY)), labels))


# images of other sizes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("convnet", "", (1, 16, 16)),
        ("convnet", "kernels=3+3", (2, 10, 13)),
        ("convnet", "padding=same", (1, 4, 4)),
        ("convnet", "kernels=2+4", GREY),
        ("elu-net", "", (1, 8, 9)),
        ("elu-net", "", (3, 64, 64)),
        ("resnet9", "", (1, 8, 8)),
        ("resnet9", "", GREY),
        ("resnet9", "kernel=5", (3, 64, 48)),
        ("resnet-speed", "", (1, 9, 9)),
        ("resnet-speed", "", (4, 64, 48)),
        ("alexnet", "width=0.0625", (1, 63, 80)),
        ("alexnet", "width=0.0625", (4, 224, 224)),
    ],
)
def test_images_of_any_size_that_makes_sense_are_taken(name: str, options: str, shape: Shape) -> None:
    model = network(name, shape, 7, options)
    assert model(images(shape)).shape == (3, 7)


@pytest.mark.parametrize(
    ("name", "options", "shape", "message"),
    [
        (
            "convnet",
            "",
            (1, 15, 28),
            "images of 15×28 pixels are too small for 5×5 and 5×5 kernels with padding=valid: ",
        ),
        ("convnet", "padding=same", (1, 3, 3), "images of 3×3 pixels are too small for 5×5 and 5×5 kernels with pad"),
        (
            "elu-net",
            "kernels=3+4",
            COLOUR,
            "--net has a kernel of 4×4; where images are padded it must be odd: 3, 5, 7",
        ),
        ("resnet9", "kernel=4", COLOUR, "--net has a kernel of 4×4; "),
        ("resnet9", "", (1, 7, 28), "resnet9 takes images of at least 8×8 pixels; these have 7×28"),
        ("resnet-speed", "", (1, 8, 28), "resnet-speed takes images of at least 9×9 pixels; these have 8×28"),
        ("alexnet", "", GREY, "alexnet takes images of at least 63×63 pixels; these have 28×28"),
        ("convnet", "width=2", GREY, "unknown option of convnet 'width' in --net; "),
        ("alexnet", "width=0", GREY, "--net width is 0; it must be a number of at least 0.0625 and at most 16"),
        ("lenet", "activation=elu", GREY, "--net activation is elu; it must be one of relu, tanh"),
        ("torchvision:resnet18", "width=2", COLOUR, "--net width: torchvision:resnet18 has no options"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(name: str, options: str, shape: Shape, message: str) -> None:
    with pytest.raises(SparsifyError) as caught:
        network(name, shape, 10, options)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


# pruned, shrunk, counted ---------------------------------------------------------------------------------------------

TINY = [
    ("convnet", "channels=8+6,hidden=12", SMALL),
    ("convnet", "channels=8+6,hidden=12,norm=batch,dropout=0.5,activation=tanh,output=log-softmax", GREY),
    ("convnet", "channels=8+6,hidden=12,padding=same,activation=elu,kernels=5+3", SMALL),
    ("elu-net", "channels=8+6,hidden=12,norm=batch,dropout=0.1", SMALL),
    ("elu-net", "channels=8+6,hidden=12", GREY),
    ("resnet9", "width=0.0625,kernel=5,dropout=0.1", SMALL),
    ("resnet9", "width=0.125", GREY),
    ("resnet-speed", "width=0.0625", SMALL),
    ("resnet-speed", "width=0.125,activation=relu,init=torch", GREY),
    ("resnet-speed", "width=0.0625,test_mirror=true", SMALL),
    ("alexnet", "width=0.0625", (1, 64, 64)),
    ("alexnet", "width=0.0625,norm=batch,dropout=0", (3, 63, 100)),
    ("lenet", "activation=tanh,init=he", GREY),
    ("vgg-a", "width=0.0625,norm=batch,dropout=0.5", COLOUR),
    ("resnet20", "width=0.5,init=torch", SMALL),
]


def counted(model: nn.Module, example: Tensor) -> Cost:
    """What torch's own counter says."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(example)
    return Cost(sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2)


@pytest.mark.parametrize(("name", "options", "shape"), TINY)
def test_masked_shrunk_and_counted_agree(name: str, options: str, shape: Shape) -> None:
    """Half of the outputs of every layer but the last go, and with them a half of its parameters, or more."""
    model, example = seeded(name, shape, options), images(shape)
    structure = Structure(model, example[:1])
    *layers, last = structure.layers.values()
    assert structure.left_out() == {last.name: "it makes the network's output"}
    assert structure.remove([])[1] == counted(model, example[:1])
    cuts = []
    for layer in layers:
        drop = torch.zeros(layer.outputs, dtype=torch.bool)
        draw = torch.Generator().manual_seed(2)  # the same of layers that are added to each other
        drop[torch.randperm(layer.outputs, generator=draw)[: layer.outputs // 2]] = True
        cuts.append(Cut(layer, layer.grain("filter"), drop))
    mask, cost = structure.remove(cuts)
    small = shrink(model, cuts, example)
    assert cost == counted(small, example[:1])
    assert cost.params < 0.55 * structure.remove([])[1].params
    with masked(model, mask), torch.inference_mode():
        assert relative_difference(model(example), small(example)) < 1e-5
    with torch.inference_mode():
        assert relative_difference(model(example), small(example)) > 1e-3  # what went was felt


# from training to a shrunk folder ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "layers"),
    [
        ("convnet", "norm=batch,channels=8+8,hidden=16,dropout=0.3,activation=tanh,output=log-softmax", "conv2,fc1"),
        ("elu-net", "channels=8+8,norm=batch,hidden=16", "conv2,fc1"),
        ("resnet9", "width=0.125", "conv3"),
        ("resnet-speed", "width=0.125,test_mirror=true", "conv3"),
        ("lenet", "activation=tanh,init=he", "conv3,fc1"),
    ],
)
def test_a_run_with_options_is_rebuilt_pruned_and_shrunk(
    name: str, options: str, layers: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"train --model {name} --data digits --opt sgd --epochs 1 --device cpu --runs-dir {tmp_path}"
    given = " ".join(f"--net {option}" for option in options.split(","))
    assert main(shlex.split(f"{line} {given}")) == 0
    run = newest_run(tmp_path)
    assert run.config == Config(model=name, net=options, data="digits", opt="sgd", epochs=1)
    assert json.loads((run.path / "config.json").read_text())["net"] == run.config.net
    model = load(run)
    assert str(model) == str(network(name, GREY, 10, options))
    assert str(run.model()) == str(model)
    tensors = run.tensors("model.safetensors")
    assert all(torch.equal(tensor, tensors[key]) for key, tensor in model.state_dict().items())
    line = f"prune {run.path} --layers {layers} --ratios 0.5 --shrink --device cpu --runs-dir {tmp_path}"
    assert main(shlex.split(line)) == 0
    assert "masked and shrunk logits differ by no more than" in capsys.readouterr().out
    (folder,) = run.path.glob("shrunk-*")
    assert json.loads((folder / "shrunk.json").read_text())["net"] == run.config.net
    small = load(folder)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())
    assert small(images(GREY)).shape == (3, 10)


@pytest.mark.parametrize(
    ("model", "net", "said"),
    [
        (
            "convnet",
            "kernels=15+9",
            "images of 28×28 pixels are too small for 15×15 and 9×9 kernels with padding=valid",
        ),
        ("convnet", "norm=layer", "--net norm is layer; it must be one of none, batch"),
        ("convnet", "normal=batch", "unknown option of convnet 'normal' in --net; did you mean 'norm'? choose from: "),
        ("vgg-a", "norm=batch", "VGG takes images of 32×32 pixels; these have 28×28"),
        ("alexnet", "norm=batch", "alexnet takes images of at least 63×63 pixels; these have 28×28"),
    ],
)
def test_digits_are_refused_in_one_line_where_they_do_not_fit(
    model: str, net: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"train --model {model} --net {net} --data digits --epochs 1 --device cpu --runs-dir {tmp_path}"
    assert main(shlex.split(line)) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {said}")
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


# AlexNet and ImageNet's weights --------------------------------------------------------------------------------------


def test_alexnet_is_torchvisions_to_the_bit() -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.alexnet(num_classes=10).eval()
    torch.manual_seed(0)
    assert same_state(network("alexnet", (3, 64, 64), 10), theirs)
    for side in (64, 100, 150, 224):  # maps of 1×1, 2×2, 3×3 and 6×6 at the end; 150 has 3×3
        with torch.device("meta"):  # its weights are drawn once
            ours = network("alexnet", (3, side, side), 10).eval()
        ours.load_state_dict(theirs.state_dict(), assign=True)
        with torch.inference_mode():
            assert torch.equal(ours(images((3, side, side))), theirs(images((3, side, side))))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of torch's weights, empty, and no way to fetch any."""

    def refuse(url: str, *_: object, **__: object) -> None:
        raise OSError(f"no way to {url}\nand a second line")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def put(folder: Path, name: str, tensors: dict[str, Tensor]) -> Path:
    file = folder / torchvision.models.get_model_weights(name).DEFAULT.url.rpartition("/")[2]
    torch.save(tensors, file)
    return file


def of_imagenet(name: str, **options: bool) -> dict[str, Tensor]:
    """Tensors as ImageNet's weights have them, which hold one number each in memory: 1, 2, 3, …"""
    with torch.device("meta"):
        model = torchvision.models.get_model(name, weights=None, **options)
    return {
        key: torch.tensor(float(number)).to(tensor.dtype).expand(tensor.shape)
        for number, (key, tensor) in enumerate(model.state_dict().items(), start=1)
    }


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("alexnet", "classifier.6"),
        ("torchvision:squeezenet1_1", "classifier.1"),
        ("torchvision:resnet18", "fc"),
        ("torchvision:googlenet", "fc"),
    ],
)
def test_imagenets_weights_are_in_all_layers_but_the_last(name: str, last: str, hub: Path) -> None:
    own = name.removeprefix("torchvision:")
    auxiliary = {"aux_logits": True, "init_weights": False} if own == "googlenet" else {}
    tensors = of_imagenet(own, **auxiliary)
    file = put(hub, own, tensors)
    model = network(name, (3, 64, 64), 10)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    weights = network_spec(name).weights
    assert weights is not None
    version = torchvision.models.get_model_weights(own).DEFAULT
    assert weights(model) == f"{version}, sha256 {sha256(file.read_bytes()).hexdigest()}"
    after = model.state_dict()
    assert {key for key in after if torch.equal(after[key], before[key])} == {f"{last}.weight", f"{last}.bias"}
    assert all(torch.equal(after[key], tensors[key]) for key in after if not key.startswith(f"{last}."))


@pytest.mark.parametrize(
    ("options", "shape", "said"),
    [
        ("", (1, 64, 64), r"features\.0\.weight is \(64, 3, 11, 11\) there, and \(64, 1, 11, 11\) here"),
        ("norm=batch", (3, 64, 64), r"features\.1\.weight is missing there, and \(64,\) here"),
        ("width=0.5", (3, 64, 64), r"features\.0\.weight is \(64, 3, 11, 11\) there, and \(32, 3, 11, 11\) here"),
    ],
)
def test_imagenets_weights_are_refused_where_they_do_not_fit(options: str, shape: Shape, said: str, hub: Path) -> None:
    put(hub, "alexnet", of_imagenet("alexnet"))
    model = network("alexnet", shape, 10, options)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    weights = network_spec("alexnet").weights
    assert weights is not None
    with pytest.raises(SparsifyError, match=f"the ImageNet weights of alexnet do not fit: {said}; they are for images"):
        weights(model)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_imagenets_weights_that_cannot_be_had_are_an_error_of_one_line(hub: Path) -> None:
    model = network("torchvision:squeezenet1_1", (3, 64, 64), 10)
    weights = network_spec("torchvision:squeezenet1_1").weights
    assert weights is not None
    with pytest.raises(SparsifyError) as caught:
        weights(model)
    url = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.url
    file = hub / url.rpartition("/")[2]
    assert str(caught.value) == (
        f"the ImageNet weights of squeezenet1_1 are not at {file}, and {url} cannot be fetched: no way to {url}"
    )
    file.write_bytes(b"not what torch writes")
    with pytest.raises(SparsifyError, match=rf"the ImageNet weights in {file} cannot be read: .+; delete the file$"):
        weights(model)


def test_the_other_networks_have_no_weights() -> None:
    assert [name for name, spec in NETS.items() if spec.weights is not None] == ["alexnet"]
