"""What a study of pruning should report, and whether this one does.

The items follow, in other words, the checklist in the appendix of Blalock, Gonzalez Ortiz, Frankle & Guttag, "What is
the State of Neural Network Pruning?", MLSys 2020 (arXiv:2003.03033). Each is decided by a function of the StudyResult.
Two of its items are about the text of a paper, and no program can decide them: that claims stay within what was tried,
and how results of other papers were obtained.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

from sparsify.config import Config
from sparsify.data.registry import FOLDER
from sparsify.nets.registry import network_spec
from sparsify.optim.registry import OPTIMIZERS
from sparsify.pruning.criteria import CRITERIA
from sparsify.pruning.plan import SweepPlan
from sparsify.report.prose import in_words
from sparsify.runs import Run
from sparsify.runs.listing import parents
from sparsify.study.results import ArmResult, StudyResult
from sparsify.text import arms_in_words, listed, named
from sparsify.training.environment import DIRTY

DECLINE = 0.1
"""The loss of accuracy, a fraction, from which on it counts as substantial."""


@dataclass(frozen=True)
class Verdict:
    """Whether an item is done, and why; `link` is the address that a reader is led to, "" for none."""

    done: bool
    reason: str
    link: str = ""


@dataclass(frozen=True)
class Item:
    """One item: what it belongs to, what is asked, and how it is decided."""

    group: str
    text: str
    decide: Callable[[StudyResult], Verdict]


def plain_magnitude(result: StudyResult) -> Verdict:
    """Whether magnitude prunes networks that an ordinary optimizer trained from scratch, all of their weights.

    Ordinary is one that neither selects nor pulls at the weights.
    """
    swept = {
        label
        for number, plan in enumerate(result.study.sweeps)
        if plan.criterion == "magnitude" and not plan.reverse
        for label in result.study.arms_of(number)
    }
    plain = [arm.label for arm in result.arms if arm.finished and _ordinary(arm.finished[0].config)]
    if "magnitude" not in _criteria(result):
        others = listed(_criteria(result))
        return Verdict(False, f"no sweep is by magnitude, only by {others}" if others else "no sweep is by magnitude")
    if not plain:
        reason = "with the pull of one, or goes on from other weights or under a mask"
        return Verdict(False, f"every arm was trained with an optimizer that selects, {reason}")
    pruned = [label for label in plain if label in swept]
    if not pruned:
        return Verdict(False, f"no sweep by magnitude is of {arms_in_words(plain)}")
    return Verdict(True, f"magnitude prunes {arms_in_words(pruned)}, too")


def recent_methods(result: StudyResult) -> Verdict:
    """Whether a criterion from after 2010 was swept; all sweeps are made anew, none is taken from a paper.

    The order of an optimizer's own path is no other method: it belongs to what is studied.
    """
    published = {name: CRITERIA[name].published for name in _criteria(result) if CRITERIA[name].needs is None}
    recent = [f"{name} ({year})" for name, year in published.items() if year is not None and year > 2010]
    if not recent:
        own = [name for name in _criteria(result) if CRITERIA[name].needs is not None]
        if own:
            return Verdict(False, f"{listed(own)} is the order of the studied method's own path, not another method")
        return Verdict(False, f"the only criterion is {listed(_criteria(result)) or 'the opposite of one'}")
    return Verdict(True, f"swept by {listed(recent)}, with the same code on the same networks")


def early_methods(result: StudyResult) -> Verdict:
    """Whether a criterion from before 2010 other than magnitude was swept."""
    published = {name: CRITERIA[name].published for name in _criteria(result) if name != "magnitude"}
    early = [f"{name} ({year})" for name, year in published.items() if year is not None and year < 2010]
    reason = f"swept by {listed(early)}" if early else "none was swept but, at most, magnitude itself"
    return Verdict(bool(early), reason)


def settings_known(result: StudyResult) -> Verdict:
    """Whether the report has all settings. It lacks those of a run outside the study that a run of it started from."""
    own = {config.name for arm in result.study.arms for config in arm.configs}
    outside = [run.name for run in _runs(result) if not parents(run) <= own]
    if outside:
        return Verdict(False, f"{listed(outside)} started from another run, whose settings are not in this report")
    return Verdict(True, "every run is given by its command, and every flag that it does not have is at its default")


def code_known(result: StudyResult) -> Verdict:
    """Whether all runs record the same commit, without changes, and a link leads a reader to it."""
    commits = {str(run.environment.get("git_commit") or "none") for run in _runs(result)}
    if commits == {"none"}:
        return Verdict(False, "the runs record the version of the package, but no commit")
    changed = sorted(commit for commit in commits if commit.endswith(DIRTY))
    if changed:
        return Verdict(False, f"the code had changes that were not committed: {listed(changed)}")
    if len(commits) > 1:
        return Verdict(False, f"the runs record {len(commits)} different commits: {listed(sorted(commits))}")
    (commit,) = commits
    reason = f"every run records the commit {commit[:12]}"
    address = repository()
    if address is None:
        return Verdict(False, f"{reason}, but the package names no repository in which a reader finds it")
    return Verdict(True, reason, f"{address}/commit/{commit}")


def repository() -> str | None:
    """The address of the package's repository, by its metadata (`[project.urls]` of pyproject.toml); None without."""
    links = [one.partition(",") for one in metadata.metadata("sparsify-study").get_all("Project-URL") or []]
    found = {label.strip().lower(): address.strip() for label, _, address in links}
    address = found.get("repository")
    return None if address is None or not address.startswith("https://") else address.rstrip("/")


