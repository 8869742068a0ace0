"""The checklist: each item is decided by what was done, both ways."""

from __future__ import annotations

import dataclasses
import itertools
from email.message import Message

import pytest
from summaries import SUMMARY
from sweeps import sweep_of

from sparsify.config import Config
from sparsify.data.registry import DATASETS
from sparsify.nets.registry import NETS, NetworkSpec
from sparsify.pruning.criteria import CRITERIA
from sparsify.pruning.plan import SweepPlan
from sparsify.pruning.sweep import SweepRow
from sparsify.report.checklist import ITEMS, checked
from sparsify.runs import Run
from sparsify.study.design import Arm, Study
from sparsify.study.results import ArmResult, StudyResult

ENVIRONMENT = {"torch": "2.15.0", "device": "cpu", "threads": 1, "git_commit": "0123456789abcdef"}
PLAN = SweepPlan(layers=("conv3",), ratios=(0.0, 0.5, 0.9))
RANDOM = dataclasses.replace(PLAN, criterion="random")


@pytest.fixture
def study(tmp_path):
    """A function from configs of arms, sweeps and what is odd to a StudyResult, by files written by hand."""
    counter = itertools.count()

    def make(*arms, sweeps=(PLAN,), accuracies=(0.9, 0.8, 0.1), environment=ENVIRONMENT, status="finished"):
        results = []
        for configs in arms or ([Config(opt="sgd", data="mnist", seed=seed) for seed in (0, 1)],):
            runs = []
            for config in configs:
                run = Run(tmp_path / f"run-{next(counter)}")
                run.write_json("config.json", config.to_dict())
                run.write_json("summary.json", SUMMARY | {"status": status})
                run.write_json("environment.json", environment)
                runs.append(run)
            measured = [[sweep(plan, accuracies) for _ in runs] for plan in sweeps] if status == "finished" else []
            results.append(ArmResult(f"{configs[0].opt}-{len(results)}", tuple(runs), tuple(map(tuple, measured))))
        arms = tuple(Arm(one.label, tuple(run.config for run in one.runs)) for one in results)
        return StudyResult(Study("mine", "Mine", arms, tuple(sweeps)), tuple(results), tmp_path)

    return make


def sweep(plan, accuracies):
    rows = [
        SweepRow(plan.criterion, plan.grain, plan.scope, layers, ratio, 0, 0, 100, accuracy, 10, 10, 1.0, 1.0)
        for layers in plan.layers
        for ratio, accuracy in zip(plan.ratios, accuracies, strict=True)
    ]
    return sweep_of(tuple(rows), ())


def verdict(text, result):
    (found,) = [verdict for item, verdict in checked(result) if item.text.startswith(text)]
    return found


SLBI = [Config(opt="slbi", data="mnist", seed=seed) for seed in (0, 1)]
PULL = [Config(opt="sgd-pull", data="mnist", seed=seed) for seed in (0, 1)]
SGD = [Config(opt="sgd", data="mnist", seed=seed) for seed in (0, 1)]
FORWARD = Config(opt="sgd", data="mnist", init="lenet-mnist-slbi@0a1b2c3d", mask="lenet-mnist-slbi/m.safetensors@1")
ENTRY = dataclasses.replace(PLAN, criterion="entry")
L1 = dataclasses.replace(PLAN, criterion="l1")
OBD = dataclasses.replace(PLAN, criterion="obd")
REVERSED = dataclasses.replace(PLAN, reverse=True)
OFTEN = dataclasses.replace(PLAN, rounds=2, finetune_epochs=1)
DIRTY = ENVIRONMENT | {"git_commit": "0123456789abcdef-dirty"}


