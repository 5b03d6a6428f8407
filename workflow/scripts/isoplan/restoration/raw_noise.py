"""Judges whether a picture has the noise of a raw one, and how strong it is.

Frequencies that the PSFs suppress have only noise (`noise_beyond`), which corrects the gain. Sharp pictures have no
such frequencies. Their flattest blocks show whether there is less noise than the gain makes (`noise_of_blocks`). If
only few blocks show noise alone, detail cannot be distinguished from noise.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from isoplan.optics.exposure import Exposure, sort_pixels
from isoplan.optics.noise import BLOCK_PX, FLATTEST, ROUNDED, block_noise, flattest_of_noise
from isoplan.restoration.pieces import Piece

# Frequencies of which a PSF passes less than PASSED have only noise; at least ENOUGH_NOISE of them are needed. The noise
# of a raw picture is nearly as strong in the highest quarter of them as in the next one: the smallest ratio found is
# 0.76, but 0.02 to 0.6 for smoothed, enlarged and rotated pictures. Less than LEAST of the gain's noise is not raw.
PASSED, ENOUGH_NOISE, EVEN, LEAST = 1e-3, 400, 0.7, 0.25
# Smallest share of a sharp picture's blocks that have noise alone. Sharp pictures whose gain is estimated within 60 %
# have 0.3 and more, JPEGs and smoothed ones up to 0.24. Texture can make the gain ten times too large.
ENOUGH_BLOCKS, ALONE, NOISE_ALONE, LEAST_SHARP = 50, 0.25, (0.5, 1.6), 0.05
ALIKE = (0.9, 1.1)  # times the noise of the gain: no correction is needed


@dataclass(frozen=True)
class Noise:
    """What was found of a picture's noise.

    Attributes
    ----------
    times
        Its variance over that of gain and read noise; 1 if they are similar, or it is unknown.
    fault
        Why it does not allow photons to be counted, or empty.
    sharp
        Whether it was judged by blocks, as for a sharp picture.
    """

    times: float
    fault: str = ""
    sharp: bool = False


def look_at_noise(
    pieces: list[Piece],
    exposure: Exposure,
    whole_numbers: bool = False,
    *,
    gain_given: bool = False,
) -> Noise:
    """Judge the noise of a picture.

    Parameters
    ----------
    pieces
        Pieces of the picture.
    exposure
        Its exposure, with a gain.
    whole_numbers
        Whether counts were rounded, which adds a variance of ROUNDED.
    gain_given
        Whether the gain was given. An estimated one may be too large because of texture.
    """
    sharp, times, evenness = False, 1.0, 1.0
    if beyond := noise_beyond(pieces, exposure):
        times, evenness = beyond
    elif blocks := noise_of_blocks(pieces, exposure):
        # Texture only adds to the noise from which the gain was estimated.
        sharp, times, alone = True, min(blocks.times, 1.0), blocks.alone
        if alone < ALONE and not gain_given:
            return Noise(times, "its finest detail cannot be told from noise", sharp)
        if whole_numbers and blocks.variance < 2 * ROUNDED:
            return Noise(times, "it has hardly more noise than its rounding makes", sharp)
    if evenness < EVEN or times < (LEAST_SHARP if sharp and not gain_given else LEAST):
        return Noise(
            times,
            "its noise is not a raw picture's: it was smoothed, compressed or resampled, or the gain is wrong",
            sharp,
        )
    return Noise(1.0 if ALIKE[0] < times < ALIKE[1] else times, sharp=sharp)


def noise_beyond(pieces: list[Piece], exposure: Exposure) -> tuple[float, float] | None:
    """Power at the frequencies that the PSFs suppress; None if these are too few.

    Returns
    -------
    times
        Power in the upper half of these frequencies, over that of gain and read noise.
    evenness
        Power in the highest quarter over that in the next one.

    Both are 1 if there is only the noise of the camera.
    """
    power, expected, count = np.zeros(4), np.zeros(4), 0.0
    for piece in pieces:
        pixels = sort_pixels(piece.counts, exposure)
        usable = pixels.usable & ~pixels.saturated
        window = np.outer(*(np.hanning(n) for n in usable.shape)) * usable
        light = np.where(usable, piece.counts, 0.0)
        frequency = np.hypot(
            np.fft.fftfreq(len(light))[:, None], np.fft.rfftfreq(light.shape[1])[None]
        )
        # A Gaussian of width w passes exp(-(pi w f)^2 / (4 log 2)) of the frequency f.
        reach = math.sqrt(-4 * math.log(2) * math.log(PASSED)) / math.pi
        beyond = piece.width_by(1.0) * frequency > reach
        if not (beyond.any() and window.any()):
            continue
        mean = (window * light).sum() / window.sum()
        spectrum = np.abs(np.fft.rfft2(window * (light - mean))) ** 2
        variance = (window**2 * (exposure.gain * light + exposure.floor)).sum()
        ranks = frequency[beyond].argsort().argsort()
        quarter = ranks * 4 // len(ranks)
        power += np.bincount(quarter, spectrum[beyond], 4)
        expected += variance * np.bincount(quarter, minlength=4)
        # With a Hann window, about every fourth frequency is independent.
        count += len(ranks) / 4
    if count < ENOUGH_NOISE or not (expected > 0).all():
        return None
    share = power / expected
    return float(share[2:].mean()), float(share[3] / max(share[2], 1e-12))


class Blocks(NamedTuple):
    """Noise in the blocks of a picture.

    Attributes
    ----------
    times
        Variance in the flattest blocks over that of gain and read noise; 1 without texture.
    alone
        Share of the blocks that have only this noise; 1 without texture.
    variance
        Variance of this noise in the median block, in counts^2.
    """

    times: float
    alone: float
    variance: float


def noise_of_blocks(pieces: list[Piece], exposure: Exposure) -> Blocks | None:
    """Noise in the blocks where photons cause most of it; None if these are too few."""
    found, expected = [], []
    for piece in pieces:
        pixels = sort_pixels(piece.counts, exposure)
        light = np.where(pixels.usable & ~pixels.saturated, piece.counts, np.nan)
        mean, variance = block_noise(torch.from_numpy(light.astype(np.float64)), BLOCK_PX)
        made = exposure.gain * mean + exposure.floor
        bright = exposure.gain * mean > exposure.floor
        counted = bright & (variance > 0)
        found.append((variance / made)[counted])
        expected.append(made[counted])
    share = torch.cat(found) if found else torch.zeros(0)
    if len(share) < ENOUGH_BLOCKS:
        return None
    flattest = share.topk(max(3, int(FLATTEST[0] * len(share))), largest=False).values
    times = float(flattest.mean()) / flattest_of_noise(BLOCK_PX, FLATTEST[0])
    low, high = (limit * min(times, 1.0) for limit in NOISE_ALONE)
    alone = float(((share > low) & (share < high)).double().mean())
    return Blocks(times, alone, times * float(torch.cat(expected).median()))
