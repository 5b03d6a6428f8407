"""A picture of any size, enhanced window by window, and where its own counts speak against the result."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from isoplan.applications.enhancement.filters import Camera, noise_deviation
from isoplan.applications.enhancement.networks import NOISELESS, Enhancer
from isoplan.applications.enhancement.second import Second
from isoplan.base.errors import UserError
from isoplan.mosaic.window import Picture

CORE_PX = 512  # side of the windows' cores; with a U-Net of 16 channels `enhance` takes 1.4 GB in all, of a picture of 2048 px
BLOCK_PX, LEAST_PX = 1024, 16  # sides of the blocks whose noise is measured, and least ones
# Standard deviations of the Gaussians that structures are looked for with.
WIDTHS_PX = (1.0, 2.0, 4.0)
SLOW_PX = 12.0  # what changes over more than such a Gaussian, as a drift of the dark level, is no structure
REACH = 4.0  # of them, in standard deviations
MUCH = 0.05  # share of a picture in doubt, from which the network does not suit it
DOUBTED = 4.0  # standard deviations of the noise, from which a place is told


@dataclass(frozen=True)
class Level:
    """Mean and standard deviation of a picture's pixels, that of its noise, and how many pixels there are; missing ones
    are left out. The noise is the median over blocks of BLOCK_PX."""

    mean: float
    spread: float
    noise: float
    count: int

    @classmethod
    def of(cls, picture: Picture) -> "Level":
        """Reads the picture once.

        Raises
        ------
        UserError
            If it is constant or empty.
        """
        count, mean, power, noises = 0, 0.0, 0.0, []
        for window in picture.windows(BLOCK_PX):
            block = picture.read(*window)
            seen = block[np.isfinite(block)].astype(np.float64)
            if not seen.size:
                continue
            # Chan's update: squares of large numbers do not cancel.
            apart = seen.mean() - mean
            total = count + seen.size
            power += ((seen - seen.mean()) ** 2).sum() + apart**2 * count * seen.size / total
            mean += apart * seen.size / total
            count = total
            if min(block.shape) >= LEAST_PX:
                block[~np.isfinite(block)] = seen.mean()
                noises.append(noise_deviation(block.astype(float)))
        if not count or power == 0:
            raise UserError(
                f"{picture.path}: is constant; there is nothing to enhance"
                if count
                else f"{picture.path}: has no measured pixel"
            )
        spread = float(np.sqrt(power / count))
        noise = max(float(np.median(noises)) if noises else 0.0, NOISELESS * spread)
        return cls(float(mean), spread, noise, count)


def core_of(
    picture: Picture,
    enhancers: Sequence[Enhancer],
    level: Level,
    camera: Camera | None,
    core: tuple[slice, slice],
    second: Second | None = None,
) -> np.ndarray:
    """What networks make of one core of a picture.

    Parameters
    ----------
    picture : Picture
        Of any size.
    enhancers : sequence of Enhancer
        The networks.
    level : Level
        Of the whole picture, so that cores agree.
    camera : Camera or None
        Of the picture; None where it is not known.
    core : tuple of slice
        Of `mosaic.tiles.shards`.
    second : Second or None
        Another exposure, whose counts say what is in doubt in place of the picture's own.

    Returns
    -------
    ndarray
        (n, h, w) float32, of the core: the mean of the networks' results in the picture's counts; `doubts`, if the camera is
        known; and, of several networks, how far they are apart, as the standard deviation of their results over that of the
        picture's noise. NaN where the picture is.
    """
    networks = [one.network for one in enhancers]
    step = max(one.step_px for one in networks)  # powers of two
    halo = max(one.halo_px for one in networks)
    halo += int(REACH * (SLOW_PX + max(WIDTHS_PX))) if camera else 0
    halo += -halo % step
    spans = [
        (max(side.start - halo, 0), min(side.stop + halo, n))
        for side, n in zip(core, picture.shape, strict=True)
    ]
    block = picture.read(*spans[0], *spans[1])
    missing = ~np.isfinite(block)
    block[missing] = level.mean
    results = [one.apply(block, level.mean, level.noise) for one in enhancers]
    made = np.mean(results, axis=0)
    found = [made]
    if camera:
        window = (slice(*spans[0]), slice(*spans[1]))
        found.append(
            doubts(block, made, camera)
            if second is None
            else doubted_by(second, window, made, camera)
        )
    if len(results) > 1:
        found.append(np.std(results, axis=0, ddof=1) / np.float32(level.noise))
    layers = np.stack(found).astype(np.float32)
    layers[:, missing] = np.nan
    inner = tuple(
        slice(side.start - low, side.stop - low) for side, (low, _) in zip(core, spans, strict=True)
    )
    return layers[:, *inner]


def doubted_by(
    second: Second, window: tuple[slice, slice], made: np.ndarray, camera: Camera
) -> np.ndarray:
    """`doubts` by the counts of a second exposure, for which the result gets as bright as that is; NaN where it does not reach.

    made : (h, w) counts, the result in that window.
    """
    brighter = camera.offset + second.match.brightness * (made - camera.offset)
    counts = second.read(window)
    missing = ~np.isfinite(counts)
    found = doubts(np.where(missing, brighter, counts), brighter, camera)
    found[missing] = np.nan
    return found


def doubts(counts: np.ndarray, made: np.ndarray, camera: Camera) -> np.ndarray:
    """How far a picture's own counts speak against what a network made of them.

    What the counts have more or less than the result is noise alone, if the result is right. Summed under Gaussians of
    WIDTHS_PX, it is compared with the noise that the result's brightness makes expect. What changes slowly is left out.

    Parameters
    ----------
    counts, made : ndarray
        (h, w) counts of the picture, and of the result.
    camera : Camera
        Of the picture.

    Returns
    -------
    ndarray
        (h, w) float32 standard deviations of the noise: above 0 where the result has more than the counts, below 0 where it
        has less; of the width at which it is farthest from 0.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = np.full((64, 64), 100.0)
    >>> seen, invented = rng.poisson(truth), truth.copy()
    >>> invented[30:34, 30:34] += 40
    >>> found = doubts(seen, invented, Camera())
    >>> bool(found[31, 31] > 8), bool(np.abs(found[:20, :20]).max() < 5)
    (True, True)
    """
    electrons = np.maximum(made - camera.offset, 0) / camera.gain
    variance = camera.gain**2 * (electrons + camera.read_noise_e**2) + 1 / 12  # counts are whole
    left = np.asarray(made, float) - counts
    left = left - ndimage.gaussian_filter(left, SLOW_PX, mode="reflect", truncate=REACH)
    found = np.zeros(counts.shape)
    for width in WIDTHS_PX:
        summed = ndimage.gaussian_filter(left, width, mode="reflect", truncate=REACH)
        # The square of a Gaussian is one of 1 / sqrt(2) its width, times 1 / (4 pi width^2).
        noise = ndimage.gaussian_filter(variance, width / np.sqrt(2), truncate=REACH)
        one = summed / np.sqrt(noise / (4 * np.pi * width**2))
        found = np.where(np.abs(one) > np.abs(found), one, found)
    return found.astype(np.float32)
