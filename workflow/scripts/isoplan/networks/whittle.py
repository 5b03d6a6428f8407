"""Fits the Zernike modes of a window's PSF to its power spectrum (Whittle, Ark. Mat. 2 (1953) 423).

    log S(f) = log(|OTF(f)|^2 exp(scene(f)) + N) + error

S is Welch's estimate, leaked as a taper does. scene is a combination of the shapes of `scene_spectra`, each
with a variance, and N is the level of white noise, seen where the optics pass nothing. The logarithms are
compared by weighted least squares, since the scene's scatter is larger than that of the estimate. Weights
of a Student distribution keep single peaks, as of a grating, from deciding.

There are many local minima. So thousands of PSFs are ranked first: their tabulated log spectra, on
frequencies relative to the cut-off, need only a few matrix products for any window and any cut-off. The best
start a Levenberg-Marquardt search each. The better half of the searches is finished, and their results are all
kept, with weights that say how likely they are.

A power spectrum knows neither the common sign of the even modes, which does not change the PSF, nor that of
the odd modes, which mirrors it (`networks.phases`).
"""

import math
from dataclasses import dataclass, fields
from functools import lru_cache

import torch
from torch.nn import functional as F

from isoplan.networks.scene_spectra import (
    SQUARE_PX,
    SceneSpectra,
    frequencies,
    half_plane,
    leaked,
    log_variance,
    lowest_frequencies,
    welch,
)
from isoplan.optics.full_pupil import FullPupil, along, pixel_transfer

CANDIDATES = 16384  # PSFs that are ranked
STARTS = 24  # of them that start a search
STEPS, FIRST_STEPS = 12, 6  # of the search, and of these before outliers lose their weight
KEPT = 0.5  # share of the searches that go on after the first steps
BLOCK = 4  # windows at a time; more fall out of a CPU's cache
SIDES = (36, 40, 48, 54, 60, 64)  # samples of a period, of which a window takes the fewest it can
GRID = 15  # frequencies of the table along one axis, up to twice the cut-off
FLOOR = 1e-3  # of |OTF|^2 in the table
# Signal below this share of the noise is not looked for.
LEAST_SIGNAL = 0.05
# Chosen on synthetic and natural scenes: the shapes' variances relative to those of scenes, degrees of
# freedom of the Student distribution, and the exponent of the likelihood, which says that errors of
# neighbouring frequencies are not independent.
TIGHTER, FREEDOM, TEMPER = 8.0, 4.0, 0.3
LARGEST_STEP = 0.1  # waves
# Where the cut-off is unknown: those that are searched, with fewer starts each, and the neighbours of the best
# REFINED, relative to these. Losses times CUTOFF_TEMPER are compared: errors are not independent.
CUTOFFS, FEWER_STARTS, REFINED, FINER, CUTOFF_TEMPER = 9, 4, 2, (0.97, 1.03), 0.2
MOST_LEVELS = 1.25  # ratio of neighbouring amplitudes that have a table of their own


# What `Found` tells of each candidate, beside its share, and of each window.
CANDIDATES_OWN = ("theta", "covariance", "misfit", "most", "evidence")
WINDOWS_OWN = ("cutoff", "residual", "signal", "noise", "loss")


