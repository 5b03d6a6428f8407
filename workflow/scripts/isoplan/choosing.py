"""How much to restore, chosen from the picture alone: by which PSFs, how many iterations, which TV weight.

Photons are held out. Each photon of a picture goes into its test part with probability HELD_OUT and
else into its fit part; thinned so, Poisson numbers become two independent ones. The fit part is
restored, and what its restoration says the camera would see is compared with the test part, which it
never saw: too few iterations miss structure that is there, too many predict noise that does not come
again. All photons are then restored with what does best. Iterations and weight are compared by squared
errors, as SNR counts squares: the Poisson deviance weighs dark ground by its small variance, and chose too smooth
where bright things lie on it. PSFs are compared by the deviance, which is most sensitive where light is least.

PSFs that were estimated are in doubt themselves. A specimen's own softness counts as blur, so that they are
too wide more often than too narrow, and too wide does far more harm: detail that is there is sharpened
into noise and rings. Photons held out tell a PSF that is too wide, for an object without negative light
cannot explain detail finer than its PSF. So narrower PSFs are tried as well (`LocalPsfs.narrowed`), and

- PSFs serve whose width is the mean of what may be true: as the map's intervals say of it, times
  exp(-TRUST z^2 / 2), z being by how many standard errors a width does worse than the best one. These errors are
  of the differences in squares of BLOCK_PX (several thinnings of a piece share their photons);
- PSFs under LEAST_PX are none: they are a specimen's softness as likely as blur, and what could be gained
  is less than what could be lost. Noise alone is taken away then;
- what PSFs that are in doubt restore is shown through a Gaussian (`resolution_for`): detail finer than
  what pixels and photons can hold is where PSFs that are a little too wide ring.

The fit part has 1 - HELD_OUT of the photons, so it is restored with 1 / (1 - HELD_OUT) times the
weight: what suits goes about as one over the photons. Its iterations are taken as they are.

It takes as many restorations of MOST_ITERATIONS as there are pieces times PSFs and weights, of PIECE_PX and a
margin a side: a bounded time for a mosaic of any size, more than its restoration takes where that has few cores.
The study `how-much` compares iterations and weight with the best possible ones, `no-harm` what comes of it all
where PSFs are in doubt.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from isoplan.base.progress import Progress
from isoplan.base.seeds import numpy_rng
from isoplan.deconvolution import richardson_lucy
from isoplan.exposure import Exposure, exposure_of, sort_pixels, thin
from isoplan.halo import MOST_ITERATIONS, MOST_RESOLUTION_PX
from isoplan.mosaic.measure import levels
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.pieces import PIECES, Piece, pieces_of
from isoplan.raw_noise import look_at_noise
from isoplan.restoration import LocalPsfs

HELD_OUT = 0.3

# TV weights to choose from, times the photons at the brightest pixels. The fewer the photons, the fewer of
# them are tried: no weight above LARGEST_WEIGHT. Where the first or the last does best, others follow beyond
# it, each by a FURTHER: downwards to about LEAST, as where few points shine, which the blur has spread over many
# dark pixels; upwards as where compression took the noise by which photons are counted. PSFs are compared
# by those of COMPARED, narrower ones by the best for the map's own and the next larger, as they need no less.
WEIGHTS, COMPARED = (1.0, 2.0, 5.0, 12.0, 30.0), (1.0, 5.0, 12.0)
LARGEST_WEIGHT, LEAST, FURTHER = 0.3, 0.001, 4.0

# PSFs that are tried: the map's own, and those narrower by these factors while they do not much worse than the
# best; then those beside the best one. What is said of them in z is trusted by some half, as widths are
# compared by few weights, and a PSF of another kind than the true one is not all wrong.
FACTORS, BESIDE, MUCH_WORSE, TRUST = (1.0, 0.85, 0.7, 0.55, 0.4), 1.1, 6.0, 0.6
LEAST_DOUBT, LEAST_PX, BLOCK_PX = 0.15, 1.3, 32
# Blur of such a width is seen; less may be none, which is tried too, and has to do worse by so many standard errors.
SURE_PX, SURE = 4.0, 3.0
# A trial ends once its errors have grown over so many looks; iterations are alike that differ by fewer standard
# errors.
ENOUGH, ALIKE = 4, 0.5

# Where the blur is none of the PSF model's more iterations than so many do harm: those of a wrong PSF foretell photons
# better and better all the same. It is where most of a map says so, or where PSFs have to be made so much narrower.
MOST_OTHER, MUCH_NARROWER = 8, 0.8

# More noise than so many times what the gain makes is no noise; such a share of cells that raise the alarm is much.
MUCH_NOISE, ALARMED = 4.0, 0.2

# What is taken where the photons cannot be counted and the iterations are given.
UNJUDGED_WEIGHT = 0.001
GIVEN = "give the gain, or iterations and a TV weight,"
FORCED = "give a psf_scale (1, or --force, takes the map as it is)"


@dataclass
class Trial:
    """How well the photons held out are foretold with PSFs narrower by a factor and a TV weight, after each
    number of iterations, in every square of BLOCK_PX: squares, the squared error in electrons^2, and deviance, both
    (iterations, blocks)."""

    factor: float
    tv_weight: float
    squares: np.ndarray
    deviance: np.ndarray

    @property
    def likeliest(self) -> np.ndarray:
        """The deviance of every square after the iterations that do best by it."""
        return self.deviance[self.deviance.sum(1).argmin()]

    @property
    def errors(self) -> np.ndarray:
        """Squared errors after each number of iterations; what the next one does not bear out does not count."""
        errors = self.squares.sum(1)
        return np.maximum(errors, np.append(errors[1:], errors[-1]))

    @property
    def best(self) -> int:
        """Place of the iterations that do best."""
        return int(self.errors.argmin())

    @property
    def place(self) -> int:
        """Of the fewest iterations that do no worse than the best by more than ALIKE standard errors."""
        best = self.squares[self.best]
        return next(k for k in range(self.best + 1) if worse_by(self.squares[k], best) <= ALIKE)


def worse_by(one: np.ndarray, other: np.ndarray) -> float:
    """By how many standard errors the sum over all squares is larger, infinite where it cannot be told."""
    apart = one - other
    if not np.isfinite(apart).all():
        return math.inf
    error = math.sqrt(len(apart)) * float(apart.std())
    return float(apart.sum()) / error if error else 0.0


def choose_for(
    mosaic, local: LocalPsfs, facts: dict, settings: dict, *, seed: int, stream: str, device="cpu"
) -> dict:
    """PSFs, iterations and TV weight for a mosaic, as `choose` has it, by a few pieces of it.

    Where its map cannot be believed less is done: nothing where more cells raise the alarm than are valid, as photons
    cannot be counted then; and noise alone is taken away where no cell is valid, where few of all cells raise the alarm
    but fewer are valid, or where a sharp picture that raises it has a raw one's noise all the same. Nor is
    anything done where the noise is not that of a raw picture (`raw_noise`); its strength corrects the gain.
    What is not "auto" in settings, the config's `restoration`, is taken all the same. facts: of
    `mosaic.measure`, with offset, gain, read_noise_e.
    """
    exposure, known = exposure_of(facts, settings["background"]), levels(facts)
    pieces = pieces_of(mosaic, local, facts, order=settings["order"], device=device)
    said, most = [], None
    if settings["psf_scale"] == "auto" and exposure.gain:
        whole_numbers = np.dtype(facts["dtype"]).kind in "ui"
        sums, noise = local.sums, look_at_noise(pieces, exposure, whole_numbers)
        alarmed = sums and sums["alarm_cells"] > sums["valid_cells"]
        why = noise.fault
        if alarmed and sums["alarm_cells"] > ALARMED * sums["cells"] and (why or not noise.sharp):
            why = "most of its map raises the alarm: it is no raw camera picture of a thin sample"
        if why:
            return _unjudged(settings, why, known["scale"] / exposure.gain, FORCED)
        if alarmed:
            said.append("more of the map raises the alarm than is valid")
        if sums and not sums["valid_cells"]:
            said.append("no cell of the map is valid")
        if noise.times > MUCH_NOISE:
            said.append(
                f"where the PSFs pass nothing is {noise.times:.2g} times the noise that its gain makes"
            )
        elif noise.times != 1:
            gain = noise.times * exposure.gain
            exposure = replace(exposure, gain=gain, floor=noise.times * exposure.floor)
        if said:
            settings = settings | {"psf_scale": 0}
        elif sums and 2 * sums["other_blur_cells"] > sums["valid_cells"]:
            most = MOST_OTHER
        if noise.times != 1 and noise.times <= MUCH_NOISE:
            said.append(f"its noise is that of {exposure.gain:.3g} counts per electron")
    how = {"exposure": exposure, "most": most, "seed": seed, "stream": stream}
    choice = choose(pieces, settings, **known, **how)
    return choice | {"reason": "; ".join([*said, choice["reason"]])}


def choose(
    pieces: list[Piece],
    settings: dict,
    *,
    exposure: Exposure,
    start: float,
    scale: float,
    seed: int,
    stream: str,
    most: int | None = None,
) -> dict:
    """PSFs, iterations and TV weight for a picture, or for a mosaic by a few pieces of it.

    settings: the config's `restoration`; what is not "auto" there stays as it is. exposure: of the
    mosaic, whose gain may be None. start, scale: of `measure.levels`. most: iterations with PSFs, unless
    they are given.
    seed, stream: which photons are held out is a pure function of them.

    Returns psf_scale (how much narrower the PSFs are, 0 for none), resolution_px, iterations, tv_weight,
    reason (a sentence), photons (at `scale`; None where the gain is not known); widths: for each factor
    tried, falling, psf_scale, width_px of the median PSF and worse, by how many standard errors it
    foretells the photons worse than the best of them; and curves: for each weight tried with the PSFs taken,
    rising, tv_weight, iterations and the mean squared error, in electrons^2 a pixel. Where nothing can be judged both lists are
    empty, and iterations that are not given are 0: the picture is left as it is.
    """
    photons = scale / exposure.gain if exposure.gain else None
    pieces = [piece for piece in pieces if (piece.counts[piece.judged] > 0).any()]
    if photons is None or not pieces:
        why = "the camera's gain is not known" if photons is None else "no light is known"
        return _unjudged(settings, why, photons)
    turns = -(-PIECES // len(pieces))
    judges = [
        _Judge(piece, exposure, [numpy_rng(seed, stream, k * turns + t) for t in range(turns)])
        for k, piece in enumerate(pieces)
    ]
    judges = [judge for judge in judges if judge.pixels]
    if not judges:
        return _unjudged(settings, "no pixel is usable", photons)
    return _Search(judges, settings, photons, {"start": start, "scale": scale}, most).choice()


class _Search:
    """All that is tried for one picture."""

    def __init__(
        self, judges: list["_Judge"], settings: dict, photons: float, levels: dict, most: int | None
    ):
        self.judges, self.settings, self.photons, self.levels = judges, settings, photons, levels
        self.most = most
        self.iterations = candidates(settings)
        self.trials: dict[tuple[float, float], Trial] = {}

    def choice(self) -> dict:
        factor = self.factor()
        resolution = self.settings["resolution_px"]
        if resolution == "auto":
            resolution = resolution_for(self.photons) if factor and self.doubt else 0.0
        tried = self.compared()
        if self.settings["psf_scale"] == "auto" and 0 < factor < MUCH_NARROWER:
            self.most = MOST_OTHER
        if factor and self.most and self.settings["iterations"] == "auto":
            self.shorten()
        self.try_all([factor], weights_for(self.settings, self.photons, WEIGHTS), "TV weights")
        self.look_beyond(factor)
        taken = self.smoothest(factor)
        return {
            "psf_scale": factor,
            "resolution_px": resolution,
            "iterations": self.iterations[taken.place],
            "tv_weight": taken.tv_weight,
            "reason": self.reason(factor),
            "photons": self.photons,
            "widths": [
                {"psf_scale": f, "width_px": self.width_px(f), "worse": worse}
                for f, worse in sorted(tried.items(), reverse=True)
            ],
            "curves": [
                {
                    "tv_weight": trial.tv_weight,
                    "iterations": np.array(self.iterations)[np.isfinite(trial.errors)].tolist(),
                    "error": (trial.errors[np.isfinite(trial.errors)] / self.pixels).tolist(),
                }
                for trial in sorted(self.of(factor), key=lambda trial: trial.tv_weight)
            ],
        }

    def width_px(self, factor: float) -> float:
        return float(np.median([judge.piece.width_by(factor) for judge in self.judges]))

    @property
    def pixels(self) -> int:
        return sum(judge.pixels for judge in self.judges)

    @cached_property
    def doubt(self) -> float | None:
        """Of the PSFs' width, as a share of it; None where they are known."""
        doubts = [judge.piece.doubt for judge in self.judges if judge.piece.doubt is not None]
        return max(float(np.median(doubts)), LEAST_DOUBT) if doubts else None

    def factor(self) -> float:
        """How much narrower than the map's the PSFs are that serve, 0 for none."""
        if not self.width_px(1.0):
            return 0.0  # no PSF is known
        if self.settings["psf_scale"] != "auto":
            return self.settings["psf_scale"]
        if self.doubt is None:
            return 1.0
        if self.width_px(1.0) < LEAST_PX:
            return 0.0
        weights = self.compare()
        factor = mean_factor(self.compared(), self.doubt)
        width = self.width_px(factor)
        if width < LEAST_PX:
            return 0.0
        if width < SURE_PX:
            self.try_all([0.0], weights, "no PSF")
            if self.compared()[0.0] < SURE:
                return 0.0
        return factor

    def compare(self) -> list[float]:
        """Tries PSFs of several widths; returns the weights that they were tried with."""
        weights = weights_for(self.settings, self.photons, COMPARED)
        self.try_all(FACTORS[:1], weights, "PSFs")
        own = weights.index(self.likeliest(1.0).tv_weight)
        weights = weights[own : own + 2]
        for factor in FACTORS[1:]:
            self.try_all([factor], weights, f"PSFs {factor:g} times as wide")
            if self.compared()[factor] > MUCH_WORSE:
                break
        found = self.compared()
        best = min(found, key=found.get)
        beside = [round(best * by, 2) for by in (1 / BESIDE, BESIDE)]
        self.try_all(beside, weights, "PSFs of widths between")
        return weights

    def compared(self) -> dict[float, float]:
        """Factor -> by how many standard errors its PSFs do worse than the best of all that were tried."""
        best_of = {factor: self.likeliest(factor) for factor, _ in self.trials}
        if not best_of:
            return {}
        best = min((trial.likeliest for trial in best_of.values()), key=np.sum)
        return {f: max(worse_by(trial.likeliest, best), 0.0) for f, trial in best_of.items()}

    def shorten(self) -> None:
        """Leaves iterations beyond `most` out."""
        self.iterations = [n for n in self.iterations if n <= self.most]
        for trial in self.trials.values():
            trial.squares = trial.squares[: len(self.iterations)]
            trial.deviance = trial.deviance[: len(self.iterations)]

    def of(self, factor: float) -> list[Trial]:
        return [trial for (f, _), trial in self.trials.items() if f == factor]

    def likeliest(self, factor: float) -> Trial:
        return min(self.of(factor), key=lambda trial: trial.likeliest.sum())

    def most_exact(self, factor: float) -> Trial:
        return min(self.of(factor), key=lambda trial: trial.errors.min())

    def smoothest(self, factor: float) -> Trial:
        """That of the largest weight which does no worse than the best by more than a standard error."""
        best = self.most_exact(factor)
        alike = [
            trial
            for trial in self.of(factor)
            if worse_by(trial.squares[trial.best], best.squares[best.best]) <= 1
        ]
        return max(alike, key=lambda trial: trial.tv_weight)

    def try_all(self, factors: list[float], weights: list[float], what: str) -> None:
        """Tries what was not tried yet, piece by piece, so that one piece's blurs are held at a time."""
        new = [(f, w) for f in factors for w in weights if (f, w) not in self.trials]
        bar = Progress(
            f"judging {what} by held-out photons, restorations", len(new) * len(self.judges)
        )
        found = {key: [] for key in new}
        for judge in self.judges:
            for factor in dict.fromkeys(f for f, _ in new):
                blur = judge.piece.blur_by(factor)
                for key in (key for key in new if key[0] == factor):
                    found[key].append(
                        judge.look(blur, self.iterations, key[1], self.settings, **self.levels)
                    )
                    bar.step()
        for key, parts in found.items():
            whole = np.nan_to_num(np.concatenate(parts, axis=2), nan=np.inf)
            self.trials[key] = Trial(*key, *whole)

    def look_beyond(self, factor: float) -> None:
        """More weights, where the least or the largest one does best."""
        gain = self.judges[0].exposure.gain
        brightest = max(self.photons, *(judge.brightest / gain for judge in self.judges))
        found = {trial.tv_weight for trial in self.of(factor)}
        while self.settings["tv_weight"] == "auto" and (
            weight := beyond(self.most_exact(factor).tv_weight, found, brightest)
        ):
            self.try_all([factor], [weight], f"a TV weight of {weight:g} too")
            found.add(weight)

    def reason(self, factor: float) -> str:
        """Why, in words."""
        share, photons = f"{100 * HELD_OUT:.0f} %", f"the brightest pixels have {self.photons:.3g}"
        if not factor:
            return (
                f"PSFs do not foretell the {share} of the photons that were held out, or not surely enough; "
                f"{photons}"
            )
        best = f"foretell best the {share} of the photons that were held out; {photons}"
        if self.most:
            best += ". Few iterations, as the blur is hardly one of the PSF model's"
        if factor == 1:
            return f"they {best}"
        return f"they {best}. Detail in the picture is finer than PSFs as wide as estimated allow, or may be"


