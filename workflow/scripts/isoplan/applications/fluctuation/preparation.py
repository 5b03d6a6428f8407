"""What a sequence must tell before covariances are taken: its camera, drift, light, and broken pixels.

Frames are an array (t, h, w), or anything that has a `shape` and is sliced over t, such as an array of zarr. They are
read in blocks of at most BLOCK_VALUES numbers, or of one frame. Beside some copies of a block, each function keeps a few
pictures, `drift` and `calibrate` about three for each of their groups. So memory does not grow with the number of frames.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import sqrt
from typing import NamedTuple

import numpy as np
from scipy import fft, interpolate, ndimage, stats

from isoplan.applications.fluctuation.camera import ROUNDING, Camera
from isoplan.base.errors import UserError
from isoplan.optics.exposure import lone_pixels

BLOCK_VALUES = 2**21  # 16 MB
LEAST_FRAMES, LEAST_PX = 20, 12
MOST_SATURATED, CHANCE = 1e-3, 20  # share of values at the top; so many may be there by chance
CALMEST = 5  # percentile of the variances
STUCK = 0.9  # a pixel that is at the top in more of the frames is broken, not saturated


def blocks(frames) -> Iterator[tuple[int, np.ndarray]]:
    """Number of the first frame and float64 (n, h, w), one block after the other."""
    count, height, width = frames.shape
    step = max(1, BLOCK_VALUES // (height * width))
    for start in range(0, count, step):
        yield start, np.asarray(frames[start : start + step], dtype=np.float64)


def _mean_and_variance(frames) -> tuple[np.ndarray, np.ndarray]:
    """Of each pixel over time, (h, w)."""
    total, squares = (np.zeros(frames.shape[1:]) for _ in range(2))
    for _, block in blocks(frames):
        total += block.sum(0)
        squares += (block**2).sum(0)
    mean = total / frames.shape[0]
    return mean, np.maximum(squares / frames.shape[0] - mean**2, 0)


def _weights(variance: np.ndarray, broken: np.ndarray | None) -> np.ndarray:
    """1 / variance, 0 where broken. Pixels that hardly change count no more than the calmest of the others."""
    weights = 1 / np.maximum(variance, max(np.percentile(variance, CALMEST), 1e-12))
    return weights if broken is None else np.where(broken, 0.0, weights)


def check(frames) -> None:
    """Refuse frames from which nothing can be learnt.

    Parameters
    ----------
    frames
        (t, h, w), see the module.

    Raises
    ------
    UserError
        If they are no sequence, too few, too small or in colour; if a frame is constant, or equal to the one before,
        or has values that are not finite; or if more than MOST_SATURATED of the values are at the top.

    Examples
    --------
    >>> check(np.random.default_rng(0).poisson(50, (40, 16, 16)))
    >>> check(np.ones((16, 16)))
    Traceback (most recent call last):
    isoplan.base.errors.UserError: this is one frame (16 x 16 px); give a sequence of frames (t, y, x)
    """
    _check_shape(tuple(frames.shape))
    top, at_top, before = -np.inf, 0, None
    for start, block in blocks(frames):
        _check_values(start, block, before)
        if block.max() > top:
            top, at_top = block.max(), 0
        at_top = at_top + (block == top).sum(0)
        before = block[-1]
    saturated = at_top[at_top <= STUCK * frames.shape[0]].sum()
    if saturated > max(CHANCE, MOST_SATURATED * np.prod(frames.shape)):
        raise UserError(
            f"{100 * saturated / np.prod(frames.shape):.2g} % of the values are {top:g}, the largest one: the frames are "
            "saturated, and their fluctuations cut off; take them with less light or a lower gain"
        )


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) == 2 or (len(shape) == 3 and shape[0] == 1):
        raise UserError(
            f"this is one frame ({shape[-2]} x {shape[-1]} px); give a sequence of frames (t, y, x)"
        )
    if len(shape) != 3 or shape[2] in (3, 4):
        raise UserError(
            f"frames have the shape {shape}, as of colours or channels; give one channel as (t, y, x)"
        )
    if shape[0] < LEAST_FRAMES:
        raise UserError(
            f"there are {shape[0]} frames; fluctuations want {LEAST_FRAMES} at the very least, better hundreds"
        )
    if min(shape[1:]) < LEAST_PX:
        raise UserError(
            f"frames of {shape[1]} x {shape[2]} px are too small; give {LEAST_PX} x {LEAST_PX} px or more"
        )


def _check_values(start: int, block: np.ndarray, before: np.ndarray | None) -> None:
    flat = block.reshape(len(block), -1)
    if not np.isfinite(block).all():
        bad = int(np.argmin(np.isfinite(flat).all(1)))
        number = int((~np.isfinite(flat[bad])).sum())
        raise UserError(
            f"frame {start + bad} has {number} values that are not finite; leave the frame out or replace them"
        )
    even = np.ptp(flat, axis=1) == 0
    if even.any():
        bad = int(np.argmax(even))
        raise UserError(
            f"frame {start + bad} is constant (all {flat[bad, 0]:g}); leave such frames out"
        )
    with_before = block if before is None else np.concatenate([before[None], block])
    same = (with_before[1:] == with_before[:-1]).all((1, 2))
    if same.any():
        bad = start + int(np.argmax(same)) + (before is None)
        raise UserError(
            f"frame {bad} is a copy of the one before: copies do not fluctuate; leave them out"
        )


# Camera --------------------------------------------------------------------------------------------

FOURTH = np.array([1.0, -4.0, 6.0, -4.0, 1.0]) / sqrt(70)  # differences; noise keeps its variance
SIXTH = np.array([1.0, -6.0, 15.0, -20.0, 15.0, -6.0, 1.0]) / sqrt(924)
PARTS = 10  # of the sequence, whose answers differ by chance
LEVELS, TRIMMED = 24, 0.1  # of brightness
SURE = 0.25  # largest half width of the gain's interval
# Variance of sixth over that of fourth differences. Fluctuations make it .98 to .99 at a FWHM of 1.5 px, .96 at 1.2.
WHITE = 0.975, 1.05
READ_NOISE_E = 1.6  # of a usual sCMOS


@dataclass(frozen=True)
class Calibration:
    """A camera, and how well it is known.

    Parameters
    ----------
    camera : Camera
        What was given, and estimates of the rest.
    gain_interval, offset_interval : tuple of float
        95 %, of what the frames say by chance alone, also where the number was given. The offset's holds if the
        read noise is right.
    notes : tuple of str
        What was assumed, and what cannot be known.
    """

    camera: Camera
    gain_interval: tuple[float, float]
    offset_interval: tuple[float, float]
    notes: tuple[str, ...]


def calibrate(
    frames,
    *,
    gain: float | None = None,
    offset: float | None = None,
    read_noise_e: float | None = None,
    excess: float = 1.0,
) -> Calibration:
    """Gain, offset and read noise of the camera, from the noise of the frames.

    Noise is independent between pixels and frames. Fluctuations of emitters are not: they spread over the PSF. So the
    variance is that of differences between successive frames, of which fourth differences along y and x are taken.
    Of a PSF with a FWHM of 2 px or more, hardly anything is left by these. Then

        variance = gain excess mean + gain^2 read_noise_e^2 + 1/12 - gain excess offset

    is a line. It is fitted to trimmed means over the pixels of each brightness, so that broken pixels do not count.
    The line has two numbers. Read noise and offset cannot both be told from it, nor gain and excess: the read noise is
    taken as READ_NOISE_E where neither it nor the offset is given.

    Parameters
    ----------
    frames
        (t, h, w) counts, see the module.
    gain, offset, read_noise_e : float, optional
        Counts per electron, counts, electrons. What is given is kept.
    excess : float
        2 of an EMCCD.

    Returns
    -------
    Calibration
        Fluctuations make the gain too large where the PSF is narrower: by 5 % at 1.5 px, 25 % at 1.2 px.

    Raises
    ------
    UserError
        If the gain is to be found, and the brightness of the pixels differs too little.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> light = np.broadcast_to(np.linspace(20, 200, 64), (100, 64, 64))
    >>> found = calibrate(Camera(gain=2, offset=100).expose(light, rng))
    >>> bool(abs(found.camera.gain - 2) < 0.1), bool(abs(found.camera.offset - 100) < 10)
    (True, True)
    """
    _check_shape(tuple(frames.shape))
    means, variances, white = _noise(frames)
    # The levels of the whole sequence, then those without one part after the other (jackknife).
    levels = [_levels(means.mean(0), variances.mean(0))]
    for k in range(PARTS):
        levels.append(_levels(*(np.delete(v, k, axis=0).mean(0) for v in (means, variances))))
    slopes, rests = np.transpose([_line(*level) for level in levels])
    gains = slopes / excess
    error = _half_width(gains[1:])
    notes = []
    if gain is None:
        gain = gains[0]
        if not error < SURE * gain:
            raise UserError(
                "the gain cannot be told, as the noise does not grow clearly with the light; give the camera's gain"
            )
    else:  # the line of the given slope
        gains = np.full(len(gains), gain)
        rests = np.array([np.mean(v - gain * excess * m) for m, v in levels])
    assumed = READ_NOISE_E if read_noise_e is None else read_noise_e
    offsets = ((gains * assumed) ** 2 + ROUNDING - rests) / (gains * excess)
    spread = _half_width(offsets[1:])
    if offset is None:
        offset = offsets[0]
        if read_noise_e is None:
            read_noise_e = assumed
            notes.append(
                f"read noise and offset cannot be told apart: a read noise of {assumed} e- is assumed; without any the "
                f"offset would be {gain * assumed**2 / excess:.1f} counts lower"
            )
    elif read_noise_e is None:
        squared = (rests[0] - ROUNDING + gain * excess * offset) / gain**2
        read_noise_e = sqrt(max(squared, 0.0))
        if squared < 0:
            notes.append("there is less noise without light than none: offset or gain is wrong")
    if excess == 1:
        notes.append("the gain is that of an sCMOS; of an EMCCD it would be half (excess 2)")
    if not WHITE[0] < white < WHITE[1]:
        notes.append(
            "CAUTION: noise is not independent between pixels, or the PSF is narrower than 2 px; frames must be those "
            "of the camera"
        )
    return Calibration(
        Camera(float(gain), float(offset), float(read_noise_e), excess),
        (float(slopes[0] / excess - error), float(slopes[0] / excess + error)),
        (float(offsets[0] - spread), float(offsets[0] + spread)),
        tuple(notes),
    )


def _half_width(without: np.ndarray) -> float:
    """Of the 95 % interval, from the numbers found without one part after the other."""
    return float(stats.t.ppf(0.975, PARTS - 1) * sqrt(PARTS - 1) * without.std())


def _noise(frames) -> tuple[np.ndarray, np.ndarray, float]:
    """Means and variances of the noise, (PARTS, h, w) without a rim of 3 px; and how white it is."""
    count, *shape = frames.shape
    means, variances = np.zeros((2, PARTS, *shape))
    part_of = np.arange(count - 1) * PARTS // (count - 1)
    sixth, last = 0.0, None
    for start, block in blocks(frames):
        if last is not None:
            start, block = start - 1, np.concatenate([last[None], block])
        part = part_of[start : start + len(block) - 1]
        steps = np.diff(block, axis=0) / sqrt(2)
        np.add.at(means, part, block[1:])
        np.add.at(variances, part, _apart(steps, FOURTH) ** 2)
        sixth += (_apart(steps, SIXTH)[:, 3:-3, 3:-3] ** 2).sum()
        last = block[-1]
    # The pixels of which a difference is made count for the mean by the squares of their weights.
    means = _apart(means, FOURTH**2)[:, 3:-3, 3:-3]
    variances = variances[:, 3:-3, 3:-3]
    number = np.bincount(part_of)[:, None, None]
    return means / number, variances / number, float(sixth / variances.sum())


def _apart(pictures: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return ndimage.correlate1d(ndimage.correlate1d(pictures, weights, axis=1), weights, axis=2)


def _levels(mean: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Brightness and variance of each level of brightness: means without the outermost TRIMMED of the pixels."""
    order = np.array_split(np.argsort(mean, axis=None), LEVELS)
    return tuple(
        np.array([stats.trim_mean(v.ravel()[i], TRIMMED) for i in order]) for v in (mean, variance)
    )


