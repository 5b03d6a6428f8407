"""LIF, Leica's own, through liffile: mapped into memory."""

import contextlib
import os
from math import prod
from typing import Any

import numpy as np

from isoplan.base.errors import UserError
from isoplan.mosaic.formats.libraries import Planes, through_library
from isoplan.mosaic.headers import Known, micrometres
from isoplan.mosaic.source import Source, choose_series, refuse_tiles


@through_library
def open_lif(path: str, wanted: int | None, stack: contextlib.ExitStack) -> Source:
    import liffile

    file = stack.enter_context(liffile.LifFile(path))
    images = list(file.images)
    if not images:
        raise UserError(f"{path}: holds no picture; give another file")
    number, notes = choose_series(path, [_plane(one) for one in images], wanted)
    image = images[number]
    if image.sizes.get("M", 1) > 1:
        raise refuse_tiles(path, image.sizes["M"], "choose a merged picture by `series`, or ")
    if "S" in image.sizes:
        raise UserError(f"{path}: colours of this kind are not read; export it as OME-TIFF")
    axes = "".join(axis if len(axis) == 1 else "Q" for axis in image.dims)
    block, described = image.memory_block, "./Data/Image/ImageDescription/Dimensions/*"
    if block.offset + block.size > os.path.getsize(path):
        raise UserError(f"{path}: is cut short; copy it again")
    header = {one.get("DimID"): one for one in image.xml_element.iterfind(described)}
    counts = {key: int(one.get("NumberOfElements")) for key, one in header.items()}
    # The library takes it for granted that nothing lies between rows, and between planes.
    strides = np.cumprod([image.dtype.itemsize, *image.shape[:0:-1]])
    if any(int(header[key].get("BytesInc")) not in strides for key in counts if counts[key] > 1):
        raise UserError(f"{path}: its rows or planes lie apart; export it as OME-TIFF")

    def cut(_: tuple, index: tuple) -> np.ndarray:
        # Mapped only while it is read, as a map that stayed would count as memory.
        return np.array(image.asarray(out="memmap")[index])

    array = Planes(image.shape, image.dtype, 0, cut)
    known = Known()
    with contextlib.suppress(Exception):
        steps = {key: float(header[key].get("Length")) / (counts[key] - 1) for key in "12"}  # X, Y
        units = {key: header[key].get("Unit") for key in steps}
        known.measure(*(micrometres(steps[key], units[key]) for key in "21"))
    if not prod(image.shape):
        raise UserError(f"{path}: the picture is empty (shape {image.shape}); give another file")
    return Source(array, axes, notes=notes, known=known)


def _plane(image: Any) -> tuple[int, int]:
    """(H, W); of none where it is of a kind that is not read, which shall not cost the others."""
    try:
        return image.sizes.get("Y", 0), image.sizes.get("X", 0)
    except (ValueError, AssertionError):
        return 0, 0
