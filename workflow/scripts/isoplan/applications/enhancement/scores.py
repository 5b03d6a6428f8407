"""How near a result comes to a target, after the brightness and contrast that fit best."""

import numpy as np

from isoplan.metrics import image

COMPARED = ("PSNR", "SSIM", "MSE", "gradient-MSE")
PLAIN = ("CV", "Sharpness")
TRUTH = "-truth"  # ends the name of a metric that compares with the noise-free truth


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
    sums = image.cell_sums(
        fitted(result, target), target, data_range=span, cell_px=max(target.shape)
    )
    found = image.metrics_of(sums, span)
    return {name: found[name] for name in (*COMPARED, *PLAIN)}


def of_picture(picture: np.ndarray) -> dict[str, float]:
    """PLAIN of a picture by itself."""
    sums = image.cell_sums(picture, data_range=0.0, cell_px=max(picture.shape))
    found = image.metrics_of(sums, 0.0)
    return {name: found[name] for name in PLAIN}