def mean_factor(worse: dict[float, float], doubt: float) -> float:
    """Mean of the factors by which the true PSFs may be narrower than the map's, with two digits.

    worse: factor -> by how many standard errors it does worse than the best. doubt: deviation of the map's
    widths, as a share.
    """
    tried = sorted(worse)
    at = np.linspace(tried[0], tried[-1], 201)
    squares = np.interp(at, tried, [worse[factor] ** 2 for factor in tried])
    share = np.exp(-TRUST * squares / 2 - ((at - 1) / doubt) ** 2 / 2)
    return round(float((share * at).sum() / share.sum()), 2)


def resolution_for(photons: float) -> float:
    """Full width at half maximum, in px, of the Gaussian that a restoration is shown through.

    The fewer the photons, the less fine is what they hold: 0.5 px at 10^4 photons at the brightest pixels,
    a quarter of a pixel more for every tenth of them; from some 3 x 10^4 photons on none.
    """
    width = 0.5 + 0.25 * (4 - math.log10(max(photons, 1.0)))
    return round(min(width, MOST_RESOLUTION_PX), 2) if width > 0.4 else 0.0


def in_words(choice: dict) -> str:
    """What was chosen, for people."""
    much = f"{choice['iterations']} iterations with a TV weight of {choice['tv_weight']:g}"
    shown = f", shown at {choice['resolution_px']:g} px" if choice["resolution_px"] else ""
    scale = choice["psf_scale"]
    if not choice["iterations"]:
        return f"left as it is: {choice['reason']}"
    if not scale:
        return f"noise alone is taken away, by {much}{shown}: {choice['reason']}"
    psfs = "as estimated" if scale == 1 else f"{scale:g} times as wide as estimated"
    return f"{much}, PSFs {psfs}{shown}: {choice['reason']}"


