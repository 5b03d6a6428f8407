"""How far from focus each window of a picture lies: a fit of its power spectrum, with a sign if the optics tell one.

As in `networks.spectrum_fit`, the logarithm of Welch's estimate is compared with that of scene times |OTF|^2 plus
noise, here for the PSFs of `optics.defocus` at many distances. The result is not one distance but how likely each is,
so that neighbours can be joined before one is chosen. What differs:

- Pixels are taken together first, as the blur of a distant specimen exceeds a square.
- A window of a tilted specimen has many distances. So each distance is tried with several ranges about it.
- An anisotropic scene looks like astigmatism. But a scene is much the same all over a picture, and distances are
  not. So the mean and variance of the scene's shapes are learnt from the picture's windows (empirical Bayes; Robbins,
  Proc. Third Berkeley Symp., 1956), in a few rounds.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from isoplan.networks import sliding, spectrum_fit
from isoplan.networks.spectrum_fit import RIDGE, SHARPNESS, SIGNAL_OVER_NOISE, SQUARE_PX
from isoplan.optics.defocus import Defocus

WINDOW_PX = 128  # side of a window, in binned px
BINNED_CUTOFF = 0.4  # cycles per binned px: pixels are taken together up to about there
NODES_A_DEPTH = 6.0  # distances per depth of field
RANGES = (0.0, 0.7, 1.5)  # of distances within a window: half-widths in depths of field
# The shape that a scene's logarithm has is compared with 72 independent values, as SHARPNESS is half of that.
INDEPENDENT = 2 * SHARPNESS
LEAST_RIDGE, MOST_RIDGE = 0.002, 0.3
ROUNDS = 4  # of learning what scenes look like
ENTRIES, WINDOWS = 128, 256  # at a time, which bounds memory
NORMAL = 1.4826  # standard deviations per median deviation, of a normal distribution


@dataclass(frozen=True, eq=False)
class Scene:
    """What the spectra of a picture's scene look like, beside a power law.

    mean: (T,) coefficients of `DefocusFit.terms`. ridge: (T,) weights that pull windows to it, relative to all bins.
    """

    mean: torch.Tensor
    ridge: torch.Tensor

    @classmethod
    def unknown(cls, terms: int) -> "Scene":
        return cls(torch.zeros(terms), torch.full((terms,), RIDGE))


@dataclass(frozen=True)
class Compared:
    """How well every PSF explains each of n windows: misfit (n, E), and the noise level (n, E) that is best."""

    misfit: torch.Tensor
    level: torch.Tensor


def binning_of(optics: Defocus) -> int:
    """Pixels taken together along each axis."""
    return max(1, round(BINNED_CUTOFF / optics.cutoff))


def reach_um(optics: Defocus) -> float:
    """The distance from which the blur is wider than a window."""
    return WINDOW_PX * binning_of(optics) / 2 / optics.radius_px(1.0)


def distances_um(optics: Defocus, reach_um: float, step_um: float | None = None) -> torch.Tensor:
    """The distances that a fit tries; arguments as those of `DefocusFit`."""
    step = float(step_um or optics.depth_of_field_um / NODES_A_DEPTH)
    half = math.ceil(reach_um / step - 1e-9)
    return torch.arange(-half, half + 1) * step


def nodes_at(z_um: torch.Tensor, wanted_um: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For linear interpolation between distances z_um (Z,): the node before each wanted one (...), and its share of the next.

    Examples
    --------
    >>> before, share = nodes_at(torch.tensor([0.0, 2.0, 4.0]), torch.tensor([-1.0, 1.0, 4.0]))
    >>> before.tolist(), share.tolist()
    ([0, 0, 1], [0.0, 0.5, 1.0])
    """
    place = ((wanted_um - z_um[0]) / (z_um[1] - z_um[0])).clamp(0, len(z_um) - 1)
    before = place.floor().long().clamp_max(len(z_um) - 2)
    return before, place - before


