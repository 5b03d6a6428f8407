"""Chooses the places of a mosaic that the viewer shows."""

from dataclasses import dataclass

import numpy as np

from isoplan.report.psfs import blur_areas
from isoplan.report.results import PsfMap, Study


@dataclass
class Place:
    """A crop of a mosaic.

    Attributes
    ----------
    key, label
        Its name for the page's script, and for users.
    y0, x0, height, width
        Its window in px.
    cell
        (row, column) of the map's cell in the middle; None without a map.
    gain_db
        SNR gain in the middle; None if it is unknown.
    """

    key: str
    label: str
    y0: int
    x0: int
    height: int
    width: int
    cell: tuple[int, int] | None
    gain_db: float | None


def choose_places(study: Study, mosaic: str, shape: tuple[int, int], crop_px: int) -> list[Place]:
    """The centre, the most blurred place, and the places with the largest gain and the largest loss.

    shape: of the mosaic. crop_px: side of the crops.
    """
    psf_map, gains = study.maps.get(mosaic), study.gain_grid(mosaic)
    middles = [("centre", "Centre", shape[0] / 2, shape[1] / 2)]
    if psf_map is not None:
        blurred = _most_blurred(psf_map)
        if blurred is not None:
            middles.append(("blurred", "Most blurred place", *_middle(blurred, psf_map.stride_px)))
    if gains is not None and np.isfinite(gains).any():
        pitch = _pitch(gains.shape, shape, psf_map)
        best = np.unravel_index(np.nanargmax(gains), gains.shape)
        worst = np.unravel_index(np.nanargmin(gains), gains.shape)
        best_label = "Largest gain" if gains[best] > 0 else "Smallest loss"
        worst_label = "Largest loss" if gains[worst] < 0 else "Smallest gain"
        middles.append(
            ("gain", best_label, *((i + 0.5) * p for i, p in zip(best, pitch, strict=True)))
        )
        middles.append(
            ("loss", worst_label, *((i + 0.5) * p for i, p in zip(worst, pitch, strict=True)))
        )
    return [
        _place(key, label, (y, x), shape, crop_px, psf_map, gains) for key, label, y, x in middles
    ]


def whole(shape: tuple[int, int]) -> Place:
    """The whole mosaic as a place."""
    return Place("whole", "Whole mosaic", 0, 0, shape[0], shape[1], None, None)


def _most_blurred(psf_map: PsfMap):
    areas = blur_areas(psf_map)
    if not np.isfinite(areas).any():
        return None
    return np.unravel_index(np.nanargmax(areas), areas.shape)


def _middle(cell, stride_px: float) -> tuple[float, float]:
    return (cell[0] + 0.5) * stride_px, (cell[1] + 0.5) * stride_px


def _pitch(cells: tuple[int, int], shape: tuple[int, int], psf_map: PsfMap | None):
    """Side of a scored cell in px: the map's stride if the numbers of cells agree, else an even share."""
    if psf_map is not None and psf_map.shape_cells == cells:
        return (psf_map.stride_px / psf_map.step,) * 2
    return shape[0] / cells[0], shape[1] / cells[1]


def _place(key, label, middle, shape, crop_px, psf_map, gains) -> Place:
    height, width = min(crop_px, shape[0]), min(crop_px, shape[1])
    y0 = int(np.clip(round(middle[0] - height / 2), 0, shape[0] - height))
    x0 = int(np.clip(round(middle[1] - width / 2), 0, shape[1] - width))
    cell = gain = None
    if psf_map is not None:
        limits = psf_map.untrusted.shape
        cell = tuple(
            min(int(m / psf_map.stride_px), n - 1) for m, n in zip(middle, limits, strict=True)
        )
    if gains is not None:
        pitch = _pitch(gains.shape, shape, psf_map)
        index = tuple(
            min(int(m / p), n - 1) for m, p, n in zip(middle, pitch, gains.shape, strict=True)
        )
        gain = float(gains[index]) if np.isfinite(gains[index]) else None
    return Place(key, label, y0, x0, height, width, cell, gain)
