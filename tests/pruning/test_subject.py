"""Subjects of the user's own: what data, outputs and labels `prune` takes, and what it refuses in one line."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from sparsify import SparsifyError, Split, Subject, Sweep, evaluate, prune
from sparsify.analysis.agreement import compare_criteria
from sparsify.files import write_bytes
from sparsify.pruning.cuts import make_mask
from sparsify.pruning.outcomes import Outcomes, Scores


def network(*, logits: int = 3, kind: torch.dtype = torch.float32) -> nn.Sequential:
    """4 filters of 1×1 with the weights 1, 2, 3, 4; the logits are the first ones of them, of images that are 1×1."""
    model = nn.Sequential(nn.Conv2d(1, 4, 1, bias=False), nn.Flatten(), nn.Linear(4, logits, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1, 1))
        model[2].weight.copy_(torch.eye(logits, 4))
    return model.to(kind)


IMAGES = torch.tensor([1.0, 2.0, -1.0, -2.0]).view(4, 1, 1, 1)
LABELS = torch.tensor([2, 2, 0, 1])  # the network says 2, 2, 0, 0; without filters 0 and 1, 2, 2, 0, 0
ASKED = {"layers": "0", "ratios": [0, 0.5]}


def accuracies(*args: object, **options: object) -> list[float]:
    return [row.accuracy for row in prune(*args, **{**ASKED, **options}).rows]


# what is taken -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        (IMAGES, LABELS),
        (IMAGES.numpy(), LABELS.numpy()),
        (IMAGES.numpy().astype(np.float64), LABELS.tolist()),
        (IMAGES.tolist(), LABELS.tolist()),
        (IMAGES, F.one_hot(LABELS)),
        DataLoader(TensorDataset(IMAGES, LABELS), batch_size=3),
        TensorDataset(IMAGES, LABELS),
        Split(IMAGES, LABELS),
    ],
    ids=["tensors", "arrays", "float64", "lists", "one-hot", "a DataLoader", "a data set", "a split"],
)
def test_a_network_is_pruned_with_data_of_any_kind(data):
    assert accuracies(network(), data=data) == [0.75, 0.75]
    assert accuracies(network(), data=data, criterion="random", ratios=[1]) == [0.25]  # all logits are 0: the first


def test_training_data_is_for_taylor_and_fine_tuning():
    loader = DataLoader(TensorDataset(IMAGES, LABELS), batch_size=3)
    by_hand = Subject(network(), Split(IMAGES, LABELS), training=Split(IMAGES, LABELS))
    for options in ({"criterion": "taylor"}, {"finetune_epochs": 2}):
        found = prune(network(), data=loader, training=loader, **ASKED, **options)
        assert found == prune(by_hand, **ASKED, **options)


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_a_network_of_another_type_gets_its_own_by_default(kind):
    assert accuracies(network(kind=kind), data=(IMAGES, LABELS)) == [0.75, 0.75]
    assert accuracies(network(kind=kind), data=(IMAGES.abs().to(torch.uint8), LABELS)) == [0.5, 0.5]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("criterion", ["magnitude", "l1", "fpgm", "lamp", "random"])
def test_a_network_in_half_precision_is_scored_as_in_float32(kind, criterion):
    """The sums of |w − wⱼ| of 1, 2, 3, 4 are 6, 4, 4, 6: the filters 1 and 2 are nearest to the median."""
    example = IMAGES[:1]
    for layers, grain in (("0", "filter"), ("0,2", "weight")):
        point = {"layers": layers, "ratio": 0.5, "grain": grain, "criterion": criterion}
        half = make_mask(network(kind=kind), example.to(kind), **point)
        whole = make_mask(network(), example, **point)
        assert {name: keep.tolist() for name, keep in half.items()} == {n: k.tolist() for n, k in whole.items()}
    if criterion == "fpgm":
        assert make_mask(network(kind=kind), example.to(kind), layers="0", ratio=0.5, criterion="fpgm")[
            "0.weight"
        ].flatten().tolist() == [True, False, False, True]


def test_one_logit_is_two_classes():
    images, labels = torch.tensor([1.0, 2.0, -1.0, -2.0]).view(4, 1, 1, 1), torch.tensor([[1.0], [0.0], [0.0], [0.0]])
    sweep = prune(network(logits=1), data=(images, labels), layers="0", ratios=[0, 1])
    assert sweep.predictions("0", 0).tolist() == [1, 1, 0, 0]
    assert [(row.correct, row.accuracy) for row in sweep.rows] == [(3, 0.75), (3, 0.75)]
    assert sweep.predictions("0", 1).tolist() == [0, 0, 0, 0]


class Output(dict):
    """As transformers' ModelOutput: a dict whose keys are attributes."""

    def __getattr__(self, name: str) -> Tensor:
        return self[name]


