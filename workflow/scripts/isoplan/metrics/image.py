"""Image metrics: pure functions on arrays, and the same metrics gathered block by block.

Formulas of the SSFI-1 report on restoring mosaics (MSE, SSIM, PSNR, CV, Sharpness, gradient-MSE),
in floating point, and the signal-to-noise ratio. Pictures are (h, w); sums run in float64.

`valid` is a mask (h, w) of the pixels that count, None for all; a pixel that is not finite in either
picture never counts. A metric of a neighbourhood (3 x 3 gradients, 11 x 11 SSIM) counts where all of
it is valid. Where nothing counts a metric is NaN.
"""

import math

import numpy as np
from scipy import ndimage

SSIM_SIGMA_PX = 1.5
HALO_PX = 5  # half the 11 x 11 window of SSIM; the gradients need 1
_K1, _K2 = 0.01, 0.03  # Wang et al. 2004


def _usable(valid: np.ndarray | None, *pictures: np.ndarray | None) -> np.ndarray:
    """Pixels that are valid and finite in all pictures: (h, w) bool."""
    finite = [np.isfinite(picture) for picture in pictures if picture is not None]
    return np.logical_and.reduce(finite if valid is None else [valid, *finite])


def _eroded(usable: np.ndarray, radius: int) -> np.ndarray:
    """Pixels whose whole neighbourhood is usable; what lies outside the picture counts as usable."""
    if usable.all():
        return usable
    size = 2 * radius + 1
    return ndimage.minimum_filter(usable.view(np.uint8), size, mode="nearest").astype(bool)


