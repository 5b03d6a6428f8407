"""SOFI: pictures of the cumulants of fluctuating light (Dertinger et al. 2009), of order 2 to 4.

Light of emitters that blink independently adds up in the cumulants of order n too, each through the n-th power of the
PSF h, a Gaussian of sigma / sqrt(n):

    cumulant_n(y_1, ..., y_n) = sum_k kappa_k h(r_k - p_1) ... h(r_k - p_n)
                              = exp(-sum |p_i - p|^2 / (2 sigma^2)) sum_k kappa_k h(r_k - p)^n

for pixels at p_1 to p_n with the middle p. So each combination of different pixels tells the picture between them, on a
grid n times finer, without shot and read noise, which pixels do not share (Dertinger et al. 2010). The exponential, the
distance factor, is known with sigma, and is divided out.
"""

from itertools import combinations
from math import exp, pi, sqrt

import numpy as np

from isoplan.applications.fluctuation.baselines import richardson_lucy
from isoplan.applications.fluctuation.blocks import BLOCK, deviations
from isoplan.applications.fluctuation.formation import SIGMA, Formation, Psf

# Cumulants of Poisson light's intensity from those of its counts (1 to n): factorial cumulants.
FACTORIAL = {2: (-1, 1), 3: (2, -3, 1), 4: (-6, 11, -6, 1)}
WINDOW = [(y, x) for y in range(3) for x in range(3)]  # pixels that are combined lie within one


def sigma_px(psf: Psf) -> float:
    """Standard deviation of PSF and pixel together, in camera pixels: that of a Gaussian of the same FWHM."""
    return sqrt((psf.fwhm_px * SIGMA) ** 2 + 1 / 12)


def auto_cumulant(
    frames, order: int, *, block: int = BLOCK, read_noise_e: float | None = None
) -> np.ndarray:
    """Cumulant of each pixel's values over time, without lag.

    Parameters
    ----------
    frames : array_like
        (t, y, x) electrons.
    order : int
        2 to 4.
    block : int
        Cumulants are taken in blocks of so many frames, and averaged.
    read_noise_e : float or None
        Standard deviation in electrons; with it, shot and read noise are taken out, which hold for a camera that does
        not multiply electrons (factorial cumulants of the counts are cumulants of the intensity). None leaves them in.

    Returns
    -------
    ndarray
        (y, x) float64, electrons^order, unbiased for frames that are independent (Fisher's k-statistics).

    Raises
    ------
    ValueError
        If the order is another, or a block has no more frames than it.

    Examples
    --------
    >>> counts = np.random.default_rng(0).poisson(5, (20000, 1, 1))
    >>> [round(float(auto_cumulant(counts, n)[0, 0])) for n in (2, 3)]
    [5, 5]
    >>> bool(abs(auto_cumulant(counts, 2, read_noise_e=0)[0, 0]) < 0.2)
    True
    """
    _check(order)
    found = 0
    for mean, parts in deviations(frames, block):
        each = [mean, *(joint_cumulant([parts] * n) for n in range(2, order + 1))]
        found = found + len(parts) / len(frames) * np.array(each, float)
    if read_noise_e is None:
        return found[-1]
    found[1] -= read_noise_e**2
    return np.tensordot(FACTORIAL[order], found, axes=1)


def cross_cumulant(frames, order: int, sigma_px: float, *, block: int = BLOCK) -> np.ndarray:
    """Cumulants of different pixels on the grid between them, flattened by the distance factor.

    Of the combinations within 3 x 3 pixels with the same middle, those are used whose pixels are closest to it.

    Parameters
    ----------
    frames, order, block
        As in `auto_cumulant`.
    sigma_px : float
        Of PSF and pixel together.

    Returns
    -------
    ndarray
        (n (height - 1) + 1, n (width - 1) + 1) float64, n the order: value j is at the camera's pixel j / n. NaN where
        no combination fits into the picture, as in its corners.

    Raises
    ------
    ValueError
        If the order is another, or a block has no more frames than it.

    Examples
    --------
    >>> frames = np.random.default_rng(0).normal(size=(500, 1, 1)) + np.zeros((1, 4, 4))
    >>> cross_cumulant(frames, 2, sigma_px=1.2).shape  # here all pixels are alike
    (7, 7)
    """
    _check(order)
    total, weight = (
        np.zeros([order * (length - 1) + 1 for length in frames.shape[1:]]) for _ in range(2)
    )
    for _, parts in deviations(frames, block):
        for pixels, spread in _combinations(order):
            factor = exp(-spread / (2 * sigma_px**2))
            shape = np.array(parts.shape[1:]) - np.max(pixels, axis=0)
            if min(shape) < 1:
                continue
            value = joint_cumulant(
                [parts[:, y : y + shape[0], x : x + shape[1]] for y, x in pixels]
            )
            at = tuple(
                slice(first, first + order * (length - 1) + 1, order)
                for first, length in zip(np.sum(pixels, axis=0), shape, strict=True)
            )
            # Least squares: all combinations tell the same value, times their factors.
            total[at] += len(parts) * factor * value
            weight[at] += len(parts) * factor**2
    return np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0)