@dataclass(frozen=True)
class Found:
    """What the fit found in n windows: R candidates each, the most likely one first.

    Attributes
    ----------
    cutoff
        (n,) cycles/px, with which they were fitted.
    theta
        (n, R, K) modes in waves RMS.
    share
        (n, R) posterior probabilities, of sum 1.
    covariance
        (n, R, K, K) of the posterior around each candidate, with the scene unknown.
    misfit
        (n, R) half the weighted sum of squares.
    residual
        (n, SQUARE_PX, SQUARE_PX // 2 + 1) errors of the best candidate, relative to those expected; 0 at
        frequencies that do not count.
    signal
        (n,) mean share of the signal in the power at frequencies that the optics pass.
    noise
        (n,) level of white noise, the variance of a pixel.
    loss
        (n,) of the best candidate, by which fits with different cut-offs are compared.
    most
        (n, R) largest amplitude that was allowed to each candidate.
    evidence
        (n, R) logarithms of how likely each is, up to a number that is the same for all fits of a window.
    """

    cutoff: torch.Tensor
    theta: torch.Tensor
    share: torch.Tensor
    covariance: torch.Tensor
    misfit: torch.Tensor
    residual: torch.Tensor
    signal: torch.Tensor
    noise: torch.Tensor
    loss: torch.Tensor
    most: torch.Tensor
    evidence: torch.Tensor

    def __getitem__(self, rows: torch.Tensor) -> "Found":
        return Found(*(values[rows] for values in self.values))

    def where(self, rows: torch.Tensor, other: "Found") -> "Found":
        """With another's values in some windows; rows: (n,) bool."""
        return Found(
            *(
                torch.where(rows.reshape(-1, *(1,) * (mine.ndim - 1)), theirs, mine)
                for mine, theirs in zip(self.values, other.values, strict=True)
            )
        )

    @property
    def values(self) -> tuple[torch.Tensor, ...]:
        return tuple(getattr(self, field.name) for field in fields(Found))


class Whittle:
    """The fit for modes `noll`, with coefficients up to `most_waves`.

    Parameters
    ----------
    noll
        Noll indices of the modes.
    scenes
        How spectra of scenes vary.
    """

    def __init__(self, noll: tuple[int, ...], scenes: SceneSpectra):
        self.noll, self.scenes = noll, scenes
        self._table = lru_cache(8)(self._make_table)

    @torch.no_grad()
    def __call__(
        self,
        windows: torch.Tensor,
        cutoff: torch.Tensor,
        most_waves: torch.Tensor,
        levels: tuple[tuple[float, int], ...] = ((1.0, STARTS),),
    ) -> Found:
        """Fit windows.

        Parameters
        ----------
        windows
            (n, h, w), at least SQUARE_PX a side.
        cutoff
            (n,) cycles/px, at most 0.25.
        most_waves
            (n,) largest amplitude of a mode.
        levels
            Factors on it, each as likely, and the starts of each. PSFs of a small amplitude are so few among those of a
            large one that a fit which is told the latter alone seldom finds them.
        """
        power, variance = welch(windows), log_variance(min(windows.shape[1:]))
        return _of_levels(
            [
                self._search(power, variance, cutoff, cutoff, level * most_waves, count=count)
                for level, count in levels
            ]
        )

    @torch.no_grad()
    def without_cutoff(
        self, windows: torch.Tensor, low: float, high: float, most_waves: torch.Tensor
    ) -> list["Found"]:
        """Fit windows whose cut-off is only known to lie between two: with several cut-offs.

        Parameters are those of a call. `Found.loss` tells how likely each is. Takes about 1.4 times as long.
        """
        power, variance = welch(windows), log_variance(min(windows.shape[1:]))
        one = torch.ones_like(most_waves)
        steps = torch.linspace(0, 1, CUTOFFS, device=windows.device)
        tried = [
            self._search(power, variance, c * one, high * one, most_waves, count=FEWER_STARTS)
            for c in low * (high / low) ** steps
        ]
        theta, cutoffs, losses = (
            torch.stack([getattr(found, name) for found in tried], 1)
            for name in ("theta", "cutoff", "loss")
        )
        rows = torch.arange(len(windows), device=windows.device)
        finer = []
        for best in losses.topk(REFINED, dim=1, largest=False).indices.unbind(1):
            for ratio in FINER:
                near = (cutoffs[rows, best] * ratio).clamp(low, high)
                starts = theta[rows, best]
                finer.append(self._search(power, variance, near, high * one, most_waves, starts))
        return tried + finer

    def _search(self, power, variance, cutoff, reach, most, starts=None, count=STARTS) -> Found:
        """The fits of spectra (n, ...), from the best `count` starts where none are given (n, R, K).

        reach: (n,) highest cut-off, up to which frequencies are compared.
        """
        # A window's side, and so its result, depends on itself alone.
        sides = torch.tensor(SIDES, device=cutoff.device)
        wanted = 4 * reach[:, None] * SQUARE_PX
        side = sides[(wanted > sides).sum(1).clamp_max(len(SIDES) - 1)]
        parts, places = [], []
        for each in side.unique().tolist():
            for mine in (side == each).nonzero()[:, 0].split(BLOCK):
                # Padded, as the last bits depend on the number of windows in a block.
                some = torch.cat([mine, mine[-1:].expand(BLOCK - len(mine))])
                told = (v[some] for v in (cutoff, reach, most))
                block = _Block(self, power[some], variance, *told, each)
                if starts is None:
                    found = block.search(self._starts(block, count), math.ceil(KEPT * count))
                else:
                    found = block.search(starts[some], starts.shape[1])
                parts.append([values[: len(mine)] for values in found.values])
                places.append(mine)
        order = torch.cat(places).argsort()
        return Found(*(torch.cat(values)[order] for values in zip(*parts, strict=True)))

    def _starts(self, block: "_Block", count: int) -> torch.Tensor:
        """Tabulated modes (n, count, K) that fit best."""
        levels = torch.ceil(block.most.log() / math.log(MOST_LEVELS) - 1e-4)
        starts = block.cutoff.new_empty(len(levels), count, len(self.noll))
        for level in levels.unique().tolist():
            mine = levels == level
            table = self._table(MOST_LEVELS**level, block.cutoff.device)
            best = table.misfits(block, mine).topk(count, dim=1, largest=False).indices
            starts[mine] = table.theta[best]
        most = block.most[:, None, None]
        return starts.clamp(-most, most)

    def _make_table(self, most: float, device) -> "_Table":
        return _Table(self.noll, most, self.scenes, device)


