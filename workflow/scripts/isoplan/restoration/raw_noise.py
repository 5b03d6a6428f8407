"""Whether the noise of a picture is that of a raw one, and how many photons it speaks for.

Where PSFs pass no detail there is noise alone (`noise_beyond`), which corrects the gain. Sharp pictures have no such
frequencies. Of these the flattest blocks say that there is less noise than the gain makes (`noise_of_blocks`), and where
few show noise alone, detail cannot be told from noise.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from isoplan.optics.exposure import Exposure, sort_pixels
from isoplan.optics.noise import BLOCK_PX, FLATTEST, ROUNDED, block_noise, flattest_of_noise
from isoplan.restoration.pieces import Piece

# Frequencies that a PSF passes less of than PASSED hold noise alone, if there are so many. A raw picture's noise is as
# strong at the highest quarter of them as at the next, or nearly: the least that was seen of one is .76, of
# smoothed, enlarged and turned ones .02 to .6. Less than LEAST of what the gain makes is no raw picture's.
PASSED, ENOUGH_NOISE, EVEN, LEAST = 1e-3, 400, 0.7, 0.25
# Of a sharp picture's blocks so few of noise alone tell nothing: sharp ones whose gain comes out right to 60 % have a
# share of .3 and more, JPEGs and smoothed ones up to .24. Texture may make the gain ten times too large.
ENOUGH_BLOCKS, ALONE, NOISE_ALONE, LEAST_SHARP = 50, 0.25, (0.5, 1.6), 0.05
ALIKE = (0.9, 1.1)  # times the noise that a gain makes: no reason to correct it


@dataclass(frozen=True)
class Noise:
    """times: what there is over what gain and read noise make, 1 where it is alike or cannot be told. fault: why
    photons cannot be counted by it, else empty. sharp: whether it was judged by blocks, as of a sharp picture."""

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
    """whole_numbers: whether counts were rounded, which alone makes a noise of ROUNDED. gain_given: whether the gain is
    the camera's own, which texture did not make too large."""
    sharp, times, evenness = False, 1.0, 1.0
    if beyond := noise_beyond(pieces, exposure):
        times, evenness = beyond
    elif blocks := noise_of_blocks(pieces, exposure):
        # Texture adds to the noise that the gain was estimated by, never takes off.
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
    """Power beyond what the PSFs pass: as a share of what gain and read noise make there, of the upper half of
    these frequencies; and that of the highest quarter as a share of the next one's.

    Of noise that is none but the camera's both are 1. None where too few frequencies are not passed.
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
        # Under a Hann window about every fourth frequency tells something new.
        count += len(ranks) / 4
    if count < ENOUGH_NOISE or not (expected > 0).all():
        return None
    share = power / expected
    return float(share[2:].mean()), float(share[3] / max(share[2], 1e-12))


class Blocks(NamedTuple):
    """times: noise of the flattest blocks over what gain and read noise make. alone: share of blocks that show no
    more than that. Of a picture without any texture both are 1. variance: of that noise in the median
    block, in counts^2."""

    times: float
    alone: float
    variance: float


def noise_of_blocks(pieces: list[Piece], exposure: Exposure) -> Blocks | None:
    """What blocks say of the noise where photons make most of it; None where too few do."""
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
