"""Opens a picture file with the reader of its format.

TIFF, OME-TIFF, LSM, OME-Zarr 0.4 and 0.5, PNG and JPEG are always read; the formats of
`formats.rows` need the extra `readers`. The readers look at headers only: the meaning of the axes, the pieces that the file
is cut into (tiles, strips, chunks), and whether the file is complete.
"""

from pathlib import Path

from isoplan.base.errors import UserError
from isoplan.base.imports import load_named
from isoplan.mosaic.magic import first_bytes, format_of
from isoplan.mosaic.png_jpeg import JPEG_MAGIC, PNG_MAGIC, open_png_or_jpeg
from isoplan.mosaic.source import Source
from isoplan.mosaic.tiff import open_tiff
from isoplan.mosaic.zarr_picture import open_zarr

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_UNSUPPORTED = {
    b"\0\0\0\x0c": "Nikon (the old ND2 format) or JPEG 2000",
    b"\xd0\xcf\x11\xe0": "Olympus or Zeiss (OIB, ZVI)",
    b"\x89HDF": "HDF5, as Imaris writes (IMS)",
    b"GIF8": "GIF",
}


def open_source(path: str, series: int | None = None) -> Source:
    """Open the picture in a file or in an OME-Zarr folder.

    Parameters
    ----------
    path
        The file or folder.
    series
        Which of several pictures, from 0; None for the largest.

    Raises
    ------
    UserError
        If the file is missing, truncated, not a picture or of an unsupported format.
    """
    if Path(path).is_dir():
        return open_zarr(path, series)
    magic = first_bytes(path)
    if magic.startswith(_TIFF_MAGIC):
        return open_tiff(path, series)
    if magic.startswith((PNG_MAGIC, JPEG_MAGIC)):
        return open_png_or_jpeg(path, series)
    if known := format_of(magic):
        name, code = known
        return load_named(code)(path, name, series)
    if maker := next((who for start, who in _UNSUPPORTED.items() if magic.startswith(start)), None):
        raise UserError(
            f"{path}: is a file of {maker}, which is not read; export it as OME-TIFF or OME-Zarr"
        )
    raise UserError(
        f"{path}: is neither a TIFF, LSM, OME-Zarr, PNG or JPEG nor a table of tile positions; export it as one"
    )
