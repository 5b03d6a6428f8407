"""What is tried for one picture, with photons held out, and what is chosen.

Iterations, weight and widths of PSFs are compared by squared errors, kinds of PSFs by the Poisson deviance
(`choosing` says why). PSFs narrower than the map's are compared first, then those of other kinds where something
speaks for them, and last weights and iterations with the PSFs that were chosen.
"""

import numpy as np

from isoplan.base.progress import Progress
from isoplan.config import entries
from isoplan.optics.plain import KINDS, PlainPsf
from isoplan.restoration.candidates import (
    LARGEST_WEIGHT,
    MIDDLE,
    beyond,
    candidates,
    resolution_for,
    steps_to,
    weights_for,
)
from isoplan.restoration.choice_words import reason
from isoplan.restoration.halo import MOST_RESOLUTION_PX
from isoplan.restoration.held_out import HeldOut, Trial, worse_by
from isoplan.restoration.other_psfs import GRID, find
from isoplan.restoration.psfs import MOSTLY

# The PSFs tried are the map's own, those narrower by these factors while they do not do much worse than the best,
# and then those beside the best one. All are tried with one TV weight, COMPARED over the photons: with the weight that
# each wants, or another for all, the choice gains less, and at worst does harm.
FACTORS, BESIDE, MUCH_WORSE, COMPARED = (1.0, 0.85, 0.7, 0.55, 0.4), 1.1, 6.0, 2.0
LEAST_PX = 1.3
# Blur of SURE_PX is seen. Less may be none: no PSF is tried too, and has to do worse by SURE standard errors.
SURE_PX, SURE = 4.0, 3.0
# PSFs are compared after up to this many iterations: where photons are many, wide PSFs do worse after fewer of them
# because they have not converged.
COMPARED_TO = 64

# PSFs of other kinds are searched by one thinning of SEARCHED pieces, with weights from the first one over MUCH_LESS to
# MUCH_MORE times it: with larger ones a PSF that is much too narrow predicts photons as well as the true one.
SEARCHED, MUCH_LESS, MUCH_MORE = 2, 15, 6
# All kinds are searched where more than the share HINTED of the map hints at another blur than its model's; above
# `psfs.MOSTLY` the blur counts as another. Disks and motions are searched, too, where one as wide as the map's PSFs predicts better
# than these. Its radius or length is the width times these factors; a disk that is a tenth too large shows nothing.
HINTED, FLAT = 0.25, ("disk", "motion")
AS_WIDE = (
    *(("disk", by, 0) for by in (0.42, 0.46, 0.5, 0.54, 0.58, 0.63, 0.68, 0.74, 0.8)),
    *(("motion", 2.4, angle) for angle in range(0, 180, 30)),
)
# They have to do better than the map's PSFs and than no PSF by this many standard errors.
SURE_OTHER = 2.5
# Peaks with wings are searched after the others, and only where the map hints at another blur. They also have to do better
# than what was found so far by SURE_TOO standard errors of the squared errors. Photons held out hardly tell what wings bring
# from far away, and where photons are few, wings predict the dark ground better and little else: a picture under an uneven
# Gaussian, taken for such a peak, lost 1.4 dB.
WINGED, SURE_TOO = "moffat", 2.5
PLAIN = tuple(kind for kind in KINDS if kind != WINGED)
# Disks and motions are searched too where the best TV weight is this many times one over the photons: what wrong PSFs
# restore has to be smoothed.
SMOOTHED = 25
# Where the PSF model has no such blur, or one PSF stands for some that differ, more iterations than this do harm, although
# with a wrong PSF they predict photons better and better.
MOST_OTHER = 8


