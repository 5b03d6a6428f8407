"""Restoration algorithms by name, each with a file in workflow/schemas/restoration/.

An algorithm is a class that is made from settings (the config's `restoration`) and has

- `most_iterations`: the largest number that `iterations: auto` can choose;
- `halo_px(psf_px, iterations, tv)`: width of the halo that a tile needs around its core;
- `strength(iterations)`: how many iterations of accelerated Richardson-Lucy have the same effect, for `trust`;
- `restore(y, blur, iterations=, tv_weight=, start=, scale=, background=, shift=, valid=, saturated=, callback=)`:
  returns the object; the parameters are those of `richardson_lucy`. `callback(iteration, object)` is called after
  every iteration, from 1 on, or once with 1 if the algorithm has no iterations. Held-out photons are compared there.

With a PSF of a single pixel (the method `denoised`, `psf_scale: 0`) it must keep the light and only remove noise.

An algorithm without iterations or without total variation says so in its file
(`fixed: {iterations: 1, tv_weight: 0}`).

Planning uses the first three, so loading an algorithm must not import torch.
"""

from isoplan.base.imports import load_named
from isoplan.config import entries


def algorithm_of(settings: dict):
    """The algorithm of the config's `restoration`."""
    return load_named(entries.algorithm(settings)["code"])(settings)
