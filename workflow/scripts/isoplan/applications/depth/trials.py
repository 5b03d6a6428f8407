"""A test of `depth_tests`: pictures of surfaces, and how near every method comes to their heights."""

import time
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch

from isoplan.applications.depth.calibration import Calibration, calibrate
from isoplan.applications.depth.heights import HeightFit, HeightMap, estimate_heights
from isoplan.applications.depth.known import of_plane
from isoplan.applications.depth.printed import raw_depth
from isoplan.base.seeds import numpy_rng
from isoplan.objects.scenes import draw_scenes
from isoplan.optics.defocus import Defocus
from isoplan.optics.surface_pictures import MARGIN_PX, exposed, picture
from isoplan.optics.surfaces import drawn, surface
from isoplan.restoration.in_memory import Counts

FIT = "fit"
SHOWN_PX = 1024  # at most, of a picture's side
VALUES = (
    *("error_um", "error_share", "r2", "r2_line", "sign_right", "covered", "half_width_um"),
    *("valid_share", "doubted", "error_all_share", "seconds"),
)
COLUMNS = ["test", "photons", "picture", "method", *VALUES]
CALIBRATION_TILT_DEG, CALIBRATION_PHOTONS = 6.0, 1e4


@dataclass(frozen=True)
class Trial:
    """A test.

    Parameters
    ----------
    test
        An entry of `depth_tests`.
    objects
        The entry of `objects` that it names.
    seed
        The study's seed.
    networks
        Files of the networks that it names, by name.
    """

    test: dict
    objects: dict
    seed: int
    networks: dict[str, str] = field(default_factory=dict)

    @property
    def optics(self) -> Defocus:
        test = self.test
        return Defocus(
            test["na"],
            test["wavelength_um"],
            test["pixel_size_um"],
            cylinder_waves=test["cylinder_waves"],
            axis_rad=test["axis_rad"],
            spherical_waves=test["spherical_waves"],
            softness_um=test["softness_px"] * test["pixel_size_um"],
        )

    @property
    def methods(self) -> list[str]:
        return [FIT, *self.test["networks"]]

    @property
    def stream(self) -> str:
        return f"depth-tests/{self.test['name']}"

    @property
    def units(self) -> list[tuple[float, int]]:
        """Photons and number of each picture."""
        return [
            (photons, k) for photons in self.test["photons"] for k in range(self.test["samples"])
        ]

    def calibration(self, step=lambda: None) -> tuple[Calibration, dict[str, list[float]]]:
        """What the fit is told, and scale and offset (um) of each other method."""
        shape = self.test["size_px"], self.test["size_px"]
        told = self.optics
        if self.test["calibration"] == "nominal":
            told = replace(told, spherical_waves=0.0, softness_um=0.0)
        counts, heights = self._calibration_plane()
        half: dict[str, float] = {}
        offset = 0.0
        if self.test["calibration"] == "plane":
            plain = Defocus(told.na, told.wavelength_um, told.pixel_size_um)
            windows = of_plane(Counts(counts), CALIBRATION_TILT_DEG, 0.0, plain)
            told, half, offset = calibrate(windows, plain, step=step)
        scales = {}
        for name, file in self.networks.items():
            raw, valid, rows, columns = raw_depth(file, counts, told)
            true = _at(heights, rows, columns)
            scales[name] = np.polyfit(raw[valid], true[valid], 1).tolist()
        return Calibration(told, half, offset, (), shape), scales

    def sample(self, photons: float, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Counts (h, w) and true heights (h, w) in um of a picture; with every light it shows the same surface."""
        side = self.test["size_px"] + 2 * MARGIN_PX
        heights = drawn(self.test, side, self.test["pixel_size_um"], self.seed, self.stream, number)
        rng = numpy_rng(self.seed, f"{self.stream}/photons", number)
        return self._taken(heights, number, photons, rng), _inner(heights)

    def _calibration_plane(self) -> tuple[np.ndarray, np.ndarray]:
        side = self.test["size_px"] + 2 * MARGIN_PX
        spec = {"surface": "plane", "tilt_deg": CALIBRATION_TILT_DEG}

        rng = numpy_rng(self.seed, f"{self.stream}/calibration", 0)
        heights = surface(spec, side, self.test["pixel_size_um"], rng, towards_deg=0.0)
        number = self.test["samples"]  # a scene of its own
        return self._taken(heights, number, CALIBRATION_PHOTONS, rng), _inner(heights)

    def _taken(self, heights: torch.Tensor, number: int, photons: float, rng) -> np.ndarray:
        scene = draw_scenes(
            self.objects,
            1,
            len(heights),
            seed=self.seed,
            stream=f"{self.stream}/scenes",
            first=number,
            split="test",
        )[0]
        return exposed(picture(scene, heights, self.optics), photons, rng)

    def found(self, counts: np.ndarray, calibration: Calibration) -> HeightMap:
        return estimate_heights(Counts(counts), HeightFit(calibration, self.test["reach_um"]))

    def unit(self, number: int, calibration: Calibration, scales: dict) -> np.ndarray:
        """(methods, VALUES) of one picture."""
        counts, heights = self.sample(*self.units[number])
        depth = self.optics.depth_of_field_um
        rows = []
        for method in self.methods:
            begun, made = time.perf_counter(), None
            if method == FIT:
                made = self.found(counts, calibration)
                place = made.layout.centres_px(0), made.layout.centres_px(1)
                height, half, valid = made.height_um, made.half_width_um, made.valid
            else:
                raw, valid, *place = raw_depth(self.networks[method], counts, calibration.optics)
                height = np.polyval(scales[method], raw)
                half = np.full(height.shape, np.nan)
            seconds = time.perf_counter() - begun
            true = _at(heights, *place)
            row = scores(height, half, valid, true, np.ptp(heights), depth)
            doubted = float(made.doubt is not None) if made else np.nan
            rows.append(row | {"seconds": seconds, "doubted": doubted})
        return np.array([[row[name] for name in VALUES] for row in rows])

    def pictures(self, calibration: Calibration) -> dict[str, np.ndarray]:
        """Of the first picture, in the most light: itself, and the true and found heights of its cells."""
        counts, heights = self.sample(max(self.test["photons"]), 0)
        made = self.found(counts, calibration)
        true = _at(heights, made.layout.centres_px(0), made.layout.centres_px(1))
        step = max(1, counts.shape[0] // SHOWN_PX)
        return {
            "picture": counts[::step, ::step],
            "true": true,
            "found": made.height_um,
            "half_width": made.half_width_um,
            "validity": made.validity,
            "cell_um": np.array(made.layout.stride_px * self.test["pixel_size_um"]),
        }


def scores(height, half, valid, true, whole_um: float, depth_um: float) -> dict[str, float]:
    """VALUES but `seconds` and `doubted`, over the valid cells.

    Parameters
    ----------
    height, half, true
        (ny, nx) found heights, half-widths of 90 % intervals, true heights in um.
    valid
        (ny, nx) bool.
    whole_um
        The true surface's range, of which errors are shares.
    depth_um
        Depth of field: beyond it the sign counts.
    """
    apart = np.abs(height - true)
    own = valid & np.isfinite(height)
    found = dict.fromkeys(VALUES, np.nan) | {"valid_share": float(own.mean())}
    found["error_all_share"] = float(np.nanmean(apart) / whole_um)
    if not own.any():
        return found
    far = own & (np.abs(true) > depth_um)
    line = np.polyfit(true[own], height[own], 1) if np.ptp(true[own]) > 0 else (0.0, 0.0)
    about = height[own] - np.polyval(line, true[own])
    return found | {
        "error_um": float(apart[own].mean()),
        "error_share": float(apart[own].mean() / whole_um),
        "r2": _r2(height[own] - true[own], true[own]),
        "r2_line": _r2(about, height[own]),
        "sign_right": float((np.sign(height) == np.sign(true))[far].mean())
        if far.any()
        else np.nan,
        "covered": float((apart <= half)[own].mean()) if np.isfinite(half[own]).any() else np.nan,
        "half_width_um": float(np.median(half[own])),
    }


def _r2(left: np.ndarray, values: np.ndarray) -> float:
    spread = float(np.var(values))
    return 1 - float(np.mean(left**2)) / spread if spread else np.nan


def _inner(heights: torch.Tensor) -> np.ndarray:
    return heights[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX].numpy()


def _at(heights: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Heights (ny, nx) at places in px; the last cells of a picture may lie beyond its edge."""
    y, x = (
        np.clip(np.round(at).astype(int), 0, n - 1)
        for at, n in zip((rows, columns), heights.shape, strict=True)
    )
    return heights[np.ix_(y, x)]


def table(trials: list[Trial], units: list[np.ndarray]) -> pd.DataFrame:
    """COLUMNS of every picture and method. units: of each trial, those of all units together."""
    rows = []
    for trial, blocks in zip(trials, units, strict=True):
        each = blocks.reshape(len(trial.units), len(trial.methods), len(VALUES))
        for (photons, number), found in zip(trial.units, each, strict=True):
            for method, values in zip(trial.methods, found, strict=True):
                rows.append((trial.test["name"], photons, number, method, *values))
    return pd.DataFrame(rows, columns=COLUMNS)
