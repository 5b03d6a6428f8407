"""Chooses how to restore a picture, from the picture alone: the PSFs, the iterations and the TV weight.

Photons are held out (`held_out`). Too few iterations miss structure that exists, too many predict noise that does not
occur again. All photons are then restored with the best settings. Iterations, weight and the width of PSFs are
compared by squared errors, like SNR: the Poisson deviance gives dark ground a large weight because of its small
variance, and led to too smooth results for bright objects on dark ground. Whether to use PSFs at all, and of which
kind, is decided by the deviance, which is most sensitive where there is little light.

Estimated PSFs are uncertain. The softness of a specimen counts as blur, so they are more often too wide than too
narrow. PSFs that are too wide do far more harm: they turn real detail into noise and rings. Held-out photons reveal
such a PSF, because an object without negative light cannot explain detail finer than its PSF. So narrower PSFs are
tried as well (`LocalPsfs.by`):

- The PSFs chosen have the mean of the plausible widths, weighted by exp(-z^2 / 2), where a width does worse than the
  best one by z standard errors. These are the errors of differences in squares of BLOCK_PX (several thinnings of a
  piece share their photons). The map's intervals are not used, as they do not account for soft specimens.
- PSFs narrower than LEAST_PX are not used. They are as likely softness of the specimen as blur, and the possible loss
  is larger than the possible gain. Only noise is removed then.
- The result of uncertain PSFs is shown through a Gaussian (`resolution_for`), because PSFs that are slightly too wide
  cause rings in detail that is finer than pixels and photons can resolve.

If the map hints that the blur does not belong to its PSF model, PSFs of other kinds are searched too (`other_psfs`),
those with wings last. Disks and motions are also searched if one as wide as the map's PSFs does better than these, if
the map's PSFs need strong smoothing, or if they are those of an aberrated pupil. A PSF of another kind is used if it
predicts the photons clearly better than the map's PSFs, as they are or narrower, and than no PSF (`search`). If a disk
or a motion does better, but not clearly, few iterations are made.

The cost is one restoration with the largest number of iterations for every piece, PSF and weight; a piece is
PIECE_PX a side plus a margin. This time is bounded for a mosaic of any size, but exceeds that of the restoration if
the mosaic has few cores. The study `how-much` compares iterations and weight with the best possible ones, and
`no-harm` shows the results for uncertain PSFs.
"""

from dataclasses import replace

import numpy as np

from isoplan.base.seeds import numpy_rng
from isoplan.config import entries
from isoplan.optics.exposure import Exposure, exposure_of
from isoplan.restoration.held_out import HeldOut
from isoplan.restoration.pieces import PIECES, Piece, pieces_of
from isoplan.restoration.psfs import LocalPsfs
from isoplan.restoration.raw_noise import look_at_noise
from isoplan.restoration.search import Search

# Noise above MUCH_NOISE times that of the gain is not noise. A share of cells with an alarm above ALARMED is large.
MUCH_NOISE, ALARMED = 4.0, 0.2
# A single PSF cannot stand for PSFs whose width has a larger relative standard deviation than this.
UNEVEN = 0.1

# The TV weight if photons cannot be counted and the iterations are given.
UNJUDGED_WEIGHT = 0.001
ITERATIONS_AND_WEIGHT = "iterations and a TV weight"
GIVEN = "give {}"
GAIN = "find out why first: give the gain if the picture is a raw one, or {}"
# If a Gaussian or the map's PSFs are used although the map says that the blur is another.
CONTRADICTED = (
    "{:.0f} % of the map's valid cells say that the blur hardly belongs to the PSF model, and no PSF that explains it was "
    "found. It may be a double image, for example: compare the restoration with the picture"
)
FORCED = "give a psf_scale (1 takes the map as it is)"


def choose_for(
    mosaic, local: LocalPsfs, facts: dict, settings: dict, *, seed: int, stream: str, device="cpu"
) -> dict:
    """Choose PSFs, iterations and TV weight for a mosaic, from a few pieces of it.

    Less is done if the map or the noise cannot be believed. Nothing is done if more cells raise the alarm than
    are valid and these are more than ALARMED of all, because photons cannot be counted then, or if the noise is
    not that of a raw picture (`raw_noise`). Only noise is removed if no cell is valid, if more cells raise the
    alarm than are valid but these are few, or if a sharp picture that raises the alarm has the noise of a raw
    one. The strength of the noise corrects the gain. Settings that are not "auto" are used in any case.

    Parameters
    ----------
    mosaic
        The picture, read by window.
    local
        Its PSFs.
    facts
        From `mosaic.measure`, with offset, gain and read_noise_e.
    settings
        The config's `restoration`.
    seed, stream
        Determine which photons are held out.
    device
        Device that computes.

    Returns
    -------
    dict
        The choice, as from `choose`; also `caution` if the map contradicts the PSFs chosen.
    """
    mapped = local
    exposure, known = exposure_of(facts, settings["background"]), facts.brightness
    if not local.estimated:
        settings = settings | {"psf_shape": "map"}  # known PSFs are kept
    elif settings["psf_shape"] not in ("auto", "map"):
        local = local.chosen(settings)  # the PSF is known then
    pieces = pieces_of(mosaic, local, facts, order=settings["order"], device=device)
    said, other_blur = [], 0.0
    if settings["psf_scale"] == "auto" and exposure.gain:
        whole_numbers = np.dtype(facts["dtype"]).kind in "ui"
        given = facts.get("gain_given", False)
        sums, noise = local.sums, look_at_noise(pieces, exposure, whole_numbers, gain_given=given)
        alarmed = sums and sums["alarm_cells"] > sums["valid_cells"]
        why = noise.fault
        if alarmed and sums["alarm_cells"] > ALARMED * sums["cells"] and (why or not noise.sharp):
            why = (
                "most of its map raises the alarm: it is not a raw camera picture of a thin sample"
            )
        if why:
            return _unjudged(settings, why, known["scale"] / exposure.gain, FORCED)
        if alarmed:
            said.append("more of the map raises the alarm than is valid")
        if sums and not sums["valid_cells"]:
            said.append("no cell of the map is valid")
        if noise.times > MUCH_NOISE:
            said.append(
                f"frequencies that the PSFs suppress have {noise.times:.2g} times the noise that its gain makes"
            )
        elif noise.times != 1:
            gain = noise.times * exposure.gain
            exposure = replace(exposure, gain=gain, floor=noise.times * exposure.floor)
        if said:
            settings = settings | {"psf_scale": 0}
        else:
            other_blur = local.other_blur
        if noise.times != 1 and noise.times <= MUCH_NOISE:
            said.append(f"its noise corresponds to {exposure.gain:.3g} counts per electron")
    how = {
        "exposure": exposure,
        "side": local.size_px,
        "other_blur": other_blur,
        "uneven": bool(local.mean_of) and (local.mean_of.get("spread") or 0) > UNEVEN,
        "aberrated": bool(local.model) and local.model.knows_cutoff,
        "seed": seed,
        "stream": stream,
    }
    choice = choose(pieces, settings, **known, **how)
    if choice["iterations"] and mapped.contradicted(choice):
        choice["caution"] = CONTRADICTED.format(100 * mapped.other_blur)
    if choice["tv_weight"] == entries.LEARNT and exposure.gain:
        choice["weights_gain"] = exposure.gain
    return choice | {"reason": "; ".join([*said, choice["reason"]])}