class Wrapped(nn.Module):
    def __init__(self, wrap) -> None:
        super().__init__()
        self.inner, self.wrap = network(), wrap

    def forward(self, x: Tensor) -> object:
        return self.wrap(self.inner(x))


@pytest.mark.parametrize(
    "wrap",
    [lambda x: (x, x.sum()), lambda x: [x], lambda x: {"loss": x.sum(), "logits": x}, lambda x: Output(logits=x)],
    ids=["a tuple", "a list", "a dict", "a ModelOutput"],
)
def test_outputs_that_hold_the_logits(wrap):
    training = Split(IMAGES, LABELS)
    given = Subject(Wrapped(wrap), Split(IMAGES, LABELS), training=training)
    plain = Subject(network(), Split(IMAGES, LABELS), training=training)
    asked = {"ratios": [0, 0.5], "finetune_epochs": 1}
    found, expected = prune(given, layers="inner.0", **asked), prune(plain, layers="0", **asked)
    for name in ("correct", "accuracy", "finetuned_accuracy"):
        assert [getattr(row, name) for row in found.rows] == [getattr(row, name) for row in expected.rows]


# a score of one's own ------------------------------------------------------------------------------------------------


class Segments(nn.Module):
    """Logits (n, 2, h, w) of two classes, −x and x, by way of 4 filters of which the first two do nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 1, bias=False), nn.Conv2d(4, 2, 1, bias=False)
        with torch.no_grad():
            self.first.weight.copy_(torch.tensor([0.1, 0.2, 1.0, 1.0]).view(4, 1, 1, 1))
            self.second.weight.copy_(torch.tensor([[0, 0, -1, 0], [0, 0, 0, 1.0]]).view(2, 4, 1, 1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": self.second(self.first(x))}


PIXELS = torch.tensor([[1.0, 1.0, 1.0, -1.0], [1.0, -1.0, -1.0, -1.0]]).view(2, 1, 2, 2)
CLASSES = torch.ones(2, 2, 2, dtype=torch.long)


def right_pixels(output: dict[str, Tensor], labels: Tensor) -> Tensor:
    return (output["out"].argmax(1) == labels).float().mean((1, 2))


def pixel_loss(output: dict[str, Tensor], labels: Tensor) -> Tensor:
    return F.cross_entropy(output["out"], labels)


def test_segmentation_is_swept_with_a_score(tmp_path):
    given = Subject(Segments(), Split(PIXELS, CLASSES), score=right_pixels)
    sweep = prune(given, layers="first", ratios=[0, 0.5, 1])
    assert [(row.correct, row.count, row.accuracy) for row in sweep.rows] == [(1.0, 2, 0.5), (1.0, 2, 0.5), (0, 2, 0)]
    assert sweep.scores("first", 0.5).tolist() == [[0.75, 0.25]]
    assert sweep.outcomes == {"accuracy": Scores(np.array([[0.75, 0.25], [0.75, 0.25], [0, 0]]))}
    assert Sweep.read(sweep.save(tmp_path)) == sweep
    for method in (sweep.right, sweep.predictions):
        with pytest.raises(SparsifyError, match="has scores of single images, and no classes; take its `scores`"):
            method("first", 0.5)


def test_the_scores_of_classes_are_1_and_0():
    sweep = prune(network(), data=(IMAGES, LABELS), **ASKED)
    assert sweep.scores("0", 0.5).tolist() == [[1.0, 1.0, 1.0, 0.0]]
    assert [type(row.correct) for row in sweep.rows] == [int, int]


def test_scores_that_are_no_whole_number_are_saved_and_read(tmp_path):
    given = Subject(network(), Split(IMAGES, torch.rand(4, 5)), score=lambda out, _: 1 / (3 + out.square().sum(1)))
    sweep = prune(given, **ASKED)
    row = sweep.rows[0]
    assert row.correct == pytest.approx(2 * (1 / 17 + 1 / 59))  # 1 + 4 + 9 = 14, and 4 times that
    assert row.accuracy == row.correct / 4
    path = sweep.save(tmp_path)
    assert Sweep.read(path) == sweep
    (tmp_path / "sums.json").unlink()
    write_bytes(path.with_name(f"{path.stem}-outcomes.npz"), Scores(np.zeros((2, 4))).as_bytes())
    with pytest.raises(SparsifyError, match=r"outcomes\.npz is not that of sweep-"):
        Sweep.read(path)
    path.with_name(f"{path.stem}-outcomes.npz").write_bytes(b"PK")
    with pytest.raises(SparsifyError, match=r"outcomes\.npz is damaged \("):
        Sweep.read(path)


def test_a_score_needs_a_loss_for_gradients_and_fine_tuning():
    split = Split(PIXELS, CLASSES)
    given = Subject(Segments(), split, training=split, score=right_pixels)
    for options, flag in (({"criterion": "taylor"}, "criterion 'taylor'"), ({"finetune_epochs": 1}, "--finetune")):
        with pytest.raises(SparsifyError, match=rf"^{flag}: the network has its own score, and needs its own loss\("):
            prune(given, layers="first", ratios="0.5", **options)
    with pytest.raises(SparsifyError, match=r"^gradients: the network has its own score, and needs its own loss"):
        compare_criteria(given, layers="first", ratios="0.5", criteria="magnitude,taylor")
    given = dataclasses.replace(given, loss=pixel_loss)
    taylor = prune(given, layers="first", ratios="0.5", criterion="taylor")
    assert taylor.scores("first", 0.5).tolist() == [[0.75, 0.25]]  # the first two filters have no gradient
    tuned = prune(given, layers="first", ratios="0", finetune_epochs=20)
    assert tuned.scores("first", 0, "finetuned_accuracy").shape == (1, 2)


# the batch size ----------------------------------------------------------------------------------------------------


def test_sweeps_do_not_depend_on_the_batch_size():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.Flatten(), nn.Linear(20, 4)
    ).double()
    split = Split(torch.randn(50, 1, 6, 6), torch.arange(50) % 4)
    given = Subject(model, split, training=split)
    asked = {"layers": ["0", "0,3"], "ratios": "0:1:0.25", "recalibrate_bn": True}
    whole = prune(given, batch_size=1000, **asked)
    assert [prune(given, batch_size=size, **asked) for size in (1, 7, None)] == [whole] * 3


def test_the_batch_is_halved_where_the_memory_is_not_enough():
    class Small(nn.Module):
        """A network on a GPU that has memory for 3 images."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, x: Tensor) -> Tensor:
            sizes.append(len(x))
            if len(x) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return self.inner(x)

    sizes: list[int] = []
    images, labels = IMAGES.repeat(4, 1, 1, 1), LABELS.repeat(4)
    sweep = prune(Small(), data=(images, labels), layers="inner.0", ratios=[0, 0.5])
    assert [row.correct for row in sweep.rows] == [12, 12]
    assert max(sizes) == 16
    with pytest.raises(SparsifyError, match=r"for the sweep; take a batch_size below 8, or --device cpu$"):
        prune(Small(), data=(images, labels), layers="inner.0", ratios=[0, 0.5], batch_size=8)
    for wrong in (0, 2.5, "8"):
        with pytest.raises(SparsifyError, match=f"batch_size is {wrong!r}; it must be at least 1, a whole number"):
            prune(Small(), data=(images, labels), layers="inner.0", batch_size=wrong)