def _cleaned(picture: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """float64, zero where not usable, so that NaN does not spread through sums and filters."""
    return np.where(usable, picture, 0).astype(np.float64)


def gradient_magnitude(picture: np.ndarray) -> np.ndarray:
    """sqrt(Gx^2 + Gy^2) by unnormalised Sobel kernels (+-1, +-2), the edge mirrored: (h, w) float64."""
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


class ImageMetrics:
    """All metrics of a picture, gathered block by block; the blocks may come in any order.

    data_range: the span of values that PSNR and SSIM refer to (e.g. the truth's maximum minus its
    minimum); at 0, a constant truth, both are NaN. Memory: some ten float64 arrays of one block's
    size. Blocks and whole agree within 1e-6.
    """

    def __init__(self, data_range: float):
        if not (math.isfinite(data_range) and data_range >= 0):
            raise ValueError(f"data_range {data_range} must be finite and at least 0")
        self.data_range = data_range
        # Of the picture alone: count, mean, sum of squared deviations; count, sum of gradients.
        self._count, self._mean, self._deviations = 0, 0.0, 0.0
        self._gradient = [0, 0.0]
        # Against the truth, [count, sum] each.
        self._error, self._signal = [0, 0.0], [0, 0.0]
        self._ssim, self._gradient_error = [0, 0.0], [0, 0.0]
        self._with_truth = False

    def add(
        self,
        picture: np.ndarray,
        truth: np.ndarray | None = None,
        core: tuple[slice, slice] | None = None,
        valid: np.ndarray | None = None,
    ) -> None:
        """Adds a block (h, w). core: the part that is counted, the cores a partition of the picture.

        Around its core a block carries a halo of at least HALO_PX, less only where the picture ends
        (`tiles.with_halo`): SSIM leaves out the outermost HALO_PX of the picture, as scikit-image
        does, and takes a block's edge for the picture's where the halo is shorter.
        """
        shape = np.shape(picture)
        core = core or (slice(0, shape[0]), slice(0, shape[1]))
        usable = _usable(valid, picture, truth)
        picture = _cleaned(picture, usable)
        counted, smooth = usable[core], _eroded(usable, 1)[core]
        gradient = gradient_magnitude(picture)[core]
        self._add_values(picture[core][counted])
        _accumulate(self._gradient, gradient[smooth])
        if truth is None:
            return
        self._with_truth = True
        truth = _cleaned(truth, usable)
        _accumulate(self._error, (picture[core] - truth[core])[counted] ** 2)
        _accumulate(self._signal, truth[core][counted] ** 2)
        difference = gradient - gradient_magnitude(truth)[core]
        _accumulate(self._gradient_error, difference[smooth] ** 2)
        interior = np.zeros(shape, bool)
        interior[HALO_PX : shape[0] - HALO_PX, HALO_PX : shape[1] - HALO_PX] = True
        windows = (interior & _eroded(usable, HALO_PX))[core]
        if windows.any() and self.data_range > 0:
            _accumulate(self._ssim, ssim_map(picture, truth, self.data_range)[core][windows])

    def _add_values(self, values: np.ndarray) -> None:
        """Merges mean and squared deviations (Chan et al. 1979), which sums of squares would blur."""
        if not values.size:
            return
        mean = float(values.mean())
        deviations = float(((values - mean) ** 2).sum())
        count = self._count + values.size
        step = mean - self._mean
        self._deviations += deviations + step**2 * self._count * values.size / count
        self._mean += step * values.size / count
        self._count = count

    def result(self) -> dict[str, float]:
        """CV and Sharpness; with a truth also MSE, SSIM, PSNR, gradient-MSE and SNR (dB).

        A picture equal to its truth has MSE 0, SSIM 1 and PSNR and SNR inf.
        """
        deviation = math.sqrt(self._deviations / self._count) if self._count else math.nan
        result = {
            "CV": deviation / self._mean if self._mean else math.nan,
            "Sharpness": _ratio(self._gradient),
        }
        if self._with_truth:
            error = _ratio(self._error)
            result |= {
                "MSE": error,
                "SSIM": _ratio(self._ssim),
                "PSNR": _decibel(self.data_range**2, error) if self.data_range else math.nan,
                "gradient-MSE": _ratio(self._gradient_error),
                "SNR": _decibel(self._signal[1], self._error[1]),
            }
        return result


def _accumulate(total: list, values: np.ndarray) -> None:
    total[0] += values.size
    total[1] += float(values.sum())


def _ratio(total: list) -> float:
    return total[1] / total[0] if total[0] else math.nan


def _decibel(signal: float, error: float) -> float:
    """10 log10(signal / error); inf at error 0, -inf at signal 0, NaN where either is or both are 0."""
    if math.isnan(error) or (signal == 0 and error == 0):
        return math.nan
    if error == 0:
        return math.inf
    return 10 * math.log10(signal / error) if signal > 0 else -math.inf


def _counted(valid: np.ndarray | None, *pictures: np.ndarray) -> list[np.ndarray]:
    """The pixels that count, float64 (n,) each."""
    usable = _usable(valid, *pictures)
    return [np.asarray(picture, np.float64)[usable] for picture in pictures]


def mse(picture: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> float:
    """Mean of (picture - truth)^2."""
    x, y = _counted(valid, picture, truth)
    return float(((x - y) ** 2).mean()) if x.size else math.nan


def ssim(
    picture: np.ndarray, truth: np.ndarray, data_range: float, valid: np.ndarray | None = None
) -> float:
    """Mean of `ssim_map` over the picture without its outermost 5 px; NaN where that leaves nothing."""
    metrics = ImageMetrics(data_range)
    metrics.add(picture, truth, valid=valid)
    return metrics.result()["SSIM"]


def psnr(
    picture: np.ndarray, truth: np.ndarray, data_range: float, valid: np.ndarray | None = None
) -> float:
    """10 log10(data_range^2 / MSE) in dB; inf for a perfect picture."""
    return _decibel(data_range**2, mse(picture, truth, valid)) if data_range else math.nan


def cv(picture: np.ndarray, valid: np.ndarray | None = None) -> float:
    """Coefficient of variation: standard deviation over mean; NaN at mean 0."""
    (x,) = _counted(valid, picture)
    return float(x.std() / x.mean()) if x.size and x.mean() else math.nan


def sharpness(picture: np.ndarray, valid: np.ndarray | None = None) -> float:
    """Mean gradient magnitude (the report's formula; its text says sum)."""
    usable = _usable(valid, picture)
    kept = gradient_magnitude(_cleaned(picture, usable))[_eroded(usable, 1)]
    return float(kept.mean()) if kept.size else math.nan


def gradient_mse(picture: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> float:
    """MSE between the gradient magnitudes of the two pictures."""
    usable = _usable(valid, picture, truth)
    x, y = (gradient_magnitude(_cleaned(values, usable)) for values in (picture, truth))
    return mse(x, y, _eroded(usable, 1))


def snr(picture: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> float:
    """10 log10(sum truth^2 / sum (truth - picture)^2) in dB; inf for a perfect picture."""
    x, y = _counted(valid, picture, truth)
    return _decibel(float((y**2).sum()), float(((y - x) ** 2).sum()))
