"""Space-variant Richardson-Lucy restoration with total variation (thesis, section 4.2, eq. 4.2).

Everything is local: no step depends on a sum or a maximum over the picture. So a tile with a halo that is wide
enough (`isoplan.restoration.halo`) is restored like the whole picture.
"""

from collections.abc import Callable

import torch

from isoplan.optics.blur import SpaceVariantBlur
from isoplan.restoration.total_variation import LEAST_SHARE, denoise, divergence, unit_gradient

TV_STEPS = ("proximal", "explicit", "none")
ACCELERATIONS = ("momentum", "none")

# Dual steps of each proximal TV step; they start from the result of the last iteration.
DUAL_STEPS = 3

# Width of the rounded corner of |grad x| in the explicit step, relative to the scale.
TV_EPSILON = 1e-2

# The picture hardly depends on an object pixel whose weight A'1 is below this share of the full one. Errors of PSFs
# made from modes and of single precision would matter there.
UNSEEN = {torch.float32: 1e-3, torch.float64: 1e-4}

# The TV step is not made longer below this share of the full weight: its few dual steps could not follow, and J
# would rise.
FAINT = 0.3

# From iteration N = max(12, .36 / tv_weight) on, the momentum is multiplied by N / n. With a large TV weight, the dual
# steps cannot follow the accelerated object, which diverged after about 20 iterations.
FADES_FROM, FADES_AT = 12, 0.36


