"""Which way what a window shows moved until the next picture of a sequence: by correlation, where motion blur says that it may be.

Both pictures are weighed as signals in noise are whose delay is wanted (Knapp and Carter, IEEE Trans. Acoust. Speech 24 (1976) 320).
Blur leaves two places for the peak, as it does not tell a direction from its opposite. The higher one tells it.
"""

import math

import torch
from torch.nn import functional as F

REACH_PX = 64  # binned px; farther, too little of what was seen is left in the window
SMOOTH = 5  # frequencies over which powers are averaged
MOST_COHERENT = 0.9
STILL_PX = 2.0  # within which what is seen has not moved
SLACK_PX, SLACK = 2.0, 0.2  # beyond the interval of the blur, and of what is expected
# Noise levels of a peak, between the two, and of the highest of all. Windows of pictures that do not follow each other seldom exceed them.
LEAST_PEAK, LEAST_AHEAD, LEAST_TOP = 5.0, 2.0, 8.0


def correlations(first: torch.Tensor, second: torch.Tensor, cutoff: float) -> torch.Tensor:
    """Correlations (n, 2 REACH_PX + 1, 2 REACH_PX + 1) of windows (n, side, side), over displacements, in noise levels.

    cutoff: in cycles/px, beyond which there is noise alone.

    Examples
    --------
    >>> first = torch.rand(1, 192, 192, generator=torch.Generator().manual_seed(0))
    >>> found = correlations(first, first.roll((3, -7), (1, 2)), 0.6)
    >>> divmod(int(found.argmax()), 2 * REACH_PX + 1)
    (67, 57)
    """
    side = first.shape[-1]
    taper = torch.hann_window(side, device=first.device)
    taper = taper[:, None] * taper
    spectra = [
        torch.fft.rfft2((one - one.mean((1, 2), keepdim=True)) * taper) for one in (first, second)
    ]
    power = (spectra[0].abs().square() + spectra[1].abs().square()) / 2
    y, x = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)
    passed = torch.hypot(y, x) < cutoff
    beyond = power[:, ~passed] if (~passed).any() else power.flatten(1)
    # Noise alone has the same power everywhere; where nothing lies beyond, the least counts.
    noise = beyond.mean(1) if (~passed).any() else beyond.quantile(0.02, 1)
    smooth = F.avg_pool2d(F.pad(power[:, None], (SMOOTH // 2,) * 4, mode="reflect"), SMOOTH, 1)
    smooth = smooth[:, 0]
    coherent = (1 - noise[:, None, None] / smooth).clamp(0, MOST_COHERENT).square()
    weight = coherent / (1 - coherent) / smooth * passed
    found = torch.fft.irfft2(spectra[0].conj() * spectra[1] * weight, s=(side, side))
    found = found.roll((REACH_PX, REACH_PX), (1, 2))[:, : 2 * REACH_PX + 1, : 2 * REACH_PX + 1]
    # The farther the displacement, the less of the windows overlaps.
    kept = torch.fft.irfft2(torch.fft.rfft2(taper, s=(2 * side,) * 2).abs().square())
    kept = kept.roll((REACH_PX, REACH_PX), (0, 1))[: 2 * REACH_PX + 1, : 2 * REACH_PX + 1]
    found = found / kept
    level = found.flatten(1).abs().quantile(0.6827, 1)
    return found / level[:, None, None].clamp_min(1e-30)


def way(
    found: torch.Tensor,
    length_px: torch.Tensor,
    half_px: torch.Tensor,
    direction: torch.Tensor,
    half_rad: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Which of two opposite directions n windows moved, from their correlations and what blur tells.

    Parameters
    ----------
    found
        (n, ...) of `correlations`.
    length_px, half_px
        (n,) displacement until the next picture, in binned px, and the half-width of its interval.
    direction, half_rad
        (n,) its direction or the opposite one, and the half-width of its interval.

    Returns
    -------
    tuple of torch.Tensor
        (n,) 1 along the direction, -1 against it, 0 where that is not known; (n,) 1 where the highest peak of all lies where blur says
        that it may, 0 where not, NaN where none is high; and (n,) bool where blur tells that what is seen moved, but it is where it was.
    """
    line = torch.arange(-REACH_PX, REACH_PX + 1.0)
    y, x = line[:, None], line
    sine, cosine = (part[:, None, None] for part in (direction.sin(), direction.cos()))
    along, across = x * cosine + y * sine, (y * cosine - x * sine).abs()
    length, half = length_px[:, None, None], half_px[:, None, None]
    wide = (length + half) * half_rad.clamp_max(math.pi / 2).sin()[:, None, None]
    slack = SLACK_PX + SLACK * length
    fits = (across <= SLACK_PX + wide) & ((along.abs() - length).abs() <= half + slack)
    forth, back = (
        torch.where(fits & side, found, 0.0).flatten(1).amax(1) for side in (along > 0, along < 0)
    )
    near = torch.hypot(y, x) <= STILL_PX
    stays, moves = (
        torch.where(where, found, 0.0).flatten(1).amax(1) for where in (near, fits & ~near)
    )
    still = (length_px - half_px > STILL_PX) & (stays >= LEAST_TOP) & (stays - moves >= LEAST_AHEAD)
    inside = (length + half + slack).flatten() <= REACH_PX
    known = inside & (torch.maximum(forth, back) >= LEAST_PEAK)
    known &= ~still & ((forth - back).abs() >= LEAST_AHEAD)
    top, place = found.flatten(1).max(1)
    agrees = fits.flatten(1).gather(1, place[:, None])[:, 0].float()
    agrees[~inside | (top < LEAST_TOP)] = math.nan
    agrees[still] = 0
    return torch.where(known, torch.sign(forth - back), 0.0), agrees, still
