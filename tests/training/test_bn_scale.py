"""DessiLBI on BatchNorm's scales: what selects a filter is the γ behind it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from sparsify.analysis.weights import TrainedNetwork
from sparsify.cli.app import main
from sparsify.config import Config
from sparsify.data.dataset import Split
from sparsify.errors import SparsifyError
from sparsify.nets.registry import NETS, NetworkSpec
from sparsify.optim.penalties import parameter_groups
from sparsify.optim.registry import OPTIMIZERS
from sparsify.optim.slbi import SLBI
from sparsify.pruning.criteria import PathState
from sparsify.pruning.cuts import cuts_of
from sparsify.pruning.measuring import prune
from sparsify.pruning.plan import PointPlan, SweepPlan
from sparsify.pruning.subject import Subject
from sparsify.report.likeness import likeness_tables, likenesses
from sparsify.runs import Run
from sparsify.study.design import Arm, Study
from sparsify.study.results import ArmResult, StudyResult
from sparsify.training.launch import train
from sparsify.viz.figures import filter_panel
from sparsify.viz.study import study_drawings

pytestmark = pytest.mark.filterwarnings("ignore:the path may be too short")


def small(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """For digits: two convolutions with BatchNorm."""
    return nn.Sequential(
        *(nn.Conv2d(shape[0], 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 12, 3, stride=2), nn.BatchNorm2d(12), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, classes)),
    )


@pytest.fixture(scope="module")
def nets():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETS, "small", NetworkSpec(lambda shape, classes, _: small(shape, classes), "two convolutions"))
        yield


def test_the_scales_are_the_structure_in_the_place_of_the_filters():
    model = small((1, 28, 28), 10)
    optimizer = SLBI(parameter_groups(model, weight_decay=0.1, structure="bn-scale"))
    penalties = {name: optimizer.penalty(p) for name, p in model.named_parameters()}
    inside = {name: penalty for name, penalty in penalties.items() if penalty}
    assert inside == {"1.weight": "weight", "4.weight": "weight", "8.weight": "weight"}
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert [decays[id(model.get_parameter(name))] for name in ("0.weight", "1.weight", "8.weight")] == [0.1, 0.0, 0.1]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


def test_a_step_on_the_scales_by_hand():
    """γ = 1, no gradient: Z grows by α/μ·(γ − Γ), and γ falls by ακ/μ·(γ − Γ)."""
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    optimizer = SLBI(parameter_groups(model, structure="bn-scale"), lr=1.0, mu=2.0)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    filters = model[0].weight.detach().clone()
    optimizer.step()
    assert model[1].weight.item() == 0.5
    assert optimizer.state[model[1].weight]["z"].item() == 0.5
    assert torch.equal(model[0].weight, filters)  # nothing pulls at the filters
    optimizer.step()
    assert model[1].weight.item() == 0.25
    assert not optimizer.support(model[1].weight).any()  # Z = 0.75: what nothing holds up never passes λ = 1


def test_a_network_without_batchnorm_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(SparsifyError, match="--structure bn-scale: the network has no BatchNorm"):
        train(Config(data="digits", structure="bn-scale"), runs_dir=tmp_path / "runs")
    assert not list(tmp_path.glob("runs/*/*.json"))


@pytest.mark.parametrize("opt", ["sgd-pull", "slbi", "slbi-adam"])
def test_every_optimizer_of_the_family_takes_it(opt):
    model = small((1, 28, 28), 10)
    optimizer = OPTIMIZERS[opt].build(model, Config(opt=opt, structure="bn-scale"))
    assert optimizer.penalty(model[1].weight) == "weight"
    assert optimizer.penalty(model[0].weight) is None


def test_the_path_of_a_scale_is_that_of_its_filter():
    """Entry steps 3, 1, never and 2 of the γ behind four filters: the third goes first, then the first."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    state = PathState(
        entry=torch.tensor([3.0, 1.0, torch.inf, 2.0]),
        gamma=torch.tensor([0.1, -0.9, 0.0, 0.5]),
        z=torch.tensor([1.1, -1.9, 0.3, 1.5]),
    )
    subject = Subject(model, Split(images, torch.tensor([0, 1])), path={"1.weight": state})
    for criterion in ("entry", "gamma"):
        (cut,) = cuts_of(subject, PointPlan(layers="conv1", ratio=0.5, criterion=criterion))
        assert cut.drop.tolist() == [True, False, True, False]
        how = {"criterion": criterion, "grain": "weight"}
        (cut,) = cuts_of(subject, PointPlan(layers="conv1", ratio=0.5, **how))
        assert cut.drop.flatten(1).sum(1).tolist() == [9, 0, 9, 0]  # each weight has the place of its filter


