"""The network for PSFs of single Zernike modes: a fit of the spectrum, and a small head that judges the fit.

`networks.whittle` finds candidates by the power spectrum. `networks.phases` tells which of them, and which of
two mirror images, the PSF is, and refines it. Neither has weights. The head sees how well all that went, in
numbers, and gives what a fit alone cannot know: half-widths that hold what they promise, the probability of the
mirror image, and the flags (no texture, processed, blurred by no PSF of the model). Windows are estimated one by
one.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn import functional as F

from isoplan.base.device import in_threads
from isoplan.networks import outputs
from isoplan.networks.onepass import TRACES, traces
from isoplan.networks.phases import RATIOS, Phases
from isoplan.networks.scene_spectra import SQUARE_PX, SceneSpectra, frequencies, welch
from isoplan.networks.whittle import CUTOFF_TEMPER, STARTS, Found, Whittle, joined, likeliest
from isoplan.optics.full_pupil import FullPupil, pixel_transfer

BANDS = 6  # of frequencies in which the fit's errors are summarised, up to twice the cut-off
SECTORS = 4  # of directions
BEYOND = (
    (1.0, 1.2),
    (1.2, 1.4),
    (1.4, 3.0),
)  # bands where only noise is left, relative to twice the cut-off
WINDOWS, AT_ONCE = 8, 2  # windows that are described, and transformed, at a time
KERNEL_PX = 81  # period of the PSFs that candidates are compared by
LEAST_PX = 2 * SQUARE_PX  # of a window
# Where amplitudes may be small: largest ones that are tried, relative to the one told, and the starts of each.
LEVELS = ((1.0, 12), (0.5, 6), (0.25, 6))
DRAWS = 4  # from the posterior around each candidate, for the mean PSF
SCALE = 0.03  # of differences between logarithms of sparsity
# Share of the spectrum's precision that holds back the refinement, as the candidate may be a wrong one.
HELD = 0.25
CUTOFF_ERROR = 0.05  # of a cut-off that was found, relative
REFINING = 2500.0  # weight of the phases that halves a candidate's covariance
LEAST_SHARE = 1e-3  # of a cut-off that counts


@dataclass(frozen=True)
class Identified:
    """The PSFs of n windows.

    Attributes
    ----------
    fits
        All candidates: a fit for each cut-off that was tried, of one if that was given.
    likely
        (n, fits) how likely each cut-off is; of sum 1.
    theta
        (n, K) modes of the likeliest one, refined (`Phases.refined`).
    evidence
        (n, len(RATIOS)) for it against its mirror image: differences of log sparsity over SCALE.
    weight
        (n,) what a unit of log sparsity counts, from `Phases.weight`.
    """

    fits: list[Found]
    likely: torch.Tensor
    theta: torch.Tensor
    evidence: torch.Tensor
    weight: torch.Tensor

    @property
    def found(self) -> Found:
        """The fit with the likeliest cut-off."""
        return likeliest(self.fits, self.likely.argmax(1))

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        return self.likely, self.theta, self.evidence, self.weight


class WhittleFit(nn.Module):
    """The spectrum fit for models of single Zernike modes, with the interface of a network.

    Parameters
    ----------
    window_px
        Side of a window, at least LEAST_PX.
    model
        The PSF model, of `optics.zernike_modes`.
    width
        Hidden units of the head.

    Raises ValueError if the window or the model does not suit.
    """

    @classmethod
    def of(cls, spec: dict, window_px: int, model) -> "WhittleFit":
        """The network of an entry of the config's `networks`."""
        return cls(window_px, model, spec.get("head_width", 64))

    def __init__(self, window_px: int, model, width: int = 64):
        super().__init__()
        if not hasattr(model, "noll"):
            raise ValueError(
                f"whittle-fit is for models of single Zernike modes, not for {model.spec['model']}"
            )
        if window_px < LEAST_PX:
            raise ValueError(f"window_px {window_px} is below {LEAST_PX}, two squares")
        self.window_px, self.model = window_px, model
        self.scenes = SceneSpectra()
        self.fit = Whittle(model.noll, self.scenes)
        count = len(model.parameters)
        described = 9 + 2 * count + 2 * BANDS + SECTORS + len(BEYOND) + len(TRACES) + len(RATIOS)
        self.norm = nn.BatchNorm2d(described)
        self.body = nn.Sequential(
            nn.Conv2d(described, width, 1), nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU()
        )
        self.spread_head = nn.Conv2d(width, count, 1)
        self.flag_head = nn.Conv2d(width, outputs.FLAGS, 1)
        # No constant: evidence of 0 is a probability of 1/2.
        self.mirror_head = nn.Conv2d(len(RATIOS), 1, 1, bias=False)
        nn.init.constant_(self.mirror_head.weight, 0.5)

    @property
    def unprepared(self) -> bool:
        """Whether `prepare` has yet to be called."""
        return bool((self.scenes.variances == self.scenes.variances[0]).all())

    def prepare(self, scenes) -> None:
        """Learn how spectra of scenes vary, from blocks (n, h, w) of sharp ones."""
        self.scenes.learn(scenes)

    def forward(self, picture, stride_px: int | None = None, cutoff=None) -> torch.Tensor:
        """(n, 1, h, w) -> (n, channels, ny, nx), as `OnePass.forward`; cutoff: (n,) cycles/px."""
        return self.regress(self.fixed_features(picture, stride_px, cutoff))

    @torch.no_grad()
    def fixed_features(self, picture, stride_px: int | None = None, cutoff=None):
        """What does not depend on the head's weights, for each window.

        Returns
        -------
        targets
            (n, T, ny, nx) of the fit.
        described
            (n, ., ny, nx) numbers about the fit.
        evidence
            (n, len(RATIOS), ny, nx) for the mirror image that is shown, see `Identified`.
        """
        window, stride = self.window_px, stride_px or self.window_px
        if cutoff is None:
            cutoff = picture.new_full((len(picture),), self.model.cutoff)
        views = picture[:, 0].unfold(1, window, stride).unfold(2, window, stride)
        n, ny, nx = views.shape[:3]
        places = torch.cartesian_prod(
            *(torch.arange(c, device=picture.device) for c in (n, ny, nx))
        )

        def describe(some: torch.Tensor):
            return self._describe(views[some.unbind(1)].float(), cutoff[some[:, 0]])

        with torch.autocast(picture.device.type, enabled=False):
            parts = in_threads(describe, places.split(WINDOWS), picture.device)
        targets, described, evidence = (torch.cat(part) for part in zip(*parts, strict=True))
        seen = traces(picture.float(), window, stride).permute(0, 2, 3, 1).flatten(0, 2)
        found = targets, torch.cat([described, seen], 1), evidence
        return tuple(v.unflatten(0, (n, ny, nx)).permute(0, 3, 1, 2) for v in found)

    def regress(self, fixed) -> torch.Tensor:
        """Outputs (n, channels, ny, nx) from `fixed_features`."""
        targets, _, evidence = fixed
        features = self.features(fixed)
        mirror = [self.mirror_head(evidence)] if self.model.mirrors else []
        return torch.cat(
            [targets, self.spread_head(features), *mirror, self.flag_head(features)], 1
        )

    def features(self, fixed) -> torch.Tensor:
        """Inputs of the heads for each window, (n, ., ny, nx)."""
        return self.body(self.norm(fixed[1]))

    def _describe(self, windows, cutoff) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Targets, numbers about the fit, and the mirror's evidence, for windows (n, h, w)."""
        known = self.identify(windows, cutoff, smaller=self.model.scale[0] < 1)
        found, theta, evidence = known.found, known.theta, known.evidence
        described = [
            *self._about_candidates(found, theta),
            *_about_errors(found.residual, cutoff),
            *_about_noise(windows, found.noise, cutoff),
            cutoff.log()[:, None],
            (found.signal / (1 - found.signal).clamp_min(1e-3)).clamp_min(1e-4).log()[:, None],
            known.weight.log1p()[:, None],
            evidence,
        ]
        return self.model.encode(theta), torch.cat(described, 1), evidence

    @torch.no_grad()
    def identify(self, windows, cutoff=None, most_waves=None, smaller: bool = False) -> Identified:
        """The PSFs of windows (n, h, w), without the head.

        cutoff: (n,) cycles/px; found within the model's range if not given, which takes about 1.4 times
        as long. most_waves: (n,) largest amplitude of a mode; the model's if not given. smaller: whether the
        amplitudes may all be smaller (LEVELS), where the cut-off is given.
        """
        if most_waves is None:
            most_waves = windows.new_full((len(windows),), self.model.most_waves)
        if cutoff is None:
            fits = self.fit.without_cutoff(windows, *self.model.cutoff_range, most_waves)
        else:
            levels = LEVELS if smaller else ((1.0, STARTS),)
            fits = [self.fit(windows, cutoff, most_waves, levels)]
        parts = [
            self._phased(windows[some], [fit[some] for fit in fits])
            for some in torch.arange(len(windows), device=windows.device).split(AT_ONCE)
        ]
        fits = [joined(fit) for fit in zip(*(part.fits for part in parts), strict=True)]
        rest = zip(*(part.tensors for part in parts), strict=True)
        return Identified(fits, *(torch.cat(values) for values in rest))

    def _phased(self, windows, fits: list[Found]) -> Identified:
        """The sparsest of all candidates and their mirror images, refined."""
        side = windows.shape[-1]
        pupil = FullPupil(self.model.noll, side, 0.25, side)
        otfs = [pupil.otf(fit.theta, pupil.modes(fit.cutoff)) for fit in fits]
        loss = CUTOFF_TEMPER * torch.stack([fit.loss for fit in fits], 1)
        passed = torch.stack([_mean_modulus(*pair) for pair in zip(otfs, fits, strict=True)], 1)
        passed = (passed * torch.softmax(-loss, 1)[..., None, None]).sum(1)
        phases = Phases.of(windows, passed * pixel_transfer(side, 1, windows.device), fits[0].noise)
        # (n, fits, candidates, mirror images)
        sparsity = torch.stack([_both_sparsities(phases, otf) for otf in otfs], 1)
        weight = phases.weight(sparsity)
        told = weight[:, None, None] * sparsity.amin(3)
        likely = torch.softmax(-loss - told.amin(2), 1)
        fits = [
            replace(fit, share=torch.softmax(fit.evidence - told[:, k], 1))
            for k, fit in enumerate(fits)
        ]
        chosen = likely.argmax(1)
        found = likeliest(fits, chosen)
        best = found.share.argmax(1)
        rows = torch.arange(len(windows), device=windows.device)
        one, other = sparsity[rows, chosen, best].unbind(1)
        start = found.theta[rows, best]
        sign = torch.where((other < one)[:, None], self.model.mirrored(torch.ones_like(start)), 1.0)
        covariance = found.covariance[rows, best] * sign[:, :, None] * sign[:, None]
        place, held = start * sign, HELD * torch.linalg.inv(covariance)
        if len(fits) > 1:
            place, cutoff = self._refined_with_cutoff(phases, place, found.cutoff, weight, held)
            found = replace(found, cutoff=cutoff)
            modes = pupil.modes(cutoff)
        else:
            modes = pupil.modes(found.cutoff)
            place = phases.refined(
                place, weight, held, lambda k, one: pupil.otf(one, modes[k : k + 1])
            )
        most = found.most.amax(1, keepdim=True)
        theta = place.clamp(-most, most)
        found.theta[rows, best] = theta
        found.covariance[rows, best] = covariance / (1 + weight / REFINING)[:, None, None]
        otf = pupil.otf(theta[:, None], modes)
        one, other = (phases.log_sparsity(v)[:, 0] for v in (otf, otf.conj()))
        evidence = (other - one) / SCALE
        turned = evidence.sum(1, keepdim=True) < 0
        return Identified(
            [fit.where(chosen == k, found) for k, fit in enumerate(fits)],
            likely,
            torch.where(turned, self.model.mirrored(theta), theta),
            torch.where(turned, -evidence, evidence),
            weight,
        )

    def _refined_with_cutoff(self, phases: Phases, theta, cutoff, weight, precision):
        """Modes (n, K) and cut-offs (n,), both refined."""
        count, (low, high) = theta.shape[1], self.model.cutoff_range
        pupil = FullPupil(self.model.noll, phases.shape[-1], 0.25, phases.shape[-1])

        def changed(at: torch.Tensor, log_ratio: torch.Tensor) -> torch.Tensor:
            return (at * log_ratio.exp()).clamp(low, high)

        def otf_of(k: int, place: torch.Tensor) -> torch.Tensor:
            at = changed(cutoff[k : k + 1], place[0, :, count])
            return pupil.otf(place[..., :count], pupil.modes(at))

        precision = F.pad(precision, (0, 1, 0, 1))
        precision[:, count, count] = 1 / CUTOFF_ERROR**2
        place = phases.refined(F.pad(theta, (0, 1)), weight, precision, otf_of)
        return place[:, :count], changed(cutoff, place[:, count])

    def mean_psfs(self, known: Identified, size_px: int) -> torch.Tensor:
        """Posterior mean PSFs (n, size_px, size_px), see `mean_psfs`."""
        return mean_psfs(known, self.model, size_px)

    def _about_candidates(self, found: Found, theta) -> list[torch.Tensor]:
        spread = posterior_spread(found, theta, self.model) / self.model.most_waves
        size = theta.abs() / self.model.most_waves
        few = -(found.share * found.share.clamp_min(1e-9).log()).sum(1, keepdim=True)
        misfit = found.misfit[:, :1].clamp_min(1e-3)
        gaps = (found.misfit[:, [1, 4]] - misfit).clamp_min(1e-2).log()
        whole = theta.square().sum(1, keepdim=True).sqrt() / self.model.most_waves
        return [spread.clamp_min(1e-3).log(), size, few, misfit.log(), gaps, whole]


