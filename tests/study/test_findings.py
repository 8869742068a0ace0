"""Contrasts, affordable ratios and verdicts of studies that are made by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from sweeps import sweep_of

from sparsify.analysis.comparison import difference_interval, mcnemar
from sparsify.analysis.statistics import Estimate
from sparsify.config import Config
from sparsify.errors import SparsifyError
from sparsify.pruning.outcomes import Outcomes
from sparsify.pruning.plan import SweepPlan
from sparsify.pruning.sweep import Sweep, SweepRow
from sparsify.report.studytables import accuracy_table, interval, study_markdown, study_tables
from sparsify.report.table import to_markdown
from sparsify.study.contrasts import Affordable, Contrast, affordable, contrasts, control_of
from sparsify.study.design import Arm, Study
from sparsify.study.findings import find, verdict, verdicts
from sparsify.study.results import ArmResult, StudyResult, cells
from sparsify.text import layers_in_words, p_in_words

IMAGES = 1000
Wrong = Sequence[int]
"""The images that one run gets wrong."""


def sweep(points: Mapping[float, Wrong | Sequence[Wrong]], *, kept: bool = True, again: float | None = None) -> Sweep:
    """A sweep of conv3: at each ratio, one run's wrong answers, or several draws' of them, among `IMAGES` images."""
    rows, answers = [], []
    for ratio, wrong in points.items():
        draws = wrong if wrong and not isinstance(wrong[0], int) else [wrong]
        for draw, images in enumerate(draws):
            right = IMAGES - len(images)
            sizes = {"params": 1, "macs": 1, "compression": 1.0, "speedup": 1.0}
            criterion = "random" if len(draws) > 1 else "magnitude"
            row = SweepRow(criterion, "auto", "layer", "conv3", ratio, draw, right, IMAGES, right / IMAGES, **sizes)
            rows.append(dataclasses.replace(row, recalibrated_accuracy=again))
            answers.append(np.isin(np.arange(IMAGES), images).astype(int))
    outcomes = Outcomes.of(np.zeros(IMAGES, int), np.stack(answers))
    return sweep_of(tuple(rows), (), {"accuracy": outcomes} if kept else {})


def recalibrated(as_it_is: Sweep, with_it: Sweep) -> Sweep:
    """A sweep whose networks answer like those of another one when BatchNorm is recalibrated."""
    rows = tuple(
        dataclasses.replace(row, recalibrated_accuracy=other.accuracy)
        for row, other in zip(as_it_is.rows, with_it.rows, strict=True)
    )
    outcomes = as_it_is.outcomes | {"recalibrated_accuracy": with_it.outcomes["accuracy"]}
    return sweep_of(rows, (), outcomes)


def arm(label: str, sweeps: Mapping[int, Sweep], **settings: object) -> ArmResult:
    """An arm's sweeps by their seeds; its settings are those of its optimizer."""
    settings.setdefault("opt", label)
    summary = {"held_out": "test", "accuracy": 0.9, "seconds_per_epoch": 1.0, "support": {}}
    runs = tuple(
        SimpleNamespace(
            name=f"{label}-s{seed}", config=Config(seed=seed, **settings), status="finished", summary=summary
        )
        for seed in sweeps
    )
    return ArmResult(label, runs, (tuple(sweeps.values()),))


def study(*arms: ArmResult, ratios: Sequence[float] = (0.0, 0.6), **plan: object) -> StudyResult:
    plans = (SweepPlan(layers=("conv3",), ratios=tuple(ratios), **plan),)
    asked = tuple(Arm(one.label, tuple(run.config for run in one.runs)) for one in arms)
    return StudyResult(Study("made", "Made", asked, plans), arms, Path("runs/studies/made"))


def seeds(*counts: int, first: int = 0, **options: object) -> dict[int, Sweep]:
    """One sweep a seed, of so many wrong answers at ratio 0.6 and 10 with nothing removed."""
    wrong = [{0.0: list(range(10)), 0.6: list(range(count))} for count in counts]
    return {seed: sweep(points, **options) for seed, points in enumerate(wrong, start=first)}