@pytest.fixture(scope="module")
def trained(nets, tmp_path_factory):
    config = Config(model="small", data="digits", epochs=8, batch_size=32, lr=0.05, mu=1, structure="bn-scale")
    return train(config, device="cpu", runs_dir=tmp_path_factory.mktemp("runs"))


@pytest.fixture
def run(trained, tmp_path):
    """A copy."""
    return Run(Path(shutil.copytree(trained.path, tmp_path / trained.name)))


def test_a_run_says_which_scales_it_has_selected(run):
    assert {name: counts["of"] for name, counts in run.summary["support"].items()} == {
        **{"1.weight": 8, "4.weight": 12, "8.weight": 480}
    }
    inside = sum(counts["in"] for name, counts in run.summary["support"].items() if name != "8.weight")
    assert 0 < inside <= 20
    entered = torch.isfinite(torch.from_numpy(run.inclusion_path.entry["4.weight"]))
    assert torch.equal(entered, run.support("4.weight"))
    sweep = prune(run, layers="conv2", ratios="0,0.5", criterion="entry", device="cpu")
    assert sweep.ledger[-1].removed == 6


def test_what_selects_a_filter_is_drawn_and_compared(run, tmp_path, capsys):
    """The second convolution, "3", has its scales in "4"; the fully connected layer, "8", has a path of its own."""
    everything = run.inclusion_path
    path = TrainedNetwork(run).path("3")
    assert list(path.entry) == ["4.weight"]
    assert (path.entry["4.weight"] == everything.entry["4.weight"]).all()
    assert (path.gamma_norm["4.weight"] == everything.gamma_norm["4.weight"]).all()
    assert torch.equal(TrainedNetwork(run).support("3"), run.support("4.weight"))
    assert TrainedNetwork(run).path("8").entry["8.weight"].shape == (10, 48)
    panel = filter_panel(TrainedNetwork(run), "3")
    assert torch.equal(panel.marked, ~run.support("4.weight"))
    assert panel.mark == "not selected"
    for command, file in (("path", "path-conv2"), ("filters --fold-bn", "filters-conv2-folded")):
        assert main(["viz", *command.split(), run.name, "--layer", "conv2", "--runs-dir", str(tmp_path)]) == 0
        assert f"{file}.svg" in capsys.readouterr().out
    sweep = prune(run, layers="conv2", ratios="0,0.5", device="cpu")
    plan = SweepPlan(layers=("conv2",), ratios=(0.0, 0.5))
    arm = ArmResult("scales", (run,), ((sweep,),))
    result = StudyResult(Study("s", "S", (Arm("scales", (run.config,)),), (plan,)), (arm,), tmp_path / "s")
    (drawn,) = [one for one in study_drawings(result) if one.kind == "Line chart" and one.section == "paths"]
    assert drawn.caption.startswith("scales, conv2 by its scales 4.weight: ")
    shown, folded = (one for one in study_drawings(result) if one.section == "filters")
    assert (shown.name, folded.name) == ("filters-conv2", "filters-conv2-folded")
    assert folded.figure.get_suptitle().startswith("Filters of conv2 with BatchNorm folded in")
    (heat, applied) = (one.figure.axes[-1].get_ylim()[1] for one in (shown, folded))  # the ends of the colour scales
    norm = run.model().get_submodule("4")
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).abs().max().item()
    assert applied <= heat * scale
    assert applied != heat
    (before, after) = (one.figure.axes[0].get_images()[0].get_array() for one in (shown, folded))
    assert (before != after).any()
    tau, overlap = likeness_tables(likenesses(result))
    for table in (tau, overlap):
        pairs = [column.heading for column in table.columns]
        assert "magnitude, entry" in pairs
        assert "entry, gamma" in pairs


def test_a_convolution_without_batchnorm_behind_it_has_no_path(monkeypatch, tmp_path, capsys):
    def bare(shape: tuple[int, int, int], classes: int, _: object) -> nn.Module:
        layers = small(shape, classes)
        layers[1] = nn.Identity()
        return layers

    monkeypatch.setitem(NETS, "bare", NetworkSpec(bare, "two convolutions"))
    config = Config(model="bare", data="digits", epochs=1, batch_size=128, structure="bn-scale")
    run = train(config, device="cpu", runs_dir=tmp_path)
    assert (
        TrainedNetwork(run).path("0")
        is TrainedNetwork(run).support("0")
        is filter_panel(TrainedNetwork(run), "0").marked
        is None
    )
    assert main(["viz", "path", run.name, "--layer", "conv1", "--runs-dir", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"{run.name} has no path of conv1: it selects neither by its weight nor by the scales of a" in said
    assert said.rstrip().endswith("it selects by: 8.weight, 4.weight")
