"""Offset, gain and read noise of a picture's camera: completes them from its noise, and checks them."""

import math

import torch

from isoplan.base.errors import UserError
from isoplan.optics.noise import (
    BLOCK_PX,
    MOST_E,
    MOST_READ_E,
    ROUNDED,
    block_noise,
    estimate_noise,
    noiseless_level,
)

# A given read noise is reported if it exceeds the noise of the darkest squares by this factor.
MORE_READ = 1.5
# Share of pixels that may lie below the offset by more than noise before it is reported.
BELOW = 0.1


def complete_camera(given: dict, picture) -> tuple[dict, list[str]]:
    """Complete the offset, gain and read noise of a mosaic; missing ones are estimated from a part of it.

    A missing offset is taken as 0, since a picture without dark borders does not reveal it.

    Parameters
    ----------
    given
        `offset` (counts), `gain` (counts per electron) and `read_noise_e` (electrons), each may be None
        or missing.
    picture
        (h, w) array in counts.

    Returns
    -------
    camera
        The three values, and `gain_given`. Gain and read noise are None if they cannot be estimated.
    notes
        Messages for the log.
    """
    camera = {key: given.get(key) for key in ("offset", "gain", "read_noise_e")}
    camera["gain_given"] = camera["gain"] is not None
    notes = []
    if camera["offset"] is None:
        camera["offset"] = 0.0
        notes.append("offset is not given and taken as 0 counts")
    tensor = torch.as_tensor(picture, dtype=torch.float64)
    tensor = torch.where(tensor.isfinite(), tensor, camera["offset"])
    if camera["gain"] is not None and camera["read_noise_e"] is not None:
        return camera, [*notes, *_excessive_read_noise(camera, tensor)]
    try:
        gain, read_noise = estimate_noise(
            tensor,
            offset=camera["offset"],
            # An offset of 0 often just means that it is unknown.
            known=bool(given.get("offset")) and not camera["gain_given"],
            sure=not camera["gain_given"],
        )
    except UserError as error:
        names = {"gain": "gain", "read_noise_e": "read noise"}
        unknown = [name for key, name in names.items() if camera[key] is None]
        what = " and ".join(unknown) + (" are" if len(unknown) > 1 else " is")
        return camera, [*notes, f"{what} unknown: {error}"]
    found = []
    if camera["gain"] is None:
        camera["gain"] = gain
        found.append(f"gain {gain:.3g} counts/electron")
    if camera["read_noise_e"] is None:
        found.append(f"read noise {read_noise:.3g} counts")
    notes.append(f"estimated from the picture: {', '.join(found)}")
    if camera["read_noise_e"] is not None:
        notes += _excessive_read_noise(camera, tensor)
    elif camera["gain"] > 0:
        # If the given gain is not the slope of the fit, texture of a sharp picture adds to the read noise.
        camera["read_noise_e"] = min(read_noise / camera["gain"], MOST_READ_E)
    return camera, notes