def architecture_cited(result: StudyResult) -> Verdict:
    """Whether a publication of each network is named."""
    models = {run.config.model: network_spec(run.config.model) for run in _runs(result)}
    missing = [model for model, spec in models.items() if spec.publication is None]
    described = ". ".join(f"{model}: {in_words(spec)}" for model, spec in models.items())
    if missing:
        return Verdict(False, f"{described}. A publication is not named for {listed(missing)}")
    return Verdict(bool(models), described or "there is no run")


def data_described(result: StudyResult) -> Verdict:
    """Whether the data are public, and batch size and augmentation known; a folder is not public."""
    folders = dict.fromkeys(run.config.data_name for run in _runs(result) if run.config.data.startswith(FOLDER))
    if folders:
        return Verdict(False, f"{listed(folders)} is a folder of image files that a reader does not have")
    names = dict.fromkeys(
        f"{c.data}, batch size {c.batch_size}, augmentation {c.augment}" for c in (run.config for run in _runs(result))
    )
    return Verdict(bool(names), "; ".join(names) or "there is no run")


def environment_known(result: StudyResult) -> Verdict:
    """Whether each run records the library and the hardware."""
    needed = ("torch", "device", "threads")
    lacking = [run.name for run in _runs(result) if any(run.environment.get(key) is None for key in needed)]
    if lacking:
        return Verdict(False, f"not recorded by {listed(lacking)}")
    found = dict.fromkeys(f"torch {run.environment['torch']} on {run.environment['device']}" for run in _runs(result))
    return Verdict(bool(found), "; ".join(found) or "there is no run")


def extreme_ratios(result: StudyResult) -> Verdict:
    """Whether each arm loses 10 points of accuracy or more at some ratio of some sweep."""
    shallow = []
    for arm in _finished(result):
        own = result.study.sweeps_of(arm.label)
        if not own:
            continue  # it is compared whole
        losses = [loss for number, plan in own.items() for loss in _losses(arm, number, plan)]
        if not losses or max(losses) < DECLINE:
            shallow.append(f"{named(arm.label)} loses at most {100 * max(losses, default=0):.1f} points")
    if shallow:
        return Verdict(False, f"the ratios stop before the accuracy falls: {'; '.join(shallow)}")
    reason = f"every arm is pruned until it has lost {100 * DECLINE:.0f} points or more"
    return Verdict(True, reason) if _finished(result) else Verdict(False, "no run is finished")


