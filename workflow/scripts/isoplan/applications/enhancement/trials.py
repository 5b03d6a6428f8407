"""An entry of `enhancements`: settings chosen on its training fields, and every method scored on its test fields."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from scipy import ndimage

from isoplan.applications.enhancement import fields, scores
from isoplan.applications.enhancement.detectors import detector
from isoplan.applications.enhancement.fields import Field, Layout, Place
from isoplan.applications.enhancement.filters import (
    FILTERS,
    RAW,
    TOLD,
    Camera,
    choose,
    noise_deviation,
)
from isoplan.applications.enhancement.networks import Enhancer, statistics
from isoplan.applications.enhancement.planted import planted
from isoplan.applications.enhancement.whole import DOUBTED, doubts
from isoplan.base.errors import UserError
from isoplan.optics.noise import estimate_noise

TARGET, TRUTH = "target", "truth"  # rows of the table that tell what can be reached
CROP_PX, LOOKED = 128, 32  # of the field that is looked at, and fields that are searched for it
SMOOTH_PX = 3.0  # standard deviation of the Gaussian under which structure is looked for
PICTURES, DOUBTS = "pictures", "doubts"  # what is looked at
# Of all methods the share of pixels that the input's counts speak against, and those of a second exposure, which only
# simulated pairs have; and of networks what `planted` says.
DOUBTED_BY = ("doubted", "doubted-again")
PLANTED = (*DOUBTED_BY, "planted-found", "planted-told", "planted-false")
METRICS = (
    *(*scores.COMPARED, *scores.PLAIN),
    *(f"{name}{scores.TRUTH}" for name in scores.COMPARED),
    *PLANTED,
)
COLUMNS = ["enhancement", "mosaic", "field", "method", "metric", "value"]
SETTINGS = ["enhancement", "method", "key", "setting", "error", "chosen", "at_end"]


def prepared(entry: dict, seed: int) -> dict:
    """What a study has to know before its test fields are looked at, as JSON keeps it.

    Parameters
    ----------
    entry : dict
        Of `enhancements`.
    seed : int
        Of the study.

    Returns
    -------
    dict
        layout of the fields, the input's camera (None if no method asks), and of each method what `choose` says, from
        training fields alone.

    Raises
    ------
    UserError
        If the fields or the camera cannot be used.
    """
    layout = fields.lay_out(entry, seed)
    pairs = list(fields.training_pairs(entry, layout, seed))
    camera = None
    inputs = [low for low, _ in pairs]
    if set(TOLD) & set(filters_of(entry)):
        camera = camera_of(entry, inputs)
    elif entry.get("networks"):
        try:
            camera = camera_of(entry, inputs)
        except (
            UserError
        ) as problem:  # networks do without, but what the counts speak against is not known
            print(f"doubts are not scored: {problem}")
    methods = {}
    for name in filters_of(entry):
        methods[name] = choose(name, pairs, camera or Camera())
        print(f"{name}: {FILTERS[name].key} {methods[name]['setting']:g}")
    told = camera and asdict(camera)
    return {
        "layout": layout.record(),
        "camera": told,
        "chosen_on": len(pairs),
        "methods": methods,
    }


def filters_of(entry: dict) -> list[str]:
    """The filters that an entry compares; none without pairs, as their settings are chosen by targets."""
    return entry["methods"] if entry.get("paired", True) else []


def camera_of(entry: dict, inputs: list[np.ndarray]) -> Camera:
    """The input's camera: of a simulated pair as it is, else as given, or estimated from training inputs (h, w)."""
    if not entry.get("folder"):
        low = detector(entry, "low")
        # Electrons in packets of as many as the excess noise factor have its mean and variance, as estimated gains do.
        return Camera(low.gain * low.excess, low.offset, low.read_noise_e / low.excess)
    gain, read = entry["gain"], entry["read_noise_e"]
    if gain is None or read is None:
        found, trouble = [], None
        for picture in inputs:
            try:
                counts = torch.from_numpy(np.ascontiguousarray(picture))
                found.append(estimate_noise(counts, offset=entry["offset"]))
            except UserError as problem:
                trouble = problem  # another field may tell
        if not found:
            raise UserError(
                f"enhancement {entry['name']}: no training field tells the input's gain ({trouble}); give gain and "
                f"read_noise_e, or leave out {', '.join(TOLD)}"
            )
        estimated = np.median(found, axis=0)
        gain = float(estimated[0]) if gain is None else gain
        read = float(estimated[1]) / gain if read is None else read
        print(f"the input's noise: gain {gain:.3g} counts per electron, {read:.3g} electrons")
    return Camera(gain, entry["offset"], read)


