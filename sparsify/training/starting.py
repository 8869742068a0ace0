"""What a training starts from: the data, the network with its initial weights, and the mask."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from sparsify.config import Config
from sparsify.data.dataset import Dataset
from sparsify.data.places import DataNotFoundError
from sparsify.data.registry import load_dataset
from sparsify.devices import key, permutation
from sparsify.errors import SparsifyError, SparsifyWarning
from sparsify.nets.mask import Mask, load_mask
from sparsify.nets.registry import network
from sparsify.optim.registry import OPTIMIZERS
from sparsify.runs import find_run


def initial_model(config: Config, data_dir: Path | str | None = None) -> nn.Module:
    """The network that a training of this Config starts from, `init` left aside."""
    config = named_data(config, data_dir)
    return build(config, load_dataset(config.data, data_dir))


def build(config: Config, dataset: Dataset) -> nn.Module:
    """The Config's network with the initial weights of its seed, as its optimizer wants them.

    torch's own generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(key(config.seed, "init"))  # torch.manual_seed seeds every GPU, too
        model = network(config.model, dataset.shape, len(dataset.classes))
    OPTIMIZERS[config.opt].prepare(model, config)
    return model


def data_of(config: Config, data_dir: Path | str | None = None) -> Dataset:
    """The Config's data set; with `val`, that fraction of the training images in the place of the test images."""
    dataset = load_dataset(config.data, data_dir)
    if not config.val:
        return dataset
    return dataset.hold_out(config.val, permutation(len(dataset.train), config.seed, "val"))


def named_data(config: Config, data_dir: Path | str | None) -> Config:
    """ "auto" becomes mnist, or digits, with a warning, where that is not to be had."""
    return all_named([config], data_dir)[0]


def all_named(configs: Sequence[Config], data_dir: Path | str | None) -> list[Config]:
    """As `named_data` of each, looked for once."""
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
    """What an `init` or a `mask` names, and, behind an @, the 8 hex digits of its sum, or None."""
    return re.fullmatch(r"(.+?)(?:@([0-9a-f]{8}))?", text, re.DOTALL).groups()


def initial_weights(config: Config, runs_dir: Path) -> tuple[Config, dict[str, Tensor] | None]:
    """`init` becomes <run's name>@<8 hex digits of the weights' sum>, so that the Config names what it starts from."""
    if config.init is None:
        return config, None
    name, digest = name_and_sum(config.init)
    parent = find_run(name, runs_dir)
    weights = parent.model().state_dict()
    found = parent.sha256("model.safetensors")[:8]
    if digest and digest != found:
        raise SparsifyError(f"--init {config.init}: the weights of {parent.path} are {found} now; name the run alone")
    return dataclasses.replace(config, init=f"{parent.name}@{found}"), weights


def initial_mask(config: Config, runs_dir: Path) -> tuple[Config, Mask | None]:
    """`mask` becomes <folder>/<file>@<8 hex digits of its sum>, so that the Config names what it trains under."""
    if config.mask is None:
        return config, None
    name, digest = name_and_sum(config.mask)
    path = next((path for path in (Path(name), runs_dir / name) if path.is_file()), Path(name))
    mask = load_mask(path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    if digest and digest != found:
        raise SparsifyError(f"--mask {config.mask}: the sum of {path} is {found} now; name the file alone")
    where = path.resolve()
    return dataclasses.replace(config, mask=f"{where.parent.name}/{where.name}@{found}"), mask


def load_weights(model: nn.Module, weights: dict[str, Tensor], config: Config) -> None:
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise SparsifyError(f"--init {config.init} does not fit {config.model} on {config.data}") from error
