"""Width of the halo that a tile needs around its core to be restored like the whole picture.

Planning uses it too, so this must not import torch, which takes seconds.
"""

import math

from isoplan.config.entries import CHOSEN, LEARNT
from isoplan.restoration import weight_store
from isoplan.restoration.algorithm import algorithm_of

# The coarsest resolution that `resolution_px: auto` chooses from.
MOST_RESOLUTION_PX = 1.5


def with_choice(settings: dict, choice: dict | None) -> dict:
    """The config's `restoration` with what was chosen, and the reason.

    choice: from `restoration.choosing.choose`, or None, which changes nothing. If weights are learnt, it is added by which
    network.
    """
    settings = settings | {key: choice[key] for key in (*CHOSEN, "reason") if choice}
    if settings.get("tv_weight") != LEARNT:
        return settings
    told = weight_store.told_by(settings)
    settings = settings | {key: told[key] for key in ("weights_file", "weights_sha256")}
    found = choice or {}
    return settings | {key: found.get(key) for key in ("weights_gain", "weights_doubt")}


def halo_of(settings: dict, psf_px: int) -> int:
    """Halo in px: the config's `halo_px`, or if that is 0, what the PSF and the iterations need.

    If the iterations are not chosen yet, the largest possible number is assumed. settings: the config's
    `restoration`. psf_px: side of the PSFs.
    """
    algorithm, iterations = algorithm_of(settings), settings["iterations"]
    if iterations == "auto":
        iterations = algorithm.most_iterations
    # The weights of a Gaussian end at 4 standard deviations, less than twice its width.
    width = settings["resolution_px"]
    shown = math.ceil(2 * (MOST_RESOLUTION_PX if width == "auto" else width))
    tv = settings["tv_weight"] != 0
    halo = settings["halo_px"] or algorithm.halo_px(psf_px, iterations, tv) + shown
    if settings["tv_weight"] != LEARNT:
        return halo
    # What lies beyond the halo changes the weights near its border, which hardly change the core.
    told = weight_store.told_by(settings)
    step = told["step_px"]
    return -(-max(halo, told["halo_px"] + psf_px) // step) * step
