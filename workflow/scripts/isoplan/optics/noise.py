"""Gain and read noise of a camera, estimated from the noise of a picture that it took.

`camera_facts` completes with them what is given of a camera.
"""

import math
from functools import cache
from typing import NamedTuple

import torch

from isoplan.base.errors import UserError

BLOCK_PX = 12
# Shares of the blocks of a brightness, the flattest ones, that its noise is taken from: the largest that
# shows at most MORE_NOISE times what the smallest does.
FLATTEST, MORE_NOISE = (0.04, 0.12, 0.35, 1.0), 1.1
# Brightnesses that lie above the line by this share of it weigh half.
ABOVE = 0.08
# Where the noise vanishes above the offset by more than this share of the median brightness, that is wrong; also
# where a line that must not do so is so many times less steep.
WRONG_OFFSET, LESS_STEEP = 0.2, 1.3
# Brightnesses do not tell where the noise vanishes if the largest is less than NARROW times the least.
NARROW = 2
# Counts per electron of cameras that do not multiply electrons: 16 bits for a full well of 13,000. Of an evenly bright
# picture a larger gain is taken for grain, as is noise that differs by more than EVEN (rms) from what the light makes.
MOST_GAIN, EVEN = 5, 0.17
MOST_READ_E = 20  # electrons
# Electrons that a picture's brightest pixels hold: fewer make no picture, more fit in no pixel (3e6: a sum of some
# exposures).
LEAST_E, MOST_E = 5, 3e6
# A line tells the gain where its slope is sure to this share (standard error). One that is below 0 at the offset, because
# that is wrong or texture grows faster than light, must be straight to this share; where more noise is left without
# light than any camera's, the slope must be this share of what it is through the offset.
SURE, STRAIGHT, LEFT = 0.25, 0.1, 0.5
# Of noise alone sixth differences show this share of what fourth ones do, with textures of .7 px and more .3 to .85.
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
    """Gain (counts per electron) and read noise (counts) from one picture (h, w) in counts.

    Fits variance = gain (mean - offset) + read_noise^2 over blocks of every brightness (the mean-variance
    relation). The variance is that of the fourth differences in both directions, which see little but what
    alternates from pixel to pixel. Texture can only add to it: of every brightness the flattest 4 % of the
    blocks count, and more where these show no more noise; and brightnesses that lie above the line weigh
    less. Of a sharp picture full of texture the gain comes out too large; texture that is as fine as pixels, and
    whose strength grows with the light as noise does, nothing tells from noise.

    offset: the camera's offset in counts; a wrong one goes into the read noise, not into the gain. known: whether somebody
    gave it. Then an evenly bright picture does not contradict it: its brightnesses are too alike to tell where the noise
    vanishes. If it is wrong all the same, the gain comes out too small or too large by the share of the light that it
    misses. sure: False takes whatever comes out, for the read noise where the gain is known.
    Raises UserError where fewer than 50 blocks can be used, or the gain cannot be told.
    """
    line = _noise_line(picture, offset, block_px, positive=True, known=known)
    if sure and line.doubt:
        raise UserError(line.doubt)
    return line.slope, math.sqrt(line.rest)


def noiseless_level(picture: torch.Tensor) -> tuple[float, float] | None:
    """Gain (counts per electron) of a picture (h, w) in counts, and the level in counts at which its noise
    would vanish: offset - gain * read_noise_e^2, which is all that counting its photons takes.

    From the same line as `estimate_noise`; None where the noise does not grow with the light. Raises
    UserError as that does.
    """
    slope, rest, doubt = _noise_line(picture, 0.0, BLOCK_PX, positive=False)
    if slope <= 0:
        return None
    if doubt:
        raise UserError(doubt)
    return slope, -rest / slope


class _Line(NamedTuple):
    """slope, rest: the noise's variance over brightness, and at the offset. doubt: why the slope is no gain, or empty."""

    slope: float
    rest: float
    doubt: str


