"""Model of a camera: from photons to counts, with noise (thesis, eq. 2.10, extended).

    electrons = Poisson(photons * quantum_efficiency * image * illumination * vignette) + N(0, read^2)
    counts    = quantise(gain * electrons + offset), then salt and pepper

`photons` is the number of photons at the picture's peak (image 1); illumination scales the whole picture.
"""

import math

import torch

from isoplan.base.errors import UserError

DRAWN_EVENLY = ("read_noise_e", "salt_pepper", "illumination", "vignetting")
DRAWN_BY_RATIO = ("photons", "gain")  # uniform on a logarithmic scale
# Neutral values of the keys that a camera may leave out (`absent` in the schema).
WITHOUT = {"salt_pepper": (0, 0), "illumination": (1, 1), "vignetting": (0, 0)}
CONSTANT = ("quantum_efficiency", "offset", "bits")


def check_camera(spec: dict) -> None:
    """Raise UserError if a camera is impossible or would clip its brightest picture."""
    name, spec = spec["name"], WITHOUT | spec
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
                f"cameras {name}: {key} is [{low}, {high}]; give [low, high] in ascending order, "
                f"from {least:g} to {most:g}"
            )
    if not 0 < spec["quantum_efficiency"] <= 1 or spec["bits"] < 0:
        raise UserError(
            f"cameras {name}: quantum_efficiency must be in (0, 1], and bits at least 0"
        )
    electrons = spec["photons"][1] * spec["quantum_efficiency"] * spec["illumination"][1]
    counts = electrons * spec["gain"][1] + spec["offset"]
    if spec["bits"] and counts > 2 ** spec["bits"] - 1:
        raise UserError(
            f"cameras {name}: the brightest picture reaches {counts:.0f} counts, but {spec['bits']} bits "
            f"end at {2 ** spec['bits'] - 1}; lower photons or gain, or raise bits (0: no limit)"
        )


def draw_camera(spec: dict, n: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Draw the settings of n exposures, each (n,) float32 on the generator's device.

    spec: an entry of the config's `cameras`. Photons and gain are log-uniform, other ranges are uniform.
    """
    drawn = (*DRAWN_BY_RATIO, *DRAWN_EVENLY)
    share = torch.rand(len(drawn), n, generator=generator, device=generator.device)
    settings, spec = {}, WITHOUT | spec
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
    """Simulate exposures.

    Parameters
    ----------
    image
        (n, h, w) blurred pictures, non-negative with a peak of about 1.
    settings
        From `draw_camera`.
    generator
        Random numbers, on the pictures' device.
    full_field, origin
        For vignetting, if the pictures are windows of a larger field: its size, and the position of the
        windows in it, (y, x) in px.

    Returns
    -------
    torch.Tensor
        (n, h, w) float32 counts.

    Examples
    --------
    >>> camera = {
    ...     "name": "mine", "photons": [1000, 1000], "gain": [2, 2], "read_noise_e": [3, 3],
    ...     "quantum_efficiency": 0.8, "offset": 100, "bits": 16,
    ... }
    >>> generator = torch.Generator().manual_seed(0)
    >>> counts = expose(torch.ones(1, 64, 64), draw_camera(camera, 1, generator), generator)
    >>> bool(abs(counts.mean() - (100 + 2 * 0.8 * 1000)) < 5)
    True
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
    """Draw Poisson numbers with given rates, on the generator's device.

    On a CPU, rates from 32 are drawn ten times faster, as a rounded normal with the skewness of the
    Poisson distribution (first-order Cornish-Fisher). Its mean is exact, its variance within 0.3 %.
    """
    if rate.device.type != "cpu":
        return torch.poisson(rate, generator=generator)
    z = torch.randn(rate.shape, generator=generator)
    counts = (rate + rate.sqrt() * z + (z * z - 1) / 6).round_()
    few = rate < 32
    counts[few] = torch.poisson(rate[few], generator=generator)
    return counts


def mean_counts(image: torch.Tensor, settings: dict, **place) -> torch.Tensor:
    """Expected counts (n, h, w) of `expose`, without clipping and salt-and-pepper noise."""
    s = {key: value.view(-1, 1, 1) for key, value in settings.items()}
    return s["gain"] * _electrons(image, s, **place) + s["offset"]


def noise_variance(image: torch.Tensor, settings: dict, **place) -> torch.Tensor:
    """Variance (n, h, w) of `expose` in counts^2, without clipping and salt-and-pepper noise."""
    s = {key: value.view(-1, 1, 1) for key, value in settings.items()}
    electrons = _electrons(image, s, **place) + s["read_noise_e"] ** 2
    return s["gain"] ** 2 * electrons + torch.where(s["bits"] > 0, 1 / 12, 0.0)


def vignette(full_field, origin, shape, vignetting: torch.Tensor) -> torch.Tensor:
    """Vignetting factor (n, h, w): 1 in the field's centre, 1 - vignetting in its corners, quadratic."""
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
    """Set a share of the pixels to 0 or to full scale, half of them each."""
    u = torch.rand(counts.shape, generator=generator, device=counts.device)
    # Without quantisation there is no full scale, so the counts of the picture's peak are used.
    peak = s["gain"] * s["photons"] * s["quantum_efficiency"] + s["offset"]
    full = torch.where(s["bits"] > 0, top, peak).expand_as(counts)
    counts = torch.where(u < s["salt_pepper"] / 2, torch.zeros_like(counts), counts)
    return torch.where(u > 1 - s["salt_pepper"] / 2, full, counts)


# Degradations of the published robustness sweep --------------------------------------------------


def degrade(
    patches: torch.Tensor, kind: str, strength: float, generator: torch.Generator
) -> torch.Tensor:
    """Degrade patches as in the published robustness sweep.

    The kinds are:

    - gaussian: noise of standard deviation sqrt(strength / 150),
    - poisson: Poisson noise with a peak of 256 / (420 strength) counts, rounded up to a power of two (8 at 0.1,
      2 at 0.5),
    - mixed: poisson, then gaussian,
    - illumination: a factor 1 - strength,
    - vignette: a blend with the patch times a centred Gaussian, whose FWHM is half of the patch.

    Parameters
    ----------
    patches
        (n, h, w) in [0, 1].
    kind
        One of the above.
    strength
        From 0 (unchanged) to 1.
    generator
        Random numbers, on the patches' device.

    Raises
    ------
    UserError
        If the kind is unknown.
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