@dataclass(frozen=True)
class Trial:
    """The test of an entry.

    Parameters
    ----------
    entry : dict
        Of `enhancements`.
    seed : int
        Of the study.
    choice : dict
        From `prepared`.
    networks : tuple of str
        Files of the networks that the entry names, in their order.
    """

    entry: dict
    seed: int
    choice: dict
    networks: tuple[str, ...] = ()

    @cached_property
    def enhancers(self) -> dict[str, Enhancer]:
        """The networks, by name."""
        names = self.entry.get("networks", [])
        files = zip(names, self.networks, strict=True)
        return {name: Enhancer.load(file) for name, file in files}

    @property
    def trained(self) -> list[str | None]:
        """Fingerprints of the networks' trainings."""
        return [enhancer.card.get("fingerprint") for enhancer in self.enhancers.values()]

    @cached_property
    def layout(self) -> Layout:
        return Layout.of(self.choice["layout"])

    @property
    def camera(self) -> Camera:
        return Camera(**(self.choice["camera"] or {}))

    @property
    def names(self) -> list[str]:
        """Rows of a unit: the input, filters, networks, the target, and the truth, which only simulated pairs have."""
        return [RAW, *filters_of(self.entry), *self.entry.get("networks", []), TARGET, TRUTH]

    @property
    def places(self) -> list[Place]:
        """The test fields; a unit each."""
        return self.layout.test

    def enhanced(self, field: Field) -> Iterator[tuple[str, np.ndarray]]:
        """The input and each method's picture of a field, (h, w)."""
        yield RAW, field.low
        for name in filters_of(self.entry):
            setting = self.choice["methods"][name]["setting"]
            yield name, FILTERS[name].apply(field.low, setting, self.camera)
        for name, enhancer in self.enhancers.items():
            yield name, enhancer.apply(field.low, *statistics(field.low))

    def unit(self, number: int) -> np.ndarray:
        """Scores of one test field: (1, names, METRICS) float64, NaN where there is none."""
        field = fields.read(self.entry, self.layout, self.places[number], self.seed)
        rows = {}
        for name, picture in self.enhanced(field):
            rows[name] = self._scored(picture, field)
            if not self.choice["camera"] or name == RAW:
                continue
            for metric, counts in zip(DOUBTED_BY, (field.low, field.again), strict=True):
                if counts is not None:
                    doubt = doubts(counts, picture, self.camera)
                    rows[name][metric] = float((np.abs(doubt) >= DOUBTED).mean())
            if name in self.enhancers:
                rows[name] |= planted(field.low, picture, self.camera)
        rows[TARGET] = scores.of_picture(field.high) | self._true(field.high, field)
        if field.truth is not None:
            # What the target's own noise leaves to any method.
            rows[TRUTH] = scores.against(field.truth, field.high)
        found = [[rows.get(name, {}).get(m, np.nan) for m in METRICS] for name in self.names]
        return np.array([found])

    @property
    def shown(self) -> int:
        """The test field that is looked at: of LOOKED ones at most, spread over all, the one whose target has most structure."""
        count = len(self.places)
        numbers = np.linspace(0, count - 1, min(count, LOOKED)).round().astype(int)
        read = (fields.read(self.entry, self.layout, self.places[n], self.seed) for n in numbers)
        return int(numbers[np.argmax([busiest(field.high)[0] for field in read])])

    def pictures(self, number: int, side_px: int = CROP_PX) -> dict[str, dict[str, np.ndarray]]:
        """Crops of a test field, where its target has most structure: float32 (side_px, side_px) at most, by name.

        PICTURES are fitted to the target, or as bright as one that shows another place; DOUBTS are in standard deviations of the input's noise, where its camera is known.
        """
        field = fields.read(self.entry, self.layout, self.places[number], self.seed)
        window = busiest(field.high, side_px)[1]
        found: dict[str, dict[str, np.ndarray]] = {PICTURES: {}, DOUBTS: {}}
        for name, made in self.enhanced(field):
            fit = scores.fitted if self.layout.elsewhere is None else scores.as_bright
            found[PICTURES][name] = fit(made, field.high)
            if self.choice["camera"] and name != RAW:
                found[DOUBTS][name] = doubts(field.low, made, self.camera)
        found[PICTURES][TARGET] = field.high
        return {
            kind: {name: one[window].astype(np.float32) for name, one in ones.items()}
            for kind, ones in found.items()
        }

    def _scored(self, picture: np.ndarray, field: Field) -> dict[str, float]:
        if self.layout.elsewhere:
            return scores.of_picture(picture)
        return scores.against(picture, field.high) | self._true(picture, field)

    def _true(self, picture: np.ndarray, field: Field) -> dict[str, float]:
        if field.truth is None:
            return {}
        found = scores.against(picture, field.truth)
        return {f"{name}{scores.TRUTH}": found[name] for name in scores.COMPARED}


