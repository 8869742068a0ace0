"""The optimizers of torch.optim behind one entry maker: torch's own classes are the oracle."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparsify import Config, prune, train
from sparsify.errors import SparsifyError
from sparsify.optim.penalties import decay_groups
from sparsify.optim.registry import OPTIMIZERS
from sparsify.optim.torch_optimizers import FIELDS, SET_HERE
from sparsify.runs import Run

OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("dampening=0.5", {"dampening": 0.5}),
    "adam": ("betas=0.8+0.9,eps=0.001,amsgrad=true", {"betas": (0.8, 0.9), "eps": 0.001, "amsgrad": True}),
    "adamw": ("betas=0.5+0.9,amsgrad=true", {"betas": (0.5, 0.9), "amsgrad": True}),
    "rmsprop": ("alpha=0.5,centered=true", {"alpha": 0.5, "centered": True}),
    "adagrad": ("lr_decay=0.5,initial_accumulator_value=2", {"lr_decay": 0.5, "initial_accumulator_value": 2.0}),
    "adadelta": ("rho=0.5,eps=0.01", {"rho": 0.5, "eps": 0.01}),
    "adamax": ("betas=0.5+0.9,eps=0.1", {"betas": (0.5, 0.9), "eps": 0.1}),
    "nadam": (
        "momentum_decay=0.5,decoupled_weight_decay=true",
        {"momentum_decay": 0.5, "decoupled_weight_decay": True},
    ),
    "radam": ("betas=0.5+0.6,decoupled_weight_decay=true", {"betas": (0.5, 0.6), "decoupled_weight_decay": True}),
    "adafactor": ("beta2_decay=-0.5,d=2,eps=0.1+0.5", {"beta2_decay": -0.5, "d": 2.0, "eps": (0.1, 0.5)}),
    "asgd": ("lambd=0.5,alpha=0.5,t0=1", {"lambd": 0.5, "alpha": 0.5, "t0": 1.0}),
    "rprop": ("etas=0.25+3,step_sizes=0.001+1", {"etas": (0.25, 3.0), "step_sizes": (0.001, 1.0)}),
}
"""Of each optimizer, options as a text, and as torch takes them."""

CLASSES: dict[str, Any] = {
    name: {one.lower(): getattr(torch.optim, one) for one in torch.optim.__all__}[name] for name in OPTIONS
}
EACH = pytest.mark.parametrize("opt", OPTIONS)


def network() -> nn.Module:
    """A convolution with its bias and a fully connected layer, with literal weights."""
    model = nn.Sequential(nn.Conv2d(1, 3, 2), nn.Flatten(), nn.Linear(12, 2))
    for number, p in enumerate(model.parameters()):
        p.data = torch.linspace(-1, 1.5 + number, p.numel()).view_as(p)
    return model


def three_steps(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[Tensor]:
    images = torch.linspace(-1, 1, 18).view(2, 1, 3, 3)
    for _ in range(3):
        optimizer.zero_grad()
        model(images).square().mean().backward()
        optimizer.step()
    return [p.detach() for p in model.parameters()]


@pytest.mark.parametrize("options", [False, True])
@EACH
def test_three_steps_are_those_of_torch(opt: str, options: bool) -> None:
    text, keywords = OPTIONS[opt] if options else ("", {})
    fields: dict[str, float] = {
        "lr": 0.3,
        "momentum": 0.25 if options else 0.0,
        "weight_decay": 0.1 if options else 0.0,
    }
    fields = {name: value for name, value in fields.items() if name in OPTIMIZERS[opt].defaults}
    ours, theirs = network(), network()
    built = OPTIMIZERS[opt].build(ours, Config(opt=opt, opt_options=text, **fields))  # type: ignore[arg-type]
    decay = {"weight_decay": fields.pop("weight_decay")} if "weight_decay" in fields else {}
    weights = [p for p in theirs.parameters() if p.ndim > 1]
    biases = [p for p in theirs.parameters() if p.ndim == 1]
    none = dict.fromkeys(decay, 0.0)
    oracle = CLASSES[opt]([{"params": weights, **decay}, {"params": biases, **none}], **fields, **keywords)
    assert type(built) is CLASSES[opt]
    start = [p.detach().clone() for p in network().parameters()]
    found = three_steps(ours, built)
    assert all(torch.equal(a, b) for a, b in zip(found, three_steps(theirs, oracle), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(found, start, strict=True))


def test_nesterov_is_that_of_sgd() -> None:
    ours, theirs = network(), network()
    built = OPTIMIZERS["sgd"].build(ours, Config(opt="sgd", lr=0.01, opt_options="nesterov=true"))
    oracle = torch.optim.SGD(theirs.parameters(), 0.01, 0.9, nesterov=True)
    for a, b in zip(three_steps(ours, built), three_steps(theirs, oracle), strict=True):
        assert torch.equal(a, b)


@EACH
def test_the_defaults_are_those_of_torch_and_every_option_is_its_own(opt: str) -> None:
    signature = inspect.signature(CLASSES[opt]).parameters
    spec = OPTIMIZERS[opt]
    assert set(spec.defaults) == set(FIELDS) & signature.keys()
    if opt != "sgd":  # which has those of the published runs
        assert spec.defaults == {name: signature[name].default for name in spec.defaults}
    assert {*spec.settings(), *spec.defaults} == signature.keys() - set(SET_HERE)
    options = {name: setting.default for name, setting in spec.settings().items()}
    if opt == "adafactor":  # its first eps is None there: that of the numbers' type
        assert options.pop("eps") == (torch.finfo(torch.float32).eps, signature["eps"].default[1])
    assert options == {name: signature[name].default for name in options}


def test_every_optimizer_of_torch_is_here_or_left_out_on_purpose() -> None:
    left_out = {"lbfgs", "muon", "optimizer", "sparseadam"}
    public = {name.lower() for name in torch.optim.__all__ if inspect.isclass(getattr(torch.optim, name))}
    assert public - left_out == set(OPTIONS)


@pytest.mark.parametrize(
    ("opt", "options", "error"),
    [
        (
            "adam",
            "beta=0.5",
            "unknown option of adam 'beta' in --opt-options; did you mean 'betas'? choose from: ",
        ),
        ("adam", "foreach=true", "unknown option of adam 'foreach' in --opt-options; choose from: betas, eps, amsgrad"),
        ("adam", "betas=0.9", "--opt-options betas is 0.9; it must be 2 numbers, as in 0.9+0.999"),
        ("adam", "amsgrad=1", "--opt-options amsgrad is 1; it must be true or false"),
        ("adam", "betas=1+0.9", "--opt-options betas=1+0.9 with --opt adam: Invalid beta parameter at index 0: 1.0"),
        ("rprop", "etas=2+3", "--opt-options etas=2+3 with --opt rprop: Invalid eta values: 2.0, 3.0"),
        ("sgd", "nesterov=true,dampening=1", "--opt-options dampening=1,nesterov=true with --opt sgd: Nesterov "),
        ("slbi", "nesterov=true", "--opt-options nesterov: slbi has no options"),
    ],
)
def test_what_an_optimizer_does_not_take_is_refused_by_the_config(opt: str, options: str, error: str) -> None:
    with pytest.raises(SparsifyError) as refused:
        Config(opt=opt, opt_options=options)
    assert str(refused.value).startswith(error)
    assert "\n" not in str(refused.value)


def test_options_at_their_defaults_are_the_run_of_before() -> None:
    assert Config(opt="adam", opt_options="eps=1e-8,betas=0.9+0.999") == Config(opt="adam")


def test_only_options_need_torch() -> None:
    code = "import sys; from sparsify import Config; Config(opt='adam').digest(); print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"


CAPTURED = {"sgd": {"fused"}, "adagrad": {"fused"}, "adafactor": set()}
CAPTURED |= {"adam": {"fused", "capturable"}, "adamw": {"fused", "capturable"}}


@EACH
def test_on_a_gpu_the_step_is_one_that_can_be_captured(opt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparsify.devices.has_fused_kernels", lambda device: True)
    optimizer = OPTIMIZERS[opt].build(network(), Config(opt=opt))
    chosen = {name for name in ("fused", "capturable") if all(group.get(name) for group in optimizer.param_groups)}
    assert chosen == CAPTURED.get(opt, {"capturable"})


@pytest.mark.parametrize("opt", [opt for opt in OPTIONS if opt not in CAPTURED or "capturable" in CAPTURED[opt]])
def test_a_capturable_step_reads_no_number_back(opt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On tensors that have no values, as lists, which is what torch takes on a GPU: what asks for a value fails."""
    monkeypatch.setattr("sparsify.devices.has_fused_kernels", lambda device: True)
    module = sys.modules[CLASSES[opt].__mro__[1 if opt == "adamw" else 0].__module__]  # AdamW's step is Adam's
    monkeypatch.setattr(module, "_get_capturable_supported_devices", lambda supports_xla=True: ["meta"])
    model = network().to("meta")
    optimizer = OPTIMIZERS[opt].build(model, Config(opt=opt, weight_decay=None if opt == "rprop" else 0.1))
    for group in optimizer.param_groups:
        group |= {"foreach": True, "fused": None}
    images = torch.zeros(2, 1, 3, 3, device="meta")
    for step in range(4):
        optimizer.zero_grad()
        model(images).square().mean().backward()
        if step == 1:  # the state is made from the first rate, once and before anything is captured
            for group in optimizer.param_groups:
                group["lr"] = torch.tensor(0.1, device="meta")
        optimizer.step()


