"""Opens a picture file with the reader of its format.

TIFF, OME-TIFF, LSM, OME-Zarr 0.4 and 0.5, PNG and JPEG are always read; CZI, ND2 and LIF need the
extra `readers`. The readers look at headers only: the meaning of the axes, the pieces that the file
is cut into (tiles, strips, chunks), and whether the file is complete.
"""

import stat
from pathlib import Path

from isoplan.base.errors import UserError
from isoplan.mosaic.png_jpeg import JPEG_MAGIC, PNG_MAGIC, open_png_or_jpeg
from isoplan.mosaic.source import Source
from isoplan.mosaic.tiff import open_tiff
from isoplan.mosaic.vendors import open_vendor
from isoplan.mosaic.zarr_picture import open_zarr

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_VENDORS = {b"ZISR": "CZI", b"\xda\xce\xbe\n": "ND2", b"p\0\0\0": "LIF"}
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
    if magic in _TIFF_MAGIC:
        return open_tiff(path, series)
    if magic.startswith((PNG_MAGIC, JPEG_MAGIC)):
        return open_png_or_jpeg(path, series)
    if kind := _VENDORS.get(magic):
        return open_vendor(path, kind, series)
    if maker := _UNSUPPORTED.get(magic):
        raise UserError(
            f"{path}: is a file of {maker}, which is not read; export it as OME-TIFF or OME-Zarr"
        )
    raise UserError(
        f"{path}: is neither a TIFF, LSM, OME-Zarr, PNG or JPEG nor a table of tile positions; export it as one"
    )


def first_bytes(path: str) -> bytes:
    """The first four bytes of a file. Raises UserError if it has none."""
    try:
        # Reading from a pipe would block, and a device never ends.
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise UserError(f"{path}: is not a regular file; give a file or a folder")
        with open(path, "rb") as handle:
            magic = handle.read(4)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file; correct the path") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be opened ({error.strerror}); check the file") from None
    if not magic:
        raise UserError(f"{path}: the file is empty; copy or export it again")
    return magic
