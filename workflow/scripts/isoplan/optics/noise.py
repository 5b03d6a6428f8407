"""Gain and read noise of a camera, estimated from the noise of a picture that it took."""

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
# Brightnesses of which the largest is less than so many times the least do not tell where the noise vanishes.
NARROW = 2
# Counts per electron of cameras that do not multiply electrons: 16 bits for a full well of 13,000. Of an evenly bright
# picture a larger gain is taken for grain, as is noise that differs by more than EVEN (rms) from what the light makes.
MOST_GAIN, EVEN = 5, 0.17
MOST_READ_E = 20  # electrons
MORE_READ = 1.5  # a given read noise of so many times the noise of the darkest squares is told
# Electrons that a picture's brightest pixels hold: fewer make no picture, more fit in no pixel (3e6: a sum of some
# exposures).
LEAST_E, MOST_E = 5, 3e6
# A line tells the gain where its slope is sure to this share (standard error). One that is below 0 at the offset, because
# that is wrong or texture grows faster than light, must be straight to this share; where more noise is left without
# light than any camera's, the slope must be this share of what it is through the offset.
SURE, STRAIGHT, LEFT = 0.25, 0.1, 0.5
# Of noise alone sixth differences show this share of what fourth ones do, with textures of .7 px and more .3 to .85.
WHITE = (0.88, 1.12)
# Of a picture such a share may lie below the offset by more than noise before that is told.
BELOW = 0.1
ROUNDED = 1 / 12  # counts^2


def complete_camera(given: dict, picture) -> tuple[dict, list[str]]:
    """Offset, gain and read noise of a mosaic, with what is not given estimated from a piece of it.

    given: `offset` and `gain` (counts), `read_noise_e`, each possibly None or missing. picture:
    (h, w) array in counts. Returns the three, whether the gain was given (`gain_given`), and notes for the log. An
    offset that is not given is taken as 0: a picture without dark borders does not tell it. A gain that the picture does
    not tell is None, and so is read noise then.
    """
    camera = {key: given.get(key) for key in ("offset", "gain", "read_noise_e")}
    camera["gain_given"] = camera["gain"] is not None
    notes = []
    if camera["offset"] is None:
        camera["offset"] = 0.0
        notes.append("offset is not given and taken as 0 counts")
    tensor = torch.as_tensor(picture, dtype=torch.float64)
    tensor = torch.where(tensor.isfinite(), tensor, camera["offset"])
    if camera["gain"] is not None and camera["read_noise_e"] is not None:
        return camera, [*notes, *_more_than_all(camera, tensor)]
    try:
        gain, read_noise = estimate_noise(
            tensor,
            offset=camera["offset"],
            # Many give an offset of 0 for want of it.
            known=bool(given.get("offset")) and not camera["gain_given"],
            sure=not camera["gain_given"],
        )
    except UserError as error:
        names = {"gain": "gain", "read_noise_e": "read noise"}
        unknown = [name for key, name in names.items() if camera[key] is None]
        what = " and ".join(unknown) + (" are" if len(unknown) > 1 else " is")
        return camera, [*notes, f"{what} unknown: {error}"]
    found = []
    if camera["gain"] is None:
        camera["gain"] = gain
        found.append(f"gain {gain:.3g} counts/electron")
    if camera["read_noise_e"] is None:
        found.append(f"read noise {read_noise:.3g} counts")
    notes.append(f"estimated from the picture: {', '.join(found)}")
    if camera["read_noise_e"] is not None:
        notes += _more_than_all(camera, tensor)
    elif camera["gain"] > 0:
        # Of a sharp picture the line takes texture for read noise, where a given gain is not its slope.
        camera["read_noise_e"] = min(read_noise / camera["gain"], MOST_READ_E)
    return camera, notes


