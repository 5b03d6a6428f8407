"""Gain and read noise of a camera, estimated from the noise of one of its pictures.

`camera_facts` uses them to complete what is given of a camera.
"""

import math
from functools import cache
from typing import NamedTuple

import torch

from isoplan.base.errors import UserError

BLOCK_PX = 12
# The noise of a brightness is taken from its flattest blocks, from the largest of these shares that has at most
# MORE_NOISE times the variance of the smallest share.
FLATTEST, MORE_NOISE = (0.04, 0.12, 0.35, 1.0), 1.1
# A brightness whose variance is above the line by this share has half the weight.
ABOVE = 0.08
# The offset is wrong if the noise vanishes above it by more than WRONG_OFFSET of the median brightness, or if the
# line is LESS_STEEP times as steep as one that must not do so.
WRONG_OFFSET, LESS_STEEP = 0.2, 1.3
# If the largest brightness is less than NARROW times the smallest, they do not show where the noise vanishes.
NARROW = 2
# Largest gain of cameras that do not multiply electrons: 16 bits for a full well of 13,000. In an evenly bright
# picture, a larger gain is taken for grain, as is noise that deviates from that of the light by more than EVEN (rms).
MOST_GAIN, EVEN = 5, 0.17
MOST_READ_E = 20  # electrons
# Limits of the electrons in a picture's brightest pixels. With fewer there is no picture, and no pixel holds more
# (3e6 allows for a sum of several exposures).
LEAST_E, MOST_E = 5, 3e6
# A line gives the gain if the relative standard error of its slope is at most SURE. A line below 0 at the offset (if
# the offset is wrong, or texture grows faster than light) must be straight within STRAIGHT. If more noise is left
# without light than any camera has, the slope must be at least LEFT times that of the line through the offset.
SURE, STRAIGHT, LEFT = 0.25, 0.1, 0.5
# Ratio of the variances from sixth and from fourth differences. It is about 1 for noise alone, and 0.3 to 0.85 with
# textures of 0.7 px and more.
WHITE = (0.88, 1.12)
ROUNDED = 1 / 12  # counts^2


def estimate_noise(
    picture: torch.Tensor,
    *,
    offset: float = 0.0,
    known: bool = False,
    block_px: int = BLOCK_PX,
    sure: bool = True,
) -> tuple[float, float]:
    """Estimate gain and read noise from a single picture, by the mean-variance relation.

    Fits variance = gain (mean - offset) + read_noise^2 over blocks of every brightness. The variance is that
    of fourth differences in both directions, which see little except what alternates from pixel to pixel.
    Texture can only add to it. So only the flattest 4 % of the blocks of a brightness count (more if these
    have no more noise), and brightnesses above the line have less weight. The gain of a sharp picture full of
    texture is estimated too large. Texture as fine as the pixels whose strength grows with the light, like
    that of noise, cannot be distinguished from noise.

    Parameters
    ----------
    picture
        (h, w) in counts.
    offset
        The camera's offset in counts. A wrong one changes the read noise, not the gain.
    known
        Whether the offset was given. An evenly bright picture then does not contradict it, as its
        brightnesses are too similar to show where the noise vanishes. If the offset is wrong nevertheless,
        the gain is wrong by the same share as the light.
    block_px
        Side of the blocks in px.
    sure
        Whether to raise an error if the gain is uncertain. False is for the read noise of a camera whose
        gain is known.

    Returns
    -------
    gain
        In counts per electron.
    read_noise
        Standard deviation in counts.

    Raises
    ------
    UserError
        If fewer than 50 blocks can be used, or the gain cannot be estimated.

    Examples
    --------
    A camera with a gain of 2 counts per electron and a read noise of 3 electrons:

    >>> generator = torch.Generator().manual_seed(0)
    >>> electrons = torch.linspace(50, 500, 512).expand(512, 512)
    >>> noise = 3 * torch.randn(512, 512, generator=generator)
    >>> picture = 2 * (torch.poisson(electrons, generator=generator) + noise) + 100
    >>> gain, read_noise = estimate_noise(picture, offset=100, known=True)
    >>> bool(abs(gain - 2) < 0.1), bool(abs(read_noise - 6) < 3)
    (True, True)
    """
    line = _noise_line(picture, offset, block_px, positive=True, known=known)
    if sure and line.doubt:
        raise UserError(line.doubt)
    return line.slope, math.sqrt(line.rest)


def noiseless_level(picture: torch.Tensor) -> tuple[float, float] | None:
    """Gain of a picture, and the level at which its noise would vanish.

    Both come from the same line as in `estimate_noise`, and are all that is needed to count photons.

    Parameters
    ----------
    picture
        (h, w) in counts.

    Returns
    -------
    tuple of float or None
        Gain in counts per electron, and the level offset - gain * read_noise_e^2 in counts. None if the noise
        does not grow with the light.

    Raises
    ------
    UserError
        Like `estimate_noise`.
    """
    slope, rest, doubt = _noise_line(picture, 0.0, BLOCK_PX, positive=False)
    if slope <= 0:
        return None
    if doubt:
        raise UserError(doubt)
    return slope, -rest / slope


