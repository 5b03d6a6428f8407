"""Image metrics from sums over cells, block by block, and the SNR of a whole picture.

The formulas are those of the SSFI-1 report on restoring mosaics (MSE, SSIM, PSNR, CV, Sharpness,
gradient-MSE), in floating point, and the signal-to-noise ratio. Pictures are (h, w); sums are float64.

`valid` is a mask (h, w) of the pixels that count, None for all. A pixel that is not finite in either
picture never counts. A metric of a neighbourhood (3 x 3 gradients, 11 x 11 SSIM) counts where all of it is
valid. If nothing counts, a metric is NaN.
"""

import math

import numpy as np
from scipy import ndimage

SSIM_SIGMA_PX = 1.5
HALO_PX = 5  # half the 11 x 11 window of SSIM; gradients need 1
_K1, _K2 = 0.01, 0.03  # Wang et al. 2004


def _usable(valid: np.ndarray | None, *pictures: np.ndarray | None) -> np.ndarray:
    """Pixels that are valid and finite in all pictures: (h, w) bool."""
    finite = [np.isfinite(picture) for picture in pictures if picture is not None]
    return np.logical_and.reduce(finite if valid is None else [valid, *finite])


def _eroded(usable: np.ndarray, radius: int) -> np.ndarray:
    """Pixels whose whole neighbourhood is usable; pixels outside the picture count as usable."""
    if usable.all():
        return usable
    size = 2 * radius + 1
    return ndimage.minimum_filter(usable.view(np.uint8), size, mode="nearest").astype(bool)