def spectra_of(picture: torch.Tensor, binning: int, stride_px: int) -> torch.Tensor:
    """Power spectra (ny, nx, F) of windows of a picture (h, w), WINDOW_PX binned pixels large, every stride_px pixels of it."""
    if binning > 1:
        picture = F.avg_pool2d(picture[None], binning)[0]
    return spectrum_fit.welch(picture[None], WINDOW_PX, stride_px // binning)[0]


def seen(optics: Defocus, z_um: torch.Tensor, binning: int) -> torch.Tensor:
    """What windows of binned pixels show of scenes of power laws at distances (n,): spectra (laws, n, F) without noise."""
    spectra = optics.spectra(z_um, 2 * SQUARE_PX, binning, spectrum_fit.power_laws)
    shares = spectrum_fit.leakage(z_um.device)
    return torch.stack([sliding.product(law.flatten(1), shares) for law in spectra])


class DefocusFit:
    """The fit for given optics.

    Parameters
    ----------
    optics
        The microscope.
    reach_um
        Distances from -reach_um to reach_um are tried.
    binning
        Pixels taken together along each axis.
    step_um
        Between distances; the depth of field over NODES_A_DEPTH if not given.
    ranges
        Half-widths of the ranges of distances within a window that are tried, in depths of field.

    Examples
    --------
    >>> optics = Defocus(na=0.3, wavelength_um=0.48, pixel_size_um=0.32, cylinder_waves=0.3)
    >>> fit = DefocusFit(optics, reach_um=20, binning=2, step_um=4)
    >>> fit.z_um.tolist()[:3], fit.entries.shape[0]
    ([-20.0, -16.0, -12.0], 66)
    """

    def __init__(
        self,
        optics: Defocus,
        reach_um: float,
        binning: int = 1,
        step_um: float | None = None,
        ranges: tuple[float, ...] = RANGES,
    ):
        self.optics, self.binning = optics, binning
        self.z_um = distances_um(optics, reach_um, step_um)
        half = len(self.z_um) // 2
        step = float(step_um or optics.depth_of_field_um / NODES_A_DEPTH)
        widths = [round(width * optics.depth_of_field_um / step) for width in ranges]
        most = max(widths)
        wide = torch.arange(-half - most, half + most + 1) * step
        sums = F.pad(seen(optics, wide, binning).cumsum(1), (0, 0, 1, 0))
        count = len(self.z_um)
        means = [
            (sums[:, most + w + 1 :][:, :count] - sums[:, most - w :][:, :count]) / (2 * w + 1)
            for w in widths
        ]
        table = torch.stack(means, 1)
        table = (table / table.amax(-1, keepdim=True)).clamp_min(1e-14)
        self.entries = table.flatten(0, 2)  # (slopes * ranges * distances, F)
        self.shape = table.shape[:3]
        plain = spectrum_fit.spectral_bins(wide.device)[2]
        # The anisotropy may change with the frequency, too.
        self.terms = torch.cat([plain, plain[:, 3:5] * plain[:, 1:2]], 1)
        self.unknown = Scene.unknown(self.terms.shape[1])
        self._kept: dict[tuple[int, int], _Fitted] = {}  # of the unknown scene

    def between(self, first: int, last: int) -> "DefocusFit":
        """The same fit with the distances z_um[first:last] alone."""
        fit = copy.copy(self)
        fit.z_um = self.z_um[first:last]
        entries = self.entries.unflatten(0, self.shape)[:, :, first:last]
        fit.entries, fit.shape = entries.flatten(0, 2), entries.shape[:3]
        fit._kept = {}
        return fit

    def keep(self) -> None:
        """Keep what comparisons with an unknown scene share, 280 kB for each entry, so that those of few windows are fast."""
        self._kept = dict(self._parts(self.unknown))

    def log_posterior(self, spectra: torch.Tensor, scene: Scene) -> torch.Tensor:
        """Logarithms (n, distances) of how likely each distance is, up to a number per window; spectra: (n, F)."""
        return torch.cat([self._of(self.compare(some, scene)) for some in spectra.split(WINDOWS)])

    def learn(self, spectra: torch.Tensor, rounds: int = ROUNDS) -> Scene:
        """What the scene looks like, from spectra (n, F) of windows all over a picture."""
        scene = self.unknown
        for _ in range(rounds - 1):
            parts = [self._shapes(some, scene) for some in spectra.split(WINDOWS)]
            shapes, misfit = (torch.cat(part) for part in zip(*parts, strict=True))
            mean = shapes.median(0).values
            variance = (NORMAL * (shapes - mean).abs().median(0).values).square()
            ridge = misfit.median() / (INDEPENDENT * variance.clamp_min(1e-4))
            ridge = ridge.clamp(LEAST_RIDGE, MOST_RIDGE)
            mean[0], ridge[0] = 0, LEAST_RIDGE  # the level is free
            scene = Scene(mean, ridge)
        return scene

    def compare(self, spectra: torch.Tensor, scene: Scene) -> Compared:
        """Compare the logarithms of spectra (n, F) with all PSFs."""
        y = _centred(spectra.log())
        best = y.new_full((len(y), len(self.entries)), math.inf)
        level = torch.zeros_like(best, dtype=torch.uint8)
        kept = self._kept if scene is self.unknown else {}
        for (number, first), fitted in kept.items() or self._parts(scene):
            part = slice(first, first + ENTRIES)
            found = fitted.misfit(y)
            better = found < best[:, part]
            best[:, part] = torch.where(better, found, best[:, part])
            level[:, part].masked_fill_(better, number)
        return Compared(best.clamp_min(1e-6), level)

    def _parts(self, scene: Scene) -> Iterator[tuple[tuple[int, int], "_Fitted"]]:
        """By noise level and first entry of ENTRIES."""
        for number, signal in enumerate(SIGNAL_OVER_NOISE):
            for first in range(0, len(self.entries), ENTRIES):
                model, shapes = self._linear(self.entries[first : first + ENTRIES], signal, scene)
                yield (number, first), _Fitted.of(model, shapes, scene)

    def _of(self, compared: Compared) -> torch.Tensor:
        power = -SHARPNESS * compared.misfit.log().unflatten(1, self.shape)
        return torch.logsumexp(power, dim=(1, 2))

    def _shapes(self, spectra, scene: Scene) -> tuple[torch.Tensor, torch.Tensor]:
        """Coefficients (n, T) of the terms with the best PSF of each window, and its misfit (n,)."""
        compared = self.compare(spectra, scene)
        misfit, best = compared.misfit.min(1)
        signal = torch.tensor(SIGNAL_OVER_NOISE)[
            compared.level.gather(1, best[:, None])[:, 0].long()
        ]
        model, shapes = self._linear(self.entries[best], signal[:, None], scene)
        left = _centred(spectra.log()) - model
        normal = shapes.mT @ shapes / left.shape[1] + torch.diag(scene.ridge)
        change = (shapes.mT @ left[..., None])[..., 0] / left.shape[1]
        return scene.mean + torch.linalg.solve(normal, change), misfit

    def _linear(self, entries, signal, scene: Scene) -> tuple[torch.Tensor, torch.Tensor]:
        """Logarithms (n, F) that PSFs leave of the scene's mean, and their derivatives (n, F, T) by its shapes."""
        model = torch.log1p(signal * entries)
        share = -torch.expm1(-model)  # of the signal in a bin's power
        shapes = share[..., None] * self.terms
        model = model + share * (self.terms @ scene.mean)
        return _centred(model), shapes - shapes.mean(1, keepdim=True)


@dataclass(frozen=True)
class _Fitted:
    """What the fit of a scene's shapes is made of, for E entries: model (E, F), rows (E * T, F) and what they give at the model."""

    model: torch.Tensor
    rows: torch.Tensor
    at_model: torch.Tensor

    @classmethod
    def of(cls, model: torch.Tensor, shapes: torch.Tensor, scene: Scene) -> "_Fitted":
        bins = model.shape[1]
        normal = shapes.mT @ shapes / bins + torch.diag(scene.ridge)
        inverse = torch.linalg.inv(torch.linalg.cholesky(normal))
        rows = (inverse @ shapes.mT).flatten(0, 1) / bins
        return cls(model, rows, (rows.unflatten(0, shapes.shape[::2]) @ model[..., None]).flatten())

    def misfit(self, y: torch.Tensor) -> torch.Tensor:
        """Mean squared residuals (n, E) of logarithms (n, F) after the shapes are fitted, with what pulls them."""
        product = sliding.product(self.rows, y).T
        explained = (product - self.at_model).unflatten(1, (len(self.model), -1))
        plain = y.square().mean(1, keepdim=True) + self.model.square().mean(1)
        plain = plain - sliding.product(self.model, y).T * (2 / y.shape[1])
        return plain - explained.square_().sum(2)


def _centred(values: torch.Tensor) -> torch.Tensor:
    """Without the mean over the bins: the scale of a spectrum does not matter."""
    return values - values.mean(1, keepdim=True)
