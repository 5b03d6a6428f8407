"""How far beyond its core a tile has to see, so that it is restored as the whole picture would be.

Planning and laying out ask for it too, hence no torch here, which takes seconds to import.
"""

import math

from isoplan.config.entries import CHOSEN

# The most iterations that `iterations: auto` chooses from.
MOST_ITERATIONS = {"momentum": 40, "none": 80}
# The coarsest resolution that `resolution_px: auto` chooses from.
MOST_RESOLUTION_PX = 1.5


def halo_px(
    psf_size: int,
    iterations: int = 10,
    tv: bool = True,
    acceleration: str = "momentum",
    cap: int = 256,
) -> int:
    """Halo around a tile whose core is to equal the whole picture within 1e-4 of the range, or nearly.

    psf_size: side of the PSF in px. Measured with the worst case, a disk as wide as its window:
    the border's influence fell below 1e-4 within 1.1 psf_size iterations^(1/2) px with momentum,
    1.3 psf_size iterations^(1/3) px without (PSFs of 3 to 127 px, 5 to 40 iterations). With
    momentum it is 1.3 too: along a mosaic's own border, where the data hold the object less, 1.1 left
    more. The TV step adds a little where the PSF is small. `cap` holds for wide windows, of which real
    PSFs fill little: a test holds those of 127 px to the 1e-4 after 10 iterations, to 1e-3 after 40:
    PSFs are put together within 1e-4, and that grows. In the outermost pixels of a mosaic it grows most,
    whatever the halo: to 2e-3 after 40 iterations (`seam_error` in metrics.csv, of `tiny.yaml` without
    its iterations and weight).
    """
    reach = 1.3 * iterations ** (1 / 2 if acceleration == "momentum" else 1 / 3)
    return min(math.ceil(reach * psf_size) + (8 if tv else 0), cap)


def settled(settings: dict, choice: dict | None) -> dict:
    """The config's `restoration` with what was chosen and why (`reason`); choice: of `restoration.choosing.choose`, or None."""
    return settings | {key: choice[key] for key in (*CHOSEN, "reason") if choice}


def halo_of(settings: dict, psf_px: int) -> int:
    """Halo in px: the config's `halo_px`, or, where that is 0, what PSF and iterations ask for.

    Iterations that are still to be chosen count as the most that they may become.
    """
    tv = settings["tv_step"] != "none" and settings["tv_weight"] != 0
    iterations, acceleration = settings["iterations"], settings["acceleration"]
    if iterations == "auto":
        iterations = MOST_ITERATIONS[acceleration]
    # A Gaussian's weights end at four deviations, under twice its width.
    width = settings["resolution_px"]
    shown = math.ceil(2 * (MOST_RESOLUTION_PX if width == "auto" else width))
    return settings["halo_px"] or halo_px(psf_px, iterations, tv, acceleration) + shown
