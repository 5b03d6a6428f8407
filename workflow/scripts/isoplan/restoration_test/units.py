"""The units of restoration tests, of a few pictures each."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from isoplan.base.ledger import Ledger
from isoplan.cluster.unit_files import load_unit, save_unit
from isoplan.cluster.units import run_units

UNIT_PICTURES = 4


def unit_count(test: dict) -> int:
    """Number of units of an entry of the config's `restoration_tests`."""
    return -(-test["samples"] // UNIT_PICTURES)


def pictures_of(test: dict, unit: int) -> range:
    """Indices of the pictures of a unit."""
    first = unit * UNIT_PICTURES
    return range(first, min(first + UNIT_PICTURES, test["samples"]))


def run_share(
    test: dict, make: Callable[[int], np.ndarray], folder: str | Path, ledger: Ledger, **share
) -> int:
    """Make the missing units of one job.

    Parameters
    ----------
    test
        Entry of the config's `restoration_tests`.
    make
        Computes the array of a unit.
    folder
        Folder for the arrays.
    ledger
        Ledger of the units.
    **share
        job, jobs and title, for `run_units`.

    Returns
    -------
    int
        Number of units that were made.
    """
    return run_units(
        ledger,
        unit_count(test),
        make=make,
        write=lambda unit, block: save_unit(folder, unit, block),
        read=lambda unit: load_unit(folder, unit),
        **share,
    )
