"""Opens LIF files (Leica) through liffile, memory-mapped."""

import contextlib
import os
from math import prod
from typing import Any

import numpy as np

from isoplan.base.errors import UserError
from isoplan.mosaic.formats.libraries import Planes, through_library
from isoplan.mosaic.headers import Metadata, micrometres
from isoplan.mosaic.source import Source, choose_series, tiles_error


@through_library
def open_lif(path: str, wanted: int | None, stack: contextlib.ExitStack) -> Source:
    import liffile

    file = stack.enter_context(liffile.LifFile(path))
    images = list(file.images)
    if not images:
        raise UserError(f"{path}: holds no picture; give another file")
    number, notes = choose_series(path, [_plane_shape(one) for one in images], wanted)
    image = images[number]
    if image.sizes.get("M", 1) > 1:
        raise tiles_error(path, image.sizes["M"], "choose a merged picture by `series`, or ")
    if "S" in image.sizes:
        raise UserError(f"{path}: colours of this kind are not read; export it as OME-TIFF")
    axes = "".join(axis if len(axis) == 1 else "Q" for axis in image.dims)
    block, described = image.memory_block, "./Data/Image/ImageDescription/Dimensions/*"
    if block.offset + block.size > os.path.getsize(path):
        raise UserError(f"{path}: is cut short; copy it again")
    header = {one.get("DimID"): one for one in image.xml_element.iterfind(described)}
    counts = {key: int(one.get("NumberOfElements")) for key, one in header.items()}
    # The library assumes that rows and planes are contiguous.
    strides = np.cumprod([image.dtype.itemsize, *image.shape[:0:-1]])
    if any(int(header[key].get("BytesInc")) not in strides for key in counts if counts[key] > 1):
        raise UserError(f"{path}: its rows or planes are not contiguous; export it as OME-TIFF")

    def cut(_: tuple, index: tuple) -> np.ndarray:
        # Mapped only while it is read, since a permanent map would count as resident memory.
        return np.array(image.asarray(out="memmap")[index])

    array = Planes(image.shape, image.dtype, 0, cut)
    known = Metadata()
    with contextlib.suppress(Exception):
        steps = {key: float(header[key].get("Length")) / (counts[key] - 1) for key in "12"}  # X, Y
        units = {key: header[key].get("Unit") for key in steps}
        known.set_pixel_size(*(micrometres(steps[key], units[key]) for key in "21"))
    if not prod(image.shape):
        raise UserError(f"{path}: the picture is empty (shape {image.shape}); give another file")
    return Source(array, axes, notes=notes, known=known)


def _plane_shape(image: Any) -> tuple[int, int]:
    """(H, W) in px; (0, 0) for an image of an unsupported kind, so that the others stay readable."""
    try:
        return image.sizes.get("Y", 0), image.sizes.get("X", 0)
    except (ValueError, AssertionError):
        return 0, 0
