"""Verdicts: what a study's contrasts say, in sentences that follow from the numbers alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from scipy.stats import binom

from sparsify.analysis.statistics import CONFIDENCE
from sparsify.optim.registry import OPTIMIZERS
from sparsify.pruning.measures import MEASURES
from sparsify.pruning.ratios import SUPPORT, Ratio
from sparsify.study.contrasts import Affordable, Contrast, control_of
from sparsify.study.design import Planned
from sparsify.study.results import ArmResult, Point, StudyResult, accuracies, measured_in, outside
from sparsify.text import capitalised, layers_in_words, listed, minus, named, p_in_words, percentage, plural, points

_MOST = 10  # what a sentence lists; more are counted


def verdicts(result: StudyResult, contrasts: Sequence[Contrast], affordable: Sequence[Affordable] = ()) -> list[str]:
    """Sentences on every primary contrast and every other one that holds, on the best arm, and on what is not tested.

    A primary contrast that the study names, or that is of an arm with its control, has a sentence of its own; the
    others share one for each point. Then come the sizes of the supports that were compared, the arm with the highest
    accuracy at each of these points, or that none is above chance there, planned contrasts that could not be made, arms
    that could have a control and are compared with none, the exploratory contrasts that hold, what the images are too
    few for, and what was not tested.
    """
    controls = {arm.label: control_of(result, arm) for arm in result.arms}
    single: list[Contrast] = []
    shared: list[Contrast] = []
    for one in contrasts:
        control = controls[one.arm]
        own = result.study.contrasts or (control is not None and control.label == one.reference)
        (single if one.family == "primary" and own else shared).append(one)
    beside: dict[tuple[Point, str, str], Contrast] = {}
    for one in (one for one in contrasts if one.compared == "accuracy"):
        turned = replace(one, arm=one.reference, reference=one.arm, difference=-one.difference)
        beside |= {_pair(turned): turned, _pair(one): one}
    found = [verdict(one, beside[_pair(one)]) for one in single]
    found += _together(one for one in shared if one.family == "primary")
    found += _supports(result, contrasts)
    found += _best(result, contrasts)
    found += _impossible(result, contrasts)
    alone: dict[str, list[str]] = {}
    for arm in result.arms:
        names = {OPTIMIZERS[run.config.opt].control for run in arm.finished} - {None}
        if names and controls[arm.label] is None and not names & _compared_with(result, arm.label):
            alone.setdefault(str(*names), []).append(named(arm.label))
    found += [_without_control(labels, control) for control, labels in alone.items()]
    found += _together(one for one in shared if one.family == "exploratory")
    found += _too_few_images(affordable)
    found += _untested(result, contrasts)
    return found


def _without_control(labels: Sequence[str], control: str) -> str:
    missing = f"its control, an arm that differs from it in opt = '{control}' alone, is"
    if len(labels) > 1:
        missing = f"their controls, arms that differ from them in opt = '{control}' alone, are"
    return f"What the selection adds to {listed(labels)} is not shown: {missing} not in the study"


def _compared_with(result: StudyResult, label: str) -> set[str]:
    """The optimizers of the arms that planned contrasts compare an arm with: a control may have settings of its own."""
    pairs = [{one.arm, one.reference} for one in result.study.contrasts]
    others = set().union(*(pair - {label} for pair in pairs if label in pair))
    return {run.config.opt for arm in result.arms if arm.label in others for run in arm.finished}


def _point(one: Point) -> Point:
    return Point(sweep=one.sweep, by=one.by, layers=one.layers, ratio=one.ratio, measure=one.measure)


def _pair(one: Contrast) -> tuple[Point, str, str]:
    return _point(one), one.arm, one.reference


def holds(contrast: Contrast) -> bool:
    """Whether a contrast's adjusted p is below 1 − confidence."""
    return contrast.p_adjusted is not None and contrast.p_adjusted < 1 - contrast.confidence


