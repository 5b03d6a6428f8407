"""isoplan finds the local point-spread function of every patch of a microscope's picture, and restores the picture.

The functions for notebooks and programs are those of `isoplan.api` and of applications (FUNCTIONS in their rows);
nothing heavy is imported before one is used.
"""

import os
from importlib import import_module

__version__ = "0.1.0"
__all__ = [
    "PsfMap",
    "Restored",
    "Simulated",
    "compare",
    "map_psf",
    "open_mosaic",
    "restore",
    "simulate",
]


def __getattr__(name: str):
    places = _functions() if name not in __all__ and not name.startswith("_") else {}
    if name not in __all__ and name not in places:
        raise AttributeError(f"module 'isoplan' has no attribute '{name}'")
    # Threads that wait by spinning slow everything down where others share the cores; before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    return getattr(import_module(places.get(name, "isoplan.api")), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, *_functions()])


def _functions() -> dict[str, str]:
    """Functions of applications, and the modules that they are in."""
    listed = import_module("isoplan.base.rows").rows("FUNCTIONS")
    return {name: module for module, _, name in (place.partition(":") for place in listed)}
