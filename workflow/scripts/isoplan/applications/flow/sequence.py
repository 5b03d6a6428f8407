"""What moved in the pictures of a sequence: of each as of one picture, which way it went, and where it went from picture to picture."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import map_coordinates
from torch.nn import functional as F

from isoplan.applications.flow.between import correlations, way
from isoplan.applications.flow.fit import BLOCK, CHANNELS, STEP_PX, FlowFit, FlowMap
from isoplan.base.errors import UserError
from isoplan.mosaic import tiles
from isoplan.mosaic.window import Picture
from isoplan.psf_map.layout import MapLayout

FOLLOWED = ("heading", "follows", "still")  # further channels of a sequence
UNITS = ("rad", "0 or 1", "0 or 1")
DOUBTED = 8  # pictures that are asked whether all is at rest
IN_TIME = "its pictures lie along axis Z of the file, and are taken to follow each other in time"
MOSTLY_STILL = 0.5  # share of the cells whose blur is no motion, above which that of all others is doubted, too
STILL = "optics other than those given, as what is seen is in the same place in the next picture"
KNOWN = 0.5  # share of the weight of cells about a place that must be known


TRACK_COLUMNS = (
    *("track", "frame", "time_s", "y_px", "x_px", "place_uncertainty_um"),
    *("middle_um", "middle_uncertainty_um"),
)


class Frames:
    """The pictures of a sequence, of which at most two are open.

    Parameters
    ----------
    opened
        Function that opens the picture of a number.
    count
        How many there are.
    """

    def __init__(self, opened: Callable[[int], Picture], count: int):
        self.opened, self.count = opened, count
        self._open: dict[int, Picture] = {}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Picture:
        if not 0 <= number < self.count:
            raise IndexError(number)
        for other in [k for k in self._open if k not in (number - 1, number, number + 1)]:
            self._open.pop(other).close()
        if number not in self._open:
            while len(self._open) > 1:
                self._open.pop(min(self._open)).close()
            self._open[number] = self.opened(number)
        return self._open[number]

    def some(self, most: int) -> Iterator[Picture]:
        """At most so many, evenly spread."""
        return (self[k] for k in tiles.spread(self.count, most))

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def __enter__(self) -> "Frames":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@dataclass(frozen=True)
class FlowSequence:
    """What moved in a sequence.

    Attributes
    ----------
    frames
        The map of each picture, during its exposure.
    followed
        (t, len(FOLLOWED), ny, nx). heading: the direction (rad, from -pi to pi, from x towards growing y), NaN where it is not told from its opposite;
        follows: 1 where what is seen moved until the next picture as motion blur tells, 0 where not; still: 1 where it is in the same place there,
        though blur tells that it moved, so that the cell is not valid. NaN where that is not known, as in the last picture.
    exposure_ms, interval_ms
        Of a picture, and from the beginning of one to that of the next.
    """

    frames: list[FlowMap]
    followed: np.ndarray
    exposure_ms: float
    interval_ms: float

    def __getitem__(self, channel: str) -> np.ndarray:
        """(t, ny, nx) of a channel."""
        if channel in FOLLOWED:
            return self.followed[:, FOLLOWED.index(channel)]
        return np.stack([one[channel] for one in self.frames])

    @property
    def doubt(self) -> str:
        return self.frames[0].doubt

    @cached_property
    def whole(self) -> FlowMap:
        """The cells of all pictures, as those of one: its channels are (t, ny, nx)."""
        first = self.frames[0]
        values = np.stack([one.values for one in self.frames], 1)
        return FlowMap(first.layout, values, first.pixel_size_um, first.longest_um, first.doubt)

    def table(self) -> pd.DataFrame:
        """A row per picture and cell: number of the picture, and what `FlowMap.table` has, with heading and follows."""
        parts = []
        for k, one in enumerate(self.frames):
            rows = one.table(self.exposure_ms)
            rows.insert(0, "frame", k)
            for name, unit, values in zip(FOLLOWED, UNITS, self.followed[k], strict=True):
                rows[f"{name}_{unit}" if unit == "rad" else name] = values.ravel()
            parts.append(rows)
        return pd.concat(parts, ignore_index=True)

    def tracks(self) -> pd.DataFrame:
        """Where what was in each cell of the first picture was in the middle of every exposure, as long as that is known.

        Returns
        -------
        pandas.DataFrame
            TRACK_COLUMNS: place_uncertainty_um (half-width of an interval that holds about 90 %, if errors of all pictures add), middle_um (distance from
            focus, without sign), middle_uncertainty_um.
        """
        layout, size = self.frames[0].layout, self.frames[0].pixel_size_um
        valid = self.frames[0].valid & np.isfinite(self["heading"][0])
        place = np.stack(
            [layout.centres_px(axis)[at] for axis, at in enumerate(valid.nonzero())], 1
        )
        number, unsure = np.arange(len(place)), np.zeros(len(place))
        rows = []
        for k in range(len(self.frames)):
            depth = self._at(k, place, ("middle", "middle_uncertainty"))
            told = np.column_stack([number, np.full_like(number, k), place, unsure * size, depth.T])
            rows.append(told)
            if k + 1 == len(self.frames) or not len(place):
                break
            y, x, half = self._moved(k, place)
            there = place + np.stack([y, x], 1)
            # Halfway between both, speeds are about their mean; the last picture has no headings.
            y_next, x_next, _ = self._moved(k + 1, there)
            y, x = (np.where(np.isfinite(b), (a + b) / 2, a) for a, b in ((y, y_next), (x, x_next)))
            place, unsure = place + np.stack([y, x], 1), unsure + half
            inside = np.isfinite(place).all(1)
            inside &= ((place >= 0) & (place <= np.array(layout.shape_px) - 1)).all(1)
            place, unsure, number = place[inside], unsure[inside], number[inside]
        names = [name for name in TRACK_COLUMNS if name != "time_s"]
        found = pd.DataFrame(np.concatenate(rows), columns=names)
        found = found.astype({"track": int, "frame": int}).sort_values(["track", "frame"])
        found["time_s"] = found["frame"] * self.interval_ms / 1000
        return found[list(TRACK_COLUMNS)].reset_index(drop=True)

    def _moved(self, frame: int, place: np.ndarray) -> np.ndarray:
        """(3, n): displacement along y and x (px) until the next picture, and the half-width of its interval, at places (n, 2) px."""
        one, ratio = self.frames[frame], self.interval_ms / self.exposure_ms
        heading = self.followed[frame, FOLLOWED.index("heading")]
        length = one["displacement"] * ratio / one.pixel_size_um
        half = one["displacement_uncertainty"] * ratio / one.pixel_size_um
        # Sideways, a direction counts by as much as it leads away.
        half = np.hypot(half, length * np.sin(one["direction_uncertainty"]))
        values = np.stack([length * np.sin(heading), length * np.cos(heading), half])
        return self._interpolated(one.layout, values, place)

    def _at(self, frame: int, place: np.ndarray, channels: tuple[str, ...]) -> np.ndarray:
        """(len(channels), n) at places (n, 2) px."""
        one = self.frames[frame]
        return self._interpolated(one.layout, np.stack([one[name] for name in channels]), place)

    @staticmethod
    def _interpolated(layout: MapLayout, values: np.ndarray, place: np.ndarray) -> np.ndarray:
        """(k, n) between known cells of (k, ny, nx), at places (n, 2) px; NaN where few of those around are known."""
        at = ((place - (layout.stride_px - 1) / 2) / layout.stride_px).T
        known = np.isfinite(values).all(0)
        how = {"order": 1, "mode": "nearest"}
        weight = map_coordinates(known.astype(float), at, **how)
        sums = [map_coordinates(np.where(known, one, 0.0), at, **how) for one in values]
        return np.where(weight >= KNOWN, np.array(sums) / np.maximum(weight, 1e-12), np.nan)


def sequence_unit(
    frames: Frames, fit: FlowFit, layout: MapLayout, number: int, ratio: float
) -> np.ndarray:
    """CHANNELS and FOLLOWED (len, ny, nx) of one unit's cells in one picture; units count picture by picture.

    ratio: time from picture to picture over that of an exposure.
    """
    frame, unit = divmod(number, len(layout.units))
    values = fit.unit(frames[frame], layout, unit)
    followed = np.full((len(FOLLOWED), *values.shape[1:]), np.nan, np.float32)
    if frame + 1 < len(frames):
        rows, columns = layout.units[unit]
        for block in tiles.shards(values.shape[1:], BLOCK):
            tops, lefts = (
                (np.arange(part.start, part.stop) + cells.start - 1) * fit.stride_px
                for part, cells in zip(block, (rows, columns), strict=True)
            )
            place = (slice(None), *block)
            pair = frames[frame], frames[frame + 1]
            followed[place] = _followed(pair, fit, tops, lefts, values[place], ratio)
    return np.concatenate([values, followed])


def _followed(
    pair: tuple[Picture, Picture],
    fit: FlowFit,
    tops: np.ndarray,
    lefts: np.ndarray,
    values: np.ndarray,
    ratio: float,
) -> np.ndarray:
    """FOLLOWED (len, ny, nx) of the cells whose windows begin at all combinations of tops and lefts; values: their CHANNELS."""
    told = np.full((len(FOLLOWED), *values.shape[1:]), np.nan, np.float32)
    side, binning = fit.window_px, fit.binning
    views = (one.seamless(tops, lefts, side) for one in pair)
    for (first, served), (second, _) in zip(*views, strict=True):
        some = served & (values[-1] > 0)
        if not some.any():
            continue
        area = tops[0], tops[-1] + side, lefts[0], lefts[-1] + side
        windows = [
            F.avg_pool2d(torch.from_numpy(read(*area))[None], binning)[0]
            .unfold(0, side // binning, STEP_PX)
            .unfold(1, side // binning, STEP_PX)[torch.from_numpy(some)]
            for read in (first, second)
        ]
        known = torch.stack([one.isfinite().all(2).all(1) for one in windows]).all(0)
        some[some] = known.numpy()
        if not some.any():
            continue
        own = torch.from_numpy(values[:, some])
        channel = dict(zip(CHANNELS, own, strict=True))
        px = ratio / (fit.optics.pixel_size_um * binning)
        found = correlations(*(one[known] for one in windows), 2 * fit.optics.cutoff * binning)
        sign, follows, still = way(
            found,
            *(channel[f"displacement{end}"] * px for end in ("", "_uncertainty")),
            *(channel[f"direction{end}"] for end in ("", "_uncertainty")),
        )
        heading = channel["direction"] - torch.where(sign < 0, math.pi, 0.0)
        heading[sign == 0] = math.nan
        told[:, some] = torch.stack([heading, follows, still.float()]).numpy()
    return told


def sequence_of(
    fit: FlowFit,
    layout: MapLayout,
    values: np.ndarray,
    doubt: str,
    exposure_ms: float,
    interval_ms: float,
) -> FlowSequence:
    """From CHANNELS and FOLLOWED (t, len, ny, nx) of all pictures."""
    own, followed = values[:, : len(CHANNELS)], values[:, len(CHANNELS) :]
    told = followed[:, FOLLOWED.index("still")]
    still = told > 0
    if not doubt and still.sum() > MOSTLY_STILL * np.isfinite(told).sum():
        doubt = STILL
    still[-1] = still[-2]  # no picture follows the last one
    own[:, -1][still] = 0
    frames = [fit.map_of(layout, one, doubt) for one in own]
    return FlowSequence(frames, followed, exposure_ms, interval_ms)


def check_times(exposure_ms: float | None, interval_ms: float, count: int) -> None:
    """Raises UserError if so many pictures cannot follow each other."""
    if exposure_ms is None:
        raise UserError("a sequence needs the exposure time of its pictures, beside their interval")
    if interval_ms < exposure_ms:
        raise UserError(
            f"pictures {interval_ms:g} ms apart cannot be exposed for {exposure_ms:g} ms each; the interval is from the beginning of one to that of the next"
        )
    if count < 2:
        raise UserError("there is one picture; a sequence has more")


def estimate_sequence(
    frames: Frames,
    fit: FlowFit,
    exposure_ms: float | None,
    interval_ms: float,
    *,
    doubt: bool = True,
    step: Callable[[], None] = lambda: None,
) -> FlowSequence:
    """Estimate what moved where in the pictures of a sequence, each of any size; doubt: ask whether a specimen at rest explains them better.

    Raises
    ------
    UserError
        If pictures are smaller than a window, or times do not fit.
    """
    check_times(exposure_ms, interval_ms, len(frames))
    layout = fit.layout(frames[0].shape)
    count = len(frames), len(CHANNELS) + len(FOLLOWED)
    values = np.empty((*count, *layout.cells), np.float32)
    for number in range(len(frames) * len(layout.units)):
        frame, unit = divmod(number, len(layout.units))
        found = sequence_unit(frames, fit, layout, number, interval_ms / exposure_ms)
        values[(frame, slice(None), *layout.units[unit])] = found
        step()
    some = min(DOUBTED, len(frames))
    told = fit.doubt(frames.some(some), layout, some) if doubt else ""
    return sequence_of(fit, layout, values, told, exposure_ms, interval_ms)