def verdict(contrast: Contrast, beside: Contrast) -> str:
    """A contrast as a sentence. It states a difference if Holm's p is below 1 − confidence.

    If Holm's p is not below that, but the contrast's own interval leaves out 0, the sentence adds that the difference
    may be chance among so many comparisons. A change is said behind the difference of the accuracies, which is that of
    the contrast `beside` it; that of accuracies is itself. Of one seed each it speaks of two networks, and of no
    method.
    """
    one, where = contrast, point_in_words(contrast)
    where = f"Exploratory: {where}" if one.family == "exploratory" else capitalised(where)
    sampled = "one seed" if one.seeds == 1 else f"the {one.seeds} seeds show no spread"
    if not one.over:
        difference = f"{points(one.difference)} points; {sampled}, and there are no answers for single images"
        return f"{where} nothing can be said of {named(one.arm)} against {named(one.reference)}: {difference}"
    # what the interval is over, seeds or images, has given its ends and a p
    assert one.low is not None
    assert one.high is not None
    assert one.p_adjusted is not None
    held = holds(one)
    shown = held or one.low * one.high > 0
    turn = -1 if shown and one.difference < 0 else 1  # "0.3 points less" has the interval 0.1 to 0.5
    ends = sorted((turn * 100 * one.low, turn * 100 * one.high))
    interval = " to ".join(f"{end:.2f}" if shown else minus(f"{end:+.2f}") for end in ends)
    n = f"n = {one.seeds} seeds" if one.over == "seeds" else f"n = {one.images:,} images"
    evidence = f"({100 * one.confidence:g}% interval {interval}, {n}, Holm-adjusted {p_in_words(one.p_adjusted)}"
    alike = one.over == "images" and one.seeds > 1
    evidence += f"; {sampled}: only images are sampled)" if alike else ")"
    chance = "" if held or not shown else f": among all {one.family} comparisons of the study, that may be chance"
    if one.seeds == 1:
        chance += f"{';' if chance else ':'} that is of these two networks, one seed each, and not of the methods"
    arm, reference = named(one.arm), named(one.reference)
    if one.seeds == 1:
        arm, reference = f"the network of {arm}", f"that of {reference}"
    if one.compared == "accuracy":
        if shown:
            return f"{where} {_has(one.difference, arm, reference)} {evidence}{chance}"
        words = f"no difference between {arm} and {reference} can be shown: {points(one.difference)} points"
        return f"{where} {words} {evidence}{chance}"
    raw = _has(beside.difference, arm, reference)
    if shown:
        return f"{where} {raw}; from 0% on it loses {_amount(one.difference)} {evidence}{chance}"
    words = f"no difference in what the two lose from 0% on can be shown: {points(one.difference)} points"
    return f"{where} {raw}; {words} {evidence}{chance}"


def _has(difference: float, arm: str, reference: str) -> str:
    """ "slbi has 0.31 points more than sgd-pull", of accuracies."""
    if f"{100 * abs(difference):.2f}" == "0.00":
        return f"{arm} has the same accuracy as {reference}"
    return f"{arm} has {100 * abs(difference):.2f} points {'more' if difference > 0 else 'less'} than {reference}"


def _amount(difference: float) -> str:
    """ "0.31 points less", of losses: an arm whose change is higher than another's loses less."""
    return f"{100 * abs(difference):.2f} points {'less' if difference > 0 else 'more'}"


def _together(contrasts: Iterable[Contrast]) -> Iterator[str]:
    """One sentence for the contrasts of a point with one reference: those that hold, each with its p."""
    groups: dict[tuple[object, ...], list[Contrast]] = {}
    for one in contrasts:
        groups.setdefault((_point(one), one.compared, one.reference), []).append(one)
    for ones in groups.values():
        held = [one for one in ones if holds(one)]
        others = [named(one.arm) for one in ones if not holds(one)]
        first = ones[0]
        where = point_in_words(first)
        where = capitalised(where) if first.family == "primary" else f"Exploratory: {where}"
        change = first.compared == "change"
        if held:
            what = "from 0% on and " if change else ""
            rest = f"; nothing is shown for {_few(others)}" if others and first.family == "primary" else ""
            clauses = f"against {named(first.reference)}, {_few([_clause(one) for one in held])}"
            yield f"{where}, {what}{clauses}; p is Holm-adjusted{rest}{_of_networks(held, ones)}"
        elif first.family == "primary":
            what = "what is lost from 0% on" if change else "accuracy"
            told = f"no difference in {what} can be shown against {named(first.reference)} for {_few(others)}"
            yield f"{where} {told}{_of_networks(ones, ones)}"