def richardson_lucy(
    y: torch.Tensor,
    blur: SpaceVariantBlur,
    *,
    iterations: int = 10,
    tv_weight: float | torch.Tensor = 0.001,
    tv_step: str = "proximal",
    acceleration: str = "momentum",
    start: float,
    scale: float,
    background: float | torch.Tensor = 0.0,
    shift: float = 0.0,
    valid: torch.Tensor | None = None,
    saturated: torch.Tensor | None = None,
    callback: Callable[[int, torch.Tensor], bool | None] | None = None,
) -> torch.Tensor:
    """Restore a blurred picture under Poisson noise.

    Parameters
    ----------
    y : (H, W) tensor of `blur.shape`
        Counts minus offset, in any unit. Values below -shift (due to read noise) are raised to it. Pixels outside
        `valid` may have any value.
    blur : SpaceVariantBlur
        The blur A, with its adjoint A'. In addition, about 14 arrays of the object's size are kept in memory.
    iterations : int
        Number of Richardson-Lucy steps, each followed by a TV step.
    tv_weight : float or tensor of `blur.object_shape`
        Weight of the total variation, >= 0, one for all or of each pixel of the object, without a unit: scaling y, start and
        scale by g scales the result by g.
        The fewer the photons, the larger it should be, with or without acceleration. Of 0.0003, 0.001, 0.003, 0.01
        and 0.03, the best ones on average over six pictures are 0.03, 0.003 and 0.0003 at 10^2, 10^3 and 10^4 photons
        at the peak (`tests/bench/bench_acceleration.py`).
    tv_step : {"proximal", "explicit", "none"}
        How the total variation is reduced, see Notes.
    acceleration : {"momentum", "none"}
        Whether each step starts from an extrapolated object, see Notes.
    start : float
        Initial value of every object pixel in counts, such as the mean of the whole mosaic. It must be above 0 if the
        picture has light.
    scale : float
        Brightness of the whole mosaic in counts, such as its 99.9th percentile. It defines what counts as dark.
    background : float or (H, W) tensor
        Counts >= 0 that do not come from the object, such as haze. The restored object does not include them.
    shift : float
        Counts >= 0 that account for the read noise: gain * read_noise_e^2. With a gain of g counts per electron,
        y / g + read_noise_e^2 has the mean and the variance of a Poisson variable [1]_, so dark pixels get no more
        weight than their noise allows.
    valid : (H, W) tensor or None
        Mask of the usable pixels; None uses all of them.
    saturated : (H, W) bool tensor or None
        Mask of the pixels that received y or more. They raise the model where it is below y, and have no influence
        elsewhere. If they were left out instead, the middle of a saturated spot would stay at `start`.
    callback : callable or None
        Called as callback(iteration, x) after each iteration, from 1 on. The restoration ends if it returns True.

    Returns
    -------
    x : tensor of `blur.object_shape`
        The object in counts, with the dtype and the device of y. It extends beyond the picture by `blur.margin`.

    Raises
    ------
    ValueError
        If a shape is wrong, `tv_step` or `acceleration` is unknown, a weight, background or shift is negative, or
        start is not above 0 although the picture has light.

    Notes
    -----
    With m = Ax + b + s, where b is the `background` and s the `shift`, the iterations reduce

        J(x) = sum_valid (m - (y + s) log m) + tv_weight TV(x)

    with isotropic TV, of which a map weighs every pixel's gradient. If m is larger than y + s at a saturated pixel, its term keeps its minimum. Each iteration makes
    the Richardson-Lucy step

        z = x A'((y + s) / m) / A'v

    with the valid pixels v, and then a TV step:

    - "proximal": x <- argmin_u sum (A'v / 2x) (u - z)^2 + tv_weight TV(u) (EM-TV [2]_, [3]_), by DUAL_STEPS warm-started
      dual steps. A fixed point u = x satisfies A'v - A'((y + s) / m) + tv_weight dTV(x) = 0, which is dJ = 0.
    - "explicit": x <- z / (1 - tv_weight div(grad x / |grad x|)) (thesis, eq. 4.2), with the true curvature, |grad x|
      rounded by TV_EPSILON scale, and a denominator of at least LEAST_SHARE. If A'v = 1, its fixed point is the same
      apart from the rounding. It causes rings if tv_weight x is large compared with TV_EPSILON scale: weights above
      0.01 did harm in tests on real pictures.
    - "none": no TV, plain Richardson-Lucy. If b + s = 0, then sum x (A'v) = sum y after every iteration.

    With "momentum", iteration n starts from x (x / x_before)^((n - 1) / (n + 2)) instead of x. These are Nesterov's
    weights on the logarithm of x. Biggs and Andrews [4]_ compute theirs from sums over the picture, and extrapolate x
    itself. Fixed weights depend on no other pixel, so tiles stay independent, and dark pixels are accelerated as well.
    10 accelerated iterations have the effect of 20 plain ones (`tests/bench/bench_acceleration.py`), but J need not
    decrease in each of them. With a large TV weight, the momentum decreases (`momentum`). Without acceleration, J
    decreases in each iteration, except for small increases with a TV weight of 0.3, which the few dual steps cannot
    follow exactly.

    References
    ----------
    .. [1] Snyder et al.: Compensation for readout noise in CCD images. J. Opt. Soc. Am. A 12, 1995.
    .. [2] Sawatzky, Brune, Müller, Burger: Total variation processing of images with Poisson statistics. CAIP 2009.
    .. [3] Brune, Sawatzky, Burger: Primal and dual Bregman methods with application to optical nanoscopy. Int. J.
       Comput. Vis. 92, 2011.
    .. [4] Biggs, Andrews: Acceleration of iterative image restoration algorithms. Appl. Opt. 36, 1997.

    Examples
    --------
    A point that was blurred by a 3 x 3 mean becomes sharper and keeps all of its light:

    >>> blur = SpaceVariantBlur(torch.full((1, 1, 3, 3), 1 / 9), [0], [0], (9, 9))
    >>> point = torch.zeros(blur.object_shape)
    >>> point[5, 5] = 900
    >>> y = blur.forward(point)
    >>> x = richardson_lucy(y, blur, tv_weight=0, start=float(y.mean()), scale=float(y.max()))
    >>> bool(x[5, 5] > 3 * y.max()), round(float(x.sum()))
    (True, 900)
    """
    masks = {"valid": valid, "saturated": saturated}
    pedestal = torch.as_tensor(background, dtype=y.dtype, device=y.device) + shift
    _check(y, blur, tv_weight, tv_step, acceleration, start, masks, background, shift)
    usable = torch.ones_like(y) if valid is None else valid.to(y)
    y = torch.where(usable > 0, y + shift, 0).clamp(min=0)
    if saturated is not None:
        saturated = saturated & (usable > 0)
    dark = max(1e-6 * scale, torch.finfo(y.dtype).tiny)
    weight = blur.adjoint(usable)
    # Pixels that the picture does not depend on are not changed: their gain is 1.
    unseen = (weight <= UNSEEN[y.dtype]).to(y)
    inverse = (1 - unseen) / weight.clamp(min=UNSEEN[y.dtype])
    if not torch.is_tensor(tv_weight) and tv_weight == 0:
        tv_step = "none"
    x = before = torch.full(blur.object_shape, float(start), dtype=y.dtype, device=y.device)
    bound = tv_weight if torch.is_tensor(tv_weight) else None
    if tv_step == "proximal":
        dual, spare = x.new_zeros(2, 2, *x.shape)
        softness = (tv_weight if bound is None else 1) / weight.clamp(min=FAINT)

    for iteration in range(1, iterations + 1):
        point = x
        if acceleration == "momentum" and iteration > 1:
            point = extrapolate(x, before, momentum(iteration, tv_weight))
        mean = blur.forward(point).clamp_(min=dark).add_(pedestal)
        ratio = torch.div(y, mean, out=mean)
        if saturated is not None:
            ratio = torch.where(saturated, ratio.clamp(min=1), ratio)
        gain = blur.adjoint(ratio).clamp_(min=0)
        gain = torch.addcmul(unseen, gain, inverse, out=gain)
        if tv_step == "explicit":
            change = divergence(tv_weight * unit_gradient(point, TV_EPSILON * scale))
            gain /= (1 - change).clamp(min=LEAST_SHARE)
        before, x = x, gain.mul_(point)
        if tv_step == "proximal":
            x, made = denoise(x, softness * point, dual, DUAL_STEPS, bound, spare)
            dual, spare = made, dual
        if callback is not None and callback(iteration, x):
            break
    return x


