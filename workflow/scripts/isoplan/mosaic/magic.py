"""What a file is by its first bytes, and whose code opens it.

Read while Snakemake parses, so nothing heavy is imported.
"""

import stat
from pathlib import Path

from isoplan.base.errors import UserError
from isoplan.mosaic.formats.rows import FORMATS

_LENGTH = 16


def first_bytes(path: str) -> bytes:
    """The first bytes of a file, 16 of a longer one. Raises UserError where there are none."""
    try:
        # A pipe would be waited for, and a device has no end.
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise UserError(f"{path}: is no ordinary file; give a file or a folder")
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
    """Name and opener of the format that is read through a library, as `rows` has them; None for all others."""
    return next((row for start, row in FORMATS.items() if magic.startswith(start)), None)


def readers_of(files: list[str]) -> list[str]:
    """The openers, as "module:name", of the files that a picture lies in; of tiles, of the first of each ending.

    Empty for what is read without such a library, and for what cannot be read: who opens it says why.
    """
    first = {Path(file).suffix: file for file in reversed(files)}
    return sorted({code for file in first.values() if (code := _reader(file))})


def _reader(file: str) -> str | None:
    try:
        found = format_of(first_bytes(file))
    except UserError:
        return None
    return found and found[1]
