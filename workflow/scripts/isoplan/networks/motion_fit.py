"""How what a window shows moved while the camera exposed: a fit of its power spectrum.

The spectrum is compared with those of thousands of motions, as `networks.spectrum_fit` does with PSFs. Motions that are likely are
then looked at more closely: each window draws some near its own (population Monte Carlo; Cappe et al., J. Comput. Graph. Stat. 13,
2004), and all windows share them. The result is a weight for each motion.

A spectrum knows neither of two directions that are opposite, nor whether the path leads towards focus or away from it. So motions
have lateral displacements to the right, paths along the axis that count as positive, and middles above focus.
"""

import math
from dataclasses import dataclass

import torch
from torch.quasirandom import SobolEngine

from isoplan.networks import spectrum_fit
from isoplan.networks.defocus_fit import seen
from isoplan.networks.spectrum_fit import SHARPNESS, SQUARE_PX
from isoplan.optics.defocus import Defocus
from isoplan.optics.motion import Motion, MotionPower

LIBRARY = 4096  # motions that every window is compared with
COARSE = 8  # every so-many-th of them chooses noise levels
ROUNDS = (
    (16, 24.0),
    (48, 8.0),
)  # motions that each window draws, from a posterior of so many motions at least
AT_ONCE = 32  # motions whose spectra are made
DIMENSIONS = 4
TRIED = 12  # halvings of the exponent that spreads a posterior
# A motion has a spectrum of its own, so less must be known of the scene's than in `spectrum_fit`.
RIDGE = 0.002
Z_A_DEPTH = 4.0  # distances per depth of field of what is at rest
# For intervals, a posterior is spread until it holds so many motions: where light is bright, fewer of those that were drawn are likely.
HELD = 3.0
LEAST_SPREAD = 1e-3  # of a draw, relative to the prior's


@dataclass(frozen=True)
class Prior:
    """The motions that are looked for, each as likely.

    Attributes
    ----------
    lateral_px
        Largest displacement along x and along y, in px.
    near_um
        Paths have an end no farther from focus.
    axial_um
        Largest displacement along the axis.
    crosses
        Whether paths may cross focus.
    """

    lateral_px: float
    near_um: float
    axial_um: float
    crosses: bool = True

    @property
    def farthest_um(self) -> float:
        return self.near_um + self.axial_um

    @property
    def longest_px(self) -> float:
        return math.sqrt(2) * self.lateral_px

    @property
    def scale(self) -> torch.Tensor:
        """(4,) of `packed` coordinates."""
        along = self.near_um + self.axial_um / 2, self.axial_um
        return torch.tensor([self.lateral_px, self.lateral_px, *along]).clamp_min(1e-6)

    def draw(self, count: int) -> tuple[Motion, float]:
        """Motions that fill the prior evenly, and how many there are in a unit of `packed` coordinates over `scale`."""
        share = SobolEngine(DIMENSIONS, scramble=True, seed=0).draw(count)
        below = min(self.near_um, self.axial_um / 2) if self.crosses else 0.0
        y, x = (2 * share[:, 0] - 1) * self.lateral_px, share[:, 1] * self.lateral_px
        near = share[:, 2] * (self.near_um + below) - below
        axial = share[:, 3] * self.axial_um
        motion = Motion(torch.stack([y, x], 1), near + axial / 2, axial)
        volume = 2 * (self.near_um + below) / float(self.scale[2])
        return motion[self.holds(motion)], count / max(volume, 1e-6)

    def holds(self, motion: Motion) -> torch.Tensor:
        """Bool (n): which folded motions are looked for."""
        inside = (motion.lateral_px.abs() <= self.lateral_px).all(1) & (motion.middle_um >= 0)
        near = motion.start_um  # a middle above focus: the other end is farther
        inside &= (motion.axial_um <= self.axial_um) & (near.abs() <= self.near_um)
        return inside if self.crosses else inside & (near >= 0)


