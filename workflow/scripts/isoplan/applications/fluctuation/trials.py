"""Simulated sequences with a known truth, made finer by every method, and scored."""

import time
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import ndimage

from isoplan.applications.fluctuation import methods, moments, scores, simulator
from isoplan.applications.fluctuation.camera import Camera
from isoplan.applications.fluctuation.formation import Psf
from isoplan.applications.fluctuation.methods import Found, Scene
from isoplan.applications.fluctuation.sequence import Frames
from isoplan.applications.fluctuation.settings import prepare
from isoplan.base.seeds import seed_of

TRUTH = "truth"  # the name under which the table tells what is true
METRICS = (
    *("psnr_db", "jaccard", "jaccard_best", "total", "dip", "amplitude_e", "rate"),
    *("total_held", "amplitude_held", "rate_held"),
    *("information_z", "refused", "neighbours", "seconds"),
)
COLUMNS = ["test", "seed", "method", "metric", "value"]


@dataclass(frozen=True)
class Trial:
    """One test of a study.

    Parameters
    ----------
    test : dict
        An entry of `fluctuation_tests`.
    seed : int
        Of the study.
    """

    test: dict
    seed: int

    @cached_property
    def settings(self) -> simulator.Settings:
        """What its sequences are made from."""
        test = self.test
        same = (
            *("structure", "density_per_um", "frames", "factor", "photons", "on_frames"),
            *("off_frames", "bleaching_frames", "background_e", "flicker", "drift_px"),
            "out_of_focus_per_um2",
        )
        return simulator.Settings(
            **{key: test[key] for key in same},
            spacing_um=test["spacing_nm"] / 1000,
            shape=(test["size_px"],) * 2,
            pixel_um=test["pixel_nm"] / 1000,
            psf=Psf(test["psf_fwhm_px"], test["psf_shape"]),
            camera=Camera(
                gain=test["gain"], read_noise_e=test["read_noise_e"], excess=test["excess"]
            ),
        )

    @property
    def fine_nm(self) -> float:
        """Size of a fine pixel."""
        return self.test["pixel_nm"] / self.test["factor"]

    @property
    def names(self) -> list[str]:
        """The rows of a unit: the methods, and the truth."""
        return [*self.test["methods"], TRUTH]

    def sequence(self, number: int) -> simulator.Sequence:
        """Sequences of one number have the same structure in all tests."""
        return simulator.simulate(self.settings, seed_of(self.seed, "fluctuation", number))

    def scene(self, sequence: simulator.Sequence) -> Scene:
        """The sequence as the methods get it: told the camera and PSF, not the drift and the flicker."""
        told, test = self.settings, self.test
        frames = Frames(sequence.counts, test["name"])
        camera = told.camera
        settings, _ = prepare(
            frames,
            replace(told.psf, fwhm_px=told.psf.fwhm_px * test["wrong_fwhm"]),
            factor=told.factor,
            excess=camera.excess,
            gain=camera.gain * test["wrong_gain"],
            offset=camera.offset,
            read_noise_e=camera.read_noise_e,
        )
        return Scene(frames, settings)

    def unit(self, number: int) -> np.ndarray:
        """Scores of one sequence: (1, methods and truth, METRICS) float64, NaN where there is none."""
        sequence = self.sequence(number)
        scene = self.scene(sequence)
        rows = [self._scored(name, scene, sequence) for name in self.test["methods"]]
        rows.append(self._true(sequence))
        return np.array([[[row.get(metric, np.nan) for metric in METRICS] for row in rows]])

    def pictures(self, number: int, chosen: tuple[str, ...]) -> dict[str, np.ndarray]:
        """Those of the chosen methods that the test has, and the truth, all blurred as they are compared."""
        sequence = self.sequence(number)
        scene = self.scene(sequence)
        made = {
            name: methods.apply(name, scene, self._psnr(sequence)).picture
            for name in chosen
            if name in self.test["methods"]
        }
        sigma = scores.SIGMA_NM / self.fine_nm
        return {
            name: ndimage.gaussian_filter(picture.astype(np.float32), sigma, mode="constant")
            for name, picture in {**made, TRUTH: sequence.truth}.items()
        }

    def _psnr(self, sequence: simulator.Sequence):
        return lambda picture: scores.psnr(picture, sequence.truth, pixel_nm=self.fine_nm)

    def _scored(self, name: str, scene: Scene, sequence: simulator.Sequence) -> dict[str, float]:
        scene = replace(scene)  # one that remembers nothing, so that each method takes its own time
        begin = time.perf_counter()
        found = methods.apply(name, scene, self._psnr(sequence))
        seconds = time.perf_counter() - begin
        row = self._against(found, sequence)
        return row | found.facts | self._held(found.facts, sequence) | {"seconds": seconds}

    def _held(self, facts: dict[str, float], sequence: simulator.Sequence) -> dict[str, float]:
        """1 for each interval that holds what is true, 0 for each that does not."""
        true = self._switching()
        pairs = {
            "total_held": ("emission_low_e", "emission_high_e", float(sequence.truth.sum())),
            "amplitude_held": ("amplitude_low_e", "amplitude_high_e", true.get("amplitude_e")),
            "rate_held": ("rate_low", "rate_high", true.get("rate")),
        }
        return {
            name: float(facts[low] <= right <= facts[high])
            for name, (low, high, right) in pairs.items()
            if low in facts and right is not None
        }

    def _against(self, found: Found, sequence: simulator.Sequence) -> dict[str, float]:
        picture, truth = found.picture, sequence.truth
        row = {
            "psnr_db": self._psnr(sequence)(picture),
            "jaccard": scores.jaccard(picture, truth),
            "jaccard_best": scores.best_jaccard(picture, truth)[0],
        }
        if found.emission:
            row["total"] = float(picture.sum(dtype=float) / truth.sum())
        return row | self._lines(picture, sequence)

    def _lines(self, picture: np.ndarray, sequence: simulator.Sequence) -> dict[str, float]:
        if self.test["structure"] != "lines":
            return {}
        return {"dip": dip(picture, sequence.curves, self.test["factor"])}

    def _true(self, sequence: simulator.Sequence) -> dict[str, float]:
        """What the likelihood's numbers are compared with."""
        return self._lines(sequence.truth, sequence) | self._switching()

    def _switching(self) -> dict[str, float]:
        """Of the emitters. Where nothing is ever off, there is nothing to tell."""
        on, off = self.test["on_frames"], self.test["off_frames"]
        if not off:
            return {}
        amplitude = self.test["photons"] * (1 - moments.share_on(on, off))
        return {"amplitude_e": amplitude, "rate": moments.rate(on, off)}


