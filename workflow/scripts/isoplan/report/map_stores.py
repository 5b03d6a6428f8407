"""Reads PSF maps and maps of trust for the report, at the resolution of a figure."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zarr

from isoplan.psf_map.layout import FULLY_USABLE

# Of a mosaic restored in several ways, the first that there is is its main one.
MAIN = ("estimated", "measured", "constant", "oracle", "denoised")
MAP_LIMIT_CELLS = 1024
# A 90 % interval that is a larger share of a parameter's range than this says hardly anything.
UNCERTAIN_SHARE = 0.5


@dataclass
class PsfMap:
    """A PSF map; if it is larger than a figure can show, only every `step`-th cell is read.

    Attributes
    ----------
    mosaic, network
        Names.
    spec
        The PSF model's entry of `psfs`.
    names, units
        Those of the P parameters.
    stride_px
        Distance of the cells that were read.
    step
        Every `step`-th cell was read.
    shape_cells
        Size of the whole map.
    values, raw
        (P, y, x) filled and raw parameters in their units.
    validity
        (y, x) from 0 to 1.
    untrusted
        (y, x) bool: cells without a usable estimate. Their values come from neighbours, or are doubtful if all cells
        are untrusted.
    uncertainty
        (P, y, x) half-width of the 90 % interval; None if the map has none.
    alarm
        (y, x) probability that the picture is of a kind that the network was not trained for; may be None.
    other_blur
        (y, x) probability that the blur does not belong to the PSF model; may be None.
    usable
        (y, x) share of the window that is neither missing, saturated, dead nor hot; NaN if no window was read; may be
        None.
    alarm_threshold
        Cells whose alarm is above this are out of domain.
    """

    mosaic: str
    network: str
    spec: dict
    names: list[str]
    units: list[str]
    stride_px: float
    step: int
    shape_cells: tuple[int, int]
    values: np.ndarray
    raw: np.ndarray
    validity: np.ndarray
    untrusted: np.ndarray
    uncertainty: np.ndarray | None = None
    alarm: np.ndarray | None = None
    other_blur: np.ndarray | None = None
    usable: np.ndarray | None = None
    alarm_threshold: float = 0.5

    @property
    def has_values(self) -> bool:
        """Whether any cell has a PSF, even a doubtful one."""
        return bool(np.isfinite(self.values).all(axis=0).any())

    @property
    def untrusted_share(self) -> float:
        """Share of untrusted cells."""
        return float(self.untrusted.mean()) if self.untrusted.size else 0.0

    @property
    def out_of_domain(self) -> np.ndarray:
        """(y, x) bool: cells that raise the alarm."""
        if self.alarm is None:
            return np.zeros(self.untrusted.shape, bool)
        return np.nan_to_num(self.alarm) > self.alarm_threshold

    @property
    def blurred_otherwise(self) -> np.ndarray:
        """(y, x) bool: cells whose blur does not belong to the PSF model."""
        if self.other_blur is None:
            return np.zeros(self.untrusted.shape, bool)
        return np.nan_to_num(self.other_blur) > 0.5

    @property
    def partly_seen(self) -> np.ndarray:
        """(y, x) bool: cells whose window has too many unusable pixels."""
        if self.usable is None:
            return np.zeros(self.untrusted.shape, bool)
        return self.usable < FULLY_USABLE

    def uncertain(self, ranges: dict) -> np.ndarray:
        """(y, x) bool: trusted cells with an interval of more than half of a parameter's range.

        ranges: parameters by name, from `psfs.model_parameters`.
        """
        found = np.zeros(self.untrusted.shape, bool)
        if self.uncertainty is not None:
            for name, half_width in zip(self.names, self.uncertainty, strict=True):
                if name in ranges:
                    parameter = ranges[name]
                    span = parameter.period or parameter.high - parameter.low
                    found |= np.nan_to_num(half_width) > UNCERTAIN_SHARE * span / 2
        return found & ~self.untrusted


@dataclass
class Trust:
    """A map of trust of a restored picture.

    Attributes
    ----------
    method
        The method of restoration.
    values
        (y, x) of each of `trust.NAMES`.
    stride_px
        Distance of the cells that were read.
    step
        Every `step`-th cell was read.
    """

    method: str
    values: dict[str, np.ndarray]
    stride_px: float
    step: int

    def doubted(self, why: int) -> np.ndarray:
        """(y, x) bool: cells in doubt for a reason, `trust.NO_PSF` or `trust.DISAGREES`."""
        return np.nan_to_num(self.values["doubt"]).astype(int) & why > 0

    @property
    def judged(self) -> bool:
        """Whether any cell was compared with the data, which requires gain and read noise."""
        return bool(np.isfinite(self.values["chi_square"]).any())


def read_map(path: Path, alarm_threshold: float = 0.5) -> PsfMap:
    """Read a map from its store, with arrays "0" (filled) and "raw" and attributes "isoplan"."""
    group = zarr.open_group(path, mode="r")
    notes = group.attrs["isoplan"]
    channels = [channel["name"] for channel in notes["channels"]]
    units = [channel.get("unit") or "" for channel in notes["channels"]]
    others = ("mirror", "validity", "filled", "alarm", "other_blur", "usable")
    parameters = [
        i
        for i, name in enumerate(channels)
        if name not in others and not name.endswith("_uncertainty")
    ]
    height, width = group["0"].shape[-2:]
    step = max(1, -(-max(height, width) // MAP_LIMIT_CELLS))
    filled_map = np.asarray(group["0"][:, ::step, ::step])
    raw = np.asarray(group["raw"][:, ::step, ::step]) if "raw" in group else filled_map
    # If no cell could be filled, the filled map has no numbers either.
    untrusted = ~np.isfinite(raw[parameters] + filled_map[parameters]).all(axis=0)
    if "filled" in channels:
        untrusted |= np.nan_to_num(filled_map[channels.index("filled")]) > 0.5
    validity = np.isfinite(raw[parameters]).all(axis=0).astype(np.float32)
    if "validity" in channels:
        validity = np.nan_to_num(filled_map[channels.index("validity")])
        untrusted |= validity <= 0
    half_widths = [f"{channels[i]}_uncertainty" for i in parameters]
    known = bool(parameters) and set(half_widths) <= set(channels)
    flags = {
        name: filled_map[channels.index(name)]
        for name in ("alarm", "other_blur", "usable")
        if name in channels
    }
    return PsfMap(
        mosaic=str(notes.get("mosaic", path.parent.name)),
        network=str(notes.get("network", path.stem)),
        spec=dict(notes.get("psf") or {}),
        names=[channels[i] for i in parameters],
        units=[units[i] for i in parameters],
        stride_px=float(notes["stride_px"]) * step,
        step=step,
        shape_cells=(height, width),
        values=filled_map[parameters],
        raw=raw[parameters],
        validity=validity,
        untrusted=untrusted,
        uncertainty=filled_map[[channels.index(n) for n in half_widths]] if known else None,
        alarm_threshold=alarm_threshold,
        **flags,
    )


def read_trust(folder: Path, mosaic: str, methods: list[str] | None = None) -> Trust | None:
    """Read the map of trust of a mosaic's main method; None if there is none.

    methods: the study's methods of restoration; None allows all.
    """
    for method in MAIN:
        if methods is not None and method not in methods:
            continue
        path = folder / "restored" / mosaic / f"{method}.ome.zarr" / "trust"
        if (path / "zarr.json").exists():
            group = zarr.open_group(path, mode="r")
            notes, cells = group.attrs["isoplan"], group["0"]
            step = max(1, -(-max(cells.shape[1:]) // MAP_LIMIT_CELLS))
            names = [channel["name"] for channel in notes["channels"]]
            values = np.asarray(cells[:, ::step, ::step])
            stride_px = float(notes["stride_px"]) * step
            return Trust(method, dict(zip(names, values, strict=True)), stride_px, step)
    return None
