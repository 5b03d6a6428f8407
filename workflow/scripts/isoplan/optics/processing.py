"""Pictures that are no raw exposure of a thin sample, for a network to learn to tell them apart.

Everything is drawn anew for every picture, in units of its own noise, brightness and contrast. What
nobody could tell from a raw picture would be a wrong label, so the ranges stop short of it:

  denoised    changes the picture by 0.4 of its noise on average; what changes less is smoothed
  jpeg        the mean quantisation step is at least three deviations of the noise, quality 5 to 90
  resampled   enlarged 1.2 to 4 times, turned, or shrunk 1.5 to 4 times and enlarged back; a picture
              only made smaller is left out, for a camera with larger pixels takes the same
  saturated   3 to 40 % of the lit pixels, and 0.2 % of all, at one value
  haze        blurred structure (sigma 8 to 24 px) of 2 to 8 times the picture's own deviation, so
              that it holds most of the power at the low frequencies, where a network would take it
              for the PSF. Even light or a mere slope would pass for background or vignetting.
  sharpened   Richardson-Lucy, or an unsharp mask; the latter is seldom, for where detail fills every
              frequency it looks like a sharper picture with more noise
  posterised  3 to 32 grey levels, each two deviations of the noise or wider
"""

import math
from functools import cache

import torch
from torch.nn.functional import affine_grid, grid_sample, pad

KINDS = ("denoised", "jpeg", "resampled", "saturated", "haze", "sharpened", "posterised")
# Denoisers differ most among themselves.
SHARES = (0.25, 0.125, 0.125, 0.125, 0.125, 0.125, 0.125)
# Quantisation of luminance: ITU-T T.81 (1992), table K.1.
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
TINY = 1e-12


def draw_kinds(n: int, generator: torch.Generator) -> torch.Tensor:
    """(n,) places in KINDS, int64, drawn by SHARES on the generator's device."""
    shares = torch.tensor(SHARES, device=generator.device)
    return torch.multinomial(shares, n, replacement=True, generator=generator)


def process(counts: torch.Tensor, kinds, generator: torch.Generator) -> torch.Tensor:
    """Pictures (n, h, w) in counts above the offset, each processed by its kind; same shape.

    kinds: n names, or (n,) places in KINDS; -1 leaves a picture as it is. Pictures of 16 px and more.
    A pure function of the three on one kind of device; NaN stays within its own picture. Raises
    KeyError for unknown names.
    """
    if not isinstance(kinds, torch.Tensor):
        names = {name: place for place, name in enumerate(KINDS)}
        kinds = torch.tensor([names[kind] for kind in kinds])
    steps = (_denoised, _jpeg, _resampled, _saturated, _hazed, _sharpened, _posterised)
    out = _apply(steps, kinds.to(counts.device), counts, generator)
    # Files keep whole counts, so they must not give raw pictures away.
    whole = (counts == counts.round()).flatten(1).all(1)[:, None, None]
    return torch.where(whole, out.round(), out)


def _apply(functions, choice, pictures, generator) -> torch.Tensor:
    """Each picture through the function of its choice (n,)."""
    out = pictures.clone()
    for place, function in enumerate(functions):
        index = (choice == place).nonzero()[:, 0]
        if len(index):
            out[index] = function(pictures[index], generator)
    return out


def _apply_any(functions, pictures, generator) -> torch.Tensor:
    """Each picture through a function drawn at random."""
    n, device = len(pictures), pictures.device
    choice = torch.randint(len(functions), (n,), generator=generator, device=device)
    return _apply(functions, choice, pictures, generator)


def _uniform(pictures, low, high, generator) -> torch.Tensor:
    """(n, 1, 1) numbers between low and high."""
    share = torch.rand(len(pictures), 1, 1, generator=generator, device=pictures.device)
    return low + share * (high - low)


def _log_uniform(pictures, low, high, generator) -> torch.Tensor:
    return torch.exp(_uniform(pictures, math.log(low), math.log(high), generator))


