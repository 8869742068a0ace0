"""Verdicts: what is said of the contrasts of studies that are made by hand."""

from __future__ import annotations

import dataclasses

import pytest
from handmade import arm, falling, largest, losing, seeds, study, sweep
from scipy import stats

from sparsify.report.studytables import affordable_tables, contrast_tables
from sparsify.report.table import to_markdown
from sparsify.study.contrasts import Contrast, contrasts
from sparsify.study.design import Planned
from sparsify.study.verdicts import verdict, verdicts
from sparsify.text import layers_in_words, p_in_words

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
    found = dataclasses.replace(FOUND, **changes)
    assert verdict(found, found) == text


def alone(label: str, *seeds: tuple[float, int], **settings):
    """An arm: of each seed the part outside the support, and how many answers are wrong without it; 10 with it."""
    sweeps = {
        seed: sweep({0.0: list(range(10))}, support=(ratio, list(range(wrong))))
        for seed, (ratio, wrong) in enumerate(seeds)
    }
    return arm(label, sweeps, **settings)


def of_supports(*arms, compared="accuracy"):
    planned = Planned(arms[1].label, arms[0].label, "conv3", "support", compared)
    result = study(*arms, ratios=[0.0], support=True)
    return dataclasses.replace(result, study=dataclasses.replace(result.study, contrasts=(planned,)))


def test_supports_are_compared_and_their_sizes_stand_beside():
    result = of_supports(
        alone("linbreg", (0.8, 60), (0.7, 70), (0.75, 90)), alone("slbi", (0.9, 30), (0.9, 35), (0.9, 40))
    )
    found = contrasts(result)
    one = found[0]
    assert (one.arm, one.reference, one.ratio, one.seeds, one.images) == ("slbi", "linbreg", "support", 3, 1000)
    test = stats.ttest_rel([0.97, 0.965, 0.96], [0.94, 0.93, 0.91])
    assert (one.difference, one.p_seeds) == (pytest.approx((0.03 + 0.035 + 0.05) / 3), pytest.approx(test.pvalue))
    said = verdicts(result, found)
    assert said[0].startswith("With all outside the support of conv3 removed slbi has 3.83 points more than linbreg (")
    sizes = "Of conv3 90.0% of slbi and 75.0% of linbreg is outside the support"
    assert said[1] == f"{sizes}: the supports that are compared are of unlike size"
    assert not any(one.startswith("Not tested") for one in said)
    (table,) = contrast_tables(result, found[:1])
    text = to_markdown(table)
    assert "all outside the support of conv3, primary" in text
    assert " slbi (90.0% of slbi and 75.0% of linbreg) " in text


def test_supports_of_one_size_are_said_to_be():
    result = of_supports(alone("linbreg", (0.8, 60)), alone("slbi", (0.8, 30)), compared="change")
    found = contrasts(result)
    assert found[0].difference == pytest.approx(0.03)  # both lose nothing at 0%
    assert "are of one size" in verdicts(result, found)[1]


def test_that_supports_were_not_compared_is_said():
    result = of_supports(alone("linbreg", (0.8, 60)), alone("slbi", (0.8, 30)))
    result = dataclasses.replace(result, study=dataclasses.replace(result.study, contrasts=()))
    said = verdicts(result, contrasts(result))
    assert said[-1] == "Not tested: any pair with all outside the supports removed"


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


def test_accuracies_that_are_alike_are_said_to_be():
    change = dataclasses.replace(FOUND, compared="change")
    where = "With 60% of conv3 and fc1 removed by magnitude"
    evidence = "(95% interval 0.05 to 0.57, n = 5 seeds, Holm-adjusted p = 0.02)"
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
        'Holm-adjusted; nothing is shown for "sgd, decay"',
        f"{HERE} slbi has the highest mean accuracy, 97.17% (n = 3 seeds), before sgd-pull with 95.93%; the difference "
        f"is shown (Holm-adjusted {p['slbi', 'accuracy']}, exploratory)",
        f"Exploratory: {HERE[0].lower()}{HERE[1:]}, against sgd-pull, slbi has 1.23 points more "
        f"({p['slbi', 'accuracy']}) and sgd has 20.03 points less ({p['sgd', 'accuracy']}); p is Holm-adjusted",
        "Not tested: 3 of the 6 pairs of arms; any pair with 30% removed",
    ]


