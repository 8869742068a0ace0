"""The training loops that are compared: each trains its own copy of one network, some steps at a time."""

from __future__ import annotations

import contextlib
import multiprocessing
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.utils.data import DataLoader
from torchvision import transforms

from benchmarks.reference import ReferenceSLBI
from sparsify.config import Config
from sparsify.data.dataset import Dataset
from sparsify.data.registry import augmentation, load_dataset
from sparsify.devices import exactly, keep_freed_memory, permutation
from sparsify.optim.penalties import parameter_groups
from sparsify.optim.spec import taken
from sparsify.runs import Run
from sparsify.training.starting import initial_model
from sparsify.training.trainer import Trainer


class Loop(Protocol):
    """Something that trains, some steps at a time."""

    def run(self, steps: int) -> None:
        """Go on for `steps` steps."""


class LoopOfOne(Loop, Protocol):
    """A loop that trains a single network."""

    model: nn.Module


def order_of(dataset: Dataset, config: Config) -> Tensor:
    """The order in which every loop sees the images: that of the first epoch, in every epoch."""
    return permutation(len(dataset.train), config.seed, 1, "order")


def textbook(model: nn.Module) -> nn.Module:
    """The same network and weights in torch's own modules: contiguous, and with ReLU before pooling."""
    modules: list[nn.Module] = []
    for module in model.children():
        if isinstance(module, nn.Conv2d):
            shape = (module.in_channels, module.out_channels, module.kernel_size, module.stride, module.padding)
            plain = nn.Conv2d(*shape)  # type: ignore[arg-type]  # torch calls a pair a tuple of any length
            plain.load_state_dict(module.state_dict())
            module = plain
        if isinstance(module, nn.ReLU) and isinstance(modules[-1], nn.MaxPool2d):
            modules.insert(-1, nn.ReLU(module.inplace))
        else:
            modules.append(module)
    return nn.Sequential(*modules).to(memory_format=torch.contiguous_format)