@pytest.mark.parametrize(
    ("item", "arms", "options", "done", "reason"),
    [
        ("Compared with magnitude", [SGD, SLBI], {}, True, "magnitude prunes sgd-0, too"),
        ("Compared with magnitude", [SGD], {"sweeps": (REVERSED,)}, False, "no sweep is by magnitude"),
        (
            "Magnitude pruning with the same",
            [SGD],
            {"sweeps": (REVERSED,)},
            False,
            "not beside the sweep by magnitude-rev",
        ),
        (
            "Compared with methods of recent",
            [SGD],
            {"sweeps": (REVERSED,)},
            False,
            "the only criterion is the opposite",
        ),
        ("The code is identified", [SGD], {"environment": DIRTY}, False, "changes that were not committed: 0123456789"),
        ("The raw accuracy", [SGD], {"sweeps": (OFTEN,)}, False, "has been trained on between its rounds"),
        ("Compared with magnitude", [SLBI], {}, False, "every arm was trained with an optimizer that selects"),
        ("Compared with magnitude", [SGD, PULL, SLBI], {}, True, "magnitude prunes sgd-0, too"),
        (
            "Compared with magnitude",
            [PULL, SLBI],
            {},
            False,
            "that selects, with the pull of one, or goes on",
        ),
        ("Compared with magnitude", [SGD], {"sweeps": (L1,)}, False, "no sweep is by magnitude, only by l1"),
        ("Compared with methods of recent", [SGD], {}, False, "the only criterion is magnitude"),
        ("Compared with methods of recent", [SGD], {"sweeps": (PLAN, L1)}, True, "swept by l1 (2017)"),
        ("Compared with methods from before", [SGD], {"sweeps": (PLAN, L1)}, False, "none was swept"),
        ("All settings given", [SGD], {}, True, "every run is given by its command"),
        ("All settings given", [[Config(init="other@0a1b2c3d")]], {}, False, "started from another run"),
        ("The code is", [SGD], {}, False, "the commit 0123456789ab, but the package names no repository in which a"),
        ("Compared with magnitude", [[FORWARD]], {}, False, "or goes on from other weights or under a mask"),
        ("Compared with magnitude", [SGD, [FORWARD]], {}, True, "magnitude prunes sgd-0, too"),
        (
            "Compared with methods of recent",
            [SLBI],
            {"sweeps": (PLAN, ENTRY)},
            False,
            "entry is the order of the studied",
        ),
        ("Compared with methods of recent", [SLBI], {"sweeps": (ENTRY, L1)}, True, "swept by l1 (2017), with"),
        ("The code is", [SGD], {"environment": {"git_commit": None}}, False, "but no commit"),
        ("Each architecture", [SGD], {}, True, "LeCun et al. 1998"),
        ("Data, batch size", [SGD], {}, True, "mnist, batch size 128, augmentation none"),
        ("Data, batch size", [[Config(data="folder:x")]], {}, False, "folder-x is a folder of image files"),
        ("Library", [SGD], {}, True, "torch 2.15.0 on cpu"),
        ("Library", [SGD], {"environment": {"torch": "2"}}, False, "not recorded by run-0 and run-1"),
        ("Ratios up to", [SGD], {}, True, "until it has lost 10 points or more"),
        ("Ratios up to", [SGD], {"accuracies": (0.9, 0.9, 0.85)}, False, "sgd-0 loses at most 5.0 points"),
        ("Ratios up to", [SGD], {"accuracies": (0.9, 0.75, 0.9)}, True, "10 points or more"),
        ("Ratios up to", [SGD], {"status": "diverged"}, False, "no run is finished"),
        ("The raw accuracy", [SGD], {}, True, "0% among them"),
        (
            "The raw accuracy",
            [SGD],
            {"sweeps": (SweepPlan(layers=("conv3",), ratios=(0.1, 0.5, 0.9)),)},
            False,
            "the sweep by magnitude has no ratio 0",
        ),
        ("Several runs", [SGD, SLBI], {}, True, "2 seeds an arm"),
        ("Several runs", [SGD, SLBI[:1]], {}, False, "one finished seed, or none: slbi-1"),
        (
            "Several runs",
            [[Config(init="a@0a1b2c3d", seed=seed) for seed in (0, 1)]],
            {},
            False,
            "seeds of slbi-0 start from the same weights",
        ),
        ("A mean", [SGD], {}, True, "n = 2 seeds"),
        ("A mean", [SGD[:1]], {}, False, "a single run has no spread: sgd-0"),
        ("Operations", [SGD], {}, True, "multiply-accumulates"),
        ("Operations", [SGD], {"status": "diverged"}, False, "no point has a count"),
        ("Random pruning of all", [SGD], {"sweeps": (PLAN, RANDOM)}, False, "no sweep removes random grains"),
        (
            "Random pruning of all",
            [SGD],
            {"sweeps": (dataclasses.replace(RANDOM, scope="global"),)},
            True,
            "a sweep removes them",
        ),
        ("Random pruning with", [SGD], {}, False, "not beside the sweep by magnitude"),
        ("Random pruning with", [SGD], {"sweeps": (dataclasses.replace(PLAN, controls=True),)}, True, "beside it"),
        ("Random pruning with", [SGD], {"sweeps": (PLAN, RANDOM)}, True, "beside it"),
        (
            "Random pruning with",
            [SGD],
            {"sweeps": (dataclasses.replace(PLAN, scope="global"), RANDOM)},
            False,
            "magnitude, layers together",
        ),
        ("Magnitude pruning, global", [SGD], {}, True, "the same ratio of each layer"),
        ("Magnitude pruning, global", [SGD], {"sweeps": (L1,)}, False, "no sweep is by magnitude"),
        (
            "Magnitude pruning, global",
            [SGD],
            {"sweeps": (dataclasses.replace(PLAN, reverse=True),)},
            False,
            "no sweep is by magnitude",
        ),
        ("Magnitude pruning with", [SGD], {"sweeps": (PLAN, L1)}, True, "or has one by magnitude beside it"),
        ("Magnitude pruning with", [SGD], {"sweeps": (L1,)}, False, "not beside the sweep by l1"),
        (
            "Magnitude pruning with",
            [SGD],
            {"sweeps": (PLAN, dataclasses.replace(L1, layers=("conv2",)))},
            False,
            "not beside the sweep by l1",
        ),
    ],
)
def test_an_item_is_decided_by_what_was_done(study, item, arms, options, done, reason):
    found = verdict(item, study(*arms, **options))
    assert found.done == done
    assert reason in found.reason


