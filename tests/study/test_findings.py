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

from sparsify.analysis.comparison import (
    difference_interval,
    differences,
    images_interval,
    mcnemar,
    signs_flipped,
    two_way_interval,
)
from sparsify.analysis.statistics import holm
from sparsify.config import Config
from sparsify.errors import SparsifyError
from sparsify.pruning.outcomes import Outcomes
from sparsify.pruning.plan import SweepPlan
from sparsify.pruning.sweep import Sweep, SweepRow
from sparsify.report.studytables import accuracy_table, affordable_tables, study_markdown, study_tables
from sparsify.report.table import in_percent, interval, to_markdown
from sparsify.study.contrasts import Affordable, Contrast, affordable, contrasts, control_of, usual_ratio
from sparsify.study.design import Arm, Planned, Study
from sparsify.study.findings import find
from sparsify.study.results import ArmResult, StudyResult, cells
from sparsify.study.verdicts import verdict, verdicts
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


def raw(result: StudyResult, **asked: object) -> list[Contrast]:
    """The contrasts of accuracies; those of changes have tests of their own."""
    return [one for one in contrasts(result, **asked) if one.compared == "accuracy"]


def test_a_contrast_is_the_paired_test_over_seeds():
    result = study(arm("sgd-pull", seeds(30, 42, 50)), arm("slbi", seeds(20, 30, 35)))
    (one,) = raw(result)
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
    (one,) = raw(study(pull, slbi))
    assert one.seeds == 2
    assert one.difference == pytest.approx((0.012 + 0.015) / 2)
    assert raw(study(pull, arm("slbi", seeds(3, first=5)))) == []
    assert raw(study(pull, arm("slbi", {}))) == []


def test_one_seed_and_seeds_without_spread_are_compared_over_images():
    for pull, slbi in [((30,), (20,)), ((30, 40), (20, 30))]:
        (one,) = raw(study(arm("sgd-pull", seeds(*pull)), arm("slbi", seeds(*slbi))))
        assert (one.seeds, one.over, one.p_seeds) == (len(pull), "images", None)
        a, b = (np.arange(IMAGES) >= np.array([counts]).T for counts in (pull, slbi))
        assert (one.low, one.high) == difference_interval(a, b)
        assert one.p_images == one.p == one.p_adjusted == signs_flipped(differences(a, b))
        assert one.difference == pytest.approx(0.01)


def test_what_was_not_kept_or_is_of_other_images_is_not_compared_over_images():
    pull, slbi = seeds(30, kept=False), seeds(20)
    (one,) = raw(study(arm("sgd-pull", pull), arm("slbi", slbi)))
    assert (one.over, one.images, one.low, one.p_images, one.p_adjusted) == ("", 0, None, None, None)
    others = Outcomes.of(np.ones(IMAGES, int), slbi[0].outcomes["accuracy"].predictions)
    other = dataclasses.replace(slbi[0], outcomes={"accuracy": others})
    (one,) = raw(study(arm("sgd-pull", seeds(30)), arm("slbi", {0: other})))
    assert (one.over, one.images) == ("", 0)


def test_recalibrated_networks_are_compared_by_their_own_answers():
    """And not by those without the statistics re-estimated, in which these two do not differ."""
    same = sweep({0.0: range(500), 0.6: range(500)})
    better, worse = sweep({0.0: (), 0.6: range(20)}), sweep({0.0: (), 0.6: range(30)})
    pull, slbi = recalibrated(same, worse), recalibrated(same, better)
    arms = [arm("sgd-pull", {0: pull}), arm("slbi", {0: slbi})]
    as_it_is, again = raw(study(*arms))
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
    (one,) = raw(study(arm("sgd-pull", {0: pull}), arm("slbi", {0: slbi}), ratios=[0.6]))
    assert (one.seeds, one.over) == (1, "images")
    assert one.difference == pytest.approx(0.015)
    assert one.p_images == pytest.approx(2 * 0.5**20)  # 20 images, all of one sign


