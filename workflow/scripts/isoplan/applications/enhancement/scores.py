"""How near a result comes to a target, after the brightness and contrast that fit best."""

import numpy as np

from isoplan.metrics import catalogue, frc, image
from isoplan.metrics.catalogue import Metric

COMPARED = ("PSNR", "SSIM", "MSE", "gradient-MSE", "FRC-cutoff")
PLAIN = ("CV", "Sharpness", "Homogeneity", "Noise-share")
OWN = (
    Metric(
        "FRC-cutoff", "frequency at which the ring correlation falls below 1/7", 1, "cycles/px", 3
    ),
    Metric("Homogeneity", "likeness of neighbours' grey levels, 1 if they are equal", 0, "", 3),
    Metric("Noise-share", "power of fine details over that of coarse ones", 0, "", 3),
)
# Frequencies in cycles/px: structures are coarser than the first, and where the PSF is 3 px wide, nothing but noise is finer than
# the second.
COARSE, FINE = 0.1, 0.4
LEVELS = 64  # grey levels over the target's range, of which neighbours are compared
TRUTH = "-truth"  # ends the name of a metric that compares with the noise-free truth


def known() -> dict[str, Metric]:
    """The metrics by name."""
    return catalogue.by_name() | {metric.name: metric for metric in OWN}


def fitted(result: np.ndarray, target: np.ndarray) -> np.ndarray:
    """a x result + b nearest the target in the least-squares sense: (h, w) float64. A constant becomes the mean.

    Examples
    --------
    >>> fitted(np.array([[0.0, 1.0]]), np.array([[3.0, 5.0]])).tolist()
    [[3.0, 5.0]]
    """
    x, y = np.asarray(result, float), np.asarray(target, float)
    own, level = x - x.mean(), y.mean()
    power = (own**2).sum()
    slope = (own * (y - level)).sum() / power if power > 0 else 0.0
    return slope * own + level


def as_bright(result: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The result with the target's mean and standard deviation, which may show another place: (h, w) float64.

    Examples
    --------
    >>> as_bright(np.array([[0.0, 2.0]]), np.array([[3.0, 5.0]])).tolist()
    [[3.0, 5.0]]
    """
    x, y = np.asarray(result, float), np.asarray(target, float)
    return (x - x.mean()) / (x.std() or 1.0) * y.std() + y.mean()


def error(result: np.ndarray, target: np.ndarray) -> float:
    """Mean squared error after the fit, in counts^2 of the target."""
    return float(np.mean((fitted(result, target) - target) ** 2))


def against(result: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """The house's metrics of a fitted result; PSNR and SSIM refer to the target's range of values.

    Parameters
    ----------
    result, target : ndarray
        (h, w).

    Returns
    -------
    dict
        COMPARED and PLAIN by name. Mean squared errors are in squared units of the target.

    Examples
    --------
    >>> target = np.arange(400.0).reshape(20, 20)
    >>> found = against(2 * target + 7, target)
    >>> round(found["SSIM"], 6), found["MSE"] < 1e-9
    (1.0, True)
    """
    target = np.asarray(target, float)
    span = float(np.ptp(target))
    made = fitted(result, target)
    sums = image.cell_sums(made, target, data_range=span, cell_px=max(target.shape))
    found = image.metrics_of(sums, span) | {
        "FRC-cutoff": cutoff(made, target),
        "Homogeneity": homogeneity(made, target),
        "Noise-share": noise_share(made),
    }
    return {name: found[name] for name in (*COMPARED, *PLAIN)}


def of_picture(picture: np.ndarray) -> dict[str, float]:
    """PLAIN of a picture by itself."""
    sums = image.cell_sums(picture, data_range=0.0, cell_px=max(picture.shape))
    found = image.metrics_of(sums, 0.0) | {
        "Homogeneity": homogeneity(picture, picture),
        "Noise-share": noise_share(picture),
    }
    return {name: found[name] for name in PLAIN}


def cutoff(picture: np.ndarray, target: np.ndarray) -> float:
    """Frequency in cycles/px at which the Fourier ring correlation falls below 1/7.

    It is 0.5 if it never does, and 0 if it starts below. A Hann window goes first, and the curve is averaged over 3 rings.

    Parameters
    ----------
    picture, target : ndarray
        (h, w).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> target = rng.random((64, 64))
    >>> cutoff(target, target), cutoff(rng.random((64, 64)), target) < 0.1
    (0.5, True)
    """
    # Rings as wide as those of mosaics, or as a smaller field resolves.
    side = min(*target.shape, frc.SQUARE_PX)
    rows, columns = (np.fft.fftfreq(n) for n in target.shape)
    ring = (np.hypot(rows[:, None], columns) * side).astype(int).ravel()
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in target.shape))
    a, b = (np.fft.fft2((one - one.mean()) * window) for one in (picture, target))
    parts = (a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2
    both, own, other = (np.bincount(ring, part.ravel())[: side // 2] for part in parts)
    power = np.sqrt(own * other)
    curve = np.divide(both, power, out=np.zeros_like(both), where=power > 0)
    curve[0] = curve[1]  # the mean alone, whose correlation is 1 or -1 by chance
    return 1 / frc.resolution_px(curve, (np.arange(len(curve)) + 0.5) / side)


def homogeneity(picture: np.ndarray, target: np.ndarray) -> float:
    """How alike neighbours' grey levels are: the mean of 1 / (1 + difference^2) over pairs of pixels in four directions.

    Of the co-occurrence matrix (Haralick et al. 1973) of LEVELS levels over the target's range.

    Parameters
    ----------
    picture, target : ndarray
        (h, w), in the target's units.

    Examples
    --------
    >>> flat, board = np.zeros((8, 8)), np.indices((8, 8)).sum(0) % 2
    >>> homogeneity(flat, board), homogeneity(board, board) < 0.6
    (1.0, True)
    """
    from skimage.feature import graycomatrix, graycoprops  # heavy, and of use here alone

    low, span = target.min(), np.ptp(target) or 1.0
    levels = np.clip((picture - low) / span * LEVELS, 0, LEVELS - 1).astype(np.uint8)
    quarters = np.arange(4) * np.pi / 4
    counted = graycomatrix(levels, [1], quarters, LEVELS, symmetric=True, normed=True)
    return float(graycoprops(counted, "homogeneity").mean())


def noise_share(picture: np.ndarray) -> float:
    """Mean power at frequencies from FINE to .5 cycles/px over that below COARSE: noise over structures, of any brightness.

    A Hann window goes first. NaN of a constant.

    Parameters
    ----------
    picture : ndarray
        (h, w).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> white = rng.normal(size=(128, 128))
    >>> 0.8 < noise_share(white) < 1.2, round(noise_share(3 * white + 7) / noise_share(white), 6)
    (True, 1.0)
    """
    rows, columns = (np.fft.fftfreq(n) for n in picture.shape)
    radius = np.hypot(rows[:, None], columns)
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in picture.shape))
    own = (picture - np.average(picture, weights=window)) * window
    power = np.abs(np.fft.fft2(own)) ** 2
    coarse = power[(radius > 0) & (radius < COARSE)].mean()
    return (
        float(power[(radius >= FINE) & (radius <= 0.5)].mean() / coarse) if coarse > 0 else np.nan
    )
