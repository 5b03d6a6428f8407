"""Conventional filters, each with a few settings, of which training fields choose one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from scipy import ndimage

from isoplan.applications.enhancement.scores import error
from isoplan.base.errors import UserError

RAW = "raw"  # the input as it is, beside the filters
LEVELS = 4  # of wavelets
SPLINE = np.array([1, 4, 6, 4, 1]) / 16
PATCH_PX, REACH_PX = 5, 6  # of non-local means
PSF_FWHM_PX, PSF_PX = 2.5, 9  # of the deconvolution
STEPS, BRIGHT = 30, 0.999  # its iterations; quantile of the light that its weight refers to
LEAST_STABLE = 2 * np.sqrt(3 / 8)  # what no light becomes
INSTALL = "install the extra, .venv/bin/uv pip install -r envs/requirements-bm3d.txt"


@dataclass(frozen=True)
class Camera:
    """What methods are told of the input's detector.

    Attributes
    ----------
    gain : float
        Counts per electron.
    offset : float
        Counts without light.
    read_noise_e : float
        Standard deviation of the read noise in electrons.
    """

    gain: float = 1.0
    offset: float = 0.0
    read_noise_e: float = 0.0


@dataclass(frozen=True)
class Filter:
    """A method: `fit` chooses by training fields, `apply` enhances any field. A method that learns has the same two.

    Attributes
    ----------
    label : str
        Its name in the report.
    key : str
        What its setting is.
    grid : tuple of float
        The settings that are tried, in ascending order.
    run : callable
        (picture (h, w) in counts, setting, Camera) -> picture (h, w) float64 in counts.
    """

    label: str
    key: str
    grid: tuple[float, ...]
    run: Callable[[np.ndarray, float, Camera], np.ndarray]

    def fit(self, pairs: Iterable, camera: Camera) -> dict[float, float]:
        """The mean error of each setting over pairs (input, target), (h, w) each, in counts^2 of the target."""
        found = [
            [error(self.run(low, setting, camera), high) for setting in self.grid]
            for low, high in pairs
        ]
        return dict(zip(self.grid, np.mean(found, axis=0).tolist(), strict=True))

    def apply(self, picture: np.ndarray, setting: float, camera: Camera) -> np.ndarray:
        """The enhanced picture (h, w)."""
        return self.run(picture, setting, camera)


def choose(name: str, pairs: Iterable, camera: Camera) -> dict:
    """What training pairs choose of a filter.

    Parameters
    ----------
    name : str
        One of FILTERS.
    pairs : iterable
        Of (input, target), (h, w) each.
    camera : Camera
        Of the input.

    Returns
    -------
    dict
        setting, its mean error, whether it lies at an end of those that were tried, and all tried with their errors.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> target = np.add.outer(np.arange(40.0), np.arange(40.0))
    >>> choose("mean", [(target + rng.normal(0, 9, (40, 40)), target)], Camera())["setting"]
    9
    """
    tried = FILTERS[name].fit(pairs, camera)
    best = min(tried, key=lambda setting: tried[setting])
    grid = FILTERS[name].grid
    return {
        "setting": best,
        "error": tried[best],
        "at_end": best in (grid[0], grid[-1]),
        "tried": [[setting, value] for setting, value in tried.items()],
    }


def noise_deviation(picture: np.ndarray) -> float:
    """Standard deviation of white noise in counts, from second differences in both directions; at least a little."""
    rows = picture[:-2] - 2 * picture[1:-1] + picture[2:]
    rest = np.abs(rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]) / 6
    # In whole counts of a dark picture the median may be 0.
    found = np.median(rest) / 0.6745 or np.mean(rest) * np.sqrt(np.pi / 2)
    return float(max(found, 1e-6))


def stabilised(picture: np.ndarray, camera: Camera) -> np.ndarray:
    """The generalised Anscombe transform of counts: noise of a standard deviation of about 1, (h, w) float64.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> camera = Camera(gain=2.0, offset=10.0, read_noise_e=1.0)
    >>> counts = 2 * (rng.poisson(20, (200, 200)) + rng.normal(0, 1, (200, 200))) + 10
    >>> round(float(stabilised(counts, camera).std()), 1)
    1.0
    """
    electrons = (np.asarray(picture, float) - camera.offset) / camera.gain
    return 2 * np.sqrt(np.maximum(electrons + 3 / 8 + camera.read_noise_e**2, 0))


def unstabilised(values: np.ndarray, camera: Camera) -> np.ndarray:
    """Expected counts of a denoised `stabilised` picture (h, w): the unbiased inverse.

    The closed form of Makitalo and Foi, IEEE Trans. Image Process. 20 (2011) 2697 and 22 (2013) 91.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> light = rng.poisson(4.0, 100_000)[None]
    >>> round(float(unstabilised(stabilised(light, Camera()).mean(keepdims=True), Camera())[0, 0]), 1)
    4.0
    """
    z = np.maximum(values, LEAST_STABLE)
    root = np.sqrt(1.5)
    electrons = z**2 / 4 + root / 4 / z - 11 / 8 / z**2 + 5 / 8 * root / z**3 - 1 / 8
    return camera.gain * (np.maximum(electrons, 0) - camera.read_noise_e**2) + camera.offset


def gaussian(picture: np.ndarray, sigma_px: float, camera: Camera) -> np.ndarray:
    """A Gaussian of a standard deviation in px."""
    return ndimage.gaussian_filter(np.asarray(picture, float), sigma_px, mode="reflect")


def mean(picture: np.ndarray, side_px: float, camera: Camera) -> np.ndarray:
    """The mean over squares of an odd side in px."""
    return ndimage.uniform_filter(np.asarray(picture, float), int(side_px), mode="reflect")


def median(picture: np.ndarray, side_px: float, camera: Camera) -> np.ndarray:
    """The median over squares of an odd side in px."""
    return ndimage.median_filter(np.asarray(picture, float), int(side_px), mode="reflect")


def non_local_means(picture: np.ndarray, strength: float, camera: Camera) -> np.ndarray:
    """Non-local means; strength in standard deviations of the picture's noise."""
    return _similar(picture, strength, noise_deviation(picture))


