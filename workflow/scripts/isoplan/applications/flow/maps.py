"""A user's own picture in a study (`flow_maps`): what is known of it before its motion is found, and how jobs share it."""

import numpy as np

from isoplan.applications.flow.fit import CHANNELS, FlowFit, FlowMap, check_picture
from isoplan.base.errors import UserError
from isoplan.cluster.unit_files import load_unit
from isoplan.mosaic.ground import Grounded, without_ground
from isoplan.mosaic.headers import complete_optics
from isoplan.mosaic.overlaps import notes_on_overlaps
from isoplan.mosaic.reader import open_row
from isoplan.optics.defocus import Defocus
from isoplan.psf_map.layout import MapLayout

OPTICS = ("na", "wavelength_um", "pixel_size_um")
CELL = 260  # bytes of what a cell leaves in units, table, TIFF and OME-Zarr


def known_of(entry: dict) -> dict:
    """What is known of an entry's picture, for JSON: its optics, shape, slice and ground, what else than motion explains it, and what is to be said.

    Raises UserError, with its name, if it cannot be used.
    """
    try:
        with without_ground(open_row(entry)) as picture:
            optics, notes = complete_optics(entry, picture.optics)
            if missing := [name for name in OPTICS if optics[name] is None]:
                raise UserError(
                    f"{entry['path']}: the file does not tell its optics; give {' and '.join(missing)}"
                )
            known = {name: optics[name] for name in OPTICS} | {"shape_px": list(picture.shape)}
            known |= {"slice": picture.slice, "ground": isinstance(picture, Grounded)}
            fit, layout = fit_of(entry, known)
            check_picture(picture, fit)
            known["doubt"] = fit.doubt(picture, layout)
            notes = [*picture.notes, *notes_on_overlaps(picture), *filter(None, notes)]
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


def joined(entry: dict, known: dict, folder: str) -> FlowMap:
    """The map of an entry, of the units in a folder."""
    fit, layout = fit_of(entry, known)
    values = np.empty((len(CHANNELS), *layout.cells), np.float32)
    for number, cells in enumerate(layout.units):
        values[(slice(None), *cells)] = load_unit(folder, number)
    return fit.map_of(layout, values, known["doubt"])


def bytes_a_px(entry: dict) -> float:
    """What an entry leaves on the disk of each pixel of its picture; where the file alone tells the optics, that of the smallest cells."""
    told = [entry[name] for name in OPTICS]
    optics = Defocus(*told, entry["index"]) if all(told) else Defocus(0.3, 0.48, 0.32)
    return CELL / FlowFit(optics, entry["longest_px"]).stride_px ** 2