def test_holms_correction_is_over_the_contrasts_of_a_family():
    arms = [arm("sgd-pull", seeds(50, 40)), arm("slbi", seeds(20, 5)), arm("sgd", seeds(10, 41))]
    found = raw(study(*arms))
    assert {one.family for one in found} == {"exploratory"}
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
    assert {one.arm: one.reference for one in raw(result)} == {
        **{"pull 50": "sgd", "slbi 20": "sgd", "slbi 50": "pull 50"},
    }
    named = raw(result, reference="slbi 20")
    assert {one.arm for one in named} == {"sgd", "pull 50", "slbi 50"}
    assert {one.reference for one in named} == {"slbi 20"}
    with pytest.raises(SparsifyError, match="unknown arm 'slbi'"):
        raw(result, reference="slbi")
    found = contrasts(result)
    change, accuracy = [one for one in found if one.reference == "pull 50"]
    said = verdicts(result, found)
    assert said[0] == verdict(change, accuracy)
    (alone,) = [one for one in said if one.startswith("What the selection adds")]
    assert alone.startswith("What the selection adds to slbi 20 is not shown")


def test_ratios_are_the_largest_up_to_60_percent_or_the_ones_asked_for():
    points = {ratio: list(range(int(100 * ratio) + 10)) for ratio in (0.0, 0.5, 1.0)}
    result = study(arm("sgd-pull", {0: sweep(points)}), arm("slbi", {0: sweep(points)}), ratios=points)
    assert [one.ratio for one in raw(result)] == [0.5]
    for ratios, usual in (("0:0.9:0.1", 0.6), ("0,0.7,0.9", 0.7), ("0", 0.0), ("0.2,1", 0.2), ("1", 1.0)):
        assert usual_ratio(SweepPlan(layers="conv3", ratios=ratios)) == usual
    assert [one.ratio for one in raw(result, ratios=[0.0, 1.0])] == [0.0, 1.0]
    with pytest.raises(SparsifyError, match=r"conv3 at 0\.3 is not in this sweep"):
        raw(result, ratios=[0.3])


def test_each_measure_is_compared_where_both_have_it():
    pull, slbi = seeds(30, 40, again=0.9), seeds(20, 25, again=0.95)
    found = raw(study(arm("sgd-pull", pull), arm("slbi", slbi), arm("sgd", seeds(50, 51))))
    assert [(one.measure, one.arm) for one in found] == [
        *[("accuracy", "slbi"), ("accuracy", "sgd")],
        ("recalibrated_accuracy", "slbi"),
    ]
    assert (found[2].difference, found[2].over, found[2].images) == (pytest.approx(0.05), "", 0)


# changes, and families of contrasts ----------------------------------------------------------------------------------


def falling(*pairs: tuple[int, int], **options: object) -> dict[int, Sweep]:
    """One sweep a seed, of so many wrong answers with nothing and with 60% removed."""
    return {
        seed: sweep({0.0: list(range(whole)), 0.6: list(range(pruned))}, **options)
        for seed, (whole, pruned) in enumerate(pairs)
    }


def test_a_change_is_compared_with_a_change():
    """slbi has 10, 12, 15 wrong answers less, and lost 5, 9, 11 less of a thousand."""
    pull, slbi = falling((10, 30), (8, 42), (6, 50)), falling((5, 20), (5, 30), (2, 35))
    change, accuracy = contrasts(study(arm("sgd-pull", pull), arm("slbi", slbi)))
    assert (change.compared, change.family, change.ratio) == ("change", "primary", 0.6)
    assert (accuracy.compared, accuracy.family) == ("accuracy", "exploratory")
    assert accuracy.difference == pytest.approx((0.010 + 0.012 + 0.015) / 3)
    assert change.difference == pytest.approx((0.005 + 0.009 + 0.011) / 3)
    test = stats.ttest_1samp([0.005, 0.009, 0.011], 0)
    assert change.p_seeds == change.p_adjusted == pytest.approx(test.pvalue)
    assert (change.low, change.high) == pytest.approx(tuple(test.confidence_interval()))


def test_equal_changes_show_no_spread_however_they_are_rounded():
    """0.966 − 0.993 and 0.963 − 0.99 differ in their last bits."""
    pull, slbi = falling((7, 34), (10, 37), (3, 30)), falling((9, 33), (4, 28), (11, 35))
    (change, _) = contrasts(study(arm("sgd-pull", pull), arm("slbi", slbi)))
    assert (change.over, change.p_seeds, change.difference) == ("images", None, pytest.approx(0.003))


