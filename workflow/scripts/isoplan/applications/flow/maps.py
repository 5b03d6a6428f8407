"""A user's own picture in a study (`flow_maps`): what is known of it before its motion is found, and how jobs share it."""

import numpy as np

from isoplan.applications.flow.fit import CHANNELS, FlowFit, FlowMap, check_picture
from isoplan.applications.flow.sequence import (
    DOUBTED,
    FOLLOWED,
    IN_TIME,
    FlowSequence,
    Frames,
    check_times,
    sequence_of,
    sequence_unit,
)
from isoplan.base.errors import UserError
from isoplan.cluster.unit_files import load_unit
from isoplan.mosaic.ground import Grounded, without_ground
from isoplan.mosaic.headers import complete_optics
from isoplan.mosaic.overlaps import notes_on_overlaps
from isoplan.mosaic.reader import open_row, reopen
from isoplan.mosaic.window import Picture
from isoplan.optics.defocus import Defocus
from isoplan.psf_map.layout import MapLayout

OPTICS = ("na", "wavelength_um", "pixel_size_um")
CELL = 260  # bytes of what a cell leaves in units, table, TIFF and OME-Zarr


def known_of(entry: dict) -> dict:
    """What is known of an entry's picture, for JSON: its optics, shape, slice and ground, how many pictures there are, what else than motion explains them, and what is to be said.

    Raises UserError, with its name, if it cannot be used.
    """
    try:
        with without_ground(open_row(entry, any_slice=bool(entry["interval_ms"]))) as picture:
            optics, notes = complete_optics(entry, picture.optics)
            if missing := [name for name in OPTICS if optics[name] is None]:
                raise UserError(
                    f"{entry['path']}: the file does not tell its optics; give {' and '.join(missing)}"
                )
            known = {name: optics[name] for name in OPTICS} | {"shape_px": list(picture.shape)}
            known |= {"slice": picture.slice, "ground": isinstance(picture, Grounded)}
            fit, layout = fit_of(entry, known)
            check_picture(picture, fit)
            known["frames"] = 1
            if entry["interval_ms"]:
                known["frames"] = picture.slices
                check_times(entry["exposure_ms"], entry["interval_ms"], known["frames"])
            some = min(DOUBTED, known["frames"])
            with frames_of(entry, known) as frames:
                known["doubt"] = fit.doubt(frames.some(some), layout, some)
            axis = [IN_TIME] if entry["interval_ms"] and picture.stack == "Z" else []
            notes = [*axis, *picture.notes, *notes_on_overlaps(picture), *filter(None, notes)]
    except UserError as error:
        raise UserError(f"flow map {entry['name']}: {error}") from error.__cause__
    return known | {"notes": notes}


def fit_of(entry: dict, known: dict) -> tuple[FlowFit, MapLayout]:
    """The fit of an entry, and where its cells lie; known: of `known_of`."""
    optics = Defocus(*(known[name] for name in OPTICS), entry["index"])
    given = (entry[name] for name in ("longest_px", "near_um", "axial_um", "one_side"))
    fit = FlowFit(optics, *given)
    height, width = known["shape_px"]
    return fit, fit.layout((height, width))


def frames_of(entry: dict, known: dict) -> Frames:
    """The pictures of an entry, which is one or a sequence."""

    def opened(number: int) -> Picture:
        return reopen(entry, known | ({"slice": number} if entry["interval_ms"] else {}))

    return Frames(opened, known["frames"])


def units(entry: dict, known: dict) -> int:
    """How many units an entry has, picture by picture."""
    return known["frames"] * len(fit_of(entry, known)[1].units)


def unit(entry: dict, frames: Frames, fit: FlowFit, layout: MapLayout, number: int) -> np.ndarray:
    """What is found of one unit's cells, (len, ny, nx): CHANNELS, and FOLLOWED of a sequence."""
    if not entry["interval_ms"]:
        return fit.unit(frames[0], layout, number)
    return sequence_unit(frames, fit, layout, number, entry["interval_ms"] / entry["exposure_ms"])


def joined(entry: dict, known: dict, folder: str) -> FlowMap | FlowSequence:
    """The map of an entry, or those of its pictures, of the units in a folder."""
    fit, layout = fit_of(entry, known)
    count = len(CHANNELS) + (len(FOLLOWED) if entry["interval_ms"] else 0)
    values = np.empty((known["frames"], count, *layout.cells), np.float32)
    for frame, one in enumerate(values):
        for number, cells in enumerate(layout.units, frame * len(layout.units)):
            one[(slice(None), *cells)] = load_unit(folder, number)
    if not entry["interval_ms"]:
        return fit.map_of(layout, values[0], known["doubt"])
    times = entry["exposure_ms"], entry["interval_ms"]
    return sequence_of(fit, layout, values, known["doubt"], *times)


def shorter_of(
    entry: dict, found: FlowMap, other: dict, known: dict, folder: str
) -> tuple[FlowMap, float]:
    """Of the shorter exposure that an entry names, the map and the time in ms; known, folder: of that exposure.

    Raises UserError, with the entry's name, if cells lie at other places.
    """
    # In a short time little moves, so a doubt whether all is at rest does not count.
    shorter = joined(other, known | {"doubt": ""}, folder)
    try:
        found.agrees(entry["exposure_ms"], shorter, other["exposure_ms"])
    except UserError as error:
        raise UserError(f"flow map {entry['name']}, {other['name']}: {error}") from None
    return shorter, other["exposure_ms"]


def bytes_a_px(entry: dict) -> float:
    """What an entry leaves on the disk of each pixel of its picture; where the file alone tells the optics, that of the smallest cells."""
    told = [entry[name] for name in OPTICS]
    optics = Defocus(*told, entry["index"]) if all(told) else Defocus(0.3, 0.48, 0.32)
    return CELL / FlowFit(optics, entry["longest_px"]).stride_px ** 2
