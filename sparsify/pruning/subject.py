"""Subject: a network with the images that it is measured on, and the path of its run, if it has one."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparsify.config import HERE, Places
from sparsify.data.dataset import Data, Inputs, Split, described, mapped
from sparsify.data.pixels import Normalise
from sparsify.data.registry import UNCHANGED, augmentation, load_dataset
from sparsify.devices import permutation, resolve_device
from sparsify.errors import SparsifyError, first_line
from sparsify.nets.evaluation import Normaliser, call, data_for, evaluating, normaliser, require_shapes
from sparsify.nets.losses import CROSS_ENTROPY
from sparsify.nets.outputs import Loss, Score, class_numbers, logits_of, loss_named, scores_of
from sparsify.nets.parametrized import with_own_weights
from sparsify.nets.structure import Structure
from sparsify.optim.penalties import THRESHOLD, penalty_seen, prox
from sparsify.optim.spec import taken
from sparsify.pruning.criteria import PathState
from sparsify.runs import Run
from sparsify.runs.images import config_here
from sparsify.training.starting import data_of

SAMPLE = 5000


@dataclass(frozen=True, repr=False)
class Subject:
    """A network that is pruned and measured, with the images for that.

    - `split`: the images that it is measured on. A network that takes several inputs has a tuple or dict of tensors in
      place of the images (see `call`). `Split.of` reads a DataLoader or other data.
    - `normalise`: a function of a batch of images that returns what the network is called with; by default
      floating-point numbers and pixels (uint8) in the type of the network's own parameters.
    - `path`: the path of each parameter, by name, if the network comes from a run that has one.
    - `training`: the images that it is fine-tuned on. A sample of them (`sample`), drawn with `seed` and augmented as
      in the training (`augment`), is used to re-estimate BatchNorm's statistics and for the gradients of "taylor" and
      "obd".
    - `score`: a function (output, labels) of a batch that returns a number from 0 to 1 for each image, (n,), for
      segmentation, regression, detection and the like. It is given the network's output as it is, and labels of any
      shape, (n, …). By default the score is 1 if the class is right, else 0, and labels are as `class_numbers` takes
      them. The mean score is what a sweep calls accuracy.
    - `loss`: a function (output, labels) of a batch that returns the mean loss, for "taylor", "obd" and fine-tuning; by
      default, without a `score`, the cross-entropy.

    If weights of the network are computed from others, as with weight_norm or spectral_norm, `model` is a copy that has
    them as its own (`with_own_weights`). Raises SparsifyError for a network with lazy modules, and for what is no
    network and no Split.

    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 2))
    >>> split = sparsify.Split(torch.zeros(6, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1] * 3))
    >>> subject = sparsify.Subject(model, split)
    >>> sparsify.prune(subject, layers="0", ratios=(0, 0.5)).table().params.tolist()
    [330, 166]
    """

    model: nn.Module
    split: Split[Inputs]
    normalise: Normaliser | None = None
    path: dict[str, PathState] | None = None
    training: Split[Inputs] | None = None
    seed: int = 0
    name: str = "the network"
    precision: str = "exact"
    augment: str = UNCHANGED
    score: Score | None = None
    loss: Loss | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.model, nn.Module):
            raise SparsifyError(f"model is a {type(self.model).__name__}; it must be a torch.nn.Module")
        for name, value in {"split": self.split, "training": self.training}.items():
            if not isinstance(value, Split) and not (name == "training" and value is None):
                kind = type(value).__name__
                raise SparsifyError(f"{name} is a {kind}; write Split(images, labels), or Split.of(data) for a loader")
        require_shapes(self.model, self.name)
        object.__setattr__(self, "model", with_own_weights(self.model))

    def __repr__(self) -> str:
        training = "" if self.training is None else f", {len(self.training):,} to train on"
        return f"<Subject {self.name}: a {type(self.model).__name__}, measured on {len(self.split):,} images{training}>"

    @classmethod
    def of(cls, model: nn.Module, data: Data, training: Data | None = None) -> Subject:
        """Return the Subject of a network with data as `Split.of` takes it, on the network's device.

        >>> len(sparsify.Subject.of(torch.nn.Linear(2, 2), ([[0.0, 1.0], [1.0, 0.0]], [1, 0])).split)
        2
        """
        return cls(model, data_for(model, data), training=None if training is None else data_for(model, training))

    def prepared(self, images: Inputs) -> Inputs:
        """Return what the network is called with for these images of a split.

        >>> data = sparsify.load_dataset("digits")
        >>> sparsify.Subject(run.model(), data.test, data.normalise).prepared(data.test.images[:3]).dtype
        torch.float32
        """
        inputs: Inputs = normaliser(self.model, self.normalise)(images)
        return inputs

    @functools.cached_property
    def example(self) -> Inputs:
        """The first image as the network is called with it: normalised, (1, …).

        >>> data = sparsify.load_dataset("digits")
        >>> sparsify.Subject(run.model(), data.test, data.normalise).example.shape
        torch.Size([1, 1, 28, 28])
        """
        return self.prepared(self.split[:1].images)

    @functools.cached_property
    def structure(self) -> Structure:
        """The network's structure, found once. Raises SparsifyError if the network cannot be run on the example.

        >>> data = sparsify.load_dataset("digits")
        >>> sparsify.Subject(run.model(), data.test, data.normalise).structure.remove([])[0]
        {}
        """
        return Structure(self.model, self.example)

    @functools.cached_property
    def sample(self) -> Split[Inputs] | None:
        """5,000 training images, or all if there are fewer, augmented as in the training; None without `training`.

        >>> data = sparsify.load_dataset("digits")
        >>> len(sparsify.Subject(run.model(), data.test, data.normalise, training=data.train).sample)
        1437
        """
        if self.training is None:
            return None
        chosen = permutation(len(self.training), self.seed, "sample")[:SAMPLE]
        sample = self.training[chosen.to(self.training.device)]
        augment = augmentation(self.augment)
        if not augment.parts:
            return sample
        if not isinstance(sample.images, Tensor):
            raise SparsifyError(f"augment is '{self.augment}', and {self.name} takes several inputs; it must be none")
        draws = augment.draw(chosen, self.seed, 0).to(sample.device)  # epochs count from 1
        return Split(augment(sample.images, draws), sample.labels)

    def checked(self) -> Subject:
        """Return the Subject with its labels as class numbers, unless it has a `score`, after a run on one image.

        Raises SparsifyError if the network does not run on one image and on two, and for outputs and labels that
        cannot be scored.

        >>> data = sparsify.load_dataset("digits")
        >>> sparsify.Subject(run.model(), data.test, data.normalise).checked().split.labels.dtype
        torch.int64
        """
        if not len(self.split):
            raise SparsifyError(f"there are no images to measure {self.name} on")
        self._run(self.example)
        pair = mapped(lambda tensor: torch.cat([tensor, tensor]), self.example)
        output = self._run(pair)
        if self.score is not None:
            scores_of(self.score, output, self.split.labels[:1].repeat(2, *[1] * (self.split.labels.ndim - 1)))
            return self
        classes = logits_of(output, 2).shape[1]
        labels = class_numbers(self.split.labels, classes)
        training = self.training
        if training is not None and self.loss is None:
            training = Split(training.images, class_numbers(training.labels, classes, "labels of the training images"))
        if labels is self.split.labels and (training is None or training.labels is self.training.labels):  # type: ignore[union-attr]
            return self
        return dataclasses.replace(self, split=Split(self.split.images, labels), training=training)

    @torch.inference_mode()
    def _run(self, inputs: Inputs) -> object:
        """Return the network's output. Raises SparsifyError, with the reason in a line, if it does not run."""
        try:
            with evaluating(self.model):
                return call(self.model, inputs)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever the network's own forward raises
            reason = first_line(error)
            raise SparsifyError(
                f"{self.name} does not run on {described(inputs)}: {type(error).__name__}: {reason}"
            ) from error