def test_over_images_a_change_flips_the_signs_of_four_answers_together():
    pull, slbi = falling((10, 30)), falling((4, 20))
    (change, accuracy) = contrasts(study(arm("sgd-pull", pull), arm("slbi", slbi)))
    right = np.arange(IMAGES)
    found = (right >= 20) * 1 - (right >= 30) - ((right >= 4) * 1 - (right >= 10))
    assert set(found.tolist()) == {-1, 0, 1}
    assert (change.over, change.images, change.difference) == ("images", IMAGES, pytest.approx(0.004))
    assert change.p == signs_flipped(found)
    assert (change.low, change.high) == images_interval(found, 1, most=2)
    assert accuracy.p == mcnemar(right >= 30, right >= 20)
    assert (accuracy.low, accuracy.high) == difference_interval(right >= 30, right >= 20)


def test_both_ways_seeds_and_images_are_drawn():
    pull, slbi = falling((10, 30), (8, 42), (6, 50)), falling((5, 20), (5, 30), (2, 35))
    (change, accuracy) = contrasts(study(arm("sgd-pull", pull), arm("slbi", slbi)))
    right = np.arange(IMAGES)
    found = np.stack([(right >= b) * 1 - (right >= a) for a, b in ((30, 20), (42, 30), (50, 35))])
    assert (accuracy.both_low, accuracy.both_high) == two_way_interval(found)
    whole = np.stack([(right >= b) * 1 - (right >= a) for a, b in ((10, 5), (8, 5), (6, 2))])
    assert (change.both_low, change.both_high) == two_way_interval(found - whole)
    for few in (falling((10, 30)), falling((10, 30), (8, 42), kept=False)):
        found = contrasts(study(arm("sgd-pull", few), arm("sgd", few)))
        assert [(one.both_low, one.both_high) for one in found] == [(None, None)] * 2


def test_both_ways_a_seeds_draws_are_one():
    """Drawn apart, as four seeds, the two draws of a seed would seem to confirm each other."""
    pull = {seed: sweep({0.6: [list(range(n)), list(range(n + 4))]}) for seed, n in enumerate((30, 40))}
    slbi = {seed: sweep({0.6: [list(range(n)), list(range(n))]}) for seed, n in enumerate((20, 36))}
    (one,) = contrasts(study(arm("sgd-pull", pull), arm("slbi", slbi), ratios=[0.6]))
    right = np.arange(IMAGES)
    means = [((right >= n) * 1 + (right >= n + 4)) / 2 for n in (30, 40)]
    found = np.stack([(right >= n) * 1 - mean for n, mean in zip((20, 36), means, strict=True)])
    assert (one.both_low, one.both_high) == two_way_interval(found)


def planned(*contrasts: Planned) -> StudyResult:
    """Three arms over two seeds, and what was planned of them."""
    arms = [arm("sgd-pull", seeds(50, 40)), arm("slbi", seeds(20, 5)), arm("sgd", seeds(10, 41))]
    result = study(*arms)
    return dataclasses.replace(result, study=dataclasses.replace(result.study, contrasts=contrasts))


def test_holm_is_over_the_primary_contrasts_alone():
    """A p of 0.047 stays as it is beside an exploratory family of three; without a plan it is one of two."""
    result = planned(Planned("slbi", "sgd-pull", "conv3", 0.6))
    main, *others = contrasts(result)
    assert (main.arm, main.family, main.compared) == ("slbi", "primary", "change")
    assert main.p_adjusted == main.p
    assert [one.family for one in others] == ["exploratory"] * 3
    assert sorted((one.arm, one.compared) for one in others) == [
        *[("sgd", "accuracy"), ("sgd", "change")],
        ("slbi", "accuracy"),
    ]
    assert [one.p_adjusted for one in others] == pytest.approx(holm([one.p for one in others]))
    without = contrasts(planned())[0]
    assert (without.arm, without.p) == ("slbi", main.p)
    assert without.p_adjusted == pytest.approx(2 * main.p)