def _line(light: np.ndarray, noise: np.ndarray) -> tuple[float, float]:
    """Slope and rest of noise = slope light + rest. An estimate of a variance errs by a share of it."""
    slope, rest = np.polyfit(light, noise, 1, w=1 / np.maximum(noise, 1e-12))
    return float(slope), float(rest)


# Drift ---------------------------------------------------------------------------------------------

GROUPS, ROUNDS, RIM = 20, 5, 3
WAVES = 4  # of the background along y and x: with a plane instead, what bleaches before it seems to drift
STIFF = 10.0 ** np.arange(-2, 7)  # the last is a straight line
STIFFER = 1.05  # the stiffest path counts whose error is at most so many times the least


@dataclass(frozen=True)
class Drift:
    """A path.

    Parameters
    ----------
    path_px : ndarray
        (t, 2): what lies at y is seen at y + path in frame t. Its mean over the groups of frames is 0.
    error_px : ndarray
        (t, 2) standard error, if the path is as smooth as it was taken to be. In simulations true errors are 1.2 times
        as large on straight paths, and twice as large on random walks and where many emitters bleach.
    """

    path_px: np.ndarray
    error_px: np.ndarray

    @property
    def length_px(self) -> float:
        """Largest distance of two places of the path along y or x."""
        return float(np.ptp(self.path_px, axis=0).max())