def _of_levels(fits: list[Found]) -> Found:
    """One of the candidates of all fits of the same windows with the same cut-offs."""
    if len(fits) == 1:
        return fits[0]
    misfit = torch.cat([found.misfit for found in fits], 1)
    order = misfit.argsort(1)

    def of_all(name: str) -> torch.Tensor:
        values = torch.cat([getattr(found, name) for found in fits], 1)
        return values[torch.arange(len(order), device=order.device)[:, None], order]

    best = torch.stack([found.misfit[:, 0] for found in fits]).argmin(0)
    candidates = {name: of_all(name) for name in CANDIDATES_OWN}
    share = torch.softmax(candidates["evidence"], 1)
    return Found(**_chosen(fits, best, WINDOWS_OWN), **candidates, share=share)


def joined(parts) -> Found:
    """The fits of parts of the windows as one."""
    return Found(*(torch.cat(v) for v in zip(*(part.values for part in parts), strict=True)))


def likeliest(fits: list[Found], which: torch.Tensor) -> Found:
    """Of each window the fit with number `which` (n,), of fits with as many candidates."""
    return Found(**_chosen(fits, which, [field.name for field in fields(Found)]))


def _chosen(fits: list[Found], which: torch.Tensor, names) -> dict[str, torch.Tensor]:
    rows = torch.arange(len(which), device=which.device)
    return {
        name: torch.stack([getattr(found, name) for found in fits])[which, rows] for name in names
    }


