"""Driving a stage to focus with as few pictures as possible."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

from isoplan.applications.autofocus.focus import SIDE, Finder, Focus, Look
from isoplan.applications.autofocus.stage import Guarded

NEAR = 0.4  # of SIDE: where a picture as near was taken, none is taken again
FARTHER = 5  # doublings of SIDE
LEAST_PICTURES = 3  # before stopping early
WINDOWS = 4  # of a region's side, if none is given


@dataclass(frozen=True)
class Found:
    """How a search ended.

    Attributes
    ----------
    focus
        The last estimate.
    z_um
        Positions of the pictures.
    stands_um
        Where the stage stands.
    """

    focus: Focus
    z_um: tuple[float, ...]
    stands_um: float


def autofocus(
    microscope: Guarded,
    finder: Finder,
    *,
    pictures: int = 6,
    enough_um: float = 0.0,
    region: tuple[slice, slice] | None = None,
    said: Callable[[Focus, float], None] = lambda focus, z_um: None,
) -> Found:
    """Find the focus and move the stage there; back to where it was if the focus is not known.

    The first picture tells how far the focus is, mostly not on which side. The second is taken a little short of the likelier side, the next
    ones on both sides of the estimate, as a wrong assumption about the optics then cancels. Where nothing is seen, or pictures contradict
    each other, the place that is farthest from all of them is looked at.

    Parameters
    ----------
    microscope
        Its limits are those of the search.
    finder
        Of the calibrated optics.
    pictures
        At most so many.
    enough_um
        The search ends earlier if the half-width of the 90 % interval is as small.
    region
        Rows and columns of the picture that are to be in focus; its middle if not given.
    said
        Called after each picture with the estimate and the picture's position.

    Raises
    ------
    StageError
        If the microscope fails; the stage is sent back before.
    """
    begun = microscope.where()
    side = SIDE * finder.optics.depth_of_field_um
    looks: list[Look] = []
    try:
        while True:
            picture = microscope.snap()
            part = region or middle(picture.shape, WINDOWS * finder.window_px)
            looks.append(finder.look(picture[part], microscope.where()))
            focus = finder.focus(looks, microscope.limits_um)
            said(focus, looks[-1].z_um)
            early = focus.known and focus.half_width_um <= enough_um
            if len(looks) >= pictures or (early and len(looks) >= LEAST_PICTURES):
                break
            there = _next(looks, focus, side, finder.reach_um, microscope)
            if any(there == look.z_um for look in looks):
                break  # at the limit, where nothing new is to be seen
            microscope.move(there)
        microscope.move(microscope.within(focus.z_um) if focus.known else begun)
        stands = microscope.where()
    except BaseException:  # an interruption, too, must not leave the stage anywhere
        _back(microscope, begun)
        raise
    return Found(focus, tuple(look.z_um for look in looks), stands)


def middle(shape: tuple[int, ...], side: int) -> tuple[slice, slice]:
    """The middle of a picture, of so many pixels a side at most.

    Examples
    --------
    >>> middle((100, 30), 40)
    (slice(30, 70, None), slice(0, 30, None))
    """
    y, x = (slice(max(0, (n - side) // 2), max(0, (n - side) // 2) + min(n, side)) for n in shape)
    return y, x


def _next(
    looks: list[Look], focus: Focus, side: float, reach_um: float, microscope: Guarded
) -> float:
    """Where the next picture is taken."""
    here, taken = looks[-1].z_um, [look.z_um for look in looks]
    if not any(look.told.any() for look in looks):
        # So far from focus that nothing is seen, or on empty ground.
        return _elsewhere(taken, reach_um, microscope)
    if not focus.known and len(looks) >= LEAST_PICTURES and len(looks) % 2:
        return _elsewhere(taken, reach_um, microscope)
    centre = microscope.within(focus.z_um)
    # Half of it, then farther: a limit of the stage may leave no other place.
    for reach in (side, side / 2, *(side * 2**k for k in range(1, FARTHER))):
        places = [microscope.within(centre + sign * reach) for sign in (-1, 1)]
        away = [min(abs(z - place) for z in taken) for place in places]
        free = [p for p, apart in zip(places, away, strict=True) if apart >= NEAR * side]
        if free:
            return min(free, key=lambda place: (_sided(taken, centre, place), abs(place - here)))
    return _elsewhere(taken, reach_um, microscope)


def _sided(taken: list[float], centre: float, place: float) -> bool:
    """Whether there are two pictures or more, and one on that side of the centre."""
    return len(taken) > 1 and any((z - centre) * (place - centre) > 0 for z in taken)


def _elsewhere(taken: list[float], reach_um: float, microscope: Guarded) -> float:
    """The place that is farthest from all pictures, but not beyond what they can tell."""
    at = sorted(taken)
    places = [microscope.within(at[0] - reach_um), microscope.within(at[-1] + reach_um)]
    places += [(low + high) / 2 for low, high in pairwise(at)]
    return max(places, key=lambda place: min(abs(place - z) for z in at))


def _back(microscope: Guarded, begun: float) -> None:
    """Send the stage back, whatever happened to it before."""
    with suppress(Exception):  # the first error is told
        microscope.move(microscope.within(begun))
