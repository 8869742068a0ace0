"""Does it work at all: versions, graphs against single kernels, masks, resuming, trainings that overlap, peaks."""

from __future__ import annotations

import dataclasses
import os
import platform
from importlib import metadata

import torch

import sparsify
from benchmarks.gpu.common import CUDA, DEVICE, PRECISIONS, TINY, TMP, batch_of, check, data_of, made_images
from benchmarks.gpu.sweeping import deployed, one_pass
from benchmarks.gpu.trainings import differences, same, trained, trained_eagerly, trained_in_parts, weights
from benchmarks.gpu.verdicts import Found
from benchmarks.measure import peak
from sparsify.config import Config, Places
from sparsify.nets.mask import save_mask
from sparsify.optim.registry import OPTIMIZERS, slbi_for
from sparsify.training.environment import describe_environment
from sparsify.training.launch import train_side_by_side
from sparsify.training.starting import initial_model

PACKAGES = (
    *("numpy", "triton", "torchvision", "pandas", "scipy", "statsmodels", "scikit-learn", "matplotlib", "pillow"),
    *("rich", "cyclopts", "platformdirs", "filelock", "safetensors", "torch-pruning", "pytest", "hypothesis"),
)
EPOCHS = 3 if TINY else 4  # of 6 batches: three warm up, and the graph of the smaller batch comes in the fourth epoch


def smoke() -> None:
    """Every check of this part, the cheapest first."""
    check("versions", versions)
    check("fused", fused_is_taken)
    graphs()
    check("masks", masks)
    check("resumed", resumed)
    check("side_by_side", side_by_side)
    check("one_pass", one_pass)
    check("deployed", deployed)
    check("product_peaks", product_peaks)


