"""What an arm chooses on held-out images, and what others take of it: criteria, settings, a support to be near to."""

from __future__ import annotations

import csv
import io
import statistics
from pathlib import Path

import pytest

from sparsify.errors import SparsifyError
from sparsify.pruning.sweep import Sweep
from sparsify.pruning.tickets import mask_path
from sparsify.report.studytables import accuracy_table, choice_tables, choices_csv
from sparsify.report.table import to_markdown
from sparsify.runs import Run
from sparsify.study import running
from sparsify.study.findings import find
from sparsify.study.folder import read_study, save_study
from sparsify.study.results import StudyResult
from sparsify.study.running import run_study
from sparsify.study.smoke import smoke
from sparsify.study.tasks import Chosen, Trial
from sparsify.study.toml import load_study
from sparsify.training.launch import train

pytestmark = pytest.mark.filterwarnings("ignore:the path may be too short")

STUDY = """
seeds = [0]
draw = []
[base]
data = "digits"
epochs = 1
batch_size = 64
lr = 0.05
[[arms]]
label = "forward"
opt = "sgd"
init = "early"
mask = { of = "early", layers = "conv3,fc1", ratio = 0.6 }
[[arms]]
label = "early"
opt = "slbi"
mu = 0.5
kappa = 0.1
stage = true
[arms.select]
criterion = ["entry", "entry-norm"]
on = "conv3,fc1 at 0.6"
val = 0.2
[[arms]]
opt = "prox-sgd"
[arms.select]
strength = [0, 0.0005, 0.001]
on = "support of slbi in conv3,fc1"
val = 0.2
[[arms]]
opt = "random-release"
release = "slbi"
kappa = 0.1
[[arms]]
opt = "slbi"
kappa = 0.1
[arms.select]
mu = [0.5, 1]
val = 0.2
[[sweeps]]
layers = ["conv3"]
ratios = [0, 0.5]
[[sweeps]]
arms = ["slbi", "prox-sgd"]
criterion = "entry-norm"
layers = ["conv3"]
ratios = [0, 0.5, "support"]
[[contrasts]]
arm = "slbi"
reference = "random-release"
layers = "conv3"
ratio = 0.5
"""


def read(folder: Path, text: str = STUDY):
    (folder / "choices.toml").write_text(text)
    return load_study(str(folder / "choices.toml"))


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    folder = tmp_path_factory.mktemp("choices")
    with pytest.MonkeyPatch.context() as patch:  # one after the other: processes take longer to start
        patch.setattr(running, "train_all", lambda configs, places, **_: [train(one, places) for one in configs])
        return run_study(read(folder), runs_dir=folder / "runs", device="cpu")


def arms(result):
    return {arm.label: arm for arm in result.arms}


def run_of(result, name):
    return Run(result.folder.parent.parent / name)


def test_a_mask_goes_by_the_criterion_that_is_best_on_held_out_images(result):
    chosen = result.choices["early"]
    assert [trial.label for trial in chosen.trials] == ["criterion entry", "criterion entry-norm"]
    ((entry,), (norm,)) = (trial.runs for trial in chosen.trials)
    assert entry == norm  # one training, swept by both
    run = run_of(result, entry)
    swept = {sweep.plan.criterion: sweep for sweep in map(Sweep.read, run.path.glob("sweep-????????.csv"))}
    measured = [swept[name].accuracy("conv3,fc1", 0.6) for name in ("entry", "entry-norm")]
    assert [trial.accuracies for trial in chosen.trials] == [(measured[0],), (measured[1],)]
    best = "entry-norm" if measured[1] > measured[0] else "entry"
    assert chosen.chosen == f"criterion {best}"
    assert result.study.arms[0].mask.point.criterion == best
    (forward,) = arms(result)["forward"].runs
    mask = mask_path(run_of(result, forward.config.init.partition("@")[0]), result.study.arms[0].mask.point, Path())
    assert forward.config.mask.partition("@")[0].endswith(f"/{mask.name}")


def test_what_a_stage_chooses_is_shown_and_kept(result):
    save_study(result, find(result))
    again = read_study(result.folder)
    assert again == result
    assert list(again.choices) == ["early", "prox-sgd", "slbi"]
    text = "\n".join(map(to_markdown, choice_tables(again)))
    assert "early, selected by accuracy with conv3,fc1 pruned by 60% on a held-out 20%" in text


def test_a_control_takes_the_settings_that_the_arm_it_follows_chooses(result):
    (random,), (slbi,) = (arms(result)[label].runs for label in ("random-release", "slbi"))
    assert f"mu {slbi.config.mu:g}" == result.choices["slbi"].chosen
    assert random.config.mu == slbi.config.mu
    assert random.config.release.startswith(f"{slbi.name}@")


