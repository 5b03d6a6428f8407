"""How a picture is restored with PSFs: algorithms by name, each with a file in workflow/schemas/restoration/.

An algorithm is a class of settings (the config's `restoration`) with

- `most_iterations`, the most that `iterations: auto` chooses from;
- `halo_px(psf_px, iterations, tv)`, how far beyond its core a tile has to see;
- `strength(iterations)`, the iterations of accelerated Richardson-Lucy that go as far, for `trust`;
- `restore(y, blur, iterations=, tv_weight=, start=, scale=, background=, shift=, valid=, saturated=, callback=)`, as
  `richardson_lucy` has it, which returns the object. `callback(iteration, object)` is called after every iteration, from 1 on,
  or once with 1 by an algorithm that has none: held-out photons are compared there.

One that has no iterations, or no total variation, says so in its file (`fixed: {iterations: 1, tv_weight: 0}`).

Planning asks for the first three, hence no torch where an algorithm is loaded.
"""

from isoplan.base.imports import load_named
from isoplan.config import entries


def algorithm_of(settings: dict):
    """The algorithm of the config's `restoration`."""
    return load_named(entries.algorithm(settings)["code"])(settings)
