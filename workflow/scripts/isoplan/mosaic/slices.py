"""Chooses the slice of a stack that is read: the sharpest or the brightest.

The sharpest slice has the most energy in the finest band that holds more than noise. The bands are the
levels of a Haar transform (periods of 2-4, 4-8, 8-16, 16-32 px). White noise, from the camera or from
photons, has the same energy at every level. It is measured in the diagonal band of the first level and
subtracted. The mean is no measure of focus: in widefield it does not depend on focus, so bleaching
would decide. Light that fades from slice to slice, as by bleaching, is corrected for.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from isoplan.base.errors import UserError

UNITS = "slice", "frame"  # what one is called in a stack, and in a time series
_LEVELS = 4
_SURE = 20.0  # standard errors of the noise above which a band holds structure
_LEAST_DIFFERENCE = 3.0  # standard errors of noise that two slices have to differ by
# In a stack of at least _LONG_STACK slices, the second sharpest is expected to have at least this share
# of the fine structure of the sharpest.
_LONG_STACK, _LEAST_NEIGHBOUR = 5, 0.25
# Entries of a tally: sum and count of finite pixels, then sum of squares and count for the noise and
# for each band.
_LIGHT, _PIXELS, _NOISE, _NOISES, _BANDS = 0, 1, 2, 3, 4


def check_order(z_um: Sequence[float], count: int | None = None) -> None:
    """Raise UserError if positions (n,) of slices do not rise or fall all along, or are not as many.

    Examples
    --------
    >>> check_order([0, 2, 1])
    Traceback (most recent call last):
    isoplan.base.errors.UserError: positions must rise or fall all along, and slice 2 lies at 1 um
    """
    z = np.asarray(z_um, float)
    if count is not None and len(z) != count:
        raise UserError(f"there are {len(z)} positions and {count} slices")
    apart = np.diff(z)
    if not np.isfinite(z).all():
        raise UserError("positions must be numbers")
    wrong = (np.sign(apart) != np.sign(apart[:1])) | (apart == 0)
    if wrong.any():
        at = int(wrong.argmax()) + 1
        raise UserError(
            f"positions must rise or fall all along, and slice {at} lies at {z[at]:g} um"
        )


@np.errstate(invalid="ignore")  # of infinite pixels
def tally(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Sums that describe a slice and can be added over blocks and tiles: float64 (4 + 2 * levels,)."""
    sums = np.zeros(_BANDS + 2 * _LEVELS)
    for block in blocks:
        finite = np.isfinite(block)
        sums[_LIGHT] += block.sum(dtype=np.float64, where=finite)
        sums[_PIXELS] += finite.sum()
        low = block
        for level in range(_LEVELS):
            rows, columns = (length // 2 for length in low.shape)
            if not rows or not columns:
                break
            pairs = low[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2)
            a, b, c, d = pairs[:, 0, :, 0], pairs[:, 0, :, 1], pairs[:, 1, :, 0], pairs[:, 1, :, 1]
            if level == 0:
                _add_squares(sums, _NOISE, (a - b - c + d) / 2)
            _add_squares(sums, _BANDS + 2 * level, np.stack([a + b - c - d, a - b + c - d]) / 2)
            low = (a + b + c + d) / 2
    return sums


def _add_squares(sums: np.ndarray, place: int, values: np.ndarray) -> None:
    finite = values[np.isfinite(values)].astype(np.float64)
    sums[place] += finite @ finite
    sums[place + 1] += finite.size


def choose(tallies: np.ndarray, how: str, axis: str | None = "Z") -> tuple[int, str]:
    """Choose a slice and say why.

    All channels decide together, with equal weights. If no slice has structure above its noise, the
    brightest is taken.

    Parameters
    ----------
    tallies
        (slices, channels, 4 + 2 * levels), from `tally`.
    how
        "sharpest" or "brightest".
    axis
        Axis of the slices. Slices along T are frames of a time series, which has no focus range.

    Returns
    -------
    int
        Number of the slice, from 0.
    str
        A note for the log.
    """
    in_time = axis == "T"
    unit = UNITS[in_time]
    count = len(tallies)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.nan_to_num(tallies[..., _LIGHT] / tallies[..., _PIXELS], nan=-np.inf)
    brightest = int(means.sum(axis=1).argmax())
    if how == "brightest":
        return (
            brightest,
            f"{unit} {brightest} of {count} is read, the brightest by its mean; others by `slice`",
        )
    found = [_sharpness(tallies[:, channel]) for channel in range(tallies.shape[1])]
    found = [one for one in found if one is not None]
    if not found:
        return brightest, (
            f"{unit} {brightest} of {count} is read, the brightest by its mean, since none has structure above its "
            "noise; others by `slice`"
        )
    score, error = np.mean([one[0] for one in found], axis=0), _combined_error(found)
    best, second = np.argsort(-score)[:2].tolist()
    note = f"{unit} {best} of {count} is read, the sharpest; others by `slice`. "
    note += f"The next, {unit} {second}, has {100 * max(score[second], 0) / score[best]:.0f} % of its fine structure"
    if score[best] - score[second] < _LEAST_DIFFERENCE * np.hypot(error[best], error[second]):
        note += ", which may be noise"
    if count >= _LONG_STACK and score[second] < _LEAST_NEIGHBOUR * score[best]:
        note += f". CAUTION: look at {unit} {best}: no other is nearly as sharp. It may be disturbed or overexposed"
        note += "" if in_time else ", or the stack may have coarse steps"
    if count > 2 and not in_time and best in (0, count - 1):
        end = "first" if best == 0 else "last"
        note += f". CAUTION: it is the {end} of the stack, so the focus may lie outside"
    return best, note


def _sharpness(tallies: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Energy of each slice of one channel, and its standard error, relative to the largest energy.

    They are those of the finest band in which some slice has more than noise; None if there is none.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        noise = np.nan_to_num(tallies[:, _NOISE] / tallies[:, _NOISES])
        fading = _fading(tallies[:, _LIGHT] / tallies[:, _PIXELS]) ** 2
        for level in range(_LEVELS):
            total, count = tallies[:, _BANDS + 2 * level], tallies[:, _BANDS + 2 * level + 1]
            energy = np.nan_to_num(total / count - noise) / fading
            error = np.nan_to_num(noise * np.sqrt(2 / count)) / fading
            best = energy.argmax()
            if energy[best] > max(_SURE * error[best], 0):
                return energy / energy[best], error / energy[best]
    return None


def _fading(means: np.ndarray) -> np.ndarray:
    """Brightness of each slice relative to the first, if it fades from slice to slice; else ones.

    Model of bleaching, with an unknown dark level: mean = dark + light * share^number.
    """
    steps = -np.diff(means)
    if len(steps) < 3 or not (steps > 0).all():
        return np.ones(len(means))
    half = len(steps) // 2
    share = (steps[-half:].sum() / steps[:half].sum()) ** (1 / (len(steps) - half))
    return min(share, 1.0) ** np.arange(len(means))


def _combined_error(found: list) -> np.ndarray:
    return np.sqrt(np.sum([error**2 for _, error in found], axis=0)) / len(found)
