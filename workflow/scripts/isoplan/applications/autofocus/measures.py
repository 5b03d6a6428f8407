"""Classical measures of sharpness: each is larger the sharper a picture (h, w) is.

They are those of the thesis' Table 5.1. Reviews: Sun, Duthaler and Nelson, Microsc. Res. Tech. 65, 2004;
Pertuz, Puig and Garcia, Pattern Recognit. 46, 2013.
"""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

HELD = 0.95  # of the wavelet coefficients' sum, which the counted ones hold


def high_pass(picture: np.ndarray) -> float:
    """Mean squared difference along rows."""
    return float(np.mean((picture[:, 2:] - picture[:, :-2]) ** 2))


def tenengrad(picture: np.ndarray) -> float:
    """Mean squared gradient of Sobel's filters."""
    return float(np.mean(sum(ndimage.sobel(picture, axis) ** 2 for axis in (0, 1))))


def laplacian_variance(picture: np.ndarray) -> float:
    return float(np.var(ndimage.laplace(picture)))


def modified_laplacian(picture: np.ndarray) -> float:
    """Mean of the second differences' magnitudes (SML)."""
    along = (np.abs(ndimage.convolve1d(picture, [-1, 2, -1], axis)) for axis in (0, 1))
    return float(np.mean(sum(along)))


def wavelet_energy(picture: np.ndarray) -> float:
    """Energy of the first level's details (EWC; Daubechies 2)."""
    _, *details = _wavelet(picture)
    return float(sum(np.mean(part**2) for part in details))


def wavelet_sparsity(picture: np.ndarray) -> float:
    """Number of coefficients that hold HELD of the sum of magnitudes, negative (WS): a sharp picture needs fewer, without its mean."""
    parts = _wavelet(picture - picture.mean())
    each = np.sort(np.concatenate([np.abs(part).ravel() for part in parts]))[::-1]
    return -float(np.searchsorted(np.cumsum(each), HELD * each.sum()))


MEASURES: dict[str, Callable[[np.ndarray], float]] = {
    "high-pass": high_pass,
    "tenengrad": tenengrad,
    "laplacian-variance": laplacian_variance,
    "wavelet-energy": wavelet_energy,
    "modified-laplacian": modified_laplacian,
    "wavelet-sparsity": wavelet_sparsity,
}


def _wavelet(picture: np.ndarray) -> list[np.ndarray]:
    """Approximation and three details of one level of Daubechies 2."""
    root = np.sqrt(3.0)
    low = np.array([1 + root, 3 + root, 3 - root, 1 - root]) / (4 * np.sqrt(2))
    high = low[::-1] * np.array([1, -1, 1, -1])
    found = []
    for rows in (low, high):
        part = ndimage.convolve1d(picture, rows, 0, mode="mirror")[::2]
        found += [
            ndimage.convolve1d(part, columns, 1, mode="mirror")[:, ::2] for columns in (low, high)
        ]
    return found