def _mean_modulus(otf: torch.Tensor, found: Found) -> torch.Tensor:
    """Mean modulus (n, ...) of the OTFs (n, R, ...) of candidates."""
    return (otf.abs() * found.share[..., None, None]).sum(1)


def _both_sparsities(phases: Phases, otf: torch.Tensor) -> torch.Tensor:
    """log sparsities (n, R, 2) with the strongest filter, of candidates and their mirror images."""
    last = slice(-1, None)
    return torch.cat([phases.log_sparsity(v, last) for v in (otf, otf.conj())], 2)


def posterior_spread(found: Found, theta: torch.Tensor, model) -> torch.Tensor:
    """Standard deviations (n, K) of the modes about theta (n, K), modulo the signs of even and of odd modes."""
    others = model.nearest(found.theta, theta[:, None])
    square = (others - theta[:, None]).square() + found.covariance.diagonal(dim1=-2, dim2=-1)
    return (found.share[..., None] * square).sum(1).sqrt()


def candidate_psfs(
    theta: torch.Tensor, cutoff: torch.Tensor, noll: tuple[int, ...]
) -> torch.Tensor:
    """Periodic PSFs (n, R, KERNEL_PX, KERNEL_PX) of modes (n, R, K), with the middle at [0, 0], of sum 1."""
    pupil = FullPupil(noll, KERNEL_PX, 0.25, KERNEL_PX)
    transfer = pixel_transfer(KERNEL_PX, 1, theta.device)
    parts = [
        torch.fft.irfft2(pupil.otf(some, pupil.modes(at)) * transfer, s=(KERNEL_PX, KERNEL_PX))
        for some, at in zip(theta.split(AT_ONCE), cutoff.split(AT_ONCE), strict=True)
    ]
    return torch.cat(parts)