def momentum(iteration: int, tv_weight: float | torch.Tensor) -> float | torch.Tensor:
    """Weight of the momentum in iteration n: Nesterov's (n - 1) / (n + 2), which decreases for large TV weights."""
    if torch.is_tensor(tv_weight):  # of each pixel its own, so that tiles stay independent
        fades = (FADES_AT / tv_weight).clamp(min=FADES_FROM)
        return (iteration - 1) / (iteration + 2) * (fades / iteration).clamp(max=1)
    fades = max(FADES_FROM, FADES_AT / tv_weight) if tv_weight else iteration
    return (iteration - 1) / (iteration + 2) * min(1.0, fades / iteration)


def extrapolate(
    x: torch.Tensor, before: torch.Tensor, weight: float | torch.Tensor
) -> torch.Tensor:
    """x (x / before)^weight for each pixel, with values >= 0 and a weight m in [0, 1), one for all or each its own.

    The power is replaced by its Pade approximant about 1, ((1 + m) x + (1 - m) before) / ((1 - m) x +
    (1 + m) before). It needs no logarithm, and is bounded for all values.
    """
    share = (1 + weight) / 2
    behind = torch.lerp(x, before, share).clamp_(min=torch.finfo(x.dtype).tiny)
    return torch.lerp(before, x, share).div_(behind).mul_(x)


def _check(y, blur, tv_weight, tv_step, acceleration, start, masks, background, shift) -> None:
    if tv_step not in TV_STEPS:
        raise ValueError(f"tv_step: {tv_step!r} is not one of {', '.join(TV_STEPS)}")
    if acceleration not in ACCELERATIONS:
        raise ValueError(f"acceleration: {acceleration!r} is not one of {', '.join(ACCELERATIONS)}")
    if tuple(y.shape) != blur.shape:
        raise ValueError(f"picture: shape {tuple(y.shape)} is not the blur's {blur.shape}")
    if torch.is_tensor(tv_weight) and tuple(tv_weight.shape) != blur.object_shape:
        text = f"shape {tuple(tv_weight.shape)} is not the object's {blur.object_shape}"
        raise ValueError(f"tv_weight: {text}")
    background = torch.as_tensor(background)
    arrays = masks | {"background": background if background.ndim else None}
    for name, array in arrays.items():
        if array is not None and array.shape != y.shape:
            text = f"shape {tuple(array.shape)} is not the picture's {tuple(y.shape)}"
            raise ValueError(f"{name}: {text}")
    for name, value in (("tv_weight", tv_weight), ("shift", shift), ("background", background)):
        if not (torch.as_tensor(value) >= 0).all():
            raise ValueError(f"{name}: is negative or not a number")
    valid = masks["valid"]
    lit = y > 0 if valid is None else (y > 0) & (valid > 0)
    if start <= 0 and lit.any():
        raise ValueError("start: must be above 0, as Richardson-Lucy cannot leave 0")
