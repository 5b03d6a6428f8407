"""A trained network as a method: it takes a picture of the poor detector, and gives what the good one would have shown."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from isoplan.applications.enhancement.filters import noise_deviation
from isoplan.base.errors import UserError
from isoplan.base.imports import load_named
from isoplan.config.schema import choices
from isoplan.networks import store

TASK = "enhancement"
TURNS = 8  # orientations of a square
NOISELESS = 0.02  # noise is taken for at least this share of a picture's standard deviation
LEAST = 1e-6  # of noise, in counts


def build(spec: dict) -> torch.nn.Module:
    """The network of an entry of `enhancers`, with random weights."""
    return load_named(choices("enhancers")[spec["architecture"]]["code"]).of(spec)


@dataclass(frozen=True)
class Enhancer:
    """A trained network.

    Attributes
    ----------
    network : torch.nn.Module
        In evaluation mode, on the CPU.
    card : dict
        See `training.loop`.
    """

    network: Any
    card: dict

    @classmethod
    def load(cls, file: str | Path) -> "Enhancer":
        """Raises UserError if the file holds no such network."""
        card, weights = store.read(file, TASK)
        made = store.build_with_weights(file, card, weights, lambda told: build(told["network"]))
        return cls(made.to(memory_format=torch.channels_last), card)

    def apply(self, picture: np.ndarray, level: float, noise: float) -> np.ndarray:
        """The enhanced picture, in the input's counts.

        Parameters
        ----------
        picture : ndarray
            (h, w) counts.
        level, noise : float
            See `statistics`, of the whole picture, of which this may be a window. Windows agree where they begin at multiples
            of `network.step_px`, up to `network.halo_px` from their edges.

        Returns
        -------
        ndarray
            (h, w) float32, the mean over as many orientations as the card's `turns`.
        """
        h, w = picture.shape
        # Levels lie alike in all orientations.
        rest = [(0, -n % self.network.step_px) for n in (h, w)]
        x = np.pad((np.asarray(picture, np.float32) - level) / noise, rest, "reflect")
        x = torch.from_numpy(x.astype(np.float32))
        turns = self.card["network"]["turns"]
        made = torch.zeros_like(x)
        with torch.inference_mode():
            for turn in range(turns):
                one = turned(x, turn)[None, None].contiguous(memory_format=torch.channels_last)
                made += turned_back(self.network(one)[0, 0], turn)
        return made[:h, :w].numpy() * np.float32(noise / turns) + np.float32(level)


def turned(picture: torch.Tensor, turn: int) -> torch.Tensor:
    """(..., h, w) in one of TURNS orientations: `turn % 4` quarter turns, mirrored from 4 on."""
    return torch.rot90(picture.flip(-1) if turn >= 4 else picture, turn % 4, (-2, -1))


def turned_back(picture: torch.Tensor, turn: int) -> torch.Tensor:
    """What `turned` undoes.

    Examples
    --------
    >>> x = torch.arange(6.0).reshape(2, 3)
    >>> all(torch.equal(turned_back(turned(x, turn), turn), x) for turn in range(TURNS))
    True
    """
    back = torch.rot90(picture, -(turn % 4), (-2, -1))
    return back.flip(-1) if turn >= 4 else back


def statistics(picture: np.ndarray) -> tuple[float, float]:
    """What a picture (h, w) is standardised by: its mean, and the standard deviation of its noise, in counts.

    In units of its noise, pictures of much and little light are alike, and none rules the training.
    """
    spread = float(picture.std(dtype=np.float64))
    noise = noise_deviation(np.asarray(picture, float))
    return float(picture.mean(dtype=np.float64)), max(noise, NOISELESS * spread, LEAST)


def check_fits(file: str | Path, card: dict, spec: dict) -> None:
    """Raise UserError if a trained network is of another architecture than an entry of `enhancers` wants."""
    has, wants = card["network"]["architecture"], spec["architecture"]
    if has != wants:
        raise UserError(f"{file}: has the architecture {has}, but {spec['name']} wants {wants}")
