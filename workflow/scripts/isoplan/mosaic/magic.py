"""Recognises file formats by their first bytes.

Snakemake imports this when it parses the workflow, so nothing heavy is imported.
"""

import stat
from pathlib import Path

from isoplan.base.errors import UserError
from isoplan.mosaic.formats.rows import FORMATS

_LENGTH = 16


def first_bytes(path: str) -> bytes:
    """The first 16 bytes of a file, or fewer if it is shorter. Raises UserError if it is empty."""
    try:
        # Reading from a pipe would block, and a device never ends.
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise UserError(f"{path}: is not a regular file; give a file or a folder")
        with open(path, "rb") as handle:
            magic = handle.read(_LENGTH)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file; correct the path") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be opened ({error.strerror}); check the file") from None
    if not magic:
        raise UserError(f"{path}: the file is empty; copy or export it again")
    return magic


def format_of(magic: bytes) -> tuple[str, str] | None:
    """Name and opener of a format that is read through a library, from `rows`; None for all others."""
    return next((row for start, row in FORMATS.items() if magic.startswith(start)), None)


def readers_of(files: list[str]) -> list[str]:
    """The openers ("module:name") of a picture's files; of tiles, only the first of each extension counts.

    Formats that need no library have none. Unreadable files have none either; opening them says why.
    """
    first = {Path(file).suffix: file for file in reversed(files)}
    return sorted({code for file in first.values() if (code := _reader(file))})


def _reader(file: str) -> str | None:
    try:
        found = format_of(first_bytes(file))
    except UserError:
        return None
    return found and found[1]
