"""A test of `autofocus_tests`: how near every method comes to focus, by number of pictures; and what scores tell of distance."""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache

import numpy as np
import pandas as pd
import torch

from isoplan.applications.autofocus import published, search
from isoplan.applications.autofocus.calibration import calibrate
from isoplan.applications.autofocus.focus import Finder, Focus, Look
from isoplan.applications.autofocus.measures import MEASURES
from isoplan.applications.autofocus.simulated import Simulated
from isoplan.applications.autofocus.stage import Guarded
from isoplan.base.seeds import numpy_rng, seed_of
from isoplan.networks import store
from isoplan.objects.scenes import draw_scenes
from isoplan.optics.defocus import Defocus
from isoplan.optics.surface_pictures import MARGIN_PX
from isoplan.psf_map.estimate import estimate_cells
from isoplan.psf_map.layout import VALIDITY, at_cutoff

FIT, TRIPLET, GOLDEN = "fit", "triplet", "golden-section"
BY = "triplet with "  # before a network's name
VALUES = ("error_um", "half_width_um", "known", "seconds")
COLUMNS = ["test", "trial", "object", "start_um", "method", "pictures", *VALUES]
CURVES = ["test", "method", "object", "z_um", "sharpness"]
CALIBRATION_OBJECTS = 3
CALIBRATION_NODES = 25  # slices of their stacks
SURE = 0.5  # validity of a network from which a cell counts