def drift(frames, *, broken: np.ndarray | None = None) -> Drift:
    """The drift of the picture, as a smooth path.

    The mean of each of GROUPS groups of frames is brought onto the mean of all by least squares: a displacement, a
    factor, and a smooth background. Pixels weigh by their variance over time, since emitters that blink are
    what the groups differ by. The path through the groups is as stiff as leaving out one group after the other allows.

    Parameters
    ----------
    frames
        (t, h, w), see the module.
    broken : ndarray, optional
        (h, w) bool, of pixels that do not count: from `broken_pixels`. They stay where they are.

    Returns
    -------
    Drift
        Straight drifts of 5 px are found. Where nothing is seen the error is large.
    """
    _check_shape(tuple(frames.shape))
    count = frames.shape[0]
    group_of = np.arange(count) * GROUPS // count
    number = np.bincount(group_of)
    pictures, squares = np.zeros((GROUPS, *frames.shape[1:])), np.zeros(frames.shape[1:])
    for start, block in blocks(frames):
        np.add.at(pictures, group_of[start : start + len(block)], block)
        squares += (block**2).sum(0)
    variance = squares / count - (pictures.sum(0) / count) ** 2
    pictures /= number[:, None, None]
    weights = _weights(variance, broken)
    if broken is not None:  # their neighbours take values from them where the picture is moved
        pictures = np.stack([_filled(picture, broken) for picture in pictures])
    places = _places(pictures, weights)
    return _smooth_path(places, (np.cumsum(number) - number / 2) - 0.5, count)