def test_a_contrast_that_is_planned_as_exploratory_weakens_no_other():
    main = Planned("slbi", "sgd-pull", "conv3", 0.6)
    other = Planned("sgd", "slbi", "conv3", 0.6, "accuracy", primary=False)
    found = contrasts(planned(other, main))
    assert [(one.arm, one.reference, one.compared, one.family) for one in found[:3]] == [
        ("sgd", "slbi", "accuracy", "exploratory"),
        ("slbi", "sgd-pull", "change", "primary"),
        ("slbi", "sgd-pull", "accuracy", "exploratory"),
    ]
    assert found[1].p_adjusted == found[1].p
    both = contrasts(planned(main, dataclasses.replace(other, primary=True)))
    assert [one.family for one in both[:2]] == ["primary"] * 2
    assert both[0].p_adjusted == pytest.approx(holm([one.p for one in both[:2]])[0])


def test_nothing_is_primary_of_what_is_chosen_afterwards():
    for asked in ({"reference": "slbi"}, {"ratios": [0.6]}):
        assert {one.family for one in contrasts(planned(), **asked)} == {"exploratory"}


def test_without_a_plan_only_the_first_sweep_of_the_layers_is_primary():
    """And of its measures the accuracy as it is; a sweep without ratio 0 has no changes."""
    pull, slbi = seeds(30, 40, again=0.9), seeds(20, 25, again=0.95)
    arms = [dataclasses.replace(one, sweeps=one.sweeps * 2) for one in (arm("sgd-pull", pull), arm("slbi", slbi))]
    result = study(*arms)
    twice = StudyResult(dataclasses.replace(result.study, sweeps=result.study.sweeps * 2), tuple(arms), result.folder)
    primary = [one for one in contrasts(twice) if one.family == "primary"]
    assert [(one.sweep, one.measure, one.compared) for one in primary] == [(0, "accuracy", "change")]
    points = {0.6: list(range(20)), 0.7: list(range(30))}
    bare = study(arm("sgd-pull", {0: sweep(points)}), arm("slbi", {0: sweep(points)}), ratios=points)
    assert [(one.ratio, one.compared, one.family) for one in contrasts(bare)] == [(0.6, "accuracy", "primary")]


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
    compared="accuracy",
    family="primary",
    seeds=5,
    images=10_000,
    difference=0.0031,
    low=0.0005,
    high=0.0057,
    confidence=0.95,
    over="seeds",
    both_low=0.001,
    both_high=0.005,
    p_seeds=0.01,
    p_images=0.003,
    p_adjusted=0.02,
)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {},
            "With 60% of conv3 and fc1 removed by magnitude slbi has 0.31 points more than sgd-pull "
            "(95% interval 0.05 to 0.57, n = 5 seeds, Holm-adjusted p = 0.02)",
        ),
        (
            {"difference": -0.0031, "low": -0.0057, "high": -0.0005, "p_adjusted": 1e-9},
            "With 60% of conv3 and fc1 removed by magnitude slbi has 0.31 points less than sgd-pull "
            "(95% interval 0.05 to 0.57, n = 5 seeds, Holm-adjusted p < 0.001)",
        ),
        (
            {"low": -0.001, "high": 0.0072, "p_adjusted": 0.4, "layers": "conv3", "ratio": 0.25},
            "With 25% of conv3 removed by magnitude no difference between slbi and sgd-pull can be shown: +0.31 points "
            "(95% interval −0.10 to +0.72, n = 5 seeds, Holm-adjusted p = 0.4)",
        ),
        (
            {"p_adjusted": 0.06},
            "With 60% of conv3 and fc1 removed by magnitude slbi has 0.31 points more than sgd-pull (95% interval "
            "0.05 to 0.57, n = 5 seeds, Holm-adjusted p = 0.06): among all "
            "primary comparisons of the study, that may be chance",
        ),
        (
            {"low": -0.0005, "p_adjusted": 0.06},
            "With 60% of conv3 and fc1 removed by magnitude no difference between slbi and sgd-pull can be shown: "
            "+0.31 points (95% interval −0.05 to +0.57, n = 5 seeds, Holm-adjusted p = 0.06)",
        ),
        (
            {"seeds": 1, "over": "images", "p_seeds": None},
            "With 60% of conv3 and fc1 removed by magnitude the network of slbi has 0.31 points more than that of "
            "sgd-pull (95% interval 0.05 to 0.57, n = 10,000 images, Holm-adjusted p = 0.02): that is of these two "
            "networks, one seed each, and not of the methods",
        ),
        (
            {"seeds": 1, "over": "images", "p_seeds": None, "p_adjusted": 0.06},
            "With 60% of conv3 and fc1 removed by magnitude the network of slbi has 0.31 points more than that of "
            "sgd-pull (95% interval 0.05 to 0.57, n = 10,000 images, Holm-adjusted p = 0.06): among all primary "
            "comparisons of the study, that may be chance; that is of these two networks, one seed each, and not of "
            "the methods",
        ),
        (
            {"seeds": 2, "over": "images", "p_seeds": None, "low": -0.0005, "p_adjusted": 1.0},
            "With 60% of conv3 and fc1 removed by magnitude no difference between slbi and sgd-pull can be shown: "
            "+0.31 points (95% interval −0.05 to +0.57, n = 10,000 images, Holm-adjusted p = 1; "
            "the 2 seeds show no spread: only images are sampled)",
        ),
        (
            {"seeds": 1, "over": "", "low": None, "high": None, "p_seeds": None, "p_images": None, "p_adjusted": None},
            "With 60% of conv3 and fc1 removed by magnitude nothing can be said of slbi against sgd-pull: "
            "+0.31 points; one seed, and there are no answers for single images",
        ),
        (
            {"layers": "features.Conv1", "measure": "recalibrated_accuracy", "family": "exploratory"},
            "Exploratory: with 60% of features.Conv1 removed by magnitude and BatchNorm recalibrated on training "
            "images slbi has 0.31 points more than sgd-pull (95% interval 0.05 to 0.57, n = 5 seeds, Holm-adjusted "
            "p = 0.02)",
        ),
        (
            {"ratio": 0.0, "measure": "finetuned_accuracy"},
            "With nothing removed and fine-tuned slbi has 0.31 points more than sgd-pull "
            "(95% interval 0.05 to 0.57, n = 5 seeds, Holm-adjusted p = 0.02)",
        ),
    ],
)
def test_a_verdict_says_what_the_numbers_say(changes, text):
    assert verdict(dataclasses.replace(FOUND, **changes)) == text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"difference": -0.0052, "low": -0.008, "high": -0.0024},
            "With 60% of conv3 and fc1 removed by magnitude slbi has 0.71 points more than sgd-pull; from 0% on it "
            "loses 0.52 points more (95% interval 0.24 to 0.80, n = 5 seeds, Holm-adjusted p = 0.02)",
        ),
        (
            {"p_adjusted": 0.06},
            "With 60% of conv3 and fc1 removed by magnitude slbi has 0.71 points more than sgd-pull; from 0% on it "
            "loses 0.31 points less (95% interval 0.05 to 0.57, n = 5 seeds, Holm-adjusted p = 0.06): among all "
            "primary comparisons of the study, that may be chance",
        ),
        (
            {"low": -0.0005, "p_adjusted": 0.06},
            "With 60% of conv3 and fc1 removed by magnitude slbi has 0.71 points more than sgd-pull; no difference in "
            "what the two lose from 0% on can be shown: +0.31 points (95% interval −0.05 to +0.57, n = 5 seeds, "
            "Holm-adjusted p = 0.06)",
        ),
        (
            {"seeds": 1, "over": "images", "p_seeds": None},
            "With 60% of conv3 and fc1 removed by magnitude the network of slbi has 0.71 points more than that of "
            "sgd-pull; from 0% on it loses 0.31 points less (95% interval 0.05 to 0.57, n = 10,000 images, "
            "Holm-adjusted p = 0.02): that is of these two networks, one seed each, and not of the methods",
        ),
    ],
)
def test_a_change_is_said_beside_what_the_accuracies_are(changes, text):
    """ "Keeps 0.71 points more" of an arm that loses 0.52 points more would say the opposite of what it does."""
    change = dataclasses.replace(FOUND, compared="change", **changes)
    assert verdict(change, dataclasses.replace(FOUND, difference=0.0071, family="exploratory")) == text


