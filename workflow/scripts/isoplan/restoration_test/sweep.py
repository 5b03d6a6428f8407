"""Sweeps over iterations and TV weights, and rules that choose them without the truth.

A restoration test with `sweep_tv_weights` restores its pictures with each of these weights, and records the gain after
each number of iterations. It does so with true and with estimated PSFs (those of its methods that are in PSFS). The
best choice of all depends on the truth. A user can follow RULES:

    default      the test's own iterations and TV weight
    chosen       by held-out photons (`isoplan.restoration.choosing`), for each picture
    discrepancy  the test's TV weight; iterations stop as soon as chi-square is at most 1 per pixel (Morozov 1966;
                 for Richardson-Lucy: Bertero et al. 2010), or at the last one tried

Sweeps over light, widths of the PSFs or stride of the map consist of several tests.
"""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch

from isoplan.metrics.image import snr
from isoplan.metrics.regression import Resampling, interval
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.optics.exposure import sort_pixels
from isoplan.optics.model import PsfModel
from isoplan.restoration.algorithm import algorithm_of
from isoplan.restoration.candidates import candidates
from isoplan.restoration.choosing import choose
from isoplan.restoration.pieces import Piece
from isoplan.restoration_test.known import CROP_PX, Case, RestorationTest, start_and_scale
from isoplan.restoration_test.tables import RESAMPLES, described, mean_of
from isoplan.restoration_test.units import pictures_of
from isoplan.restoration_test.ways import STREAM, Ways

PSFS = ("true", "estimated")
RULES = ("default", "chosen", "discrepancy")
NEAR_DB = 0.1  # a choice that loses at most this is as good as the best
POINT = ("tv_weight", "iterations", "gain_dB")
SWEPT = ("psfs", "tv_weight", "iterations", "mean", "low", "high", "sd", "n")
CHOICE = (
    *("psfs", "rule", "mean", "low", "high", "n", "loss_db", "loss_low", "loss_high"),
    *("median_loss_db", "worst_loss_db", "near_share", "tv_weight", "iterations"),
)


class Sweep:
    """The sweep of a restoration test with `sweep_tv_weights`."""

    def __init__(self, test: RestorationTest):
        self.test, entry = test, test.test
        self.psfs = [name for name in PSFS if name in entry["methods"]]
        # Only iterations and weights are chosen here; `harm` tests the choice of PSFs.
        known = {"psf_scale": 1, "psf_shape": "map", "resolution_px": 0}
        self.settings = test.settings | known | {"iterations": "auto", "tv_weight": "auto"}
        self.default = entry["tv_weight"], entry["iterations"]
        self.weights = sorted({*entry["sweep_tv_weights"], entry["tv_weight"]})
        self.iterations = sorted({*candidates(self.settings), entry["iterations"]})

    def unit(self, unit: int, network, detects: PsfModel) -> np.ndarray:
        """Compute one unit of work: (pictures, psfs, points, len(POINT)) float64.

        The points are all pairs of weight and iterations, with iterations varying fastest, and then RULES. They are
        NaN if all cells raise the alarm.
        """
        pictures = []
        for index in pictures_of(self.test.test, unit):
            case = self.test.case(index)
            ways = Ways(self.test, case, index, network, detects)
            fields = [getattr(ways, f"{name}_field") for name in self.psfs]
            pictures.append([self._points(case, index, field) for field in fields])
        return np.array(pictures)

    def _points(self, case: Case, index: int, field) -> np.ndarray:
        count = len(self.weights) * len(self.iterations) + len(RULES)
        if field is None:
            return np.full((count, len(POINT)), np.nan)
        one = _Picture(self, case, field)
        found = {}
        for weight in self.weights:
            found |= {(weight, n): gain for n, gain in one.gains(weight, self.iterations).items()}
        grid = [(*key, gain) for key, gain in found.items()]
        chosen = one.chosen(f"{STREAM}/held-out/{index}")
        if chosen not in found:
            found[chosen] = one.gains(chosen[0], [chosen[1]])[chosen[1]]
        stopped = self.default[0], one.stopped
        rules = {"default": self.default, "chosen": chosen, "discrepancy": stopped}
        return np.array(grid + [(*rules[name], found[rules[name]]) for name in RULES])