def wavelets(picture: np.ndarray, threshold: float, camera: Camera) -> np.ndarray:
    """Soft thresholds on undecimated wavelets, in standard deviations of the picture's noise."""
    return _shrunk(picture, threshold, noise_deviation(picture))


def stable_non_local_means(picture: np.ndarray, strength: float, camera: Camera) -> np.ndarray:
    """Non-local means of the stabilised picture."""
    return unstabilised(_similar(stabilised(picture, camera), strength, 1.0), camera)


def stable_wavelets(picture: np.ndarray, threshold: float, camera: Camera) -> np.ndarray:
    """Wavelets of the stabilised picture."""
    return unstabilised(_shrunk(stabilised(picture, camera), threshold, 1.0), camera)


def stable_bm3d(picture: np.ndarray, strength: float, camera: Camera) -> np.ndarray:
    """BM3D of the stabilised picture, by the package bm3d of its authors, which is an extra.

    Dabov et al., IEEE Trans. Image Process. 16 (2007) 2080, in the form of Makinen et al., 29 (2020) 8339. It works in
    single precision; pictures below some 10 px crash it.

    Raises
    ------
    UserError
        If the package is not installed.
    """
    return unstabilised(_bm3d()(stabilised(picture, camera), strength), camera)


def deconvolved(picture: np.ndarray, strength: float, camera: Camera) -> np.ndarray:
    """Our restoration (`restoration.richardson_lucy`, with total variation) by a Gaussian PSF of PSF_FWHM_PX, blurred by it
    again, as the target is blurred too; its weight is `strength` over the electrons at the brightest places."""
    import torch  # heavy, and of use here alone

    from isoplan.optics.blur import SpaceVariantBlur
    from isoplan.optics.gaussian import gaussian_psfs
    from isoplan.restoration.richardson_lucy import richardson_lucy

    electrons = (np.asarray(picture, float) - camera.offset) / camera.gain
    shift = camera.read_noise_e**2
    counts = electrons.clip(min=-shift).astype(np.float32)
    psf = gaussian_psfs(torch.full((1, 2), PSF_FWHM_PX), PSF_PX)[None]
    edge = PSF_PX // 2
    # What lies beyond the edges is not seen; continued by reflection, it leaves no rim.
    y = torch.from_numpy(np.pad(counts, edge, "symmetric"))
    blur = SpaceVariantBlur(psf, [0], [0], tuple(y.shape))
    scale = max(float(np.quantile(gaussian(electrons, 1.0, camera), BRIGHT)), 1.0)
    found = richardson_lucy(
        y,
        blur,
        iterations=STEPS,
        tv_weight=strength / scale,
        start=max(float(y.mean()), 1e-3),
        scale=scale,
        shift=shift,
    )
    seen = blur.forward(found)[edge:-edge, edge:-edge]
    return camera.gain * seen.numpy().astype(float) + camera.offset


