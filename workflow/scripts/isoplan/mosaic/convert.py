"""OME-Zarr of pictures that cannot be read by window: one huge strip, a large PNG.

The chosen plane is read once from top to bottom and written in shards of its own type. Strips that
Deflate packed, and uncompressed ones, are decoded as they come; pieces of other codecs are decoded
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
REFUSED = "refused: "  # how the record of a conversion begins that found its file damaged
_BASE_MB = 250  # Python with numpy and zarr, and the shards under way


def memory_mb(mosaic: Picture) -> int:
    """What `convert` takes at its peak, in MB; 0 where the picture is read by window as it is.

    Raises UserError where a piece is too large even for that.
    """
    if mosaic.by_window:
        return 0
    if mosaic.streams:
        # A band of shards in float32, in the file's type, and while it is decoded.
        band = SHARD_PX * mosaic.shape[1] * (3 if mosaic.luminance else 1)
        return _BASE_MB + round(band * (8 + 3 * mosaic.dtype.itemsize) / 2**20)
    if mosaic.piece_bytes > LARGEST_PIECE:
        raise UserError(
            f"{mosaic.path}: is compressed in pieces of {mosaic.piece_bytes / 2**30:.1f} GiB, too large to"
            " decode; save it as tiled TIFF or as OME-Zarr"
        )
    # The piece packed, decoded and copied, in float32 and cast back.
    pixels = mosaic.piece_bytes // mosaic.dtype.itemsize
    return _BASE_MB + round((3 * mosaic.piece_bytes + 5 * pixels) / 2**20)


def convert(
    mosaic: Picture, store: str | Path, *, pixel_size_um: float | None, attributes: dict
) -> None:
    """Writes the plane of a picture as an OME-Zarr of one level, under another name until it is whole.

    Integers of 8 and 16 bits keep their type; all others, and tiles with gaps between them, become
    float32, as `read` would give them.
    pixel_size_um: None where nobody knows it. attributes: our own. An older store is replaced.
    Raises UserError where the file is damaged or the folder cannot be written.
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