def _of_networks(said: Sequence[Contrast], contrasts: Sequence[Contrast]) -> str:
    """What ends a sentence if some of these that it speaks of, or all of a point, are of one seed; "" if none is."""
    single = [named(one.arm) for one in said if one.seeds == 1]
    if not single:
        return ""
    whose = "each" if all(one.seeds == 1 for one in contrasts) else f"of {_few(single)}"
    return f"; one seed {whose}: that is of these networks, and not of the methods"


def _clause(one: Contrast) -> str:
    assert one.p_adjusted is not None  # it holds
    more = "more" if one.difference > 0 else "less"
    size = _amount(one.difference) if one.compared == "change" else f"{100 * abs(one.difference):.2f} points {more}"
    return f"{named(one.arm)} {'loses' if one.compared == 'change' else 'has'} {size} ({p_in_words(one.p_adjusted)})"


def _few(texts: Sequence[str], word: str = "and") -> str:
    """The texts as a list, the first ten of them."""
    rest = [f"{len(texts) - _MOST} more"] if len(texts) > _MOST else []
    return listed([*texts[:_MOST], *rest], word)


def _supports(result: StudyResult, contrasts: Sequence[Contrast]) -> Iterator[str]:
    """How large the supports are that a contrast compares: it is not of equally many grains."""
    of = {(one.sweep, one.layers, one.arm, one.reference): one for one in contrasts if one.ratio == SUPPORT}
    for one in of.values():
        sizes = "unlike size" if len(set(_outside(result, one).values())) > 1 else "one size"
        removed = f"Of {layers_in_words(one.layers)} {outside_in_words(result, one)} is outside the support"
        yield f"{removed}: the supports that are compared are of {sizes}"


def _best(result: StudyResult, contrasts: Sequence[Contrast]) -> Iterator[str]:
    """The arm with the highest mean accuracy where a primary contrast is, of each measure, and the next one."""
    tested = {_pair(one): one for one in contrasts if one.compared == "accuracy"}
    primary = dict.fromkeys(_point(one) for one in contrasts if one.family == "primary")
    for point in primary:
        for measure in measured_in(result, point.sweep):
            here = replace(point, measure=measure)
            found = {arm.label: list(accuracies(result, arm, here).values()) for arm in result.arms}
            means = {label: sum(values) / len(values) for label, values in found.items() if values}
            best, *others = sorted(means, key=lambda label: -means[label])
            if not others:
                continue
            where, high = capitalised(point_in_words(here)), f"{100 * means[best]:.2f}%"
            n = len(found[best])
            what, seeds = "mean accuracy" if n > 1 else "accuracy", plural(n, "seed")
            classes = _at_chance(next(arm for arm in result.arms if arm.label == best), means[best])
            if classes:
                chance = f"chance, {100 / classes:.4g}% with {classes} classes"
                who = "arm" if n > 1 else "network"
                yield f"{where} no {who} is shown to be above {chance}: the highest {what} is {high} (n = {seeds})"
                continue
            who, of = (named(best), "") if n > 1 else (f"the network of {named(best)}", "that of ")
            level = [label for label in others if f"{100 * means[label]:.2f}%" == high]
            if level:
                alike = _few([named(label) for label in (best, *level)])
                who = alike if n > 1 else f"the networks of {alike}"
                yield f"{where} {who} have the highest {what}, {high} (n = {seeds})"
                continue
            second = others[0]
            test = tested.get((here, best, second)) or tested.get((here, second, best))
            if test is None or test.p_adjusted is None:
                told = "the two were not tested against each other"
            else:
                told = "the difference is shown" if holds(test) else "the difference is not shown"
                told += f" (Holm-adjusted {p_in_words(test.p_adjusted)}, {test.family})"
            next_best = f"{of}{named(second)} with {100 * means[second]:.2f}%"
            yield f"{where} {who} has the highest {what}, {high} (n = {seeds}), before {next_best}; {told}"