def versions() -> Found:
    """Of Python, the libraries, the GPU and this package."""
    found: Found = {"python": platform.python_version(), "torch": torch.__version__, "cpus": os.cpu_count()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    if CUDA:
        gpu = torch.cuda.get_device_properties(0)
        found |= {"gpu": gpu.name, "sm": f"{gpu.major}.{gpu.minor}", "multiprocessors": gpu.multi_processor_count}
        found |= {"memory_gib": gpu.total_memory / 2**30, "cuda": torch.version.cuda}
        found["cudnn"] = torch.backends.cudnn.version()
    environment = describe_environment(torch.device(DEVICE), "exact")
    return found | {"sparsify_from": sparsify.__file__, "commit": environment["git_commit"]}


def fused_is_taken() -> Found:
    """The class of SLBI on this device: FusedSLBI where Triton runs."""
    return {"optimizer": slbi_for(torch.device(DEVICE)).__name__}


def graphs() -> None:
    """Every optimizer on LeNet, and SLBI on every kind of network: graphs against single kernels."""
    for opt, spec in list(OPTIMIZERS.items())[: 1 if TINY else None]:
        lr, mu = (0.002 if "ada" in opt else 0.05), (5.0 if "mu" in spec.defaults else None)
        config = Config(data=data_of("digits"), opt=opt, epochs=EPOCHS, batch_size=batch_of(256), lr=lr, mu=mu)
        check(f"graph = eager, bits: lenet {opt}", graph_against_eager, f"lenet-{opt}", config)
    if TINY:
        return
    plain = Config(model="vgg-a", data=made_images(), opt="slbi", epochs=5, batch_size=64, lr=0.01)
    scales = dataclasses.replace(plain, model="vgg-a-bn", structure="bn-scale", mu=4.5, kappa=2.75)
    for config in (
        dataclasses.replace(plain, augment="crop-flip"),
        dataclasses.replace(scales, augment="crop-flip"),
        dataclasses.replace(plain, model="vgg-a-dropout"),
        dataclasses.replace(plain, model="resnet20", augment="crop-flip"),
    ):
        for precision in PRECISIONS:
            name = f"{config.model} slbi {precision}"
            one = dataclasses.replace(config, precision=precision)
            if precision == "fast":  # bits need not be equal
                check(f"graph near eager: {name}", graph_near_eager, f"{config.model}-{precision}", one)
            else:
                check(f"graph = eager, bits: {name}", graph_against_eager, f"{config.model}-{precision}", one)


def graph_against_eager(name: str, config: Config) -> Found:
    """The same training by graphs, kernel by kernel, and by graphs again."""
    graph = trained(config, f"graph-{name}")
    return {
        "graph_is_eager": same(graph, trained_eagerly(config, f"eager-{name}")),
        "twice": same(graph, trained(config, f"again-{name}")),
    }


def graph_near_eager(name: str, config: Config) -> Found:
    """How far the two are apart, relative to the largest number of a tensor."""
    return {what: one["relative"] for what, one in graph_against_eager(name, config).items()}


def masks() -> Found:
    """What is masked stays exactly 0 in a graph, also when the mask begins after two epochs."""
    config = Config(data=data_of("digits"), opt="slbi", epochs=EPOCHS, batch_size=batch_of(256), lr=0.05, mu=5.0)
    shape = initial_model(config).get_parameter("conv3.weight").shape
    keep = torch.rand(shape, generator=torch.Generator().manual_seed(0)) > 0.5
    path = save_mask(TMP / "mask.safetensors", {"conv3.weight": keep})
    found: Found = {}
    for begin in (0, 2):
        masked = dataclasses.replace(config, mask=str(path), mask_from=begin)
        run = trained(masked, f"mask{begin}")
        zeros = not weights(run)["conv3.weight"][~keep].any()
        found[f"from {begin}"] = {"zeros": bool(zeros)} | same(run, trained_eagerly(masked, f"mask{begin}-eager"))
    return found


def resumed() -> Found:
    """A training that is interrupted after two of its five epochs ends as one that is not."""
    slbi = Config(data=data_of("digits"), opt="slbi", epochs=5, batch_size=batch_of(256), lr=0.05, mu=5.0)
    configs = {"lenet slbi": slbi}
    if not TINY:
        configs["lenet slbi-adam"] = Config(data="digits", opt="slbi-adam", epochs=5, batch_size=256, lr=0.003)
        configs["lenet sgd"] = Config(data="digits", opt="sgd", epochs=5, batch_size=256)
        configs["vgg-a-dropout slbi"] = Config(
            model="vgg-a-dropout", data=made_images(), opt="slbi", epochs=5, batch_size=64, lr=0.01
        )
    found: Found = {}
    for name, config in configs.items():
        parts = trained_in_parts(config, f"parts-{name}", until=2)
        found[name] = same(parts, trained(config, f"whole-{name}"))
    return found


def side_by_side() -> Found:
    """Trainings that overlap on the device end as each of them alone."""
    configs = [
        Config(data=data_of("digits"), opt=opt, epochs=EPOCHS, batch_size=batch_of(256), seed=seed)
        for seed in range(2 if TINY else 4)
        for opt in ("slbi", "sgd", "slbi-adam")
    ]
    together = train_side_by_side(configs, Places(device=DEVICE, runs_dir=TMP / "together"))
    wrong = {}
    for run, config in zip(together, configs, strict=True):
        alone = trained(config, "alone")
        if differences(weights(run), weights(alone)):
            wrong[config.name] = same(run, alone)
    return {"runs": len(configs), "bits_equal": not wrong, "wrong": wrong}


def product_peaks() -> Found:
    """Products of matrices, in 10¹² operations a second; small ones are bound by their launch."""
    device, found = torch.device(DEVICE), {}
    for name, dtype in (("fp32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16)):
        torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
        for size in (64,) if TINY else (2048, 8192):
            found[f"{name} {size}"] = round(peak(dtype, device, size) / 1e12, 2)
    torch.backends.cuda.matmul.allow_tf32 = False
    return {"tflops": found}
