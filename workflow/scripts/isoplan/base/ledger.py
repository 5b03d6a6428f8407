"""Which units of a stage are done: small files beside the store, written after each unit.

A unit counts as done only where its file carries the present fingerprint (settings, input, library
code) and the data read back from the store still have the recorded checksum.
"""

import json
import os
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np


def write_atomically(path: str | Path, text: str) -> None:
    """Writes a file whole or not at all: under another name first, then renamed into place."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text)
        with part.open() as handle:
            os.fsync(handle.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def checksum(block: np.ndarray) -> int:
    """CRC-32 of an array's bytes."""
    return zlib.crc32(np.ascontiguousarray(block).view(np.uint8).data)


class Ledger:
    """Ledger of one store.

    folder: where the unit files lie, outside the store. fingerprint: of params, inputs and code.
    """

    def __init__(self, folder: str | Path, fingerprint: str):
        self.folder = Path(folder)
        self.fingerprint = fingerprint

    def _file(self, unit: int) -> Path:
        return self.folder / f"{unit}.json"

    def recorded(self, unit: int) -> dict | None:
        """The unit's entry, or None where there is none of this fingerprint that reads whole."""
        try:
            entry = json.loads(self._file(unit).read_text())
            return entry if entry["fingerprint"] == self.fingerprint else None
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def record(self, unit: int, block: np.ndarray, **facts) -> None:
        """Notes that `block` was written for this unit; call it after the store's write returned."""
        entry = {"fingerprint": self.fingerprint, "checksum": checksum(block), **facts}
        write_atomically(self._file(unit), json.dumps(entry))

    def done(self, unit: int, read: Callable[[int], np.ndarray]) -> bool:
        """Whether the unit is recorded and its data, read back by `read(unit)`, are unharmed."""
        entry = self.recorded(unit)
        if entry is None:
            return False
        try:
            return checksum(read(unit)) == entry["checksum"]
        except Exception:  # whatever a damaged store raises, the unit is to be made again
            return False

    def missing(self, units: Iterable[int], read: Callable[[int], np.ndarray]) -> list[int]:
        """The units still to be made, in order."""
        return [unit for unit in units if not self.done(unit, read)]


def damaged(folder: str | Path, read: Callable[[int], np.ndarray]) -> list[int]:
    """Units recorded in a ledger's folder, whatever their fingerprint, whose data are not unharmed.

    read(unit) gives the unit's data back from the store; whatever it raises counts as damage.
    """
    units = sorted(int(file.stem) for file in Path(folder).glob("*.json") if file.stem.isdigit())
    lost = []
    for unit in units:
        try:
            entry = json.loads((Path(folder) / f"{unit}.json").read_text())
            unharmed = checksum(read(unit)) == entry["checksum"]
        except Exception:  # as in Ledger.done, and ledger files that are cut off
            unharmed = False
        if not unharmed:
            lost.append(unit)
    return lost
