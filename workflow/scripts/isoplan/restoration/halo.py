"""How far beyond its core a tile has to see, so that it is restored as the whole picture would be.

Planning and laying out ask for it too, hence no torch here, which takes seconds to import.
"""

import math

from isoplan.config.entries import CHOSEN
from isoplan.restoration.algorithm import algorithm_of

# The coarsest resolution that `resolution_px: auto` chooses from.
MOST_RESOLUTION_PX = 1.5


def with_choice(settings: dict, choice: dict | None) -> dict:
    """The config's `restoration` with what was chosen and why (`reason`); choice: of `restoration.choosing.choose`, or None."""
    return settings | {key: choice[key] for key in (*CHOSEN, "reason") if choice}


def halo_of(settings: dict, psf_px: int) -> int:
    """Halo in px: the config's `halo_px`, or, where that is 0, what PSF and iterations ask for.

    Iterations that are still to be chosen count as the most that they may become.
    """
    algorithm, iterations = algorithm_of(settings), settings["iterations"]
    if iterations == "auto":
        iterations = algorithm.most_iterations
    # A Gaussian's weights end at four deviations, under twice its width.
    width = settings["resolution_px"]
    shown = math.ceil(2 * (MOST_RESOLUTION_PX if width == "auto" else width))
    tv = settings["tv_weight"] != 0
    return settings["halo_px"] or algorithm.halo_px(psf_px, iterations, tv) + shown