def choose(
    pieces: list[Piece],
    settings: dict,
    *,
    exposure: Exposure,
    start: float,
    scale: float,
    seed: int,
    stream: str,
    side: int | None = None,
    other_blur: float = 0.0,
    uneven: bool = False,
    aberrated: bool = False,
) -> dict:
    """Choose PSFs, iterations and TV weight from pieces of a picture.

    Parameters
    ----------
    pieces
        From `pieces_of`.
    settings
        The config's `restoration`; settings that are not "auto" are kept.
    exposure
        Exposure of the mosaic; its gain may be None.
    start, scale
        From `mosaic.facts.Facts.brightness`.
    seed, stream
        Determine which photons are held out.
    side
        Side in px of PSFs of other kinds; None tries none.
    other_blur
        Share of the map's valid cells that say that the blur does not belong to the PSF model.
    uneven
        Whether a single PSF stands for different ones.
    aberrated
        Whether the map's PSFs are those of an aberrated pupil.

    Returns
    -------
    dict
        - fixed: from `config.entries.fixed`, if the algorithm fixes anything,
        - psf_scale: width of the PSFs relative to the map's, 0 for no PSF,
        - psf_shape: "map", or a PSF of another kind,
        - resolution_px, iterations, tv_weight (a number, or "learnt"),
        - weights_doubt: of learnt weights, the relative standard deviation of the PSFs' width that they are told,
        - reason: the reason in words,
        - ends: what was chosen at an end of its range, in words, by key,
        - photons: photons at `scale`; None if the gain is unknown,
        - widths: for each factor tried, descending: psf_scale, width_px of the median PSF, and worse, the number
          of standard errors by which it predicts the photons worse than the best one,
        - curves: for each weight tried with the PSFs chosen, ascending: tv_weight, iterations, and error, the
          mean squared error in electrons^2 per pixel.

        If nothing can be judged, both lists are empty, and iterations that are not given are 0: the picture is
        left as it is.
    """
    photons = scale / exposure.gain if exposure.gain else None
    pieces = [piece for piece in pieces if (piece.counts[piece.judged] > 0).any()]
    if photons is None or not pieces:
        why = "the camera's gain is not known" if photons is None else "no light was found"
        return _unjudged(settings, why, photons, GAIN if photons is None else GIVEN)
    turns = -(-PIECES // len(pieces))
    held_out = [
        HeldOut(piece, exposure, [numpy_rng(seed, stream, k * turns + t) for t in range(turns)])
        for k, piece in enumerate(pieces)
    ]
    held_out = [held for held in held_out if held.pixels]
    if not held_out:
        return _unjudged(settings, "no pixel is usable", photons)
    return Search(
        held_out,
        settings,
        photons,
        {"start": start, "scale": scale},
        side,
        other_blur,
        uneven,
        aberrated,
    ).choice()


def _unjudged(settings: dict, why: str, photons: float | None, give: str = GIVEN) -> dict:
    """The choice if nothing can be judged: nothing is done unless the iterations are given.

    For an algorithm without iterations, the width of the PSFs decides instead.
    """
    fixed = entries.fixed(settings)
    decides, wanted = "iterations", "iterations" if "tv_weight" in fixed else ITERATIONS_AND_WEIGHT
    if "iterations" in fixed:
        decides, wanted = "psf_scale", "a psf_scale"
    taken = {"iterations": 0, "tv_weight": UNJUDGED_WEIGHT, "psf_scale": 1.0, "resolution_px": 0.0}
    taken |= {"psf_shape": "map"}
    known = {k: settings[k] for k in taken if settings[k] not in ("auto", entries.LEARNT)}
    reason = f"{why}, so nothing can be held out and judged"
    if decides not in known:
        known["iterations"] = 0
        reason += f"; {give.format(wanted)} to restore it nevertheless"
    return (
        ({"fixed": fixed} if fixed else {})
        | taken
        | known
        | {"reason": reason, "photons": photons, "widths": [], "curves": [], "ends": {}}
    )