class Search:
    """All that is tried for one picture. PSFs are told apart by their factor, or by what they are."""

    def __init__(
        self,
        held_out: list[HeldOut],
        settings: dict,
        photons: float,
        brightness: dict,
        side: int | None,
        other_blur: float,
        uneven: bool,
    ):
        self.held_out, self.settings = held_out, settings
        self.photons, self.brightness = photons, brightness
        self.side, self.other_blur, self.uneven = side, other_blur, uneven
        self.iterations = candidates(settings)
        self.looks = sorted({*self.iterations, *steps_to(COMPARED_TO)})
        self.few = self.searched = False  # iterations; PSFs of other kinds
        self.trials: dict[tuple[float | PlainPsf, float], Trial] = {}

    def choice(self) -> dict:
        which = self.which()
        tried = self.widths() | {f: by for f, by in self.compared().items() if not f}
        taken = self.taken(which)
        smoothed = (
            self.settings["tv_weight"] == "auto" and taken.tv_weight * self.photons >= SMOOTHED
        )
        if smoothed and which and self.may_be_other and (psf := self.best_of(FLAT)):
            which, taken = psf, self.taken(psf)
        resolution = self.settings["resolution_px"]
        if resolution == "auto":
            resolution = resolution_for(self.photons) if which and self.doubt else 0.0
        plain = isinstance(which, PlainPsf)
        asked = self.settings["psf_shape"]
        fixed = entries.fixed(self.settings)
        return ({"fixed": fixed} if fixed else {}) | {
            "psf_scale": 1.0 if plain else which,
            "psf_shape": str(which) if plain else "map" if asked == "auto" else asked,
            "resolution_px": resolution,
            "iterations": self.iterations[taken.place],
            "tv_weight": taken.tv_weight,
            "reason": reason(
                which,
                self.photons,
                hinted=self.other_blur > HINTED,
                few=self.few,
                uneven=self.uneven,
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
                for trial in sorted(self.of(which), key=lambda trial: trial.tv_weight)
            ],
        }

    def ends(self, which: float | PlainPsf, taken: Trial, resolution: float) -> dict[str, str]:
        """What was chosen at an end of all that may be, so that something beyond may be better, in words."""
        found, last = {}, self.iterations[-1]
        if len(self.iterations) > 1 and self.iterations[taken.place] == last:
            found["iterations"] = f"{last} iterations are the most that may be"
        weights = [trial.tv_weight for trial in self.of(which)]
        if self.settings["tv_weight"] == "auto":
            if taken.tv_weight == LARGEST_WEIGHT:
                found["tv_weight"] = f"a TV weight of {LARGEST_WEIGHT:g} is the largest that may be"
            elif taken.tv_weight == min(weights) and len(weights) > 1:
                found["tv_weight"] = (
                    f"a TV weight of {taken.tv_weight:g} is the least that was tried"
                )
        factors = sorted(factor for factor in self.factors() if factor)
        auto = self.settings["psf_scale"] == "auto" and len(factors) > 1
        if auto and which != 1.0 and which in (factors[0], factors[-1]):
            end = "narrowest" if which == factors[0] else "widest"
            found["psf_scale"] = f"PSFs {which:g} times as wide are the {end} that were tried"
        if self.settings["resolution_px"] == "auto" and resolution == MOST_RESOLUTION_PX:
            found["resolution_px"] = f"{resolution:g} px is the coarsest resolution that may be"
        return found

    def width_px(self, factor: float) -> float:
        return float(np.median([held.piece.width_by(factor) for held in self.held_out]))

    @property
    def pixels(self) -> int:
        return sum(held.pixels for held in self.held_out)

    @property
    def doubt(self) -> bool:
        """Whether the PSFs' width is in doubt; what is known is not."""
        return any(held.piece.doubt for held in self.held_out)

    def which(self) -> float | PlainPsf:
        """The PSFs chosen: how much narrower than the map's, 0 for none, or one of another kind."""
        if not self.width_px(1.0):
            return 0.0  # no PSF is known
        if self.settings["psf_scale"] != "auto":
            return self.settings["psf_scale"]
        if not self.doubt:
            return 1.0
        factor = self.factor()
        if self.may_be_other and (psf := self.other(factor)):
            return psf
        wrong = self.uneven or self.other_blur > MOSTLY
        if wrong and self.settings["iterations"] == "auto":
            self.few = True
            self.shorten(MOST_OTHER)
        return factor

    @property
    def may_be_other(self) -> bool:
        """Whether PSFs of other kinds may be searched that were not."""
        asked = self.settings["psf_shape"] == self.settings["psf_scale"] == "auto"
        return bool(self.side and asked and self.doubt and not self.searched)

    def taken(self, which: float | PlainPsf) -> Trial:
        """The best with these PSFs, of all weights."""
        self.weigh(which)
        self.look_beyond(which)
        return self.smoothest(which)

    def factor(self) -> float:
        """How much narrower than the map's the PSFs chosen are, 0 for none."""
        if self.width_px(1.0) < LEAST_PX:
            return 0.0
        self.compare()
        factor = mean_factor(self.widths())
        width = self.width_px(factor)
        if width < LEAST_PX:
            return 0.0
        if width < SURE_PX:
            # Removing only noise wants a weight at least as large.
            own = self.taken(factor).tv_weight
            weights = [w for w in weights_for(self.settings, self.photons) if w >= own] or [own]
            self.try_all([0.0], weights, "no PSF", self.looks)
            if self.compared()[0.0] < SURE:
                return 0.0
        return factor

    def compare(self) -> None:
        """Tries PSFs of several widths."""
        for factor in FACTORS:
            what = "PSFs" if factor == 1 else f"PSFs {factor:g} times as wide"
            self.try_all([factor], [self.compared_with], what, self.looks)
            if self.widths()[factor] > MUCH_WORSE:
                break
        found = self.widths()
        best = min(found, key=found.get)
        beside = [round(best * by, 2) for by in (1 / BESIDE, BESIDE)]
        self.try_all(beside, [self.compared_with], "PSFs of widths between", self.looks)

    def suspected(self, factor: float) -> bool:
        """Whether a disk or a motion as wide as the map's PSFs predicts better than these, narrower by a factor."""
        width = self.width_px(1.0)
        sized = (PlainPsf(kind, float(f"{by * width:.3g}"), angle) for kind, by, angle in AS_WIDE)
        grid = [psf for psf in sized if psf.fits(self.side)]
        (weight,) = weights_for(self.settings, self.photons, (MIDDLE,))
        bar = Progress("judging disks and motions by held-out photons, restorations", len(grid))
        least = self.glance(factor, weight).sum()
        for psf in grid:
            if self.glance(psf, weight).sum() < least:
                return True
            bar.step()
        return False

    def glance(self, which: float | PlainPsf, tv_weight: float) -> np.ndarray:
        """The deviance of every square of some pieces, by one thinning of them."""
        parts = []
        for held in self.held_out[-SEARCHED:]:
            blur = held.piece.blur_by(which)
            how = {"turns": 1} | self.brightness
            parts.append(held.look(blur, self.looks, tv_weight, self.settings, **how)[1])
        deviance = np.nan_to_num(np.concatenate(parts, axis=1), nan=np.inf)
        return deviance[deviance.sum(1).argmin()]

    def other(self, factor: float) -> PlainPsf | None:
        """A PSF of another kind than the map's, if one is surely better than these, narrower by a factor."""
        if self.other_blur > HINTED:
            psf = self.best_of(PLAIN)
            return self.best_of((WINGED,), psf or factor) or psf
        return self.best_of(FLAT) if factor and self.suspected(factor) else None

    def best_of(self, kinds, found: float | PlainPsf | None = None) -> PlainPsf | None:
        """The best PSF of some kinds, if it is surely better than the map's and none. found: PSFs that were found
        before, which it has to beat surely, too, and by squared errors."""
        self.searched = True
        self.try_all([0.0], weights_for(self.settings, self.photons), "no PSF", self.looks)
        (weight,) = weights_for(self.settings, self.photons, (MIDDLE,))
        auto = self.settings["tv_weight"] == "auto"
        most = min(weight * MUCH_MORE, LARGEST_WEIGHT)
        bounds = (weight / MUCH_LESS, most) if auto else (weight, weight)
        grid = [psf for psf in GRID if psf.kind in kinds and psf.fits(self.side)]
        # How many more follow is not known.
        title = "searching for PSFs of other kinds by held-out photons, restorations"
        bar = Progress(title, len(grid))

        def look(psf: PlainPsf, tv_weight: float) -> np.ndarray:
            if bar.done < len(grid):
                bar.step()
            return self.glance(psf, tv_weight)

        psf, weight = find(look, grid, self.side, weight, bounds)
        # The others with this weight too, for it may be the weight alone that does better.
        self.try_all([psf, *sorted(self.factors())], [weight], psf.words, self.looks)
        others = self.compared()
        known = [min(others, key=others.get)]
        if isinstance(found, PlainPsf):
            known.append(found)
        mine = self.likeliest(psf).likeliest
        if any(worse_by(self.likeliest(which).likeliest, mine) <= SURE_OTHER for which in known):
            return None
        if found is None:
            return psf
        for which in (found, psf):
            self.taken(which)
        one, best = self.most_exact(found), self.most_exact(psf)
        by = worse_by(one.squares[one.best], best.squares[best.best])
        return psf if by > SURE_TOO else None

    def compared(self) -> dict[float, float]:
        """Factor, 0 among them -> by how many standard errors of the deviance its PSFs do worse than the best."""
        return _compared({factor: self.likeliest(factor).likeliest for factor in self.factors()})

    def widths(self) -> dict[float, float]:
        """Factor, except 0 -> likewise, by squared errors with one weight."""
        found = {f: self.trials.get((f, self.compared_with)) for f in self.factors() if f}
        return _compared({f: trial.squares[trial.best] for f, trial in found.items() if trial})

    @property
    def compared_with(self) -> float:
        """TV weight that widths are compared with."""
        return weights_for(self.settings, self.photons, (COMPARED,))[0]

    def factors(self) -> set[float]:
        """Of the PSFs of the map's kind that were tried."""
        return {psf for psf, _ in self.trials if not isinstance(psf, PlainPsf)}

    def shorten(self, most: int) -> None:
        """Leaves out iterations beyond `most`."""
        self.iterations = [n for n in self.iterations if n <= most]
        for trial in self.trials.values():
            trial.squares = trial.squares[: len(self.iterations)]

    def of(self, which: float | PlainPsf) -> list[Trial]:
        return [trial for (psf, _), trial in self.trials.items() if psf == which]

    def likeliest(self, which: float | PlainPsf) -> Trial:
        return min(self.of(which), key=least_of)

    def most_exact(self, which: float | PlainPsf) -> Trial:
        return min(self.of(which), key=lambda trial: trial.errors.min())

    def smoothest(self, which: float | PlainPsf) -> Trial:
        """That of the largest weight which does no worse than the best by more than a standard error."""
        best = self.most_exact(which)
        alike = [
            trial
            for trial in self.of(which)
            if worse_by(trial.squares[trial.best], best.squares[best.best]) <= 1
        ]
        return max(alike, key=lambda trial: trial.tv_weight)

    def try_all(self, psfs: list, weights: list[float], what: str, looks=None) -> None:
        """Tries what was not tried yet, piece by piece, so that one piece's blurs are held at a time. looks:
        after which iterations it is looked at, if not after those that may be taken alone."""
        looks = looks or self.iterations
        new = [(psf, w) for psf in psfs for w in weights if (psf, w) not in self.trials]
        bar = Progress(
            f"judging {what} by held-out photons, restorations", len(new) * len(self.held_out)
        )
        found = {key: [] for key in new}
        for held in self.held_out:
            for psf in dict.fromkeys(psf for psf, _ in new):
                blur = held.piece.blur_by(psf)
                for key in (key for key in new if key[0] == psf):
                    seen = held.look(blur, looks, key[1], self.settings, **self.brightness)
                    found[key].append(seen)
                    bar.step()
        for key, parts in found.items():
            squares, *others = np.nan_to_num(np.concatenate(parts, axis=2), nan=np.inf)
            may_be_taken = [looks.index(number) for number in self.iterations]
            self.trials[key] = Trial(key[1], squares[may_be_taken], *others)

    def weigh(self, which: float | PlainPsf) -> None:
        """Tries TV weights from the best known one on: larger ones while they do as well, smaller ones while better."""
        weights = weights_for(self.settings, self.photons)
        # PSFs that are nearly the same need the same weight.
        known = [trial.tv_weight for trial in sorted(self.trials.values(), key=least_of)]
        first = known[0] if known else weights[len(weights) // 2]
        up = [weight for weight in weights if weight >= first] or weights[-1:]
        down = [weight for weight in weights[::-1] if weight < up[0]]
        for further, alike in ((up, 1.0), (down, 0.0)):
            for weight in further:
                self.try_all([which], [weight], f"a TV weight of {weight:g}")
                tried, best = self.trials[which, weight], self.most_exact(which)
                if worse_by(tried.squares[tried.best], best.squares[best.best]) > alike:
                    break

    def look_beyond(self, which: float | PlainPsf) -> None:
        """More weights, where the least or the largest one does best."""
        gain = self.held_out[0].exposure.gain
        brightest = max(self.photons, *(held.brightest / gain for held in self.held_out))
        found = {trial.tv_weight for trial in self.of(which)}
        while self.settings["tv_weight"] == "auto" and (
            weight := beyond(self.most_exact(which).tv_weight, found, brightest)
        ):
            self.try_all([which], [weight], f"a TV weight of {weight:g} too")
            found.add(weight)


def _compared(found: dict[float, np.ndarray]) -> dict[float, float]:
    """By how many standard errors each is worse than the best."""
    best = min(found.values(), key=np.sum, default=None)
    return {f: max(worse_by(values, best), 0.0) for f, values in found.items()}


def least_of(trial: Trial) -> float:
    return float(trial.likeliest.sum())


def mean_factor(worse: dict[float, float]) -> float:
    """Mean of the factors by which the true PSFs may be narrower than the map's, with two digits.

    worse: factor -> by how many standard errors it does worse than the best.
    """
    tried = sorted(worse)
    at = np.linspace(tried[0], tried[-1], 201)
    share = np.exp(-np.interp(at, tried, [worse[factor] ** 2 for factor in tried]) / 2)
    return round(float((share * at).sum() / share.sum()), 2)
