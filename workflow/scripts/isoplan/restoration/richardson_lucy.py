"""Space-variant Richardson-Lucy restoration with total variation (thesis, section 4.2, eq. 4.2).

Everything is local: no step depends on a sum or a maximum over the picture, so that a tile with a
wide enough halo (`isoplan.restoration.halo`) is restored as the whole picture would be.
"""

from collections.abc import Callable

import torch

from isoplan.optics.blur import SpaceVariantBlur

TV_STEPS = ("proximal", "explicit", "none")
ACCELERATIONS = ("momentum", "none")

# Dual steps of the proximal TV step per iteration; they start from the last iteration's result.
DUAL_STEPS = 3

# Width of the rounded corner of |grad x| in the explicit step, as a share of the image scale.
TV_EPSILON = 1e-2

# Below these shares of the full weight A'1 an object pixel is hardly seen by the picture. PSFs put
# together from modes, and transforms in single precision, leave errors there that would count.
UNSEEN = {torch.float32: 1e-3, torch.float64: 1e-4}

# Below this share of the full weight the TV step stays as long as there: its few dual steps could not
# follow a longer one, and J would rise.
FAINT = 0.3

# Momentum fades as N / n from iteration N = max(12, .36 / tv_weight) on: where TV weighs much, the dual
# steps lag behind a picture that runs on, which undid it after some 20 iterations.
FADES_FROM, FADES_AT = 12, 0.36

# No TV step takes a pixel below this share of its Richardson-Lucy value (0 would stay 0 for ever).
LEAST_SHARE = 0.1


