"""How the power spectra of sharp scenes vary: their mean logarithm, their main shapes, and the rest.

A scene is not a power law. So the shapes are learnt from sharp scenes: the principal components of the
logarithms of their spectra (Welch's estimate). A fit takes any combination of them, each as large as it is
in scenes. What they leave open counts as scatter.

Spectra are (SQUARE_PX, SQUARE_PX // 2 + 1), in the order of `torch.fft.rfft2`.
"""

from functools import lru_cache

import torch
from torch import nn
from torch.nn import functional as F

from isoplan.optics.full_pupil import pixel_transfer

SQUARE_PX = 64  # side of a square; neighbours overlap by half
LOWEST = 2  # lowest frequency used, in cycles per square
SHAPES = 14
# Independent squares in a window are a little fewer than all, as neighbours overlap.
INDEPENDENT = 0.91
LEAST_SCATTER = 0.005
LEVEL_VARIANCE = 1e6  # of the spectrum's level, which is free


@lru_cache(8)
def frequencies(device=None) -> torch.Tensor:
    """|frequency| in cycles/px, (SQUARE_PX, SQUARE_PX // 2 + 1)."""
    y = torch.fft.fftfreq(SQUARE_PX, device=device)
    return torch.hypot(y[:, None], torch.fft.rfftfreq(SQUARE_PX, device=device))


@lru_cache(8)
def half_plane(device=None) -> torch.Tensor:
    """Bool, like `frequencies`: one of each pair f and -f, from LOWEST on, without the highest row and column."""
    y = torch.fft.fftfreq(SQUARE_PX, device=device)[:, None]
    x = torch.fft.rfftfreq(SQUARE_PX, device=device)
    one = ((x > 0) & (x < 0.5)) | ((x == 0) & (y > 0))
    return one & (y > -0.5) & (frequencies(device) * SQUARE_PX >= LOWEST)


def welch(windows: torch.Tensor) -> torch.Tensor:
    """Power spectra (n, SQUARE_PX, SQUARE_PX // 2 + 1) of windows (n, h, w); white noise gives its variance."""
    line = torch.hann_window(SQUARE_PX, periodic=True, device=windows.device)
    taper = line[:, None] * line
    taper = taper / taper.square().sum().sqrt()
    step = SQUARE_PX // 2
    squares = windows.unfold(1, SQUARE_PX, step).unfold(2, SQUARE_PX, step)
    spectrum = torch.fft.rfft2((squares - squares.mean((-2, -1), keepdim=True)) * taper)
    power = torch.view_as_real(spectrum).square().sum(-1).mean((1, 2))
    # The floor lies far below any noise.
    return power + 1e-13 * windows.square().mean((1, 2))[:, None, None] + 1e-30


def log_variance(window_px: int) -> float:
    """Variance of the logarithm of `welch`'s estimate, from the number of squares in a window."""
    across = (window_px - SQUARE_PX) // (SQUARE_PX // 2) + 1
    return 1 / (INDEPENDENT * across**2)


def leaked(power: torch.Tensor) -> torch.Tensor:
    """Spectra (..., side, side // 2 + 1) as a tapered square shows them: convolved with the taper's spectrum."""
    power = power * (2 / 3) + (power.roll(1, -2) + power.roll(-1, -2)) / 6
    # The column left of frequency 0 is that on its right, upside down.
    left = torch.cat([power[..., 1:2].flip(-2).roll(1, -2), power[..., :-1]], -1)
    return power * (2 / 3) + (left + F.pad(power[..., 1:], (0, 1))) / 6


def lowest_frequencies(spectra: torch.Tensor, side: int) -> torch.Tensor:
    """The lowest frequencies (..., side, side // 2 + 1) of spectra; side is even."""
    if side == spectra.shape[-2]:
        return spectra
    half = side // 2
    rows = torch.cat([spectra[..., :half, :], spectra[..., -half:, :]], -2)
    return rows[..., : half + 1]


class SceneSpectra(nn.Module):
    """The logarithm of a scene's spectrum is mean + sum of coefficients times shapes + scatter.

    Attributes
    ----------
    mean
        Mean logarithm.
    shapes
        (SHAPES + 1, ...): the first is 1 everywhere, the level.
    variances
        (SHAPES + 1,) of the coefficients.
    scatter
        Variance of what is left, at each frequency.
    """

    def __init__(self):
        super().__init__()
        plane = SQUARE_PX, SQUARE_PX // 2 + 1
        self.register_buffer("mean", torch.zeros(plane))
        self.register_buffer("shapes", torch.ones(SHAPES + 1, *plane))
        self.register_buffer("variances", torch.full((SHAPES + 1,), LEVEL_VARIANCE))
        self.register_buffer("scatter", torch.full(plane, 1.0))

    @torch.no_grad()
    def learn(self, scenes) -> None:
        """Learn from sharp scenes.

        Parameters
        ----------
        scenes
            Blocks (n, h, w) of them, at least 10 SHAPES together.
        """
        transfer = pixel_transfer(SQUARE_PX, 1).square()
        window, logs = 0, []
        for block in scenes:
            window = block.shape[-1]
            logs.append((welch(block) / transfer + 1e-9).log())
        logs = torch.cat(logs)
        used = half_plane() & (frequencies() <= 0.5)
        logs = logs - logs[:, used].mean(1)[:, None, None]
        mean = logs.mean(0)
        about = logs - mean
        _, sizes, axes = torch.linalg.svd(about[:, used], full_matrices=False)
        # Shapes on all frequencies: what goes with the coefficients found on those used.
        coefficients = about[:, used] @ axes[:SHAPES].T
        shapes = torch.linalg.lstsq(coefficients, about.flatten(1)).solution
        rest = about.flatten(1) - coefficients @ shapes
        scatter = rest.square().mean(0) - log_variance(window)
        self.mean.copy_(mean)
        self.shapes[1:] = shapes.unflatten(1, mean.shape)
        self.variances[1:] = sizes[:SHAPES].square() / len(logs)
        self.scatter.copy_(scatter.clamp_min(LEAST_SCATTER).unflatten(0, mean.shape))
