"""Answers: whether each image was answered right at each point of a study, in one file, so that p can be checked."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsify.analysis.comparison import differences, signs_flipped
from sparsify.errors import SparsifyError, reason_given
from sparsify.files import regular
from sparsify.pruning.outcomes import Outcomes
from sparsify.pruning.ratios import SUPPORT, Ratio
from sparsify.pruning.sweep import Sweep
from sparsify.study.contrasts import Contrast
from sparsify.study.results import StudyResult, of_one_length

if TYPE_CHECKING:
    import pandas as pd

FILE = "outcomes.npz"
"""The file of a study's folder that holds its answers."""

_COLUMNS = ("arm", "seed", "sweep", "measure", "layers", "ratio", "draw", "images", "support")


@dataclass(frozen=True, eq=False)
class Answers:
    """A row of `points` is an arm, seed, sweep (from 0), measure, set of layers, ratio and draw: one network.

    Its column `images` is the place in `labels` of the labels of the images, (images,), which identify these; `right`
    holds, for each row, whether each of them was answered right: (images,), bool. Controls are left out, and sweeps
    whose answers to single images were not kept. `support` is True where all outside the support was removed.

    >>> from sparsify.study.answers import Answers
    >>> found = Answers.of(result)
    >>> found.points[["arm", "seed", "ratio"]]
       arm  seed  ratio
    0  sgd     0    0.0
    1  sgd     0    0.5
    >>> [len(answers) for answers in found.right]
    [360, 360]
    """

    points: pd.DataFrame
    right: tuple[np.ndarray, ...]
    labels: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, result: StudyResult) -> Answers:
        """The answers that the sweeps of a study keep."""
        import pandas as pd  # slow to import: only when it is needed

        rows: list[tuple[object, ...]] = []
        right: list[np.ndarray] = []
        labels: list[np.ndarray] = []
        for (*network, measure), sweep, outcomes in _kept(result):
            known = (place for place, one in enumerate(labels) if np.array_equal(one, outcomes.labels))
            images = next(known, len(labels))
            labels += [outcomes.labels] if images == len(labels) else []
            for row, answers in zip(sweep.rows, outcomes.right, strict=True):
                if row.criterion in (sweep.plan.order, SUPPORT):
                    alone = row.criterion == SUPPORT
                    rows.append((*network, measure, row.layers, row.ratio, row.draw, images, alone))
                    right.append(answers)
        return cls(pd.DataFrame(rows, columns=list(_COLUMNS)), tuple(right), tuple(labels))

    def as_bytes(self) -> bytes:
        """An npz file, which holds no pickle: each column of `points`, `right` as bits, `labels`, and their `counts`.

        For 10,000 images a row of `right` takes at most 1.25 kB. Rows for fewer images than the most end in zeros.
        """
        most = max(map(len, self.labels), default=0)
        columns = {name: self.points[name].to_numpy() for name in _COLUMNS}
        if not self.points.support.any():
            del columns["support"]  # as before there was one
        texts = {name: column.astype(str) for name, column in columns.items() if column.dtype == object}
        arrays: dict[str, Any] = {
            **columns,
            **texts,
            "right": np.packbits(_filled(self.right, most, bool), axis=1),
            "labels": _filled(self.labels, most, np.int64),
            "counts": np.array([len(one) for one in self.labels], dtype=np.int64),
        }
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        return buffer.getvalue()

    @classmethod
    def read(cls, path: Path) -> Answers:
        """Return the answers of a file of `as_bytes`. Raises SparsifyError if it is missing or damaged."""
        import pandas as pd  # slow to import: only when it is needed

        try:
            with np.load(io.BytesIO(regular(path).read_bytes()), allow_pickle=False) as file:
                points = pd.DataFrame({name: file[name] for name in _COLUMNS if name in file})
                points = points if "support" in file else points.assign(support=False)
                counts = file["counts"].tolist()
                bits = np.unpackbits(file["right"], axis=1)
                of_images = [counts[place] for place in points.images]
                right = tuple(row[:count].astype(bool) for row, count in zip(bits, of_images, strict=True))
                labels = tuple(row[:count] for row, count in zip(file["labels"], counts, strict=True))
        except Exception as error:  # numpy and zipfile raise whatever the damage looks like to them
            raise SparsifyError(f"{path} is missing or damaged ({reason_given(error)}); run the study again") from error
        return cls(points, right, labels)

    def p_images(self, contrast: Contrast) -> float | None:
        """The p over images of a contrast (`signs_flipped`), from the answers alone.

        None unless all of its seeds have answers, and to the same images. Of the change of one arm minus that of
        another the signs of all four answers to an image are flipped together.
        """
        one, points = contrast, self.points
        here = points[(points["sweep"] == one.sweep) & (points.measure == one.measure) & (points.layers == one.layers)]
        arms = (one.reference, one.arm)
        seeds = set.intersection(*({*here[here.arm == label].seed.tolist()} for label in arms))
        if len(seeds) < one.seeds:
            return None
        found = here[here.arm.isin(arms) & here.seed.isin(seeds)]

        def at(ratio: Ratio) -> pd.Series:
            return found.support if ratio == SUPPORT else ~found.support & (found.ratio == ratio)

        asked = [at(one.ratio), *([at(0.0)] if one.compared == "change" else [])]
        if found[np.logical_or.reduce(asked)].images.nunique() != 1:
            return None

        def right(label: str, ratio: Ratio) -> np.ndarray:
            return np.stack([self.right[place] for place in found.index[(found.arm == label) & at(ratio)]])

        whole = [(one.arm, 0.0), (one.reference, 0.0)] if one.compared == "change" else []
        sides = of_one_length([right(*side) for side in [(one.reference, one.ratio), (one.arm, one.ratio), *whole]])
        return signs_flipped(np.sum(list(map(differences, sides[::2], sides[1::2])), axis=0))


def _kept(result: StudyResult) -> Iterator[tuple[tuple[str, int, int, str], Sweep, Outcomes]]:
    """The outcomes of each sweep: whose they are (arm, seed, number of the sweep, measure), and the sweep."""
    for arm in result.arms:
        for number, run, sweep in arm.every_sweep:
            for measure, outcomes in sweep.outcomes.items():
                if isinstance(outcomes, Outcomes):
                    yield (arm.label, run.config.seed, number, measure), sweep, outcomes


def _filled(rows: Sequence[np.ndarray], width: int, kind: type) -> np.ndarray:
    """The rows as one array, (rows, width), with zeros at their ends."""
    filled: np.ndarray = np.zeros((len(rows), width), dtype=kind)
    for place, row in enumerate(rows):
        filled[place, : len(row)] = row
    return filled