def subject_for(
    target: Run | Subject | nn.Module, data: Data | None = None, training: Data | None = None, places: Places = HERE
) -> Subject:
    """Return the Subject of a finished run, a network with its data, or a Subject as it is.

    Raises SparsifyError for anything else, for a network without data, and for data with what has its own.
    """
    if isinstance(target, nn.Module):
        if data is None:
            raise SparsifyError("a network needs data to be measured on, as in data=(images, labels)")
        return Subject.of(target, data, training)
    if not isinstance(target, (Run, Subject)):
        raise SparsifyError(f"a {type(target).__name__} cannot be pruned; it must be a network, a Run or a Subject")
    if data is not None or training is not None:
        kind, name = type(target).__name__, "training" if data is None else "data"
        raise SparsifyError(f"{name} is given with a {kind}, which has its own; it goes with a network")
    return subject_of(target, places) if isinstance(target, Run) else target


def subject_of(run: Run, places: Places = HERE) -> Subject:
    """Return the Subject of a finished run, measured on its test images, or on its held-out ones if it has some.

    Its images are resized and normalised as in the training; the loss is that of the training without label smoothing.
    Raises SparsifyError if the run is not finished, if its data cannot be read, and if the images of its folder are not
    those that it was trained on.
    """
    where = resolve_device(places.device)
    run.require_finished()
    model, config = run.model(), config_here(run.config, places.data_dir)
    data = data_of(config, places.data_dir)
    images = run.summary.get("images_sha256")
    if images is not None:
        run.require_images(images, load_dataset(config.data, places.data_dir).sha256())
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
        loss=None if config.loss == CROSS_ENTROPY else loss_named(config.loss),
    )