# what is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "a network needs data to be measured on, as in data=(images, labels)"),
        (IMAGES, "the data is a Tensor; it must be (images, labels), a DataLoader or a Split"),
        ((IMAGES, LABELS[:3]), "4 images have 3 labels; each image needs one"),
        ((IMAGES, LABELS[:3] + 1), "4 images have 3 labels"),
        ((IMAGES, torch.tensor([1, 2, 3, 3])), "the labels are 1 to 3 and the network has 3 logits: classes"),
        ((IMAGES, torch.tensor([0, 1, 2, 3])), "the labels are 0 to 3 and the network has 3 logits; they must"),
        ((IMAGES, torch.rand(4, 3)), "the labels are (4, 3), but not one-hot"),
        ((IMAGES[:0], LABELS[:0]), "there are no images to measure the network on"),
        ((IMAGES[:, 0, 0], LABELS), "the network does not run on (1, 1) float32: RuntimeError: "),
        ((IMAGES.long(), LABELS), "the network does not run on (1, 1, 1, 1) int64: RuntimeError: "),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_data_that_cannot_be_measured_on_is_refused(data, words):
    with pytest.raises(SparsifyError) as caught:
        prune(network(), data=data, **ASKED)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


def test_labels_of_the_training_images_are_checked_too():
    with pytest.raises(SparsifyError, match="the labels of the training images are 1 to 3 and the network has 3 log"):
        prune(network(), data=(IMAGES, LABELS), training=(IMAGES[:3], [1, 2, 3]), **ASKED)