def _more_than_all(camera: dict, picture: torch.Tensor) -> list[str]:
    """A note where the read noise that is given is clearly more than all the noise of the picture's darkest squares."""
    if min(picture.shape) < 5 * BLOCK_PX:
        return []
    mean, variance = block_noise(picture, BLOCK_PX)
    darkest = mean.argsort()[: len(mean) // 10]
    told = camera["gain"] * camera["read_noise_e"]
    # Rounding hides noise of less than a count.
    if not len(darkest) or told**2 < 1:
        return []
    found = math.sqrt(float(variance[darkest].median()))
    if not told > MORE_READ * found:
        return []
    return [
        f"CAUTION: read noise {camera['read_noise_e']:g} e is {told:.3g} counts, though the darkest squares of the picture "
        f"have {found:.3g} counts of noise in all; check read_noise_e and gain, or leave it out"
    ]


def check_background(facts: dict, background: float | str, name) -> None:
    """Raises UserError, which begins with the picture's name, where a background leaves no light of a picture.

    facts: of `mosaic.measure`, with offset. background: the config's, in counts above the offset.
    """
    if background == "auto" or not background or facts["constant"]:
        return
    level = facts["offset"] + background
    if facts["mean"] < level and facts["p999"] < level:
        raise UserError(
            f"{name}: no light is left above the background of {background:g} counts on the offset of "
            f"{facts['offset']:g}, as the mean is {facts['mean']:.4g}; give a lower background, or auto"
        )


def check_camera_of(facts: dict, name) -> list[str]:
    """Notes where a picture does not look to be of the camera that is told.

    facts: of `mosaic.measure`, with offset, gain, gain_given. Raises UserError, which begins with the picture's
    name, where nothing meaningful could come of them: no light is left in sum, by more than noise, or a gain that is
    given makes no electron of it, or more of them than any pixel holds.
    """
    if facts["constant"]:
        return []
    offset, below = facts["offset"], facts["below_offset"]
    if facts["mean"] < offset and (below > BELOW or facts["p999"] < offset):
        raise UserError(
            f"{name}: no light is left above the offset of {offset:g} counts, as the mean is {facts['mean']:.4g}; "
            "give a lower offset, the camera's counts without light"
        )
    if facts["gain_given"]:
        bright, peak = facts["p999"] - offset, facts["maximum"] - offset
        if not peak > 0.5 * facts["gain"] or bright > MOST_E * facts["gain"]:
            held = (bright if bright > MOST_E * facts["gain"] else peak) / facts["gain"]
            raise UserError(
                f"{name}: with a gain of {facts['gain']:g} its brightest pixels would hold {held:.2g} electrons; give it "
                "in counts per electron, or leave it out"
            )
    if below > BELOW:
        return [
            f"{100 * below:.0f} % of the picture lies below the offset of {offset:g} counts by more than noise and counts "
            "as dark, so that light comes out too bright: give a lower offset, or the picture before a background was "
            "taken off"
        ]
    return []


def counting_camera(given: dict, picture) -> tuple[dict, list[str]]:
    """`complete_camera` for counting photons: gain must be known, and the offset is asked for too.

    An offset that is not given is put where the noise would be the read noise, or if that is not given
    either, where it would be that of rounding, but not below 0; read noise is then what is left. Notes say
    where the picture's own noise contradicts what is given. Raises UserError where the gain cannot be found.
    """
    tensor = torch.as_tensor(picture, dtype=torch.float64)
    known = tensor.isfinite()
    mean = float(tensor[known].mean()) if known.any() else 0.0
    wrong, found = "the noise does not grow with the light, as photons' does", None
    try:
        found = noiseless_level(torch.where(known, tensor, mean))
    except UserError as error:
        wrong = str(error)
    if given.get("gain") is None and found is None:
        raise UserError(
            f"the gain cannot be found ({wrong}); give it in counts per electron, with the offset and the "
            "read noise"
        )
    if given.get("offset") is not None or found is None:
        camera, notes = complete_camera(given, picture)
        if camera["gain"] is None:  # the noise tells it, but is at odds with the offset
            camera, notes = complete_camera(given | {"gain": found[0]}, picture)
            camera["gain_given"] = False
        camera["read_noise_e"] = camera["read_noise_e"] or 0.0
    else:
        gain, level = found
        gain = given.get("gain") or gain
        read_noise = given.get("read_noise_e")
        if read_noise is None:
            read_noise = math.sqrt(max(ROUNDED / gain, -level) / gain)
        camera = {"offset": level + gain * read_noise**2, "gain": gain, "read_noise_e": read_noise}
        camera["gain_given"] = given.get("gain") is not None
        notes = [
            f"gain {gain:.3g} counts/electron, offset {camera['offset']:.4g} counts and read noise "
            f"{read_noise:.3g} e are taken, estimated from the picture's noise where not given: give your "
            "camera's own if you know them"
        ]
    if found:
        told = camera["gain"] * (mean - camera["offset"])
        told += (camera["gain"] * camera["read_noise_e"]) ** 2
        ratio = found[0] * (mean - found[1]) / told if told > 0 else math.inf
        if not 0.75 < ratio < 1.33:
            notes.append(
                f"the picture's noise has {ratio:.2g} times the variance that gain {camera['gain']:.3g}, offset "
                f"{camera['offset']:.4g} and read noise {camera['read_noise_e']:.3g} e ask for, so photons are "
                f"counted wrongly and the parts are not independent; its own noise speaks for gain "
                f"{found[0]:.3g} and offset {found[1]:.4g}"
            )
    return camera, notes


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
