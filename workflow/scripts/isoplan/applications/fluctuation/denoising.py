"""Frames denoised by a network that has seen nothing but them: a convolutional variational autoencoder.

DivNoising (Prakash, Krull, Jug, ICLR 2021). An encoder tells of a frame y the distribution q(z | y) of hidden maps z,
independent normal numbers; a decoder makes the electrons s = g(z) of them, and the camera's noise is known:

    p(y | s) = N(s, excess * s + read noise^2),    p(z) = N(0, 1)

Both learn to raise the evidence's lower bound (ELBO)

    log p(y)  >=  E_q log p(y | g(z)) - KL(q(z | y) || p(z))

on the frames of one sequence, without a clean one. The estimate is the mean of g(z) over draws from q(z | y).

The noise of the frames is independent from pixel to pixel, and that is what the covariance between pixels relies on.
What the network leaves of the noise, it spreads over neighbours: `correlation_of_neighbours`.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from isoplan.applications.fluctuation.camera import Camera

STEPS, BATCH, SIDE_PX = 2000, 8, 32  # frames in a step, and the square that is cut from them
RATE, LARGEST = 8e-3, 1.0  # of Adam, and the norm at which gradients are cut
WARM = 0.5  # share of the steps in which the KL's weight rises to 1: else some maps are never used
WIDTH, MAPS = 32, 8  # channels; hidden maps
SAMPLES, AT_ONCE = 8, 20  # draws of the mean; frames denoised at once
LEAST_PX, COARSE = 8, 4  # smallest frame; px of a frame to one of a hidden map


@dataclass(frozen=True)
class Denoised:
    """Frames and how they were learned.

    Parameters
    ----------
    frames : ndarray
        (t, h, w) float32 electrons.
    elbo : ndarray
        (steps,) the lower bound, nats per pixel of a batch.
    """

    frames: np.ndarray
    elbo: np.ndarray = field(repr=False)


class Autoencoder(nn.Module):
    """Encoder and decoder, of frames in standard units whose sides are multiples of COARSE.

    Parameters
    ----------
    width, maps : int
        Channels, and hidden maps.

    Notes
    -----
    Squares of 2 px become channels, twice, and come back likewise: no pixel is left out, and little is computed at the
    full size.
    """

    def __init__(self, width: int = WIDTH, maps: int = MAPS):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(2),
            *(_convolution(4, width), nn.LeakyReLU(0.1)),
            *(_convolution(width, width), nn.LeakyReLU(0.1)),
            nn.PixelUnshuffle(2),
            *(_convolution(4 * width, width), nn.LeakyReLU(0.1)),
            _convolution(width, 2 * maps),
        )
        self.decoder = nn.Sequential(
            *(_convolution(maps, width), nn.LeakyReLU(0.1)),
            _convolution(width, 4 * width),
            *(nn.PixelShuffle(2), nn.LeakyReLU(0.1)),
            *(_convolution(width, width), nn.LeakyReLU(0.1)),
            _convolution(width, 4),
            nn.PixelShuffle(2),
        )

    def encode(self, frames: torch.Tensor) -> torch.distributions.Normal:
        """q(z | y), (n, maps, h / COARSE, w / COARSE), of frames (n, 1, h, w)."""
        middle, spread = self.encoder(frames).chunk(2, dim=1)
        return torch.distributions.Normal(middle, spread.clamp(-5, 5).exp(), validate_args=False)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """(n, 1, h, w) of hidden maps."""
        return self.decoder(z)


def denoise(
    electrons: np.ndarray,
    camera: Camera,
    *,
    steps: int = STEPS,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Denoised:
    """Frames without most of their noise.

    Parameters
    ----------
    electrons : ndarray
        (t, h, w): counts without offset, over the gain.
    camera : Camera
        Its noise.
    steps : int
        Of the training. 2000 take half a minute of one core, whatever the size and number of frames.
    samples : int
        Draws of which a frame's mean is taken.
    seed : int
        Of the weights, the choice of frames and the draws. The same seed gives the same frames.

    Returns
    -------
    Denoised
        Beside the frames and these, memory is taken for one batch.

    Raises
    ------
    ValueError
        If there are no two frames, they are smaller than LEAST_PX, or a number is not finite.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> still = 20 + 10 * np.sin(np.arange(16) / 3) * np.ones((100, 16, 1))
    >>> noisy = rng.normal(still, np.sqrt(still)).astype(np.float32)
    >>> made = denoise(noisy, Camera(read_noise_e=0), steps=150)
    >>> bool(((made.frames - still) ** 2).mean() < 0.3 * ((noisy - still) ** 2).mean())
    True
    """
    _check(electrons)
    mean = float(electrons.mean(dtype=np.float64))
    std = max(float(np.mean([((one - mean) ** 2).mean() for one in electrons])) ** 0.5, 1e-3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Autoencoder()
        elbo = _train(model, electrons, camera, mean, std, steps)
        return Denoised(_apply(model, electrons, mean, std, samples), elbo)


def correlation_of_neighbours(residuals: np.ndarray, lag_px: int = 1) -> float:
    """Mean correlation over time of pixels that lie a lag apart in a row or a column.

    Parameters
    ----------
    residuals : ndarray
        (t, h, w). Each pixel's mean over time is taken off.
    lag_px : int
        1 or more.

    Returns
    -------
    float
        The sum of covariances over that of the products of standard deviations. 0 of independent noise, NaN where nothing
        varies.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(size=(500, 20, 20))
    >>> round(abs(correlation_of_neighbours(noise)), 2)
    0.0
    >>> columns = correlation_of_neighbours(noise[:, 1:] + noise[:, :-1])  # 0.5, and 0 along rows
    >>> abs(columns - 0.25) < 0.01
    True
    """
    left = residuals - residuals.mean(axis=0)
    std = left.std(axis=0)
    both = most = 0.0
    for axis in (1, 2):
        a, b = (np.moveaxis(left, axis, 0)[part] for part in (np.s_[lag_px:], np.s_[:-lag_px]))
        c, d = (np.moveaxis(std, axis - 1, 0)[part] for part in (np.s_[lag_px:], np.s_[:-lag_px]))
        both += float((a * b).sum(dtype=np.float64)) / len(left)
        most += float((c * d).sum(dtype=np.float64))
    return both / most if most else float("nan")


def _check(electrons: np.ndarray) -> None:
    if electrons.ndim != 3 or len(electrons) < 2 or min(electrons.shape[1:]) < LEAST_PX:
        raise ValueError(
            f"frames {electrons.shape}: give (t, h, w), at least two of {LEAST_PX} px and more"
        )
    if not all(np.isfinite(one).all() for one in electrons):
        raise ValueError("frames: some numbers are not finite")


def _train(model, electrons, camera: Camera, mean: float, std: float, steps: int) -> np.ndarray:
    """ELBO of every step."""
    move = torch.optim.Adam(model.parameters(), RATE)
    pace = torch.optim.lr_scheduler.OneCycleLR(move, RATE, total_steps=max(steps, 2))
    told = []
    for step in range(steps):
        seen = _batch(electrons)
        hidden = model.encode((seen - mean) / std)
        made = mean + std * model.decode(hidden.rsample())
        variance = camera.variance(made.clamp(min=0)).clamp(min=1e-3)
        fit = torch.distributions.Normal(made, variance.sqrt()).log_prob(seen).sum()
        divergence = torch.distributions.kl_divergence(hidden, _prior()).sum()
        weight = min((step + 1) / (WARM * steps), 1.0)
        loss = (weight * divergence - fit) / seen.numel()
        move.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), LARGEST)
        move.step()
        pace.step()
        told.append(float((fit - divergence).detach()) / seen.numel())
    return np.array(told)


def _batch(electrons: np.ndarray) -> torch.Tensor:
    """(BATCH, 1, side, side) of a square anywhere in frames drawn at random."""
    chosen = torch.randint(len(electrons), (BATCH,)).numpy()
    corner = [int(torch.randint(max(n - SIDE_PX, 0) + 1, ())) for n in electrons.shape[1:]]
    rows, columns = (slice(start, start + SIDE_PX) for start in corner)
    return _padded(electrons[chosen, rows, columns])


@torch.no_grad()
def _apply(model, electrons: np.ndarray, mean: float, std: float, samples: int) -> np.ndarray:
    made = np.empty(electrons.shape, np.float32)
    height, width = electrons.shape[1:]
    for start in range(0, len(electrons), AT_ONCE):
        hidden = model.encode((_padded(electrons[start : start + AT_ONCE]) - mean) / std)
        drawn = sum(model.decode(hidden.sample()) for _ in range(samples)) / samples
        made[start : start + AT_ONCE] = (mean + std * drawn)[:, 0, :height, :width].numpy()
    return made


def _padded(frames: np.ndarray) -> torch.Tensor:
    """(n, 1, h, w) of (n, h, w), mirrored below and on the right to multiples of COARSE."""
    below, right = (-n % COARSE for n in frames.shape[1:])
    batch = torch.from_numpy(np.ascontiguousarray(frames, np.float32))[:, None]
    return functional.pad(batch, (0, right, 0, below), mode="reflect")


def _prior() -> torch.distributions.Normal:
    return torch.distributions.Normal(0.0, 1.0)


def _convolution(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1)