def test_a_change_alone_and_accuracies_that_are_alike():
    change = dataclasses.replace(FOUND, compared="change")
    where = "With 60% of conv3 and fc1 removed by magnitude"
    evidence = "(95% interval 0.05 to 0.57, n = 5 seeds, Holm-adjusted p = 0.02)"
    assert verdict(change) == f"{where} from 0% on slbi loses 0.31 points less than sgd-pull {evidence}"
    alike = verdict(change, dataclasses.replace(FOUND, difference=-0.00004))
    assert alike == f"{where} slbi has the same accuracy as sgd-pull; from 0% on it loses 0.31 points less {evidence}"


ALL = [arm("sgd-pull", falling((10, 30), (8, 42), (6, 50))), arm("slbi", falling((5, 20), (5, 30), (2, 35)))]
SGD = arm("sgd", falling((10, 230), (8, 242), (6, 251)))
PLAIN = arm("sgd, decay", falling((10, 30), (8, 42), (6, 60)), opt="sgd", weight_decay=0.1)
HERE = "With 60% of conv3 removed by magnitude"


def test_every_sentence_of_a_study_without_a_plan():
    """slbi has a sentence of its own, as its control is there; the others share one, with those that hold first."""
    result = study(*ALL, SGD, PLAIN, ratios=(0.0, 0.3, 0.6))
    found = contrasts(result)
    p = {(one.arm, one.compared): p_in_words(one.p_adjusted) for one in found}
    assert verdicts(result, found) == [
        f"{HERE} slbi has 1.23 points more than sgd-pull; from 0% on it loses 0.83 points less (95% interval 0.07 to "
        f"1.59, n = 3 seeds, Holm-adjusted {p['slbi', 'change']}): among all primary comparisons of the study, that "
        "may be chance",
        f"{HERE}, from 0% on and against sgd-pull, sgd loses 20.03 points more ({p['sgd', 'change']}); p is "
        "Holm-adjusted; nothing is shown for sgd, decay",
        f"{HERE} slbi has the highest mean accuracy, 97.17% (n = 3 seeds), before sgd-pull with 95.93%; the difference "
        f"is shown (Holm-adjusted {p['slbi', 'accuracy']}, exploratory)",
        f"Exploratory: {HERE[0].lower()}{HERE[1:]}, against sgd-pull, slbi has 1.23 points more "
        f"({p['slbi', 'accuracy']}) and sgd has 20.03 points less ({p['sgd', 'accuracy']}); p is Holm-adjusted",
        "Not tested: 3 of the 6 pairs of arms and what differs with 30% removed",
    ]