def beyond(best: float, found, photons: float) -> float | None:
    """The weight to try next, where the best one is the least or the largest of those tried.

    photons: at the brightest pixel of all, which may be far brighter than the mosaic's `scale`.
    """
    if best == min(found) and best > LEAST / photons:
        return float(f"{best / FURTHER:.2g}")
    if best == max(found) and best < LARGEST_WEIGHT:
        return min(float(f"{best * FURTHER:.2g}"), LARGEST_WEIGHT)
    return None


def candidates(settings: dict) -> list[int]:
    """Iterations to choose from: each up to 6, then steps of a sixth."""
    if settings["iterations"] != "auto":
        return [settings["iterations"]]
    found, last = [1], MOST_ITERATIONS[settings["acceleration"]]
    while found[-1] < last:
        found.append(min(found[-1] + max(1, round(found[-1] / 6)), last))
    return found


def weights_for(settings: dict, photons: float, numbers: tuple = WEIGHTS) -> list[float]:
    """TV weights to choose from, with two digits: numbers over the photons."""
    if settings["tv_weight"] != "auto":
        return [settings["tv_weight"]]
    rounded = (float(f"{number / photons:.2g}") for number in numbers)
    return sorted({min(weight, LARGEST_WEIGHT) for weight in rounded})


class _Judge:
    """One piece, thinned once or more: how well restorations of its fit parts tell its test parts."""

    def __init__(self, piece: Piece, exposure: Exposure, rngs):
        self.piece, self.exposure = piece, exposure
        pixels = sort_pixels(piece.counts, exposure)
        usable = pixels.usable & ~pixels.saturated
        # Beyond 2^53 photons, of pictures without noise, doubles hold no whole numbers any more.
        light = np.where(usable, piece.counts, 0).astype(np.float64) / exposure.gain
        shift = exposure.shift / exposure.gain
        judged = np.zeros(usable.shape, bool)
        judged[piece.judged] = True
        self.judged = torch.from_numpy(judged & usable)
        self.valid = torch.from_numpy(usable)
        self.pixels = int(self.judged.sum())
        rows, columns = (torch.arange(n) // BLOCK_PX for n in usable.shape)
        blocks = (rows[:, None] * (len(columns) // BLOCK_PX + 1) + columns)[self.judged]
        self.block = blocks.unique(return_inverse=True)[1]
        self.count = int(self.block.max()) + 1 if self.pixels else 0
        self.whole = bool(self.judged.all())
        self.fits, self.tests, self.brightest = [], [], 0.0
        for rng in rngs:
            fit, test = thin(np.minimum(light, 2.0**53), shift, rng, share=HELD_OUT)
            fit = fit / (1 - HELD_OUT) * exposure.gain - exposure.shift
            self.fits.append(torch.from_numpy(fit.astype(np.float32)))
            self.tests.append(torch.from_numpy(test)[self.judged])
            self.brightest = max(self.brightest, float(fit.max()))
        self.least = [_ideal(test) for test in self.tests]

    def look(
        self, blur: SpaceVariantBlur, iterations: list[int], tv_weight: float, settings, **levels
    ) -> np.ndarray:
        """Squared errors and deviance of the test parts, (2, iterations, blocks), of all turns on average."""
        total = []
        for fit, test, least in zip(self.fits, self.tests, self.least, strict=True):
            found = []

            def watch(iteration: int, x: torch.Tensor, found=found, test=test, least=least):
                if iteration not in iterations:
                    return False
                mean = self._mean(blur, x)
                # Of numbers, not of their sum, single precision is enough.
                deviance = torch.addcmul(mean, test, mean.log(), value=-1).mul_(2).double() - least
                squares = (test - mean).double().square()
                found.append(
                    [
                        torch.bincount(self.block, values, self.count).numpy()
                        for values in (squares, deviance)
                    ]
                )
                # What has grown worse for a while will not be the best.
                ends = np.sum(found[-ENOUGH:], axis=2)
                return len(ends) == ENOUGH and bool((np.diff(ends, axis=0) >= 0).all())

            self._restore(blur, fit, iterations[-1], tv_weight, settings, watch, **levels)
            total.append(found + found[-1:] * (len(iterations) - len(found)))
        return np.mean(total, axis=0).swapaxes(0, 1)

    def _mean(self, blur: SpaceVariantBlur, x: torch.Tensor) -> torch.Tensor:
        """What the test part should be of an object, in electrons, at each pixel judged."""
        exposure = self.exposure
        seen = blur.forward(x).cpu()
        seen = seen.flatten() if self.whole else seen[self.judged]
        mean = seen.clamp_(min=0).add_(exposure.background + exposure.shift)
        return mean.mul_(HELD_OUT / exposure.gain).clamp_(min=1e-9)

    def _restore(self, blur, fit, iterations, tv_weight, settings, watch, *, start, scale):
        exposure, device = self.exposure, blur.device
        return richardson_lucy(
            fit.to(device),
            blur,
            iterations=iterations,
            tv_weight=tv_weight / (1 - HELD_OUT),
            tv_step=settings["tv_step"],
            acceleration=settings["acceleration"],
            start=exposure.start(start),
            scale=scale,
            background=exposure.background,
            shift=exposure.shift,
            valid=self.valid.to(device),
            callback=watch,
        )


def _ideal(test: torch.Tensor) -> torch.Tensor:
    """The least that the deviance can be, pixel by pixel: where the mean is the number itself."""
    return 2 * (test - torch.special.xlogy(test, test)).double()


def _unjudged(settings: dict, why: str, photons: float | None, give: str = GIVEN) -> dict:
    """Nothing is done where nothing can be judged, unless the iterations are given."""
    taken = {"iterations": 0, "tv_weight": UNJUDGED_WEIGHT, "psf_scale": 1.0, "resolution_px": 0.0}
    known = {key: settings[key] for key in taken if settings[key] != "auto"}
    reason = f"{why}, so nothing can be held out and judged"
    if "iterations" not in known:
        reason += f"; {give} to restore it all the same"
    return taken | known | {"reason": reason, "photons": photons, "widths": [], "curves": []}
