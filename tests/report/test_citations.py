"""What `sparsify cite` prints: BibTeX that parses, each publication once, and nothing that was used left out."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sparsify.cli.app import main
from sparsify.config import Config
from sparsify.data.registry import AUGMENTATIONS, DATASETS
from sparsify.nets.registry import NETS
from sparsify.optim.registry import OPTIMIZERS
from sparsify.optim.schedules import SCHEDULES
from sparsify.pruning.criteria import CRITERIA
from sparsify.publications import Publication
from sparsify.report.citations import AUTHORS, TITLE, YEAR, bibtex, used, used_by_study
from sparsify.study.toml import built_in_studies, load_study

ROOT = Path(__file__).parent.parent.parent
REGISTRIES: dict[str, dict[str, Any]] = {
    "optimizer": dict(OPTIMIZERS),
    "schedule": dict(SCHEDULES),
    "criterion": dict(CRITERIA),
    "network": dict(NETS),
    "data set": dict(DATASETS),
    "augmentation": dict(AUGMENTATIONS),
}
PAPERS = [paper for registry in REGISTRIES.values() for spec in registry.values() for paper in spec.papers]


def everything() -> str:
    """What is cited where each entry of each registry was used."""
    configs = [Config(data=data, opt="sgd", model=model) for data, model in zip(DATASETS, NETS, strict=False)]
    configs += [Config(data="digits", opt="sgd", model=model) for model in NETS]
    configs += [Config(data="digits", opt=opt) for opt in OPTIMIZERS if opt != "random-release"]
    configs += [Config(data="digits", opt="sgd", schedule=name) for name in SCHEDULES]
    configs += [Config(data="digits", opt="sgd", augment=name) for name in AUGMENTATIONS]
    return bibtex(used(configs, CRITERIA))


def keys(text: str) -> list[str]:
    return re.findall(r"^@[a-z]+\{([^,]+),$", text, re.MULTILINE)


def test_every_entry_is_cited_once() -> None:
    found = keys(everything())
    assert len(found) == len(set(found))
    assert set(found) == {"sparsify"} | {paper.key for paper in PAPERS}


def test_a_key_stands_for_one_publication() -> None:
    assert len({paper.key for paper in PAPERS}) == len({paper.bibtex for paper in PAPERS})


def test_every_character_belongs_to_an_entry_or_to_a_comment() -> None:
    value = r"\{(?:[^{}]|\{[^{}]*\})*\}"
    entry = rf"@[a-z]+\{{[a-z]+[0-9]{{0,4}}[a-z]*,\n(?:  [a-z]+ = {value},\n)+\}}"
    assert re.fullmatch(rf"(?:(?:% [^\n]+\n)?{entry}\n\n|% [^\n]+\n\n)+", everything() + "\n\n")


def test_signs_of_tex_in_a_title_are_escaped() -> None:
    paper = Publication("misc", "a2024", ("A, B",), "94% & more_of #1", 2024, {"url": "https://a.b/c_d%20e"})
    assert r"title = {{94\% \& more\_of \#1}}," in paper.bibtex
    assert "url = {https://a.b/c_d%20e}," in paper.bibtex


def test_a_parser_of_bibtex_reads_it() -> None:
    parser = pytest.importorskip("bibtexparser", reason="bibtexparser is not installed: pip install '.[test]'")
    if not hasattr(parser, "parse_string"):
        pytest.skip("bibtexparser is older than 2")
    library = parser.parse_string(everything())
    assert library.failed_blocks == []
    entries = {entry.key: entry for entry in library.entries}
    assert set(entries) == {"sparsify"} | {paper.key for paper in PAPERS}
    assert entries["kingma2015adam"]["author"] == "Kingma, Diederik P. and Ba, Jimmy"
    assert entries["kingma2015adam"]["title"] == "{Adam: A Method for Stochastic Optimization}"
    needed = {"article": {"journal"}, "inproceedings": {"booktitle"}, "techreport": {"institution"}}
    for entry in entries.values():
        assert {"author", "title", "year"} | needed.get(entry.entry_type, set()) <= set(entry.fields_dict), entry.key


def test_what_a_docstring_cites_is_what_its_entry_has() -> None:
    assert [paper.short for paper in OPTIMIZERS["linbreg"].papers] == ["Bungert et al. 2022"]
    assert DATASETS["mnist"].publication == "LeCun et al. 1998"
    assert NETS["vgg-a"].publication == "Simonyan & Zisserman 2015"
    assert {name: criterion.published for name, criterion in CRITERIA.items()} == {
        **{"magnitude": 1989, "l1": 2017, "entry": 2020, "entry-norm": 2020, "gamma": 2020, "random": None},
        **{"bn-scale": 2017, "taylor": 2019, "obd": 1990, "fpgm": 2019, "lamp": 2021},
    }
    for spec in AUGMENTATIONS.values():
        assert [f"({paper.short})" in spec.description for paper in spec.papers] == [True] * len(spec.papers)


def test_what_was_not_used_is_not_cited_and_the_order_is_stable() -> None:
    config = Config(data="digits", opt="adam", schedule="cosine")
    text = bibtex(used([config], ["lamp"]))
    assert keys(text) == [
        *("sparsify", "kingma2015adam", "loshchilov2017sgdr", "lee2021layer", "lecun1998gradient"),
        *("alpaydin1998optical", "pedregosa2011scikit"),
    ]
    assert "% without a publication of its own: schedule constant" in text
    assert bibtex(used([config, config], ["lamp", "lamp"])) == text


def test_what_is_recorded_and_pretrained_is_cited() -> None:
    plain = Config(data="digits", opt="sgd", model="vgg-a-bn")
    assert {"simonyan2015very", "ioffe2015batch"} <= set(keys(bibtex(used([plain], []))))
    recorded = bibtex(used([Config(data="digits", opt="sgd", record="loss,landscape")], []))
    assert "santurkar2018how" in keys(recorded)
    assert "record loss" not in recorded
    imagenet = Config(data="digits", opt="sgd", model="alexnet", pretrained=True)
    text = bibtex(used([imagenet], []))
    assert {"russakovsky2015imagenet", "torchvision2016"} <= set(keys(text))
    assert "% weights of alexnet" in text


def test_what_torchvision_and_folders_are_cited_as() -> None:
    text = bibtex(used([Config(data="folder:mine", opt="sgd", model="torchvision:resnet18")], []))
    assert "torchvision2016" in keys(text)
    assert "% torchvision's documentation names the papers of: torchvision:resnet18" in text
    assert "data set folder-mine" in text.splitlines()[-3]


@pytest.mark.parametrize("name", built_in_studies())
def test_a_study_cites_the_optimizers_of_all_its_arms_and_candidates(name: str) -> None:
    study = load_study(name)
    found = {thing.name for thing in used_by_study(study) if thing.kind == "optimizer"}
    assert found == {config.opt for arm in study.arms for config in arm.configs}
    criteria = {thing.name for thing in used_by_study(study) if thing.kind == "criterion"}
    assert criteria >= {plan.criterion for plan in study.sweeps}


def test_a_study_cites_the_criteria_among_which_it_selects(tmp_path: Path) -> None:
    file = tmp_path / "selects.toml"
    file.write_text(
        '[[arms]]\nopt = "sgd"\n[arms.select]\non = "conv3 at 0.6"\ncriterion = ["l1", "fpgm"]\nval = 0.1\n'
        '[[arms]]\nlabel = "masked"\nopt = "adam"\nmask = { of = "sgd", layers = "conv3", ratio = 0.5 }\n'
        '[sweep]\ncriterion = "lamp"\n'
    )
    found = {thing.name for thing in used_by_study(load_study(str(file))) if thing.kind == "criterion"}
    assert found == {"l1", "fpgm", "lamp"}


def test_the_package_is_cited_as_its_citation_file_has_it() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f'title: "{TITLE}"' in text
    assert f'- name: "{AUTHORS}"' in text
    assert f"date-released: {YEAR}-" in text


def test_the_citation_file_has_the_methods_as_the_registries_have_them() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    own = {paper.title: paper for paper in PAPERS}
    titles = re.findall(r'^    title: "(.+)"$', text, re.MULTILINE)
    assert len(titles) > 3
    assert {title for title in titles if title not in own} == {"DepGraph: Towards Any Structural Pruning"}
    for title in set(titles) & set(own):
        families = [author.partition(",")[0] for author in own[title].authors]
        reference = text[text.index(title) :].partition("  - type:")[0]
        assert re.findall(r"family-names: ([^,]+),", reference) == families
        assert f"year: {own[title].year}" in reference


@pytest.fixture
def cite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The output of `sparsify cite` of some arguments, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, code: int = 0) -> str:
        capsys.readouterr()
        assert main(["cite", *arguments]) == code
        answer = capsys.readouterr()
        return answer.err if code else answer.out

    return call


def test_a_run_is_cited_with_the_criteria_of_its_sweeps(cite: Callable[..., str]) -> None:
    text = cite(str(ROOT / "models" / "lenet-mnist-slbi"))
    assert keys(text)[1:4] == ["fu2020dessilbi", "fu2022exploring", "huang2016split"]
    assert "janowsky1989pruning" in keys(text)
    assert "% network lenet, data set mnist\n@article{lecun1998gradient," in text


def test_a_study_that_was_not_run_is_cited_by_its_name_or_its_file(cite: Callable[..., str]) -> None:
    assert "bungert2022bregman" in keys(cite("lenet-control"))
    Path("mine.toml").write_text('seeds = [0]\n[base]\ndata = "digits"\n[[arms]]\nopt = "prox-sgd"\n')
    assert "duchi2009efficient" in keys(cite("mine.toml"))


def test_what_is_no_study_and_no_run_is_refused_with_the_nearest(cite: Callable[..., str]) -> None:
    assert cite("quikc", code=2).startswith("error: unknown study or run 'quikc'; did you mean 'quick'?")


def test_a_networks_name_is_refused_with_a_study_of_it(cite: Callable[..., str]) -> None:
    """alexnet is a study, too, and looks more like it."""
    assert cite("lenet", code=2).startswith("error: unknown study or run 'lenet'; did you mean 'lenet-mnist'?")