@torch.no_grad()
def mean_psfs(known: Identified, model, size_px: int) -> torch.Tensor:
    """Posterior mean PSFs, of the mirror images that `known.theta` shows.

    They have the least expected square error, and where a window says little they come to the mean over all
    PSFs of the model.

    Parameters
    ----------
    known
        From `WhittleFit.identify`.
    model
        The PSF model.
    size_px
        Side of the PSFs, odd, at most KERNEL_PX.

    Returns
    -------
    torch.Tensor
        (n, size_px, size_px), of sum 1.
    """
    shown = candidate_psfs(known.theta[:, None], known.found.cutoff, model.noll)
    shown = _cropped(shown, size_px)[:, 0]
    mean = torch.zeros_like(shown)
    for found, likely in zip(known.fits, known.likely.unbind(1), strict=True):
        drawn, share = _drawn(found), found.share / DRAWS
        share = (share * likely[:, None]).repeat_interleave(DRAWS, 1)
        for k in (likely > LEAST_SHARE).nonzero()[:, 0].tolist():
            psfs = candidate_psfs(drawn[k : k + 1], found.cutoff[k : k + 1], model.noll)
            psfs = _cropped(psfs, size_px)[0]
            back = psfs.flip(-1, -2)
            nearer = (psfs * shown[k]).sum((1, 2)) >= (back * shown[k]).sum((1, 2))
            psfs = torch.where(nearer[:, None, None], psfs, back)
            mean[k] += (psfs * share[k, :, None, None]).sum(0)
    return mean / mean.sum((1, 2), keepdim=True)


