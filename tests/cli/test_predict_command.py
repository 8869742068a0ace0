"""`sparsify predict` and the figures of one network, as commands."""

import numpy as np
import pytest
import torch
from commandline import run_of
from PIL import Image

from sparsify.config import Places
from sparsify.data.registry import load_dataset
from sparsify.pruning.cuts import cuts_of
from sparsify.pruning.plan import PointPlan
from sparsify.pruning.predicting import probabilities, read_pictures
from sparsify.pruning.subject import subject_of, subject_of_pictures
from sparsify.report.predictions import bar
from sparsify.runs import Run


@pytest.fixture
def picture(tmp_path):
    pixels = load_dataset("digits").test.images[0, 0].numpy()
    path = tmp_path / "digit.png"
    Image.fromarray(pixels).save(path)
    return path


def test_a_bar_is_as_long_as_the_probability():
    assert bar(0.0) == " " * 20 + "   0.0%"
    assert bar(1.0) == "█" * 20 + " 100.0%"
    assert bar(0.25) == "█" * 5 + " " * 15 + "  25.0%"
    assert bar(0.5 / 20).startswith("▌ ")


def test_a_picture_is_in_the_size_and_the_channels_of_the_network(tmp_path, picture):
    (grey,) = read_pictures([picture], (1, 28, 28))
    assert (grey == load_dataset("digits").test.images[0]).all()
    (colour,) = read_pictures([picture], (3, 32, 32))
    assert colour.shape == (3, 32, 32)
    assert (colour[0] == colour[2]).all()
    red = tmp_path / "red.png"
    Image.new("RGB", (40, 30), (255, 0, 0)).save(red)
    (dark,) = read_pictures([red], (1, 28, 28))
    assert set(dark.flatten().tolist()) == {76}  # 0.299 of 255


def test_the_probabilities_are_the_softmax_of_the_logits_and_those_of_a_mask_are_the_masked_networks(runs):
    run = Run(run_of(runs, "sgd"))
    subject = subject_of(run)
    images = subject.split.images[:3]
    logits = run.model()(subject.prepared(images))
    assert (probabilities(subject, images) - logits.softmax(1)).abs().max() < 1e-6
    mask = subject.structure.mask([])
    bias = run.model().get_parameter("fc2.bias")
    dead = {"fc2.weight": run.model().get_parameter("fc2.weight") > np.inf}
    assert mask == {}
    assert (probabilities(subject, images, dead) - bias.softmax(0)).abs().max() < 1e-6


def test_the_classes_of_a_picture_whole_and_pruned(sparsify, runs, picture):
    run = Run(run_of(runs, "sgd"))
    answer = sparsify(f"predict {run.name} {picture} --layers conv3,fc1 --ratio 0.9 --top 3")
    assert answer.code == 0
    assert "digit.png" in answer.out
    assert "90% of conv3,fc1 removed" in answer.out
    (whole,) = probabilities(subject_of(run), read_pictures([picture], (1, 28, 28)))
    best = int(whole.argmax())
    row = next(line.split() for line in answer.out.splitlines() if "%" in line and "removed" not in line)
    assert row[0] == str(best)
    assert f"{whole.max():.1%}" in row


def test_a_prediction_reads_no_data(sparsify, runs, picture, monkeypatch):
    """The run says how its images were normalised, to the last bit."""
    run = Run(run_of(runs, "slbi"))
    whole = subject_of(run, Places(device="cpu"))
    for module in ("sparsify.training.starting", "sparsify.pruning.subject"):
        monkeypatch.setattr(f"{module}.load_dataset", lambda *_args, **_named: pytest.fail("the data is read"))
    subject = subject_of_pictures(run, Places(device="cpu"))
    assert subject.normalise == whole.normalise
    cuts = PointPlan(layers="conv3,fc1", ratio=0.5, criterion="entry")
    ours, theirs = (one.structure.remove(cuts_of(one, cuts))[0] for one in (subject, whole))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert sparsify(f"predict {run.name} {picture} --layers conv3 --ratio 0.5").code == 0


def test_a_run_that_does_not_say_how_its_images_were_normalised_reads_its_data(runs, monkeypatch):
    run = Run(run_of(runs, "sgd"))
    before = {name: value for name, value in run.summary.items() if name != "pixels"}
    assert len(before) == len(run.summary) - 1
    monkeypatch.setattr(Run, "summary", before)
    subject = subject_of_pictures(run, Places(device="cpu"))
    assert subject.normalise == load_dataset("digits").normalise
    assert len(subject.split) == 360


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("predict RUN", "no picture is named; write sparsify predict RUN picture.png"),
        ("predict RUN nothing.png", "nothing.png cannot be read: No such file or directory"),
        ("predict RUN PICTURE --ratio 0.5", "--layers and --ratio belong together"),
        ("predict RUN PICTURE --top 0", "--top is 0; it must be at least 1"),
        ("predict RUN PICTURE --layers conv9 --ratio 0.5", "unknown layer 'conv9'"),
        ("viz net RUN --layers conv3", "--layers and --ratio belong together"),
        ("viz predictions RUN --images 0", "--images is 0; it must be from 1 to 400"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(sparsify, runs, picture, line, error):
    line = line.replace("RUN", run_of(runs, "sgd").name).replace("PICTURE", str(picture))
    answer = sparsify(line)
    assert answer.code == 2
    assert answer.err.startswith(f"error: {error}")
    assert answer.err.count("\n") == 1


def test_a_network_of_which_nothing_is_selected_is_drawn(sparsify, runs):
    assert sparsify("train --data digits --opt slbi --epochs 1 --batch-size 512 --seed 9").code == 0
    run = Run(next(runs.glob("lenet-digits-slbi-s9-*")))
    assert not run.support("conv1.weight").any()
    assert sparsify(f"viz net {run.name}").code == 0
    assert sparsify(f"viz net {run.name} --layers conv3 --ratio 1").code == 0


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("viz net RUN", "net"),
        ("viz net RUN --layers conv3,fc1 --ratio 0.5", "net-conv3-fc1-0.5"),
        ("viz predictions RUN --images 12", "predictions"),
        ("viz predictions RUN --images 5 --layers conv3 --ratio 0.5", "predictions-conv3-0.5"),
    ],
)
def test_the_figures_of_a_network_are_written_to_its_folder(sparsify, runs, line, file):
    run = Run(run_of(runs, "sgd"))
    assert sparsify(line.replace("RUN", run.name)).code == 0
    for suffix in ("png", "svg"):
        assert (run.path / "figures" / f"{file}.{suffix}").stat().st_size > 1000