def sofi(
    frames,
    psf: Psf,
    *,
    order: int = 2,
    factor: int = 4,
    border: int = 3,
    cross: bool = True,
    iterations: int = 50,
    linear: bool = False,
    read_noise_e: float | None = None,
    block: int = BLOCK,
) -> np.ndarray:
    """A cumulant's picture, restored to the fine grid by Richardson-Lucy (as bSOFI: Geissbuehler et al. 2012).

    The restoration goes from the cumulant's grid straight to the fine one, so nothing is interpolated.

    Parameters
    ----------
    frames : array_like
        (t, y, x) electrons.
    psf : Psf
        An Airy pattern counts as the Gaussian of its FWHM.
    order : int
        2 to 4.
    factor, border : int
        Of the fine grid, as in `Formation`.
    cross : bool
        Whether different pixels are combined (`cross_cumulant`), or each is used by itself (`auto_cumulant`).
    iterations : int
        Steps of accelerated Richardson-Lucy. They decide much, so a comparison should say how many there were.
    linear : bool
        Whether the n-th root is taken at last, which makes a single emitter's value proportional to its light. Without
        it, values are proportional to the number of emitters where all are alike.
    read_noise_e : float or None
        For auto-cumulants, as there.
    block : int
        As in `auto_cumulant`.

    Returns
    -------
    ndarray
        (height * factor, width * factor) float32, electrons^order, or electrons if linear: of each fine pixel, the
        cumulant of its light. A cumulant may be negative, as that of order 4 is for emitters that are on for .21 to .79
        of the time: the sign that most of the picture has counts, and what has the other one is noise.

    Examples
    --------
    >>> psf = Psf(2.5)
    >>> psi = Formation.of((8, 8), psf, factor=2, border=3)
    >>> x = np.zeros(psi.fine_shape)
    >>> x[14, 14] = 100
    >>> on = np.random.default_rng(0).random((500, 1, 1)) < 0.3
    >>> found = sofi(on * psi.forward(x), psf, factor=2)
    >>> np.unravel_index(found.argmax(), found.shape) == (8, 8)
    True
    """
    width = sigma_px(psf)
    if cross:
        found = cross_cumulant(frames, order, width, block=block)
    else:
        found = auto_cumulant(frames, order, block=block, read_noise_e=read_noise_e)
    found = found * (np.sign(np.nansum(found)) or 1)
    psi = _powers(frames.shape[1:], width, order, order if cross else 1, factor, border)
    picture = psi.inner(richardson_lucy(found, psi, iterations=iterations))
    return (picture ** (1 / order) if linear else picture).astype(np.float32)


def joint_cumulant(parts: list[np.ndarray]) -> np.ndarray:
    """Unbiased joint cumulant over the first axis of 2 to 4 arrays that have the mean 0 along it.

    These are Fisher's k-statistics, polarised: all arrays alike give the k-statistic of one.
    """
    n = len(parts[0])

    def mean(*which: int) -> np.ndarray:
        product = parts[which[0]]
        for i in which[1:]:
            product = product * parts[i]
        return product.mean(axis=0, dtype=np.float64)

    if n <= len(parts):
        raise ValueError(f"{n} frames are too few for a cumulant of order {len(parts)}")
    if len(parts) == 2:
        return n / (n - 1) * mean(0, 1)
    if len(parts) == 3:
        return n**2 / ((n - 1) * (n - 2)) * mean(0, 1, 2)
    pairs = mean(0, 1) * mean(2, 3) + mean(0, 2) * mean(1, 3) + mean(0, 3) * mean(1, 2)
    scale = n**2 / ((n - 1) * (n - 2) * (n - 3))
    return scale * ((n + 1) * mean(0, 1, 2, 3) - (n - 1) * pairs)


def _check(order: int) -> None:
    if order not in FACTORIAL:
        raise ValueError(f"order {order}: cumulants of order 2, 3 and 4 are known")


def _combinations(order: int) -> list[tuple[tuple, float]]:
    """Sets of different pixels, and the sum of their squared distances from their middle: the least of each kind.

    Of one kind are sets whose middles lie alike between pixels.
    """
    kinds: dict[tuple, list] = {}
    for pixels in combinations(WINDOW, order):
        at = np.array(pixels)
        if at.min(axis=0).any():
            continue  # the same set as one that begins in the window's corner
        spread = round(float(((at - at.mean(axis=0)) ** 2).sum()), 6)
        kinds.setdefault(tuple(at.sum(axis=0) % order), []).append((pixels, spread))
    least = {kind: min(spread for _, spread in sets) for kind, sets in kinds.items()}
    return [each for kind, sets in kinds.items() for each in sets if each[1] == least[kind]]


def _powers(shape, sigma_px: float, order: int, finer: int, factor: int, border: int) -> Formation:
    """From the fine grid to a cumulant's: the order-th power of a Gaussian, at `finer` values per camera pixel."""
    sides = []
    for length in shape:
        seen = np.arange(finer * (length - 1) + 1) / finer + 0.5
        fine = (np.arange((length + 2 * border) * factor) + 0.5) / factor - border
        h = np.exp(-(((seen[:, None] - fine) / sigma_px) ** 2) / 2) / (sqrt(2 * pi) * sigma_px)
        sides.append(h[None] ** order)
    return Formation(*sides, factor, border)