def folded(motion: Motion) -> Motion:
    """The motions of the same spectra that lead to the right, and count as positive along the axis, with a middle above focus."""
    y, x = motion.lateral_px.unbind(1)
    turn = torch.where((x < 0) | ((x == 0) & (y < 0)), -1.0, 1.0)[:, None]
    return Motion(motion.lateral_px * turn, motion.middle_um.abs(), motion.axial_um.abs())


def packed(motion: Motion) -> torch.Tensor:
    """(n, 4): y, x, middle, axial."""
    return torch.cat([motion.lateral_px, motion.middle_um[:, None], motion.axial_um[:, None]], 1)


def unpacked(values: torch.Tensor) -> Motion:
    return Motion(values[:, :2], values[:, 2], values[:, 3])


@dataclass(frozen=True)
class Posterior:
    """How likely each of N motions is in n windows.

    Attributes
    ----------
    motion
        (N) motions.
    weight
        (n, N) of sum 1.
    wide
        (n, N) likewise, for intervals: spread until it holds HELD motions.
    evidence
        (n,) logarithm of how well motions of the prior explain a window, on average.
    likely
        (n + m, N) logarithms of how well motions explain these windows, and m others.
    counts
        (N,) logarithms of how much each motion counts, as they are not evenly spread.
    """

    motion: Motion
    weight: torch.Tensor
    wide: torch.Tensor
    evidence: torch.Tensor
    likely: torch.Tensor
    counts: torch.Tensor

    @property
    def parts(self) -> torch.Tensor:
        """(m, N) of the other windows."""
        return self.likely[len(self.weight) :]

    def behind(self, some: torch.Tensor) -> torch.Tensor:
        """(n,) by how much the best of some motions (bool, N) is less likely than the best of all, in logarithms."""
        own = self.likely[: len(self.weight)]
        none = torch.full((len(own),), math.inf)
        return own.amax(1) - own[:, some].amax(1) if some.any() else none

    def parts_mean(self, values: torch.Tensor) -> torch.Tensor:
        """(m, k) of values (N, k), of the other windows."""
        return (self.parts + self.counts).softmax(1) @ values

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """(n,) of values (N,)."""
        return self.weight @ values

    def deviation(self, values: torch.Tensor) -> torch.Tensor:
        """(n,) standard deviation about the mean, by the wide weights."""
        about = values - self.mean(values)[:, None]
        return (self.wide * about.square()).sum(1).sqrt()