class _Images(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """The images as torchvision's data sets give them: each is made a PIL image and then transformed."""

    def __init__(self, dataset: Dataset, config: Config) -> None:
        self.images = dataset.train.images.permute(0, 2, 3, 1).squeeze(-1).contiguous().numpy()
        self.labels = dataset.train.labels.tolist()
        augmented = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
        mean, std = ([value / 255 for value in values] for values in (dataset.normalise.mean, dataset.normalise.std))
        chosen = augmented if config.augment == "crop-flip" else []
        self.transform = transforms.Compose([*chosen, transforms.ToTensor(), transforms.Normalize(mean, std)])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


class LoaderLoop:
    """The usual loop: a DataLoader that transforms image by image, and torch's SGD or the reference of SLBI."""

    def __init__(self, config: Config, data_dir: str | None, device: torch.device) -> None:
        dataset = load_dataset(config.data, data_dir)
        order = order_of(dataset, config).tolist()
        self.loader = DataLoader(_Images(dataset, config), config.batch_size, sampler=order, num_workers=0)
        self.batches: Iterator[list[Tensor]] = iter(self.loader)
        self.model = textbook(initial_model(config, data_dir)).to(device)
        self.optimizer = _plain_optimizer(self.model, config)
        self.device = device

    def run(self, steps: int) -> None:
        """Go on for `steps` steps."""
        for _ in range(steps):
            batch = next(self.batches, None)
            if batch is None:
                self.batches = iter(self.loader)
                batch = next(self.batches)
            _step(self.model, self.optimizer, *(tensor.to(self.device) for tensor in batch))


class ResidentLoop:
    """Images on the device, batches by index and torch's fused SGD, with the same network as the usual loop."""

    def __init__(self, config: Config, data_dir: str | None, device: torch.device) -> None:
        dataset = load_dataset(config.data, data_dir)
        self.batches = _Batches(dataset, config, device)
        self.model = textbook(initial_model(config, data_dir)).to(device)
        self.optimizer = SGD(self.model.parameters(), taken(config.lr), taken(config.momentum), fused=True)

    def run(self, steps: int) -> None:
        """Go on for `steps` steps."""
        for _ in range(steps):
            images, labels = self.batches.next()
            _step(self.model, self.optimizer, self.batches.data.normalise(images), labels)


class ShippedLoop:
    """What `sparsify train` does at each step: batches gathered on the device, the path recorded."""

    def __init__(self, config: Config, data_dir: str | None, device: torch.device) -> None:
        dataset = load_dataset(config.data, data_dir)
        self.batches = _Batches(dataset, config, device)
        self._folder = tempfile.TemporaryDirectory()
        model = initial_model(config, data_dir).to(device)
        self.training = Trainer(Run(Path(self._folder.name)), config, self.batches.data, model, device)
        self.model, self.precision = self.training.model, config.precision
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        if self.stream is not None:
            self.stream.wait_stream(torch.cuda.current_stream(device))  # where the weights were made
        self.step = 0

    def run(self, steps: int) -> None:
        """Go on for `steps` steps."""
        with exactly(self.precision):
            for _ in range(steps):
                self.advance()
        self.wait()

    def wait(self) -> None:
        """Wait until the device has done what it was given, because the weights are read in another stream."""
        if self.stream is not None:
            self.stream.synchronize()

    def advance(self) -> None:
        """Go on by one step."""
        self.step += 1
        with torch.cuda.stream(self.stream):
            self.training.step(self.step, *self.batches.numbers())


class _Batches:
    """Batches of uint8 images and labels on the device, epoch after epoch in one order."""

    def __init__(self, dataset: Dataset, config: Config, device: torch.device) -> None:
        self.data = dataset.to(device)
        self.augment = augmentation(config.augment)
        order = order_of(dataset, config)
        draws = self.augment.draw(order, 0, 1).to(device)
        self.batches = list(zip(order.to(device).split(config.batch_size), draws.split(config.batch_size), strict=True))
        self.position = 0

    def numbers(self) -> tuple[Tensor, Tensor]:
        """The numbers of the next batch's images, and their draws."""
        self.position += 1
        return self.batches[(self.position - 1) % len(self.batches)]

    def next(self) -> tuple[Tensor, Tensor]:
        """The next batch's augmented images, and their labels."""
        index, draws = self.numbers()
        return self.augment(self.data.train.images[index], draws), self.data.train.labels[index]


class OverlappingLoops:
    """Shipped loops of several seeds in turn, each in a stream of its own, as `sparsify train --seeds` on a GPU."""

    def __init__(self, config: Config, data_dir: str | None, device: torch.device, seeds: int) -> None:
        self.loops = [ShippedLoop(config, data_dir, device) for _ in range(seeds)]

    def run(self, steps: int) -> None:
        """`steps` steps in all: each loop does its share."""
        with exactly(self.loops[0].precision):
            for _ in range(steps // len(self.loops)):
                for loop in self.loops:
                    loop.advance()
        for loop in self.loops:
            loop.wait()

    def weights(self) -> list[dict[str, Tensor]]:
        """The weights of the first two networks."""
        return [loop.model.state_dict() for loop in self.loops[:2]]


class SeveralLoops:
    """Shipped loops of several seeds at once, as `sparsify train --seeds`: a process with one thread for each."""

    def __init__(self, config: Config, data_dir: str | None, processes: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipes: list[Connection] = []
        for _ in range(processes):
            here, there = context.Pipe()
            context.Process(target=_serve, args=(there, config, data_dir), daemon=True).start()
            self.pipes.append(here)
        for pipe in self.pipes:
            pipe.recv()

    def run(self, steps: int) -> None:
        """`steps` steps in all: each process does its share."""
        for pipe in self.pipes:
            pipe.send(steps // len(self.pipes))
        for pipe in self.pipes:
            pipe.recv()

    def weights(self) -> list[dict[str, Tensor]]:
        """The weights of each process's network."""
        for pipe in self.pipes:
            pipe.send(None)
        return [pipe.recv() for pipe in self.pipes]


def _serve(pipe: Connection, config: Config, data_dir: str | None) -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    loop = ShippedLoop(config, data_dir, torch.device("cpu"))
    pipe.send("ready")
    with contextlib.suppress(EOFError):  # the benchmark has ended
        while True:
            steps = pipe.recv()
            if steps is None:
                pipe.send({name: tensor.clone() for name, tensor in loop.model.state_dict().items()})
            else:
                loop.run(steps)
                pipe.send("done")


def _plain_optimizer(model: nn.Module, config: Config) -> Optimizer:
    if config.opt == "sgd":
        return SGD(model.parameters(), taken(config.lr), taken(config.momentum))
    return ReferenceSLBI(
        parameter_groups(model, weight_decay=taken(config.weight_decay)),
        taken(config.lr),
        momentum=taken(config.momentum),
        kappa=taken(config.kappa),
        mu=taken(config.mu),
        path_scale=taken(config.path_scale),
    )


def _step(model: nn.Module, optimizer: Optimizer, images: Tensor, labels: Tensor) -> None:
    loss = F.cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
