"""What the spectrum of the fluctuations tells of the emitters: their emission while on, and how fast they switch.

An emitter that is on for a share p of the time, with intensity I, and switches with the rates k_on and k_off, has the
autocovariance p (1 - p) I^2 exp(-(k_on + k_off) |t|), integrated over the frames. Per electron that it emits on
average, p I, that is (1 - p) I times a spectrum of k = k_on + k_off alone. So the ratios of kappa between bands give k,
and their level (1 - p) I. p and I apart are in no covariance: they are not identifiable here.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import minimize_scalar

RATES = (0.02, 8.0)  # per frame: beyond, all frequencies look alike, or none does


@dataclass(frozen=True)
class Blinking:
    """Emitters' parameters.

    Parameters
    ----------
    amplitude_e : float
        (1 - p) I, electrons per frame.
    rate : float
        k_on + k_off, per frame; NaN where it cannot be told.
    """

    amplitude_e: float
    rate: float


def spectrum(rate: float, frequency: np.ndarray) -> np.ndarray:
    """Spectrum of a frame-integrated telegraph signal of variance 1.

    Parameters
    ----------
    rate : float
        k_on + k_off, per frame.
    frequency : ndarray
        Cycles per frame.

    Returns
    -------
    ndarray
        Variance per coefficient of an orthonormal transform. Its mean over all frequencies is the variance of a frame.

    Examples
    --------
    >>> f = (np.arange(1000) + 0.5) / 2000
    >>> k = 0.75
    >>> bool(np.isclose(spectrum(k, f).mean(), 2 * (k - 1 + np.exp(-k)) / k**2, rtol=1e-3))
    True
    """
    kept = np.exp(-rate)
    same = 2 * (rate - 1 + kept) / rate**2  # covariance within a frame
    next_ = ((1 - kept) / rate) ** 2  # with the next one
    turn = np.exp(2j * np.pi * np.asarray(frequency))
    return same + 2 * next_ * (turn / (1 - kept * turn)).real


def fit(kappa, bands, frames: int) -> Blinking:
    """Parameters from kappa of each band.

    Parameters
    ----------
    kappa : sequence of float
        Electrons, of each band.
    bands : sequence of float
        The bands' edges, cycles per frame: one more than `kappa`.
    frames : int
        Length of the sequence, or of its parts.

    Returns
    -------
    Blinking
        The rate is NaN from fewer than two bands.

    Examples
    --------
    >>> edges = (0.01, 0.06, 0.18, 0.5)
    >>> f = np.arange(500) / 1000
    >>> told = [66 * spectrum(0.75, f[(f >= a) & (f < b)]).mean() for a, b in pairwise(edges)]
    >>> found = fit(told, edges, 500)
    >>> round(found.amplitude_e), round(found.rate, 2)
    (66, 0.75)
    """
    every = np.arange(frames) / (2 * frames)
    within = [every[(every >= low) & (every < high)] for low, high in pairwise(bands)]
    weight = np.array([len(some) for some in within], float)
    weight /= weight.sum()
    if len(weight) < 2:
        # Without ratios only what the band holds is known.
        return Blinking(float(kappa[0]), float("nan"))

    def logs(log_rate: float) -> np.ndarray:
        rate = np.exp(log_rate)
        return np.log(kappa) - np.log([spectrum(rate, some).mean() for some in within])

    def spread(log_rate: float) -> float:
        left = logs(log_rate)
        return float((weight * (left - weight @ left) ** 2).sum())

    found = minimize_scalar(spread, bounds=np.log(RATES), method="bounded").x
    return Blinking(float(np.exp(weight @ logs(found))), float(np.exp(found)))
