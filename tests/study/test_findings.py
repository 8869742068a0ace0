"""Contrasts and affordable ratios of studies that are made by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from handmade import IMAGES, arm, falling, largest, losing, raw, recalibrated, seeds, study, sweep
from scipy import stats

from sparsify.analysis.comparison import (
    difference_interval,
    differences,
    images_interval,
    mcnemar,
    signs_flipped,
    two_way_interval,
)
from sparsify.analysis.statistics import holm
from sparsify.errors import SparsifyError
from sparsify.pruning.outcomes import Outcomes
from sparsify.pruning.plan import SweepPlan
from sparsify.report.studytables import accuracy_table, study_markdown, study_tables
from sparsify.report.table import in_percent, interval, to_markdown
from sparsify.study.contrasts import affordable, contrasts, control_of, usual_ratio
from sparsify.study.design import Planned
from sparsify.study.findings import find
from sparsify.study.results import ArmResult, StudyResult, cells
from sparsify.study.verdicts import verdict, verdicts
from sparsify.text import unbroken


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
    plan = dataclasses.replace(result.study, contrasts=(Planned("slbi 20", "pull 50", "conv3", 0.6),))
    result = dataclasses.replace(result, study=plan)
    said = verdicts(result, contrasts(result))
    assert not any(one.startswith("What the selection adds") for one in said)


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
    sums = [(right >= n) * 1 + (right >= n + 4) for n in (30, 40)]
    found = np.stack([(right >= n) * 2 - both for n, both in zip((20, 36), sums, strict=True)])
    assert (one.both_low, one.both_high) == two_way_interval(found, draws=2)


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


def test_a_planned_contrast_can_be_of_another_measure():
    """Of networks that answer alike as they are pruned, and not with BatchNorm's statistics estimated anew."""
    same = sweep({0.0: range(500), 0.6: range(500)})
    better, worse = sweep({0.0: (), 0.6: range(20)}), sweep({0.0: (), 0.6: range(30)})
    plan = Planned("slbi", "sgd-pull", "conv3", 0.6, measure="recalibrated_accuracy")

    def result_with(*arms: ArmResult) -> StudyResult:
        made = study(*arms)
        sweeps = tuple(dataclasses.replace(one, recalibrate_bn=True) for one in made.study.sweeps)
        return dataclasses.replace(made, study=dataclasses.replace(made.study, sweeps=sweeps, contrasts=(plan,)))

    result = result_with(arm("sgd-pull", {0: recalibrated(same, worse)}), arm("slbi", {0: recalibrated(same, better)}))
    main = contrasts(result)[0]
    assert (main.measure, main.compared, main.family) == ("recalibrated_accuracy", "change", "primary")
    assert main.difference == pytest.approx(10 / IMAGES)
    assert not any("could not be made" in one for one in verdicts(result, contrasts(result)))
    bare = result_with(arm("sgd-pull", {0: same}), arm("slbi", {0: recalibrated(same, better)}))
    (said,) = (one for one in verdicts(bare, contrasts(bare)) if "could not be made" in one)
    assert said.endswith("have no finished seed in common with BatchNorm recalibrated on training images")


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
    assert f"- {unbroken(findings.verdicts[0])}\n" in text
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
