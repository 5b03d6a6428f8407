"""Opens CZI files (Zeiss) through pylibCZIrw, which stitches the tiles of a scene."""

import contextlib
from typing import Any

import numpy as np

from isoplan.base.errors import UserError
from isoplan.mosaic.formats.libraries import Planes, through_library
from isoplan.mosaic.headers import Metadata, micrometres, positive_number
from isoplan.mosaic.source import Source, choose_series

_TYPES = {"Gray8": "u1", "Gray16": "u2", "Gray32Float": "f4", "Bgr24": "u1", "Bgr48": "u2"}


@through_library
def open_czi(path: str, wanted: int | None, stack: contextlib.ExitStack) -> Source:
    from pylibCZIrw import czi

    document = stack.enter_context(czi.open_czi(path))
    box = document.total_bounding_box
    whole = {0: (box["X"][0], box["Y"][0], box["X"][1] - box["X"][0], box["Y"][1] - box["Y"][0])}
    scenes = {
        number: (at.x, at.y, at.w, at.h)
        for number, at in document.scenes_bounding_rectangle.items()
    }
    places = list((scenes or whole).items())
    number, notes = choose_series(path, [at[:1:-1] for _, at in places], wanted)
    scene, (left, top, width, height) = places[number]
    kinds = {document.get_channel_pixel_type(c) for c in range(*box.get("C", (0, 1)))}
    if len(kinds) > 1 or not kinds <= set(_TYPES):
        raise UserError(f"{path}: pixels of type {', '.join(sorted(kinds))}; export it as OME-TIFF")
    (kind,) = kinds
    colours = kind.startswith("Bgr")
    letters = [axis for axis in "TCZ" if axis in box]
    notes += [
        f"the first of {stop - start} along axis {axis} is read"
        for axis, (start, stop) in box.items()
        if axis not in "TCZYX" and stop - start > 1
    ]

    def cut(at: tuple, index: tuple) -> np.ndarray:
        y0, y1, x0, x1 = (*index[0].indices(height)[:2], *index[1].indices(width)[:2])
        block = document.read(
            roi=(left + x0, top + y0, x1 - x0, y1 - y0),
            plane={a: box[a][0] + n for a, n in zip(letters, at, strict=True)},
            scene=scene if scenes else None,
        )
        return block[..., ::-1][..., index[2]] if colours else block[..., 0]

    shape = [box[axis][1] - box[axis][0] for axis in letters]
    shape += [height, width, 3] if colours else [height, width]
    array = Planes(shape, _TYPES[kind], len(letters), cut)
    axes = "".join(letters) + ("YXS" if colours else "YX")
    return Source(array, axes, rgb=colours, notes=notes, known=_czi_metadata(document))


def _czi_metadata(document) -> Metadata:
    known = Metadata()
    with contextlib.suppress(Exception):  # a broken header must not make the picture unreadable
        meta = document.metadata["ImageDocument"]["Metadata"]
        steps = {one["@Id"]: one["Value"] for one in meta["Scaling"]["Items"]["Distance"]}
        known.set_pixel_size(*(micrometres(steps.get(axis), "m") for axis in "YX"))
        channels = _as_list(meta["Information"]["Image"]["Dimensions"]["Channels"]["Channel"])
        known.names = [str(one.get("@Name", "")) for one in channels]
        waves = [micrometres(one.get("EmissionWavelength"), "nm") for one in channels]
        known.wavelengths_um = waves
        lens = _as_list(meta["Information"]["Instrument"]["Objectives"]["Objective"])[0]
        known.na = positive_number(lens.get("LensNA"))
        known.magnification = positive_number(lens.get("NominalMagnification"))
    return known


def _as_list(one: Any) -> list:
    return one if isinstance(one, list) else [one]