def busiest(picture: np.ndarray, side_px: int = CROP_PX) -> tuple[float, tuple[slice, slice]]:
    """The square of a picture with most structure, over its noise, and how much that is.

    Examples
    --------
    >>> picture = np.random.default_rng(0).normal(size=(256, 256))
    >>> picture[120:140, 30:50] += 20
    >>> busiest(picture, 128)[1]
    (slice(64, 192, None), slice(0, 128, None))
    """
    smooth = ndimage.gaussian_filter(np.asarray(picture, float), SMOOTH_PX)
    ends = [max(n - side_px, 0) for n in picture.shape]
    step = max(side_px // 2, 1)
    windows = [
        (slice(y, y + side_px), slice(x, x + side_px))
        for y in range(0, ends[0] + 1, step)
        for x in range(0, ends[1] + 1, step)
    ]
    spreads = [smooth[window].std() for window in windows]
    best = int(np.argmax(spreads))
    noise = max(noise_deviation(np.asarray(picture, float)), 1e-12)
    return float(spreads[best] / noise), windows[best]


def table(trials: list[Trial], units: list[np.ndarray]) -> pd.DataFrame:
    """COLUMNS, a row for each number that there is.

    units: of each trial, (test fields, names, METRICS).
    """
    rows = [
        (trial.entry["name"], place.mosaic, place.name, method, metric, values[k, i, j])
        for trial, values in zip(trials, units, strict=True)
        for k, place in enumerate(trial.places)
        for i, method in enumerate(trial.names)
        for j, metric in enumerate(METRICS)
        if np.isfinite(values[k, i, j])
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def settings_table(trials: list[Trial]) -> pd.DataFrame:
    """SETTINGS, a row for each setting that was tried, with its mean squared error over training fields."""
    rows = [
        (trial.entry["name"], name, FILTERS[name].key, setting, value, *_marks(found, setting))
        for trial in trials
        for name, found in trial.choice["methods"].items()
        for setting, value in found["tried"]
    ]
    return pd.DataFrame(rows, columns=SETTINGS)


def _marks(found: dict, setting: float) -> tuple[bool, bool]:
    chosen = setting == found["setting"]
    return chosen, chosen and found["at_end"]
