"""Measures how well restorations predict photons that were held out.

Each photon of a picture goes into the test part with probability HELD_OUT, and otherwise into the fit part. Such
thinning splits a Poisson number into two independent ones. The fit part is restored, and the picture that this
restoration predicts is compared with the test part.

The fit part has 1 - HELD_OUT of the photons. It is restored with 1 / (1 - HELD_OUT) times the TV weight, since the
best weight is roughly inversely proportional to the photons. The iterations are not changed.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from isoplan.config.entries import LEARNT
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.optics.exposure import Exposure, Pixels, sort_pixels, thin
from isoplan.restoration.algorithm import algorithm_of
from isoplan.restoration.learnt_weights import of_object, weights_of
from isoplan.restoration.pieces import Piece
from isoplan.restoration.weight_store import told_by

HELD_OUT, BLOCK_PX = 0.3, 32
# A trial ends when its errors have grown over ENOUGH looks. Iterations that differ by fewer than ALIKE standard errors
# count as equal.
ENOUGH, ALIKE = 4, 0.5


@dataclass
class Trial:
    """How well some PSFs and a TV weight predict the held-out photons, in every square of BLOCK_PX.

    Attributes
    ----------
    tv_weight
        The TV weight.
    squares
        (iterations, blocks) squared errors in electrons^2, after each number of iterations that can be chosen.
    deviance
        (looks, blocks) Poisson deviance, after these numbers of iterations and possibly more.
    """

    tv_weight: float
    squares: np.ndarray
    deviance: np.ndarray

    @property
    def best_deviance(self) -> np.ndarray:
        """The deviance of every square, after the iterations with the smallest total."""
        return self.deviance[self.deviance_index]

    @property
    def deviance_index(self) -> int:
        """Index of the look with the smallest deviance."""
        return int(self.deviance.sum(1).argmin())

    @property
    def errors(self) -> np.ndarray:
        """Squared errors after each number of iterations; a dip at a single number does not count."""
        errors = self.squares.sum(1)
        return np.maximum(errors, np.append(errors[1:], errors[-1]))

    @property
    def best_index(self) -> int:
        """Index of the best number of iterations."""
        return int(self.errors.argmin())

    @property
    def best_squares(self) -> np.ndarray:
        """The squared errors of every square, after the best number of iterations."""
        return self.squares[self.best_index]

    @property
    def chosen_index(self) -> int:
        """Index of the fewest iterations that are worse than the best by at most ALIKE standard errors."""
        best = self.best_squares
        return next(
            k for k in range(self.best_index + 1) if worse_by(self.squares[k], best) <= ALIKE
        )


def worse_by(one: np.ndarray, other: np.ndarray) -> float:
    """By how many standard errors the sum over all squares is larger; infinite if it is unknown."""
    apart = one - other
    if not np.isfinite(apart).all():
        return math.inf
    error = math.sqrt(len(apart)) * float(apart.std())
    return float(apart.sum()) / error if error else 0.0


class HeldOut:
    """One piece of a picture, thinned once or more often, whose fit parts are to predict its test parts."""

    def __init__(self, piece: Piece, exposure: Exposure, rngs):
        self.piece, self.exposure = piece, exposure
        pixels = sort_pixels(piece.counts, exposure)
        usable = pixels.usable & ~pixels.saturated
        # Pictures without noise may have more than 2^53 photons, which doubles cannot count exactly.
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

    def compare(
        self,
        blur: SpaceVariantBlur,
        iterations: list[int],
        tv_weight: float | str,
        settings,
        *,
        turns: int | None = None,
        widths: np.ndarray | None = None,
        doubt: float = 0.0,
        **brightness,
    ) -> np.ndarray:
        """Restore the fit parts, and compare with the test parts.

        Parameters
        ----------
        blur
            The blur to restore with.
        iterations
            Numbers of iterations after which to compare, ascending.
        tv_weight
            TV weight for all of the photons, or LEARNT: then a network tells it from the fit parts.
        settings
            The config's `restoration`.
        turns
            How many of the thinnings to use; None uses all.
        widths
            (h, w) width of the PSFs, for learnt weights.
        doubt
            Relative standard deviation of the PSFs' width in the picture, for learnt weights.
        **brightness
            start and scale, from `mosaic.facts.Facts.brightness`.

        Returns
        -------
        numpy.ndarray
            (2, iterations, blocks) squared errors and deviance, averaged over the thinnings.
        """
        total = []
        for fit, test, least in list(zip(self.fits, self.tests, self.least, strict=True))[:turns]:
            found = []

            def watch(iteration: int, x: torch.Tensor, found=found, test=test, least=least):
                if iteration not in iterations:
                    return False
                mean = self._mean(blur, x)
                # Single precision is enough for the pixels, but not for their sum.
                deviance = torch.addcmul(mean, test, mean.log(), value=-1).mul_(2).double() - least
                squares = (test - mean).double().square()
                found.append(
                    [
                        torch.bincount(self.block, values, self.count).numpy()
                        for values in (squares, deviance)
                    ]
                )
                # A restoration that has become worse for a while will not be the best.
                ends = np.sum(found[-ENOUGH:], axis=2)
                return len(ends) == ENOUGH and bool((np.diff(ends, axis=0) >= 0).all())

            if tv_weight == LEARNT:
                weight = self._learnt(
                    fit, widths, doubt, blur.margin, settings, brightness["scale"]
                )
            else:
                weight = tv_weight / (1 - HELD_OUT)
            self._restore(blur, fit, iterations[-1], weight, settings, watch, **brightness)
            total.append(found + found[-1:] * (len(iterations) - len(found)))
        return np.mean(total, axis=0).swapaxes(0, 1)

    def _mean(self, blur: SpaceVariantBlur, x: torch.Tensor) -> torch.Tensor:
        """The test part that an object predicts, in electrons, at each pixel that is judged."""
        exposure = self.exposure
        seen = blur.forward(x).cpu()
        seen = seen.flatten() if self.whole else seen[self.judged]
        mean = seen.clamp_(min=0).add_(exposure.background + exposure.shift)
        return mean.mul_(HELD_OUT / exposure.gain).clamp_(min=1e-9)

    def _learnt(
        self, fit, widths, doubt, margin: int, settings: dict, scale: float
    ) -> torch.Tensor:
        """Weights of the object that a network tells from a fit part, whose gain is larger as it has fewer photons."""
        usable, none = self.valid.numpy(), np.zeros(self.valid.shape, bool)
        pixels, rest = Pixels(usable, ~usable, none), 1 - HELD_OUT
        exposure = self.exposure
        weights = weights_of(
            told_by(settings)["weights_file"],
            *(fit.numpy(), pixels, widths, replace(exposure, floor=exposure.floor / rest)),
            scale=scale,
            gain=exposure.gain / rest,
            doubt=doubt,
        )
        return of_object(weights, margin)

    def _restore(self, blur, fit, iterations, tv_weight, settings, watch, *, start, scale):
        exposure, device = self.exposure, blur.device
        return algorithm_of(settings).restore(
            fit.to(device),
            blur,
            iterations=iterations,
            tv_weight=tv_weight,
            start=exposure.start(start),
            scale=scale,
            background=exposure.background,
            shift=exposure.shift,
            valid=self.valid.to(device),
            callback=watch,
        )


def _ideal(test: torch.Tensor) -> torch.Tensor:
    """The smallest possible deviance of each pixel, where the mean is the number itself."""
    return 2 * (test - torch.special.xlogy(test, test)).double()