class _Block:
    """Windows that are fitted at the same time: spectra, weights and modes at the frequencies used."""

    def __init__(self, fit: Whittle, power, variance: float, cutoff, reach, most, side: int):
        self.scenes, self.cutoff, self.most, self.variance = fit.scenes, cutoff, most, variance
        device = power.device
        # Nothing passes beyond twice the cut-off; at the corners nothing ever does.
        beyond = (2 * reach + 3 / SQUARE_PX).clamp_max(0.52)[:, None, None]
        outside = (frequencies(device) > beyond).float()
        self.whole = power
        self.noise = (power * outside).sum((1, 2)) / outside.sum((1, 2))
        self.level = self.noise[:, None, None]
        self.pupil = FullPupil(fit.noll, SQUARE_PX, 0.25, side)
        self.modes = self.pupil.modes(cutoff)
        used = half_plane(device) & (frequencies(device) <= 2 * reach[:, None, None])
        self.used = lowest_frequencies(used, side)
        self.power = lowest_frequencies(power, side)
        self.log_power = self.power.log()
        self.shapes = lowest_frequencies(fit.scenes.shapes, side)
        self.mean = lowest_frequencies(fit.scenes.mean, side)
        self.transfer = lowest_frequencies(pixel_transfer(SQUARE_PX, 1, device).square(), side)
        self.precision = TIGHTER / fit.scenes.variances
        self.share = leaked((1 - self.level / self.power).clamp(0, 1))
        scatter = lowest_frequencies(fit.scenes.scatter, side)
        self.weight = self.used / (variance + self.share.square() * scatter)

    def search(self, theta: torch.Tensor, finished: int) -> Found:
        """Levenberg-Marquardt from all starts (n, R, K), of which the best go on to the end."""
        state = self._descend(theta, self._scene_of(theta), FIRST_STEPS)
        kept = state[2].topk(finished, dim=1, largest=False).indices
        theta, scene, cost = (_taken(values, kept) for values in state[:3])
        best = cost.argmin(1)
        rows = torch.arange(len(best), device=best.device)
        expected, _ = self._model(theta[rows, best][:, None], scene[rows, best][:, None], False)
        error = self.log_power - expected[:, 0].log()
        self.plain = self.weight
        self.weight = self.weight * (FREEDOM + 1) / (FREEDOM + error.square() * self.weight)
        theta, scene, cost, expected, slopes = self._descend(theta, scene, STEPS - FIRST_STEPS)
        return self._found(theta, cost, expected, slopes)

    def _found(self, theta, cost, expected, slopes) -> Found:
        count = theta.shape[2]
        normal = self._normal(slopes)
        modes, both, shapes = (
            normal[..., :count, :count],
            normal[..., :count, count:],
            normal[..., count:, count:],
        )
        known = modes - both @ torch.linalg.solve(shapes, both.mT)  # with the scene unknown
        uniform = 3 / self.most.square()[:, None, None, None]  # precision of a uniform prior
        precision = TEMPER * known + uniform * torch.eye(count, device=theta.device)
        covariance = torch.linalg.inv(precision)
        order = cost.argsort(1)
        most = self.most[:, None].expand_as(cost)
        evidence = -TEMPER * cost - torch.linalg.slogdet(precision)[1] / 2 - count * most.log()
        share = torch.softmax(evidence, 1)
        rows = torch.arange(len(order), device=order.device)
        error = self.log_power - expected[rows, order[:, 0]].log()
        loss = (1 + error.square() * self.plain / FREEDOM).log() * ((FREEDOM + 1) / 2)
        error = error * self.weight.sqrt()
        residual = torch.zeros_like(self.whole)
        half = self.pupil.side // 2
        residual[:, :half, : half + 1] = error[:, :half]
        residual[:, -half:, : half + 1] = error[:, half:]
        passed = self.used.float()
        return Found(
            self.cutoff,
            theta.gather(1, order[..., None].expand_as(theta)),
            share.gather(1, order),
            covariance.gather(1, order[..., None, None].expand_as(covariance)),
            cost.gather(1, order),
            residual,
            (self.share * passed).sum((1, 2)) / passed.sum((1, 2)),
            self.noise,
            loss.sum((1, 2)),
            most,
            evidence.gather(1, order),
        )

    def _descend(self, theta, scene, steps: int) -> tuple[torch.Tensor, ...]:
        """Modes, the scene's coefficients, cost, expected spectra and slopes after some steps."""
        count = theta.shape[2]
        most = self.most[:, None, None]
        damping = torch.full_like(theta[..., 0], 1e-2)
        expected, slopes = self._model(theta, scene)
        cost = self._cost(expected, scene)
        for _ in range(steps):
            error = (self.log_power[:, None] - expected.log()) * self.weight[:, None]
            downhill = (slopes.flatten(3) @ error.flatten(2)[..., None])[..., 0]
            downhill[..., count:] -= self.precision * scene
            normal = self._normal(slopes)
            size = normal.diagonal(dim1=-2, dim2=-1)
            ridge = damping[..., None] * size + 1e-6 * size.amax(-1, keepdim=True)
            step = torch.linalg.solve(normal + torch.diag_embed(ridge), downhill)
            tried = (theta + step[..., :count].clamp(-LARGEST_STEP, LARGEST_STEP)).clamp(
                -most, most
            )
            tried_scene = scene + step[..., count:]
            new_expected, new_slopes = self._model(tried, tried_scene)
            new_cost = self._cost(new_expected, tried_scene)
            better = new_cost < cost
            one = better[..., None]
            theta, scene = torch.where(one, tried, theta), torch.where(one, tried_scene, scene)
            cost = torch.where(better, new_cost, cost)
            expected = torch.where(one[..., None], new_expected, expected)
            slopes = torch.where(one[..., None, None], new_slopes, slopes)
            damping = torch.where(better, damping / 4, damping * 6).clamp(1e-5, 1e4)
        return theta, scene, cost, expected, slopes

    def _model(self, theta, scene, slopes: bool = True):
        """Expected spectra (n, R, ...), and the slopes of their logarithms (n, R, K + shapes, ...)."""
        light = self.mean + (scene @ self.shapes.flatten(1)).unflatten(2, self.mean.shape)
        light = light.clamp(-40, 40).exp() * self.transfer
        if not slopes:
            otf = self.pupil.otf(theta, self.modes)
            return leaked(along(otf, otf) * light) + self.level[:, None], None
        otf, change = self.pupil.otf_slopes(theta, self.modes)
        signal = leaked(along(otf, otf) * light)
        expected = signal + self.level[:, None]
        change = leaked(along(change, (otf * (2 * light))[:, :, None])) / expected[:, :, None]
        return expected, torch.cat([change, (signal / expected)[:, :, None] * self.shapes], 2)

    def _cost(self, expected, scene) -> torch.Tensor:
        error = (self.log_power[:, None] - expected.log()).square() * self.weight[:, None]
        return error.sum((-2, -1)) / 2 + (scene.square() * self.precision).sum(-1) / 2

    def _normal(self, slopes) -> torch.Tensor:
        """Normal matrices (n, R, K + shapes, K + shapes)."""
        flat, count = slopes.flatten(3), slopes.shape[2] - len(self.precision)
        prior = torch.cat([self.precision.new_zeros(count), self.precision]).diag()
        return (flat * self.weight.flatten(1)[:, None, None]) @ flat.mT + prior

    def _scene_of(self, theta) -> torch.Tensor:
        """The scene's coefficients (n, R, shapes) that fit best with given modes, where signal is seen."""
        otf = self.pupil.otf(theta, self.modes)
        passed = leaked(along(otf, otf) * self.transfer)
        signal = torch.maximum(self.power - self.level, LEAST_SIGNAL * self.level)
        weight = ((signal / (signal + self.level)).square() * self.weight).flatten(1)
        wanted = signal.log()[:, None] - passed.clamp_min(1e-7).log() - self.mean
        shapes = self.shapes.flatten(1)
        normal = (shapes * weight[:, None]) @ shapes.T + self.precision.diag()
        right = (wanted.flatten(2) * weight[:, None]) @ shapes.T
        return torch.linalg.solve(normal, right.mT).mT


