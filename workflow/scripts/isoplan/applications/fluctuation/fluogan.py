"""FluoGAN: emission on a finer grid such that frames formed from it look like those of the sequence.

A generator forms frames of the emission x >= 0 on the fine grid and of a smooth background b. Their mean is compared
with the sequence's, and a critic tries to tell the frames apart (Cachia et al. 2022, HAL hal-03790156):

    loss = sum (Psi x + b - mean)^2 / S2 + w_1 |x|_1 / S1 + w_b |grad b|^2 / S2 - w_D critic(frames - mean)

with S1 and S2 the sums of the mean above its darkest level and of its square. There are two kinds of frames:

    published     y = m + sqrt(alpha m) n,    m = Psi x + b

Noise after the blur, every frame for itself, alpha the mean of variance / mean. Nothing blinks.

    generalised   y = Psi (x + sqrt(kappa x) z) + b + sqrt(N) n,    N = excess * m + read noise^2

Molecules fluctuate before the blur: their covariance is kappa Psi diag(x) Psi', the Gaussian with the moments of
compound Poisson emission of switching molecules. z is correlated in time as a telegraph signal is, and the critic
reads runs of three frames in their order. (Bands of frequencies would do too; runs need no transform, and leave the
noise of frames independent.) n and z are standard normal: frames can be differentiated with respect to x and b.

By the published kind, given the mean m nothing else tells of x: variances are alpha m, there are no covariances. So the
mean is nearly sufficient, and its critic can only chase what the model does not fit.

Does the critic help? `fluctuation.adversarial` tells, on five sequences of filaments. Each variant has the best weights
that were found for it on others (`methods.FLUOGAN_WEIGHTS`); without a critic it has the best number of steps too, in
place of the time that critics take: more steps did it harm. Differences of PSNR in dB, paired, with 90 % intervals (`report.against`):

    generalised - no critic                 +0.26   -0.01 to +0.51
    generalised - published                 +0.43   +0.18 to +0.68
    published - no critic                   -0.17   -0.23 to -0.11
    started at the likelihood - likelihood  -0.02   -0.07 to +0.02
    likelihood - generalised                +3.28   +3.10 to +3.46

With the published physics the critic does not help. With the generalised one a gain in PSNR is likely and not sure; the
Jaccard index gained on every sequence, but without a critic it depends much on the weights and steps, which were chosen
by PSNR. Started at the likelihood, it adds nothing.

What differs from the published code, in both kinds:

- The critic's penalty acts (see `critic`; `critic.PublishedCritic` is the published one, and is not used here).
- It reads frames less their mean. The mean has a term of its own, and the critic would else learn little but what the
  penalties do to the mean.
- Adam moves u, with x = u^2, in place of projected steps; its rates fall, as the two else chase each other.
- The mean of the model, in place of that of drawn frames, is compared with the sequence's.
- Weights of the loss, chosen anew (published: w_1 = 0.8, w_b = 200).
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy import ndimage

from isoplan.applications.fluctuation import baselines, critic, moments
from isoplan.applications.fluctuation.camera import Camera
from isoplan.applications.fluctuation.formation import Formation, Psf
from isoplan.applications.fluctuation.likelihood import BORDER_PX, fast

RUNS = {"published": 1, "generalised": 3}  # frames that the critic reads together
CRITIC_STEPS, BATCH = 3, 16  # of the critic for each step of x; runs in a batch
# Before the critic, if there is no start: else it would learn the mean's misfit alone.
MEAN_STEPS = 2000
FIRST_STEPS = 50  # of the critic before it moves x
# Of Adam, on u and on the background. A given start is left in small steps.
RATE, NEAR_RATE = 0.05, 0.01
LAST = 0.1  # share of Adam's rates that is left at the end: the game of the two comes to rest
AVERAGED = 0.25  # the last steps' share whose mean is the estimate: single ones are noisy
LARGE, SMALL = 8.0, 1e-3  # rates per frame: what is faster or slower looks the same


@dataclass(frozen=True)
class Weights:
    """Of the terms of the loss.

    Parameters
    ----------
    light, smooth : float
        w_1 of the emission's sum and w_b of the background's roughness.
    critic : float
        w_D. 0: there is no critic, so the mean and the penalties alone.
    """

    light: float
    smooth: float
    critic: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """Emission and what came with it.

    Parameters
    ----------
    emission : ndarray
        (fine height, fine width) float64, electrons per frame, with its border.
    background : ndarray
        (height, width) float64, electrons per frame.
    history : dict
        Of every step: `mean` the first term of the loss (of the MEAN_STEPS before the critic too), and, with a
        critic, `gap` by which it rates real runs above generated ones and `slope` its mean slope.
    """

    emission: np.ndarray
    background: np.ndarray
    history: dict[str, np.ndarray] = field(repr=False)


@dataclass(frozen=True)
class Seen:
    """What is measured on a sequence.

    Parameters
    ----------
    fluctuations : ndarray
        (t, h, w) float32 electrons: frames less their mean and what changes slowly.
    mean, variance : ndarray
        (h, w) float64: mean of the frames, and variance of the fluctuations.
    above : float
        Sum of what the variances have above the camera's, electrons^2.
    rate : float
        k_on + k_off per frame, from the covariance of neighbouring frames.
    """

    fluctuations: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    above: float
    rate: float

    @classmethod
    def of(cls, electrons: np.ndarray, camera: Camera) -> "Seen":
        """Slow changes are bleaching and drift of the light, which no generator makes: frequencies below BANDS."""
        mean = electrons.mean(axis=0, dtype=np.float64)
        left = fast(electrons)
        variance = (left**2).mean(axis=0, dtype=np.float64)
        noise = camera.variance(np.maximum(mean, 0))
        above = max(float((variance - noise).sum()), 0.02 * float(variance.sum()))
        next_ = float((left[1:] * left[:-1]).sum(dtype=np.float64)) / (len(left) - 1)
        tried = np.geomspace(LARGE, SMALL, 200)
        rate = np.interp(next_ / above, [correlation(k, 2)[0, 1] for k in tried], tried)
        return cls(left, mean, variance, above, float(rate))


def correlation(rate: float, frames: int) -> np.ndarray:
    """Of a telegraph signal, integrated over each of `frames` frames: (frames, frames).

    rate: k_on + k_off per frame.

    Examples
    --------
    >>> correlation(0.75, 3).round(2)[0]
    array([1.  , 0.63, 0.3 ])
    """
    lags = np.arange(frames)
    c = moments.autocovariance(2 / rate, 2 / rate, lags)
    return (c / c[0])[np.abs(lags[:, None] - lags)]


class Generator(torch.nn.Module):
    """Frames of an emission.

    Parameters
    ----------
    psi : Formation
        Of h x w px.
    emission : ndarray
        (fine height, fine width) to start at, electrons per frame.
    background : ndarray
        (h, w) to start at, electrons per frame.
    seen : Seen
        What alpha, kappa and the correlation in time are told from.
    camera : Camera
        Its noise.
    physics : str
        `published` or `generalised`, see the module.
    """

    def __init__(self, psi, emission, background, seen: Seen, camera: Camera, physics: str):
        super().__init__()
        if physics not in RUNS:
            raise ValueError(f"physics {physics}: must be one of {', '.join(RUNS)}")
        self.physics, self.camera, self.above = physics, camera, seen.above
        self.rows, self.columns = _tensor(psi.rows), _tensor(psi.columns)
        self.u = torch.nn.Parameter(_tensor(np.sqrt(np.maximum(emission, 0))))
        self.level = torch.nn.Parameter(_tensor(background))
        self.alpha = float((seen.variance / np.maximum(seen.mean, 1e-3)).mean())
        self.lower = _tensor(np.linalg.cholesky(correlation(seen.rate, RUNS[physics])))
        pairs = [np.einsum("rik,sik->rsk", side, side) for side in (psi.rows, psi.columns)]
        self.power = _tensor(np.einsum("rsk,rsl->kl", *pairs))  # sums of squares of Psi's columns

    @property
    def emission(self) -> torch.Tensor:
        """x, (fine height, fine width)."""
        return self.u**2

    @property
    def background(self) -> torch.Tensor:
        """b, (h, w)."""
        return self.level.clamp(min=0)

    @property
    def kappa(self) -> float:
        """Electrons. It makes the sum of the variances right, whatever x is."""
        return self.above / float((self.power * self.emission.detach()).sum())

    def blurred(self, x: torch.Tensor) -> torch.Tensor:
        """Psi x: (..., fine height, fine width) to (..., h, w)."""
        return sum(a @ x @ b.T for a, b in zip(self.rows, self.columns, strict=True))

    def mean(self) -> torch.Tensor:
        """Psi x + b, (h, w) electrons."""
        return self.blurred(self.emission) + self.background

    def draw(self, runs: int, rng: torch.Generator) -> torch.Tensor:
        """Frames: (runs, RUNS[physics], h, w) electrons."""
        return self.mean() + self.fluctuations(runs, rng)

    def fluctuations(self, runs: int, rng: torch.Generator) -> torch.Tensor:
        """Frames less their mean, likewise."""
        frames, mean = len(self.lower), self.mean()
        noise = torch.randn(runs, frames, *mean.shape, generator=rng)
        if self.physics == "published":
            return (self.alpha * mean).clamp(min=1e-6).sqrt() * noise
        z = torch.randn(runs, frames, self.u.numel(), generator=rng)
        z = (self.lower @ z).view(runs, frames, *self.u.shape)
        spread = self.blurred(self.kappa**0.5 * self.u * z)
        variance = self.camera.variance(mean.clamp(min=0)).clamp(min=1e-6)
        return spread + variance.sqrt() * noise


def fit(
    electrons: np.ndarray,
    psf: Psf,
    camera: Camera,
    weights: Weights,
    *,
    physics: str = "generalised",
    factor: int = 4,
    start: np.ndarray | None = None,
    steps: int = 500,
    seed: int = 0,
) -> Estimate:
    """Emission of the fine grid.

    Parameters
    ----------
    electrons : ndarray
        (t, h, w): counts without offset, over the gain.
    psf, camera
        Of the microscope.
    weights : Weights
        Of the loss. Their best values differ much with and without a critic.
    physics : str
        `published` or `generalised`, see the module. Without a critic both are the same.
    factor : int
        Fine pixels per camera pixel.
    start : ndarray, optional
        (fine height, fine width) emission to start at, with its border. By default it is even, and MEAN_STEPS are made
        before a critic's first.
    steps : int
        Of the emission, without a critic or beside it; a critic makes CRITIC_STEPS for each.
    seed : int
        Of the critic's weights, the noise and the choice of frames. The same seed gives the same estimate.

    Returns
    -------
    Estimate
        The mean of the last steps. The emission is never negative.

    Notes
    -----
    Beside the frames it takes memory for some copies of one batch of runs on the fine grid, of 5 MB each at 32 x 32 px
    and a factor of 4. Neither grows with the steps.

    Examples
    --------
    >>> psi = Formation.of((16, 16), Psf(2.6), factor=2, border=BORDER_PX)
    >>> truth = np.zeros(psi.fine_shape)
    >>> truth[20, 20] = truth[26, 30] = 200
    >>> seen = np.random.default_rng(0).poisson(psi.forward(truth) + 5, (100, 16, 16))
    >>> camera = Camera(read_noise_e=0.1)
    >>> made = fit(seen, Psf(2.6), camera, Weights(0.01, 1.0), factor=2, steps=2000)
    >>> bool(made.history["mean"][-1] < 0.1 * made.history["mean"][0])
    True
    """
    seen = Seen.of(electrons, camera)
    psi = Formation.of(seen.mean.shape, psf, factor=factor, border=BORDER_PX)
    first = _first(seen, psi, start)
    generator = Generator(psi, *first, seen, camera, physics)
    target = _tensor(seen.mean)
    bright = (target - float(baselines.background_of(seen.mean))).clamp(min=0)
    total, power = bright.sum(), (bright**2).sum()
    move = torch.optim.Adam(generator.parameters(), RATE if start is None else NEAR_RATE)
    judge = _Judge(generator, seen, seed) if weights.critic else None
    told = {name: [] for name in (("mean", "gap", "slope") if judge else ("mean",))}
    sums, averaged = [np.zeros(psi.fine_shape), np.zeros(psi.shape)], max(int(AVERAGED * steps), 1)
    alone = MEAN_STEPS if judge and start is None else 0
    fall = torch.optim.lr_scheduler.LambdaLR(
        move, lambda k: 1 - (1 - LAST) * max(k - alone, 0) / steps
    )
    for step in range(-alone, steps):
        misfit = ((generator.mean() - target) ** 2).sum() / power
        loss = misfit + weights.light * generator.emission.sum() / total
        loss = loss + weights.smooth * _roughness(generator.background) / power
        told["mean"].append(float(misfit.detach()))
        if judge and step >= 0:
            for _ in range(0 if step else FIRST_STEPS):
                judge.learn(generator.fluctuations(BATCH, judge.rng))
            made = generator.fluctuations(BATCH, judge.rng)
            gap, slope = np.mean([judge.learn(made) for _ in range(CRITIC_STEPS)], axis=0)
            told["gap"].append(gap)
            told["slope"].append(slope)
            loss = loss - weights.critic * judge.rating(made)
        move.zero_grad()
        loss.backward()
        move.step()
        fall.step()
        if step >= steps - averaged:
            sums[0] += generator.emission.detach().numpy() / averaged
            sums[1] += generator.background.detach().numpy() / averaged
    return Estimate(*sums, {name: np.array(values) for name, values in told.items()})


@dataclass
class _Judge:
    """A critic with the frames that it learns from."""

    generator: Generator
    seen: Seen
    seed: int

    def __post_init__(self):
        self.frames = len(self.generator.lower)
        std = _tensor(np.sqrt(self.seen.variance)).clamp(min=1e-6)
        with torch.random.fork_rng(devices=[]):  # a critic is made from torch's own generator
            torch.manual_seed(self.seed)
            self.critic = critic.Critic(std, self.frames)
        self.rng = torch.Generator().manual_seed(self.seed)
        self.optimiser = torch.optim.Adam(self.critic.parameters(), critic.RATE, betas=(0.5, 0.9))
        self.real = torch.from_numpy(self.seen.fluctuations)

    def learn(self, made: torch.Tensor) -> tuple[float, float]:
        """`critic.teach`, by generated runs and as many real ones."""
        ends = len(self.real) - self.frames + 1
        at = torch.randint(ends, (len(made), 1), generator=self.rng) + torch.arange(self.frames)
        real, made = self.critic.standard(self.real[at]), self.critic.standard(made.detach())
        return critic.teach(self.critic, self.optimiser, real, made, self.rng)

    def rating(self, made: torch.Tensor) -> torch.Tensor:
        """Of generated runs, differentiable."""
        return self.critic(self.critic.standard(made)).mean()


def _first(seen: Seen, psi: Formation, start) -> tuple[np.ndarray, np.ndarray]:
    """Emission and background to start at."""
    if start is not None:
        left = seen.mean - psi.forward(start)
        return start, np.maximum(ndimage.gaussian_filter(left, min(psi.shape) / 6), 0)
    level = float(baselines.background_of(seen.mean))
    even = np.ones(psi.fine_shape)
    scale = np.maximum(seen.mean - level, 0).sum() / psi.forward(even).sum()
    return even * max(scale, 1e-3), np.full(psi.shape, max(level, 0.0))


def _roughness(picture: torch.Tensor) -> torch.Tensor:
    """Sum of squared differences of neighbours."""
    return sum((picture.diff(dim=axis) ** 2).sum() for axis in (0, 1))


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.asarray(array), dtype=torch.float32)