# What a picture is like, (n, 1, 1) each ----------------------------------------------------------


def noise_deviation(pictures: torch.Tensor) -> torch.Tensor:
    """Deviation of the noise in counts (n, 1, 1), from second differences in both directions.

    By their median, which texture leaves alone, or by their mean where most pixels are dark.
    """
    rows = pictures[:, :-2] - 2 * pictures[:, 1:-1] + pictures[:, 2:]
    rest = (rows[:, :, :-2] - 2 * rows[:, :, 1:-1] + rows[:, :, 2:]).abs().flatten(1) / 6
    median = rest[:, ::3].median(1).values / 0.6745
    mean = rest.mean(1) * math.sqrt(math.pi / 2)
    return torch.where(median > 0, median, mean)[:, None, None]


def _deviation(pictures) -> torch.Tensor:
    return pictures.std((1, 2), keepdim=True)


def _ends(pictures, generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Black and white of a picture shown with 8 bits: 0 or the least, 99.9 % or the most."""
    flat, draw = pictures.flatten(1), _uniform(pictures, 0, 4, generator).long()
    low, high = pictures.amin((1, 2), keepdim=True), pictures.amax((1, 2), keepdim=True)
    most = flat.kthvalue(math.ceil(0.999 * flat.shape[1]), 1).values[:, None, None]
    high = torch.where((draw < 2) & (most > low), most, high)
    low = torch.where(draw % 2 == 0, low.clamp_max(0), low)
    return low, (high - low).clamp_min(TINY)


# Whatever is separable and linear is one product with a matrix along each axis --------------------


def _weights(place, length: int, kernel) -> torch.Tensor:
    """(n, m, length) rows of sum 1 that read a line of pixels at places (n, m) px."""
    weights = kernel(place[..., None] - torch.arange(length, device=place.device))
    return weights / weights.sum(-1, keepdim=True)


def _along_both(pictures, matrix):
    """A function that applies matrix(length) -> (n, m, length) along both axes of such pictures."""
    h, w = pictures.shape[-2:]
    rows = matrix(h)
    columns = (rows if h == w else matrix(w)).transpose(1, 2)
    return lambda x: rows @ x @ columns


def _filter(pictures, kernel):
    """A function that convolves such pictures with kernel(distance in px) along both axes."""

    def matrix(length):
        place = torch.arange(length, device=pictures.device, dtype=pictures.dtype)
        return _weights(place.expand(len(pictures), -1), length, kernel)

    return _along_both(pictures, matrix)


def _gaussian(pictures, sigma_px):
    return _filter(pictures, lambda z: torch.exp(-0.5 * (z / sigma_px) ** 2))


# Denoisers, each as strong as the noise asks for -----------------------------------------------


def _denoised(pictures, generator):
    """By any of the denoisers; three in ten are blended with up to 40 % of the original."""
    out = _apply_any(DENOISERS, pictures, generator)
    blend = _uniform(pictures, -0.93, 0.4, generator).clamp_min(0)
    out = out + blend * (pictures - out)
    # Where every pixel stands far above the noise, some denoisers find nothing to do.
    change = (out - pictures).abs().mean((1, 2), keepdim=True)
    idle = (change < 0.4 * noise_deviation(pictures))[:, 0, 0].nonzero()[:, 0]
    out[idle] = _smoothed(pictures[idle], generator)
    return out


def _smoothed(pictures, generator):
    return _gaussian(pictures, _log_uniform(pictures, 0.6, 2, generator))(pictures)


def _median(side):
    def filtered(pictures, generator):
        padded = pad(pictures[:, None], (side // 2,) * 4, mode="replicate")[:, 0]
        near = padded.unfold(1, side, 1).unfold(2, side, 1).flatten(-2)
        return near.median(-1).values

    return filtered


def _bilateral(pictures, generator):
    """5 x 5 px, weights that fall with distance and with difference in brightness."""
    inner = 2 * (_uniform(pictures, 3, 6, generator) * noise_deviation(pictures)) ** 2
    wide = 2 * _uniform(pictures, 1, 3, generator) ** 2
    padded = pad(pictures[:, None], (2,) * 4, mode="replicate")[:, 0]
    total, weight = torch.zeros_like(pictures), torch.zeros_like(pictures)
    h, w = pictures.shape[-2:]
    for y in range(5):
        for x in range(5):
            near = padded[:, y : y + h, x : x + w]
            far = ((y - 2) ** 2 + (x - 2) ** 2) / wide
            share = torch.exp(-((near - pictures) ** 2) / inner.clamp_min(TINY) - far)
            total, weight = total + share * near, weight + share
    return total / weight


def _wiener(pictures, generator):
    """Local Wiener filter: Lee, IEEE PAMI 2 (1980) 165."""
    radius = _uniform(pictures, 1, 5, generator).floor()
    box = _filter(pictures, lambda z: (z.abs() <= radius + 0.5).to(z.dtype))
    # About the mean, or float32 would lose the variance of bright pictures.
    about = pictures - pictures.mean((1, 2), keepdim=True)
    mean = box(about)
    variance = (box(about**2) - mean**2).clamp_min(TINY)
    noise = (_uniform(pictures, 1, 2, generator) * noise_deviation(pictures)) ** 2
    return pictures - (noise / variance).clamp_max(1) * (about - mean)


def _shrinkage(basis, spins):
    """Soft threshold on the coefficients of 8 x 8 blocks, the mean over `spins` grids of blocks."""

    def filtered(pictures, generator):
        threshold = _uniform(pictures, 1.5, 4, generator) * noise_deviation(pictures)
        threshold = threshold[..., None, None]

        def shrunk(c):
            out = c.sign() * (c.abs() - threshold).clamp_min(0)
            out[:, :, 0, :, 0] = c[:, :, 0, :, 0]
            return out

        grids = (_corner(pictures, generator) for _ in range(spins))
        return sum(_in_blocks(pictures, basis, shrunk, corner) for corner in grids) / spins

    return filtered


# 8 x 8 blocks ---------------------------------------------------------------------------------


@cache
def _basis(name: str, device: torch.device) -> torch.Tensor:
    """(8, 8) orthonormal transform, the constant first."""
    i = torch.arange(8, dtype=torch.float64)
    basis = torch.cos(math.pi / 8 * i[:, None] * (i + 0.5))
    if name == "haar":
        basis = torch.ones(1, 1, dtype=torch.float64)
        for _ in range(3):
            fine = torch.eye(len(basis), dtype=torch.float64)
            pair = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
            basis = torch.cat([torch.kron(basis, pair[:1]), torch.kron(fine, pair[1:])])
    return (basis / basis.norm(dim=1, keepdim=True)).to(device, torch.float32)


def _corner(pictures, generator) -> torch.Tensor:
    """(2, n) how far the picture's corner lies inside a block."""
    return torch.randint(8, (2, len(pictures)), generator=generator, device=pictures.device)


def _in_blocks(pictures, name, change, corner) -> torch.Tensor:
    """Changes the coefficients (n, rows, 8, columns, 8) of blocks; mirrored beyond the borders."""
    basis = _basis(name, pictures.device)
    index = torch.arange(len(pictures), device=pictures.device)[:, None, None]
    inside, outside = [], []
    for length, start in zip(pictures.shape[-2:], corner[..., None], strict=True):
        place = torch.arange((length + 14) // 8 * 8, device=pictures.device) - start
        inside.append(length - 1 - (length - 1 - place.abs()).abs())
        outside.append(torch.arange(length, device=pictures.device) + start)
    wide = pictures[index, inside[0][:, :, None], inside[1][:, None, :]]
    n, h, w = wide.shape
    c = (basis @ wide.view(n, h // 8, 8, w)).view(n, h // 8, 8, w // 8, 8) @ basis.T
    back = (basis.T @ (change(c) @ basis).view(n, h // 8, 8, w)).view(n, h, w)
    return back[index, outside[0][:, :, None], outside[1][:, None, :]]


DENOISERS = (
    _smoothed,
    _median(3),
    _median(5),
    _bilateral,
    _wiener,
    _shrinkage("dct", 1),
    _shrinkage("haar", 4),
)


def jpeg(grey: torch.Tensor, quality: torch.Tensor, corner: torch.Tensor) -> torch.Tensor:
    """Pictures (n, h, w) of 0 to 255 after JPEG of a quality (n,) from 1 to 100, as libjpeg scales.

    corner: (2, n) place of the picture's corner in the first block, 0 to 7.
    """
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50)[:, None, None, None, None]
    table = torch.tensor(LUMINANCE, device=grey.device, dtype=grey.dtype)[:, None, :]
    step = (table * scale + 0.5).floor().clamp(1, 255)

    def quantised(c):  # halves away from zero, float32's last bits notwithstanding
        return (c.abs() / step + 0.5001).floor() * step * c.sign()

    return (_in_blocks(grey.round() - 128, "dct", quantised, corner) + 128).round().clamp(0, 255)


def _jpeg(pictures, generator):
    low, span = _ends(pictures, generator)
    grey = (255 * (pictures - low) / span).clamp(0, 255)
    # The table's mean is 58 grey levels at quality 50.
    least = 3 * noise_deviation(grey) / 58
    best = torch.where(least > 1, 50 / least, 100 - 50 * least).clamp(5, 90)
    quality = 5 + (best - 5) * _uniform(pictures, 0, 1, generator)
    out = jpeg(grey, quality[:, 0, 0], _corner(pictures, generator))
    return low + out * span / 255


def _posterised(pictures, generator):
    low, span = _ends(pictures, generator)
    most = (span / (2 * noise_deviation(pictures)).clamp_min(TINY)).clamp(3, 32)
    steps = torch.exp(_uniform(pictures, 0, 1, generator) * (most / 3).log() + math.log(3)).round()
    return low + ((pictures - low) / span * (steps - 1)).round().clamp_min(0) * span / (steps - 1)


# Resampling -----------------------------------------------------------------------------------


def _interpolation(pictures, generator):
    """Kernel (z in px) per picture: nearest, linear, or cubic (Keys, a = -1/2)."""
    choice = _uniform(pictures, 0, 5, generator).long()

    def kernel(z):
        z = z.abs()
        near = ((1.5 * z - 2.5) * z) * z + 1
        far = ((-0.5 * z + 2.5) * z - 4) * z + 2
        cubic = torch.where(z < 1, near, torch.where(z < 2, far, 0.0))
        linear = (1 - z).clamp_min(0)
        nearest = (z <= 0.5).to(z.dtype)
        return torch.where(choice == 0, nearest, torch.where(choice < 3, linear, cubic))

    return kernel


def _enlarged(pictures, generator):
    factor = _log_uniform(pictures, 1.2, 4, generator)
    shift, kernel = _uniform(pictures, -0.5, 0.5, generator), _interpolation(pictures, generator)

    def matrix(length):
        place = torch.arange(length, device=pictures.device) - (length - 1) / 2
        place = (length - 1) / 2 + (place + shift) / factor
        return _weights(place[:, 0], length, kernel)

    return _along_both(pictures, matrix)(pictures)


def _shrunk(pictures, generator):
    """Shrunk, in one of two pictures with a triangle against aliasing, and enlarged back."""
    factor = _log_uniform(pictures, 1.5, 4, generator)
    smooth = _uniform(pictures, 0, 1, generator) < 0.5
    width, kernel = torch.where(smooth, factor, 1.0), _interpolation(pictures, generator)

    def matrix(length):
        steps = torch.arange(length, device=pictures.device)
        place = (steps * factor[:, 0]).clamp_max(length - 1)
        down = _weights(place, length, lambda z: (1 - z.abs() / width).clamp_min(0))
        return _weights(steps / factor[:, 0], length, kernel) @ down

    return _along_both(pictures, matrix)(pictures)


def _turned(mode):
    def turned(pictures, generator):
        """By 4 to 86 degrees; what lies beyond the borders is mirrored."""
        angle = _uniform(pictures, 4, 86, generator)[:, 0, 0] * math.pi / 180
        c, s, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        h, w = pictures.shape[-2:]
        matrix = torch.stack([c, -s * h / w, zero, s * w / h, c, zero], 1).view(-1, 2, 3)
        grid = affine_grid(matrix, (len(pictures), 1, h, w), align_corners=False)
        settings = {"mode": mode, "padding_mode": "reflection", "align_corners": False}
        return grid_sample(pictures[:, None], grid, **settings)[:, 0]

    return turned


def _resampled(pictures, generator):
    steps = (_enlarged, _enlarged, _shrunk, _turned("bilinear"), _turned("bicubic"))
    return _apply_any(steps, pictures, generator)


# The others -----------------------------------------------------------------------------------


def _saturated(pictures, generator):
    """Lit is what lies above a tenth of the way to the brightest thousandth, and above the noise."""
    sorted_ = pictures.flatten(1).sort(1, descending=True).values
    n = sorted_.shape[1]
    dark, bright = sorted_[:, n - n // 20 - 1, None], sorted_[:, n // 1000, None]
    lit = dark + torch.maximum(0.1 * (bright - dark), 3 * noise_deviation(pictures)[:, 0])
    count = (sorted_ > lit).sum(1, keepdim=True)
    place = (_log_uniform(pictures, 0.03, 0.4, generator)[:, 0] * count).clamp_min(0.002 * n)
    return torch.minimum(pictures, sorted_.gather(1, place.long())[..., None])


def _hazed(pictures, generator):
    """Light from layers out of focus, with its shot noise.

    The layers look like the picture: itself and its flip, blurred. The camera's gain is not known;
    the noise's variance over the mean stands for it, held down where there is hardly any light.
    """
    own = _uniform(pictures, 0, 1, generator)
    layer = pictures + (1 - own) * (pictures.flip(1, 2) - pictures)
    layer = _gaussian(layer, _log_uniform(pictures, 8, 24, generator))(layer)
    layer = (layer - layer.amin((1, 2), keepdim=True)) / _deviation(layer).clamp_min(TINY)
    mean, noise = pictures.mean((1, 2), keepdim=True).clamp_min(0), noise_deviation(pictures)
    light = layer * _log_uniform(pictures, 2, 8, generator) * _deviation(pictures)
    even = _log_uniform(pictures, 1, 10, generator) * mean - light.mean((1, 2), keepdim=True)
    light = light + even.clamp_min(0)
    shot = torch.randn(pictures.shape, generator=generator, device=pictures.device)
    return pictures + light + shot * noise * (light / (mean + noise).clamp_min(TINY)).sqrt()


def _sharpened(pictures, generator):
    return _apply_any((_unsharp, _deconvolved, _deconvolved), pictures, generator)


def _unsharp(pictures, generator):
    blurred = _gaussian(pictures, _log_uniform(pictures, 0.7, 2, generator))(pictures)
    out = pictures + _log_uniform(pictures, 1, 5, generator) * (pictures - blurred)
    return torch.where(_uniform(pictures, 0, 1, generator) < 0.5, out, out.clamp_min(0))


def _deconvolved(pictures, generator):
    """Six steps of Richardson-Lucy with a Gaussian."""
    blur = _gaussian(pictures, _log_uniform(pictures, 1, 3, generator))
    floor = 1e-3 * pictures.amax((1, 2), keepdim=True).clamp_min(TINY)
    seen = torch.maximum(pictures, floor)
    out = seen.mean((1, 2), keepdim=True).expand_as(seen)
    for _ in range(6):
        out = out * blur(seen / blur(out).clamp_min(TINY))
    return out