def test_dense_outputs_without_a_score_are_refused():
    class Dense(Segments):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)["out"]

    words = r"the network gives \(2, 2, 2, 2\), and accuracy is defined for logits \(images, classes\); .*score\(output"
    with pytest.raises(SparsifyError, match=words):
        prune(Dense(), data=(PIXELS, CLASSES), layers="first")
    with pytest.raises(SparsifyError, match=r"the network gives a dict of out; it must be a tensor.*score\(output"):
        prune(Segments(), data=(PIXELS, CLASSES), layers="first")


@pytest.mark.parametrize("images", [1, 2, 4])
def test_a_forward_of_a_fixed_number_of_images_is_said_in_a_line(images):
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x).view(images, 3)

    words = r"mine does not run on \([12], 1, 1, 1\) float32: RuntimeError: shape '\[\d, 3\]' is invalid for input of "
    with pytest.raises(SparsifyError, match=words) as caught:
        prune(Subject(Fixed(), Split(IMAGES, LABELS), name="mine"), layers="inner.0")
    assert "\n" not in str(caught.value)


def test_a_network_with_lazy_modules_is_refused_and_not_damaged():
    model = nn.Sequential(nn.LazyConv2d(4, 1), nn.Flatten(), nn.LazyLinear(3))
    words = "the shapes of 0, 2 in the network are not known yet, because they are lazy modules; run it once"
    for function in (
        lambda: prune(model, data=(IMAGES, LABELS), **ASKED),
        lambda: make_mask(model, IMAGES[:1], layers="0", ratio=0.5),
        lambda: evaluate(model, (IMAGES, LABELS)),
    ):
        with pytest.raises(SparsifyError, match=words):
            function()
    assert isinstance(model[0], nn.LazyConv2d)
    assert model(IMAGES).shape == (4, 3)
    assert len(accuracies(model, data=(IMAGES, LABELS))) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "lenet"}, "a str cannot be pruned; it must be a network, a Run or a Subject"),
        ({"data": (IMAGES, LABELS)}, "data is given with a Subject, which has its own"),
        ({"training": (IMAGES, LABELS)}, "training is given with a Subject, which has its own"),
    ],
)
def test_targets_that_do_not_go_with_data(options, words):
    given = Subject(network(), Split(IMAGES, LABELS))
    with pytest.raises(SparsifyError, match=words):
        prune(**{"target": given, **ASKED, **options})


def test_a_subject_of_a_loader_says_how_to_read_it():
    loader = DataLoader(TensorDataset(IMAGES, LABELS))
    with pytest.raises(SparsifyError, match=r"split is a DataLoader; write Split\(images, labels\), or Split\.of\("):
        Subject(network(), loader)
    with pytest.raises(SparsifyError, match="training is a tuple"):
        Subject(network(), Split(IMAGES, LABELS), training=(IMAGES, LABELS))
    with pytest.raises(SparsifyError, match="model is a str"):
        Subject("lenet", Split(IMAGES, LABELS))
    assert accuracies(Subject(network(), Split.of(loader))) == [0.75, 0.75]


def test_a_subject_shows_itself_in_a_line():
    given = Subject(network(), Split(IMAGES, LABELS), training=Split(IMAGES[:3], LABELS[:3]), name="mine")
    assert repr(given) == "<Subject mine: a Sequential, measured on 4 images, 3 to train on>"


def test_a_score_is_refused_before_anything_is_measured():
    heard = []
    for score, words in (
        (lambda out, _: out, r"the score is \(2, 3\) for 2 images; it must be a tensor \(2,\)"),
        (lambda out, _: out.sum(1) * math.inf, "the score of an image is inf; it must be from 0 to 1"),
    ):
        with pytest.raises(SparsifyError, match=words):
            prune(Subject(network(), Split(IMAGES, LABELS), score=score), **ASKED, listener=lambda *_: heard.append(1))
    assert heard == []


def test_outcomes_and_scores_are_not_equal():
    right = Outcomes.of(np.array([0, 1]), np.array([[0, 1]]))
    assert right.correct == [2]
    assert Scores(np.ones((1, 2))).correct == [2.0]
    assert right != Scores(np.ones((1, 2)))
