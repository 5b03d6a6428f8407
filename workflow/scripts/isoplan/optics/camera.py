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


def complete_camera(given: dict, picture) -> tuple[dict, list[str]]:
    """Offset, gain and read noise of a mosaic, with what is not given estimated from a piece of it.

    given: `offset` and `gain` (counts), `read_noise_e`, each possibly None or missing. picture:
    (h, w) array in counts. Returns the three and notes for the log. An offset that is not given is
    taken as 0: a picture without dark borders does not tell it.
    """
    camera = {key: given.get(key) for key in ("offset", "gain", "read_noise_e")}
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
        camera["read_noise_e"] = read_noise / camera["gain"]
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
    picture: torch.Tensor, *, offset: float = 0.0, block_px: int = 16
) -> tuple[float, float]:
    """Gain (counts per electron) and read noise (counts) from one picture (h, w) in counts.

    Fits variance = gain (mean - offset) + read_noise^2 over the flattest blocks of every brightness
    (the mean-variance relation). The variance is that of the second differences in both directions,
    which ramps and edges along an axis leave at zero, with the variance of 8 differences per sample;
    taking the flattest tenth is undone by what it does to pure noise. A slope of 0 or less gives
    gain 0: the noise does not grow with the light.

    offset: the camera's offset in counts; a wrong one goes into the read noise, not into the gain.
    Raises UserError where fewer than 50 blocks can be used.
    """
    slope, rest = _noise_line(picture, offset, block_px)
    return max(0.0, slope), math.sqrt(max(0.0, rest))


def noiseless_level(picture: torch.Tensor) -> tuple[float, float] | None:
    """Gain (counts per electron) of a picture (h, w) in counts, and the level in counts at which its noise
    would vanish: offset - gain * read_noise_e^2, which is all that counting its photons takes.

    From the same line as `estimate_noise`; None where the noise does not grow with the light. Raises
    UserError as that does.
    """
    slope, rest = _noise_line(picture, 0.0, 16)
    return (slope, -rest / slope) if slope > 0 else None


def _noise_line(picture: torch.Tensor, offset: float, block_px: int) -> tuple[float, float]:
    """Slope and value at `offset` of the noise's variance over brightness."""
    mean, variance = _blocks(picture.to(torch.float64), block_px)
    lit = variance > 0
    mean, variance = mean[lit], variance[lit]
    if len(mean) < 50:
        raise UserError(
            f"the picture has only {len(mean)} blocks of {block_px} px that are neither constant nor "
            "clipped; give gain and read_noise_e yourself"
        )
    order = mean.argsort()
    bins = max(3, min(24, len(mean) // 50))
    centre, level = [], []
    for block in order.chunk(bins):
        flattest = variance[block].topk(max(3, len(block) // 10), largest=False).indices
        centre.append(mean[block][flattest].mean() - offset)
        level.append(variance[block][flattest].mean() / _flattest_tenth(block_px))
    return _fit_noise_line(torch.stack(centre), torch.stack(level))


def _blocks(picture: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and noise variance of the blocks without clipped pixels."""
    inner = picture[1:-1, 1:-1]
    along_y = picture[:-2] - 2 * picture[1:-1] + picture[2:]
    residual = along_y[:, :-2] - 2 * along_y[:, 1:-1] + along_y[:, 2:]
    clipped = torch.zeros_like(inner, dtype=torch.bool)
    for end in (picture.min(), picture.max()):
        if (inner == end).double().mean() > 1e-3:
            clipped |= inner == end
    rows, columns = inner.shape[0] // size, inner.shape[1] // size

    def cut(x):
        x = x[: rows * size, : columns * size].reshape(rows, size, columns, size)
        return x.transpose(1, 2).reshape(-1, size * size)

    good = ~cut(clipped).any(1) & cut(picture[1:-1, 1:-1]).isfinite().all(1)
    # 36 is the sum of the squared weights of the difference 1 -2 1 taken in both directions.
    return cut(inner)[good].mean(1), (cut(residual)[good] ** 2).mean(1) / 36


@cache
def _flattest_tenth(size: int) -> float:
    """What the flattest tenth of blocks of pure noise of variance 1 shows as its variance."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(32 * size + 2, 32 * size + 2, generator=generator, dtype=torch.float64)
    variance = _blocks(noise, size)[1]
    return float(variance.topk(len(variance) // 10, largest=False).values.mean())


def _fit_noise_line(mean: torch.Tensor, variance: torch.Tensor) -> tuple[float, float]:
    """Slope and intercept by least squares on relative errors, outliers weighed down."""
    design = torch.stack([mean, torch.ones_like(mean)], 1)
    weight = 1 / variance
    line = torch.zeros(2, dtype=mean.dtype)
    for _ in range(20):
        line = torch.linalg.lstsq(design * weight[:, None], (variance * weight)[:, None]).solution
        fit = (design @ line)[:, 0].clamp_min(0.1 * float(variance.min()))
        off = (variance / fit - 1).abs()
        weight = 1 / fit / (1 + (off / (2 * off.median().clamp_min(1e-3))) ** 2)
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
