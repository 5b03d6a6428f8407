"""ND2, Nikon's own, through nd2: planes mapped into memory where they are not compressed."""

import contextlib

import numpy as np

from isoplan.mosaic.formats.libraries import Planes, through_library
from isoplan.mosaic.headers import Known, micrometres, positive
from isoplan.mosaic.source import Source, choose_series, refuse_tiles


@through_library
def open_nd2(path: str, wanted: int | None, stack: contextlib.ExitStack) -> Source:
    import nd2

    file = stack.enter_context(nd2.ND2File(path))
    sizes = dict(file.sizes)
    count = sizes.get("P", 1)
    if count > 1 and wanted is None:
        raise refuse_tiles(path, count)
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
    array = Planes(shape, file.dtype, len(leading), cut)
    packed = getattr(file.attributes, "compressionType", None)
    chunks = (*[1] * len(leading), *shape[len(leading) :]) if packed else None
    known = Known()
    with contextlib.suppress(Exception):
        volume = file.metadata.channels[0].volume
        if all(volume.axesCalibrated[:2]):  # else 1 um
            known.measure(*(positive(volume.axesCalibration[k]) for k in (1, 0)))
        channels = [one.channel for one in file.metadata.channels]
        known.names = [str(one.name) for one in channels]
        if not colours:  # for which the library tells those of its own
            known.wavelengths_um = [micrometres(one.emissionLambdaNm, "nm") for one in channels]
        lens = file.metadata.channels[0].microscope
        known.na = positive(lens.objectiveNumericalAperture)
        known.magnification = positive(lens.objectiveMagnification)
    return Source(array, "".join(axes), chunks, rgb=colours, notes=notes, known=known)