def _excessive_read_noise(camera: dict, picture: torch.Tensor) -> list[str]:
    """A note if the given read noise clearly exceeds the total noise of the picture's darkest squares."""
    if min(picture.shape) < 5 * BLOCK_PX:
        return []
    mean, variance = block_noise(picture, BLOCK_PX)
    darkest = mean.argsort()[: len(mean) // 10]
    told = camera["gain"] * camera["read_noise_e"]
    # Rounding hides noise of less than a count.
    if not len(darkest) or told**2 < 1:
        return []
    found = math.sqrt(float(variance[darkest].median()))
    if not told > MORE_READ * found:
        return []
    return [
        f"CAUTION: read noise {camera['read_noise_e']:g} e is {told:.3g} counts, but the darkest squares of the picture "
        f"have only {found:.3g} counts of noise in all; check read_noise_e and gain, or leave it out"
    ]


def check_background(facts: dict, background: float | str, name) -> None:
    """Raise UserError if a background leaves no light of a picture.

    Parameters
    ----------
    facts
        From `mosaic.measure`, with offset.
    background
        The config's background, in counts above the offset, or "auto".
    name
        The picture's name, for the message.
    """
    if background == "auto" or not background or facts["constant"]:
        return
    level = facts["offset"] + background
    if facts["mean"] < level and facts["p999"] < level:
        raise UserError(
            f"{name}: no light is left above the background of {background:g} counts on the offset of "
            f"{facts['offset']:g}, as the mean is {facts['mean']:.4g}; give a lower background, or auto"
        )


def check_camera_of(facts: dict, name) -> list[str]:
    """Check whether a picture can come from a camera with the given properties.

    Parameters
    ----------
    facts
        From `mosaic.measure`, with offset, gain and gain_given.
    name
        The picture's name, for the message.

    Returns
    -------
    list of str
        Notes on doubtful properties.

    Raises
    ------
    UserError
        If no light is left above the offset, or if the given gain leaves no electron, or more electrons
        than a pixel can hold.
    """
    if facts["constant"]:
        return []
    offset, below = facts["offset"], facts["below_offset"]
    if facts["mean"] < offset and (below > BELOW or facts["p999"] < offset):
        raise UserError(
            f"{name}: no light is left above the offset of {offset:g} counts, as the mean is {facts['mean']:.4g}; "
            "give a lower offset, the camera's counts without light"
        )
    if facts["gain_given"]:
        bright, peak = facts["p999"] - offset, facts["maximum"] - offset
        if not peak > 0.5 * facts["gain"] or bright > MOST_E * facts["gain"]:
            held = (bright if bright > MOST_E * facts["gain"] else peak) / facts["gain"]
            raise UserError(
                f"{name}: with a gain of {facts['gain']:g} its brightest pixels would hold {held:.2g} electrons; give it "
                "in counts per electron, or leave it out"
            )
    if below > BELOW:
        return [
            f"{100 * below:.0f} % of the picture lies below the offset of {offset:g} counts by more than noise and is "
            "treated as dark, so light will be too bright: give a lower offset, or the picture before a background was "
            "subtracted"
        ]
    return []


def counting_camera(given: dict, picture) -> tuple[dict, list[str]]:
    """`complete_camera` for counting photons, which needs the gain and estimates a missing offset, too.

    A missing offset is set to the level at which the noise equals the read noise. If that is not given
    either, it equals the rounding noise there, but the offset is not negative, and the rest is read noise.
    Notes say if the noise of the picture contradicts the given values. Raises UserError if the gain cannot
    be estimated.
    """
    tensor = torch.as_tensor(picture, dtype=torch.float64)
    known = tensor.isfinite()
    mean = float(tensor[known].mean()) if known.any() else 0.0
    wrong, found = "the noise does not grow with the light, as photons' does", None
    try:
        found = noiseless_level(torch.where(known, tensor, mean))
    except UserError as error:
        wrong = str(error)
    if given.get("gain") is None and found is None:
        raise UserError(
            f"the gain cannot be estimated ({wrong}); give it in counts per electron, with the offset and the "
            "read noise"
        )
    if given.get("offset") is not None or found is None:
        camera, notes = complete_camera(given, picture)
        if camera["gain"] is None:  # the noise reveals the gain, but contradicts the offset
            camera, notes = complete_camera(given | {"gain": found[0]}, picture)
            camera["gain_given"] = False
        camera["read_noise_e"] = camera["read_noise_e"] or 0.0
    else:
        gain, level = found
        gain = given.get("gain") or gain
        read_noise = given.get("read_noise_e")
        if read_noise is None:
            read_noise = math.sqrt(max(ROUNDED / gain, -level) / gain)
        camera = {"offset": level + gain * read_noise**2, "gain": gain, "read_noise_e": read_noise}
        camera["gain_given"] = given.get("gain") is not None
        notes = [
            f"gain {gain:.3g} counts/electron, offset {camera['offset']:.4g} counts and read noise "
            f"{read_noise:.3g} e are taken, estimated from the picture's noise where not given: give your "
            "camera's own if you know them"
        ]
    if found:
        told = camera["gain"] * (mean - camera["offset"])
        told += (camera["gain"] * camera["read_noise_e"]) ** 2
        ratio = found[0] * (mean - found[1]) / told if told > 0 else math.inf
        if not 0.75 < ratio < 1.33:
            notes.append(
                f"the picture's noise has {ratio:.2g} times the variance that gain {camera['gain']:.3g}, offset "
                f"{camera['offset']:.4g} and read noise {camera['read_noise_e']:.3g} e imply, so photons are "
                f"counted wrongly and the parts are not independent; its noise corresponds to gain "
                f"{found[0]:.3g} and offset {found[1]:.4g}"
            )
    return camera, notes