def test_a_planned_contrast_has_a_sentence_of_its_own_and_one_that_cannot_be_made_is_said():
    gone = arm("lost", {}, opt="sgd")
    plans = (Planned("sgd, decay", "sgd", "conv3", 0.6), Planned("lost", "sgd", "conv3", 0.6))
    made = study(ALL[0], SGD, PLAIN, gone)
    result = dataclasses.replace(made, study=dataclasses.replace(made.study, contrasts=plans))
    said = verdicts(result, contrasts(result))
    assert said[0].startswith(
        f'{HERE} "sgd, decay" has 19.70 points more than sgd; from 0% on it loses 19.70 points less'
    )
    assert not any("nothing is shown" in one or "no difference" in one for one in said)  # of what was not planned
    assert (
        "The planned contrast with 60% of conv3 removed could not be made: lost and sgd have no finished seed in"
        in (next(one for one in said if "planned" in one))
    )
    best = next(one for one in said if "highest" in one)
    assert best.startswith(
        f'{HERE} sgd-pull has the highest mean accuracy, 95.93% (n = 3 seeds), before "sgd, decay" with'
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


def test_where_no_network_is_above_chance_none_is_called_the_best():
    """Of 1,000 images, each right by chance in a tenth of all cases, 116 or more are right in 5.3%, 117 in 4.3%."""
    pull, other = arm("sgd-pull", falling((10, 900))), arm("sgd", falling((5, 910)))
    for wrong, said in (
        (884, f"{HERE} no network is shown to be above chance, 10% with 10 classes: the highest accuracy is 11.60%"),
        (883, f"{HERE} the network of slbi has the highest accuracy, 11.70%"),
    ):
        result = study(pull, other, arm("slbi", falling((5, wrong))))
        (best,) = [one for one in verdicts(result, contrasts(result)) if "highest" in one]
        assert best.startswith(f"{said} (n = 1 seed)")
    result = study(*(arm(opt, falling((10, 900), (10, 900))) for opt in ("sgd-pull", "slbi")))
    (best,) = [one for one in verdicts(result, contrasts(result)) if "highest" in one]
    head = f"{HERE} no arm is shown to be above chance, 10% with 10 classes"
    assert best == f"{head}: the highest mean accuracy is 10.00% (n = 2 seeds)"


def test_of_one_seed_no_sentence_is_about_a_method():
    result = study(arm("sgd-pull", falling((10, 30))), arm("slbi", falling((5, 20))), arm("sgd", falling((5, 120))))
    said = verdicts(result, contrasts(result))
    assert said[0].endswith(": that is of these two networks, one seed each, and not of the methods")
    assert said[1].endswith("; one seed each: that is of these networks, and not of the methods")
    (best,) = [one for one in said if "highest" in one]
    assert best.startswith(f"{HERE} the network of slbi has the highest accuracy, 98.00% (n = 1 seed), before that of")


def test_an_arm_with_one_seed_among_others_is_named():
    one = arm("sgd, once", {0: SGD.sweeps[0][0]}, opt="sgd", lr=0.3)
    result = study(ALL[0], SGD, one)
    first = verdicts(result, contrasts(result))[0]
    assert first.startswith(f"{HERE}, from 0% on and against sgd-pull, sgd loses 20.03 points more (p ")
    assert first.endswith('; one seed of "sgd, once": that is of these networks, and not of the methods')
    level = arm("level", falling((10, 31), (9, 29)), opt="sgd", lr=0.2)
    first = verdicts(result := study(ALL[0], level, one), contrasts(result))[0]
    assert "nothing is shown for level" in first
    assert first.endswith('; one seed of "sgd, once": that is of these networks, and not of the methods')


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
        'What the selection adds to "slbi, lr 0.1" is not shown: its control, an arm that differs from it in '
        "opt = 'sgd-pull' alone, is not in the study"
    ]
    two = study(*(arm(f"slbi {lr:g}", seeds(30), opt="slbi", lr=lr) for lr in (0.1, 0.2)), arm("sgd-pull", seeds(20)))
    both = [one for one in verdicts(two, contrasts(two)) if one.startswith("What")]
    assert both == [
        "What the selection adds to slbi 0.1 and slbi 0.2 is not shown: their controls, arms that differ from them in "
        "opt = 'sgd-pull' alone, are not in the study"
    ]
    others = study(arm("sgd", seeds(40)), arm("linbreg", seeds(30)), arm("slbi-adam", seeds(30)))
    said = [one for one in verdicts(others, contrasts(others)) if one.startswith("What")]
    expected = alone[0].replace('"slbi, lr 0.1"', "slbi-adam").replace("sgd-pull", "adam-pull")
    assert said == [expected]  # linbreg has no control


def test_names_in_words():
    assert layers_in_words("conv3") == "conv3"
    assert layers_in_words("conv1,conv2,fc1") == "conv1, conv2 and fc1"
    assert layers_in_words("a,b,c,d,e") == "5 layers"
    assert [p_in_words(p) for p in (1.0, 0.0213, 0.001, 0.00099)] == ["p = 1", "p = 0.021", "p = 0.001", "p < 0.001"]


def test_of_a_pair_both_ways_round_one_contrast_is_made_and_its_accuracies_stand_beside():
    result = study(arm("sgd-pull", falling((10, 30), (8, 42))), arm("slbi", falling((4, 20), (6, 35))))
    planned = (
        Planned("sgd-pull", "slbi", "conv3", 0.6, "change"),
        Planned("slbi", "sgd-pull", "conv3", 0.6, "accuracy", primary=False),
    )
    result = dataclasses.replace(result, study=dataclasses.replace(result.study, contrasts=planned))
    found = contrasts(result)
    assert [(one.arm, one.compared, one.family) for one in found] == [
        ("sgd-pull", "change", "primary"),
        ("slbi", "accuracy", "exploratory"),
    ]
    assert "sgd-pull has 0.85 points less than slbi; " in verdicts(result, found)[0]


def test_with_one_seed_every_sentence_that_compares_is_about_these_networks():
    result = study(
        arm("sgd-pull", seeds(30)), arm("slbi", seeds(30)), arm("sgd", seeds(28)), arm("prox-sgd", seeds(29))
    )
    said = verdicts(result, contrasts(result))
    compared = [one for one in said if "can be shown" in one]
    assert [one.split(" removed by magnitude ")[1].split(" can be")[0] for one in compared] == [
        "the network of slbi has the same accuracy as that of sgd-pull; no difference in what the two lose from 0% on",
        "no difference in what is lost from 0% on",
    ]
    for one in compared:
        assert one.endswith("and not of the methods"), one
    (best,) = [one for one in said if "highest accuracy" in one]
    assert " the network of sgd has the highest accuracy, 97.20% (n = 1 seed), before that of prox-sgd with" in best