class MotionFit:
    """The fit for given optics.

    Parameters
    ----------
    optics
        The microscope; round.
    prior
        The motions that are looked for.
    binning
        Pixels taken together along each axis.

    Examples
    --------
    >>> optics = Defocus(na=0.3, wavelength_um=0.48, pixel_size_um=0.32)
    >>> fit = MotionFit(optics, Prior(lateral_px=16, near_um=5, axial_um=5), library=64)
    >>> fit.spectra(fit.motion[:3]).shape
    torch.Size([2, 3, 528])
    """

    def __init__(self, optics: Defocus, prior: Prior, binning: int = 1, library: int = LIBRARY):
        self.optics, self.prior, self.binning = optics, prior, binning
        self._powers = _powers(optics, prior, binning)
        self.motion, self._even = prior.draw(library)
        self._table = self._tabulated(self.motion)

    def spectra(self, motion: Motion) -> torch.Tensor:
        """Spectra (laws, n, F) that scenes of power laws leave of motions, without noise."""
        side = 2 * SQUARE_PX
        parts = []
        for first in range(0, len(motion), AT_ONCE):
            some = motion[first : first + AT_ONCE]
            whole = torch.zeros(len(spectrum_fit.SLOPES), len(some), side * (side // 2 + 1))
            for place, power, laws in self._powers:
                found = power.of(some)
                for one, law in zip(whole, laws, strict=True):
                    # Frequencies that differ by a whole number of cycles per px look the same.
                    one.index_add_(1, place, found * law)
            parts.append(spectrum_fit.binned(whole.unflatten(2, (side, side // 2 + 1))))
        return torch.cat(parts, 1)

    def posterior(self, spectra: torch.Tensor, parts: torch.Tensor | None = None) -> Posterior:
        """How likely motions are, from spectra (n, F) of windows; parts: (m, F) of others, which draw none."""
        n = len(spectra)
        log_power = spectra.log() if parts is None else torch.cat([spectra, parts]).log()
        motion, draws = self.motion, []
        misfit = spectrum_fit.least_misfit(log_power, self._table)
        for count, least in ROUNDS:
            share = _tempered(_likely(misfit[:n]), self._counts(motion, draws), least)
            draws.append(_Draws.around(motion, share, count, self.prior.scale))
            drawn = draws[-1].motion(self.prior)
            if not len(drawn):
                continue
            more = spectrum_fit.least_misfit(log_power, self._tabulated(drawn))
            motion, misfit = Motion.joined([motion, drawn]), torch.cat([misfit, more], 2)
        likely, counts = _likely(misfit), self._counts(motion, draws)
        wide = _tempered(likely[:n], counts, HELD)
        told = likely[:n] + counts
        evidence = told.logsumexp(1) - counts.logsumexp(0)
        return Posterior(motion, told.softmax(1), wide, evidence, likely, counts)

    def evidence_at_rest(self, spectra: torch.Tensor, optics: Defocus) -> torch.Tensor:
        """(n,) logarithm of how well other optics explain windows of spectra (n, F) without motion, on average over distances."""
        step = optics.depth_of_field_um / Z_A_DEPTH
        half = math.ceil(self.prior.farthest_um / step)
        # Without those, both sides of focus look the same.
        sides = bool(optics.cylinder_waves or optics.spherical_waves)
        z = torch.arange(-half if sides else 0, half + 1) * step
        table = _table(seen(optics, z, self.binning), COARSE // 2)
        likely = _likely(spectrum_fit.least_misfit(spectra.log(), table))
        return likely.logsumexp(1) - math.log(len(z))

    def _counts(self, motion: Motion, draws: "list[_Draws]") -> torch.Tensor:
        """Logarithms (N,) of how much each motion counts, as they are not evenly spread."""
        place = packed(motion) / self.prior.scale
        density = torch.full((len(motion),), self._even)
        for one in draws:
            density += one.density(place)
        return -density.log()

    def _tabulated(self, motion: Motion) -> spectrum_fit.Table:
        return _table(self.spectra(motion), COARSE)


def _table(spectra: torch.Tensor, coarse: int) -> spectrum_fit.Table:
    """Of spectra (laws, n, F); every so-many-th chooses noise levels."""
    table = (spectra / spectra.amax(2, keepdim=True)).clamp_min(1e-14)
    return spectrum_fit.Table(table, torch.arange(0, table.shape[1], coarse), {}, 0.0, RIDGE)


def _likely(misfit: torch.Tensor) -> torch.Tensor:
    """Logarithms (n, N) of how likely motions are, from misfits (n, laws, N)."""
    return misfit.log().mul(-SHARPNESS).logsumexp(1)


@dataclass(frozen=True)
class _Draws:
    """Motions that n windows draw from normal distributions, each as many: means (n, 4) and roots (n, 4, 4) over the prior's scale."""

    mean: torch.Tensor
    root: torch.Tensor
    count: int

    @classmethod
    def around(cls, motion: Motion, share: torch.Tensor, count: int, scale) -> "_Draws":
        """From weights (n, N) of motions."""
        place = packed(motion) / scale
        best = place[share.argmax(1)]
        # Opposite directions are one: all are turned to that of the best.
        turn = torch.where(best[:, :2] @ place[:, :2].T < 0, -1.0, 1.0) * share
        mean = torch.cat([turn @ place[:, :2], share @ place[:, 2:]], 1)
        square = (share @ (place[:, :, None] * place[:, None]).flatten(1)).unflatten(1, (4, 4))
        mixed = (turn @ (place[:, :2, None] * place[:, None, 2:]).flatten(1)).unflatten(1, (2, 2))
        square[:, :2, 2:], square[:, 2:, :2] = mixed, mixed.mT
        covariance = square - mean[:, :, None] * mean[:, None] + LEAST_SPREAD**2 * torch.eye(4)
        covariance += 1e-4 * torch.diag_embed(covariance.diagonal(dim1=1, dim2=2))
        return cls(mean, torch.linalg.cholesky(covariance), count)

    def motion(self, prior: Prior) -> Motion:
        share = (
            SobolEngine(DIMENSIONS, scramble=True, seed=1).draw(self.count).clamp(1e-4, 1 - 1e-4)
        )
        normal = math.sqrt(2) * torch.erfinv(2 * share - 1)
        drawn = self.mean[:, None] + normal @ self.root.mT
        found = folded(unpacked(drawn.flatten(0, 1) * prior.scale))
        return found[prior.holds(found)]

    def density(self, place: torch.Tensor) -> torch.Tensor:
        """(N,) of all draws at places (N, 4), with those that are folded there."""
        total = torch.zeros(len(place))
        norm = self.count / (2 * math.pi) ** (DIMENSIONS / 2)
        scale = norm / self.root.diagonal(dim1=1, dim2=2).prod(1)
        inverse = torch.linalg.inv(self.root)
        offset = (inverse @ self.mean[..., None])[..., 0]
        for signs in torch.cartesian_prod(*[torch.tensor([1.0, -1.0])] * 3):
            image = place * signs[[0, 0, 1, 2]]
            for some in range(0, len(place), 1024):
                apart = (image[some : some + 1024] @ inverse.flatten(0, 1).T).unflatten(
                    1, (-1, 4)
                ) - offset
                total[some : some + 1024] += (-apart.square().sum(2) / 2).exp() @ scale
        return total


def _tempered(likely: torch.Tensor, counts: torch.Tensor, least: float) -> torch.Tensor:
    """Weights (n, N) of a posterior that is spread until it holds so many motions."""
    low, high = torch.zeros(len(likely), 1), torch.ones(len(likely), 1)
    power = high
    for _ in range(TRIED):
        share = (likely * power + counts).softmax(1)
        enough = 1 / share.square().sum(1, keepdim=True) >= least
        low, high = torch.where(enough, power, low), torch.where(enough, high, power)
        power = torch.where(enough & (power == 1), power, (low + high) / 2)
    return (likely * low + counts).softmax(1)


def _powers(optics: Defocus, prior: Prior, binning: int):
    """For each alias: flat places of a grid of 2 SQUARE_PX a side, the power of motions there, and laws with what pixels and softness pass."""
    side = 2 * SQUARE_PX
    y, x = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)
    cutoff = 2 * optics.cutoff * binning
    most = math.ceil(cutoff)
    found = []
    for up in range(-most, most + 1):
        for right in range(-most, most + 1):
            fy, fx = (y + up).expand(-1, side // 2 + 1), (x + right).expand(side, -1)
            place = (torch.hypot(fy, fx) < cutoff).flatten().nonzero()[:, 0]
            if not len(place):
                continue
            fy, fx = fy.flatten()[place], fx.flatten()[place]
            power = MotionPower(
                optics, fy / binning, fx / binning, prior.farthest_um, prior.longest_px, binning
            )
            squared = fy**2 + fx**2
            seen = (torch.sinc(fy) * torch.sinc(fx)).square()
            seen *= torch.exp(-squared * (2 * math.pi * optics.softness_px / binning) ** 2)
            laws = [law * seen for law in spectrum_fit.power_laws(squared)]
            found.append((place, power, laws))
    return found
