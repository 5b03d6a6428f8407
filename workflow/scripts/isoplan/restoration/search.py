"""Tries restorations of one picture with held-out photons, and chooses the best.

Iterations, weights and widths of PSFs are compared by squared errors, kinds of PSFs by the Poisson deviance
(`choosing` explains why). PSFs narrower than the map's are compared first, then those of other kinds if there is
a reason to, and finally weights and iterations with the PSFs that were chosen.
"""

from collections.abc import Callable, Iterable

import numpy as np

from isoplan.base.device import in_threads
from isoplan.base.progress import Progress
from isoplan.config import entries
from isoplan.config.entries import LEARNT
from isoplan.optics.plain import KINDS, PlainPsf
from isoplan.restoration.candidates import (
    LARGEST_FIRST,
    LARGEST_WEIGHT,
    MIDDLE,
    beyond,
    candidates,
    resolution_for,
    steps_to,
    weights_for,
)
from isoplan.restoration.choice_words import OTHER, RIVALLED, SINGLE, reason
from isoplan.restoration.halo import MOST_RESOLUTION_PX
from isoplan.restoration.held_out import HeldOut, Trial, worse_by
from isoplan.restoration.other_psfs import GRID, find
from isoplan.restoration.psfs import MOSTLY

# The map's PSFs are tried, then those narrower by these factors until one is MUCH_WORSE (in standard errors) than the
# best, and then those beside the best one. All are tried with the same TV weight, COMPARED over the photons. With the
# best weight of each, or another one for all, the choice gains less and can do harm.
FACTORS, BESIDE, MUCH_WORSE, COMPARED = (1.0, 0.85, 0.7, 0.55, 0.4), 1.1, 6.0, 2.0
LEAST_PX = 1.3
# Narrower PSFs than SURE_PX may be due to no blur at all, so no PSF is tried too, and must be worse by SURE standard
# errors.
SURE_PX, SURE = 4.0, 3.0
# PSFs are compared after up to this many iterations. With many photons, wide PSFs are worse after fewer of them, because
# they have not converged.
COMPARED_TO = 64

# PSFs of other kinds are searched with one thinning of SEARCHED pieces, and weights from the initial one over MUCH_LESS to
# MUCH_MORE times it. With larger ones, a PSF that is much too narrow predicts photons as well as the true one.
SEARCHED, MUCH_LESS, MUCH_MORE = 2, 15, 6
# All kinds are searched if more than the share HINTED of the map says that the blur is not of its PSF model; above
# `psfs.MOSTLY`, the blur counts as another. Disks and motions are also searched if one as wide as the map's PSFs predicts
# better than these. Its radius or length is the width times these factors: a disk 10 % too large would not be noticed.
# Where the map's PSFs are those of an aberrated pupil, they are always searched. In pictures that a motion had blurred, such
# PSFs predicted photons better than any of these few, and what they restored lost up to 3.3 dB.
HINTED, FLAT = 0.25, ("disk", "motion")
AS_WIDE = (
    *(("disk", by, 0) for by in (0.42, 0.46, 0.5, 0.54, 0.58, 0.63, 0.68, 0.74, 0.8)),
    *(("motion", 2.4, angle) for angle in range(0, 180, 30)),
)
# They must be better than the map's PSFs and than no PSF by this many standard errors.
SURE_OTHER = 2.5
# Peaks with wings are searched after the others, and only if the map hints at another blur. They must also be better than
# what was found before, by SURE_TOO standard errors of the squared errors. Held-out photons hardly show the light that wings
# carry far, and with few photons, wings mainly predict the dark ground better: a picture with an uneven Gaussian that was
# taken for such a peak lost 1.4 dB.
WINGED, SURE_TOO = "moffat", 2.5
PLAIN = tuple(kind for kind in KINDS if kind != WINGED)
# Disks and motions are also searched if the best TV weight is at least this number over the photons, because wrong PSFs
# need strong smoothing.
SMOOTHED = 25
# By how many standard errors weights beyond the largest of the first ones have to be better than these.
SURE_LARGER = 2.5
# Learnt weights are taken at once if they are better than the first number by CLEARLY standard errors.
CLEARLY = 1.0
# If the blur is not of the PSF model, or may be a disk or a motion, or a single PSF stands for different ones, more iterations
# than this do harm, although they predict photons better and better.
MOST_OTHER = 8


