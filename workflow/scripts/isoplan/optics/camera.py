"""The camera: photons to counts, with the noise it adds (thesis eq. 2.10 and its extensions).

    electrons = Poisson(photons * quantum_efficiency * image * illumination * vignette) + N(0, read^2)
    counts    = quantise(gain * electrons + offset), then salt and pepper

`photons` is the budget at the picture's peak (image 1); illumination scales it for the whole picture.
"""

import math
from functools import cache

import torch

from isoplan.base.errors import UserError

DRAWN_EVENLY = ("read_noise_e", "salt_pepper", "illumination", "vignetting")
DRAWN_BY_RATIO = ("photons", "gain")  # evenly on a logarithmic scale
CONSTANT = ("quantum_efficiency", "offset", "bits")


def check_camera(spec: dict) -> None:
    """Raises UserError where a camera cannot be, or would clip its brightest picture."""
    name = spec["name"]
    for key, least, most in (
        ("photons", 1e-6, math.inf),
        ("gain", 1e-6, math.inf),
        ("read_noise_e", 0, math.inf),
        ("salt_pepper", 0, 1),
        ("illumination", 0, math.inf),
        ("vignetting", 0, 1),
    ):
        low, high = spec[key]
        if not least <= low <= high <= most:
            raise UserError(
                f"cameras {name}: {key} is [{low}, {high}]; give [low, high], rising, "
                f"from {least:g} to {most:g}"
            )
    if not 0 < spec["quantum_efficiency"] <= 1 or spec["bits"] < 0:
        raise UserError(f"cameras {name}: quantum_efficiency must lie in (0, 1], bits from 0 on")
    electrons = spec["photons"][1] * spec["quantum_efficiency"] * spec["illumination"][1]
    counts = electrons * spec["gain"][1] + spec["offset"]
    if spec["bits"] and counts > 2 ** spec["bits"] - 1:
        raise UserError(
            f"cameras {name}: the brightest picture reaches {counts:.0f} counts, {spec['bits']} bits "
            f"end at {2 ** spec['bits'] - 1}; lower photons or gain, or raise bits (0: no limit)"
        )