def test_the_candidate_is_taken_whose_support_is_nearest_to_that_of_the_other_arm_s_trial(result):
    chosen, other = result.choices["prox-sgd"], result.choices["slbi"]
    target = next(trial for trial in other.trials if trial.label == other.chosen)

    def shares(name):
        support = run_of(result, name).summary["support"]
        return [support[f"{layer}.weight"]["in"] / support[f"{layer}.weight"]["of"] for layer in ("conv3", "fc1")]

    theirs = shares(target.runs[0])
    away = [statistics.mean(abs(a - b) for a, b in zip(shares(t.runs[0]), theirs, strict=True)) for t in chosen.trials]
    assert [trial.distances for trial in chosen.trials] == [(pytest.approx(one),) for one in away]
    assert chosen.chosen == chosen.trials[away.index(min(away))].label
    (table,) = (table for table in choice_tables(result) if table.title.startswith("the settings of prox-sgd"))
    assert "how near its support in conv3,fc1 is to that of 'slbi', trained without a held-out 20%" in table.title
    assert "support differs by (points)" in to_markdown(table)
    kept = list(csv.DictReader(io.StringIO(choices_csv(result))))
    assert [float(row["distance"]) for row in kept if row["arm"] == "prox-sgd"] == pytest.approx(away)
    assert {row["distance"] for row in kept if row["arm"] == "slbi"} == {""}


def test_supports_decide_against_accuracies():
    trials = (Trial("a", ("r",), (0.9,), "", (0.2,)), Trial("b", ("s",), (0.5,), "", (0.1,)), Trial("c", ("t",), ()))
    assert Chosen("", 0.1, (0,), trials).chosen == "b"


def test_a_sweep_is_of_the_arms_that_it_names(result):
    assert [len(sweeps) for arm in result.arms for sweeps in arm.sweeps] == [1, 0, 1, 1, 1, 0, 1, 1]
    assert [row[0] for row in accuracy_table(result, "conv3", 1).rows()] == ["prox-sgd", "slbi"]
    assert set(result.table().query("sweep == 1").arm) == {"prox-sgd", "slbi"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("support of slbi in", "support of sgd in", "unknown arm 'sgd' in prox-sgd"),
        ("support of slbi in", "support of forward in", "'forward', which has no trials: give it an \\[arms.select\\]"),
        ("mu = [0.5, 1]\nval = 0.2", "mu = [0.5, 1]\nval = 0.1", "hold other images out; give both the same seeds"),
        ('release = "slbi"', 'release = "slbi"\nmu = 7', "mu of 'random-release' is 7(.0)?, but 'slbi' chooses it"),
        (
            'opt = "slbi"\nkappa = 0.1\n[arms.select]\nmu = [0.5, 1]',
            'label = "slbi"\n[arms.select]\nopt = ["slbi", "slbi-adam"]',
            "'random-release' follows 'slbi', which chooses its optimizer",
        ),
        ('arms = ["slbi", "prox-sgd"]', 'arms = ["slbi", "forward"]', "'forward' is trained with sgd"),
        ('arms = ["slbi", "prox-sgd"]', 'arms = ["slbi", "early"]', "'early', which is a stage"),
        ('arms = ["slbi", "prox-sgd"]', 'arms = ["slbi", "nobody"]', "unknown arm 'nobody' in the arms of sweep 2"),
        ('on = "conv3,fc1 at 0.6"\n', "", "criterion is in select, and nothing is pruned; write on"),
        ('"entry-norm"]', '"entry-nrm"]', "unknown criterion 'entry-nrm'; did you mean 'entry-norm'"),
        ('opt = "slbi"\nmu = 0.5', 'opt = "sgd"', "the selection of 'early' is by entry, which needs a path"),
        ('layers = "conv3"\nratio = 0.5', 'layers = "conv3"\nratio = 0.5\nsweep = 2', "unknown arm 'random-release'"),
    ],
)
def test_what_cannot_be_chosen_is_refused(old, new, message, tmp_path):
    assert old in STUDY
    text = STUDY.replace(old, new).replace('opt = "sgd"\nkappa = 0.1', 'opt = "sgd"')
    with pytest.raises(SparsifyError, match=message):
        read(tmp_path, text)


def test_an_arm_comes_near_to_no_arm_that_comes_near_to_it(tmp_path):
    text = STUDY.replace("mu = [0.5, 1]", 'mu = [0.5, 1]\non = "support of prox-sgd in conv3"')
    with pytest.raises(SparsifyError, match="in a circle"):
        read(tmp_path, text)


def test_a_smoke_study_chooses_between_the_same_criteria(tmp_path):
    early = next(arm for arm in smoke(read(tmp_path)).arms if arm.label == "early")
    assert [candidate.criterion for candidate in early.choice.candidates] == ["entry", "entry-norm"]


def test_only_contrasts_are_said_to_be_left_out_by_a_setting(tmp_path):
    (tmp_path / "choices.toml").write_text(STUDY.replace("ratio = 0.5\n", "ratio = 0.4\n"))
    for settings, hint in (([], False), (["lr=0.1"], True), (["lr=0.1", "opt=adam"], False)):
        with pytest.raises(SparsifyError) as error:
            load_study(str(tmp_path / "choices.toml"), settings)
        assert str(error.value).endswith("--set contrasts=[] leaves the planned contrasts out") == hint
