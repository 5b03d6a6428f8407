"""Random fields, generated directly at the wanted zoom, stretch and angle.

Nothing is resampled. The geometry goes into the spectrum, so a zoomed scene is as sharp as any other.
Fields are periodic over the scene.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch


@dataclass(frozen=True)
class View:
    """How lengths of the object map to pixels: a zoom, and a stretch along one direction.

    Attributes
    ----------
    zoom
        Pixels per px of the object.
    stretch
        Ratio of the scales along and across the direction; the area stays the same.
    angle
        The direction, in radians from x towards y.
    """

    zoom: float = 1.0
    stretch: float = 1.0
    angle: float = 0.0

    @property
    def matrix(self) -> np.ndarray:
        """(2, 2) matrix that maps (x, y) of the object to px."""
        c, s = math.cos(self.angle), math.sin(self.angle)
        turn = np.array([[c, -s], [s, c]])
        root = math.sqrt(self.stretch)
        return self.zoom * turn @ np.diag([root, 1 / root]) @ turn.T


def draw_view(rng: np.random.Generator, zoom: list[float]) -> View:
    """Draw a view with a log-uniform zoom; half of the views are stretched by up to 3."""
    factor = math.exp(rng.uniform(math.log(zoom[0]), math.log(zoom[1])))
    stretch = math.exp(rng.uniform(0, math.log(3))) if rng.random() < 0.5 else 1.0
    return View(factor, stretch, rng.uniform(0, math.pi))


@cache
def grid(size: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Frequencies (ky, kx) in cycles per px of a real 2-D FFT."""
    ky = torch.fft.fftfreq(size, device=device)[:, None]
    return ky, torch.fft.rfftfreq(size, device=device)[None, :]


def _object_frequency(size: int, view: View, device) -> tuple[torch.Tensor, torch.Tensor]:
    ky, kx = grid(size, device)
    m = view.matrix
    return m[0, 1] * kx + m[1, 1] * ky, m[0, 0] * kx + m[1, 0] * ky


def _filtered_noise(size: int, amplitude: torch.Tensor, generator: torch.Generator):
    """White noise (size, size), filtered by an amplitude over frequency; mean 0, standard deviation 1."""
    noise = torch.randn(size, size, generator=generator, device=generator.device)
    amplitude[0, 0] = 0
    field = torch.fft.irfft2(torch.fft.rfft2(noise) * amplitude, s=(size, size))
    return field / field.std()


def fractal(size, view: View, generator, rng: np.random.Generator, power=(0.7, 1.6)):
    """Fractal field (size, size) with amplitude 1 / f^b, b drawn from `power`; half are oriented."""
    ky, kx = _object_frequency(size, view, generator.device)
    radius = torch.sqrt(kx**2 + ky**2).clamp_min(1e-9)
    amplitude = radius ** -rng.uniform(*power)
    if rng.random() < 0.5:
        angle, focus = rng.uniform(0, math.pi), rng.integers(1, 7)
        cosine = (kx * math.cos(angle) + ky * math.sin(angle)) / radius
        amplitude = amplitude * (0.1 + cosine.abs() ** float(focus))
    return _filtered_noise(size, amplitude, generator)


def smooth(size, view: View, generator, length: float, roughness: float):
    """Smooth field (size, size) of correlation length `length` (px of the object).

    The amplitude is (1 + (2 pi length f)^2)^-roughness; 1 gives ragged contours, 3 smooth ones.
    """
    ky, kx = _object_frequency(size, view, generator.device)
    amplitude = (1 + (2 * math.pi * length) ** 2 * (kx**2 + ky**2)) ** -roughness
    return _filtered_noise(size, amplitude, generator)


def distance_to_level(field: torch.Tensor, level: float = 0.0) -> torch.Tensor:
    """Distance in px to the contour field = level, positive inside, to first order."""
    dy = (field.roll(-1, 0) - field.roll(1, 0)) / 2
    dx = (field.roll(-1, 1) - field.roll(1, 1)) / 2
    return (field - level) / torch.sqrt(dy**2 + dx**2 + 1e-8)


def coverage(distance):
    """Share of a pixel that lies inside an edge, from the distance of its centre to the edge in px."""
    return (distance + 0.5).clip(0, 1)
