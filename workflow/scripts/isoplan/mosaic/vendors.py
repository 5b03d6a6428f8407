"""Microscopes' own files, through libraries that are an optional extra: CZI, ND2 and LIF, read by window.

CZI: pylibCZIrw (Zeiss), a scene as its tiles were put together. ND2: nd2, planes mapped into memory where they
are not compressed. LIF: liffile, mapped into memory. None of them is imported before such a file is opened.
"""

import contextlib
import os
from math import prod
from typing import Any

import numpy as np

from isoplan.base.errors import UserError
from isoplan.mosaic.headers import Metadata, micrometres, positive_number
from isoplan.mosaic.source import Source, choose_series, reason, tiles_error

_INSTALL = "install the extra: .venv/bin/uv pip install -r envs/requirements-readers.txt"


def open_vendor(path: str, kind: str, wanted: int | None) -> Source:
    """The largest scene, position or image of a file, or the one that is wanted. kind: "CZI", "ND2" or "LIF".

    Raises UserError where its library is missing, and for what that cannot read.
    """
    with contextlib.ExitStack() as stack:
        try:
            source = {"CZI": _czi, "ND2": _nd2, "LIF": _lif}[kind](path, wanted, stack)
        except UserError:
            raise
        except ImportError as error:
            raise UserError(
                f"{path}: to read {kind} files, {_INSTALL}; or export it as OME-TIFF ({error})"
            ) from None
        except Exception as error:  # their parsers share no error class
            raise UserError(
                f"{path}: cannot be read as {kind} ({reason(error)}); copy it again, or export it as OME-TIFF"
            ) from error
        source.close = stack.pop_all().close
    return source


class _Planes:
    """An array (leading axes, then those of a plane), each plane of which is cut where it lies."""

    def __init__(self, shape, dtype, leading: int, cut):
        """cut(places, index): numbers of the leading axes, and what of the plane is wanted."""
        self.shape, self.dtype, self.leading, self.cut = tuple(shape), np.dtype(dtype), leading, cut

    def __getitem__(self, index: tuple) -> np.ndarray:
        return self.cut(tuple(int(i) for i in index[: self.leading]), index[self.leading :])


# CZI -----------------------------------------------------------------------------------------------

_TYPES = {"Gray8": "u1", "Gray16": "u2", "Gray32Float": "f4", "Bgr24": "u1", "Bgr48": "u2"}


def _czi(path: str, wanted: int | None, stack) -> Source:
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
    array = _Planes(shape, _TYPES[kind], len(letters), cut)
    axes = "".join(letters) + ("YXS" if colours else "YX")
    return Source(array, axes, rgb=colours, notes=notes, known=_czi_metadata(document))


def _czi_metadata(document) -> Metadata:
    known = Metadata()
    with contextlib.suppress(Exception):  # what a header does not tell costs no picture
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


# ND2 -----------------------------------------------------------------------------------------------


def _nd2(path: str, wanted: int | None, stack) -> Source:
    import nd2

    file = stack.enter_context(nd2.ND2File(path))
    sizes = dict(file.sizes)
    count = sizes.get("P", 1)
    if count > 1 and wanted is None:
        raise tiles_error(path, count)
    position, notes = choose_series(path, [(sizes["Y"], sizes["X"])] * count, wanted)
    colours = "S" in sizes
    parts = 1 if colours else file.components_per_channel  # of a pixel, told as channels
    plane = [axis for axis in "CYXS" if axis in sizes]
    loops = [axis for axis in sizes if axis not in "CYXS"]
    lengths = [sizes[axis] for axis in loops]
    leading = [axis for axis in loops if axis != "P"]

    def cut(at: tuple, index: tuple) -> np.ndarray:
        chosen = dict(zip(leading, at, strict=True)) | {"P": position}
        place = [chosen[axis] for axis in loops]
        number = int(np.ravel_multi_index(place, lengths)) if loops else 0
        frame = file.read_frame(number)
        if frame.flags.writeable:  # zeros, not the file's own memory
            raise ValueError(f"frame {number} is not in the file")
        if parts > 1:
            frame = frame.reshape(-1, sizes["Y"], sizes["X"], parts).transpose(0, 3, 1, 2)
        frame = frame.reshape([sizes[axis] for axis in plane])
        return np.array((frame[..., ::-1] if colours else frame)[index])  # they lie as B, G, R

    axes = leading + plane
    shape = [sizes[axis] for axis in axes]
    array = _Planes(shape, file.dtype, len(leading), cut)
    packed = getattr(file.attributes, "compressionType", None)
    chunks = (*[1] * len(leading), *shape[len(leading) :]) if packed else None
    known = Metadata()
    with contextlib.suppress(Exception):
        volume = file.metadata.channels[0].volume
        if all(volume.axesCalibrated[:2]):  # else 1 um
            known.set_pixel_size(*(positive_number(volume.axesCalibration[k]) for k in (1, 0)))
        channels = [one.channel for one in file.metadata.channels]
        known.names = [str(one.name) for one in channels]
        if not colours:  # for which the library tells those of its own
            known.wavelengths_um = [micrometres(one.emissionLambdaNm, "nm") for one in channels]
        lens = file.metadata.channels[0].microscope
        known.na = positive_number(lens.objectiveNumericalAperture)
        known.magnification = positive_number(lens.objectiveMagnification)
    return Source(array, "".join(axes), chunks, rgb=colours, notes=notes, known=known)


# LIF -----------------------------------------------------------------------------------------------


def _lif(path: str, wanted: int | None, stack) -> Source:
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
    # The library takes it for granted that nothing lies between rows, and between planes.
    strides = np.cumprod([image.dtype.itemsize, *image.shape[:0:-1]])
    if any(int(header[key].get("BytesInc")) not in strides for key in counts if counts[key] > 1):
        raise UserError(f"{path}: its rows or planes lie apart; export it as OME-TIFF")

    def cut(_: tuple, index: tuple) -> np.ndarray:
        # Mapped only while it is read, as a map that stayed would count as memory.
        return np.array(image.asarray(out="memmap")[index])

    array = _Planes(image.shape, image.dtype, 0, cut)
    known = Metadata()
    with contextlib.suppress(Exception):
        steps = {key: float(header[key].get("Length")) / (counts[key] - 1) for key in "12"}  # X, Y
        units = {key: header[key].get("Unit") for key in steps}
        known.set_pixel_size(*(micrometres(steps[key], units[key]) for key in "21"))
    if not prod(image.shape):
        raise UserError(f"{path}: the picture is empty (shape {image.shape}); give another file")
    return Source(array, axes, notes=notes, known=known)


def _plane_shape(image: Any) -> tuple[int, int]:
    """(H, W); of none where it is of a kind that is not read, which shall not cost the others."""
    try:
        return image.sizes.get("Y", 0), image.sizes.get("X", 0)
    except (ValueError, AssertionError):
        return 0, 0
