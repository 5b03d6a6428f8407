"""Randomness as a pure function of (study seed, stream name, index)."""

import hashlib

import numpy as np
import torch


def seed_of(seed: int, stream: str, index: int = 0) -> int:
    """A 63-bit seed for one stored thing; other streams and indices give independent seeds."""
    digest = hashlib.blake2b(f"{seed}/{stream}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def numpy_rng(seed: int, stream: str, index: int = 0) -> np.random.Generator:
    """NumPy generator of (seed, stream, index)."""
    return np.random.default_rng(seed_of(seed, stream, index))


def torch_rng(seed: int, stream: str, index: int = 0, device="cpu") -> torch.Generator:
    """Torch generator of (seed, stream, index) on `device`; equal numbers on one kind of device."""
    generator = torch.Generator(device=device)
    generator.manual_seed(seed_of(seed, stream, index))
    return generator