def require_loss(subject: Subject, what: str) -> None:
    """Raise SparsifyError if there is a score of one's own and no loss, which `what` takes gradients of."""
    if subject.score is not None and subject.loss is None:
        raise SparsifyError(f"{what}: {subject.name} has its own score, and needs its own loss(output, labels), too")


def subject_without_data(run: Run, model: nn.Module) -> Subject:
    """Return the Subject of a run's network with one black image, on the network's device, for what needs no data."""
    black = torch.zeros(1, *run.summary["shape"], dtype=torch.uint8)
    split = Split(black, torch.zeros(1, dtype=torch.long)).to(next(model.parameters()).device)
    return Subject(model, split, path=path_states(run, model), seed=run.config.seed, name=run.name)


def subject_of_pictures(run: Run, places: Places = HERE) -> Subject:
    """Return the Subject of a finished run for pictures that are not its data's; its split is one black image.

    The run's summary says how its images were normalised, so that its data is not read. Runs of before 0.5 do not say
    it: theirs is (`subject_of`).
    """
    run.require_finished()
    pixels = run.summary.get("pixels")
    if pixels is None:
        return subject_of(run, places)
    model = run.model().to(resolve_device(places.device)).to(memory_format=torch.channels_last)
    normalise = Normalise(tuple(pixels["mean"]), tuple(pixels["std"]))
    return dataclasses.replace(subject_without_data(run, model), normalise=normalise, precision=run.config.precision)


def path_states(run: Run, model: nn.Module) -> dict[str, PathState] | None:
    """Return the path of each parameter that has one, by the parameter's name; None if the run has no path."""
    path, zs = run.inclusion_path, run.z
    if path is None:
        return None
    states, per_epoch = {}, run.summary["steps"] // run.summary["epochs"]
    for name, parameter in model.named_parameters():
        if name in path.entry:
            entry = torch.from_numpy(path.entry[name]).to(parameter.device)
            if zs is None:
                states[name] = PathState(entry, per_epoch=per_epoch)
                continue
            penalty = penalty_seen(tuple(entry.shape), tuple(parameter.shape))
            gamma = taken(run.config.kappa) * prox(zs[name], THRESHOLD, penalty)
            states[name] = PathState(entry, gamma.to(parameter.device), zs[name].to(parameter.device), per_epoch)
    return states
