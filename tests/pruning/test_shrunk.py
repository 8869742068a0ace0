"""Shrunk networks on the disk: saved, loaded, refused where they are damaged, made by the command, and exported."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from cutting import build, cut, cuts_for, example, images, seeded, tiny_resnet
from summaries import before_sums
from torch import Tensor, nn

import sparsify
from sparsify import SparsifyError, load, shrink
from sparsify.cli.app import main
from sparsify.data.registry import load_dataset
from sparsify.nets.comparing import TOLERANCE, output_difference, relative_difference
from sparsify.nets.deployment import to_onnx
from sparsify.nets.evaluation import evaluate
from sparsify.nets.registry import NETS, NetworkSpec
from sparsify.nets.shrinking import plan_removal
from sparsify.nets.structure import Structure
from sparsify.pruning.cuts import make_mask
from sparsify.pruning.shrunk import Shrunk
from sparsify.pruning.sweep import list_sweeps
from sparsify.runs import Run, newest_run
from sparsify.sums import Record


def saved(folder: Path, net: str = "resnet20") -> tuple[nn.Module, Shrunk]:
    model, inputs = build(net), example(net)
    cuts = cuts_for(net, model)
    small, outputs = shrink(model, cuts, inputs), plan_removal(Structure(model, inputs[:1]), cuts).outputs
    shape, classes = tuple(inputs.shape[1:]), tuple("abcdefghij")
    facts = Shrunk(net, shape, classes, outputs, "run", "conv1", 0.5, "magnitude", "auto", "layer", False, 10, 5, 0.0)
    facts.save(folder, small)
    return small, facts


@pytest.mark.parametrize("net", ["lenet", "vgg-a-bn", "resnet20"])
def test_a_shrunk_network_is_loaded_to_the_bit_without_its_run(net: str, tmp_path: Path) -> None:
    small, facts = saved(tmp_path / "shrunk-0", net)
    assert Shrunk.read(tmp_path / "shrunk-0") == facts
    loaded = load(tmp_path / "shrunk-0")
    assert loaded.state_dict().keys() == small.state_dict().keys()
    assert all(torch.equal(tensor, small.state_dict()[name]) for name, tensor in loaded.state_dict().items())
    assert not loaded.training
    with torch.no_grad():
        assert torch.equal(loaded(example(net)), small(example(net)))


def edited(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        values = json.loads((folder / "shrunk.json").read_text())
        (folder / "shrunk.json").write_text(json.dumps(values | changes))

    return edit


DAMAGED = {
    "no-weights": (
        lambda folder: (folder / "model.safetensors").unlink(),
        "model.safetensors is damaged: No such file",
    ),
    "other-weights": (
        lambda folder: (folder / "model.safetensors").write_bytes(b"x"),
        "model.safetensors is damaged: its SHA-256 sum is not the one in shrunk.json",
    ),
    "no-json": (lambda folder: (folder / "shrunk.json").write_text("{"), "shrunk.json is damaged: it is no JSON: "),
    "a-list": (
        lambda folder: (folder / "shrunk.json").write_text("[]"),
        r"shrunk.json is damaged: it is \[\]; it must be an object",
    ),
    "network": (edited(model="nonet"), "model is 'nonet'; it must be one of: lenet, "),
    "shape": (edited(shape=[3, 32]), r"shape is \[3, 32\]; it must be a list of length 3"),
    "removed": (
        edited(removed={"conv1": [0.5]}),
        r"removed\[\.\.\.\]\[0\] is something else; it must be a whole number",
    ),
    "out-of-range": (edited(removed={"conv1": [16]}), "conv1 has outputs 0 to 15, and none of index 16"),
    "others-removed": (edited(removed={"conv1": [0]}), "size mismatch for conv1.weight"),
}


@pytest.fixture(scope="module")
def shrunk_resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be written to."""
    folder = tmp_path_factory.mktemp("shrunk") / "shrunk-0"
    saved(folder)
    before_sums(folder / "shrunk.json")  # else the sum is what does not fit
    return folder


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_folder_is_refused(case: str, shrunk_resnet: Path, tmp_path: Path) -> None:
    damage, message = DAMAGED[case]
    shutil.copytree(shrunk_resnet, tmp_path / "shrunk-0")
    damage(tmp_path / "shrunk-0")
    with pytest.raises(SparsifyError, match=message):
        load(tmp_path / "shrunk-0")


# the command ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lenet_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    runs_dir = tmp_path_factory.mktemp("shrink") / "runs"
    assert main(shlex.split(f"train --data digits --epochs 1 --device cpu --opt sgd --runs-dir {runs_dir}")) == 0
    return newest_run(runs_dir)


def prune(run: Run, options: str) -> int:
    where = f"--device cpu --runs-dir {shlex.quote(str(run.path.parent))}"
    return main(shlex.split(f"prune {shlex.quote(str(run.path))} {options} {where}"))


def files(run: Run) -> set[Path]:
    return {path for path in run.path.rglob("*") if path.is_file()}


