"""Fourier ring correlation (FRC): down to which size two pictures of one field agree.

It does not depend on brightness or contrast, and is computed from squares, ring by ring. Sources: Saxton
and Baumeister 1982; for light microscopy Nieuwenhuizen et al. 2013, whose threshold of 1/7 is used.
"""

import numpy as np

SQUARE_PX = 256
RINGS = SQUARE_PX // 2  # up to Nyquist
THRESHOLD = 1 / 7
FREQUENCIES = (np.arange(RINGS) + 0.5) / SQUARE_PX  # middles of the rings, in cycles/px

_LINES = np.fft.fftfreq(SQUARE_PX)
_RING = (np.hypot(_LINES[:, None], np.fft.rfftfreq(SQUARE_PX)[None, :]) * SQUARE_PX).astype(
    int
)  # corners beyond Nyquist belong to rings that are not used
_WINDOW = np.outer(*(np.hanning(SQUARE_PX + 2)[1:-1],) * 2)


def ring_sums(picture: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Sums over rings of the spectra of two squares; those of several squares can be added.

    The squares' means are subtracted, and a Hann window is applied.

    Parameters
    ----------
    picture, other
        Squares (SQUARE_PX, SQUARE_PX) of finite values.

    Returns
    -------
    numpy.ndarray
        (3, RINGS) float64: real part of the cross-spectrum, and the power of both.

    Raises
    ------
    ValueError
        If a shape is wrong or a value is not finite.
    """
    spectra = []
    for square in (picture, other):
        if square.shape != (SQUARE_PX, SQUARE_PX) or not np.isfinite(square).all():
            raise ValueError(f"squares of {SQUARE_PX} px of finite values are needed")
        square = np.asarray(square, np.float64)
        spectra.append(np.fft.rfft2((square - square.mean()) * _WINDOW))
    a, b = spectra
    parts = (a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2
    # rfft2 omits half of the plane, so all columns except the first and the last count twice.
    twice = np.full(a.shape[1], 2.0)
    twice[[0, -1]] = 1
    found = [np.bincount(_RING.ravel(), (part * twice).ravel())[:RINGS] for part in parts]
    return np.stack(found)


def curve(sums: np.ndarray) -> np.ndarray:
    """FRC of each ring (RINGS,), from -1 to 1, from summed `ring_sums`; 0 where a picture has no power."""
    power = np.sqrt(sums[1] * sums[2])
    return np.divide(sums[0], power, out=np.zeros(RINGS), where=power > 0)


def resolution_px(frc: np.ndarray, frequencies: np.ndarray = FREQUENCIES) -> float:
    """Period in px at which the curve, averaged over 3 rings, first falls below 1/7.

    `frequencies` are the middles of the curve's rings in cycles/px. It is 2 px if the curve never does, and inf if it starts below.
    """
    smooth = np.convolve(np.pad(frc, 1, mode="edge"), np.full(3, 1 / 3), mode="valid")
    below = np.flatnonzero(smooth < THRESHOLD)
    if not below.size:
        return 2.0
    k = int(below[0])
    if k == 0:
        return float("inf")
    part = (smooth[k - 1] - THRESHOLD) / (smooth[k - 1] - smooth[k])
    return float(1 / (frequencies[k - 1] + part * (frequencies[k] - frequencies[k - 1])))


def summarise(curves: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """FRC and FRC-resolution (px) of pictures that are compared with one another.

    FRC is the mean over rings up to the finest resolution that any of the pictures reaches. Beyond it
    there is only noise. Frames of one camera, or a frame and an average that contains it, share some of
    that noise. It correlates, and a restoration that removes it would look worse.

    Parameters
    ----------
    curves
        The pictures' curves (RINGS,) by name.

    Returns
    -------
    dict
        "FRC" and "FRC-resolution" by name.
    """
    resolutions = {name: resolution_px(curve) for name, curve in curves.items()}
    told = 1 / min(resolutions.values(), default=2.0) >= FREQUENCIES
    told[0] = True
    return {
        name: {"FRC": float(curve[told].mean()), "FRC-resolution": resolutions[name]}
        for name, curve in curves.items()
    }