def test_a_sweep_counts_for_the_arms_that_it_is_of(study):
    """Magnitude prunes slbi alone, and the other criterion sgd alone."""
    result = study(SLBI, SGD, sweeps=(PLAN, L1))
    assert verdict("Compared with magnitude", result).reason == "magnitude prunes sgd-1, too"
    assert verdict("Magnitude pruning with", result).done
    apart = dataclasses.replace(result.study, swept=(("slbi-0",), ("sgd-1",)))
    result = dataclasses.replace(result, study=apart)
    found = verdict("Compared with magnitude", result)
    assert (found.done, found.reason) == (False, "no sweep by magnitude is of sgd-1")
    assert not verdict("Magnitude pruning with", result).done
    more = dataclasses.replace(result.study, swept=(("slbi-0", "sgd-1"), ("sgd-1",)))
    assert verdict("Magnitude pruning with", dataclasses.replace(result, study=more)).done


def test_what_started_from_runs_of_the_study_is_known_and_has_its_own_weights(study):
    parents = [Config(opt="slbi", data="mnist", seed=seed) for seed in (0, 1)]
    mask = "{}/mask-01234567.safetensors@0a1b2c3d"
    children = [
        Config(opt="sgd", data="mnist", seed=one.seed, init=f"{one.name}@0a1b2c3d", mask=mask.format(one.name))
        for one in parents
    ]
    result = study(parents, children)
    assert verdict("All settings given", result).done
    assert verdict("Several runs", result).done
    foreign = [dataclasses.replace(one, mask=mask.format("other")) for one in children]
    assert not verdict("All settings given", study(parents, foreign)).done


def test_code_that_a_link_leads_to_is_identified(study, monkeypatch):
    told = Message()
    told["Project-URL"] = "Changelog, https://code.example/s/changes"
    monkeypatch.setattr("sparsify.report.checklist.metadata.metadata", lambda name: told)
    assert not verdict("The code is", study(SGD)).done
    told["Project-URL"] = "Repository, https://code.example/s/"
    found = verdict("The code is", study(SGD))
    assert (found.done, found.link) == (True, "https://code.example/s/commit/0123456789abcdef")
    del told["Project-URL"]
    told["Project-URL"] = "Repository, javascript:alert(1)"
    assert not verdict("The code is", study(SGD)).done


def test_different_commits_are_named(study):
    result = study(SGD)
    result.arms[0].runs[1].write_json("environment.json", ENVIRONMENT | {"git_commit": "fedc"})
    assert verdict("The code is", result).reason.startswith("the runs record 2 different commits")


def test_a_network_without_a_citation_is_named(study, monkeypatch):
    monkeypatch.setitem(NETS, "lenet", NetworkSpec(NETS["lenet"].build, "my network"))
    found = verdict("Each architecture", study(SGD))
    assert (found.done, found.reason) == (False, "lenet: my network. A publication is not named for lenet")
    zoo = Config(opt="sgd", data="cifar10", model="torchvision:resnet18")
    assert "torchvision:resnet18: a network of torchvision. A" in verdict("Each architecture", study([zoo])).reason


def test_the_publications_that_are_missing():
    assert [name for name, spec in NETS.items() if spec.publication is None] == []
    assert [name for name, spec in DATASETS.items() if spec.publication is None] == []
    assert [name for name, criterion in CRITERIA.items() if criterion.published is None] == ["random"]


def test_a_criterion_from_before_2010_is_named(study):
    found = verdict("Compared with methods from before", study(SGD, sweeps=(PLAN, OBD)))
    assert (found.done, found.reason) == (True, "swept by obd (1990)")


def test_each_item_is_there_once():
    assert len({item.text for item in ITEMS}) == len(ITEMS) == 17
