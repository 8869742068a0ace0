"""Randomness by counters: every generator is keyed by (seed, epoch, purpose), never by what was drawn before."""

from __future__ import annotations

import hashlib

import torch


def key(seed: int, *purpose: object) -> int:
    """63 bits that depend on nothing but the arguments: the same in every process, on every machine."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: object) -> torch.Generator:
    """A CPU generator for one purpose, so that every device sees the same numbers."""
    return torch.Generator().manual_seed(key(seed, *purpose))


def permutation(count: int, seed: int, *purpose: object) -> torch.Tensor:
    """A permutation of 0 … count − 1, int64, on the CPU."""
    return torch.randperm(count, generator=generator(seed, *purpose))
