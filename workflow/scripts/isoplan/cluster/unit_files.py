"""Units that are kept as one array each: <folder>/<unit>.npy."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from isoplan.base.errors import UserError


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