def test_a_contrast_is_the_paired_test_over_seeds():
    result = study(arm("sgd-pull", seeds(30, 42, 50)), arm("slbi", seeds(20, 30, 35)))
    (one,) = contrasts(result)
    assert (one.arm, one.reference, one.layers, one.ratio, one.by) == ("slbi", "sgd-pull", "conv3", 0.6, "magnitude")
    assert (one.seeds, one.images, one.over) == (3, IMAGES, "seeds")
    test = stats.ttest_rel([0.98, 0.97, 0.965], [0.97, 0.958, 0.95])
    assert one.difference == pytest.approx((0.010 + 0.012 + 0.015) / 3)
    assert one.p_seeds == one.p == one.p_adjusted == pytest.approx(test.pvalue)
    assert (one.low, one.high) == pytest.approx(tuple(test.confidence_interval()))
    assert one.p_images < 1e-6


def test_seeds_are_paired_by_their_number_and_others_left_out():
    pull = arm("sgd-pull", seeds(30, 42, 50))
    slbi = arm("slbi", {2: seeds(35)[0], 1: seeds(30)[0], 7: seeds(900)[0]})
    (one,) = contrasts(study(pull, slbi))
    assert one.seeds == 2
    assert one.difference == pytest.approx((0.012 + 0.015) / 2)
    assert contrasts(study(pull, arm("slbi", seeds(3, first=5)))) == []
    assert contrasts(study(pull, arm("slbi", {}))) == []


def test_one_seed_and_seeds_without_spread_are_compared_over_images():
    for pull, slbi in [((30,), (20,)), ((30, 40), (20, 30))]:
        (one,) = contrasts(study(arm("sgd-pull", seeds(*pull)), arm("slbi", seeds(*slbi))))
        assert (one.seeds, one.over, one.p_seeds) == (len(pull), "images", None)
        a, b = (np.arange(IMAGES) >= np.array([counts]).T for counts in (pull, slbi))
        assert (one.low, one.high) == difference_interval(a, b)
        assert one.p_images == one.p == one.p_adjusted == mcnemar(a, b)
        assert one.difference == pytest.approx(0.01)


def test_what_was_not_kept_or_is_of_other_images_is_not_compared_over_images():
    pull, slbi = seeds(30, kept=False), seeds(20)
    (one,) = contrasts(study(arm("sgd-pull", pull), arm("slbi", slbi)))
    assert (one.over, one.images, one.low, one.p_images, one.p_adjusted) == ("", 0, None, None, None)
    others = Outcomes.of(np.ones(IMAGES, int), slbi[0].outcomes["accuracy"].predictions)
    other = dataclasses.replace(slbi[0], outcomes={"accuracy": others})
    (one,) = contrasts(study(arm("sgd-pull", seeds(30)), arm("slbi", {0: other})))
    assert (one.over, one.images) == ("", 0)


def test_recalibrated_networks_are_compared_by_their_own_answers():
    """And not by those without the statistics re-estimated, in which these two do not differ."""
    same = sweep({0.0: range(500), 0.6: range(500)})
    better, worse = sweep({0.0: (), 0.6: range(20)}), sweep({0.0: (), 0.6: range(30)})
    pull, slbi = recalibrated(same, worse), recalibrated(same, better)
    arms = [arm("sgd-pull", {0: pull}), arm("slbi", {0: slbi})]
    as_it_is, again = contrasts(study(*arms))
    assert (as_it_is.measure, as_it_is.difference, as_it_is.p_images) == ("accuracy", 0, 1)
    assert (again.measure, again.over, again.images) == ("recalibrated_accuracy", "images", IMAGES)
    assert again.difference == pytest.approx(0.01)
    assert again.p_images == pytest.approx(2 * 0.5**10)  # 10 images, all of one sign
    losses = {(one.measure, one.arm): one for one in affordable(study(*arms), tolerances=[0.03])}
    assert losses["recalibrated_accuracy", "slbi"].ratio == 0.6
    assert losses["recalibrated_accuracy", "slbi"].over == "images"
    assert losses["recalibrated_accuracy", "sgd-pull"].ratio == 0  # 30 of 1,000 are not shown to be fewer than 3%