def test_a_planned_contrast_has_a_sentence_of_its_own_and_one_that_cannot_be_made_is_said():
    gone = arm("lost", {}, opt="sgd")
    plans = (Planned("sgd, decay", "sgd", "conv3", 0.6), Planned("lost", "sgd", "conv3", 0.6))
    made = study(ALL[0], SGD, PLAIN, gone)
    result = dataclasses.replace(made, study=dataclasses.replace(made.study, contrasts=plans))
    said = verdicts(result, contrasts(result))
    assert said[0].startswith(
        f"{HERE} sgd, decay has 19.70 points more than sgd; from 0% on it loses 19.70 points less"
    )
    assert not any("nothing is shown" in one or "no difference" in one for one in said)  # of what was not planned
    assert (
        "The planned contrast with 60% of conv3 removed could not be made: lost and sgd have no finished seed in"
        in (next(one for one in said if "planned" in one))
    )
    best = next(one for one in said if "highest" in one)
    assert best.startswith(
        f"{HERE} sgd-pull has the highest mean accuracy, 95.93% (n = 3 seeds), before sgd, decay with"
    )


def test_the_best_that_was_not_tested_or_is_not_alone():
    other = arm("sgd", falling((10, 21), (8, 30), (6, 36)))
    result = study(ALL[0], ALL[1], other)
    (best,) = [one for one in verdicts(result, contrasts(result)) if "highest" in one]
    tail = "97.17% (n = 3 seeds), before sgd with 97.10%; the two were not tested against each other"
    assert best == f"{HERE} slbi has the highest mean accuracy, {tail}"
    same = arm("sgd", falling((10, 20), (8, 30), (6, 35)))
    result = study(ALL[0], ALL[1], same)
    (best,) = [one for one in verdicts(result, contrasts(result)) if "highest" in one]
    assert best == f"{HERE} slbi and sgd have the highest mean accuracy, 97.17% (n = 3 seeds)"