@dataclass(frozen=True)
class Trial:
    """A test.

    Parameters
    ----------
    test
        An entry of `autofocus_tests`.
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
    def depth_um(self) -> float:
        return self.optics.depth_of_field_um

    @property
    def methods(self) -> list[str]:
        return [
            *(FIT, TRIPLET, GOLDEN),
            *(f"{BY}{name}" for name in self.test["networks"]),
            *self.test["measures"],
        ]

    @property
    def scorers(self) -> list[str]:
        """What gives pictures a score, by method."""
        return [method for method in self.methods if method not in (TRIPLET, GOLDEN)]

    @property
    def z_um(self) -> np.ndarray:
        """Distances at which scores are compared."""
        reach = self.test["curve_depths"] * self.depth_um
        return np.linspace(-reach, reach, self.test["curve_nodes"])

    @property
    def stream(self) -> str:
        return f"autofocus-tests/{self.test['name']}"

    @property
    def units(self) -> int:
        return self.test["samples"]

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of a unit: those of a search, those of a curve."""
        return (
            len(self.methods) * self.test["pictures"] * len(VALUES),
            len(self.scorers) * self.test["curve_nodes"],
        )

    def calibrated(self, step: Callable[[], None] = lambda: None) -> Defocus:
        """The optics that the fit is told."""
        told = self.optics
        if self.test["calibration"] == "true":
            return told
        plain = replace(told, cylinder_waves=0.0, spherical_waves=0.0, softness_um=0.0)
        if self.test["calibration"] == "nominal":
            return plain
        z = np.linspace(-6, 6, CALIBRATION_NODES) * self.depth_um
        stacks = []
        for number in range(CALIBRATION_OBJECTS):
            scope = self._scope(f"{self.stream}/calibration", number, 0.0, noise_um=0.0)
            stacks.append((z, list(_slices(scope, z))))
        return calibrate(stacks, plain, step=step).optics

    def told(self, optics: Defocus) -> dict:
        """What methods are told, for a file: the optics, and curves of the scores that the published search takes."""
        scores = self.scores(Finder(optics))
        curves = {}
        for name in (FIT, *(f"{BY}{name}" for name in self.test["networks"])):
            each = []
            for number in range(CALIBRATION_OBJECTS):
                scope = self._scope(f"{self.stream}/calibration", number, 0.0, noise_um=0.0)
                each.append([scores[name](one) for one in _slices(scope, self.z_um)])
            curves[name] = published.curve_of(self.z_um, np.array(each)).moffat
        return {"optics": asdict(optics), "curves": curves}

    def scores(self, finder: Finder) -> dict[str, published.Score]:
        """Scores of pictures, lower for sharper ones, by scorer."""

        def fit(picture: np.ndarray) -> float:
            return finder.score(finder.look(picture, 0.0))

        made: dict[str, published.Score] = {FIT: fit}
        for name in self.test["networks"]:
            made[f"{BY}{name}"] = _network(self.networks[name], self.optics.cutoff)
        for name in self.test["measures"]:
            made[name] = lambda picture, measure=MEASURES[name]: -measure(picture)
        return made

    def unit(self, number: int, ready: "Ready") -> np.ndarray:
        """VALUES of every method by number of pictures, then a curve of every scorer (NaN if all objects have theirs)."""
        found = np.array([self._search(method, number, ready) for method in self.methods])
        curve = np.full((len(self.scorers), self.test["curve_nodes"]), np.nan)
        if number < self.test["objects_seen"]:
            # Bleaching would make one end of the curve darker than the other.
            steady = {"noise_um": 0.0, "bleaching": 0.0}
            scope = self._scope(f"{self.stream}/scenes", number, 0.0, **steady)
            pictures = list(_slices(scope, self.z_um))
            curve = np.array(
                [[-ready.scores[name](one) for one in pictures] for name in self.scorers]
            )
        return np.concatenate([found.ravel(), curve.ravel()])

    def start_um(self, number: int) -> float:
        """Where focus is, of a stage that starts at 0."""
        reach = self.test["start_depths"] * self.depth_um
        return float(numpy_rng(self.seed, f"{self.stream}/starts", number).uniform(-reach, reach))

    def object(self, number: int) -> int:
        return number % self.test["objects_seen"]

    def _search(self, method: str, number: int, ready: "Ready") -> np.ndarray:
        """(pictures, VALUES)."""
        focus, most = self.start_um(number), self.test["pictures"]
        scope = self._scope(f"{self.stream}/scenes", self.object(number), focus, number)
        reach = self.test["range_depths"] * self.depth_um
        guarded = Guarded(scope, (-reach, reach), 2 * self.test["backlash_um"])
        half, known, seconds = (np.full(most, np.nan) for _ in range(3))
        if method == FIT:
            seen: list[Focus] = []
            timed = _Timed(ready.finder)
            search.autofocus(guarded, timed, pictures=most, said=lambda one, z_um: seen.append(one))
            seconds[: len(seen)] = timed.seconds
            seen += [seen[-1]] * (most - len(seen))
            at = [one.z_um if one.known else 0.0 for one in seen]
            half = np.array([one.half_width_um for one in seen])
            known = np.array([float(one.known) for one in seen])
        elif method == GOLDEN:
            at = published.golden_section(guarded, ready.scores[FIT], most)
        elif method == TRIPLET or method in ready.curves:
            name = FIT if method == TRIPLET else method
            at = published.triplet(guarded, ready.scores[name], ready.curves[name], most)
        else:
            at = published.brent(guarded, ready.scores[method], most)
        # Positions are reached from below, half of the backlash behind; focus is where it was when the picture was taken.
        ends = np.array(at) - self.test["backlash_um"] / 2
        error = np.abs(ends - focus - self.test["drift_um"] * np.arange(most))
        return np.stack([error, half, known, seconds], 1)

    def _scope(
        self, stream: str, number: int, focus_um: float, seed: int = 0, **change
    ) -> Simulated:
        test = self.test
        stage = {name: test[name] for name in ("noise_um", "backlash_um", "drift_um")}
        stage |= {name: test[name] for name in ("bleaching", "exposure_noise")} | change
        side = test["size_px"] + 2 * MARGIN_PX
        scene = _scene(json.dumps(self.objects), side, self.seed, stream, number)
        most = (
            2 * (test["start_depths"] + test["range_depths"] + test["curve_depths"]) * self.depth_um
        )
        return Simulated(
            scene,
            self.optics,
            focus_um,
            photons=test["photons"],
            limits_um=(-most, most),
            seed=seed_of(self.seed, f"{stream}/camera", seed),
            **stage,
        )


