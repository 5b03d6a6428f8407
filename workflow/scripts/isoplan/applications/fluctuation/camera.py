"""What a camera makes of electrons: an sCMOS, or an EMCCD whose register multiplies them at random.

counts = round(gain * (register(electrons) + N(0, read_noise_e^2)) + offset)
"""

from dataclasses import dataclass

import numpy as np

TOP = 2**16 - 1  # counts
ROUNDING = 1 / 12  # variance in counts^2


@dataclass(frozen=True)
class Camera:
    """Facts of a camera.

    Parameters
    ----------
    gain : float
        Counts per electron, with the register's mean gain.
    offset : float
        Counts without light.
    read_noise_e : float
        Standard deviation in electrons; of an EMCCD in electrons before the register.
    excess : float
        By how much the variance of n electrons is larger than n: 1 of an sCMOS, 2 of an EMCCD.

    Examples
    --------
    >>> camera = Camera(excess=2)
    >>> frames = camera.expose(np.full((50, 40, 40), 30.0), np.random.default_rng(0))
    >>> bool(abs(camera.electrons(frames).mean() - 30) < 0.2)
    True
    >>> bool(abs(camera.electrons(frames).var() / camera.variance(30.0) - 1) < 0.05)
    True
    """

    gain: float = 2.17
    offset: float = 100.0
    read_noise_e: float = 1.6
    excess: float = 1.0

    def electrons(self, counts: np.ndarray) -> np.ndarray:
        """Electrons of counts, float32 of the same shape."""
        return (counts - np.float32(self.offset)) / np.float32(self.gain)

    def variance(self, mean_e):
        """Variance in electrons^2 of pixels of `mean_e` electrons, with that of rounding."""
        return self.excess * mean_e + self.read_noise_e**2 + ROUNDING / self.gain**2

    def expose(self, mean_e: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Counts, uint16 of the shape of `mean_e`. They are cut at 0 and at 65535."""
        electrons = rng.poisson(mean_e).astype(float)
        if self.excess > 1:
            more = self.excess - 1
            electrons = more * rng.standard_gamma(electrons / more)
        read = self.read_noise_e * rng.standard_normal(electrons.shape)
        counts = self.gain * (electrons + read) + self.offset
        return np.clip(np.rint(counts), 0, TOP).astype(np.uint16)