def test_draws_count_for_one_seed():
    """The mean over the draws is what a seed has; over images all of them are looked at."""
    pull = sweep({0.6: [list(range(30)), list(range(40))]})
    slbi = sweep({0.6: [list(range(20)), list(range(20))]})
    (one,) = contrasts(study(arm("sgd-pull", {0: pull}), arm("slbi", {0: slbi}), ratios=[0.6]))
    assert (one.seeds, one.over) == (1, "images")
    assert one.difference == pytest.approx(0.015)
    assert one.p_images == pytest.approx(2 * 0.5**20)  # 20 images, all of one sign


def test_holms_family_is_all_contrasts_of_the_study():
    arms = [arm("sgd-pull", seeds(50, 40)), arm("slbi", seeds(20, 5)), arm("sgd", seeds(10, 41))]
    found = contrasts(study(*arms))
    small, large = sorted(found, key=lambda one: one.p)
    assert small.p_adjusted == pytest.approx(min(1, 2 * small.p))
    assert large.p_adjusted == pytest.approx(max(2 * small.p, large.p))


def test_the_reference_is_the_arms_own_control_or_the_one_that_is_named():
    near, far = ({"mu": 20.0}, {"mu": 50.0})
    arms = [
        arm("sgd", seeds(60, 61)),
        arm("pull 50", seeds(50, 52), opt="sgd-pull", **far),
        arm("slbi 20", seeds(40, 43), opt="slbi", **near),
        arm("slbi 50", seeds(30, 34), opt="slbi", **far),
    ]
    result = study(*arms)
    assert control_of(result, arms[3]) is arms[1]
    assert [control_of(result, one) for one in arms[:3]] == [None, None, None]
    assert {one.arm: one.reference for one in contrasts(result)} == {
        **{"pull 50": "sgd", "slbi 20": "sgd", "slbi 50": "pull 50"},
    }
    named = contrasts(result, reference="slbi 20")
    assert {one.arm for one in named} == {"sgd", "pull 50", "slbi 50"}
    assert {one.reference for one in named} == {"slbi 20"}
    with pytest.raises(SparsifyError, match="unknown arm 'slbi'"):
        contrasts(result, reference="slbi")
    (one,) = [one for one in contrasts(result) if one.reference == "pull 50"]
    said, alone = verdicts(result, contrasts(result))
    assert said == verdict(one)
    assert alone.startswith("What the selection adds to slbi 20 is not shown")


def test_ratios_are_the_largest_below_one_or_the_ones_asked_for():
    points = {ratio: list(range(int(100 * ratio) + 10)) for ratio in (0.0, 0.5, 1.0)}
    result = study(arm("sgd-pull", {0: sweep(points)}), arm("slbi", {0: sweep(points)}), ratios=points)
    assert [one.ratio for one in contrasts(result)] == [0.5]
    assert [one.ratio for one in contrasts(result, ratios=[0.0, 1.0])] == [0.0, 1.0]
    with pytest.raises(SparsifyError, match=r"conv3 at 0\.3 is not in this sweep"):
        contrasts(result, ratios=[0.3])


def test_each_measure_is_compared_where_both_have_it():
    pull, slbi = seeds(30, 40, again=0.9), seeds(20, 25, again=0.95)
    found = contrasts(study(arm("sgd-pull", pull), arm("slbi", slbi), arm("sgd", seeds(50, 51))))
    assert [(one.measure, one.arm) for one in found] == [
        *[("accuracy", "slbi"), ("accuracy", "sgd")],
        ("recalibrated_accuracy", "slbi"),
    ]
    assert (found[2].difference, found[2].over, found[2].images) == (pytest.approx(0.05), "", 0)


