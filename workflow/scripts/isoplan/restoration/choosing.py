"""How much to restore, chosen from the picture alone: by which PSFs, how many iterations, which TV weight.

Photons are held out (`held_out`): too few iterations miss structure that is there, too many predict noise that does
not come again. All photons are then restored with what does best. Iterations, weight and the width of PSFs are compared
by squared errors, as SNR counts squares: the Poisson deviance weighs dark ground by its small variance, and chose too
smooth where bright things lie on it. Whether to use PSFs at all, and of which kind, is decided by the deviance, which is
most sensitive where light is least.

Estimated PSFs are in doubt themselves. A specimen's own softness counts as blur, so they are too wide more often than
too narrow, and PSFs that are too wide do far more harm: they sharpen real detail into noise and rings. Photons held
out reveal a PSF that is too wide, because an object without negative light cannot explain detail finer than its PSF.
So narrower PSFs are tried as well (`LocalPsfs.by`):

- The PSFs chosen have the mean of the widths that may be true, weighted by exp(-z^2 / 2), where a width does worse
  than the best one by z standard errors. These errors are of the differences in squares of BLOCK_PX (several thinnings of a piece
  share their photons). The map's intervals have no say: they know too little of soft specimens;
- PSFs under LEAST_PX are not used: they are as likely the specimen's softness as blur, and less could be gained than
  lost. Only noise is removed then;
- what PSFs in doubt restore is shown through a Gaussian (`resolution_for`), because PSFs that are a little too wide
  ring in detail finer than pixels and photons can hold.

Where the map hints at another blur than its PSF model's, PSFs of other kinds are searched too (`other_psfs`), at the
end those with wings; disks and motions also where one as wide as the map's PSFs does better than these, or where what
these restore wants much smoothing. One of these is used if it surely predicts the photons better than the map's PSFs,
as they are or narrower, and than no PSF (`search`).

It takes as many restorations of the most iterations as there are pieces times PSFs and weights, of PIECE_PX and a
margin a side: a bounded time for a mosaic of any size, more than its restoration takes where that has few cores.
The study `how-much` compares iterations and weight with the best possible ones, `no-harm` what comes of it all
where PSFs are in doubt.
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

# More noise than MUCH_NOISE times what the gain makes is not noise. A share of cells above ALARMED that raise the alarm is
# much.
MUCH_NOISE, ALARMED = 4.0, 0.2
# One PSF cannot stand for PSFs whose width deviates by more than this share.
UNEVEN = 0.1

# What is taken where the photons cannot be counted and the iterations are given.
UNJUDGED_WEIGHT = 0.001
ITERATIONS_AND_WEIGHT = "iterations and a TV weight"
GIVEN = "give {}"
GAIN = "see first why; give the gain if the picture is a raw one, or {},"
# Where a Gaussian or the map's PSFs restore what the map itself says is blurred otherwise.
CONTRADICTED = (
    "{:.0f} % of the map's valid cells say that the blur is hardly one of the PSF model's, and no PSF that explains it was "
    "found; it may be a double image, say: compare the restoration with the picture"
)
FORCED = "give a psf_scale (1 takes the map as it is)"


def choose_for(
    mosaic, local: LocalPsfs, facts: dict, settings: dict, *, seed: int, stream: str, device="cpu"
) -> dict:
    """PSFs, iterations and TV weight for a mosaic, as `choose` has it, by a few pieces of it.

    Where its map cannot be believed less is done: nothing where more cells raise the alarm than are valid, as photons
    cannot be counted then; and only noise is removed where no cell is valid, where few of all cells raise the alarm
    but fewer are valid, or where a sharp picture that raises it has a raw one's noise all the same. Nor is
    anything done where the noise is not that of a raw picture (`raw_noise`); its strength corrects the gain.
    What is not "auto" in settings, the config's `restoration`, is taken all the same. facts: of
    `mosaic.measure`, with offset, gain, read_noise_e.
    """
    mapped = local
    exposure, known = exposure_of(facts, settings["background"]), facts.brightness
    if not local.estimated:
        settings = settings | {"psf_shape": "map"}  # what is known stays
    elif settings["psf_shape"] not in ("auto", "map"):
        local = local.chosen(settings)  # which is known, then
    pieces = pieces_of(mosaic, local, facts, order=settings["order"], device=device)
    said, other_blur = [], 0.0
    if settings["psf_scale"] == "auto" and exposure.gain:
        whole_numbers = np.dtype(facts["dtype"]).kind in "ui"
        given = facts.get("gain_given", False)
        sums, noise = local.sums, look_at_noise(pieces, exposure, whole_numbers, gain_given=given)
        alarmed = sums and sums["alarm_cells"] > sums["valid_cells"]
        why = noise.fault
        if alarmed and sums["alarm_cells"] > ALARMED * sums["cells"] and (why or not noise.sharp):
            why = "most of its map raises the alarm: it is no raw camera picture of a thin sample"
        if why:
            return _unjudged(settings, why, known["scale"] / exposure.gain, FORCED)
        if alarmed:
            said.append("more of the map raises the alarm than is valid")
        if sums and not sums["valid_cells"]:
            said.append("no cell of the map is valid")
        if noise.times > MUCH_NOISE:
            said.append(
                f"where the PSFs pass nothing is {noise.times:.2g} times the noise that its gain makes"
            )
        elif noise.times != 1:
            gain = noise.times * exposure.gain
            exposure = replace(exposure, gain=gain, floor=noise.times * exposure.floor)
        if said:
            settings = settings | {"psf_scale": 0}
        else:
            other_blur = local.other_blur
        if noise.times != 1 and noise.times <= MUCH_NOISE:
            said.append(f"its noise is that of {exposure.gain:.3g} counts per electron")
    how = {
        "exposure": exposure,
        "side": local.size_px,
        "other_blur": other_blur,
        "uneven": bool(local.mean_of) and (local.mean_of.get("spread") or 0) > UNEVEN,
        "seed": seed,
        "stream": stream,
    }
    choice = choose(pieces, settings, **known, **how)
    if choice["iterations"] and mapped.contradicted(choice):
        choice["caution"] = CONTRADICTED.format(100 * mapped.other_blur)
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
) -> dict:
    """PSFs, iterations and TV weight for a picture, or for a mosaic by a few pieces of it.

    settings: the config's `restoration`; what is not "auto" there stays as it is. exposure: of the
    mosaic, whose gain may be None. start, scale: of `mosaic.facts.Facts.brightness`. side: of PSFs of other
    kinds, in px; without it none is tried. other_blur: share of the map that says that the PSF model has
    no such blur. uneven: whether one PSF stands for some that differ.
    seed, stream: which photons are held out is a pure function of them.

    Returns fixed (`config.entries.fixed`, where there are any), psf_scale (how much narrower the PSFs are, 0 for none), psf_shape ("map", or the PSF of another
    kind), resolution_px, iterations, tv_weight,
    reason (a sentence), photons (at `scale`; None where the gain is not known); widths: for each factor
    tried, falling, psf_scale, width_px of the median PSF and worse, by how many standard errors it
    predicts the photons worse than the best of them; and curves: for each weight tried with the PSFs taken,
    rising, tv_weight, iterations and the mean squared error, in electrons^2 a pixel. Where nothing can be judged both lists are
    empty, and iterations that are not given are 0: the picture is left as it is.
    """
    photons = scale / exposure.gain if exposure.gain else None
    pieces = [piece for piece in pieces if (piece.counts[piece.judged] > 0).any()]
    if photons is None or not pieces:
        why = "the camera's gain is not known" if photons is None else "no light is known"
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
        held_out, settings, photons, {"start": start, "scale": scale}, side, other_blur, uneven
    ).choice()


def _unjudged(settings: dict, why: str, photons: float | None, give: str = GIVEN) -> dict:
    """Nothing is done where nothing can be judged, unless the iterations are given, or the PSFs' width where the
    algorithm has no iterations."""
    fixed = entries.fixed(settings)
    decides, wanted = "iterations", "iterations" if "tv_weight" in fixed else ITERATIONS_AND_WEIGHT
    if "iterations" in fixed:
        decides, wanted = "psf_scale", "a psf_scale"
    taken = {"iterations": 0, "tv_weight": UNJUDGED_WEIGHT, "psf_scale": 1.0, "resolution_px": 0.0}
    taken |= {"psf_shape": "map"}
    known = {key: settings[key] for key in taken if settings[key] != "auto"}
    reason = f"{why}, so nothing can be held out and judged"
    if decides not in known:
        known["iterations"] = 0
        reason += f"; {give.format(wanted)} to restore it all the same"
    return (
        ({"fixed": fixed} if fixed else {})
        | taken
        | known
        | {"reason": reason, "photons": photons, "widths": [], "curves": [], "ends": {}}
    )
