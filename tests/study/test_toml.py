"""Studies as TOML files: grids, arms that start from other arms, selection on held-out images, settings."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsify.config import Config
from sparsify.errors import SparsifyError
from sparsify.pruning.plan import PointPlan, SweepPlan
from sparsify.study.design import USUAL, Arm, MaskOf, Planned, Published, Study
from sparsify.study.grids import arm_label, combinations
from sparsify.study.toml import load_study

CHAIN = """
[[arms]]
label = "first"
opt = "slbi"
epochs = 5
stage = true
[[arms]]
label = "second"
opt = "sgd"
init = "first"
[arms.mask]
of = "first"
layers = "conv3,fc1"
ratio = 0.6
criterion = "entry"
"""


@pytest.fixture
def load(tmp_path: Path):
    def read(text: str, *settings: str) -> Study:
        (tmp_path / "mine.toml").write_text(text)
        return load_study(str(tmp_path / "mine.toml"), settings)

    return read


def labels(study: Study) -> list[str]:
    return [arm.label for arm in study.arms]


def test_a_grid_is_the_product_labelled_by_what_differs(load):
    study = load('seeds = [0, 3]\n[base]\nepochs = 2\n[grid]\nopt = ["sgd", "slbi"]\nlr = [0.05, 0.1]\nval = [0.2]')
    assert labels(study) == ["sgd, lr 0.05", "sgd, lr 0.1", "slbi, lr 0.05", "slbi, lr 0.1"]
    assert study.arms[2].configs == tuple(Config(opt="slbi", epochs=2, lr=0.05, val=0.2, seed=seed) for seed in (0, 3))


def test_an_arm_has_a_grid_of_its_own_and_stands_beside_the_others(load):
    own = '[[arms]]\nopt = "sgd"\n[arms.grid]\nweight_decay = [0, 5e-4]\n[[arms]]\nlabel = "it"\n'
    study = load('[grid]\nmodel = ["lenet", "resnet20"]\n' + own + '[arms.grid]\nopt = ["sgd", "slbi"]')
    grids = ["slbi, lenet", "slbi, resnet20", "sgd, weight decay 0", "sgd, weight decay 0.0005", "it, sgd", "it, slbi"]
    assert labels(study) == grids
    assert [arm.configs[0].weight_decay for arm in study.arms[2:4]] == [0, 0.0005]


@given(
    st.dictionaries(
        st.sampled_from(["lr", "mu", "batch_size", "epochs"]), st.sets(st.integers(1, 99), min_size=1, max_size=10)
    )
)
def test_every_combination_is_there_once_and_has_a_label_of_its_own(sets):
    grid = {key: sorted(values) for key, values in sets.items()}
    found = combinations(grid)
    assert len(found) == math.prod(len(values) for values in grid.values())
    assert len({arm_label("arm", {}, point, grid) for point in found}) == len(found)
    assert all(point[key] in grid[key] for point in found for key in grid)


def test_arms_start_from_other_arms(load):
    study = load("seeds = [0, 1]\n" + CHAIN)
    first, second = study.arms
    assert (first.stage, first.parents, second.stage, second.parents) == (True, (), False, ("first",))
    assert second.init == "first"
    assert second.mask == MaskOf("first", PointPlan(layers="conv3,fc1", ratio=0.6, criterion="entry"))


def test_an_init_that_is_no_arm_is_a_run(load):
    (arm,) = load('[[arms]]\nopt = "sgd"\ninit = "lenet-mnist-sgd"').arms
    assert (arm.init, arm.configs[0].init) == (None, "lenet-mnist-sgd")


def test_candidates_are_trained_with_images_held_out_and_the_arm_without(load):
    select = "[arms.select]\nweight_decay = [0, 0.01]\nlr = [0.1]\non = 'conv3,fc1 at 0.6'\nval = 0.2\nseeds = [7]"
    (arm,) = load(f'seeds = [0, 1]\n[[arms]]\nopt = "sgd"\n{select}').arms
    low, high = arm.choice.candidates
    assert (low.label, high.label) == ("weight decay 0, lr 0.1", "weight decay 0.01, lr 0.1")
    assert high.trials == (Config(opt="sgd", weight_decay=0.01, lr=0.1, val=0.2, seed=7),)
    assert high.configs == tuple(Config(opt="sgd", weight_decay=0.01, lr=0.1, seed=seed) for seed in (0, 1))
    assert arm.configs == low.configs
    assert arm.choice.on == SweepPlan(layers=("conv3,fc1",), ratios=(0.6,))
    assert arm.choice.figure == "accuracy with conv3,fc1 pruned by 60%"
    (arm,) = load('seeds = [0, 1]\n[[arms]]\nopt = "sgd"\n[arms.select]\nlr = [0.1, 0.2]').arms
    assert (arm.choice.on, arm.choice.figure) == (None, "accuracy")
    assert [config.seed for config in arm.choice.candidates[0].trials] == [0, 1]
    assert arm.choice.candidates[0].trials[0].val == 0.1


def test_the_order_of_a_grid_is_that_of_its_file_and_numbers_are_labelled_as_they_are_written(load):
    text = '[[arms]]\nopt = "slbi"\n[arms.grid]\nmu = [1000000, 2.0]\nlr = [1, 0.5]'
    assert labels(load(text)) == [
        *("slbi, mu 1000000, lr 1", "slbi, mu 1000000, lr 0.5"),
        *("slbi, mu 2, lr 1", "slbi, mu 2, lr 0.5"),
    ]


def test_a_mask_that_is_set_is_that_of_every_arm(load):
    with pytest.raises(SparsifyError, match="arms start from each other in a circle: sgd → sgd"):
        load(ARM, "mask={of = 'sgd', layers = 'conv3', ratio = 0.5}")
    with pytest.raises(SparsifyError, match="layers is 3 in mask; it must be a text"):
        load(ARM, "mask={of = 'sgd', layers = 3, ratio = 0.5}")


def test_two_studies_have_two_folders(tmp_path: Path):
    folders = [load_study("quick", [f"data=folder:{tmp_path}/{place}/photos"]) for place in "ab"]
    assert len({study.name for study in folders}) == 2
    assert all(study.name.startswith("quick-data-folder-photos-") for study in folders)
    assert folders[0].title == folders[1].title
    (tmp_path / "quick.toml").write_text("[[arms]]")
    assert load_study(str(tmp_path / "quick.toml")).name == "quick-toml"


def test_names_that_differ_in_letters_that_folders_lose_are_names_of_two_folders(tmp_path: Path) -> None:
    text = '[[arms]]\nlabel = "one"\nopt = "sgd"\n[sweep]\nlayers = ["conv3"]\nratios = [0, 0.5]\n'
    names = ["größe", "gräße", "研究一", "研究二", "größe"]
    for name in names:
        (tmp_path / f"{name}.toml").write_text(text, encoding="utf-8")
    found = [load_study(str(tmp_path / f"{name}.toml")).name for name in names]
    assert len(set(found)) == 4
    assert found[0] == found[4]
    assert all(name.isascii() for name in found)


def test_a_byte_order_mark_is_no_part_of_a_study_and_other_encodings_are_named(tmp_path: Path) -> None:
    text = 'title = "größe"\n[[arms]]\nlabel = "one"\nopt = "sgd"\n[sweep]\nlayers = ["conv3"]\nratios = [0, 0.5]\n'
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8-sig")
    assert load_study(str(path)).title == "größe"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(SparsifyError, match=r"mine\.toml is no UTF-8 text \(byte 11\); save it as UTF-8"):
        load_study(str(path))


def test_what_is_set_is_no_longer_in_a_grid_or_selected(load):
    text = '[grid]\nopt = ["sgd", "slbi"]\nlr = [0.05, 0.1]\n[[arms]]\nlabel = "chosen"\n[arms.select]\nlr = [0.1, 0.2]'
    study = load(text, "lr=0.3")
    assert labels(study) == ["sgd", "slbi", "chosen"]
    assert all(arm.configs[0].lr == 0.3 and arm.choice is None for arm in study.arms)
    assert [len(arm.configs) for arm in load(text, "seeds=[4, 5, 6]").arms] == [3] * 5


def test_a_setting_changes_every_sweep(load):
    text = '[[arms]]\nopt = "sgd"\n[[sweeps]]\nlayers = "conv3"\n[[sweeps]]\ncriterion = "l1"\n'
    study = load(text, "sweep.controls=true", "sweep.ratios=0,0.5")
    assert [(plan.controls, plan.ratios, plan.criterion) for plan in study.sweeps] == [
        (True, (0.0, 0.5), "magnitude"),
        (True, (0.0, 0.5), "l1"),
    ]
    assert study.name == "mine-sweep.controls-true-sweep.ratios-0-0.5"
    assert study.title == "mine (sweep.controls True, sweep.ratios 0,0.5)"


def test_what_is_drawn_is_the_usual_or_what_is_named(load):
    usual = ("curves", "losses", "landscape", "sweep", "filters", "path")  # of every study of before
    assert load('[[arms]]\nopt = "sgd"').draw == usual == USUAL
    assert load('draw = "predictions"\n[[arms]]\nopt = "sgd"').draw == ("predictions",)
    assert load('draw = ["path"]\n[[arms]]\nopt = "sgd"').draw == ("path",)
    assert load('draw = []\n[[arms]]\nopt = "sgd"').draw == ()


ARM = '[[arms]]\nopt = "sgd"\n'
TWO = """
[[arms]]
label = "a"
opt = "sgd"
[[arms]]
label = "b"
opt = "slbi"
[[arms]]
label = "step"
stage = true
[sweep]
layers = ["conv3", "conv3,fc1"]
ratios = [0, 0.6]
"""
MASK = ARM + '[[arms]]\nlabel = "m"\nopt = "sgd"\n[arms.mask]\n'


def contrast(**changed: object) -> str:
    """One of [[contrasts]], of which some keys are other ones."""
    keys = {"arm": "'b'", "reference": "'a'", "layers": "'conv3'", "ratio": 0.6} | changed
    return "\n".join(["[[contrasts]]", *(f"{key} = {value}" for key, value in keys.items())]) + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[grid]\nopt = ["sgd", "slbi"]\nmu = [3]',
            "--mu 3 has no effect with --opt sgd; it is an option of: sgd-pull, slbi, slbi-adam, adam-pull, "
            "random-release; give the optimizers "
            r"that take it an \[\[arms\]\] with an \[arms.grid\] of their own",
        ),
        ('[base]\nmask_from = 3\n[grid]\nopt = ["sgd", "slbi"]', "--mask-from 3 has no effect without --mask$"),
        ("grid = 3", "grid is 3; it must be a table of lists"),
        ("[grid]\nlrr = [1]", "unknown setting 'lrr' in grid; did you mean 'lr'"),
        ("[grid]\nlr = []", "lr is empty in grid"),
        ("[grid]\nlr = [0.1, 0.1]", "lr names 0.1 twice in grid"),
        ("[grid]\nseed = [0, 1]", r"seed is in grid; the seeds of all arms are the study's: seeds = \[0, 1, 2\]"),
        ("[base]\nseed = 3\n" + ARM, r"the seeds are the study's; write seeds = \[0\], and no seed"),
        ("seeds = [0, 0]\n" + ARM, "seeds names 0 twice"),
        (ARM + "lr = 1\n[arms.grid]\nlr = [1, 2]", "lr is set more than once in an arm"),
        (ARM + "[arms.grid]\nlr = [1]\n[arms.select]\nlr = [1, 2]", "lr is set more than once in an arm"),
        (ARM + "published = 3", "published is 3 in arm 1; it must be a table"),
        (ARM + 'published = { "test accuracy" = 64.8, source = "x" }', "test accuracy is 64.8 in published of arm 1; "),
        (ARM + 'published = { "test accuracy" = 0.6 }', "published of arm 1 has no source"),
        (
            ARM + 'published = { "test accuracy" = 0.6, source = "x" }\n[arms.grid]\nlr = [1, 2]',
            "published is of one arm, and its grid has 2; give each an ",
        ),
        (ARM + "stage = 1", "stage is 1 in arm 1; it must be true or false"),
        (ARM + "stage = true", "every arm is a stage"),
        (ARM + "select = 3", "select is 3 in arm 1; it must be a table, as in "),
        (ARM + "[arms.select]\nmodel = ['lenet', 'resnet20']", "model is in select of arm 1; candidates share network"),
        (
            ARM + "[arms.select]\ndata = ['mnist', 'digits']",
            "data is in select of arm 1; candidates share network and data",
        ),
        (ARM + "[arms.select]\nval = 0.1", "select has no settings to choose from"),
        (ARM + "[arms.select]\nlr = [1, 2]\nval = 0", "val is 0 in select"),
        (ARM + "[arms.select]\nlr = [1, 2]\nval = 1", "--val is 1; it must be a fraction"),
        (
            ARM + "[arms.select]\nlr = [1, 2]\nseeds = 3",
            "seeds is 3 in select of arm 1; it must be a list of whole numbers",
        ),
        (
            ARM + "[arms.select]\nlr = [1, 2]\non = 'loss'",
            "on is 'loss'; write accuracy, or layers and a ratio, as in ",
        ),
        (ARM + "[arms.select]\nlr = [1, 2]\non = 'fc1 at 2'", "ratio 2 is outside 0 to 1"),
        (ARM + "[arms.select]\nlr = [1, 2]\non = 'fc1 at 0,1'", "ratio is '0,1'; it must be one number"),
        (ARM + "[arms.select]\nmu = [1, 2]", "--mu 1 has no effect with --opt sgd"),
        (MASK, "mask of arm 2 has no of; write one, as in of = 'slbi'"),
        (MASK + "of = 'sgd'\nlayers = 'conv3'", "mask of arm 2 has no ratio"),
        (MASK + "of = 'sgd'\nlayers = 3\nratio = 0.5", "layers is 3 in mask of arm 2; it must be a text"),
        (MASK + "of = 'sgd'\nlayers = 'conv3'\nratio = 2", "ratio 2.0 is outside 0 to 1"),
        (
            MASK + "of = 'sgd'\nlayers = 'conv3'\nratio = 0.5\nkind = 1",
            "unknown key 'kind' in mask of arm 2; choose from: of, layers, ratio, ",
        ),
        (MASK + "of = 'sgd'\nlayers = 'conv3'\nratio = 0.5\ncriterion = 'norm'", "unknown criterion 'norm'"),
        (MASK + "of = 'sdg'\nlayers = 'conv3'\nratio = 0.5", "unknown arm 'sdg' in m; did you mean 'sgd'"),
        (
            MASK + "of = 'sgd'\nlayers = 'conv3'\nratio = 0.5\ncriterion = 'entry'",
            "the mask of 'm' is by entry, which needs a path, and the arm 'sgd' is trained with sgd; it takes one of: ",
        ),
        (
            ARM + "[sweep]\ncriterion = 'gamma'",
            "a sweep is by gamma, which needs a path with a Γ, and the arm 'sgd' is",
        ),
        (
            '[[arms]]\nopt = "linbreg"\n[sweep]\ncriterion = "gamma"',
            "a sweep is by gamma, which needs a path with a Γ, and the arm 'linbreg' is trained with linbreg; it takes "
            "one of: slbi, slbi-adam",
        ),
        (ARM + "[sweep]\nrounds = 0", "--rounds is 0; it must be"),
        (ARM + "[sweep]\nfinetune_epochs = -1", "--finetune is -1; it must be"),
        (
            ARM + '[sweep]\nrounds = 2\ncontrols = true\nscope = "global"',
            "--controls with --rounds 2 and --scope global",
        ),
        (
            '[[arms]]\nlabel = "a"\ninit = "b"\n[[arms]]\nlabel = "b"\ninit = "a"',
            "arms start from each other in a circle: a → b → a",
        ),
        ('[[arms]]\nlabel = "a"\ninit = "a"', "arms start from each other in a circle: a → a"),
        (
            ARM + '[[arms]]\nlabel = "b"\nopt = "sgd"\ninit = "sgd"\n[arms.select]\nlr = [1, 2]',
            "'b' starts from another arm and selects: the weights that it starts from have been trained on the images",
        ),
        (
            ARM + "[arms.select]\nlr = [1, 2]\nseeds = []",
            "seeds of select is \\[\\]; it must be a list of whole numbers",
        ),
        ("seeds = [0, 'a']\n" + ARM, r"seeds\[1\] is 'a'; it must be a whole number"),
        ("title = 3\n" + ARM, "title is 3; it must be a text"),
        ("arms = 3", r"arms is 3; it must be tables, as in \[\[arms\]\]"),
        ("arms = [3]", r"arms\[0\] is 3; it must be tables, as in \[\[arms\]\]"),
        ("base = 3\n" + ARM, r"base is 3; it must be a table, as in \[base\]"),
        (ARM + "lable = 'a'", "unknown setting 'lable' in arm 1; did you mean 'label'"),
        (ARM + "epochs = 1.5", "epochs is 1.5 in arm 1; it must be a whole number"),
        (ARM + "[arms.grid]\nlr = ['high']", r"lr\[0\] is 'high' in grid of arm 1; it must be a number"),
        (ARM + "[arms.grid]\nseed = [1]", "seed is in grid of arm 1; the seeds of all arms are the study's"),
        (ARM + "[[sweeps]]\n[[sweeps]]\nreversed = true", "unknown key 'reversed' in sweep 2; did you mean 'reverse'"),
        ("sweeps = []\n" + ARM, "sweeps is empty; it must be tables, as in "),
        (ARM + "[sweep]\nratios = ['0.5']", r"ratios\[0\] is '0.5' in sweep; it must be a number"),
        ("draw = ['curve']\n" + ARM, "unknown drawing 'curve'; did you mean 'curves'"),
        ("contrasts = 3\n" + ARM, r"contrasts is 3; it must be tables, as in \[\[contrasts\]\]"),
        ("contrasts = [3]\n" + ARM, r"contrasts\[0\] is 3; it must be tables, as in \[\[contrasts\]\]"),
        (TWO + "[[contrasts]]\narm = 'a'", "contrast 1 has no reference"),
        (TWO + contrast(rato=0.6), "unknown key 'rato' in contrast 1; did you mean 'ratio'"),
        (TWO + contrast(primary=1), "primary is 1 in contrast 1; it must be true or false"),
        (TWO + contrast(layers=3), "layers is 3 in contrast 1; it must be a text"),
        (TWO + contrast() + contrast(arm="'c'"), "unknown arm 'c' in contrast 2; choose from: a, b$"),
        (TWO + contrast(reference="'bb'"), "unknown arm 'bb' in contrast 1; did you mean 'b'?"),
        (TWO + contrast(arm="'step'"), "contrast 1 names the stage 'step', which is not swept; take a, b$"),
        (TWO + contrast(reference="'b'"), "contrast 1 compares 'b' with itself; take another reference"),
        (TWO + contrast(layers="'conv2'"), "unknown layers 'conv2' in contrast 1; did you mean 'conv3'?"),
        (TWO + contrast(ratio=0.65), r"unknown ratio '0.65' in contrast 1; did you mean '0.6'\? choose from: 0, 0.6$"),
        (TWO + contrast(ratio=2), r"ratio 2\.0 is outside 0 to 1"),
        (TWO + contrast(ratio="'0,0.6'"), "ratio is '0,0.6'; it must be one number"),
        (TWO + contrast(compared="'changes'"), "unknown comparison 'changes' in contrast 1; did you mean 'change'?"),
        (TWO + contrast(ratio=0), "contrast 1 is of a change from ratio 0, and 0 has none; take compared = 'accuracy'"),
        (
            TWO.replace("[0, 0.6]", "[0.6]") + contrast(),
            "contrast 1 is of a change from ratio 0, and the sweep has no ratio 0; take compared = 'accuracy'",
        ),
        (TWO + contrast(ratio="'support'"), "unknown ratio 'support' in contrast 1; choose from: 0, 0.6"),
        (TWO + contrast(sweep=2), "contrast 1 is of sweep 2; there are 1, from 1 on"),
        (TWO + contrast(sweep=0), "contrast 1 is of sweep 0; there are 1, from 1 on"),
        (TWO + contrast() + contrast(primary="false"), "two contrasts are the same but for primary or the way round;"),
        (
            TWO + contrast() + contrast(arm="'a'", reference="'b'"),
            "two contrasts are the same but for primary or the way round; leave one out",
        ),
        (TWO + contrast() * 1001, "1,001 contrasts are too many; at most 1,000"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(text, message, load):
    with pytest.raises(SparsifyError, match=message) as caught:
        load(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600  # it can list every setting


def test_contrasts_are_planned(load):
    study = load(
        TWO + contrast() + contrast(compared="'accuracy'", primary="false", layers="'conv3,fc1'", ratio="'0.6'")
    )
    assert study.contrasts == (
        Planned("b", "a", "conv3", 0.6, "change", primary=True),
        Planned("b", "a", "conv3,fc1", 0.6, "accuracy", primary=False),
    )
    assert load(TWO).contrasts == ()
    assert load(TWO + contrast().replace("[[contrasts]]", "[contrasts]")).contrasts == study.contrasts[:1]


def test_a_contrast_is_of_the_sweep_that_is_named_or_the_first_that_has_it(load):
    sweeps = (
        "[[sweeps]]\nlayers = 'conv3'\nratios = [0, 0.5]\n" + 2 * "[[sweeps]]\nlayers = 'conv3'\nratios = [0, 0.6]\n"
    )
    study = load(TWO.partition("[sweep]")[0] + sweeps + contrast() + contrast(sweep=3) + contrast(ratio=0.5))
    assert [one.sweep for one in study.contrasts] == [1, 2, 0]


def test_a_contrast_can_be_of_what_a_sweep_measures_besides(load):
    anew = contrast(measure="'recalibrated_accuracy'")
    (planned,) = load(TWO + "recalibrate_bn = true\n" + anew).contrasts
    assert planned.measure == "recalibrated_accuracy"
    unknown = r"unknown measure 'recalibrated_accuracy' in sweep 1 of contrast 1; .*; recalibrate_bn and"
    with pytest.raises(SparsifyError, match=unknown):
        load(TWO + anew)


def test_a_contrast_can_be_of_the_supports(load):
    sweeps = (
        "[[sweeps]]\nlayers = 'conv3'\nratios = [0, 0.6]\n"
        "[[sweeps]]\nlayers = 'conv3'\nratios = [0, 'support']\narms = ['slbi', 'linbreg']\n"
    )
    arms = "".join(f"[[arms]]\nlabel = '{opt}'\nopt = '{opt}'\n" for opt in ("slbi", "linbreg", "sgd"))
    planned = contrast(arm="'slbi'", reference="'linbreg'", ratio="'support'")
    study = load(arms + sweeps + planned)
    assert study.contrasts == (Planned("slbi", "linbreg", "conv3", "support", "change", primary=True, sweep=1),)
    with pytest.raises(SparsifyError, match="unknown arm 'sgd' in sweep 2 of contrast 1"):
        load(arms + sweeps + planned.replace("'linbreg'", "'sgd'"))


def test_settings_that_leave_a_contrast_without_its_ratio_say_how_to_go_on(load):
    text = TWO + contrast()
    with pytest.raises(SparsifyError, match=r"unknown ratio '0.6' in contrast 1; .*; --set contrasts=\[\] leaves"):
        load(text, "sweep.ratios=0,0.5")
    study = load(text, "sweep.ratios=0,0.5", "contrasts=[]")
    assert (study.contrasts, study.name) == ((), "mine-sweep.ratios-0-0.5-contrasts")
    assert load(text, "epochs=3").contrasts == load(text).contrasts


def test_the_studies_of_controls_name_what_they_are_about():
    def planned(reference, primary):
        return tuple(Planned("slbi", reference, "conv3,fc1", ratio, "change", primary) for ratio in (0.6, 0.7))

    own, best = planned("sgd-pull", primary=True), planned("sgd-pull, best mu", primary=False)
    assert load_study("vgg-light-control").contrasts == (*own, *best)
    assert load_study("lenet-control").contrasts == (*own, *planned("random-release", primary=False), *best)


def test_what_was_published_stands_with_its_arm(load):
    (arm,) = load(ARM + 'published = { "test accuracy" = 0.65, source = "a report" }').arms
    assert arm.published == Published(0.65, "a report")


def test_a_sweep_that_needs_a_path_leaves_stages_aside(load):
    (plan,) = load(CHAIN.replace('"sgd"', '"slbi"') + '[sweep]\ncriterion = "entry"').sweeps
    assert plan.criterion == "entry"


def test_a_sweep_of_the_support_needs_a_path_in_every_arm(load):
    (plan,) = load(CHAIN.replace('"sgd"', '"slbi"') + '[sweep]\nratios = "0,0.5,support"').sweeps
    assert (plan.ratios, plan.support) == ((0.0, 0.5), True)
    with pytest.raises(SparsifyError, match="a ratio of a sweep is support, which needs a path, and the arm 'sgd' is"):
        load(ARM + '[sweep]\nratios = "0,support"')
    with pytest.raises(SparsifyError, match="unknown key 'support' in sweep"):
        load(ARM + "[sweep]\nsupport = true")


def test_a_sweep_knows_how_many_networks_it_measures():
    plan = SweepPlan(layers=("conv3", "fc1"), ratios=(0.0, 0.5, 1.0))
    assert [(point.layers, point.ratio) for point in plan.points] == [
        (layers, ratio) for layers in ("conv3", "fc1") for ratio in (0.0, 0.5, 1.0)
    ]
    assert plan.networks == 6
    assert SweepPlan(layers=("fc1",), ratios=(0.5,), controls=True).networks == 1 + 5 + 1
    assert SweepPlan(layers=("fc1",), ratios=(0.5,), criterion="random", draws=3).networks == 3


def test_a_study_of_arms_made_by_hand_is_checked_too():
    with pytest.raises(SparsifyError, match="unknown arm 'gone' in one"):
        Study("s", "S", (Arm("one", (Config(),), init="gone"),), ())


def test_the_order_of_the_arms_does_not_matter(load):
    parts = CHAIN.strip().split("[[arms]]")[1:]
    backwards = load("".join(f"[[arms]]\n{part.strip()}\n" for part in reversed(parts)))
    assert set(backwards.arms) == set(load(CHAIN).arms)
    assert labels(backwards) == ["second", "first"]