def dip(picture: np.ndarray, curves: list[np.ndarray], factor: int) -> float:
    """How far the lines of triplets are separated: the mean of `scores.dip` over all triplets.

    Parameters
    ----------
    picture : ndarray
        (h, w) on the fine grid.
    curves : list of ndarray
        (2, 2) ends (y, x) in camera pixels of each line, three in a row to a triplet.
    factor : int
        Fine pixels per camera pixel.

    Examples
    --------
    >>> lines = [np.array([[2, x], [8, x]]) + 0.5 / 4 for x in (4.0, 5.0, 6.0)]
    >>> picture = np.zeros((40, 40))
    >>> picture[:, [16, 20, 24]] = 1
    >>> round(dip(picture, lines, 4), 6)
    1.0
    """
    found = []
    for triplet in np.reshape(curves, (-1, 3, 2, 2)) * factor - 0.5:
        left, middle, right = triplet
        along = middle[1] - middle[0]
        across = (right - left).mean(0) / 2
        spacing = np.hypot(*across)
        # Samples a fine pixel apart, the middle line in their middle. The ends are left out, where a line thins out.
        n, reach = int(np.hypot(*along)), int(np.ceil(spacing)) + 3
        at = middle[0] + np.linspace(0.1, 0.9, n)[:, None] * along
        steps = np.arange(-reach, reach + 1)[:, None] * across / spacing
        where = (at[:, None] + steps).transpose(2, 0, 1)
        patch = ndimage.map_coordinates(np.asarray(picture, float), where, order=1)
        found.append(scores.dip(patch, tuple(reach + spacing * np.array([-1, 0, 1]))))
    return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")


def table(trials: list[Trial], units: list[np.ndarray]) -> pd.DataFrame:
    """COLUMNS, a row for each number that there is.

    units: of each test, (seeds, methods and truth, METRICS).
    """
    rows = [
        (trial.test["name"], seed, method, metric, values[seed, i, j])
        for trial, values in zip(trials, units, strict=True)
        for seed in range(len(values))
        for i, method in enumerate(trial.names)
        for j, metric in enumerate(METRICS)
        if np.isfinite(values[seed, i, j])
    ]
    return pd.DataFrame(rows, columns=COLUMNS)