def test_the_command_end_to_end(lenet_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(lenet_run)
    assert prune(lenet_run, "--layers conv3,fc1 --ratios 0,0.6 --shrink") == 0
    out = capsys.readouterr().out
    assert "shrunk: 61,706 → 26,786 parameters" in out  # 72 filters of 401 numbers, and 72 inputs of 84 neurons
    assert "of 4,032 stay as zeros" in out
    assert "checked on 64 images: masked and shrunk logits differ by no more than" in out
    (folder,) = lenet_run.path.glob("shrunk-*")
    assert f"written: {folder}" in out
    names = {path.name for path in files(lenet_run) - before}
    assert {"model.safetensors", "shrunk.json", f"sweep-{folder.name[7:]}.csv"} <= names
    small = sparsify.load(folder)
    facts = Shrunk.read(folder)
    assert sum(p.numel() for p in small.parameters()) == facts.params_after == 26_786
    assert len(facts.removed["conv3"]) == 72
    assert facts.difference <= TOLERANCE
    mask = make_mask(lenet_run.model(), images(1, 1, 28, 28), layers="conv3,fc1", ratio=0.6)
    assert output_difference(lenet_run.model(), mask, small, images(16, 1, 28, 28)) <= TOLERANCE


@pytest.fixture(scope="module")
def resnet_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run of a tiny ResNet in the place of "resnet20"; not to be written to."""
    runs_dir = tmp_path_factory.mktemp("resnet")
    train = "train --model resnet20 --data digits --epochs 2 --device cpu --opt sgd --batch-size 32"
    spec = NetworkSpec(lambda shape, classes, _: tiny_resnet(shape, classes), "a tiny ResNet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETS, "resnet20", spec)
        assert main(shlex.split(f"{train} --runs-dir {runs_dir}")) == 0
        yield newest_run(runs_dir)


@pytest.mark.parametrize("options", ["--finetune 1", "--finetune 1 --rounds 2", "--recalibrate-bn", "--controls"])
def test_the_network_that_is_saved_is_the_one_that_was_measured_last(
    options: str, resnet_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(Path(shutil.copytree(resnet_run.path, tmp_path / resnet_run.name)))
    assert prune(run, f"--layers conv1,stage2.0.conv1 --ratios 0,0.25 --shrink {options}") == 0
    out = capsys.readouterr().out
    assert out.count("shrunk: ") == out.count("outputs that go: ") == 1
    (sweep,) = list_sweeps(run.path)
    (folder,) = run.path.glob("shrunk-*")
    row = next(row for row in sweep.rows if row.ratio == 0.25 and row.criterion == "magnitude")
    measured = next(value for value in (row.finetuned_accuracy, row.recalibrated_accuracy, row.accuracy) if value)
    assert evaluate(load(folder), load_dataset("digits").test, load_dataset("digits").normalise).accuracy == measured
    facts = Shrunk.read(folder)
    assert (facts.finetune_epochs, facts.recalibrate_bn) == (options.count("--finetune"), "recalibrate" in options)
    if "--controls" not in options:
        assert measured != row.accuracy


def test_what_is_left_keeps_its_memory_format() -> None:
    model = seeded(lambda: tiny_resnet((2, 8, 8), 3)).to(memory_format=torch.channels_last)
    small = shrink(model, [cut(model, "stage1.0.conv1", [0, 2])], images(2, 2, 8, 8))
    assert small.get_submodule("stage1.0.conv1").weight.shape[0] == 2
    for parameter in small.parameters():
        assert parameter.ndim != 4 or parameter.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--layers conv3 --ratios 0:0.6:0.1", "--shrink needs one ratio above 0, as in --ratios 0.6; these are: 0.1,"),
        ("--layers conv3 --ratios 0", "these are: none"),
        ("--layers conv3 --layers fc1 --ratios 0.5", "--shrink needs one set of layers; these are 2: conv3; fc1"),
        ("--layers conv3 --ratios 0.5 --criterion random --draws 2", "--shrink needs one draw; --draws is 2"),
        ("--layers conv3 --ratios 1", "nothing would be left of conv3: all of its 120 outputs"),
        ("--layers conv9 --ratios 0.5", "unknown layer 'conv9'"),
        ("--layers conv3 --ratios 0.5 --criterion entry", "criterion 'entry' needs the path"),
    ],
)
def test_the_command_refuses_in_one_line_and_writes_nothing(
    options: str, message: str, lenet_run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(lenet_run)
    assert prune(lenet_run, f"{options} --shrink") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert files(lenet_run) == before


def test_the_command_writes_nothing_if_the_two_differ(
    lenet_run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(lenet_run)
    monkeypatch.setattr("sparsify.nets.shrinking.output_difference", lambda *_: 2e-5)
    assert prune(lenet_run, "--layers conv3 --ratios 0.3 --shrink") == 2
    error = capsys.readouterr().err
    assert "differ from the masked network's by 2.0e-05 of the largest, more than 1e-05" in error
    assert error.count("\n") == 1
    assert files(lenet_run) == before


def test_the_command_shows_coupled_layers_before_they_go(
    resnet_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(Path(shutil.copytree(resnet_run.path, tmp_path / resnet_run.name)))
    capsys.readouterr()
    assert prune(run, "--layers conv1 --ratios 0.5 --shrink") == 0
    out = capsys.readouterr().out
    line = "coupled, so their channels go together: conv1 (2 of 4), stage1.0.conv2 (2 of 4)\n"
    assert line in out
    inputs = "stage1.0.conv1 (2 of 4), stage2.0.conv1 (2 of 4), stage2.0.shortcut.conv (2 of 4)"
    before = [
        "coupled, so what goes from one goes from all: conv1, stage1.0.conv2\n",
        line,
        f"inputs that go: {inputs}\n",
    ]
    for shown in before:
        assert 0 <= out.index(shown) < out.index("shrunk: ")
    rows = [row.split() for row in out.splitlines()]
    assert ["conv1", "4", "filters", "2", "(50.0%)", "2", "(50.0%)"] in rows
    assert ["stage1.0.conv2", "4", "filters", "coupled", "2", "(50.0%)"] in rows
    (folder,) = run.path.glob("shrunk-*")
    assert load(folder).stage1[0].bn2.num_features == 2


# ONNX ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def _onnx() -> None:
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)


@pytest.mark.usefixtures("_onnx")
@pytest.mark.parametrize("kind", ["run", "shrunk"])
def test_a_run_and_a_shrunk_network_are_exported(kind: str, lenet_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    import onnxruntime

    folder = lenet_run.path
    if kind == "shrunk":
        folder = folder / "shrunk-0"
        model = lenet_run.model()
        cuts = [cut(model, "conv3", range(80))]
        small = shrink(model, cuts, images(2, 1, 28, 28))
        removed = plan_removal(Structure(model, images(2, 1, 28, 28)[:1]), cuts).outputs
        classes = tuple(lenet_run.summary["classes"])
        how = ("conv3", 0.5, "l1", "auto", "layer", False)
        Shrunk("lenet", (1, 28, 28), classes, removed, "", *how, 2, 1, 0.0).save(folder, small)
    assert main(["export", str(folder), "--onnx", "--runs-dir", str(lenet_run.path.parent)]) == 0
    assert "checked with onnxruntime: its logits differ from torch's by no more than" in capsys.readouterr().out
    record = Record.of(folder)
    record.require("model.onnx", (folder / "model.onnx").read_bytes())
    assert record.file == ("summary.json" if folder == lenet_run.path else "shrunk.json")
    assert "model.safetensors" in record.sums
    assert not (folder / "sums.json").exists()
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    inputs = images(3, 1, 28, 28)
    (logits,) = session.run(None, {"images": inputs.numpy()})
    with torch.no_grad():
        assert relative_difference(load(folder)(inputs), torch.from_numpy(logits)) <= 1e-5


@pytest.mark.usefixtures("_onnx")
def test_a_network_that_cannot_be_exported_is_refused_in_one_line() -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(SparsifyError, match="the network cannot be exported") as caught:
        to_onnx(Branching(), images(2, 3))
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("_onnx")
def test_an_onnx_form_that_computes_another_function_is_refused_in_one_line_and_not_written(
    lenet_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxruntime import InferenceSession

    class Doubled(InferenceSession):
        def run(self, *given: object) -> list[object]:
            return [2 * output for output in super().run(*given)]

    monkeypatch.setattr("onnxruntime.InferenceSession", Doubled)
    run = Run(Path(shutil.copytree(lenet_run.path, tmp_path / "runs" / lenet_run.name)))
    (run.path / "model.onnx").unlink(missing_ok=True)
    before = {path: path.read_bytes() for path in files(run)}
    assert main(["export", str(run.path), "--onnx", "--runs-dir", str(tmp_path / "runs")]) == 2
    assert capsys.readouterr().err == (
        "error: the ONNX form computes another function: its outputs differ by 1.0e+00 of the largest, "
        "more than 0.0001\n"
    )
    assert {path: path.read_bytes() for path in files(run)} == before


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_without_the_extra_one_line_says_how_to_get_it(
    package: str, lenet_run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("onnx", "onnxruntime", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, None if name == package else type(sys)(name))
    before = files(lenet_run)
    assert main(["export", str(lenet_run.path), "--onnx"]) == 2
    assert capsys.readouterr().err == (
        f"error: ONNX needs {package}, which is not installed: pip install 'sparsify-study[onnx]'; "
        "see docs/how-to/ship.md\n"
    )
    assert files(lenet_run) == before


def test_export_needs_a_format_and_a_run(lenet_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(lenet_run.path)]) == 2
    assert capsys.readouterr().err == "error: export needs a format; there is one: --onnx\n"
    assert main(["export", str(tmp_path), "--onnx"]) == 2
    assert "is a folder, but no run" in capsys.readouterr().err
