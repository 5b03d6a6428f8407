"""Opens ND2 files (Nikon) through nd2, which memory-maps uncompressed planes."""

import contextlib

import numpy as np

from isoplan.mosaic.formats.libraries import Planes, through_library
from isoplan.mosaic.headers import Metadata, micrometres, positive_number
from isoplan.mosaic.source import Source, choose_series, tiles_error


@through_library
def open_nd2(path: str, wanted: int | None, stack: contextlib.ExitStack) -> Source:
    import nd2

    file = stack.enter_context(nd2.ND2File(path))
    sizes = dict(file.sizes)
    count = sizes.get("P", 1)
    if count > 1 and wanted is None:
        raise tiles_error(path, count)
    position, notes = choose_series(path, [(sizes["Y"], sizes["X"])] * count, wanted)
    colours = "S" in sizes
    parts = 1 if colours else file.components_per_channel  # components of a pixel are channels
    plane = [axis for axis in "CYXS" if axis in sizes]
    loops = [axis for axis in sizes if axis not in "CYXS"]
    lengths = [sizes[axis] for axis in loops]
    leading = [axis for axis in loops if axis != "P"]

    def cut(at: tuple, index: tuple) -> np.ndarray:
        chosen = dict(zip(leading, at, strict=True)) | {"P": position}
        place = [chosen[axis] for axis in loops]
        number = int(np.ravel_multi_index(place, lengths)) if loops else 0
        frame = file.read_frame(number)
        if frame.flags.writeable:  # the library made up zeros for a missing frame
            raise ValueError(f"frame {number} is not in the file")
        if parts > 1:
            frame = frame.reshape(-1, sizes["Y"], sizes["X"], parts).transpose(0, 3, 1, 2)
        frame = frame.reshape([sizes[axis] for axis in plane])
        return np.array((frame[..., ::-1] if colours else frame)[index])  # stored as B, G, R

    axes = leading + plane
    shape = [sizes[axis] for axis in axes]
    array = Planes(shape, file.dtype, len(leading), cut)
    packed = getattr(file.attributes, "compressionType", None)
    chunks = (*[1] * len(leading), *shape[len(leading) :]) if packed else None
    known = Metadata()
    with contextlib.suppress(Exception):
        volume = file.metadata.channels[0].volume
        if all(volume.axesCalibrated[:2]):  # an uncalibrated axis says 1 um
            known.set_pixel_size(*(positive_number(volume.axesCalibration[k]) for k in (1, 0)))
        channels = [one.channel for one in file.metadata.channels]
        known.names = [str(one.name) for one in channels]
        if not colours:  # for colours, the library makes wavelengths up
            known.wavelengths_um = [micrometres(one.emissionLambdaNm, "nm") for one in channels]
        lens = file.metadata.channels[0].microscope
        known.na = positive_number(lens.objectiveNumericalAperture)
        known.magnification = positive_number(lens.objectiveMagnification)
    return Source(array, "".join(axes), chunks, rgb=colours, notes=notes, known=known)
