"""What the code of one day did, kept as files: later code finds the same runs and gives the same tables and messages.

README.md says how the files were made. With SPARSIFY_WRITE_GOLDEN=1 the tests write them instead of comparing.
"""

from __future__ import annotations

import csv
import hashlib
import html
import io
import json
import os
import re
import shlex
import shutil
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import scipy
import torch
from torch import Tensor, nn

from sparsify import Config, Run, Sweep, find, load, read_study, train
from sparsify.cli.app import main

# what is not public: the names and contents of sweeps and masks, and how an optimizer is built for a network
from sparsify.config import Places
from sparsify.nets.layers import find_layers
from sparsify.nets.mask import load_mask
from sparsify.optim.registry import OPTIMIZERS
from sparsify.pruning.cuts import cuts_of
from sparsify.pruning.plan import PointPlan, SweepPlan
from sparsify.pruning.subject import subject_of
from sparsify.pruning.tickets import mask_path

HERE = Path(__file__).parent
REL = 1e-9 if scipy.__version__.startswith("1.15.") else 1e-12  # an older scipy computes p in another way
WRITE = os.environ.get("SPARSIFY_WRITE_GOLDEN") == "1"
TABLES = ("table.md", "table.csv", "cells.csv", "contrasts.csv", "affordable.csv", "selection.csv", "study.json")
MEASURED = ("correct", "accuracy", "recalibrated_accuracy", "finetuned_accuracy")
COMMANDS = ("", "train", "prune", "mask", "ticket", "compare", "export", "runs", "study")
COMMANDS += ("viz", "viz filters", "viz curves", "viz sweep", "viz path", "viz schedule", "viz optimizers")

pytestmark = pytest.mark.filterwarnings("ignore:the path may be too short")