def draw_camera(spec: dict, n: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Settings of n exposures, each (n,) float32 on the generator's device.

    spec: one entry of the config's `cameras`. Photons and gain are log-uniform, the other ranges uniform.
    """
    drawn = (*DRAWN_BY_RATIO, *DRAWN_EVENLY)
    share = torch.rand(len(drawn), n, generator=generator, device=generator.device)
    settings = {}
    for key, u in zip(drawn, share, strict=True):
        low, high = spec[key]
        settings[key] = low + u * (high - low)
        if key in DRAWN_BY_RATIO:
            settings[key] = low * (high / low) ** u
    for key in CONSTANT:
        settings[key] = torch.full_like(share[0], float(spec[key]))
    return settings


def expose(
    image: torch.Tensor,
    settings: dict[str, torch.Tensor],
    generator: torch.Generator,
    *,
    full_field: tuple[int, int] | None = None,
    origin: tuple[int, int] | None = None,
) -> torch.Tensor:
    """Counts (n, h, w) float32 of blurred pictures (n, h, w), each >= 0 with its peak at about 1.

    settings: of `draw_camera`. full_field, origin: size and place (y, x) in px of the whole picture
    that these are a window of, for vignetting; without them the window is the whole field.
    """
    s = {key: value.view(-1, 1, 1) for key, value in settings.items()}
    rate = _electrons(image, s, full_field, origin)
    noise = torch.randn(rate.shape, generator=generator, device=rate.device)
    electrons = poisson(rate, generator) + s["read_noise_e"] * noise
    counts = s["gain"] * electrons + s["offset"]
    top = torch.exp2(s["bits"]) - 1
    quantised = torch.minimum(counts.round().clamp_min(0), top)
    counts = torch.where(s["bits"] > 0, quantised, counts)
    return _salt_pepper(counts, s, top, generator)


def poisson(rate: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Poisson numbers of the rates, on the generator's device.

    On a CPU, rates from 32 on are drawn as a rounded normal with the Poisson's skewness (Cornish-Fisher,
    first order), ten times faster; its mean is right, its variance within 0.3 %.
    """
    if rate.device.type != "cpu":
        return torch.poisson(rate, generator=generator)
    z = torch.randn(rate.shape, generator=generator)
    counts = (rate + rate.sqrt() * z + (z * z - 1) / 6).round_()
    few = rate < 32
    counts[few] = torch.poisson(rate[few], generator=generator)
    return counts


def mean_counts(image: torch.Tensor, settings: dict, **place) -> torch.Tensor:
    """Expected counts (n, h, w) of `expose`, clipping and salt and pepper left out."""
    s = {key: value.view(-1, 1, 1) for key, value in settings.items()}
    return s["gain"] * _electrons(image, s, **place) + s["offset"]


def noise_variance(image: torch.Tensor, settings: dict, **place) -> torch.Tensor:
    """Variance in counts^2 (n, h, w) of `expose`, clipping and salt and pepper left out."""
    s = {key: value.view(-1, 1, 1) for key, value in settings.items()}
    electrons = _electrons(image, s, **place) + s["read_noise_e"] ** 2
    return s["gain"] ** 2 * electrons + torch.where(s["bits"] > 0, 1 / 12, 0.0)


def vignette(full_field, origin, shape, vignetting: torch.Tensor) -> torch.Tensor:
    """Factor (n, h, w): 1 in the field's centre, 1 - vignetting in its corners, quadratic between."""
    axes = []
    for length, start, count in zip(full_field, origin, shape, strict=True):
        at = torch.arange(count, device=vignetting.device) + start + 0.5
        axes.append((2 * at / length - 1) ** 2)
    radius2 = (axes[0][:, None] + axes[1][None, :]) / 2
    return 1 - vignetting.view(-1, 1, 1) * radius2


def _electrons(image, s, full_field=None, origin=None) -> torch.Tensor:
    """Expected photo-electrons per pixel."""
    shape = image.shape[-2:]
    field = vignette(full_field or shape, origin or (0, 0), shape, s["vignetting"])
    return image * field * (s["photons"] * s["quantum_efficiency"] * s["illumination"])


def _salt_pepper(counts, s, top, generator) -> torch.Tensor:
    """Sets a share of the pixels to 0 or to full scale, half of them each."""
    u = torch.rand(counts.shape, generator=generator, device=counts.device)
    # Without quantisation there is no full scale: take the counts of the picture's peak.
    peak = s["gain"] * s["photons"] * s["quantum_efficiency"] + s["offset"]
    full = torch.where(s["bits"] > 0, top, peak).expand_as(counts)
    counts = torch.where(u < s["salt_pepper"] / 2, torch.zeros_like(counts), counts)
    return torch.where(u > 1 - s["salt_pepper"] / 2, full, counts)


# Estimating the noise from a picture -----------------------------------------------------------

BLOCK_PX = 12
# Shares of the blocks of a brightness, the flattest ones, that its noise is taken from: the largest that
# shows at most MORE_NOISE times what the smallest does.
FLATTEST, MORE_NOISE = (0.04, 0.12, 0.35, 1.0), 1.1
# Brightnesses that lie above the line by this share of it weigh half.
ABOVE = 0.08
# Where the noise vanishes above the offset by more than this share of the median brightness, that is wrong.
WRONG_OFFSET = 0.2
MOST_READ_E = 20  # electrons


def complete_camera(given: dict, picture) -> tuple[dict, list[str]]:
    """Offset, gain and read noise of a mosaic, with what is not given estimated from a piece of it.

    given: `offset` and `gain` (counts), `read_noise_e`, each possibly None or missing. picture:
    (h, w) array in counts. Returns the three, whether the gain was given (`gain_given`), and notes for the log. An
    offset that is not given is taken as 0: a picture without dark borders does not tell it.
    """
    camera = {key: given.get(key) for key in ("offset", "gain", "read_noise_e")}
    camera["gain_given"] = camera["gain"] is not None
    notes = []
    if camera["offset"] is None:
        camera["offset"] = 0.0
        notes.append("offset is not given and taken as 0 counts")
    if camera["gain"] is not None and camera["read_noise_e"] is not None:
        return camera, notes
    tensor = torch.as_tensor(picture, dtype=torch.float64)
    try:
        gain, read_noise = estimate_noise(
            torch.where(tensor.isfinite(), tensor, camera["offset"]), offset=camera["offset"]
        )
    except UserError as error:
        return camera, [*notes, f"gain and read noise are not known: {error}"]
    notes.append(
        f"estimated from the picture: gain {gain:.3g} counts/electron, read noise {read_noise:.3g} counts"
    )
    if camera["gain"] is None:
        camera["gain"] = gain
    if camera["read_noise_e"] is None and camera["gain"] > 0:
        # Of a sharp picture the line takes texture for read noise, where a given gain is not its slope.
        camera["read_noise_e"] = min(read_noise / camera["gain"], MOST_READ_E)
    return camera, notes


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
        camera["read_noise_e"] = camera["read_noise_e"] or 0.0
    else:
        gain, level = found
        gain = given.get("gain") or gain
        read_noise = given.get("read_noise_e")
        if read_noise is None:
            read_noise = math.sqrt(max(1 / 12 / gain, -level) / gain)
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
    picture: torch.Tensor, *, offset: float = 0.0, block_px: int = BLOCK_PX
) -> tuple[float, float]:
    """Gain (counts per electron) and read noise (counts) from one picture (h, w) in counts.

    Fits variance = gain (mean - offset) + read_noise^2 over blocks of every brightness (the mean-variance
    relation). The variance is that of the fourth differences in both directions, which see little but what
    alternates from pixel to pixel. Texture can only add to it: of every brightness the flattest 4 % of the
    blocks count, and more where these show no more noise; and brightnesses that lie above the line weigh
    less. A slope of 0 gives gain 0: the noise does not grow with the light. Of a sharp picture full of
    texture the gain comes out too large.

    offset: the camera's offset in counts; a wrong one goes into the read noise, not into the gain.
    Raises UserError where fewer than 50 blocks can be used.
    """
    slope, rest = _noise_line(picture, offset, block_px, positive=True)
    return slope, math.sqrt(rest)


