"""Held-out pictures, raw and processed, by other people's code than the networks were trained with.

The raw ones: scikit-image's pictures of the test split, blurred with given PSFs and exposed. The
processed ones: the same through scikit-image, SciPy and Pillow, before the middle is cut out, so that
the borders are as in a large picture.
"""

import io
import math

import numpy as np
from isoplan.objects.pictures import SPLITS, bundled, cut
from PIL import Image
from scipy import ndimage, signal
from skimage import filters, restoration, transform

MARGIN_PX = 32  # around the patch, cut off after the processing


def raw_pictures(psfs, *, photons: float, size_px: int, seed=0, split="test") -> np.ndarray:
    """(n, size, size) float32 counts above the offset, one per PSF (n, s, s) of sum 1.

    photons: at the peak; gain 1, read noise of 2 electrons. size_px: patch plus twice MARGIN_PX.
    """
    rng = np.random.default_rng(seed)
    stock = bundled(SPLITS[split], 2)
    pictures = []
    for number, psf in enumerate(np.asarray(psfs)):
        sharp = cut(stock[number % len(stock)], size_px + len(psf) - 1, 1.0, rng)
        light = photons * signal.fftconvolve(sharp, psf, mode="valid").clip(0)
        pictures.append(rng.poisson(light) + rng.normal(0, 2, light.shape))
    return np.float32(pictures)


def processed(pictures: np.ndarray, name: str, seed=0) -> np.ndarray:
    """The patches (n, size - 2 MARGIN_PX, ...) of pictures processed by one of METHODS, or "raw"."""
    rng = np.random.default_rng(seed)
    out = [METHODS[name](picture, rng) if name != "raw" else picture for picture in pictures]
    return np.float32(out)[:, MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]


def _shown(function):
    """A function of pictures between 0 and 1."""

    def scaled(picture, rng):
        low, span = picture.min(), np.ptp(picture)
        return low + span * function((picture - low) / span, rng)

    return scaled


def _noise(picture) -> float:
    """The noise's deviation, from the finest diagonal detail."""
    detail = picture[:-1, :-1] - picture[1:, :-1] - picture[:-1, 1:] + picture[1:, 1:]
    return float(np.median(np.abs(detail)) / 0.6745 / 2)


def _total_variation(picture, rng):
    return restoration.denoise_tv_chambolle(picture, weight=rng.uniform(1, 3) * _noise(picture))


def _nl_means(picture, rng):
    noise = _noise(picture)
    settings = {"patch_size": 5, "patch_distance": 5, "sigma": noise}
    return restoration.denoise_nl_means(picture, h=noise, **settings)


def _bilateral(picture, rng):
    noise = rng.uniform(3, 5) * _noise(picture)
    return restoration.denoise_bilateral(picture, win_size=7, sigma_color=noise, sigma_spatial=2)


def _jpeg(quality):
    def compressed(picture, rng):
        file = io.BytesIO()
        Image.fromarray(np.uint8(np.round(255 * picture))).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file), np.float64) / 255

    return _shown(compressed)


def _middle(picture, shape):
    top, left = ((a - b) // 2 for a, b in zip(picture.shape, shape, strict=True))
    return picture[top : top + shape[0], left : left + shape[1]]


def _enlarged(factor, order):
    def enlarged(picture, rng):
        return _middle(transform.rescale(picture, factor, order), picture.shape)

    return _shown(enlarged)


def _shrunk(picture, rng):
    small = transform.rescale(picture, 0.5, anti_aliasing=True)
    return transform.resize(small, picture.shape, order=1)


def _turned(picture, rng):
    return ndimage.rotate(picture, rng.uniform(10, 80), reshape=False, order=1, mode="mirror")


def _clipped(picture, rng):
    lit = picture[picture > 0.2 * np.quantile(picture, 0.999)]
    return np.clip(picture, None, np.quantile(lit, rng.uniform(0.7, 0.95)))


def _haze(picture, rng):
    """Two more layers, 4 times as bright in sum and out of focus by discs of 10 to 25 px."""
    light = np.zeros_like(picture, np.float64)
    for turn in (1, 2):
        radius = rng.uniform(10, 25)
        reach = math.ceil(radius)
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        disc = 1.0 * (y**2 + x**2 <= radius**2)
        layer = np.pad(np.rot90(picture, turn), reach, mode="symmetric")
        layer = signal.fftconvolve(layer, disc / disc.sum(), mode="valid")
        light += layer * 2 * picture.std() / layer.std()
    # Gain 1: the noise's variance is the light.
    return picture + rng.poisson(light - min(light.min(), 0))


def _deconvolved(picture, rng):
    line = signal.windows.gaussian(13, rng.uniform(1, 2.5))
    psf = line[:, None] * line / line.sum() ** 2
    return restoration.richardson_lucy(picture + 1e-3, psf, num_iter=10, clip=False)


# Kind of isoplan.optics.processing -> the methods that belong to it.
BY_KIND = {
    "denoised": {
        "total variation": _shown(_total_variation),
        "non-local means": _shown(_nl_means),
        "bilateral": _shown(_bilateral),
        "gaussian": lambda picture, rng: ndimage.gaussian_filter(picture, rng.uniform(0.7, 1.5)),
        "median": lambda picture, rng: ndimage.median_filter(picture, 3),
    },
    "jpeg": {"jpeg 10": _jpeg(10), "jpeg 30": _jpeg(30)},
    "resampled": {
        "enlarged 1.5": _enlarged(1.5, 1),
        "enlarged 3, cubic": _enlarged(3, 3),
        "shrunk and enlarged": _shown(_shrunk),
        "turned": _turned,
    },
    "saturated": {"clipped": _clipped},
    "haze": {"haze": _haze},
    "sharpened": {
        "unsharp mask": _shown(
            lambda picture, rng: filters.unsharp_mask(picture, 1.5, rng.uniform(2, 4))
        ),
        "richardson-lucy": _shown(_deconvolved),
    },
    "posterised": {"16 levels": _shown(lambda picture, rng: np.round(15 * picture) / 15)},
}
METHODS = {name: method for methods in BY_KIND.values() for name, method in methods.items()}