def raw_accuracy(result: StudyResult) -> Verdict:
    """Whether the tables give accuracies rather than changes, and that of the whole network among them."""
    without = [plan.name for plan in result.study.sweeps if 0 not in plan.ratios]
    if without:
        return Verdict(False, f"the sweep by {listed(without)} has no ratio 0, the network before pruning")
    trained = [plan.name for plan in result.study.sweeps if plan.trained_between]
    if trained:
        return Verdict(False, f"what the sweep by {listed(trained)} gives has been trained on between its rounds")
    return Verdict(bool(_finished(result)), "the tables give it at each ratio, 0% among them, not the change alone")


def several_seeds(result: StudyResult) -> Verdict:
    """Whether each arm has several runs, with different seeds and different initial weights."""
    single = [arm.label for arm in result.arms if len({run.config.seed for run in arm.finished}) < 2]
    if single:
        return Verdict(False, f"one finished seed, or none: {arms_in_words(single)}")
    shared = [arm.label for arm in result.arms if _inits(arm) and len(_inits(arm)) < len(arm.finished)]
    if shared:
        return Verdict(False, f"seeds of {arms_in_words(shared)} start from the same weights")
    return Verdict(True, f"{_seeds(result)} seeds an arm, each with its own initial weights and order of images")


def spread_shown(result: StudyResult) -> Verdict:
    """Whether each number is a mean with a standard deviation."""
    single = [arm.label for arm in result.arms if len(arm.finished) < 2]
    if single:
        return Verdict(False, f"a single run has no spread: {arms_in_words(single)}")
    return Verdict(True, f"mean ± one sample standard deviation over n = {_seeds(result)} seeds")


def operations_counted(result: StudyResult) -> Verdict:
    """Whether multiply-accumulates are counted at each point."""
    rows = [row for arm in result.arms for sweeps in arm.sweeps for sweep in sweeps for row in sweep.rows]
    if not any(row.macs for row in rows):
        return Verdict(False, "no point has a count")
    return Verdict(True, "multiply-accumulates of convolutions and fully connected layers, before ÷ after")


def global_random(result: StudyResult) -> Verdict:
    """Whether a sweep removes random grains of all layers together."""
    done = any(plan.criterion == "random" and plan.scope == "global" for plan in result.study.sweeps)
    return Verdict(done, "a sweep removes them" if done else "no sweep removes random grains of all layers together")


def layerwise_random(result: StudyResult) -> Verdict:
    """Whether each sweep has a control that removes as many random grains of each layer."""
    ordered = _ordered(result)
    without = [plan.name for number, plan in ordered if not (plan.controls or _beside(result, number, "random"))]
    if without:
        return Verdict(False, f"not beside the sweep by {listed(without)}; controls = true adds them")
    return Verdict(bool(ordered), "each sweep has as many random grains of each layer beside it")


def magnitude_baseline(result: StudyResult) -> Verdict:
    """Whether magnitude was swept, globally or with one ratio for all layers."""
    scopes = dict.fromkeys(p.scope for p in result.study.sweeps if p.criterion == "magnitude" and not p.reverse)
    said = {"layer": "the same ratio of each layer", "global": "all layers together"}
    return Verdict(bool(scopes), listed(said[scope] for scope in scopes) or "no sweep is by magnitude")


def layerwise_magnitude(result: StudyResult) -> Verdict:
    """Whether each sweep has one beside it in which magnitude removes as many grains of each layer."""
    others = [(number, plan) for number, plan in _ordered(result) if plan.criterion != "magnitude" or plan.reverse]
    without = [plan.name for number, plan in others if not _beside(result, number, "magnitude")]
    if without:
        return Verdict(False, f"not beside the sweep by {listed(without)}")
    return Verdict(bool(_ordered(result)), "each sweep is by magnitude, or has one by magnitude beside it")