class Answer(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[[str], Answer]


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder, a terminal of 80 columns, and no data set but the embedded one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("SPARSIFY_DATA", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def sparsify(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run one command line in this process."""

    def call(line: str) -> Answer:
        capsys.readouterr()
        code = main(shlex.split(line))
        return Answer(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kept runs; not to be written to."""
    folder = tmp_path_factory.mktemp("archive")
    with tarfile.open(HERE / "runs.tar.xz") as archive:
        # Python 3.11 before its fourth patch has no filters
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        archive.extractall(folder)
    return folder / "runs"


@pytest.fixture
def runs(archive: Path, tmp_path: Path) -> Path:
    """A copy of the kept runs as ./runs, ages included, and the study's file beside them."""
    shutil.copytree(archive, tmp_path / "runs")
    (tmp_path / "kept.toml").write_bytes((HERE / "kept.toml").read_bytes())
    return tmp_path / "runs"


@pytest.fixture
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are built, not rendered, which is what takes the time: a file holds one white pixel, or nothing."""
    from matplotlib.figure import Figure
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (1, 1), "white").save(buffer, "PNG")
    contents = {"png": buffer.getvalue(), "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><defs><style/></defs></svg>'}
    monkeypatch.setattr(Figure, "savefig", lambda _self, file, *, format, **_: file.write(contents[format]))


def same(name: str, text: str) -> None:
    """The text is that of a file here."""
    path = HERE / name
    if WRITE:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode())
    assert text == path.read_bytes().decode()


def same_table(name: str, text: str) -> None:
    """As `same`, but for the last digits of numbers in a CSV file: exp and log differ in these between processors."""
    if WRITE or not name.endswith(".csv"):
        same(name, text)
        return
    found, expected = _cells(text), _cells((HERE / name).read_text(encoding="utf-8"))
    assert found == [[one if isinstance(one, str) else pytest.approx(one, rel=REL) for one in row] for row in expected]


def _cells(text: str) -> list[list[float | str]]:
    return [[_number(cell) for cell in row] for row in csv.reader(text.splitlines())]


def _number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def kept(name: str) -> Any:
    """What a JSON file here holds."""
    return json.loads((HERE / name).read_text(encoding="utf-8"))


def write(name: str, value: object) -> None:
    """Replace a JSON file here, where files are written; nothing otherwise."""
    if WRITE:
        (HERE / name).parent.mkdir(exist_ok=True)
        (HERE / name).write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def files(folder: Path) -> dict[Path, bytes]:
    """The content of every file below a folder, but for locks."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"}


def digest(tensors: dict[str, Tensor]) -> str:
    """16 hex digits of the names, shapes and bits of tensors."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        total.update(tensor.contiguous().numpy().tobytes())
    return total.hexdigest()[:16]


# ---- a study


def page_text(page: str) -> str:
    """The text of a report, a line for each element, without the day and the version."""
    body = re.sub(r"<(style|script)\b.*?</\1>", "", page, flags=re.DOTALL)
    lines = (" ".join(line.split()) for line in html.unescape(re.sub(r"<[^>]*>", "\n", body)).splitlines())
    text = "\n".join(line for line in lines if line)
    text = re.sub(r"Written by sparsify-study \S+ on \d{4}-\d\d-\d\d", "Written by sparsify-study VERSION on DAY", text)
    assert "VERSION on DAY" in text
    return text + "\n"


def test_a_kept_study_is_found_again_and_gives_the_same_tables(runs, no_drawing, sparsify):
    before = files(runs)
    answer = sparsify("study kept.toml --device cpu")
    assert (answer.code, answer.err) == (0, "")
    after = files(runs)
    assert {path: content for path, content in after.items() if path in before} == before
    written = set(after) - set(before)
    assert {path.parent for path in written} == {runs / "studies" / "kept"}  # nothing was trained or swept
    same("kept/stdout.txt", answer.out)
    for name in TABLES:
        same_table(f"kept/{name}", (runs / "studies" / "kept" / name).read_text(encoding="utf-8"))
    same("kept/files.txt", "".join(f"{path.name}\n" for path in sorted(written)))
    same("kept/report.txt", page_text((runs / "studies" / "kept" / "report.html").read_text(encoding="utf-8")))


def test_nothing_is_missing_of_a_kept_study(runs, sparsify):
    answer = sparsify("study kept.toml --device cpu --dry-run")
    assert (answer.code, answer.err) == (0, "")
    same("kept/dry-run.txt", answer.out)
    assert answer.out.rstrip().endswith("nothing is missing")


@pytest.mark.parametrize("file", ["kept/study.json", "study-before.json"])
def test_the_folder_of_a_kept_study_is_read_again(file, runs):
    """Also one of before the design was kept in it."""
    folder = runs / "studies" / "kept"
    folder.mkdir(parents=True)
    (folder / "study.json").write_bytes((HERE / file).read_bytes())
    result = read_study("kept")
    table = result.table().to_csv(index=False, lineterminator="\n")
    assert table == (HERE / "kept" / "table.csv").read_text(encoding="utf-8")
    findings = find(result)
    printed = (HERE / "kept" / "stdout.txt").read_text(encoding="utf-8")
    assert len(findings.verdicts) == 11
    assert [verdict for verdict in findings.verdicts if f"{verdict}\n" not in printed] == []


# ---- runs


def _rows(run: Run) -> list[dict[str, Any]]:
    """The metrics as JSON has them: empty cells are None."""
    metrics = run.metrics.astype(object)
    return metrics.where(metrics.notna(), None).to_dict("records")


def reading(run: Run) -> dict[str, Any]:
    """All that a run's folder says."""
    path = run.inclusion_path
    found: dict[str, Any] = {
        "status": run.status,
        "config": run.config.to_dict(),
        "name": run.config.name,
        "summary": run.summary,
        "metrics": _rows(run),
        "environment": run.environment,
        "weights": digest(load(run).state_dict()),
        "z": None if run.z is None else digest(run.z),
        "support": {},
        "path": None,
        "sweeps": {},
    }
    for name, _ in run.model().named_parameters():
        inside = run.support(name)
        if inside is not None:
            found["support"][name] = [int(inside.sum()), inside.numel()]
    if path is not None:
        for kind in ("entry", "gamma_norm", "weight_norm"):
            arrays = {name: torch.from_numpy(array) for name, array in getattr(path, kind).items()}
            found["path"] = {**(found["path"] or {}), kind: digest(arrays)}
    for file in sorted(run.path.glob("sweep-" + "[0-9a-f]" * 8 + ".csv")):
        sweep = Sweep.read(file)
        assert file.name == f"sweep-{sweep.id}.csv"
        found["sweeps"][sweep.id] = {
            "criterion": sweep.plan.order,
            "controls": sweep.plan.control_orders,
            "layer_sets": sweep.plan.layers,
            "ratios": sweep.plan.ratios,
            "measures": sweep.measures,
            "outcomes": {
                name: hashlib.sha256(o.right.tobytes()).hexdigest()[:16] for name, o in sweep.outcomes.items()
            },
        }
        same_rows(sweep.rows, file)
        same_rows(sweep.ledger, file.with_name(f"{file.stem}-ledger.csv"))
    return found


def same_rows(rows: Sequence[object], file: Path) -> None:
    """Each number of a sweep is the one that stands in its file."""
    header, *cells = csv.reader(file.read_text(encoding="utf-8").splitlines())
    values = [[getattr(row, column) for column in header] for row in rows]
    assert [["" if value is None else str(value) for value in row] for row in values] == cells


def test_every_kept_run_reads_as_before(runs):
    found = {path.name: reading(Run(path)) for path in sorted(runs.iterdir())}
    write("runs.json", found)
    assert json.loads(json.dumps(found)) == kept("runs.json")


def test_a_kept_run_is_not_trained_again(runs, sparsify):
    """Each run's Config leads to its folder, where nothing is left to do."""
    for path in sorted(runs.iterdir()):
        config = Run(path).config
        heard = []
        assert train(config, device="cpu", runs_dir=runs, listener=heard.append).path == path
        assert heard == []


def test_the_runs_are_listed_as_before(runs, sparsify):
    answer = sparsify("runs")
    assert (answer.code, answer.err) == (0, "")
    same("texts/runs.txt", answer.out)


def test_a_kept_shrunk_network_is_loaded(runs):
    (folder,) = runs.glob("*/shrunk-*")
    assert (folder.parent.name, folder.name) == ("lenet-digits-sgd-pull-s0-eeb04685", "shrunk-86236aee")
    network = load(folder)
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters() if p.ndim > 1}
    assert shapes == {
        "conv1.weight": (6, 1, 5, 5),
        "conv2.weight": (16, 6, 5, 5),
        "conv3.weight": (12, 16, 5, 5),
        "fc1.weight": (8, 12),
        "fc2.weight": (10, 8),
    }
    assert digest(network.state_dict()) == "62f8cb44a851fc8b"
    small = network(torch.ones(1, 1, 28, 28))
    assert small.shape == (1, 10)


# ---- what is measured anew


PRUNES = [
    "prune slbi-s0 --layers conv3 --layers conv3,fc1 --ratios 0,0.5,0.8",
    "prune slbi-s0 --layers conv3 --ratios 0.5 --controls --draws 2",
    "prune slbi-s0 --layers 'conv*' --ratios 0:0.6:0.3 --scope global",
    "prune slbi-s0 --layers conv3,fc1 --ratios 0.25,0.75 --reverse",
    "prune slbi-s0 --layers conv3 --ratios 0.4 --criterion entry",
    "prune slbi-s0 --layers conv3,fc1 --ratios 0.4 --criterion gamma --controls",
    "prune slbi-s0 --layers fc1 --ratios 0.3,0.6 --grain neuron",
    "prune slbi-s0 --layers all --ratios 0.5 --grain weight --criterion random --draws 3",
    "prune slbi-s0 --layers all --ratios 0.5 --scope global --criterion lamp",
    "prune slbi-s0 --layers conv2,conv3 --ratios 0.5 --criterion fpgm --rounds 3",
    "prune slbi-s0 --layers conv3 --ratios 0.5 --criterion taylor --finetune 1",
    "prune sgd-pull-s0 --layers conv3 --ratios 0.5 --grain filter --shrink",
    "prune sgd-s1 --layers conv2,conv3 --ratios 0.5 --compare-criteria magnitude,l1,fpgm",
    "prune slbi-s0 --layers conv3 --ratios 0.3 --scope global --compare-criteria magnitude,lamp,entry",
]


def shape(text: str) -> str:
    """What is printed without accuracies, which differ a little between processors, and the room that they take."""
    text = re.sub(r"(?<![\d.])\d+\.\d\d( ± \d+\.\d\d)?(?![\d×])", "#", text)
    text = re.sub(r"by no more than \S+ of", "by no more than # of", text)
    return re.sub(r"─+", "─", "\n".join(" ".join(line.split()) for line in text.splitlines()))


@pytest.mark.parametrize("number", range(len(PRUNES)))
def test_a_run_is_pruned_as_before(number, runs, sparsify):
    """Names, columns, counts and costs exactly; accuracies but for a few images."""
    line = PRUNES[number]
    before = files(runs)
    answer = sparsify(line.replace("prune ", "prune lenet-digits-") + " --device cpu")
    assert answer.code == 0
    compared = "--compare-criteria" in line
    written = sorted(set(files(runs)) - set(before))
    plans = {path for path in written if re.fullmatch(r"sweep-[0-9a-f]{8}\.json", path.name)}  # since 0.2.0
    written = [path for path in written if path not in plans]
    assert plans == {path.with_suffix(".json") for path in written if re.fullmatch(r"sweep-.{8}\.csv", path.name)}
    out = answer.out if compared else shape(answer.out)
    found: dict[str, Any] = {"line": line, "out": out.splitlines(), "err": answer.err, "files": {}}
    for path in written:
        text = path.read_text(encoding="utf-8") if path.suffix in (".csv", ".json") else ""
        if path.suffix == ".json":
            values = json.loads(text)
            del values["difference"]
            text = json.dumps({**values, "sha256": list(values["sha256"])})
        found["files"][str(path.relative_to(runs))] = text.splitlines()
    name = f"prunes/{number:02d}.json"
    write(name, found)
    expected = kept(name)
    assert (found["line"], found["err"]) == (expected["line"], expected["err"])
    assert found["out"] == expected["out"]
    assert list(found["files"]) == list(expected["files"])
    for file, lines in found["files"].items():
        if file.endswith(".csv") and "ledger" not in file:
            compare_rows(lines, expected["files"][file], trained="--finetune" in line)
        else:
            assert lines == expected["files"][file]


def compare_rows(lines: list[str], expected: list[str], *, trained: bool) -> None:
    """The rows of two sweeps are equal but for `MEASURED`, and these are close if nothing was trained."""
    assert lines[0] == expected[0]
    ours, theirs = (list(csv.DictReader(io.StringIO("\n".join(one)))) for one in (lines, expected))
    for row, other in zip(ours, theirs, strict=True):
        assert {k: v for k, v in row.items() if k not in MEASURED} == {
            k: v for k, v in other.items() if k not in MEASURED
        }
        assert float(row["accuracy"]) == int(row["correct"]) / int(row["count"])
        assert [row[k] == "" for k in MEASURED] == [other[k] == "" for k in MEASURED]
        assert abs(int(row["correct"]) - int(other["correct"])) <= 3
        if row["finetuned_accuracy"]:
            assert trained
            assert abs(float(row["finetuned_accuracy"]) - float(other["finetuned_accuracy"])) < 0.15


TRAININGS: list[dict[str, Any]] = [
    *({"opt": opt} for opt in ("sgd", "sgd-pull", "slbi", "slbi-adam", "linbreg", "adabreg", "prox-sgd")),
    {"opt": "sgd", "seed": 3, "val": 0.25, "augment": "crop-flip", "schedule": "one-cycle", "weight_decay": 0.001},
]


def test_a_training_begins_as_before():
    """One epoch of each optimizer from scratch: the name, the files, and the loss but for what processors differ in."""
    found = []
    for fields in TRAININGS:
        run = train(Config(data="digits", epochs=1, batch_size=64, **fields), device="cpu", runs_dir="runs")
        files = sorted(path.name for path in run.path.iterdir() if path.name != ".lock")
        metrics = {name: value for name, value in _rows(run)[0].items() if name != "seconds"}
        found.append({"fields": fields, "name": run.name, "files": files, "metrics": metrics})
    write("trainings.json", found)
    for one, other in zip(found, kept("trainings.json"), strict=True):
        assert {**one, "metrics": None} == {**other, "metrics": None}
        assert list(one["metrics"]) == list(other["metrics"])
        for name, value in one["metrics"].items():
            expected, tolerance = other["metrics"][name], 0.02 if name.endswith("accuracy") else 1e-3
            assert value == (None if expected is None else pytest.approx(expected, abs=tolerance))


# ---- names


def test_sweep_ids():
    table = kept("sweep_ids.json")
    found = [{"asked": row["asked"], "id": SweepPlan(**row["asked"]).id} for row in table]
    write("sweep_ids.json", found)
    assert found == kept("sweep_ids.json")
    assert len({row["id"] for row in found}) == len(found) >= 25


def test_configs():
    """The digest and the name of a run's folder."""
    table = kept("configs.json")
    found = []
    for row in table:
        config = Config(**row["fields"])
        assert Config.from_dict(config.to_dict()) == config
        found.append({"fields": row["fields"], "digest": config.digest(), "name": config.name})
    write("configs.json", found)
    assert found == kept("configs.json")
    assert len({row["digest"] for row in found}) == len(found) >= 15


def test_the_file_of_a_mask(runs):
    run = Run(runs / "lenet-digits-slbi-s0-bee3a7bb")
    subject = subject_of(run, Places(device="cpu", runs_dir=runs))
    found = []
    for layers, asked in (
        ("all", {"ratio": 0.7, "criterion": "magnitude", "grain": "auto"}),
        ("conv*,fc1", {"ratio": 0.25, "criterion": "entry", "grain": "neuron"}),
        ("conv3", {"ratio": 0.5, "criterion": "random", "grain": "weight"}),
    ):
        names = ",".join(find_layers(subject.model, layers, left_out=subject.structure.left_out))
        found.append(mask_path(run, PointPlan(layers=names, **asked), runs).name)
    assert found == ["mask-3982e00d.safetensors", "mask-cb017360.safetensors", "mask-4bf139de.safetensors"]
    again, _ = subject.structure.remove(cuts_of(subject, PointPlan(layers="all", ratio=0.7)))
    before = load_mask(run.path / found[0])
    assert again.keys() == before.keys()
    assert all(torch.equal(again[name], keep) for name, keep in before.items())


# ---- optimizers


class Bowl(nn.Module):
    """A convolution of 4 filters and a fully connected layer of 6 weights, in float64, with literal numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, (1, 2), bias=True)
        self.fc = nn.Linear(3, 2)
        self.double()
        start = {
            "conv.weight": [[1.5, -1.0], [0.5, 0.25], [-0.125, 0.0625], [2.0, 1.0]],
            "conv.bias": [0.5, -0.25, 0.0, 1.0],
            "fc.weight": [[1.25, -0.5, 0.03125], [-2.0, 0.75, 0.0]],
            "fc.bias": [-0.5, 0.125],
        }
        for name, p in self.named_parameters():
            p.data = torch.tensor(start[name], dtype=torch.float64).view_as(p)

    def forward(self) -> Tensor:
        """Σ a·(w − t)²/2 with targets and curvatures that are multiples of 1/8."""
        losses = []
        for number, p in enumerate(self.parameters()):
            index = torch.arange(p.numel(), dtype=torch.float64).view_as(p)
            target = (((5 * index + 3 * number) % 7) - 3) / 2
            curvature = 0.5 + ((3 * index + number) % 5) / 8
            losses.append((curvature * (p - target) ** 2).sum() / 2)
        return torch.stack(losses).sum()


OF_TORCH = ("adam", "adamw", "rmsprop", "adagrad", "adadelta", "adamax", "nadam", "radam", "adafactor", "asgd", "rprop")
"""tests/optim/test_torch_optimizers.py compares these with torch's own classes."""

CONTROLS = ("random-release", "slimming")
"""tests/optim/test_controls.py has these: they need another run, and BatchNorm."""

OPTIMIZED: list[dict[str, Any]] = [
    {"opt": "sgd"},
    {"opt": "sgd", "lr": 0.1, "momentum": 0.5, "weight_decay": 0.01},
    {"opt": "sgd-pull", "mu": 0.5},
    {"opt": "sgd-pull", "mu": 0.5, "kappa": 2.0, "momentum": 0.0},
    {"opt": "slbi", "mu": 0.05, "lr": 0.02},
    {"opt": "slbi", "mu": 2.0, "kappa": 2.0, "path_scale": 5.0, "weight_decay": 0.01, "momentum": 0.5},
    {"opt": "slbi-adam", "mu": 0.5, "lr": 0.01},
    {"opt": "slbi-adam", "mu": 1.0, "lr": 0.05, "kappa": 1.5, "path_scale": 6.0},
    {"opt": "linbreg", "density": 0.5},
    {"opt": "linbreg", "density": 1.0, "lr": 0.1, "momentum": 0.0, "strength": 0.2, "delta": 2.0},
    {"opt": "adabreg", "density": 0.5, "lr": 0.05},
    {"opt": "adabreg", "density": 1.0, "lr": 0.05, "strength": 0.5, "delta": 0.5},
    {"opt": "prox-sgd"},
    {"opt": "prox-sgd", "lr": 0.1, "momentum": 0.5, "strength": 0.2},
    {"opt": "adam-pull", "mu": 0.5, "lr": 0.01},
]


def golden_path(fields: dict[str, Any]) -> dict[str, Any]:
    """The parameters at the start and after each of ten steps, and the support at the end."""
    config, model = Config(data="digits", seed=1, **fields), Bowl()
    spec = OPTIMIZERS[config.opt]
    spec.prepare(model, config)
    optimizer = spec.build(model, config)
    steps = [flat(model)]
    for _ in range(10):
        optimizer.zero_grad()
        model().backward()
        optimizer.step()
        steps.append(flat(model))
    weights = (model.conv.weight, model.fc.weight)
    inside = [optimizer.support(p).flatten().tolist() for p in weights] if spec.selects else None
    return {"fields": fields, "steps": steps, "support": inside}


def flat(model: nn.Module) -> list[float]:
    return torch.cat([p.detach().flatten() for p in model.parameters()]).tolist()


def test_every_optimizer_has_a_golden_path():
    assert {fields["opt"] for fields in OPTIMIZED} == OPTIMIZERS.keys() - {*OF_TORCH, *CONTROLS}


@pytest.mark.parametrize("number", range(len(OPTIMIZED)))
def test_the_path_of_an_optimizer(number):
    found = golden_path(OPTIMIZED[number])
    paths = kept("optimizers.json")
    if WRITE:
        paths = [*paths[:number], found, *paths[number + 1 :]]
        write("optimizers.json", paths)
    assert found["fields"] == paths[number]["fields"]
    assert found["support"] == paths[number]["support"]
    for ours, theirs in zip(found["steps"], paths[number]["steps"], strict=True):
        assert ours == pytest.approx(theirs, rel=0, abs=1e-12)


# ---- texts


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command, sparsify):
    answer = sparsify(f"{command} --help")
    assert (answer.code, answer.err) == (0, "")
    same(f"texts/{command.replace(' ', '-') or 'sparsify'}-help.txt", answer.out)


