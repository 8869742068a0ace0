"""The start of a training: the data, the network with its initial weights, and the mask."""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from sparsify.config import Config
from sparsify.config.fields import flag
from sparsify.data.dataset import Dataset
from sparsify.data.downloads import limited
from sparsify.data.places import DataNotFoundError
from sparsify.data.registry import load_dataset
from sparsify.devices import key, permutation
from sparsify.errors import SparsifyError, SparsifyWarning
from sparsify.nets.evaluation import evaluating
from sparsify.nets.mask import Mask, load_mask
from sparsify.nets.modules import WhiteningConv2d
from sparsify.nets.outputs import logits_of, require_log_probabilities
from sparsify.nets.registry import network, network_spec
from sparsify.nets.structure import Structure
from sparsify.optim.registry import OPTIMIZERS
from sparsify.runs import find_run
from sparsify.sums import Record, sha256

_OF_PATH = (
    *("model", "net", "data", "resize", "val", "epochs", "batch_size", "structure"),
    *("lr", "kappa", "mu", "path_scale", "schedule", "schedule_options"),
)
"""The settings that decide at which steps grains enter the support, and on which path."""

WHITENED = 1000
"""The most training images by which a layer whitens."""

MASK_BEFORE_UNITS = "may have been made before coupled layers were one unit"
"""What is said of a mask that is there, but not as it would come out now."""


def initial_model(config: Config, data_dir: Path | str | None = None) -> nn.Module:
    """Return the network that a training of this Config starts from; `init` is ignored.

    With `pretrained`, all but the last layer has trained weights. Raises SparsifyError as `NetworkSpec.weights` does.
    """
    config = named_data(config, data_dir)
    model = build(config, data_of(config, data_dir))
    load_pretrained(config, model)
    return model


def build(config: Config, dataset: Dataset) -> nn.Module:
    """Build the Config's network with the initial weights of its seed, prepared for its optimizer.

    What begins by whitening does so by training images of `dataset`. `pretrained` is ignored. torch's own generator is
    restored. Raises SparsifyError for data with one class.
    """
    if len(dataset.classes) < 2:
        one = f"{config.data_name} has one class, '{dataset.classes[0]}': there is nothing to tell apart"
        raise SparsifyError(f"{one}; a folder of images has one folder for each class in train/ and test/")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(key(config.seed, "init"))  # torch.manual_seed seeds every GPU, too
        model = network(config.model, dataset.shape, len(dataset.classes), config.net)
    for layer in model.modules():
        if isinstance(layer, WhiteningConv2d):
            some = torch.linspace(0, len(dataset.train) - 1, min(WHITENED, len(dataset.train))).long()
            layer.whiten(dataset.normalise(dataset.train[some.to(dataset.train.labels.device)].images))
    OPTIMIZERS[config.opt].prepare(model, config)
    return model


def load_pretrained(config: Config, model: nn.Module) -> str | None:
    """Load trained weights into all layers but the last, if the Config is `pretrained`; return which these are.

    Raises SparsifyError as `NetworkSpec.weights` does.
    """
    load = network_spec(config.model).weights
    if not config.pretrained or load is None:
        return None
    with limited():
        return load(model)


def dataset_of(config: Config, data_dir: Path | str | None = None) -> Dataset:
    """Return the Config's data set, resized and normalised as it says, with all training images."""
    return load_dataset(config.data, data_dir, resize=config.resize, normalise=config.normalise)


def data_of(config: Config, data_dir: Path | str | None = None) -> Dataset:
    """Return the Config's data set; with `val`, that fraction of the training images replaces the test images."""
    dataset = dataset_of(config, data_dir)
    if not config.val:
        return dataset
    return dataset.hold_out(config.val, permutation(len(dataset.train), config.seed, "val"))


def named_data(config: Config, data_dir: Path | str | None) -> Config:
    """Return the Config with "auto" replaced by mnist, or by digits, with a warning, if mnist is not available."""
    return all_named([config], data_dir)[0]


def all_named(configs: Sequence[Config], data_dir: Path | str | None) -> list[Config]:
    """Apply `named_data` to each Config, but search the data set only once."""
    if not any(config.data == "auto" for config in configs):
        return list(configs)
    name = "mnist"
    try:
        load_dataset(name, data_dir)
    except DataNotFoundError as error:
        name = "digits"
        warnings.warn(f"DIGITS INSTEAD OF MNIST: {error}", SparsifyWarning, stacklevel=3)
    return [dataclasses.replace(config, data=name) if config.data == "auto" else config for config in configs]


def name_and_sum(text: str) -> tuple[str, str | None]:
    """Return the name in an `init` or a `mask`, and the 8 hex digits of the sum after an @, or None."""
    match = re.fullmatch(r"(.+?)(?:@([0-9a-f]{8}))?", text, re.DOTALL)
    assert match is not None  # every text matches but an empty one, which Config refuses
    return match[1], match[2]