def _places(pictures: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(n, 2) displacements of pictures against their common mean."""
    inner = (slice(RIM, -RIM),) * 2
    waves = [
        [np.cos(np.pi * k * (np.arange(n) + 0.5) / n) for k in range(WAVES)] for n in weights.shape
    ]
    background = [np.outer(a, b)[inner].ravel() for a, b in product(*waves)]
    weights = weights[inner].ravel()
    places = np.zeros((len(pictures), 2))
    for _ in range(ROUNDS):
        common = np.mean(
            [_moved(picture, -place) for picture, place in zip(pictures, places, strict=True)], 0
        )
        for picture, place in zip(pictures, places, strict=True):
            seen = _moved(common, place)
            slopes = [-slope[inner].ravel() for slope in np.gradient(seen)]
            terms = np.stack([*slopes, seen[inner].ravel(), *background])
            weighted = terms * weights
            # The normal equations: on large pictures much faster than least squares of all pixels.
            fitted = np.linalg.lstsq(weighted @ terms.T, weighted @ picture[inner].ravel())[0]
            # A step of more than a pixel leaves where the slopes hold.
            place += np.clip(fitted[:2] / max(fitted[2], 0.1), -1, 1)
        places -= places.mean(0)
    return places


def _moved(picture: np.ndarray, by: np.ndarray) -> np.ndarray:
    return ndimage.shift(picture, by, order=3, mode="nearest")


def _filled(picture: np.ndarray, broken: np.ndarray) -> np.ndarray:
    """Broken pixels from the others beside them, by Gaussian weights."""
    known = ndimage.gaussian_filter((~broken).astype(float), 1.0)
    values = ndimage.gaussian_filter(np.where(broken, 0, picture), 1.0)
    return np.where(broken, values / np.maximum(known, 1e-12), picture)


def _smooth_path(places: np.ndarray, at: np.ndarray, count: int) -> Drift:
    """Penalised second differences; the penalty by the error of groups that are left out."""
    bend = np.diff(np.eye(len(places)), 2, axis=0)
    smoothers = [np.linalg.inv(np.eye(len(places)) + stiff * bend.T @ bend) for stiff in STIFF]
    left_out = [
        np.mean(((places - s @ places) / (1 - np.diag(s)[:, None])) ** 2) for s in smoothers
    ]
    smoother = smoothers[np.flatnonzero(left_out <= STIFFER * np.min(left_out)).max()]
    # Straight from group to group, and on to the ends.
    spread = interpolate.make_interp_spline(at, smoother, k=1)(np.arange(count))
    free = len(places) - np.trace(smoother)
    noise = np.sqrt(((places - smoother @ places) ** 2).sum(0) / free)
    return Drift(spread @ places, noise * np.sqrt((spread**2).sum(1))[:, None])


# Light ---------------------------------------------------------------------------------------------

SLOW = 0.01  # cycles per frame: what is slower is trend
TILE_PX, GAP_PX = 16, 2  # fields of the chess-board, and their rims, over which the PSF reaches


@dataclass(frozen=True)
class Light:
    """How bright the frames are.

    Parameters
    ----------
    trend : ndarray
        (t,) slow brightness relative to its mean, as by bleaching.
    flicker : ndarray
        (t,) brightness relative to the trend, as by the laser.
    flicker_sd : float
        Its standard deviation, without what chance adds to `flicker`. 0 if it is not seen.
    error_sd : float
        What chance adds: shot noise and blinking.
    """

    trend: np.ndarray
    flicker: np.ndarray
    flicker_sd: float
    error_sd: float

    @property
    def best(self) -> np.ndarray:
        """(t,) what to divide frames by: the trend, and of the flicker as much as the laser's share of it."""
        share = self.flicker_sd**2 / max(self.flicker_sd**2 + self.error_sd**2, 1e-12)
        return self.trend * (1 + share * (self.flicker - 1))

    @property
    def lost(self) -> float:
        """Share of the light that is lost from the first frame to the last."""
        return float(1 - self.trend[-1] / self.trend[0])


def light(frames, *, offset: float = 0.0, broken: np.ndarray | None = None) -> Light:
    """Brightness of the frames, as a slow trend and a flicker.

    Brightness is the factor of the mean picture that explains a frame best. Pixels weigh by their variance over time,
    so those that blink count little. Two halves of the picture, like the fields of a chess-board, tell the laser, which
    they share, from what they do not.

    Parameters
    ----------
    frames
        (t, h, w) counts, see the module. They are read twice.
    offset : float
        Of the camera. Without it the flicker comes out too small.
    broken : ndarray, optional
        (h, w) bool, of pixels that do not count: from `broken_pixels`.

    Returns
    -------
    Light
        Trend: frequencies below SLOW cycles per frame.
    """
    _check_shape(tuple(frames.shape))
    mean, variance = _mean_and_variance(frames)
    mean = mean - offset
    # By the square of the variance: blinking is the same in pixels side by side, and more of them do not help.
    weights = mean * _weights(variance, broken) ** 2
    sums = np.stack([weights, *(weights * field for field in _chess_board(mean.shape))])
    sums /= (sums * mean).sum((1, 2), keepdims=True)
    factors = np.concatenate(
        [np.tensordot(block - offset, sums, ((1, 2), (1, 2))) for _, block in blocks(frames)]
    ).T
    trends = np.stack([_slow(factor) for factor in factors])
    flicker, *halves = factors / trends
    common = max(float(np.cov(halves)[0, 1]), 0.0)
    error = max(float(flicker.var()) - common, 0.0)
    return Light(trends[0] / trends[0].mean(), flicker, sqrt(common), sqrt(error))


def _chess_board(shape: tuple[int, ...]) -> list[np.ndarray]:
    """Two masks (h, w), of the black and of the white fields without their rims."""
    field, inner = [], []
    for n in shape:
        size = min(TILE_PX, n // 2)
        field.append(np.arange(n) // size)
        inner.append(np.abs(np.arange(n) % size - (size - 1) / 2) < size / 2 - GAP_PX)
    colour = (field[0][:, None] + field[1]) % 2
    return [(colour == k) & np.outer(*inner) for k in (0, 1)]


def _slow(values: np.ndarray) -> np.ndarray:
    """Frequencies below SLOW, by the cosine transform, which does not mind that the ends differ."""
    spectrum = fft.dct(values, norm="ortho")
    spectrum[int(2 * len(values) * SLOW) + 1 :] = 0
    return fft.idct(spectrum, norm="ortho")


# Broken pixels -------------------------------------------------------------------------------------


class Broken(NamedTuple):
    """Masks (h, w) bool."""

    by_mean: np.ndarray  # dark or bright
    by_variance: np.ndarray  # noisy, or dead

    @property
    def any(self) -> np.ndarray:
        return self.by_mean | self.by_variance


def broken_pixels(frames, camera: Camera) -> Broken:
    """Pixels whose mean or variance over time stands out from their neighbours as behind no PSF.

    Both pictures are judged by the rule of `optics.exposure.lone_pixels`, which holds for FWHM from 1.41 px on. An
    emitter's variance has a narrower profile than its light, by the root of 2: FWHM of the PSF must be 2 px or more.

    Parameters
    ----------
    frames
        (t, h, w) counts, see the module.
    camera : Camera
        From `calibrate`, or given.

    Returns
    -------
    Broken
        Two masks.
    """
    _check_shape(tuple(frames.shape))
    mean, variance = _mean_and_variance(frames)
    count = frames.shape[0]
    per_frame = camera.gain * camera.excess
    floor = (camera.gain * camera.read_noise_e) ** 2
    by_mean = _lone(mean - camera.offset, per_frame / count, floor / count)
    # The estimate of a variance v has the variance 2 v^2 / t, here written as gain v at the usual v.
    by_variance = _lone(variance, 2 * float(np.median(variance)) / count, 0.0)
    return Broken(by_mean, by_variance)


def _lone(picture: np.ndarray, gain: float, floor: float) -> np.ndarray:
    """`lone_pixels`, of those at the rim too: the picture goes on as its mirror image."""
    wide = 5
    return lone_pixels(np.pad(picture, wide, "reflect"), gain, floor)[wide:-wide, wide:-wide]