# what can go ---------------------------------------------------------------------------------------------------------


def losing(*wrong: Sequence[int], **options: object) -> ArmResult:
    """An arm: of each seed, how many answers are wrong with 0, 10, 20, … % removed."""
    sweeps = [sweep({k / 10: list(range(n)) for k, n in enumerate(counts)}, **options) for counts in wrong]
    return arm("slbi", dict(enumerate(sweeps)))


def largest(one: ArmResult, tolerance: float) -> Affordable:
    ratios = [row.ratio for row in one.sweeps[0][0].rows]
    (found,) = affordable(study(one, ratios=ratios), tolerances=[tolerance])
    return found


def test_the_largest_affordable_ratio_has_a_bound_below_the_tolerance():
    """Losses of 1, 2, 3 in a thousand: the bound is 0.002 + t(0.95; 2)·0.001/√3 = 0.002 + 2.919986·0.000577."""
    arm = losing((10, 11, 30), (10, 12, 40), (10, 13, 50))
    found = largest(arm, 0.005)
    assert (found.ratio, found.over, found.seeds, found.images) == (0.1, "seeds", 3, IMAGES)
    assert found.loss == pytest.approx(0.002)
    assert found.bound == pytest.approx(0.002 + 2.919986 * 0.001 / 3**0.5, abs=1e-8)
    assert largest(arm, found.bound + 1e-9).ratio == 0.1
    assert largest(arm, found.bound - 1e-9) == dataclasses.replace(
        found, ratio=0.0, loss=0.0, bound=0.0, over="", tolerance=found.bound - 1e-9
    )


def test_a_ratio_behind_one_that_fails_is_not_affordable():
    """At 20% all is lost, so that the recovery at 30% does not count."""
    assert largest(losing((10, 11, 500, 10), (10, 12, 510, 11)), 0.01).ratio == 0.1


def test_one_seed_is_bounded_over_images():
    found = largest(losing((10, 12, 100)), 0.01)
    assert (found.ratio, found.over, found.seeds) == (0.1, "images", 1)
    pruned, whole = np.arange(IMAGES) >= 12, np.arange(IMAGES) >= 10
    assert found.bound == difference_interval(pruned, whole, confidence=0.9)[1]


def test_one_seed_without_the_answers_to_its_images_has_no_bound():
    assert affordable(study(losing((10, 12, 100), kept=False), ratios=[0.0, 0.1, 0.2])) == []


def test_a_removal_that_changes_no_answer_is_affordable():
    found = largest(losing((10, 10, 400), (20, 20, 400)), 0.005)
    assert (found.ratio, found.loss, found.over) == (0.1, 0.0, "images")
    assert found.bound == pytest.approx(2 / 1002)  # as `difference_interval` has it for 0 of 1,000 images
    assert largest(losing((10, 10, 400), (20, 20, 400)), 0.001).ratio == 0.0


def test_without_the_whole_network_there_is_no_loss():
    one = arm("slbi", {0: sweep({0.5: [1], 0.6: [1]})})
    assert affordable(study(one, ratios=[0.5, 0.6])) == []
    assert affordable(study(arm("slbi", {0: sweep({0.0: [1]})}), ratios=[0.0])) == []


# in words ------------------------------------------------------------------------------------------------------------