class _Line(NamedTuple):
    """The variance of the noise as a line over brightness."""

    slope: float
    rest: float  # the variance at the offset
    doubt: str  # why the slope is not a gain, or empty


def _noise_line(
    picture: torch.Tensor, offset: float, block_px: int, *, positive: bool, known: bool = False
) -> _Line:
    """Fit the variance of the noise over brightness. positive: neither slope nor rest may be below 0.

    A line far below 0 at the offset shows that the offset is wrong, and its slope is kept. But if the offset is
    known and the brightnesses are similar, such a line shows texture. The noise at this one brightness then
    gives the gain, if the camera has little read noise.
    """
    points = _noise_points(picture, offset, block_px)
    free = _fit_noise_line(*points, positive=False)
    light, variance, blocks = points
    even = known and float(light.max()) < NARROW * float(light.min())
    slope, rest = _within_bounds(points, *free, even) if positive else free
    doubt = _doubt(points, *free, slope)
    if doubt and even:
        slope, rest = _fit_noise_line(*points, positive=True, through=True)
        apart = float((blocks * (variance / (slope * light)).log().square()).sum() / blocks.sum())
        if slope <= MOST_GAIN and apart <= EVEN**2:
            doubt = ""
    if slope > 0:
        doubt = doubt or _impossible(picture, offset, slope, float(points[0].max()))
        if not doubt and not WHITE[0] < _whiteness(picture, block_px) < WHITE[1]:
            doubt = "it has texture nearly as fine as its noise"
    return _Line(slope, rest, doubt)


