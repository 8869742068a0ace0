"""The figures of one network: its layers with what is left of them, and pictures with its answers."""

from __future__ import annotations

from typing import Unpack

import torch
from matplotlib.figure import Figure
from torch import Tensor

from sparsify.analysis.architecture import layers_left
from sparsify.analysis.weights import TrainedNetwork
from sparsify.drawing.architecture import architecture_figure
from sparsify.drawing.predictions import Answer, predictions_figure
from sparsify.errors import SparsifyError
from sparsify.nets.mask import Mask
from sparsify.nets.structure import Cut, Structure
from sparsify.pruning.cuts import cuts_of
from sparsify.pruning.plan import PointOptions, PointPlan
from sparsify.pruning.predicting import probabilities
from sparsify.pruning.subject import Subject, subject_without_data
from sparsify.runs import Run
from sparsify.text import layers_in_words, percentage
from sparsify.viz.figures import networks


def net(run: Run, point: PointPlan | None = None, **asked: Unpack[PointOptions]) -> Figure:
    """Draw the layers of a run's network, and what is left of each.

    That is what a point of pruning leaves, which is given as a `PointPlan` or by its keywords; without one, what the
    run has selected, or the whole network if it selects nothing. Raises SparsifyError as `make_mask` does.

    >>> sparsify.viz.net(run, layers="conv3,fc1", ratio=0.6).savefig("net.png")
    """
    title = f"{networks([run])}, {run.config.opt}"
    network = TrainedNetwork(run)
    if point is None and not asked:
        structure = Structure(network.model, torch.zeros(1, *run.summary["shape"]))
        cuts = _not_selected(network, structure)
        title += ": what it has selected" if cuts else ""
        return architecture_figure(layers_left(structure, cuts), title=title)
    point = PointPlan.of(point, **asked)
    subject = subject_without_data(run, network.model)
    title += f": {percentage(point.ratio)} of {layers_in_words(point.layers)} removed by {point.criterion}"
    return architecture_figure(layers_left(subject.structure, cuts_of(subject, point)), title=title)


def _not_selected(network: TrainedNetwork, structure: Structure) -> list[Cut]:
    """Cuts of what the run has not selected; without layers whose outputs cannot go."""
    cuts = []
    for name, layer in structure.layers.items():
        support = network.support(name)
        if support is None or (support.ndim == 1 and name in structure.left_out()):
            continue
        cuts.append(Cut(layer, "weight" if support.ndim > 1 else layer.grain("auto"), ~support))
    return cuts


def predictions(
    subject: Subject, *, classes: list[str], most: int = 32, mask: Mask | None = None, title: str = ""
) -> Figure:
    """Draw images of a subject's split with the answers of its network: the most confident errors, then what is right.

    A quarter of the `most` images, or more if there are few errors, are right, and evenly spread over the split,
    because folders of images are sorted by class. Raises SparsifyError for a network with several inputs.

    >>> data = sparsify.load_dataset("digits")
    >>> subject = sparsify.Subject(run.model(), data.test, data.normalise)
    >>> sparsify.viz.predictions(subject, classes=list(data.classes)).savefig("predictions.png")
    """
    subject = subject.checked()
    images = subject.split.images
    if not isinstance(images, Tensor):
        raise SparsifyError(f"{subject.name} takes several inputs; pictures are drawn of images alone")
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        kind = f"{tuple(images.shape[1:])} of {str(images.dtype).removeprefix('torch.')}"
        raise SparsifyError(f"{subject.name} takes {kind}; pictures are drawn of uint8 images, grey or in colour")
    found = probabilities(subject, images, mask)
    confidence, answers = found.max(1)
    labels = subject.split.labels.cpu()
    wrong = (answers != labels).nonzero().squeeze(1)
    wrong = wrong[confidence[wrong].argsort(descending=True, stable=True)][: most - most // 4]
    right = (answers == labels).nonzero().squeeze(1)
    count = min(most - len(wrong), len(right))
    shown = [*wrong.tolist(), *right[torch.arange(count) * len(right) // max(count, 1)].tolist()]
    pictures = images[torch.tensor(shown, device=images.device)].cpu().numpy()
    cells = [
        Answer(picture, classes[int(labels[place])], classes[int(answers[place])], float(confidence[place]))
        for picture, place in zip(pictures, shown, strict=True)
    ]
    return predictions_figure(cells, title=title)