def noiseless_level(picture: torch.Tensor) -> tuple[float, float] | None:
    """Gain (counts per electron) of a picture (h, w) in counts, and the level in counts at which its noise
    would vanish: offset - gain * read_noise_e^2, which is all that counting its photons takes.

    From the same line as `estimate_noise`; None where the noise does not grow with the light. Raises
    UserError as that does.
    """
    slope, rest = _noise_line(picture, 0.0, BLOCK_PX, positive=False)
    return (slope, -rest / slope) if slope > 0 else None


def _noise_line(
    picture: torch.Tensor, offset: float, block_px: int, *, positive: bool
) -> tuple[float, float]:
    """Slope and value at `offset` of the noise's variance over brightness; positive: neither below 0.

    A line that is far below 0 at the offset speaks of a wrong one, and its slope is kept as it is.
    """
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
    points = torch.tensor(points, dtype=torch.float64).T
    slope, rest = _fit_noise_line(*points, positive=False)
    if positive and -rest > WRONG_OFFSET * slope * float(points[0].median()) > 0:
        return slope, 0.0
    if not positive:
        return slope, rest
    slope, rest = _fit_noise_line(*points, positive=True)
    if slope and rest > (MOST_READ_E * slope) ** 2:
        # Texture that is alike everywhere looks like read noise; no camera has so much.
        light, variance, blocks = points
        weight = blocks / variance.square()
        slope, rest = float((weight * light * variance).sum() / (weight * light**2).sum()), 0.0
    return slope, rest


def block_noise(picture: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and noise variance of the blocks without clipped pixels."""
    inner = picture[2:-2, 2:-2]
    residual = picture.diff(n=4, dim=0).diff(n=4, dim=1)
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
    return cut(inner)[good].mean(1), (cut(residual)[good] ** 2).mean(1) / 70**2


@cache
def flattest_of_noise(size: int, share: float) -> float:
    """What the flattest share of blocks of pure noise of variance 1 shows as its variance."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(64 * size + 4, 64 * size + 4, generator=generator, dtype=torch.float64)
    variance = block_noise(noise, size)[1]
    return float(variance.topk(int(share * len(variance)), largest=False).values.mean())


def _fit_noise_line(
    mean: torch.Tensor, variance: torch.Tensor, blocks: torch.Tensor, positive: bool
) -> tuple[float, float]:
    """Slope and intercept by least squares on relative errors, what lies above weighed down."""
    design = torch.stack([mean, torch.ones_like(mean)], 1)
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


# Degradations of the published robustness sweep --------------------------------------------------


def degrade(
    patches: torch.Tensor, kind: str, strength: float, generator: torch.Generator
) -> torch.Tensor:
    """Patches (n, h, w) in [0, 1], degraded at a strength from 0 (not at all) to 1.

    gaussian      noise of deviation sqrt(strength / 150)
    poisson       a peak of 256 / (420 strength) counts, rounded up to a power of two: 8 at .1, 2 at .5
    mixed         poisson, then gaussian
    illumination  times 1 - strength
    vignette      blended with itself times a centred Gaussian of FWHM half the patch

    Raises UserError where the kind is unknown.
    """
    if kind not in DEGRADATIONS:
        raise UserError(f"degradation {kind}: unknown; known are {', '.join(DEGRADATIONS)}")
    if strength == 0:
        return patches
    return DEGRADATIONS[kind](patches, strength, generator)


def _gaussian(patches, strength, generator):
    noise = torch.randn(patches.shape, generator=generator, device=patches.device)
    return (patches + math.sqrt(strength / 150) * noise).clamp(0, 1)


def _poisson(patches, strength, generator):
    peak = 2 ** math.ceil(math.log2(256 / (420 * strength)))
    return (torch.poisson(patches * peak, generator=generator) / peak).clamp(0, 1)


def _mixed(patches, strength, generator):
    return _gaussian(_poisson(patches, strength, generator), strength, generator)


def _illumination(patches, strength, generator):
    return patches * (1 - strength)


def _vignette(patches, strength, generator):
    lines = [
        torch.exp(
            -4 * math.log(2) * (2 * (torch.arange(n, device=patches.device) + 0.5) / n - 1) ** 2
        )
        for n in patches.shape[-2:]
    ]
    return patches * (1 - strength + strength * lines[0][:, None] * lines[1][None, :])


DEGRADATIONS = {
    "gaussian": _gaussian,
    "poisson": _poisson,
    "mixed": _mixed,
    "illumination": _illumination,
    "vignette": _vignette,
}
