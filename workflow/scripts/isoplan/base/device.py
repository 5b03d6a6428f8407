"""The machine that the arithmetic runs on."""

import os

import torch

from isoplan.base.errors import UserError


def pick_device(name: str = "auto") -> torch.device:
    """Torch device of a config's `device`: "auto" (a GPU where there is one), "cpu", "cuda".

    Raises UserError where a GPU is asked for and torch sees none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("device: cuda is asked for, but torch sees no GPU; use auto or cpu")
    return torch.device(name)


def set_threads(count: int) -> None:
    """Holds torch, BLAS and OpenMP to `count` threads, in this process and those it starts."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(count)
    torch.set_num_threads(count)
