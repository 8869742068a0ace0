"""The command `sparsify predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sparsify.cli import console
from sparsify.cli.options import Where, finished_run, point_of
from sparsify.config import HERE, Whole
from sparsify.errors import SparsifyError
from sparsify.text import percentage


def predict(
    run: str,
    /,
    *images: Path,
    top: Annotated[Whole, Parameter(help="how many classes are shown")] = 5,
    layers: Annotated[str | None, Parameter(help="with --ratio: what is pruned, as in conv3,fc1 or all")] = None,
    ratio: Annotated[float | None, Parameter(help="also what is answered when magnitude has removed so much")] = None,
    where: Where = HERE,
) -> int:
    """What a run takes pictures for: the classes with the highest probability, of each image file that is named."""
    if not images:
        raise SparsifyError("no picture is named; write sparsify predict RUN picture.png")
    if top < 1:
        raise SparsifyError(f"--top is {top}; it must be at least 1")
    point = point_of(layers, ratio)
    from sparsify.pruning.cuts import cuts_of
    from sparsify.pruning.predicting import probabilities, read_pictures
    from sparsify.pruning.subject import subject_of_pictures
    from sparsify.report.predictions import prediction_table

    chosen = finished_run(run, where.runs_dir)
    pictures = read_pictures(images, chosen.summary["shape"])
    subject = subject_of_pictures(chosen, where)
    whole = probabilities(subject, pictures)
    mask = None if point is None else subject.structure.remove(cuts_of(subject, point))[0]
    pruned = None if mask is None else probabilities(subject, pictures, mask)
    names = [image.name for image in images]
    names = names if len(set(names)) == len(names) else [str(image) for image in images]
    classes = chosen.summary["classes"]
    for place, name in enumerate(names):
        after = None if pruned is None else pruned[place].tolist()
        gone = "" if point is None else f"{percentage(point.ratio)} of {point.layers} removed"
        console.show(prediction_table(name, classes, whole[place].tolist(), after, gone=gone, top=top))
    return 0