def _at_chance(arm: ArmResult, accuracy: float) -> int | None:
    """The number of classes if as many of an arm's images are guessed right by chance in 5% of all cases; else None.

    By chance each is right with probability 1 ÷ classes. A mean over seeds is of the same images.
    """
    summary = arm.finished[0].summary
    classes, images = len(summary["classes"]), summary["count"]
    by_chance = binom.sf(round(accuracy * images) - 1, images, 1 / classes)
    return classes if by_chance >= 1 - CONFIDENCE else None


def _impossible(result: StudyResult, contrasts: Sequence[Contrast]) -> Iterator[str]:
    """The contrasts that were planned and not made, because no seed of both arms is finished."""
    made = {
        Planned(one.arm, one.reference, one.layers, one.ratio, one.compared, sweep=one.sweep, measure=one.measure).what
        for one in contrasts
    }
    for one in result.study.contrasts:
        if one.what not in made:
            removed = removed_in_words(one.ratio, one.layers)
            how = MEASURES[one.measure].words
            what = f"{named(one.arm)} and {named(one.reference)} have no finished seed in common"
            what += f" with {how}" if how else ""
            yield f"The planned contrast with {removed} removed could not be made: {what}"


def _too_few_images(affordable: Sequence[Affordable]) -> Iterator[str]:
    few = dict.fromkeys((one.tolerance, one.images, one.least) for one in affordable if one.too_few_images)
    for tolerance, images, least in few:
        assert least is not None
        loss = f"{100 * tolerance:g} {'point is' if tolerance == 0.01 else 'points are'}"
        yield (
            f"Whether less than {loss} lost cannot be shown over {images:,} images alone: "
            f"even if not one is answered otherwise the bound is {100 * least:.2f} points"
        )


def _untested(result: StudyResult, contrasts: Sequence[Contrast]) -> Iterator[str]:
    """Of how many pairs of arms nothing is tested, and at which ratios."""
    if not contrasts:
        return
    labels = [arm.label for arm in result.arms if arm.finished]
    pairs = {frozenset(pair) for pair in itertools.combinations(labels, 2)}
    left = pairs - {frozenset((one.arm, one.reference)) for one in contrasts}
    tested = {one.ratio for one in contrasts}
    ratios = sorted({ratio for plan in result.study.sweeps for ratio in plan.ratios if ratio > 0} - tested)
    what = [f"{len(left)} of the {len(pairs)} pairs of arms"] if left else []
    if ratios:
        what.append(f"any pair with {_few([percentage(ratio) for ratio in ratios], 'or')} removed")
    if SUPPORT not in tested and any(plan.support for plan in result.study.sweeps):
        what.append("any pair with all outside the supports removed")
    if what:
        yield f"Not tested: {'; '.join(what)}"


def removed_in_words(ratio: Ratio, layers: str) -> str:
    """ "60% of conv3 and fc1", "all outside the support of conv3"."""
    if ratio == SUPPORT:
        return f"all outside the support of {layers_in_words(layers)}"
    return f"{percentage(ratio)} of {layers_in_words(layers)}"


def outside_in_words(result: StudyResult, one: Contrast) -> str:
    """What a contrast at the support removes of its two arms, in the mean: "88.2% of slbi and 85.0% of prox-sgd"."""
    return listed(f"{size} of {named(label)}" for label, size in _outside(result, one).items())


def _outside(result: StudyResult, one: Contrast) -> dict[str, str]:
    found = {arm.label: outside(arm, one) for arm in result.arms if arm.label in (one.arm, one.reference)}
    return {label: f"{100 * sum(found[label]) / len(found[label]):.1f}%" for label in (one.arm, one.reference)}


def point_in_words(point: Point) -> str:
    """ "with 60% of conv3 and fc1 removed by magnitude"."""
    removed = removed_in_words(point.ratio, point.layers) if point.ratio else "nothing"
    by = f" by {point.by}" if point.ratio and point.ratio != SUPPORT else ""
    how = MEASURES[point.measure].words
    return f"with {removed} removed{by}" + (f" and {how}" if how else "")
