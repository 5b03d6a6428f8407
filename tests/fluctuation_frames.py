"""Frames of emitters that blink, for tests: filaments, two states, shot and read noise, and what is true of them."""

from dataclasses import dataclass

import numpy as np
from isoplan.applications.fluctuation.formation import SIGMA, Formation, Psf

PSF = Psf(1.1 / SIGMA)  # sigma 1.1 px, as in the pilot's setting
BORDER = 3
FINER = 5  # emitters lie on a grid so many times finer than the fine one


@dataclass(frozen=True)
class Scene:
    """Frames (t, y, x) of electrons, the mean light of each fine pixel (no border), and Psi."""

    frames: np.ndarray
    truth: np.ndarray
    psi: Formation


def filaments(size: int, per_px: float, rng, *, count: int = 4) -> np.ndarray:
    """(n, 2) positions of emitters in camera pixels, on bent lines through the picture."""
    found = []
    for _ in range(count):
        start, turn = rng.uniform(0, size, 2), rng.uniform(0, 2 * np.pi)
        bend = rng.normal(0, 0.02)  # radians per pixel
        length = 2 * size
        s = np.sort(rng.uniform(-length, length, rng.poisson(2 * length * per_px)))
        fine = np.linspace(-length, length, 40 * length)
        angle = turn + bend * fine
        path = np.cumsum(np.stack([np.sin(angle), np.cos(angle)], 1), axis=0) * (fine[1] - fine[0])
        path -= path[len(path) // 2] - start
        at = np.stack([np.interp(s, fine, path[:, i]) for i in (0, 1)], 1)
        found.append(at[((at >= 0) & (at < size)).all(axis=1)])
    return np.concatenate(found)


def telegraph(n: int, frames: int, rng, *, on: float = 2, off: float = 4, bleach: float = 0):
    """(frames, n) of 0 and 1: emitters that switch with these mean times, in frames; bleach: 0 for never."""
    state = rng.random(n) < on / (on + off)
    alive = rng.exponential(bleach, n) if bleach else np.full(n, np.inf)
    made = np.empty((frames, n), np.float32)
    for t in range(frames):
        made[t] = state & (alive > t)
        state = np.where(rng.random(n) < np.where(state, 1 / on, 1 / off), ~state, state)
    return made


def scene(
    positions: np.ndarray,
    size: int,
    rng,
    *,
    frames: int = 500,
    factor: int = 4,
    light: float = 100,
    background: float = 20,
    drift: float = 0.0,
    read_noise: float = 1.6,
    bleach: float = 0,
) -> Scene:
    """Frames of emitters at `positions`. drift: share by which the background changes slowly."""
    finest = factor * FINER
    psi = Formation.of((size, size), PSF, factor=finest, border=BORDER)
    y, x = np.floor((positions.T + BORDER) * finest).astype(int)
    states = telegraph(len(positions), frames, rng, bleach=bleach)
    rows, columns = psi.rows[0][:, y], psi.columns[0][:, x]
    slow = background * (1 + drift * np.sin(np.arange(frames) / frames * 4))
    made = np.empty((frames, size, size), np.float32)
    for t in range(frames):
        mean = (rows * (light * states[t])) @ columns.T + slow[t]
        made[t] = rng.poisson(mean) + rng.normal(0, read_noise, mean.shape)
    truth = np.zeros((size * factor, size * factor))
    at = np.floor(positions.T * factor).astype(int)
    np.add.at(truth, tuple(at), light * states.mean(axis=0))
    return Scene(made, truth, Formation.of((size, size), PSF, factor=factor, border=BORDER))