def _noise_line(
    picture: torch.Tensor, offset: float, block_px: int, *, positive: bool, known: bool = False
) -> _Line:
    """The noise's variance over brightness; positive: neither slope nor rest below 0.

    A line that is far below 0 at the offset speaks of a wrong one, and its slope is kept as it is; unless the offset
    is known and lies farther off than the brightnesses are apart: then it speaks of texture. Such a picture shows its
    noise at one brightness, which tells the gain of a camera without much read noise.
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
    """Light, variance of the noise and number of blocks, (3, n), of n brightnesses."""
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
    """Slope and rest that a camera may have, from the line that was fitted freely. even: whether the offset is
    known, and the brightnesses are too alike to contradict it."""
    if not even and -free_rest > WRONG_OFFSET * free_slope * float(points[0].median()) > 0:
        return free_slope, 0.0
    slope, rest = _fit_noise_line(*points, positive=True)
    if not even and free_rest < 0 < LESS_STEEP * slope < free_slope:
        # Bent to the offset it holds on to the darkest blocks, and all others lie above it.
        return free_slope, 0.0
    if slope and rest > (MOST_READ_E * slope) ** 2:
        # Texture that is alike everywhere looks like read noise; no camera has so much.
        light, variance, blocks = points
        weight = blocks / variance.square()
        slope, rest = float((weight * light * variance).sum() / (weight * light**2).sum()), 0.0
    return slope, rest


def _doubt(points: torch.Tensor, free_slope: float, free_rest: float, slope: float) -> str:
    """Why the slope is no gain, or nothing. free_slope, free_rest: of the line that was fitted freely."""
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
        return "its noise grows faster than the light, as of fine texture"
    if free_rest > 0 and free_slope < LEFT * slope:
        return "its noise hardly grows with the light, as of fine texture"
    return ""


def _impossible(picture: torch.Tensor, offset: float, gain: float, light: float) -> str:
    """Why no picture has such a gain, or nothing. light: counts above the offset in its brightest blocks."""
    peak = (float(picture.max()) - offset) / gain
    if peak < LEAST_E or light > MOST_E * gain:
        held = peak if peak < LEAST_E else light / gain
        return f"its brightest pixels would hold {held:.2g} electrons"
    if gain * light < ROUNDED and bool((picture == picture.round()).all()):
        return "its photons would make less noise than its rounding"
    return ""


def _whiteness(picture: torch.Tensor, size: int) -> float:
    """Variance by sixth differences over that by fourth ones, in the flattest blocks of every brightness: about 1 of noise,
    which has all frequencies, less or more of what has texture of some."""

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
    """64 x 64 blocks of noise of variance 1."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(64 * size + 4, 64 * size + 4, generator=generator, dtype=torch.float64)


def block_noise(
    picture: torch.Tensor, size: int, *, order: int = 4, crop: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and noise variance of the blocks without clipped pixels, by differences of an order in both directions.

    crop: px left out at the edges, so that blocks lie where a higher order has them.
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
    # The weights 1 -4 6 -4 1 have squares of sum 70, in each direction.
    squares = math.comb(2 * order, order)
    return cut(inner)[good].mean(1), (cut(residual)[good] ** 2).mean(1) / squares**2


@cache
def flattest_of_noise(size: int, share: float) -> float:
    """What the flattest share of blocks of pure noise of variance 1 shows as its variance."""
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
    """Slope and intercept by least squares on relative errors, what lies above weighed down. through: the intercept is 0."""
    design = torch.stack([mean, torch.ones_like(mean) * (not through)], 1)
    weight = blocks.sqrt() / variance
    for _ in range(30):
        rows, values = design * weight[:, None], variance * weight
        line = torch.linalg.lstsq(rows, values[:, None]).solution[:, 0]
        if positive and (line < 0).any():  # then one of them is 0, the other fitted alone
            alone = (rows * values[:, None]).sum(0) / rows.square().sum(0)
            line = torch.where(line < 0, 0, alone)
        fit = (design @ line).clamp_min(0.1 * float(variance.min()))
        above = (variance / fit - 1).clamp_min(0) / ABOVE
        weight = blocks.sqrt() / fit / (1 + above.square())
    return float(line[0]), float(line[1])