class _Picture:
    """One degraded picture, and the PSFs to restore it with."""

    def __init__(self, sweep: Sweep, case: Case, field):
        self.sweep, self.case, self.device = sweep, case, sweep.test.device
        psfs, *places = field
        shape, order = case.observed.shape, sweep.settings["order"]
        self.blur = SpaceVariantBlur(psfs.to(self.device), *places, shape, order=order)
        pixels = sort_pixels(case.observed, case.exposure)
        self.usable = torch.from_numpy(pixels.usable).to(self.device)
        self.y = torch.from_numpy(np.where(pixels.usable, case.observed, 0)).to(self.device)
        self.brightness = start_and_scale(case.observed)
        self.stopped = None  # iterations of the discrepancy rule, set by `gains`

    def gains(self, weight: float, iterations: list[int]) -> dict[int, float]:
        """SNR gain in dB after each of these iterations."""
        inner, margin = (slice(CROP_PX, -CROP_PX),) * 2, self.blur.margin
        sharp, found, fits = self.case.sharp[inner], {}, []
        before, judged = snr(self.case.observed[inner], sharp), weight == self.sweep.default[0]

        def watch(iteration: int, x: torch.Tensor) -> None:
            if iteration in iterations:
                seen = x[margin:-margin, margin:-margin][inner].cpu().numpy()
                found[iteration] = snr(seen, sharp) - before
                if judged:
                    fits.append(self._chi_square(x) <= 1)

        algorithm_of(self.sweep.settings).restore(
            self.y,
            self.blur,
            iterations=iterations[-1],
            tv_weight=weight,
            shift=self.case.exposure.shift,
            valid=self.usable,
            callback=watch,
            **self.brightness,
        )
        if judged and len(fits) == len(self.sweep.iterations):
            self.stopped = iterations[fits.index(True) if any(fits) else -1]
        return found

    def _chi_square(self, x: torch.Tensor) -> float:
        """Mean over the pixels of (y - Ax)^2, divided by its variance."""
        mean = self.blur.forward(x).clamp_(min=0)[self.usable]
        variance = self.case.exposure.gain * mean + self.case.exposure.floor
        return float(((self.y[self.usable] - mean) ** 2 / variance.clamp(min=1e-9)).mean())

    def chosen(self, stream: str) -> tuple[float, int]:
        """TV weight and iterations chosen by held-out photons. stream: of random numbers."""
        whole = tuple(slice(0, length) for length in self.case.observed.shape)
        piece = Piece(self.case.observed, lambda _: self.blur, whole, lambda _: math.inf)
        choice = choose(
            [piece],
            self.sweep.settings,
            exposure=self.case.exposure,
            seed=self.sweep.test.seed,
            stream=stream,
            **self.brightness,
        )
        return choice["tv_weight"], choice["iterations"]


# Tables -------------------------------------------------------------------------------------------


def sweep_rows(sweep: Sweep, kept: np.ndarray) -> pd.DataFrame:
    """A table of the gain by TV weight and iterations, with a row for each kind of PSFs and each setting.

    Parameters
    ----------
    sweep
        The sweep.
    kept
        (pictures, psfs, points, len(POINT)), from `load_units`.

    Returns
    -------
    pandas.DataFrame
        Columns that describe the test (its own setting as default_tv_weight and default_iterations), and SWEPT: the
        setting, the mean gain in dB with its 95 % interval (bootstrap over pictures), sd and n.
    """
    rows = []
    for name, points, draws in _known(sweep, kept):
        for k, (weight, iterations) in enumerate(points[0, : -len(RULES), :2]):
            gains = points[:, k, -1]
            mean = mean_of(draws, gains)
            spread = gains.std(ddof=1) if len(gains) > 1 else np.nan
            limits = interval(mean) | {"sd": spread, "n": len(gains)}
            what = {"psfs": name, "tv_weight": weight, "iterations": int(iterations)}
            rows.append(what | {"mean": mean[0], **limits})
    return _described(sweep, pd.DataFrame(rows, columns=list(SWEPT)))


def choice_rows(sweep: Sweep, kept: np.ndarray) -> pd.DataFrame:
    """A table of the gain of each of RULES, and of its loss compared with the best choice for each picture.

    It also has rows for this "best" choice, and for "best-fixed", the setting that is best on average over the test's
    pictures.

    Parameters
    ----------
    sweep, kept
        As for `sweep_rows`.

    Returns
    -------
    pandas.DataFrame
        Columns that describe the test, as in `sweep_rows`, and CHOICE: mean gain and loss_db in dB with their 95 %
        intervals, median and worst loss, near_share (pictures that lose at most NEAR_DB), and the median tv_weight and
        iterations.
    """
    rows = []
    for name, points, draws in _known(sweep, kept):
        gains = points[:, :, -1]
        grid = gains.shape[1] - len(RULES)
        places = {"best": gains.argmax(1), "best-fixed": gains[:, :grid].mean(0).argmax()}
        places |= {rule: grid + k for k, rule in enumerate(RULES)}
        for rule, place in places.items():
            taken = points[np.arange(len(points)), place]
            loss = gains.max(1) - taken[:, -1]
            mean, lost = mean_of(draws, taken[:, -1]), mean_of(draws, loss)
            row = {"psfs": name, "rule": rule, "mean": mean[0], **interval(mean), "n": len(points)}
            row |= {"loss_db": lost[0], **{f"loss_{end}": v for end, v in interval(lost).items()}}
            row |= {"median_loss_db": np.median(loss), "worst_loss_db": loss.max()}
            row |= {"near_share": (loss <= NEAR_DB).mean()}
            rows.append(row | dict(zip(POINT, np.median(taken[:, :2], axis=0), strict=False)))
    return _described(sweep, pd.DataFrame(rows, columns=list(CHOICE)))


def _known(sweep: Sweep, kept: np.ndarray) -> Iterator[tuple[str, np.ndarray, Resampling]]:
    """Name, points and draws of each kind of PSFs that some pictures were restored with."""
    sources = np.array([sweep.test.source(index) for index in range(len(kept))])
    for k, name in enumerate(sweep.psfs):
        known = np.isfinite(kept[:, k, :, -1]).all(1)
        if known.any():
            yield name, kept[known, k], Resampling(sources[known], known.sum(), RESAMPLES)


def _described(sweep: Sweep, rows: pd.DataFrame) -> pd.DataFrame:
    about = described(sweep.test)
    about |= {f"default_{key}": about.pop(key) for key in POINT[:2]}
    for at, (name, value) in enumerate(about.items()):
        rows.insert(at, name, value)
    return rows
