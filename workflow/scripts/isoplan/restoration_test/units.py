"""What restoration tests keep on the disk: units of a few pictures, one array each."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from isoplan.base.errors import UserError
from isoplan.base.ledger import Ledger
from isoplan.cluster.units import run_units

UNIT_PICTURES = 4


def unit_count(test: dict) -> int:
    """Units of an entry of the config's `restoration_tests`."""
    return -(-test["samples"] // UNIT_PICTURES)


def pictures_of(test: dict, unit: int) -> range:
    """Numbers of the pictures of a unit."""
    first = unit * UNIT_PICTURES
    return range(first, min(first + UNIT_PICTURES, test["samples"]))


def unit_file(folder: str | Path, unit: int) -> Path:
    return Path(folder) / f"{unit}.npy"


def save_unit(folder: str | Path, unit: int, block: np.ndarray) -> None:
    """Writes a unit whole or not at all."""
    path = unit_file(folder, unit)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as handle:
        np.save(handle, block)
    part.replace(path)


def load_unit(folder: str | Path, unit: int) -> np.ndarray:
    return np.load(unit_file(folder, unit))


def run_share(
    test: dict, make: Callable[[int], np.ndarray], folder: str | Path, ledger: Ledger, **share
) -> int:
    """Makes what is not there yet of one job's units, each an array of make(unit); returns how many.

    test: entry of the config's `restoration_tests`. share: job, jobs and title of `run_units`.
    """
    return run_units(
        ledger,
        unit_count(test),
        make=make,
        write=lambda unit, block: save_unit(folder, unit, block),
        read=lambda unit: load_unit(folder, unit),
        **share,
    )


def load_units(folder: str | Path, count: int) -> np.ndarray:
    """The arrays of all units, one after another: (pictures, ...).

    Raises UserError where a unit is missing or damaged.
    """
    parts = []
    for path in (unit_file(folder, unit) for unit in range(count)):
        try:
            parts.append(np.load(path))
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path}: cannot be read ({error}); `make resume` makes it again"
            ) from None
    return np.concatenate(parts)


def stored_units(folder: str | Path) -> tuple[Callable[[int], np.ndarray], None]:
    """How a unit is read back; how many there are only the test's entry tells."""
    return lambda unit: load_unit(folder, unit), None