ITEMS: tuple[Item, ...] = (
    Item("Method", "Compared with magnitude pruning of ordinarily trained networks", plain_magnitude),
    Item("Method", "Compared with methods of recent years", recent_methods),
    Item("Method", "Compared with methods from before 2010", early_methods),
    Item("Method", "All settings given, enough to do it again", settings_known),
    Item("Method", "The code is identified", code_known),
    Item("Experiments", "Each architecture described and cited", architecture_cited),
    Item("Experiments", "Data, batch size and augmentation described", data_described),
    Item("Experiments", "Library and hardware named", environment_known),
    Item("Results", "Ratios up to where the accuracy falls substantially", extreme_ratios),
    Item("Results", "The raw accuracy at each point", raw_accuracy),
    Item("Results", "Several runs, with their own seeds and initial weights", several_seeds),
    Item("Results", "A mean and its spread, clearly defined", spread_shown),
    Item("Results", "Operations counted", operations_counted),
    Item("Baselines", "Random pruning of all layers together", global_random),
    Item("Baselines", "Random pruning with the same share of each layer", layerwise_random),
    Item("Baselines", "Magnitude pruning, global or uniform", magnitude_baseline),
    Item("Baselines", "Magnitude pruning with the same share of each layer", layerwise_magnitude),
)


def checked(result: StudyResult) -> list[tuple[Item, Verdict]]:
    """Every item, decided."""
    return [(item, item.decide(result)) for item in ITEMS]


def _runs(result: StudyResult) -> list[Run]:
    return [run for arm in result.arms for run in arm.runs]


def _inits(arm: ArmResult) -> set[str]:
    """The names of the weights of other runs that the finished runs started from."""
    return {run.config.init for run in arm.finished if run.config.init}


def _ordinary(config: Config) -> bool:
    """Whether a training only follows the loss, from scratch and without a mask.

    The control of SLBI selects nothing, but has its pull (1/μ); what starts from its weights or trains under its mask
    is a product of the selection, whatever optimizer goes on.
    """
    spec = OPTIMIZERS[config.opt]
    penalised = "strength" in spec.defaults
    return not (spec.selects or spec.couples or penalised) and config.init is None and config.mask is None


def _finished(result: StudyResult) -> list[ArmResult]:
    return [arm for arm in result.arms if arm.finished]


def _criteria(result: StudyResult) -> list[str]:
    """The criteria of the sweeps, without those in reverse order, which are controls."""
    return list(dict.fromkeys(plan.criterion for plan in result.study.sweeps if not plan.reverse))


def _ordered(result: StudyResult) -> list[tuple[int, SweepPlan]]:
    """The sweeps whose criterion is not "random", each behind its number."""
    return [(number, plan) for number, plan in enumerate(result.study.sweeps) if plan.criterion != "random"]


def _beside(result: StudyResult, number: int, criterion: str) -> bool:
    """Whether another sweep, by that criterion, removes as many grains of each layer of the same arms, or of more."""
    plan, arms = result.study.sweeps[number], set(result.study.arms_of(number))
    like = (plan.layers, plan.ratios, plan.grain, "layer")
    return plan.scope == "layer" and any(
        other.criterion == criterion
        and not other.reverse
        and (other.layers, other.ratios, other.grain, other.scope) == like
        and arms <= set(result.study.arms_of(place))
        for place, other in enumerate(result.study.sweeps)
    )


def _losses(arm: ArmResult, number: int, plan: SweepPlan) -> list[float]:
    """The largest loss of accuracy of each set of layers, a mean over the seeds; empty without ratio 0."""
    if 0 not in plan.ratios:
        return []
    means = [
        [statistics.mean(sweep.accuracy(layers, ratio) for sweep in arm.sweeps[number]) for ratio in plan.ratios]
        for layers in plan.layers
    ]
    return [mean[0] - min(mean) for mean in means]


def _seeds(result: StudyResult) -> str:
    return listed(dict.fromkeys(str(len(arm.finished)) for arm in result.arms))