def test_of_one_seed_no_sentence_is_about_a_method():
    result = study(arm("sgd-pull", falling((10, 30))), arm("slbi", falling((5, 20))), arm("sgd", falling((5, 120))))
    said = verdicts(result, contrasts(result))
    assert said[0].endswith(": that is of these two networks, one seed each, and not of the methods")
    assert said[1].endswith("; one seed each: that is of these networks, and not of the methods")
    (best,) = [one for one in said if "highest" in one]
    assert best.startswith(f"{HERE} the network of slbi has the highest accuracy, 98.00% (n = 1 seed), before sgd-pull")


def test_an_arm_with_one_seed_among_others_is_named():
    one = arm("sgd, once", {0: SGD.sweeps[0][0]}, opt="sgd", lr=0.3)
    result = study(ALL[0], SGD, one)
    first = verdicts(result, contrasts(result))[0]
    assert first.startswith(f"{HERE}, from 0% on and against sgd-pull, sgd loses 20.03 points more (p ")
    assert first.endswith("; one seed of sgd, once: that is of these networks, and not of the methods")


def test_of_very_many_arms_the_first_ten_are_named():
    arms = [arm(f"sgd {n}", falling((10, 31), (9, 29)), opt="sgd", lr=0.1 + n) for n in range(13)]
    result = study(ALL[0], *arms)
    (shared,) = [one for one in verdicts(result, contrasts(result)) if "can be shown" in one]
    names = ", ".join(f"sgd {n}" for n in range(10))
    where = "no difference in what is lost from 0% on can be shown against sgd-pull"
    assert shared == f"{HERE} {where} for {names} and 3 more"


def test_images_that_are_too_few_for_a_bound_are_said_to_be():
    """The bound of a loss of no image at all is 2/(n + 2), 0.55 points for 360 images."""
    found = largest(losing((10, 10, 400), (20, 20, 400)), 0.001)
    assert (found.ratio, found.least, found.too_few_images) == (0.0, pytest.approx(2 / 1002), True)
    assert not largest(losing((10, 10, 400), (20, 20, 400)), 0.0021).too_few_images
    assert not largest(losing((10, 400), (20, 20)), 0.0021).too_few_images  # a network that lost more is no reason
    lost = largest(losing((10, 100), (20, 130)), 0.001)
    assert (lost.ratio, lost.least, lost.too_few_images) == (0.0, None, False)
    few = dataclasses.replace(found, images=360, least=2 / 362, tolerance=0.005)
    result = study(ALL[0])
    assert verdicts(result, [], [few]) == [
        "Whether less than 0.5 points are lost cannot be shown over 360 images alone: even if not one is answered "
        "otherwise the bound is 0.55 points"
    ]
    (table,) = affordable_tables(result, [few, dataclasses.replace(few, arm="sgd", least=2 / 502)])
    assert table.texts() == [[few.arm, "too few images"], ["sgd", "0%"]]


def test_an_arm_that_selects_without_a_control_is_said_to_have_none():
    lone = study(arm("sgd", seeds(40)), arm("slbi, lr 0.1", seeds(30), opt="slbi", lr=0.1), arm("sgd-pull", seeds(20)))
    alone = [one for one in verdicts(lone, contrasts(lone)) if one.startswith("What")]
    assert alone == [
        "What the selection adds to slbi, lr 0.1 is not shown: its control, an arm that differs from it in "
        "opt = 'sgd-pull' alone, is not in the study"
    ]
    others = study(arm("sgd", seeds(40)), arm("linbreg", seeds(30)), arm("slbi-adam", seeds(30)))
    said = [one for one in verdicts(others, contrasts(others)) if one.startswith("What")]
    assert said == [alone[0].replace("slbi, lr 0.1", "slbi-adam").replace("sgd-pull", "adam-pull")]  # linbreg has none


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
        "difference in the change of test accuracy from 0% against sgd-pull, pruned by magnitude",
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
    (one, _) = findings.contrasts
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
    assert all(label in line for line in text.splitlines() if line.startswith("| removed") or " has " in line)
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
    """Of 95 and 100%, where Student's would reach from 65.73 to 129.27."""
    assert interval(in_percent([0.95, 1.0])) == "[0.01, 100.00]"
    assert interval(in_percent([0.991, 0.992, 0.99])) == "[98.81, 99.32]"
    assert interval(in_percent([0.9])) == interval(in_percent([1.0, 1.0])) == "–"
