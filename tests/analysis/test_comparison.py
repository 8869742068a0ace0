"""Two models on the same images, against values by hand; outcomes are written and read to the bit."""

from __future__ import annotations

import dataclasses
import io
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import binom, bootstrap, permutation_test
from sweeps import sweep_of

from sparsify.analysis.comparison import (
    churn,
    class_accuracy,
    compare,
    difference_interval,
    differences,
    images_interval,
    mcnemar,
    signs_flipped,
    two_way_interval,
)
from sparsify.errors import SparsifyError
from sparsify.files import write_bytes
from sparsify.pruning.outcomes import Outcomes, read_outcomes
from sparsify.pruning.sweep import LedgerRow, Sweep, SweepRow

LABELS = np.array([0, 0, 0, 1, 1, 2])
ONE, OTHER = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 2, 2, 1, 1, 0])


def answers(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether A and B are right, for so many images of each kind."""
    counts = [both, only_a, only_b, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (0, 5, 2 / 32),
        (1, 5, 2 * (1 + 6) / 64),
        (5, 1, 2 * (1 + 6) / 64),
        (3, 3, 1.0),
        (2, 8, 2 * (1 + 10 + 45) / 1024),
    ],
)
def test_mcnemar_sums_the_binomial_tails(only_a, only_b, p):
    assert mcnemar(*answers(7, only_a, only_b, 4)) == pytest.approx(p, rel=1e-12)


def test_mcnemar_looks_at_nothing_but_the_images_that_one_model_alone_gets_right():
    assert mcnemar(*answers(0, 2, 8, 0)) == mcnemar(*answers(900, 2, 8, 90))


def test_the_interval_is_that_of_the_normal_approximation_for_many_images():
    """Var(b − a) of an image is (only_a + only_b)/n − difference²."""
    a, b = answers(1700, 60, 140, 100)
    low, high = difference_interval(a, b)
    width = 1.96 * math.sqrt((200 / 2000 - 0.04**2) / 2000)
    assert low == pytest.approx(0.04 - width, abs=6e-4)
    assert high == pytest.approx(0.04 + width, abs=6e-4)
    swapped = difference_interval(b, a)
    assert swapped == pytest.approx((-high, -low), abs=1e-12)


def test_the_images_are_drawn_in_pairs():
    """Drawn apart, two models of 50% that are right on the same images would differ."""
    low, high = difference_interval(*answers(500, 0, 0, 500))
    assert -low == pytest.approx(high)
    assert high < 0.005
    low, high = difference_interval(*answers(0, 0, 1000, 0))
    assert 0.99 < low < high == 1.0


def test_the_interval_of_one_image_by_hand():
    """With the two added ones d = 1, 1, −1: the sum of three draws is −3, −1, 1, 3 in 1, 6, 12, 8 of 27 cases."""
    a, b = np.array([False]), np.array([True])
    assert difference_interval(a, b) == (-1.0, 1.0)  # 1/27 is above 2.5%
    assert difference_interval(a, b, confidence=0.5) == pytest.approx(
        (-1 / 3, 1.0)
    )  # 7/27 and 8/27 are above a quarter
    assert difference_interval(a, b, confidence=0.4) == pytest.approx((1 / 3, 1 / 3))  # both are below three tenths


def test_no_image_that_differs_is_no_proof_that_none_ever_will():
    """The exact one-sided bound of 95% for 0 of n is near 3/n; the sum of the added ones is up to 2 in 95% of draws."""
    same = np.ones(10_000, bool)
    low, high = difference_interval(same, same, confidence=0.9)
    assert (low, high) == pytest.approx((-2 / 10_002, 2 / 10_002))


@pytest.mark.parametrize("models", [1, 3])
def test_the_interval_is_scipys_bootstrap_without_its_chance(models):
    rng = np.random.default_rng(0)
    a, b = rng.random((models, 300)) < 0.8, rng.random((models, 300)) < 0.85
    both = np.append(a.mean(0), [0, 1]), np.append(b.mean(0), [1, 0])
    drawn = bootstrap(
        both, lambda a, b, axis=-1: b.mean(axis) - a.mean(axis), paired=True, method="percentile", rng=0
    ).confidence_interval
    assert difference_interval(a, b) == pytest.approx((drawn.low, drawn.high), abs=0.004)
    for confidence in (0.5, 0.9):
        low, high = difference_interval(a, b, confidence=confidence)
        assert difference_interval(a, b)[0] < low < high < difference_interval(a, b)[1]


@pytest.mark.parametrize(("only_a", "only_b", "most"), [(0.1, 0.15, 0.97), (0.0, 0.01, 1.0)])
def test_the_interval_covers_the_truth_as_often_as_it_says(only_a, only_b, most):
    """2,000 samples of 200 images; without the two images it would cover a difference of 0.01 in 87% of them."""
    rng = np.random.default_rng(0)
    covered = 0
    for kinds in rng.multinomial(200, [0.6, only_a, only_b, 0.4 - only_a - only_b], size=2000):
        low, high = difference_interval(*answers(*kinds.tolist()))
        covered += low - 1e-9 <= only_b - only_a <= high + 1e-9
    assert 0.94 <= covered / 2000 <= most


def by_flipping(a: np.ndarray, b: np.ndarray) -> float:
    """Every way to give the differences signs."""
    found = b.sum(0) * 1 - a.sum(0)
    sums = [sum(signs) for signs in itertools.product(*((d, -d) for d in found.tolist()))]
    return sum(abs(s) >= abs(found.sum()) for s in sums) / len(sums)


@given(arrays.arrays(bool, (2, 3, 7)))
def test_several_models_a_side_flip_one_sign_an_image(both):
    a, b = both
    assert signs_flipped(differences(a, b)) == pytest.approx(by_flipping(a, b), rel=1e-9)
    assert signs_flipped(differences(b, a)) == signs_flipped(differences(a, b))
    assert mcnemar(a[0], b[0]) == signs_flipped(differences(a[:1], b[:1]))


def test_models_that_answer_alike_are_no_more_evidence_than_one():
    """Added up, the tables of five equal seeds would make of p = 0.08, 12 images against 4, a p of 0.000009."""
    a, b = answers(100, 4, 12, 10)
    five = np.tile(a, (5, 1)), np.tile(b, (5, 1))
    assert signs_flipped(differences(*five)) == pytest.approx(mcnemar(a, b), rel=1e-9)
    assert difference_interval(*five) == pytest.approx(difference_interval(a, b))


def test_the_test_rejects_as_often_as_it_says():
    """1,000 times three models a side that miss the same hard images and are equally good: about 5% have p < 0.05."""
    rng = np.random.default_rng(0)
    hard = rng.random((1000, 1, 400)) * 0.5
    a, b = (rng.random((1000, 3, 400)) > hard for _ in range(2))
    rejected = sum(signs_flipped(differences(*pair)) < 0.05 for pair in zip(a, b, strict=True))
    assert 0.03 <= rejected / 1000 <= 0.06


def test_signs_are_flipped_as_scipys_permutation_test_does():
    """Changes of two networks are from −2 to 2 an image."""
    found = np.array([2, 0, 1, -1, 1, 2, 1, 0, 1, -2])
    theirs = permutation_test((found, np.zeros(10)), lambda a, b: (a - b).sum(), permutation_type="samples")
    assert signs_flipped(found) == pytest.approx(theirs.pvalue, rel=1e-9)
    assert signs_flipped(np.array([2, 2, -1])) == 4 / 8  # ±2 ±2 ±1: 5 and 3 of both signs reach |3|
    assert signs_flipped(np.array([0, 0])) == 1.0


def test_changes_are_bounded_by_what_two_networks_can_do():
    """No image differs: of the added −2 and 2 up to two are drawn in 95%, which makes 4 in 1,002 images."""
    assert images_interval(np.zeros(1000, int), 1, most=2, confidence=0.9) == pytest.approx((-4 / 1002, 4 / 1002))


def test_the_two_way_interval_is_scipys_bootstrap_of_seeds_and_images():
    rng = np.random.default_rng(0)
    hard, seed = rng.random(60), rng.normal(0.1, 0.05, (4, 1))
    found = (rng.random((4, 60)) < seed + 0.5 * hard) * 1 - (rng.random((4, 60)) < 0.5 * hard)
    samples = (np.arange(4), np.arange(60))
    theirs = bootstrap(
        samples,
        lambda seeds, images, axis=-1: found[seeds[..., :, None], images[..., None, :]].mean((-2, -1)),
        method="percentile",
        rng=1,
        n_resamples=20_000,
        batch=1000,
    ).confidence_interval
    assert two_way_interval(found) == pytest.approx((theirs.low, theirs.high), abs=0.006)
    assert two_way_interval(found) == two_way_interval(found)
    low, high = two_way_interval(found)
    assert theirs.high - theirs.low > 0.05  # the tolerance is small beside it
    assert low < found.mean() < high


def two_way_by_loop(found, *, resamples, seed):
    """Each resample drawn by itself: seeds, images, and the mean of what is in both."""
    rng = np.random.default_rng(seed)
    seeds, images = found.shape
    means = [
        found[rng.integers(seeds, size=seeds)][:, rng.integers(images, size=images)].mean() for _ in range(resamples)
    ]
    return np.quantile(means, [0.025, 0.975])


@pytest.mark.parametrize(("right", "draws"), [(0.95, 1), (0.5, 1), (0.3, 4)])
def test_the_two_way_interval_is_that_of_a_plain_loop(right, draws):
    """Near 100% few images differ, and far from it most do; a difference of changes is between −2 and 2 a draw."""
    rng = np.random.default_rng(0)
    found = rng.binomial(2 * draws, right, (5, 200)) - rng.binomial(2 * draws, right, (5, 200))
    loop = two_way_by_loop(found / draws, resamples=4000, seed=1)
    assert two_way_interval(found, draws=draws) == pytest.approx(tuple(loop), abs=0.05 * (loop[1] - loop[0]))


def test_the_two_way_interval_of_a_small_case_is_that_of_all_its_resamples():
    found = np.array([[1, 0, -1], [2, 1, 0]])
    means = [
        found[list(seeds)][:, list(images)].mean()
        for seeds in itertools.product(range(2), repeat=2)
        for images in itertools.product(range(3), repeat=3)
    ]
    for confidence in (0.5, 0.8, 0.95):
        low, high = two_way_interval(found, confidence=confidence)
        shares = [np.mean(np.array(means) <= low), np.mean(np.array(means) >= high)]
        tail = (1 - confidence) / 2
        assert min(shares) >= tail - 0.02  # no end is farther out than the quantile
        assert max(np.mean(np.array(means) < low), np.mean(np.array(means) > high)) <= tail + 0.02


def test_the_two_way_interval_is_wider_than_over_images_where_seeds_differ():
    """Two seeds, 10 of 100 images for one and none for the other: 0, 1 or 2 times the first one is drawn."""
    found = np.zeros((2, 100), int)
    found[0, :10] = 1
    low, high = two_way_interval(found)
    assert low == 0
    assert high > 0.1
    one = np.array([[1] * 10 + [0] * 90])
    within = two_way_interval(np.repeat(one, 2, axis=0))
    exact = binom(100, 0.1).ppf([0.025, 0.975]) / 100  # the seeds are alike: images alone are drawn
    assert within == pytest.approx(tuple(exact), abs=0.01)


def test_churn_counts_what_differs():
    assert churn(ONE, OTHER) == 4 / 6
    assert churn(ONE == LABELS, OTHER == LABELS) == 3 / 6
    assert churn(ONE, ONE) == 0


def test_accuracy_by_class():
    assert class_accuracy(LABELS, ONE).tolist() == [2 / 3, 1 / 2, 1]
    assert class_accuracy(LABELS, OTHER).tolist() == [1 / 3, 1, 0]
    by_class = class_accuracy(LABELS, ONE, classes=5)
    assert by_class[:3].tolist() == [2 / 3, 1 / 2, 1]
    assert np.isnan(by_class[3:]).all()
    assert by_class.shape == (5,)
    assert np.isnan(class_accuracy(np.array([1], dtype=np.uint8), np.array([1], dtype=np.uint8))[0])


def test_a_comparison_says_it_all():
    found = compare(LABELS, ONE, OTHER)
    assert (found.count, found.churn) == (6, 4 / 6)
    assert found.difference == pytest.approx(3 / 6 - 4 / 6)
    assert found.p == 1.0  # A alone is right twice and B alone once
    assert (found.only_a, found.only_b) == (2, 1)
    assert found.low <= found.difference <= found.high
    accuracies = [(2 / 3, 1 / 3), (1 / 2, 1.0), (1.0, 0.0)]
    assert [(one.label, one.count) for one in found.classes] == [(0, 3), (1, 2), (2, 1)]
    assert [(one.a, one.b) for one in found.classes] == accuracies
    assert [one.p for one in found.classes] == [1.0, 1.0, 1.0]
    assert compare(LABELS, ONE, OTHER) == found


def test_a_class_that_differs_is_found_among_the_others():
    """Of ten classes one has eight images that B alone gets right: 10 · 2/2⁸. Classes without images are left out."""
    labels = np.repeat(np.arange(10) * 2, 20)
    a, b = labels.copy(), labels.copy()
    a[labels == 6] = 0
    b[(labels == 6).nonzero()[0][8:]] = 0
    found = compare(labels, a, b)
    assert [one.label for one in found.classes] == list(range(0, 20, 2))
    assert {one.label: one.p for one in found.classes if one.p < 1} == {6: pytest.approx(10 * 2 / 2**8)}
    assert found.p == pytest.approx(2 / 2**8)


@pytest.mark.parametrize("counts", [(6, 6, 5), (6, 5, 5), (5, 6, 6), (0, 0, 0), (1, 1, 1)])
def test_other_images_are_not_compared(counts):
    labels, one, other = (array[:count] for array, count in zip((LABELS, ONE, OTHER), counts, strict=True))
    with pytest.raises(SparsifyError, match="a comparison takes the same images, two at least"):
        compare(labels, one, other)


# outcomes ------------------------------------------------------------------------------------------------------------


def test_outcomes_take_the_smallest_type():
    small = Outcomes.of(LABELS, np.stack([ONE, OTHER]))
    assert (small.labels.dtype, small.predictions.dtype) == (np.uint8, np.uint8)
    assert Outcomes.of(LABELS, np.stack([ONE, ONE + 255])).labels.dtype == np.uint16
    assert small.right.tolist() == [[True, True, False, True, False, True], [True, False, False, True, True, False]]


def test_the_file_holds_a_bitset_and_the_wrong_answers(tmp_path):
    outcomes = Outcomes.of(LABELS, np.stack([ONE, OTHER]))
    write_bytes(tmp_path / "o.npz", outcomes.as_bytes())
    with np.load(tmp_path / "o.npz", allow_pickle=False) as file:
        assert sorted(file.files) == ["labels", "right", "wrong"]
        assert file["right"].tolist() == [[0b11010100], [0b10011000]]
        assert file["wrong"].tolist() == [1, 2, 2, 2, 0]
    assert read_outcomes(tmp_path / "o.npz") == outcomes
    assert outcomes != Outcomes.of(LABELS, np.stack([ONE, ONE]))


@given(st.data())
def test_what_is_saved_is_read(tmp_path_factory, data):
    images, points = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 5))
    classes = st.integers(0, data.draw(st.sampled_from([1, 9, 255, 999])))
    labels = data.draw(arrays.arrays(np.int64, images, elements=classes))
    predictions = data.draw(arrays.arrays(np.int64, (points, images), elements=classes))
    outcomes = Outcomes.of(labels, predictions)
    path = tmp_path_factory.mktemp("outcomes") / "o.npz"
    write_bytes(path, outcomes.as_bytes())
    read = read_outcomes(path)
    assert isinstance(read, Outcomes)
    assert read == outcomes
    assert np.array_equal(read.predictions, predictions)
    assert read.predictions.dtype == outcomes.predictions.dtype


def sweep(outcomes: Outcomes | None) -> Sweep:
    """Two points of the outcomes above."""
    sizes = {"params": 1, "macs": 1, "compression": 1.0, "speedup": 1.0}
    row = SweepRow("magnitude", "auto", "layer", "conv3", 0.0, 0, 4, 6, 4 / 6, **sizes)
    rows = (row, dataclasses.replace(row, ratio=0.5, correct=3, accuracy=0.5))
    kept = {} if outcomes is None else {"accuracy": outcomes}
    return sweep_of(rows, (LedgerRow("magnitude", "conv3", 0.5, 0, "conv3", "filter", 1, 2),), kept)


def test_a_sweep_keeps_its_outcomes(tmp_path):
    kept = sweep(Outcomes.of(LABELS, np.stack([ONE, OTHER])))
    read = Sweep.read(kept.save(tmp_path))
    assert read == kept
    assert read.predictions("conv3", 0.5).tolist() == OTHER.tolist()
    with pytest.raises(SparsifyError, match=r"conv3 at 0\.1 is not in this sweep"):
        read.predictions("conv3", 0.1)


def test_a_sweep_keeps_the_outcomes_of_each_measure(tmp_path):
    as_it_is = sweep(Outcomes.of(LABELS, np.stack([ONE, OTHER])))
    rows = tuple(
        dataclasses.replace(row, recalibrated_accuracy=again, finetune_epochs=1, finetuned_accuracy=tuned)
        for row, again, tuned in zip(as_it_is.rows, (0.5, 4 / 6), (4 / 6, 1.0), strict=True)
    )
    others = {
        "recalibrated_accuracy": Outcomes.of(LABELS, np.stack([OTHER, ONE])),
        "finetuned_accuracy": Outcomes.of(LABELS, np.stack([ONE, LABELS])),
    }
    kept = dataclasses.replace(as_it_is, rows=rows, outcomes=as_it_is.outcomes | others)
    path = kept.save(tmp_path)
    names = {f"{path.stem}-{which}outcomes.npz" for which in ("", "recalibrated-", "finetuned-")}
    assert {file.name for file in tmp_path.glob("*.npz")} == names
    read = Sweep.read(path)
    assert read == kept
    assert read.predictions("conv3", 0.5).tolist() == OTHER.tolist()
    assert read.predictions("conv3", 0.5, "recalibrated_accuracy").tolist() == ONE.tolist()
    assert read.right("conv3", 0.5, "finetuned_accuracy").all()
    (tmp_path / f"{path.stem}-finetuned-outcomes.npz").unlink()
    with pytest.raises(SparsifyError, match=r"-finetuned-outcomes\.npz is damaged \(.*No such file"):
        Sweep.read(path)
    (tmp_path / "sums.json").unlink()  # as in a sweep of before these were kept
    with pytest.raises(SparsifyError, match="no outcomes of single images for finetuned_accuracy; sweep again"):
        Sweep.read(path).right("conv3", 0.5, "finetuned_accuracy")
    half = Outcomes.of(LABELS[:3], np.stack([[*LABELS[:2], 9], LABELS[:3]]))  # as many right, of half the images
    for wrong in (others["recalibrated_accuracy"], half):
        write_bytes(tmp_path / f"{path.stem}-finetuned-outcomes.npz", wrong.as_bytes())
        with pytest.raises(SparsifyError, match=r"-finetuned-outcomes\.npz is not that of sweep-"):
            Sweep.read(path)


def test_a_sweep_of_before_is_read_without_outcomes(tmp_path):
    sweep(Outcomes.of(LABELS, np.stack([ONE, OTHER]))).save(tmp_path)
    read = Sweep.read(sweep(None).save(tmp_path))  # in the place of the one that has them
    assert read == sweep(None)
    with pytest.raises(SparsifyError, match="has no outcomes of single images; sweep again to keep them"):
        read.predictions("conv3", 0.5)


def test_outcomes_of_another_sweep_are_refused(tmp_path):
    path = sweep(Outcomes.of(LABELS, np.stack([ONE, OTHER]))).save(tmp_path)
    (tmp_path / "sums.json").unlink()
    write_bytes(path.with_name(f"{path.stem}-outcomes.npz"), Outcomes.of(LABELS, np.stack([OTHER, ONE])).as_bytes())
    with pytest.raises(SparsifyError, match=r"-outcomes\.npz is not that of sweep-"):
        Sweep.read(path)


def archive(**members: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **members)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK" * 50,
        archive(labels=LABELS),
        archive(labels=LABELS, right=np.zeros((2, 1), np.uint8), wrong=np.zeros(11, LABELS.dtype)),
        archive(labels=LABELS, right=np.array([{}], dtype=object), wrong=LABELS),  # a pickle
    ],
)
def test_a_damaged_file_is_named(tmp_path, content):
    path = sweep(Outcomes.of(LABELS, np.stack([ONE, OTHER]))).save(tmp_path)
    outcomes = path.with_name(f"{path.stem}-outcomes.npz")
    outcomes.write_bytes(content)
    with pytest.raises(SparsifyError) as caught:
        Sweep.read(path)
    assert str(caught.value).startswith(f"{outcomes} is damaged (")