def _noise_points(picture: torch.Tensor, offset: float, block_px: int) -> torch.Tensor:
    """Light, variance of the noise, and number of blocks, (3, n), of n brightnesses."""
    mean, variance = block_noise(picture.to(torch.float64), block_px)
    lit = variance > 0
    mean, variance = mean[lit], variance[lit]
    if len(mean) < 50:
        raise UserError(
            f"the picture has only {len(mean)} blocks of {block_px} px that are neither constant nor "
            "clipped; give gain and read_noise_e yourself"
        )
    order = mean.argsort()
    bins = max(3, min(24, len(mean) // 50))
    points = []
    for block in order.chunk(bins):
        least = None
        for share in FLATTEST:
            count = max(3, int(share * len(block)))
            flattest = block[variance[block].topk(count, largest=False).indices]
            level = float(variance[flattest].mean()) / flattest_of_noise(block_px, share)
            if least is None or level <= MORE_NOISE * least:
                point = float(mean[flattest].mean()) - offset, level, count
            least = least or level
        points.append(point)
    return torch.tensor(points, dtype=torch.float64).T


def _within_bounds(
    points: torch.Tensor, free_slope: float, free_rest: float, even: bool
) -> tuple[float, float]:
    """Slope and rest that a camera can have, from those of a free fit.

    even: whether the offset is known, and the brightnesses are too similar to contradict it.
    """
    if not even and -free_rest > WRONG_OFFSET * free_slope * float(points[0].median()) > 0:
        return free_slope, 0.0
    slope, rest = _fit_noise_line(*points, positive=True)
    if not even and free_rest < 0 < LESS_STEEP * slope < free_slope:
        # Forced through the offset, the line follows the darkest blocks, and all others lie above it.
        return free_slope, 0.0
    if slope and rest > (MOST_READ_E * slope) ** 2:
        # Uniform texture looks like read noise; no camera has so much.
        light, variance, blocks = points
        weight = blocks / variance.square()
        slope, rest = float((weight * light * variance).sum() / (weight * light**2).sum()), 0.0
    return slope, rest


def _doubt(points: torch.Tensor, free_slope: float, free_rest: float, slope: float) -> str:
    """Why the slope is not a gain, or nothing. free_slope, free_rest: those of a free fit."""
    if not (free_slope > 0 and slope > 0):
        return "its noise does not grow with the light"
    light, variance, blocks = points
    line = (free_slope * light + free_rest).clamp_min(0.1 * float(variance.min()))
    error = variance / line - 1
    weight = blocks / (1 + (error.clamp_min(0) / ABOVE).square())
    scatter = max(
        0.02**2,
        float((weight * error**2).sum() / weight.sum() * len(light) / max(len(light) - 2, 1)),
    )
    weight = weight / weight.sum() * len(light) / line.square()
    spread = float((weight * (light - (weight * light).sum() / weight.sum()).square()).sum())
    if scatter > (SURE * free_slope) ** 2 * spread:
        return "its brightnesses differ too little, or its noise without light is too strong"
    bent = float((blocks * (variance / line).log().square()).sum() / blocks.sum())
    steep = slope == free_slope or LESS_STEEP * slope < free_slope
    if free_rest < 0 and steep and bent > STRAIGHT**2:
        return "its noise grows faster than the light, as fine texture does"
    if free_rest > 0 and free_slope < LEFT * slope:
        return "its noise hardly grows with the light, as if it were fine texture"
    return ""


def _impossible(picture: torch.Tensor, offset: float, gain: float, light: float) -> str:
    """Why a picture cannot have such a gain, or nothing.

    light: counts above the offset in its brightest blocks.
    """
    peak = (float(picture.max()) - offset) / gain
    if peak < LEAST_E or light > MOST_E * gain:
        held = peak if peak < LEAST_E else light / gain
        return f"its brightest pixels would hold {held:.2g} electrons"
    if gain * light < ROUNDED and bool((picture == picture.round()).all()):
        return "its photons would make less noise than its rounding does"
    return ""


def _whiteness(picture: torch.Tensor, size: int) -> float:
    """Variance from sixth differences over that from fourth ones, in the flattest blocks of every brightness.

    It is about 1 for noise, which has all frequencies, and differs from 1 for texture.
    """

    def ratio(picture: torch.Tensor) -> float:
        mean, fourth = block_noise(picture, size, crop=1)
        sixth = block_noise(picture, size, order=6)[1]
        found = []
        for block in mean.argsort().chunk(max(3, min(24, len(mean) // 50))):
            block = block[fourth[block] > 0]
            count = min(len(block), max(3, int(FLATTEST[1] * len(block))))
            flattest = block[fourth[block].topk(count, largest=False).indices]
            if count:
                found.append(float(sixth[flattest].mean() / fourth[flattest].mean()))
        return float(torch.tensor(found).median()) if found else math.nan

    return ratio(picture.to(torch.float64)) / ratio(_noise_alone(size))


@cache
def _noise_alone(size: int) -> torch.Tensor:
    """64 x 64 blocks of Gaussian noise of variance 1."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(64 * size + 4, 64 * size + 4, generator=generator, dtype=torch.float64)


def block_noise(
    picture: torch.Tensor, size: int, *, order: int = 4, crop: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of the noise in the blocks of a picture, by differences in both directions.

    Parameters
    ----------
    picture
        (h, w).
    size
        Side of the blocks in px.
    order
        Order of the differences, even.
    crop
        Width of an edge in px that is left out, so that blocks lie at the same places as those of a higher
        order.

    Returns
    -------
    mean, variance
        (n,) each, of the n blocks whose pixels are finite and not clipped.
    """
    rim = order // 2 + crop
    inner = picture[rim:-rim, rim:-rim]
    residual = picture.diff(n=order, dim=0).diff(n=order, dim=1)
    residual = residual[crop : len(residual) - crop, crop : residual.shape[1] - crop]
    clipped = torch.zeros_like(inner, dtype=torch.bool)
    for end in (picture.min(), picture.max()):
        if (inner == end).double().mean() > 1e-3:
            clipped |= inner == end
    rows, columns = inner.shape[0] // size, inner.shape[1] // size

    def cut(x):
        x = x[: rows * size, : columns * size].reshape(rows, size, columns, size)
        return x.transpose(1, 2).reshape(-1, size * size)

    good = ~cut(clipped).any(1) & cut(residual).isfinite().all(1)
    # The squares of the weights have this sum in each direction, 70 for 1 -4 6 -4 1.
    squares = math.comb(2 * order, order)
    return cut(inner)[good].mean(1), (cut(residual)[good] ** 2).mean(1) / squares**2


@cache
def flattest_of_noise(size: int, share: float) -> float:
    """Mean variance of the flattest share of blocks, for noise of variance 1."""
    variance = block_noise(_noise_alone(size), size)[1]
    return float(variance.topk(int(share * len(variance)), largest=False).values.mean())


def _fit_noise_line(
    mean: torch.Tensor,
    variance: torch.Tensor,
    blocks: torch.Tensor,
    positive: bool,
    *,
    through: bool = False,
) -> tuple[float, float]:
    """Slope and intercept by least squares of relative errors, with less weight above the line.

    positive: neither may be below 0. through: the intercept is 0.
    """
    design = torch.stack([mean, torch.ones_like(mean) * (not through)], 1)
    weight = blocks.sqrt() / variance
    for _ in range(30):
        rows, values = design * weight[:, None], variance * weight
        line = torch.linalg.lstsq(rows, values[:, None]).solution[:, 0]
        if positive and (line < 0).any():  # then one of them is 0, and the other is fitted alone
            alone = (rows * values[:, None]).sum(0) / rows.square().sum(0)
            line = torch.where(line < 0, 0, alone)
        fit = (design @ line).clamp_min(0.1 * float(variance.min()))
        above = (variance / fit - 1).clamp_min(0) / ABOVE
        weight = blocks.sqrt() / fit / (1 + above.square())
    return float(line[0]), float(line[1])