@pytest.mark.cuda
@EACH
def test_a_step_on_a_gpu_takes_a_rate_that_is_a_tensor(opt: str) -> None:
    device = torch.device("cuda")
    results = []
    for rate in (0.01, torch.tensor(0.01, device=device)):
        model = network().to(device)
        optimizer = OPTIMIZERS[opt].build(model, Config(opt=opt))
        for group in optimizer.param_groups:
            group["lr"] = rate
        images = torch.linspace(-1, 1, 18, device=device).view(2, 1, 3, 3)
        for _ in range(3):
            optimizer.zero_grad()
            model(images).square().mean().backward()
            optimizer.step()
        results.append([p.detach() for p in model.parameters()])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_weight_decay_is_that_of_decay_groups() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm([2, 2]))
    built = OPTIMIZERS["adamw"].build(model, Config(opt="adamw", weight_decay=0.5))
    decays = {name: g["weight_decay"] for g in built.param_groups for name in g["param_names"]}
    assert decays == {"0.weight": 0.5, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0}
    assert len(decay_groups(model, 0.5)) == len(built.param_groups)


class Stop(Exception):
    pass


def stop(progress: Any) -> None:
    if progress.step >= 9:  # in the second epoch
        raise Stop


@pytest.mark.parametrize("opt", [opt for opt in OPTIONS if opt != "sgd"])
def test_a_run_trains_goes_on_to_the_bit_and_is_pruned(
    opt: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparsify.training.trainer.TICK", 1)  # of 6 steps an epoch
    options = "step_sizes=1e-6+0.001" if opt == "rprop" else ""  # its steps grow, and batches disagree on the signs
    config = Config(opt=opt, opt_options=options, data="digits", val=0.75, epochs=2, batch_size=64)
    whole = train(config, runs_dir=tmp_path / "whole")
    with pytest.raises(Stop):
        train(config, runs_dir=tmp_path / "parts", listener=stop)
    assert Run(tmp_path / "parts" / config.name).epochs_done == 1
    parts = train(config, runs_dir=tmp_path / "parts")
    files = [(run.path / "model.safetensors").read_bytes() for run in (whole, parts)]
    assert files[0] == files[1]
    losses = whole.metrics["train_loss"]
    assert losses.iloc[1] < losses.iloc[0]
    sweep = prune(whole, layers="conv3", ratios=[0, 0.5])
    assert [row.ratio for row in sweep.rows] == [0, 0.5]