def richardson_lucy(
    y: torch.Tensor,
    blur: SpaceVariantBlur,
    *,
    iterations: int = 10,
    tv_weight: float = 0.001,
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
        Counts minus offset, in any unit. Values at which y + shift is below 0 (read noise) are clipped to that 0;
        pixels outside `valid` may hold anything.
    blur : SpaceVariantBlur
        The blur A, with its adjoint A'. Beside it about 14 arrays of the object's size are held in memory.
    iterations : int
        Richardson-Lucy steps, each followed by a TV step.
    tv_weight : float
        Weight of the total variation, >= 0, a pure number: scaling y, start and scale by g scales the result by g.
        It should rise as photons become fewer, accelerated or not: of .0003, .001, .003, .01 and .03 the best for six
        pictures on average are .03, .003 and .0003 at 10^2, 10^3 and 10^4 photons at the peak
        (`tests/bench/bench_acceleration.py`).
    tv_step : {"proximal", "explicit", "none"}
        How the total variation is lowered, see Notes.
    acceleration : {"momentum", "none"}
        Whether each step starts from an extrapolated object, see Notes.
    start : float
        First value of every object pixel, in counts, such as the mean of the whole mosaic. Above 0 where the picture
        holds light.
    scale : float
        Brightness of the whole mosaic in counts, such as its 99.9th percentile; it says what counts as dark.
    background : float or (H, W) tensor
        Counts >= 0 that are not the object's, such as haze. The object comes back without them.
    shift : float
        What read noise adds, in counts >= 0: gain * read_noise_e^2. With a gain of g counts an electron,
        y / g + read_noise_e^2 has the mean and variance of a Poisson variable [1]_, so dark pixels weigh no more than
        their noise allows.
    valid : (H, W) tensor or None
        Mask of the usable pixels; None for all of them.
    saturated : (H, W) bool tensor or None
        Mask of the pixels that saw y or more. Where the model falls short of y they pull it up, and otherwise they say
        nothing. Leaving them out instead would keep the middle of a saturated spot at `start`.
    callback : callable or None
        Called as callback(iteration, x) after each iteration, the first being 1. It ends the restoration by returning
        True.

    Returns
    -------
    x : tensor of `blur.object_shape`
        The object in counts, of the dtype and on the device of y.

    Raises
    ------
    ValueError
        For wrong shapes, an unknown `tv_step` or `acceleration`, a negative weight, background or shift, or a start of
        0 or below where the picture holds light.

    Notes
    -----
    With m = Ax + b + s, b the `background` and s the `shift`, the iterations lower

        J(x) = sum_valid (m - (y + s) log m) + tv_weight TV(x)

    with isotropic TV. Where a saturated pixel's m is larger than y + s, its term stays at its least value. Each
    iteration takes the Richardson-Lucy step

        z = x A'((y + s) / m) / A'v

    with the valid pixels v, and then a TV step:

    - "proximal": x <- argmin_u sum (A'v / 2x) (u - z)^2 + tv_weight TV(u) (EM-TV [2]_, [3]_), by DUAL_STEPS warm-started
      dual steps. A fixed point u = x satisfies A'v - A'((y + s) / m) + tv_weight dTV(x) = 0, which is dJ = 0.
    - "explicit": x <- z / (1 - tv_weight div(grad x / |grad x|)) (thesis, eq. 4.2), with the true curvature, |grad x|
      rounded by TV_EPSILON scale and the denominator kept >= LEAST_SHARE. Where A'v = 1, its fixed point is the same
      up to the rounding. It rings where tv_weight x is large beside TV_EPSILON scale: weights above 0.01 did harm in
      tests on real pictures.
    - "none": no TV, plain Richardson-Lucy. Then, where b + s = 0, sum x (A'v) = sum y after every iteration.

    "momentum" starts iteration n from x (x / x_before)^((n - 1) / (n + 2)) in place of x. These are Nesterov's weights on
    the logarithm of x; Biggs and Andrews [4]_ compute theirs from sums over the picture and extrapolate x itself. Fixed
    weights need no other pixel, so tiles stay independent, and dark pixels keep up. 10 such iterations go as far as 20
    plain ones (`tests/bench/bench_acceleration.py`), but J need not fall in each of them. Where TV weighs much, the
    weights fade (`momentum`). With "none" J falls in each iteration, except that under a weight of .3, which the few
    dual steps cannot quite follow, it rises now and then by a little.

    References
    ----------
    .. [1] Snyder et al.: Compensation for readout noise in CCD images. J. Opt. Soc. Am. A 12, 1995.
    .. [2] Sawatzky, Brune, Müller, Burger: Total variation processing of images with Poisson statistics. CAIP 2009.
    .. [3] Brune, Sawatzky, Burger: Primal and dual Bregman methods with application to optical nanoscopy. Int. J.
       Comput. Vis. 92, 2011.
    .. [4] Biggs, Andrews: Acceleration of iterative image restoration algorithms. Appl. Opt. 36, 1997.

    Examples
    --------
    A point seen through a 3 x 3 mean comes back sharper, with all of its light:

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
    # What the picture does not see stays as it is: its gain is 1.
    unseen = (weight <= UNSEEN[y.dtype]).to(y)
    inverse = (1 - unseen) / weight.clamp(min=UNSEEN[y.dtype])
    if tv_weight == 0:
        tv_step = "none"
    x = before = torch.full(blur.object_shape, float(start), dtype=y.dtype, device=y.device)
    if tv_step == "proximal":
        dual = x.new_zeros(2, *x.shape)
        softness = tv_weight / weight.clamp(min=FAINT)

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
            curvature = divergence(_unit_gradient(point, TV_EPSILON * scale))
            gain /= (1 - tv_weight * curvature).clamp(min=LEAST_SHARE)
        before, x = x, gain.mul_(point)
        if tv_step == "proximal":
            x = denoise(x, softness * point, dual, DUAL_STEPS)
        if callback is not None and callback(iteration, x):
            break
    return x


def momentum(iteration: int, tv_weight: float) -> float:
    """Weight of an iteration's momentum: Nesterov's (n - 1) / (n + 2), which fades where TV weighs much."""
    fades = max(FADES_FROM, FADES_AT / tv_weight) if tv_weight else iteration
    return (iteration - 1) / (iteration + 2) * min(1.0, fades / iteration)


def extrapolate(x: torch.Tensor, before: torch.Tensor, weight: float) -> torch.Tensor:
    """x (x / before)^weight, pixel by pixel, for values >= 0 and a weight in [0, 1).

    The power is taken as its Pade approximant about 1, ((1 + m) x + (1 - m) before) / ((1 - m) x +
    (1 + m) before): it needs no logarithm, and its own bounds hold whatever the values are.
    """
    share = (1 + weight) / 2
    behind = torch.lerp(x, before, share).clamp_(min=torch.finfo(x.dtype).tiny)
    return torch.lerp(before, x, share).div_(behind).mul_(x)


def denoise(
    z: torch.Tensor, strength: torch.Tensor, dual: torch.Tensor, steps: int
) -> torch.Tensor:
    """Weighted total-variation denoising: argmin_u sum (u - z)^2 / (2 strength) + TV(u).

    z (h, w) >= 0, strength (h, w) >= 0 in the unit of z. dual (2, h, w): the first guess of the
    dual field, changed in place, so that the next call can go on from it. The solution is
    u = z + strength div p with |p| <= 1 (Chambolle 2004); p by `steps` projected gradient steps,
    each pixel with a step that its own neighbourhood allows, so that no maximum over the picture is
    needed: Pock and Chambolle 2011 bound it by 1 / (4 _largest_pair), and up to twice as long ones
    converge, the longest of them swinging, which few steps carry over into the next call. u is kept >=
    LEAST_SHARE z.
    """
    step = _largest_pair(strength).mul_(3).clamp_(min=torch.finfo(z.dtype).tiny).reciprocal_()
    u, other = torch.empty_like(z), torch.empty_like(z)
    for _ in range(steps):
        torch.addcmul(z, strength, divergence(dual, out=u), out=u)
        dual[0, :-1].addcmul_(step[:-1], torch.sub(u[1:], u[:-1], out=other[:-1]))
        dual[1, :, :-1].addcmul_(step[:, :-1], torch.sub(u[:, 1:], u[:, :-1], out=other[:, :-1]))
        norm = torch.mul(dual[0], dual[0], out=other).addcmul_(dual[1], dual[1])
        dual *= norm.clamp_(min=1).rsqrt_()
    torch.addcmul(z, strength, divergence(dual, out=u), out=u)
    return torch.maximum(u, torch.mul(z, LEAST_SHARE, out=other), out=u)


def gradient(x: torch.Tensor) -> torch.Tensor:
    """Forward differences (2, h, w) of (h, w) along y and x, 0 at the far border."""
    field = x.new_empty(2, *x.shape)
    torch.sub(x[1:], x[:-1], out=field[0, :-1])
    torch.sub(x[:, 1:], x[:, :-1], out=field[1, :, :-1])
    field[0, -1] = 0
    field[1, :, -1] = 0
    return field


def divergence(field: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
    """Minus the transpose of `gradient`: (h, w) from (2, h, w); the far border counts as 0."""
    out = torch.add(field[0], field[1], out=out)
    out[-1] -= field[0, -1]
    out[:, -1] -= field[1, :, -1]
    out[1:] -= field[0, :-1]
    out[:, 1:] -= field[1, :, :-1]
    return out


def _unit_gradient(x: torch.Tensor, epsilon: float) -> torch.Tensor:
    field = gradient(x)
    floor = max(epsilon, torch.finfo(x.dtype).tiny)
    return field / torch.hypot(torch.hypot(field[0], field[1]), x.new_tensor(floor))


def _largest_pair(strength: torch.Tensor) -> torch.Tensor:
    """Each pixel's strength plus the larger one of its lower and right neighbours."""
    neighbour = torch.zeros_like(strength)
    neighbour[:-1] = strength[1:]
    neighbour[:, :-1] = torch.maximum(neighbour[:, :-1], strength[:, 1:])
    return strength + neighbour


def _check(y, blur, tv_weight, tv_step, acceleration, start, masks, background, shift) -> None:
    if tv_step not in TV_STEPS:
        raise ValueError(f"tv_step: {tv_step!r} is not one of {', '.join(TV_STEPS)}")
    if acceleration not in ACCELERATIONS:
        raise ValueError(f"acceleration: {acceleration!r} is not one of {', '.join(ACCELERATIONS)}")
    if tuple(y.shape) != blur.shape:
        raise ValueError(f"picture: shape {tuple(y.shape)} is not the blur's {blur.shape}")
    background = torch.as_tensor(background)
    arrays = masks | {"background": background if background.ndim else None}
    for name, array in arrays.items():
        if array is not None and array.shape != y.shape:
            text = f"shape {tuple(array.shape)} is not the picture's {tuple(y.shape)}"
            raise ValueError(f"{name}: {text}")
    for name, value in (("tv_weight", tv_weight), ("shift", shift), ("background", background)):
        if not (torch.as_tensor(value) >= 0).all():
            raise ValueError(f"{name}: is negative or no number")
    valid = masks["valid"]
    lit = y > 0 if valid is None else (y > 0) & (valid > 0)
    if start <= 0 and lit.any():
        raise ValueError("start: a value above 0 is needed, Richardson-Lucy cannot leave 0")
