"""What autofocus needs of a microscope: three methods."""

import runpy
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from isoplan.base.errors import UserError

METHODS = ("where", "move", "snap")


class Microscope(Protocol):
    """A camera and a stage that moves along the optical axis."""

    def where(self) -> float:
        """Position of the stage in um."""
        ...

    def move(self, z_um: float) -> None:
        """Move the stage to a position, and wait until it is there."""
        ...

    def snap(self) -> np.ndarray:
        """A picture (h, w), in the camera's numbers, as taken: not stretched."""
        ...


class StageError(UserError):
    """The microscope did not do what it was asked."""


class Guarded:
    """A microscope that stays within limits, counts its pictures, and says what failed.

    Parameters
    ----------
    microscope
        Whose stage and camera are used.
    limits_um
        (lowest, highest) position. It is never moved beyond.
    backlash_um
        Moves downwards go so far beyond first, so that every position is reached from below.

    Raises
    ------
    StageError
        By every method, if the microscope raises, or gives something that is no picture or position.
    """

    def __init__(
        self, microscope: Microscope, limits_um: tuple[float, float], backlash_um: float = 0.0
    ):
        self.microscope, self.limits_um, self.backlash_um = microscope, limits_um, backlash_um
        self.pictures = 0

    def where(self) -> float:
        found = _asked("tell its position", self.microscope.where)
        try:
            z_um = float(found)
        except (TypeError, ValueError):
            z_um = np.nan
        if not np.isfinite(z_um):
            raise StageError(f"the stage says that it is at {found!r}, which is no position in um")
        return z_um

    def within(self, z_um: float) -> float:
        """The nearest position within the limits."""
        return float(np.clip(z_um, *self.limits_um))

    def move(self, z_um: float) -> None:
        low, high = self.limits_um
        if not low <= z_um <= high:
            raise StageError(f"{z_um:.6g} um is beyond the limits, {low:.6g} to {high:.6g} um")
        if self.backlash_um and z_um < self.where():
            below = max(low, z_um - self.backlash_um)
            _asked(f"move to {below:.6g} um", lambda: self.microscope.move(below))
        _asked(f"move to {z_um:.6g} um", lambda: self.microscope.move(z_um))

    def snap(self) -> np.ndarray:
        found = np.asarray(_asked("take a picture", self.microscope.snap))
        if found.ndim != 2 or found.dtype.kind not in "uif":
            raise StageError(
                f"the camera gave {found.dtype} of shape {found.shape}; a picture has height and width"
            )
        if not np.isfinite(found).all() or found.min() == found.max():
            raise StageError(
                "the camera gave a picture of one value, or with pixels that are no numbers; is there light?"
            )
        self.pictures += 1
        return found


def _asked(what: str, action: Callable):
    try:
        return action()
    except StageError:
        raise
    except Exception as error:
        raise StageError(f"the microscope failed to {what}: {error}") from error


class Stack:
    """A z stack as a microscope, whose stage stops at slices.

    Parameters
    ----------
    z_um
        (n,) positions of the slices.
    read
        Gives the slice (h, w) of a number.
    start_um
        Where the stage stands at first.

    Examples
    --------
    >>> stack = Stack([0.0, 2.0, 4.0], lambda number: np.full((8, 8), number), 0.0)
    >>> stack.move(3.5)
    >>> stack.where(), int(stack.snap()[0, 0])
    (4.0, 2)
    """

    def __init__(self, z_um: Sequence[float], read: Callable[[int], np.ndarray], start_um: float):
        self.z_um, self.read = np.asarray(z_um, float), read
        self.move(start_um)

    def where(self) -> float:
        return float(self.z_um[self.number])

    def move(self, z_um: float) -> None:
        self.number = int(np.abs(self.z_um - z_um).argmin())

    def snap(self) -> np.ndarray:
        return self.read(self.number)


def opened(name: str) -> Microscope:
    """The microscope that FILE.py:NAME names: NAME is called, or taken if it is no function.

    Raises
    ------
    StageError
        If there is none, or it lacks a method.
    """
    file, _, wanted = name.rpartition(":")
    try:
        made = runpy.run_path(file)[wanted]
    except OSError as error:
        raise StageError(f"{file}: cannot be read ({error.strerror})") from None
    except KeyError:
        raise StageError(f"{file}: has no {wanted}") from None
    except Exception as error:
        raise StageError(f"{file}: {type(error).__name__}: {error}") from error
    missing = [method for method in METHODS if not callable(getattr(made, method, None))]
    if callable(made) and (missing or isinstance(made, type)):
        made = _asked(f"be made by {wanted}", made)
        missing = [method for method in METHODS if not callable(getattr(made, method, None))]
    if missing:
        raise StageError(f"{name}: has no {', '.join(missing)}; see the page on autofocus")
    return made