class Ready:
    """What a job makes once: of a test, and of what `Trial.told` gave."""

    def __init__(self, trial: Trial, told: dict):
        self.finder = Finder(Defocus(**told["optics"]))
        self.scores = trial.scores(self.finder)
        self.curves = {
            name: published.Curve(tuple(values)) for name, values in told["curves"].items()
        }


class _Timed(Finder):
    """A finder that tells how long each decision took."""

    def __init__(self, finder: Finder):
        vars(self).update(vars(finder))
        self.seconds: list[float] = []

    def look(self, picture: np.ndarray, z_um: float) -> Look:
        self._begun = time.perf_counter()
        return super().look(picture, z_um)

    def focus(self, looks: list[Look], limits_um: tuple[float, float]) -> Focus:
        found = super().focus(looks, limits_um)
        self.seconds.append(time.perf_counter() - self._begun)
        return found


@lru_cache(2)  # every method sees the same one
def _scene(objects: str, side: int, seed: int, stream: str, number: int) -> torch.Tensor:
    spec = json.loads(objects)
    return draw_scenes(spec, 1, side, seed=seed, stream=stream, first=number, split="test")[0]


def _slices(scope: Simulated, z_um: np.ndarray) -> Iterator[np.ndarray]:
    for z in z_um:
        scope.move(float(z))
        yield scope.snap()


def _network(file: str, cutoff: float) -> published.Score:
    """The published score: the blur that a network finds, the median over its windows."""
    network, model, _ = store.load(file)
    model, binning = at_cutoff(model, cutoff)
    first = model.parameters[0].name
    names = [p.name for p in model.parameters]

    def score(picture: np.ndarray) -> float:
        stride = network.window_px * binning // 2
        cells = estimate_cells(
            network, model, picture.astype(np.float32), stride, torch.device("cpu"), binning=binning
        )
        valid = cells[VALIDITY] >= SURE
        values = cells[names.index(first)][valid]
        return float(np.median(values)) if values.size else math.nan

    return score


def table(trials: list[Trial], units: list[np.ndarray]) -> pd.DataFrame:
    """COLUMNS of every search. units: of each trial, its units' values (units, numbers)."""
    rows = []
    for trial, blocks in zip(trials, units, strict=True):
        most = trial.test["pictures"]
        each = blocks[:, : trial.shape[0]].reshape(-1, len(trial.methods), most, len(VALUES))
        for number, found in enumerate(each):
            told = trial.test["name"], number, trial.object(number), -trial.start_um(number)
            for method, by_count in zip(trial.methods, found, strict=True):
                rows += [(*told, method, n + 1, *values) for n, values in enumerate(by_count)]
    return pd.DataFrame(rows, columns=COLUMNS)


def curve_table(trials: list[Trial], units: list[np.ndarray]) -> pd.DataFrame:
    """CURVES of every object, from 0 for its blurriest picture to 1 for its sharpest; arguments as in `table`."""
    rows = []
    for trial, blocks in zip(trials, units, strict=True):
        count = min(trial.test["objects_seen"], trial.units)
        each = blocks[:count, trial.shape[0] :].reshape(count, len(trial.scorers), -1)
        for number, found in enumerate(each):
            for method, curve in zip(trial.scorers, found, strict=True):
                low, high = np.nanmin(curve), np.nanmax(curve)
                sharp = (np.where(np.isfinite(curve), curve, low) - low) / max(high - low, 1e-30)
                told = trial.test["name"], method, number
                rows += [(*told, z, v) for z, v in zip(trial.z_um, sharp, strict=True)]
    return pd.DataFrame(rows, columns=CURVES)