FOUND = Contrast(
    sweep=0,
    by="magnitude",
    layers="conv3,fc1",
    ratio=0.6,
    measure="accuracy",
    arm="slbi",
    reference="sgd-pull",
    seeds=5,
    images=10_000,
    difference=0.0031,
    low=0.0005,
    high=0.0057,
    confidence=0.95,
    over="seeds",
    p_seeds=0.01,
    p_images=0.003,
    p_adjusted=0.02,
)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {},
            "With 60% of conv3 and fc1 removed by magnitude slbi keeps 0.31 points more than sgd-pull "
            "(95% interval 0.05 to 0.57, n = 5 seeds, Holm-adjusted p = 0.02)",
        ),
        (
            {"difference": -0.0031, "low": -0.0057, "high": -0.0005, "p_adjusted": 1e-9},
            "With 60% of conv3 and fc1 removed by magnitude slbi keeps 0.31 points less than sgd-pull "
            "(95% interval 0.05 to 0.57, n = 5 seeds, Holm-adjusted p < 0.001)",
        ),
        (
            {"low": -0.001, "high": 0.0072, "p_adjusted": 0.4, "layers": "conv3", "ratio": 0.25},
            "With 25% of conv3 removed by magnitude no difference between slbi and sgd-pull can be shown: +0.31 points "
            "(95% interval -0.10 to +0.72, n = 5 seeds, Holm-adjusted p = 0.4)",
        ),
        (
            {"p_adjusted": 0.06},
            "With 60% of conv3 and fc1 removed by magnitude slbi keeps 0.31 points more than sgd-pull (95% interval "
            "0.05 to 0.57, n = 5 seeds, Holm-adjusted p = 0.06): among all "
            "comparisons of the study, that may be chance",
        ),
        (
            {"low": -0.0005, "p_adjusted": 0.06},
            "With 60% of conv3 and fc1 removed by magnitude no difference between slbi and sgd-pull can be shown: "
            "+0.31 points (95% interval -0.05 to +0.57, n = 5 seeds, Holm-adjusted p = 0.06)",
        ),
        (
            {"seeds": 1, "over": "images", "p_seeds": None},
            "With 60% of conv3 and fc1 removed by magnitude slbi keeps 0.31 points more than sgd-pull (95% interval "
            "0.05 to 0.57, n = 10,000 images, Holm-adjusted p = 0.02; one seed: only images are sampled)",
        ),
        (
            {"seeds": 2, "over": "images", "p_seeds": None, "low": -0.0005, "p_adjusted": 1.0},
            "With 60% of conv3 and fc1 removed by magnitude no difference between slbi and sgd-pull can be shown: "
            "+0.31 points (95% interval -0.05 to +0.57, n = 10,000 images, Holm-adjusted p = 1; "
            "the 2 seeds show no spread: only images are sampled)",
        ),
        (
            {"seeds": 1, "over": "", "low": None, "high": None, "p_seeds": None, "p_images": None, "p_adjusted": None},
            "With 60% of conv3 and fc1 removed by magnitude nothing can be said of slbi against sgd-pull: "
            "+0.31 points; one seed, and there are no answers for single images",
        ),
        (
            {"layers": "features.Conv1", "measure": "recalibrated_accuracy"},
            "With 60% of features.Conv1 removed by magnitude and BatchNorm recalibrated on training images slbi keeps "
            "0.31 points more than sgd-pull (95% interval 0.05 to 0.57, n = 5 seeds, Holm-adjusted p = 0.02)",
        ),
        (
            {"ratio": 0.0, "measure": "finetuned_accuracy"},
            "With nothing removed and fine-tuned slbi keeps 0.31 points more than sgd-pull "
            "(95% interval 0.05 to 0.57, n = 5 seeds, Holm-adjusted p = 0.02)",
        ),
    ],
)
def test_a_verdict_says_what_the_numbers_say(changes, text):
    assert verdict(dataclasses.replace(FOUND, **changes)) == text


def test_an_arm_that_selects_without_a_control_is_said_to_have_none():
    lone = study(arm("sgd", seeds(40)), arm("slbi, lr 0.1", seeds(30), opt="slbi", lr=0.1), arm("sgd-pull", seeds(20)))
    assert verdicts(lone, contrasts(lone)) == [
        "What the selection adds to slbi, lr 0.1 is not shown: its control, an arm that differs from it in "
        "opt = 'sgd-pull' alone, is not in the study"
    ]
    others = study(arm("sgd", seeds(40)), arm("linbreg", seeds(30)), arm("slbi-adam", seeds(30)))
    assert verdicts(others, contrasts(others)) == []  # no optimizer here takes just what they do


