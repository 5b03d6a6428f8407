"""Converts pictures that cannot be read by window (one huge strip, a large PNG) to OME-Zarr.

The chosen plane is read once from top to bottom and written shard by shard in the file's data type.
Uncompressed and Deflate strips are decoded as a stream. Pieces of other codecs are decoded as a
whole, up to `LARGEST_PIECE`.
"""

import os
import shutil
from pathlib import Path

from isoplan.base.errors import UserError
from isoplan.base.progress import Progress
from isoplan.mosaic import ngff
from isoplan.mosaic.tiles import spans
from isoplan.mosaic.window import Picture

LARGEST_PIECE = 2**31  # bytes, decoded
SHARD_PX = 1024
REFUSED = "refused: "  # begins the record of a conversion whose input was damaged
_BASE_MB = 250  # Python with numpy and zarr, and the shards being written


def memory_mb(mosaic: Picture) -> int:
    """Peak memory of `convert` for a picture.

    Returns
    -------
    int
        Memory in MB; 0 if the picture can be read by window and needs no conversion.

    Raises
    ------
    UserError
        If a compressed piece of the file is too large to decode.
    """
    if mosaic.by_window:
        return 0
    if mosaic.streams:
        # One row of shards: as float32, in the file's type, and once more during decoding.
        band = SHARD_PX * mosaic.shape[1] * (3 if mosaic.luminance else 1)
        return _BASE_MB + round(band * (8 + 3 * mosaic.dtype.itemsize) / 2**20)
    if mosaic.piece_bytes > LARGEST_PIECE:
        raise UserError(
            f"{mosaic.path}: is compressed in pieces of {mosaic.piece_bytes / 2**30:.1f} GiB, too large to"
            " decode; save it as tiled TIFF or as OME-Zarr"
        )
    # The piece compressed, decoded, copied, as float32 and cast back.
    pixels = mosaic.piece_bytes // mosaic.dtype.itemsize
    return _BASE_MB + round((3 * mosaic.piece_bytes + 5 * pixels) / 2**20)


def convert(
    mosaic: Picture, store: str | Path, *, pixel_size_um: float | None, attributes: dict
) -> None:
    """Write one plane of a picture as an OME-Zarr of a single level.

    The store gets its final name only when it is complete; an older store is replaced. Integers of
    8 and 16 bits keep their type. All other types, and mosaics with gaps, become float32.

    Parameters
    ----------
    mosaic
        The picture, opened with `large_pieces=True`.
    store
        Path of the OME-Zarr to write.
    pixel_size_um
        Side of a pixel in micrometres, None if unknown.
    attributes
        Attributes of the store's group "isoplan".

    Raises
    ------
    UserError
        If the file is damaged or the folder cannot be written.
    """
    store = Path(store)
    kept = mosaic.dtype.kind in "ui" and mosaic.dtype.itemsize <= 2 and not mosaic.luminance
    kept &= not mosaic.gaps  # whole numbers have no NaN
    dtype = mosaic.dtype.newbyteorder("=").name if kept else "float32"
    folder = store.with_name(f".{store.name}.part")
    made = folder / store.name
    try:
        ngff.create_image(
            made,
            mosaic.shape,
            dtype=dtype,
            pixel_size_um=pixel_size_um,
            shard_px=SHARD_PX,
            levels=1,
            attributes=attributes,
        )
        array = ngff.open_array(made, "0", "r+")
        bar = Progress("converting, blocks of rows", mosaic.shape[0])
        for (y0, y1, x0, x1), block in mosaic.blocks(SHARD_PX):
            for columns in spans(x1 - x0, SHARD_PX):
                array[y0:y1, x0 + columns.start : x0 + columns.stop] = block[:, columns].astype(
                    dtype
                )
            bar.step(count=y1 - y0)
        shutil.rmtree(store, ignore_errors=True)
        os.replace(made, store)
    except OSError as error:
        raise UserError(
            f"{store}: cannot be written ({error.strerror}); check rights and space of the folder"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
