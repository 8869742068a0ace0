"""The answers of a study in one file: p over images from that file alone, its size, and what is damaged."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from handmade import arm, falling, seeds, study, sweep
from scipy import stats

from sparsify.analysis.comparison import signs_flipped
from sparsify.errors import SparsifyError
from sparsify.files import frame_as_csv, parse_rows
from sparsify.study.answers import Answers
from sparsify.study.contrasts import Contrast, contrasts
from sparsify.study.design import Planned
from sparsify.study.findings import frame

OTHERS = {
    seed: sweep({0.0: [*range(5), *range(900, 910)], 0.6: [*range(20), *range(500, 530 + seed)]}) for seed in (0, 1)
}


def read_again(result, tmp_path):
    (tmp_path / "outcomes.npz").write_bytes(Answers.of(result).as_bytes())
    return Answers.read(tmp_path / "outcomes.npz")


@pytest.mark.parametrize("count", [1, 2])
def test_p_over_images_is_that_of_the_table(count, tmp_path):
    other = dict(list(OTHERS.items())[:count])
    result = study(arm("sgd-pull", falling((10, 30), (8, 42))), arm("slbi", other), arm("sgd", falling((9, 33))))
    answers = read_again(result, tmp_path)
    found = contrasts(result)
    assert {(one.arm, one.compared) for one in found} == {
        (a, c) for a in ("slbi", "sgd") for c in ("change", "accuracy")
    }
    assert len({one.p_images for one in found}) == len(found)  # else one could stand for another
    for one in found:
        assert answers.p_images(one) == one.p_images


def test_p_over_images_of_supports_is_that_of_the_table(tmp_path):
    def alone(label, *wrong):
        sweeps = {
            seed: sweep({0.0: [*range(10)], 0.8: [*range(50)]}, support=(0.8, answers))
            for seed, answers in enumerate(wrong)
        }
        return arm(label, sweeps)

    arms = alone("linbreg", [*range(60)], [*range(70)]), alone("slbi", [*range(20, 40)], [*range(30)])
    result = study(*arms, ratios=[0.0, 0.8], support=True)
    planned = tuple(Planned("slbi", "linbreg", "conv3", "support", compared) for compared in ("accuracy", "change"))
    result = dataclasses.replace(result, study=dataclasses.replace(result.study, contrasts=planned))
    answers = read_again(result, tmp_path)
    assert answers.points.support.tolist() == [False, False, True] * 4
    found = contrasts(result)
    at_support = [one for one in found if one.ratio == "support"]
    assert [one.compared for one in at_support] == ["accuracy", "change"]
    assert all(answers.p_images(one) == one.p_images for one in found)
    assert at_support[0].p_images == signs_flipped(
        np.isin(np.arange(1000), range(60)).astype(int)
        + np.isin(np.arange(1000), range(70))
        - np.isin(np.arange(1000), range(20, 40))
        - np.isin(np.arange(1000), range(30))
    )
    rows = parse_rows(frame_as_csv(frame(found, Contrast)).encode(), Contrast)
    assert [one.ratio for one in rows] == [one.ratio for one in found]


def test_of_one_seed_it_is_mcnemars(tmp_path):
    result = study(arm("sgd-pull", falling((10, 30))), arm("slbi", {0: OTHERS[0]}))
    (one,) = [one for one in contrasts(result) if one.compared == "accuracy"]
    exact = stats.binomtest(10, 40).pvalue  # 10 images that only the control has wrong, 30 that only slbi has
    assert read_again(result, tmp_path).p_images(one) == pytest.approx(exact, rel=1e-12)


def test_without_all_answers_there_is_no_p(tmp_path):
    old = falling((10, 30), (8, 42), kept=False)
    half = {0: falling((10, 30))[0], 1: old[1]}
    result = study(arm("sgd-pull", half), arm("slbi", OTHERS))
    assert [read_again(result, tmp_path).p_images(one) for one in contrasts(result)] == [None, None]
    none = study(arm("sgd-pull", old), arm("slbi", falling((10, 30), kept=False)))
    assert [read_again(none, tmp_path).p_images(one) for one in contrasts(none)] == [None, None]


def test_10_000_images_take_at_most_1250_bytes_a_point(tmp_path):
    draw = np.random.default_rng(0)
    wrong = {ratio / 100: np.flatnonzero(draw.random(1000) < 0.5).tolist() for ratio in range(100)}
    result = study(arm("sgd", {0: sweep(wrong)}), ratios=wrong)
    few = study(arm("sgd", {0: sweep({0.0: wrong[0.0]})}), ratios=[0.0])
    added = len(Answers.of(result).as_bytes()) - len(Answers.of(few).as_bytes())
    assert added < 99 * (125 + 10)  # of 1,000 images, with what names the point


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "outcomes.npz"
    with pytest.raises(SparsifyError, match=r"outcomes\.npz is missing or damaged"):
        Answers.read(path)
    content = bytearray(Answers.of(study(arm("sgd", seeds(30)))).as_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))
    with pytest.raises(SparsifyError, match=r"outcomes\.npz is missing or damaged"):
        Answers.read(path)