def test_names_in_words():
    assert layers_in_words("conv3") == "conv3"
    assert layers_in_words("conv1,conv2,fc1") == "conv1, conv2 and fc1"
    assert layers_in_words("a,b,c,d,e") == "5 layers"
    assert [p_in_words(p) for p in (1.0, 0.0213, 0.001, 0.00099)] == ["p = 1", "p = 0.021", "p = 0.001", "p < 0.001"]


# tables --------------------------------------------------------------------------------------------------------------


def test_tables_hold_what_was_found():
    result = study(arm("sgd-pull", seeds(30, 42, 50)), arm("slbi", seeds(20, 30, 35)), arm("sgd", {}))
    findings = find(result)
    titles = [table.title for table in study_tables(result, findings)]
    assert titles == [
        "training",
        "test accuracy (%) with conv3 pruned by magnitude",
        "difference of test accuracy against sgd-pull, pruned by magnitude",
        "largest part that can go by magnitude, with 95% confidence",
    ]
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in to_markdown(accuracy_table(result, "conv3")).split("\n")
    ]
    assert ["60%", "95.93 ± 1.01", "97.17 ± 0.76", "–"] in rows
    assert ["n", "3", "3", "0"] in rows
    text = study_markdown(result, findings)
    (one,) = findings.contrasts
    assert f"| [{100 * one.low:+.2f}, {100 * one.high:+.2f}] |" in text
    assert f"- {findings.verdicts[0]}\n" in text
    cell = next(cell for cell in findings.cells if (cell.arm, cell.ratio) == ("slbi", 0.6))
    assert (cell.n, cell.mean) == (3, pytest.approx(0.9716667))
    assert f"[{100 * cell.low:.2f}, {100 * cell.high:.2f}]" in text.split("95% intervals of the mean")[1]
    assert "0.5 points" in text


def test_a_table_of_thirty_arms_has_each_row_in_one_line():
    names = [f"slbi with quite a long label, number {number}" for number in range(30)]
    result = study(*(arm(name, seeds(20, 30), opt="slbi") for name in names))
    text = to_markdown(accuracy_table(result, "conv3"))
    head = text.splitlines()[2]
    assert [cell.strip() for cell in head.split("|")[1:-1]] == ["removed", *names]
    assert all(line.count("|") == 32 for line in text.splitlines()[2:])


@pytest.mark.parametrize("label", ["slbi [ours]", "odd [/b]", ":zap: [red]"])
def test_what_users_wrote_is_in_the_tables_as_they_wrote_it(label):
    result = study(arm("sgd-pull", seeds(30, 42)), arm(label, seeds(20, 30), opt="slbi"))
    text = study_markdown(result, find(result))
    assert all(label in line for line in text.splitlines() if line.startswith("| removed") or " keeps " in line)
    assert text.count(f" {label} ") >= 5
    piped = to_markdown(accuracy_table(study(arm("a|b", seeds(20), opt="slbi")), "conv3"))
    assert r"| removed |  a\|b |" in piped


def test_one_seed_has_no_table_of_intervals():
    result = study(arm("sgd-pull", seeds(30)), arm("slbi", seeds(20)))
    text = study_markdown(result, find(result))
    assert "intervals of the mean" not in text
    assert "]* |" in text  # the contrast's, over images
    assert [(cell.n, cell.low) for cell in cells(result)] == [(1, None)] * 4


def test_an_interval_stays_among_the_accuracies():
    assert interval(Estimate(2, 0.9, 0.1, -0.2, 1.3)) == "[0.00, 100.00]"
    assert interval(Estimate(2, 0.9912, 0.001, 0.98765, 0.99475)) == "[98.77, 99.48]"
    assert interval(Estimate(1, 0.9, None, None, None)) == "–"
