"""Fourier ring correlation: down to which size two pictures of one field agree.

Saxton and Baumeister 1982; for light microscopy Nieuwenhuizen et al. 2013, whose threshold of 1/7 is
used. It does not see brightness or contrast, and is taken over squares, ring by ring.
"""

import numpy as np

SQUARE_PX = 256
RINGS = SQUARE_PX // 2  # up to Nyquist
THRESHOLD = 1 / 7
FREQUENCIES = (np.arange(RINGS) + 0.5) / SQUARE_PX  # the rings' middles, cycles per px

_LINES = np.fft.fftfreq(SQUARE_PX)
_RING = (np.hypot(_LINES[:, None], np.fft.rfftfreq(SQUARE_PX)[None, :]) * SQUARE_PX).astype(
    int
)  # the corners beyond Nyquist lie in rings that nobody asks for
_WINDOW = np.outer(*(np.hanning(SQUARE_PX + 2)[1:-1],) * 2)


def ring_sums(picture: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Sums over the rings of two squares (SQUARE_PX, SQUARE_PX): (3, RINGS) float64.

    Their cross-spectrum's real part and the power of each, without their means, under a Hann window.
    Sums of several squares add up. Raises ValueError for another shape or values that are not finite.
    """
    spectra = []
    for square in (picture, other):
        if square.shape != (SQUARE_PX, SQUARE_PX) or not np.isfinite(square).all():
            raise ValueError(f"squares of {SQUARE_PX} px of finite values are needed")
        square = np.asarray(square, np.float64)
        spectra.append(np.fft.rfft2((square - square.mean()) * _WINDOW))
    a, b = spectra
    parts = (a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2
    # All columns but the first and the last stand for two.
    twice = np.full(a.shape[1], 2.0)
    twice[[0, -1]] = 1
    found = [np.bincount(_RING.ravel(), (part * twice).ravel())[:RINGS] for part in parts]
    return np.stack(found)


def curve(sums: np.ndarray) -> np.ndarray:
    """FRC ring by ring, from -1 to 1, of summed `ring_sums`; 0 where a picture holds nothing."""
    power = np.sqrt(sums[1] * sums[2])
    return np.divide(sums[0], power, out=np.zeros(RINGS), where=power > 0)


def resolution_px(frc: np.ndarray) -> float:
    """Period in px at which the curve, over 3 rings, first falls below 1/7; 2 px where it never does,
    inf where it lies below from the first."""
    smooth = np.convolve(np.pad(frc, 1, mode="edge"), np.full(3, 1 / 3), mode="valid")
    below = np.flatnonzero(smooth < THRESHOLD)
    if not below.size:
        return 2.0
    k = int(below[0])
    if k == 0:
        return float("inf")
    part = (smooth[k - 1] - THRESHOLD) / (smooth[k - 1] - smooth[k])
    return float(1 / (FREQUENCIES[k - 1] + part * (FREQUENCIES[k] - FREQUENCIES[k - 1])))


def summarise(curves: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """FRC and FRC-resolution (px) of pictures that are compared with one another, of their curves.

    FRC is the mean over the rings up to the finest resolution that any of them reaches. Beyond it they hold
    noise, some of which frames by one camera, or a frame and an average that it is part of, have in
    common: it correlates, and a restoration that takes it away would look worse for that.
    """
    resolutions = {name: resolution_px(curve) for name, curve in curves.items()}
    told = 1 / min(resolutions.values(), default=2.0) >= FREQUENCIES
    told[0] = True
    return {
        name: {"FRC": float(curve[told].mean()), "FRC-resolution": resolutions[name]}
        for name, curve in curves.items()
    }
