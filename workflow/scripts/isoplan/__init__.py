"""isoplan finds the local point-spread function of every patch of a microscope's picture, and restores the picture.

The functions for notebooks and programs are those of `isoplan.api`; nothing heavy is imported before one is used.
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
    if name not in __all__:
        raise AttributeError(f"module 'isoplan' has no attribute '{name}'")
    # Threads that wait by spinning slow everything down where others share the cores; before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    return getattr(import_module("isoplan.api"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
