"""A user's own picture in a study (`height_maps`): what is known of it before its heights are found, and how jobs share them."""

from dataclasses import replace

from isoplan.applications.depth.calibration import Calibration
from isoplan.applications.depth.heights import HeightFit, layout_of
from isoplan.applications.depth.results import check_picture
from isoplan.base.errors import UserError
from isoplan.mosaic.ground import Grounded, without_ground
from isoplan.mosaic.headers import complete_optics
from isoplan.mosaic.overlaps import notes_on_overlaps
from isoplan.mosaic.reader import open_row
from isoplan.networks.defocus_fit import NODES_A_DEPTH, reach_um
from isoplan.psf_map.layout import MapLayout

LEAVE = "leave"  # the field's own height
LIKELIHOOD, CELL = (
    2,
    60,
)  # bytes of a height's in a cell, and of what a cell leaves in table, TIFF and OME-Zarr


def known_of(entry: dict) -> dict:
    """What is known of an entry's picture, for JSON: what `HeightFit` learnt, the calibration, and what is to be said.

    Raises UserError, with its name, if it cannot be used.
    """
    try:
        calibration = Calibration.read(entry["calibration"])
        if entry["field"] == LEAVE:
            calibration = replace(calibration, flat=())
        reach = entry["reach_um"] or reach_um(calibration.optics)
        with without_ground(open_row(entry)) as picture:
            told = entry | {"na": None, "wavelength_um": None}
            optics, notes = complete_optics(told, picture.optics)
            size = optics["pixel_size_um"]
            notes.append(check_picture(entry["path"], picture.shape, size, calibration))
            calibration.flat_at(picture, layout_of(calibration.optics, picture.shape))
            fit = HeightFit(calibration, reach)
            fit.learn(picture)
            notes = [*picture.notes, *notes_on_overlaps(picture), *filter(None, notes)]
            shape = list(picture.shape)
            # The ground of a fused mosaic (zeros where no tile was) reads as NaN.
            seen = {"slice": picture.slice, "ground": isinstance(picture, Grounded)}
    except UserError as error:
        raise UserError(f"height map {entry['name']}: {error}") from error.__cause__
    known = {"calibration": calibration.told(), "reach_um": reach, "shape_px": shape, **seen}
    return known | {"notes": notes, **fit.record()}


def fit_of(known: dict) -> tuple[HeightFit, MapLayout]:
    """The fit that `known_of` tells of, and where the cells lie."""
    fit = HeightFit(Calibration.of(known["calibration"]), known["reach_um"])
    fit.recall(known)
    height, width = known["shape_px"]
    return fit, fit.layout((height, width))


def bytes_a_px(entry: dict) -> float:
    """What an entry leaves on the disk of each pixel of its picture. Raises UserError if its calibration is none."""
    optics = Calibration.read(entry["calibration"]).optics
    reach = entry["reach_um"] or reach_um(optics)
    heights = 2 * reach / optics.depth_of_field_um * NODES_A_DEPTH + 1
    return (LIKELIHOOD * heights + CELL) / layout_of(optics, (1, 1)).stride_px ** 2
