"""Subject: a network with the images that it is measured on, and the path of its run, if it has one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparsify.config import HERE, Places
from sparsify.data.augmentation import draw
from sparsify.data.dataset import Split
from sparsify.data.registry import AUGMENTATIONS
from sparsify.devices import permutation, resolve_device
from sparsify.nets.structure import Structure
from sparsify.optim.penalties import THRESHOLD, Penalty, penalty_of, prox
from sparsify.optim.registry import taken
from sparsify.pruning.criteria import PathState
from sparsify.runs import Run
from sparsify.training.starting import data_of

SAMPLE = 5000


@dataclass(frozen=True)
class Subject:
    """A network that is pruned and measured, with the images for that.

    `split` holds the images that it is measured on. `path` is the path of each parameter, by name, if the network comes
    from a run that has one. `training` holds the images that it is fine-tuned on. A sample of them (`sample`), drawn
    with `seed` and augmented as in the training (`augment`), is used to re-estimate BatchNorm's statistics and for the
    gradients of the criterion "taylor".

    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 2))
    >>> split = sparsify.Split(torch.zeros(6, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1] * 3))
    >>> subject = sparsify.Subject(model, split)
    >>> sparsify.prune(subject, layers="0", ratios=(0, 0.5)).table().params.tolist()
    [330, 166]
    """

    model: nn.Module
    split: Split
    normalise: Callable[[Tensor], Tensor] = Tensor.float
    path: dict[str, PathState] | None = None
    training: Split | None = None
    seed: int = 0
    name: str = "the network"
    precision: str = "exact"
    augment: str = "none"

    @functools.cached_property
    def example(self) -> Tensor:
        """The first image, normalised: (1, channels, height, width).

        >>> data = sparsify.load_dataset("digits")
        >>> sparsify.Subject(run.model(), data.test, data.normalise).example.shape
        torch.Size([1, 1, 28, 28])
        """
        return self.normalise(self.split.images[:1])

    @functools.cached_property
    def structure(self) -> Structure:
        """The network's dependency graph, traced once. Raises SparsifyError if the network cannot be traced.

        >>> data = sparsify.load_dataset("digits")
        >>> sparsify.Subject(run.model(), data.test, data.normalise).structure.remove([])[0]
        {}
        """
        return Structure(self.model, self.example)

    @functools.cached_property
    def sample(self) -> Split | None:
        """5,000 training images, or all if there are fewer, augmented as in the training; None without `training`.

        >>> data = sparsify.load_dataset("digits")
        >>> len(sparsify.Subject(run.model(), data.test, data.normalise, training=data.train).sample)
        1437
        """
        if self.training is None:
            return None
        chosen = permutation(len(self.training), self.seed, "sample")[:SAMPLE]
        sample = self.training[chosen.to(self.training.labels.device)]
        draws = draw(len(sample), self.seed, 0).to(sample.labels.device)  # epochs count from 1
        return Split(AUGMENTATIONS[self.augment](sample.images, draws), sample.labels)


def subject_of(run: Run, places: Places = HERE) -> Subject:
    """Return the Subject of a finished run, measured on its test images, or on its held-out ones if it has some.

    Raises SparsifyError if the run is not finished, or if its data cannot be read.
    """
    where = resolve_device(places.device)
    run.require_finished()
    model, config = run.model(), run.config
    data = data_of(config, places.data_dir)
    return Subject(
        model.to(where).to(memory_format=torch.channels_last),
        data.test.to(where),
        data.normalise,
        path_states(run, model),
        data.train.to(where),
        config.seed,
        run.name,
        config.precision,
        config.augment,
    )


def path_states(run: Run, model: nn.Module) -> dict[str, PathState] | None:
    """Return the path of each parameter that has one, by the parameter's name; None if the run has no path."""
    path, zs = run.inclusion_path, run.z
    if path is None:
        return None
    states = {}
    for name, parameter in model.named_parameters():
        if name in path.entry:
            entry = torch.from_numpy(path.entry[name]).to(parameter.device)
            if zs is None:
                states[name] = PathState(entry)
                continue
            penalty: Penalty = penalty_of(parameter, "auto") or "weight"  # as of BatchNorm's scales
            gamma = taken(run.config.kappa) * prox(zs[name], THRESHOLD, penalty)
            states[name] = PathState(entry, gamma.to(parameter.device), zs[name].to(parameter.device))
    return states