def test_the_list_of_studies(sparsify):
    answer = sparsify("study --list")
    assert (answer.code, answer.err) == (0, "")
    same("texts/study-list.txt", answer.out)


RUN = "lenet-digits-slbi-s0-bee3a7bb"
MISTAKES = [
    "trian",
    "train --lr",
    "train --lr fast",
    "train --opt adams --data digits",
    "train --opt sgd --mu 3 --data digits",
    "train --model lenett --data digits",
    "train --data cifar100",
    "train --data folder:missing",
    "train --epochs 1.5",
    "train --epochs 0 --data digits",
    "train --momentum 1 --data digits",
    "train --val 1 --data digits",
    "train --mask-from 2 --data digits",
    "train --seeds 3,3 --data digits",
    "train --seed 1 --seeds 2 --data digits",
    "train --init nothing --data digits",
    "train --density 0.5 --opt linbreg --init " + RUN + " --data digits",
    "train --structure bn-scale --data digits",
    "prune",
    "prune nothing --layers conv3",
    f"prune {RUN}",
    "prune lenet-digits-s --layers conv3",
    f"prune {RUN} --layers conv9",
    f"prune {RUN} --layers 'pool*'",
    f"prune {RUN} --layers conv3 --ratios 0:2:0.5",
    f"prune {RUN} --layers conv3 --ratios a,b",
    f"prune {RUN} --layers conv3 --criterion magnitud",
    f"prune {RUN} --layers conv3 --grain row",
    f"prune {RUN} --layers conv3 --scope all",
    f"prune {RUN} --layers conv3 --draws 3",
    f"prune {RUN} --layers conv3 --controls --criterion random",
    f"prune {RUN} --layers conv3 --recalibrate-bn",
    f"prune {RUN} --layers conv3 --criterion bn-scale",
    f"prune {RUN} --layers conv3 --rounds 0",
    f"prune {RUN} --layers conv3 --finetune -1",
    f"prune {RUN} --layers conv3 --shrink",
    f"prune {RUN} --layers conv3 --latency --rounds 2 --finetune 1",
    f"prune {RUN} --layers conv3 --reverse --compare-criteria magnitude,l1",
    f"prune {RUN} --layers conv3 --compare-criteria magnitude",
    "prune lenet-digits-sgd-s0 --layers conv3 --criterion entry",
    f"ticket {RUN} --ratio 1.5",
    f"ticket {RUN} --rewind 2",
    f"compare {RUN} nothing",
    f"compare {RUN} {RUN} --criterion l1",
    f"export {RUN}",
    "viz filters --layer fc1",
    "viz path lenet-digits-sgd-s0",
    f"viz filters {RUN} --fold-bn",
    "study quik",
    "study missing.toml",
    "study kept.toml --set epochs",
    "study kept.toml --set epoch=3",
    "study kept.toml --list",
    "study kept.toml --set opt=sgd --set mu=3",
    "runs --runs-dir",
]


def test_mistakes(runs, sparsify):
    """One line on stderr and the exit status of each, and nothing is trained or written."""
    before = files(runs.parent)
    found = []
    for line in MISTAKES:
        answer = sparsify(line)
        err = answer.err.replace(str(runs.parent.resolve()), "HERE")
        found.append({"line": line, "code": answer.code, "out": answer.out, "err": err})
        assert (answer.code, answer.err.count("\n")) == (2, 1), line
    write("mistakes.json", found)
    assert found == kept("mistakes.json")
    assert files(runs.parent) == before
