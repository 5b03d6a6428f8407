"""Mean and covariance of the frames of switching emitters, in closed form.

An emitter is on for exponential times of mean `on_frames` and off for those of mean `off_frames`. With the rates
k_on = 1 / off_frames and k_off = 1 / on_frames, k = k_on + k_off, it is on with the probability p = k_on / k, and its
state s(t) has the covariance p (1 - p) exp(-k |t - u|). A frame sees the integral of s over its time:

    c_0 = p (1 - p) 2 (k - 1 + exp(-k)) / k^2
    c_n = p (1 - p) exp(-k (n - 1)) ((1 - exp(-k)) / k)^2    for n >= 1

An emitter of brightness I emits x = I p on average and fluctuates by I^2 c_n = kappa_n x, hence

    Cov(y_t, y_t+n) = kappa_n Psi diag(x) Psi' + [n = 0] diag(noise).

Bleaching is left out of the covariance: it is slow, and what is slow is dropped before covariances are taken.
"""

import numpy as np

from isoplan.applications.fluctuation import blinking
from isoplan.applications.fluctuation.formation import Formation


def share_on(on_frames: float, off_frames: float) -> float:
    """Probability p that an emitter is on."""
    return on_frames / (on_frames + off_frames)


def rate(on_frames: float, off_frames: float) -> float:
    """k = k_on + k_off, per frame."""
    return 1 / on_frames + 1 / off_frames


def autocovariance(on_frames: float, off_frames: float, lags) -> np.ndarray:
    """c_n of the time that an emitter is on within a frame.

    Parameters
    ----------
    on_frames, off_frames : float
        Mean times, in frames.
    lags : array_like
        Integers, in frames.

    Returns
    -------
    ndarray
        Of the shape of `lags`, in frames^2.

    Examples
    --------
    >>> np.round(autocovariance(2, 4, [0, 1, 2]), 3)
    array([0.176, 0.11 , 0.052])
    """
    p, k, n = share_on(on_frames, off_frames), rate(on_frames, off_frames), np.abs(lags)
    same = 2 * (k + np.expm1(-k)) / k**2
    other = np.exp(-k * (n - 1)) * (np.expm1(-k) / k) ** 2
    return p * (1 - p) * np.where(n == 0, same, other)


def spectrum(on_frames: float, off_frames: float, frequencies) -> np.ndarray:
    """Sum of c_n exp(-2 pi i f n) over all lags: the variance of coefficients of an orthonormal transform over time.

    frequencies: in cycles per frame, 0 to 0.5.
    """
    p = share_on(on_frames, off_frames)
    return p * (1 - p) * blinking.spectrum(rate(on_frames, off_frames), frequencies)


def kappa(photons: float, on_frames: float, off_frames: float, lags=0) -> np.ndarray:
    """kappa_n in electrons: an emitter's covariance divided by its mean emission.

    photons: brightness I, in electrons per frame while on.
    """
    c = autocovariance(on_frames, off_frames, lags)
    return photons * c / share_on(on_frames, off_frames)


def covariance(psi: Formation, x: np.ndarray, kappa: float, noise=0.0) -> np.ndarray:
    """kappa Psi diag(x) Psi' + diag(noise), as one matrix: for small pictures.

    Parameters
    ----------
    psi : Formation
        Of h x w px.
    x : ndarray
        (fine height, fine width) mean emission with the border, in electrons per frame.
    kappa : float
        From `kappa`, in electrons.
    noise : ndarray or float
        (h, w) variance of the noise, in electrons^2.

    Returns
    -------
    ndarray
        (h w, h w) in electrons^2.
    """
    matrix = sum(np.kron(a, b) for a, b in zip(psi.rows, psi.columns, strict=True))
    diagonal = np.broadcast_to(noise, psi.shape).ravel()
    return kappa * (matrix * x.ravel()) @ matrix.T + np.diag(diagonal)
