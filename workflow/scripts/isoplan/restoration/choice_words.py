"""Describes what was chosen for a restoration, and why."""

from isoplan.config.entries import LEARNT
from isoplan.optics.plain import PlainPsf
from isoplan.restoration.held_out import HELD_OUT

# Why iterations are limited.
SINGLE = "a single PSF stands for different ones"
OTHER = "the blur hardly belongs to the PSF model"
RIVALLED = "it may be a disk or a motion that blurred the picture"


def reason(
    which: float | PlainPsf,
    photons: float,
    *,
    hinted: bool,
    limited: str,
    weights: str = "",
) -> str:
    """Say why a search chose its PSFs.

    Parameters
    ----------
    which
        The PSFs, from `Search.choose_psfs`.
    photons
        Photons at the brightest pixels.
    hinted
        Whether the map hints that the blur does not belong to its PSF model.
    limited
        Why the iterations were limited: SINGLE, OTHER or RIVALLED; empty if they were not.
    weights
        "learnt" if a network tells the TV weights, "refused" if it was asked and a number predicts the photons better.
    """
    share = f"the {100 * HELD_OUT:.0f} % of photons held out"
    light = f"the brightest pixels hold {photons:.3g} photons"
    if not which:
        return f"PSFs do not predict {share} clearly better than no PSF; {light}"
    if isinstance(which, PlainPsf):
        doubts = ", which the map itself calls doubtful" if hinted else ""
        return f"a {which.words} predicts {share} better than the map's PSFs{doubts}; {light}"
    found = f"chosen by how well they predict {share}; {light}"
    if weights == "learnt":
        found += "; a network tells the weights"
    elif weights:
        found += ", and one TV weight predicts them better than those that the network tells"
    if limited:
        found += f". Iterations are limited, as {limited}"
    if which >= 1:
        return found
    return (
        f"{found}. Detail in the picture is, or may be, finer than PSFs as wide as estimated allow"
    )


def describe_choice(choice: dict) -> str:
    """Describe a choice for users: what was chosen, what is at an end of its range, and any caution."""
    ends = "; ".join(choice.get("ends", {}).values())
    ends = f". At the end of its range: {ends}" if ends else ""
    caution = f". CAUTION: {choice['caution']}" if "caution" in choice else ""
    return _taken(choice) + ends + caution


def how_much(choice: dict) -> str:
    """Iterations and TV weight, if the algorithm has them."""
    fixed = choice.get("fixed", ())
    parts = [] if "iterations" in fixed else [f"{choice['iterations']} iterations"]
    if "tv_weight" not in fixed:
        weight = choice["tv_weight"]
        parts.append("learnt TV weights" if weight == LEARNT else f"a TV weight of {weight:g}")
    return " with ".join(parts) or "one step"


def _taken(choice: dict) -> str:
    much = how_much(choice)
    shown = f", shown at {choice['resolution_px']:g} px" if choice["resolution_px"] else ""
    scale = choice["psf_scale"]
    if not choice["iterations"]:
        return f"left as it is: {choice['reason']}"
    if not scale:
        return f"only noise is removed, by {much}{shown}: {choice['reason']}"
    if choice["psf_shape"] != "map":
        return f"{much}, by a {PlainPsf.read(choice['psf_shape']).words}{shown}: {choice['reason']}"
    psfs = "as estimated" if scale == 1 else f"{scale:g} times as wide as estimated"
    return f"{much}, PSFs {psfs}{shown}: {choice['reason']}"