class Search:
    """All trials of one picture. PSFs are identified by their factor, or by a `PlainPsf` of another kind.

    Parameters
    ----------
    held_out
        The pieces with held-out photons.
    settings
        The config's `restoration`.
    photons
        Photons at the brightest pixels.
    brightness
        start and scale, from `mosaic.facts.Facts.brightness`.
    side, other_blur, uneven, aberrated
        As for `choosing.choose`.
    """

    def __init__(
        self,
        held_out: list[HeldOut],
        settings: dict,
        photons: float,
        brightness: dict,
        side: int | None,
        other_blur: float,
        uneven: bool,
        aberrated: bool,
    ):
        self.held_out, self.settings = held_out, settings
        self.photons, self.brightness = photons, brightness
        self.side, self.other_blur = side, other_blur
        self.uneven, self.aberrated = uneven, aberrated
        self.iterations = candidates(settings)
        self.looks = sorted({*self.iterations, *steps_to(COMPARED_TO)})
        self.limited = ""  # why iterations are limited
        self.searched = False  # PSFs of other kinds
        self.rivalled = False  # whether a disk or a motion does better, but not clearly
        self.trials: dict[tuple[float | PlainPsf, float], Trial] = {}

    def choice(self) -> dict:
        """The choice, as returned by `choosing.choose`."""
        which = self.choose_psfs()
        tried = self.worse_by_squares() | {
            f: by for f, by in self.worse_by_deviance().items() if not f
        }
        taken = self.clearly_learnt(which)
        if taken is None:
            taken = self.best_trial(which)
            smoothed = self.weighs and taken.tv_weight * self.photons >= SMOOTHED
            if smoothed and which and self.may_search_others and (psf := self.find_kind(FLAT)):
                which, taken = psf, self.best_trial(psf)
            if self.asks_network:
                taken = self.learnt_unless(taken, which) or taken
        learnt = taken.tv_weight == LEARNT
        resolution = self.settings["resolution_px"]
        if resolution == "auto":
            resolution = resolution_for(self.photons) if which and self.doubt else 0.0
        numbers = [] if learnt else self.trials_of(which)
        plain = isinstance(which, PlainPsf)
        asked = self.settings["psf_shape"]
        fixed = entries.fixed(self.settings)
        told = {"weights_doubt": self.doubt} if learnt else {}
        return (
            ({"fixed": fixed} if fixed else {})
            | told
            | {
                "psf_scale": 1.0 if plain else which,
                "psf_shape": str(which) if plain else "map" if asked == "auto" else asked,
                "resolution_px": resolution,
                "iterations": self.iterations[taken.chosen_index],
                "tv_weight": taken.tv_weight,
                "reason": reason(
                    which,
                    self.photons,
                    hinted=self.other_blur > HINTED,
                    limited=self.limited,
                    weights=("learnt" if learnt else "refused") if self.asks_network else "",
                ),
                "ends": self.ends(which, taken, resolution),
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
                    for trial in sorted(numbers, key=lambda trial: trial.tv_weight)
                ],
            }
        )

    @property
    def weighs(self) -> bool:
        """Whether a weight may be chosen."""
        return self.settings["tv_weight"] in ("auto", LEARNT)

    @property
    def asks_network(self) -> bool:
        """Whether a network may tell the weights. It learnt them for the right PSFs and many iterations, so it may not if these are
        limited."""
        return self.settings["tv_weight"] == LEARNT and not self.limited

    def clearly_learnt(self, which: float | PlainPsf) -> Trial | None:
        """The trial with these PSFs and the weights that a network tells, if it is CLEARLY better than the first number.

        Then no more numbers are tried, unless PSFs of other kinds may be searched, of which the best number tells, or so few
        photons are seen that a number far from the first one may be best.
        """
        few = weights_for(self.settings, self.photons)[-1] >= LARGEST_FIRST
        if not self.asks_network or self.may_search_others or few:
            return None
        first = self.first_weight
        self.try_all([which], [first], f"a TV weight of {first:g}")
        return self.learnt_unless(self.trials[which, first], which, -CLEARLY)

    def learnt_unless(
        self, number: Trial, which: float | PlainPsf, most: float = 0.0
    ) -> Trial | None:
        """The trial with these PSFs and the weights that a network tells, if it is worse than that of a number by at most `most`
        standard errors."""
        self.try_all([which], [LEARNT], "learnt weights", self.iterations)
        learnt = self.trials[which, LEARNT]
        worse = worse_by(learnt.squares[learnt.chosen_index], number.squares[number.chosen_index])
        return learnt if worse <= most else None

    def ends(self, which: float | PlainPsf, taken: Trial, resolution: float) -> dict[str, str]:
        """What was chosen at an end of its range, so that a value beyond could be better, in words by key."""
        found, last = {}, self.iterations[-1]
        if len(self.iterations) > 1 and self.iterations[taken.chosen_index] == last:
            found["iterations"] = f"{last} iterations are the most that are tried"
        weights = [t.tv_weight for t in self.trials_of(which)]
        if self.weighs and taken.tv_weight != LEARNT:
            if taken.tv_weight == LARGEST_WEIGHT:
                found["tv_weight"] = f"a TV weight of {LARGEST_WEIGHT:g} is the largest allowed"
            elif taken.tv_weight == min(weights) and len(weights) > 1:
                found["tv_weight"] = (
                    f"a TV weight of {taken.tv_weight:g} is the smallest that was tried"
                )
        factors = sorted(factor for factor in self.tried_factors() if factor)
        auto = self.settings["psf_scale"] == "auto" and len(factors) > 1
        if auto and which != 1.0 and which in (factors[0], factors[-1]):
            end = "narrowest" if which == factors[0] else "widest"
            found["psf_scale"] = f"PSFs {which:g} times as wide are the {end} that were tried"
        if self.settings["resolution_px"] == "auto" and resolution == MOST_RESOLUTION_PX:
            found["resolution_px"] = f"{resolution:g} px is the coarsest resolution allowed"
        return found

    def width_px(self, factor: float) -> float:
        """Width in px of the median PSF that is narrower by a factor."""
        return float(np.median([held.piece.width_by(factor) for held in self.held_out]))

    @property
    def pixels(self) -> int:
        """Number of pixels that are judged."""
        return sum(held.pixels for held in self.held_out)

    @property
    def doubt(self) -> float:
        """Relative standard deviation of the PSFs' width; 0 if they are known."""
        return float(np.mean([held.piece.doubt or 0.0 for held in self.held_out]))

    def choose_psfs(self) -> float | PlainPsf:
        """Choose the PSFs: the factor on the map's width, 0 for no PSF, or a PSF of another kind."""
        if not self.width_px(1.0):
            return 0.0  # no PSF is known
        if self.settings["psf_scale"] != "auto":
            return self.settings["psf_scale"]
        if not self.doubt:
            return 1.0
        factor = self.choose_factor()
        if self.may_search_others and (psf := self.find_other(factor)):
            return psf
        if self.settings["iterations"] == "auto" and self.wrong:
            self.limited = self.wrong
            self.limit_iterations(MOST_OTHER)
        return factor

    @property
    def wrong(self) -> str:
        """Why the map's PSFs may be wrong, although they predict best; empty if they seem right."""
        if self.uneven:
            return SINGLE
        if self.other_blur > MOSTLY:
            return OTHER
        return RIVALLED if self.rivalled else ""

    @property
    def may_search_others(self) -> bool:
        """Whether PSFs of other kinds can still be searched."""
        asked = self.settings["psf_shape"] == self.settings["psf_scale"] == "auto"
        return bool(self.side and asked and self.doubt and not self.searched)

    def best_trial(self, which: float | PlainPsf) -> Trial:
        """The best trial with these PSFs, of all weights."""
        self.try_weights(which)
        self.try_further_weights(which)
        return self.smoothest(which)

    def choose_factor(self) -> float:
        """Choose the factor on the width of the map's PSFs, 0 for no PSF."""
        if self.width_px(1.0) < LEAST_PX:
            return 0.0
        self.try_widths()
        factor = mean_factor(self.worse_by_squares())
        width = self.width_px(factor)
        if width < LEAST_PX:
            return 0.0
        if width < SURE_PX:
            # To remove only noise, at least the same weight is needed.
            own = self.best_trial(factor).tv_weight
            weights = [w for w in weights_for(self.settings, self.photons) if w >= own] or [own]
            self.try_all([0.0], weights, "no PSF", self.looks)
            if self.worse_by_deviance()[0.0] < SURE:
                return 0.0
        return factor

    def try_widths(self) -> None:
        """Try PSFs of several widths."""
        for factor in FACTORS:
            what = "PSFs" if factor == 1 else f"PSFs {factor:g} times as wide"
            self.try_all([factor], [self.comparison_weight], what, self.looks)
            if self.worse_by_squares()[factor] > MUCH_WORSE:
                break
        found = self.worse_by_squares()
        best = min(found, key=found.get)
        beside = [round(best * by, 2) for by in (1 / BESIDE, BESIDE)]
        self.try_all(beside, [self.comparison_weight], "PSFs of widths between", self.looks)

    def flat_is_better(self, factor: float) -> bool:
        """Whether a disk or a motion as wide as the map's PSFs predicts better than these, scaled by a factor."""
        width = self.width_px(1.0)
        sized = (PlainPsf(kind, float(f"{by * width:.3g}"), angle) for kind, by, angle in AS_WIDE)
        grid = [psf for psf in sized if psf.fits(self.side)]
        (weight,) = weights_for(self.settings, self.photons, (MIDDLE,))
        bar = Progress("judging disks and motions by held-out photons, restorations", len(grid))
        least = self.quick_deviance(factor, weight).sum()
        for psf in grid:
            if self.quick_deviance(psf, weight).sum() < least:
                return True
            bar.step()
        return False

    def quick_deviance(self, which: float | PlainPsf, tv_weight: float) -> np.ndarray:
        """The deviance of every square of SEARCHED pieces, with one thinning."""
        how = {"turns": 1} | self.brightness

        def deviance_of(held: HeldOut) -> np.ndarray:
            blur = held.piece.blur_by(which)
            return held.compare(blur, self.looks, tv_weight, self.settings, **how)[1]

        parts = list(self.of_each(deviance_of, self.held_out[-SEARCHED:]))
        deviance = np.nan_to_num(np.concatenate(parts, axis=1), nan=np.inf)
        return deviance[deviance.sum(1).argmin()]

    def find_other(self, factor: float) -> PlainPsf | None:
        """A PSF of another kind, if one is clearly better than the map's PSFs scaled by a factor."""
        if self.other_blur > HINTED:
            psf = self.find_kind(PLAIN)
            return self.find_kind((WINGED,), psf or factor) or psf
        if factor and (self.aberrated or self.flat_is_better(factor)):
            return self.find_kind(FLAT)
        return None

    def find_kind(self, kinds, found: float | PlainPsf | None = None) -> PlainPsf | None:
        """The best PSF of some kinds, if it is clearly better than the map's and than no PSF.

        found: the PSFs that were found before. It must be clearly better than these as well, by deviance and by
        squared errors.
        """
        self.searched = True
        self.try_all([0.0], weights_for(self.settings, self.photons), "no PSF", self.looks)
        (weight,) = weights_for(self.settings, self.photons, (MIDDLE,))
        auto = self.weighs
        most = min(weight * MUCH_MORE, LARGEST_FIRST)
        bounds = (weight / MUCH_LESS, most) if auto else (weight, weight)
        grid = [psf for psf in GRID if psf.kind in kinds and psf.fits(self.side)]
        # How many more follow is unknown.
        title = "searching for PSFs of other kinds by held-out photons, restorations"
        bar = Progress(title, len(grid))

        def look(psf: PlainPsf, tv_weight: float) -> np.ndarray:
            if bar.done < len(grid):
                bar.step()
            return self.quick_deviance(psf, tv_weight)

        psf, weight = find(look, grid, self.side, weight, bounds)
        # The others are tried with this weight too, as the weight alone may be what is better.
        self.try_all([psf, *sorted(self.tried_factors())], [weight], psf.words, self.looks)
        others = self.worse_by_deviance()
        known = [min(others, key=others.get)]
        if isinstance(found, PlainPsf):
            known.append(found)
        mine = self.best_by_deviance(psf).best_deviance
        better_by = min(
            worse_by(self.best_by_deviance(which).best_deviance, mine) for which in known
        )
        if better_by <= SURE_OTHER:
            self.rivalled |= self.aberrated and better_by > 0 and psf.kind in FLAT
            return None
        if found is None:
            return psf
        for which in (found, psf):
            self.best_trial(which)
        one, best = self.best_by_squares(found), self.best_by_squares(psf)
        by = worse_by(one.best_squares, best.best_squares)
        return psf if by > SURE_TOO else None

    def worse_by_deviance(self) -> dict[float, float]:
        """By how many standard errors of the deviance each factor, including 0, is worse than the best."""
        return _compared(
            {factor: self.best_by_deviance(factor).best_deviance for factor in self.tried_factors()}
        )

    def worse_by_squares(self) -> dict[float, float]:
        """By how many standard errors of the squared errors each factor, except 0, is worse than the best.

        All are compared with the same weight.
        """
        found = {f: self.trials.get((f, self.comparison_weight)) for f in self.tried_factors() if f}
        return _compared({f: trial.best_squares for f, trial in found.items() if trial})

    @property
    def comparison_weight(self) -> float:
        """The TV weight with which widths are compared."""
        return weights_for(self.settings, self.photons, (COMPARED,))[0]

    def tried_factors(self) -> set[float]:
        """Factors of the map's PSFs that were tried."""
        return {psf for psf, _ in self.trials if not isinstance(psf, PlainPsf)}

    def limit_iterations(self, most: int) -> None:
        """Discard iterations beyond `most`."""
        self.iterations = [n for n in self.iterations if n <= most]
        for trial in self.trials.values():
            trial.squares = trial.squares[: len(self.iterations)]

    def trials_of(self, which: float | PlainPsf) -> list[Trial]:
        """The trials with these PSFs and a number for the weight."""
        return [trial for (psf, w), trial in self.trials.items() if psf == which and w != LEARNT]

    def best_by_deviance(self, which: float | PlainPsf) -> Trial:
        """The trial with these PSFs that has the smallest deviance."""
        return min(self.trials_of(which), key=total_deviance)

    def best_by_squares(self, which: float | PlainPsf) -> Trial:
        """The trial with these PSFs that has the smallest squared error."""
        return min(self.trials_of(which), key=lambda trial: trial.errors.min())

    def smoothest(self, which: float | PlainPsf) -> Trial:
        """The trial with the largest weight that is worse than the best by at most one standard error.

        Weights beyond LARGEST_FIRST count only if the best of them is better than all others by SURE_LARGER, as little may be left of
        a picture.
        """
        trials, best = self.trials_of(which), self.best_by_squares(which)
        first = [trial for trial in trials if trial.tv_weight <= LARGEST_FIRST]
        rival = min(first, key=lambda trial: trial.errors.min(), default=best)
        if first and worse_by(rival.best_squares, best.best_squares) <= SURE_LARGER:
            trials, best = first, rival
        alike = [t for t in trials if worse_by(t.best_squares, best.best_squares) <= 1]
        return max(alike, key=lambda trial: trial.tv_weight)

    def try_all(self, psfs: list, weights: list[float], what: str, looks=None) -> None:
        """Try all pairs of PSFs and weights that were not tried yet.

        what: the PSFs or weights in words. looks: numbers of iterations after which to compare; None takes those that can be chosen.
        """
        looks = looks or self.iterations
        pairs = dict.fromkeys((psf, weight) for psf in psfs for weight in weights)
        new = [key for key in pairs if key not in self.trials]
        if not new:
            return
        bar = Progress(
            f"judging {what} by held-out photons, restorations", len(new) * len(self.held_out)
        )

        def compared(held: HeldOut) -> list[np.ndarray]:
            found = []
            for psf in dict.fromkeys(psf for psf, _ in new):
                # One blur of a piece is in memory at a time.
                blur = held.piece.blur_by(psf)
                for key in (key for key in new if key[0] == psf):
                    how = dict(self.brightness)
                    if key[1] == LEARNT:
                        how |= {"widths": held.piece.widths_at(psf), "doubt": self.doubt}
                    found.append(held.compare(blur, looks, key[1], self.settings, **how))
            return found

        parts = []
        for found in self.of_each(compared, self.held_out):
            parts.append(found)
            bar.step(count=len(new))
        for key, *found in zip(new, *parts, strict=True):
            squares, *others = np.nan_to_num(np.concatenate(found, axis=2), nan=np.inf)
            may_be_taken = [looks.index(number) for number in self.iterations]
            self.trials[key] = Trial(key[1], squares[may_be_taken], *others)

    def of_each(self, work: Callable, held_out: list[HeldOut]) -> Iterable:
        """work(piece) of each, a thread for each."""
        return in_threads(work, held_out, held_out[0].piece.device)

    @property
    def first_weight(self) -> float:
        """The TV weight to try first: the best known one, as PSFs that are nearly the same need the same weight."""
        numbers = [trial for trial in self.trials.values() if trial.tv_weight != LEARNT]
        if numbers:
            return min(numbers, key=total_deviance).tv_weight
        weights = weights_for(self.settings, self.photons)
        return weights[len(weights) // 2]

    def try_weights(self, which: float | PlainPsf) -> None:
        """Try TV weights from the best known one: larger ones while they are as good, smaller ones while better."""
        first, weights = self.first_weight, weights_for(self.settings, self.photons)
        up = [weight for weight in weights if weight >= first] or weights[-1:]
        down = [weight for weight in weights[::-1] if weight < up[0]]
        for further, alike in ((up, 1.0), (down, 0.0)):
            for weight in further:
                self.try_all([which], [weight], f"a TV weight of {weight:g}")
                tried, best = self.trials[which, weight], self.best_by_squares(which)
                if worse_by(tried.best_squares, best.best_squares) > alike:
                    break

    def try_further_weights(self, which: float | PlainPsf) -> None:
        """Try more weights if the smallest or the largest one is best."""
        gain = self.held_out[0].exposure.gain
        brightest = max(self.photons, *(held.brightest / gain for held in self.held_out))
        found = {trial.tv_weight for trial in self.trials_of(which)}
        while self.weighs and (
            weight := beyond(self.best_by_squares(which).tv_weight, found, brightest)
        ):
            self.try_all([which], [weight], f"a TV weight of {weight:g} as well")
            found.add(weight)


def _compared(found: dict[float, np.ndarray]) -> dict[float, float]:
    """By how many standard errors each is worse than the best."""
    best = min(found.values(), key=np.sum, default=None)
    return {f: max(worse_by(values, best), 0.0) for f, values in found.items()}


def total_deviance(trial: Trial) -> float:
    """The smallest deviance of a trial, summed over all squares."""
    return float(trial.best_deviance.sum())


def mean_factor(worse: dict[float, float]) -> float:
    """Mean of the plausible factors on the width of the map's PSFs, with two digits.

    worse: by how many standard errors each factor is worse than the best.
    """
    tried = sorted(worse)
    at = np.linspace(tried[0], tried[-1], 201)
    share = np.exp(-np.interp(at, tried, [worse[factor] ** 2 for factor in tried]) / 2)
    return round(float((share * at).sum() / share.sum()), 2)