def _cleaned(picture: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """The picture as float64, zero where not usable, so that NaN does not spread in filters and sums."""
    return np.where(usable, picture, 0).astype(np.float64)


def gradient_magnitude(picture: np.ndarray) -> np.ndarray:
    """sqrt(Gx^2 + Gy^2) by unnormalised Sobel kernels (+-1, +-2), reflected at edges: (h, w) float64."""
    picture = np.asarray(picture, np.float64)
    return np.hypot(ndimage.sobel(picture, axis=0), ndimage.sobel(picture, axis=1))


def ssim_map(picture: np.ndarray, truth: np.ndarray, data_range: float) -> np.ndarray:
    """SSIM of each pixel by an 11 x 11 Gaussian window of sigma 1.5 px: (h, w) float64.

    alpha = beta = gamma = 1 and c3 = c2 / 2 (Wang et al. 2004, the usual reading of the report's
    formula). Equal to scikit-image's with gaussian_weights=True, use_sample_covariance=False.
    """
    x, y = np.asarray(picture, np.float64), np.asarray(truth, np.float64)

    def smooth(values: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(values, SSIM_SIGMA_PX, radius=HALO_PX)

    mean_x, mean_y = smooth(x), smooth(y)
    variance_x = smooth(x * x) - mean_x**2
    variance_y = smooth(y * y) - mean_y**2
    covariance = smooth(x * y) - mean_x * mean_y
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    return ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    )


# The sums over a cell, from which all metrics follow, over any number of cells. In this order: pixels that
# count, their values, squared deviations from the cell's mean; pixels with a complete gradient, gradients;
# squared errors, squares of the truth; pixels with a complete SSIM window, SSIM; squared errors of the
# gradient. The last five are NaN without a truth.
SUMS = (
    "count", "sum", "deviations", "gradient_count", "gradient",
    "error", "signal", "ssim_count", "ssim", "gradient_error",
)  # fmt: skip


def cell_sums(
    picture: np.ndarray,
    truth: np.ndarray | None = None,
    *,
    data_range: float,
    cell_px: int,
    core: tuple[slice, slice] | None = None,
    valid: np.ndarray | None = None,
) -> np.ndarray:
    """SUMS over cells of a block.

    Memory: about ten float64 arrays of the block's size.

    Parameters
    ----------
    picture, truth
        The block (h, w), and the truth if there is one.
    data_range
        Range of values that SSIM refers to; SSIM does not count if it is 0.
    cell_px
        Side of a cell in px; the last ones may be smaller.
    core
        The part of the block that is cut into cells. The halo around it has at least HALO_PX, except where
        the picture ends (`tiles.with_halo`). SSIM leaves out the outermost HALO_PX of the picture, as
        scikit-image does; it takes a block's edge with a shorter halo for the picture's edge.
    valid
        Mask (h, w) of the pixels that count.

    Returns
    -------
    numpy.ndarray
        (len(SUMS), ny, nx) float64.

    Raises
    ------
    ValueError
        If data_range is negative.
    """
    _check_range(data_range)
    shape = np.shape(picture)
    core = core or (slice(0, shape[0]), slice(0, shape[1]))
    usable = _usable(valid, picture, truth)
    picture = _cleaned(picture, usable)
    counted, smooth = usable[core], _eroded(usable, 1)[core]
    gradient = gradient_magnitude(picture)[core]
    values = picture[core]
    count, total = per_cell(counted, cell_px), per_cell(values, cell_px)
    mean = total / np.maximum(count, 1)
    rows, columns = (np.arange(length) // cell_px for length in values.shape)
    deviations = np.where(counted, values - mean[np.ix_(rows, columns)], 0) ** 2
    found = [count, total, per_cell(deviations, cell_px)]
    found += [per_cell(smooth, cell_px), per_cell(gradient * smooth, cell_px)]
    if truth is None:
        return np.stack(found + [np.full_like(count, np.nan)] * (len(SUMS) - len(found)))
    truth = _cleaned(truth, usable)
    difference = gradient - gradient_magnitude(truth)[core]
    interior = np.zeros(shape, bool)
    interior[HALO_PX : shape[0] - HALO_PX, HALO_PX : shape[1] - HALO_PX] = data_range > 0
    windows = (interior & _eroded(usable, HALO_PX))[core]
    similar = ssim_map(picture, truth, data_range)[core] if windows.any() else windows
    parts = (
        (values - truth[core]) ** 2, truth[core] ** 2, windows, similar * windows,
        difference**2 * smooth,
    )  # fmt: skip
    return np.stack(found + [per_cell(part, cell_px) for part in parts])


def per_cell(values: np.ndarray, cell_px: int) -> np.ndarray:
    """Sums of values (h, w) over cells of cell_px (the last ones may be smaller): (ny, nx) float64."""
    values = values.astype(np.float64, copy=False)
    rows = np.add.reduceat(values, np.arange(0, values.shape[0], cell_px), axis=0)
    return np.add.reduceat(rows, np.arange(0, values.shape[1], cell_px), axis=1)


def metrics_of(sums: np.ndarray, data_range: float) -> dict[str, float]:
    """All metrics of a picture from its cell sums.

    A picture that equals its truth has MSE 0, SSIM 1, and infinite PSNR and SNR. The cells' size only
    matters to a relative 1e-9.

    Parameters
    ----------
    sums
        (len(SUMS), ...), from `cell_sums`.
    data_range
        Range of values that PSNR refers to; PSNR is NaN if it is 0.

    Returns
    -------
    dict
        Mean, CV and Sharpness; with a truth also MSE, SSIM, PSNR, gradient-MSE and SNR (dB).
    """
    _check_range(data_range)
    cells = dict(zip(SUMS, np.reshape(sums, (len(SUMS), -1)), strict=True))
    total = {name: float(values.sum()) for name, values in cells.items()}
    mean = _ratio(total["sum"], total["count"])
    # Deviations from the overall mean (Chan et al. 1979); sums of squares would lose precision.
    own = cells["sum"] / np.maximum(cells["count"], 1)
    deviations = total["deviations"] + float((cells["count"] * (own - mean) ** 2).sum())
    deviation = math.sqrt(_ratio(deviations, total["count"])) if total["count"] else math.nan
    result = {
        "Mean": mean,
        "CV": deviation / mean if mean else math.nan,
        "Sharpness": _ratio(total["gradient"], total["gradient_count"]),
    }
    if not math.isnan(total["error"]):
        error = _ratio(total["error"], total["count"])
        result |= {
            "MSE": error,
            "SSIM": _ratio(total["ssim"], total["ssim_count"]),
            "PSNR": _decibel(data_range**2, error) if data_range else math.nan,
            "gradient-MSE": _ratio(total["gradient_error"], total["gradient_count"]),
            "SNR": _decibel(total["signal"], total["error"]),
        }
    return result


def _check_range(data_range: float) -> None:
    if not (math.isfinite(data_range) and data_range >= 0):
        raise ValueError(f"data_range {data_range} must be finite and at least 0")


def _ratio(total: float, count: float) -> float:
    return total / count if count else math.nan


def _decibel(signal: float, error: float) -> float:
    """10 log10(signal / error): inf if error is 0, -inf if signal is 0, NaN if both are or error is NaN."""
    if math.isnan(error) or (signal == 0 and error == 0):
        return math.nan
    if error == 0:
        return math.inf
    return 10 * math.log10(signal / error) if signal > 0 else -math.inf


def snr(picture: np.ndarray, truth: np.ndarray) -> float:
    """Signal-to-noise ratio, 10 log10(sum truth^2 / sum (truth - picture)^2) in dB.

    Examples
    --------
    >>> snr(np.array([[1.0, 1.0]]), np.array([[1.0, 1.1]])) > 20
    True
    """
    usable = _usable(None, picture, truth)
    x, y = (np.asarray(values, np.float64)[usable] for values in (picture, truth))
    return _decibel(float((y**2).sum()), float(((y - x) ** 2).sum()))