def _drawn(found: Found) -> torch.Tensor:
    """DRAWS from the posterior around each candidate, (n, R DRAWS, K)."""
    most = found.most[..., None]
    count, modes = found.theta.shape[1:]
    # With a uniform prior, whose precision is 3 / most^2, a candidate's posterior is centred nearer to 0.
    centre = (
        found.theta - (found.covariance @ (found.theta * (3 / most.square()))[..., None])[..., 0]
    )
    root = torch.linalg.cholesky(found.covariance)
    rng = torch.Generator().manual_seed(0)
    normal = torch.randn(1, count, DRAWS, modes, generator=rng).to(centre.device)
    drawn = centre[:, :, None] + (root[:, :, None] @ normal[..., None])[..., 0]
    most = 1.2 * most[..., None]
    return drawn.clamp(-most, most).flatten(1, 2)


def _cropped(psfs: torch.Tensor, size_px: int) -> torch.Tensor:
    """Periodic PSFs with the middle at [0, 0], cropped to (..., size_px, size_px), of sum 1."""
    half = size_px // 2
    crop = psfs.roll((half, half), (-2, -1))[..., :size_px, :size_px].clamp_min(0)
    return crop / crop.sum((-2, -1), keepdim=True)


def _about_errors(residual: torch.Tensor, cutoff: torch.Tensor) -> list[torch.Tensor]:
    """Means and sizes of the fit's errors by band of frequencies, and means by direction."""
    device = residual.device
    place = frequencies(device) / (2 * cutoff[:, None, None])
    seen = residual != 0
    band = [seen & (place >= k / BANDS) & (place < (k + 1) / BANDS) for k in range(BANDS)]
    y = torch.fft.fftfreq(SQUARE_PX, device=device)[:, None]
    x = torch.fft.rfftfreq(SQUARE_PX, device=device)
    angle = torch.remainder(torch.atan2(y, x.expand(SQUARE_PX, -1)), math.pi) * (SECTORS / math.pi)
    middle = seen & (place < 0.5)
    sector = [middle & (angle >= k) & (angle < k + 1) for k in range(SECTORS)]
    means = torch.stack([_mean(residual, part) for part in band], 1)
    sizes = torch.stack([_mean(residual.square(), part).clamp_min(1e-3).log() for part in band], 1)
    return [means, sizes, torch.stack([_mean(residual, part) for part in sector], 1)]


def _about_noise(windows, noise, cutoff) -> list[torch.Tensor]:
    """Whether what is left beyond twice the cut-off is white: its power by band, relative to the noise."""
    power = welch(windows) / noise[:, None, None].clamp_min(1e-30)
    place = frequencies(windows.device) / (2 * cutoff[:, None, None])
    bands = [_mean(power, (place >= low) & (place < high)) for low, high in BEYOND]
    level = noise / windows.square().mean((1, 2)).clamp_min(1e-30)
    return [
        torch.stack(bands, 1).clamp(1e-4, 1e4).log(),
        level.clamp_min(1e-12).log()[:, None],
    ]


def _mean(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    return (values * where).sum((1, 2)) / where.sum((1, 2)).clamp_min(1)