def initial_weights(config: Config, runs_dir: Path) -> tuple[Config, dict[str, Tensor] | None]:
    """Return the Config with `init` as <run's name>@<8 hex digits of the weights' sum>, and these weights.

    Without `init`, return the Config itself and None. Raises SparsifyError if the sum in `init` is another.
    """
    if config.init is None:
        return config, None
    name, digest = name_and_sum(config.init)
    parent = find_run(name, runs_dir)
    parent.require_finished()
    weights = parent.model().state_dict()
    found = parent.sha256("model.safetensors")[:8]
    if digest and digest != found:
        raise SparsifyError(f"--init {config.init}: the weights of {parent.path} are {found} now; name the run alone")
    return dataclasses.replace(config, init=f"{parent.name}@{found}"), weights


def initial_mask(config: Config, runs_dir: Path) -> tuple[Config, Mask | None]:
    """Return the Config with `mask` as <folder>/<file>@<8 hex digits of the file's sum>, and the mask.

    Without `mask`, return the Config itself and None. Raises SparsifyError if the sum in `mask` is another.
    """
    if config.mask is None:
        return config, None
    name, digest = name_and_sum(config.mask)
    path = _mask_file(name, runs_dir)
    mask = load_mask(path)
    found = sha256(path.read_bytes())[:8]
    if digest and digest != found:
        raise SparsifyError(f"--mask {config.mask}: the sum of {path} is {found} now; name the file alone")
    where = path.resolve()
    return dataclasses.replace(config, mask=f"{where.parent.name}/{where.name}@{found}"), mask


def require_same_path(config: Config, parent: Config) -> None:
    """Raise SparsifyError unless both go the same steps on the same path, `parent` with DessiLBI."""
    spec = OPTIMIZERS[parent.opt]
    if not (spec.selects and spec.couples):
        takers = ", ".join(opt for opt, one in OPTIMIZERS.items() if one.selects and one.couples)
        raise SparsifyError(f"--release {parent.name}: it is trained with {parent.opt}; it must be one of: {takers}")
    for name in _OF_PATH:
        ours, theirs = getattr(config, name), getattr(parent, name)
        if ours != theirs:
            reason = f"--release {parent.name} has {theirs}; the grains would go at other steps of another path"
            raise SparsifyError(f"{flag(name)} is {ours}, and {reason}")


def path_to_follow(config: Config, runs_dir: Path) -> tuple[Config, dict[str, Tensor] | None]:
    """Return the Config with `release` as <run's name>@<8 hex digits of its path's sum>, and the steps of entry there.

    Return the Config itself and None for an optimizer that follows no other run. Raises SparsifyError if it does, and
    `release` is None, if that run is not finished or was not trained with DessiLBI, if the sum in `release` is another,
    and as `require_same_path` does.
    """
    if not OPTIMIZERS[config.opt].follows:
        return config, None
    if config.release is None:
        raise SparsifyError(f"--opt {config.opt} needs --release, the run whose grains it lets go at random")
    name, digest = name_and_sum(config.release)
    parent = find_run(name, runs_dir)
    parent.require_finished()
    require_same_path(config, parent.config)
    path = parent.inclusion_path
    if path is None:
        raise SparsifyError(f"--release {name}: it has no path; its network has nothing to select")
    found = parent.sha256("path.npz")[:8]
    if digest and digest != found:
        raise SparsifyError(f"--release {config.release}: the path of {parent.path} is {found} now; name the run alone")
    entry = {parameter: torch.from_numpy(steps) for parameter, steps in path.entry.items()}
    return dataclasses.replace(config, release=f"{parent.name}@{found}"), entry


def _mask_file(name: str, runs_dir: Path) -> Path:
    return next((path for path in (Path(name), runs_dir / name) if path.is_file()), Path(name))


def mask_before_units(text: str, runs_dir: Path, structure: Callable[[], Structure]) -> bool:
    """Return whether the mask in a Config may be from before coupled layers were one unit, and hit some of them.

    Before 0.3 coupled layers that were named together lost the union of what each would lose. Since 0.4 each mask has
    its sum in the record of its folder. One without it, or whose file has another sum by now, may be from before, if
    it removes whole outputs of coupled layers. Nothing is known of a mask whose file is gone: False.
    """
    name, digest = name_and_sum(text)
    path = _mask_file(name, runs_dir)
    if not path.is_file():
        return False
    known = Record.of(path.parent).sums.get(path.name)
    if known is not None and known.startswith(digest or ""):
        return False
    mask, found = load_mask(path), structure()
    rows = {layer: layer.rows(mask[layer.parameter]) for layer in found.layers.values() if layer.parameter in mask}
    return bool(found.coupled_groups(layer for layer, kept in rows.items() if not kept.flatten(1).any(1).all()))


@torch.inference_mode()
def require_outputs(config: Config, model: nn.Module, image: Tensor) -> None:
    """Raise SparsifyError if the Config's loss is not one of what the network gives; `image` is (1, …), normalised."""
    if config.loss == "nll":
        with evaluating(model):
            require_log_probabilities(logits_of(model(image), 1), config.model)


def load_weights(model: nn.Module, weights: dict[str, Tensor], config: Config) -> None:
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise SparsifyError(f"--init {config.init} does not fit {config.model} on {config.data}") from error