class _Table:
    """Log spectra of CANDIDATES PSFs on a grid of frequencies relative to the cut-off."""

    def __init__(self, noll, most: float, scenes: SceneSpectra, device):
        self.scenes = scenes
        rng = torch.Generator().manual_seed(0)
        unit = 2 * torch.rand(CANDIDATES, len(noll), generator=rng) - 1
        # The other sign of all even modes, of which focus is one, is the same PSF.
        unit[:, 0].abs_()
        self.theta = most * unit.to(device)
        # At a cut-off of 0.25, every second frequency of a square is one of the grid.
        pupil = FullPupil(noll, SQUARE_PX, 0.25, SQUARE_PX)
        modes = pupil.modes(self.theta.new_full((1,), 0.25))
        y = torch.cat([torch.arange(GRID + 1), torch.arange(-GRID, 0)])[:, None]
        x = torch.arange(GRID + 1).expand(len(y), -1)
        y = y.expand_as(x)
        kept = ((x > 0) | (y > 0)) & (x.square() + y.square() <= GRID**2)
        y, x = y[kept].to(device), x[kept].to(device)
        step = 2 / SQUARE_PX / 0.25  # of the grid, in cut-offs
        self.y, self.x = y * step, x * step
        logs = [
            (leaked(pupil.otf(some[None], modes)[0].abs().square())[:, 2 * y, 2 * x] + FLOOR).log()
            for some in self.theta.split(256)
        ]
        self.logs = torch.cat(logs)
        self.squares = self.logs.square()

    def misfits(self, block: _Block, mine: torch.Tensor) -> torch.Tensor:
        """Half the weighted sums of squares (n, CANDIDATES), with the best scene for each candidate."""
        cutoff, level = block.cutoff[mine], block.noise[mine][:, None]
        fy, fx = self.y * cutoff[:, None], self.x * cutoff[:, None]
        power = _sampled(block.whole[mine][:, None], fy, fx)[:, 0]
        scenes = self.scenes
        shapes, mean, scatter = _sampled(
            torch.cat([scenes.shapes, scenes.mean[None], scenes.scatter[None]])[None], fy, fx
        ).split([len(scenes.shapes), 1, 1], 1)
        signal = torch.maximum(power - level, LEAST_SIGNAL * level)
        share = (signal / (signal + level)).square()
        seen = torch.hypot(fy, fx) * SQUARE_PX >= 2
        density = (
            cutoff[:, None] / 0.125
        ).square()  # frequencies of a square per point of the grid
        weight = share / (block.variance + share * scatter[:, 0]) * seen * density
        wanted = signal.log() - (torch.sinc(fy) * torch.sinc(fx)).square().log() - mean[:, 0]
        # Least squares for all candidates at once: the misfit without shapes, less what shapes explain.
        normal = (shapes * weight[:, None]) @ shapes.mT + block.precision.diag()
        basis = torch.linalg.solve_triangular(
            torch.linalg.cholesky(normal), shapes * weight[:, None], upper=False
        )
        explained = (basis @ wanted[..., None])[..., 0]
        found = weight @ self.squares.T
        found -= 2 * (wanted * weight - (explained[:, None] @ basis)[:, 0]) @ self.logs.T
        for one in basis.unbind(1):
            found -= (one @ self.logs.T).square_()
        return found / 2


def _taken(values: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    """values (n, R, ...) at which (n, kept)."""
    return values[torch.arange(len(which), device=which.device)[:, None], which]


def _sampled(planes: torch.Tensor, fy: torch.Tensor, fx: torch.Tensor) -> torch.Tensor:
    """Values (n, c, p) of spectra (n or 1, c, SQUARE_PX, SQUARE_PX // 2 + 1) at frequencies (n, p), linearly."""
    half = SQUARE_PX // 2
    planes = planes.roll(half, -2).expand(len(fy), -1, -1, -1)
    row, column = fy * SQUARE_PX + half, fx * SQUARE_PX
    place = torch.stack([column / half * 2 - 1, row / (SQUARE_PX - 1) * 2 - 1], -1)
    return F.grid_sample(planes, place[:, None], align_corners=True)[:, :, 0]