@cache
def _bm3d() -> Callable[[np.ndarray, float], np.ndarray]:
    try:
        import bm3d
    except ImportError as error:
        text = f"bm3d-stabilised needs bm3d, which is not installed ({error})"
        raise UserError(f"{text}; {INSTALL}, or leave it out") from None
    profile = bm3d.BM3DProfile()
    profile.num_threads = 1  # results of several differ from run to run
    return partial(bm3d.bm3d, profile=profile)


def _similar(picture: np.ndarray, strength: float, sigma: float) -> np.ndarray:
    from skimage.restoration import denoise_nl_means  # heavy, and of use here alone

    return denoise_nl_means(
        np.asarray(picture, float),
        patch_size=PATCH_PX,
        patch_distance=REACH_PX,
        h=strength * sigma,
        sigma=sigma,
        fast_mode=True,
    )


def _planes(picture: np.ndarray) -> list[np.ndarray]:
    """The picture as planes that add up to it, fine to coarse: undecimated wavelets of cubic splines (starlets)."""
    planes, smooth = [], np.asarray(picture, float)
    for level in range(LEVELS):
        kernel = np.zeros(4 * 2**level + 1)
        kernel[:: 2**level] = SPLINE
        lower = ndimage.convolve1d(smooth, kernel, axis=0, mode="reflect")
        lower = ndimage.convolve1d(lower, kernel, axis=1, mode="reflect")
        planes.append(smooth - lower)
        smooth = lower
    return [*planes, smooth]


def _shrunk(picture: np.ndarray, threshold: float, sigma: float) -> np.ndarray:
    one = np.zeros((129, 129))
    one[64, 64] = 1.0
    *fine, smooth = _planes(picture)
    for plane, response in zip(fine, _planes(one), strict=False):
        limit = threshold * sigma * np.sqrt((response**2).sum())
        smooth = smooth + np.sign(plane) * np.maximum(np.abs(plane) - limit, 0)
    return smooth


_STRENGTHS, _THRESHOLDS = (0.4, 0.6, 0.8, 1.0, 1.3, 1.7), (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
FILTERS = {
    "gaussian": Filter("Gaussian", "sigma_px", (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0), gaussian),
    "mean": Filter("Mean", "side_px", (3, 5, 7, 9), mean),
    "median": Filter("Median", "side_px", (3, 5, 7, 9), median),
    "nlm": Filter("Non-local means", "strength", _STRENGTHS, non_local_means),
    "wavelet": Filter("Wavelets", "threshold", _THRESHOLDS, wavelets),
    "nlm-stabilised": Filter(
        "Non-local means, stabilised", "strength", _STRENGTHS, stable_non_local_means
    ),
    "wavelet-stabilised": Filter("Wavelets, stabilised", "threshold", _THRESHOLDS, stable_wavelets),
    "deconvolved-tv": Filter(
        "TV deconvolution, blurred again", "tv_weight", (0.5, 1.0, 2.0, 4.0, 8.0, 16.0), deconvolved
    ),
    "bm3d-stabilised": Filter(
        "BM3D, stabilised", "strength", (0.7, 0.85, 1.0, 1.2, 1.5), stable_bm3d
    ),
}
# Those that are told the input's camera.
TOLD = ("nlm-stabilised", "wavelet-stabilised", "deconvolved-tv", "bm3d-stabilised")
