"""Which slice of a stack is read: the sharpest one, or the brightest.

Sharpest is the slice of most energy in the finest band that holds more than noise. The bands are the
levels of a Haar transform (periods of 2-4, 4-8, 8-16, 16-32 px), in which white noise, of the camera as
of the photons, has the same energy at every level: that of the first level's diagonal band is taken
off. The mean would not do: focus leaves it as it is in widefield, so that bleaching would decide. Light
that fades from slice to slice, as by bleaching, is allowed for.
"""

from collections.abc import Iterable

import numpy as np

UNITS = "slice", "frame"  # of a stack, and of a time series
_LEVELS = 4
_SURE = 20.0  # standard errors of noise above which a band holds structure
_APART = 3.0  # standard errors of noise that two slices have to differ by
# In stacks of so many slices, a share of the sharpest one's fine structure that the next one has at least.
_STACK, _LONELY = 5, 0.25
# Of a tally: sum and count of finite pixels, sum and count of squared noise, then of each band.
_LIGHT, _PIXELS, _NOISE, _NOISES, _BANDS = 0, 1, 2, 3, 4


@np.errstate(invalid="ignore")  # of infinite pixels
def tally(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """What a slice holds, as sums that add over blocks and tiles: float64 (4 + 2 * levels,)."""
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
                _add(sums, _NOISE, (a - b - c + d) / 2)
            _add(sums, _BANDS + 2 * level, np.stack([a + b - c - d, a - b + c - d]) / 2)
            low = (a + b + c + d) / 2
    return sums


def _add(sums: np.ndarray, place: int, values: np.ndarray) -> None:
    finite = values[np.isfinite(values)].astype(np.float64)
    sums[place] += finite @ finite
    sums[place + 1] += finite.size


def choose(tallies: np.ndarray, how: str, axis: str | None = "Z") -> tuple[int, str]:
    """The slice that is read and a note that says why.

    tallies: (slices, channels, 4 + 2 * levels), of `tally`. All channels decide together, each with the
    same weight. Where no slice holds structure above its noise, the brightest is taken. axis: along which slices lie;
    those of T are frames of a time series, of which no focus is known.
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
            f"{unit} {brightest} of {count} is read, the brightest by its mean, since none holds structure above its "
            "noise; others by `slice`"
        )
    score, error = np.mean([one[0] for one in found], axis=0), _together(found)
    best, second = np.argsort(-score)[:2].tolist()
    note = f"{unit} {best} of {count} is read, the sharpest; others by `slice`. "
    note += f"The next, {unit} {second}, has {100 * max(score[second], 0) / score[best]:.0f} % of its fine structure"
    if score[best] - score[second] < _APART * np.hypot(error[best], error[second]):
        note += ", which may be noise"
    if count >= _STACK and score[second] < _LONELY * score[best]:
        note += f". CAUTION: look at {unit} {best}: no other is nearly as sharp. A disturbed or overexposed {unit} looks so"
        note += "" if in_time else ", and one of a stack with coarse steps"
    if count > 2 and not in_time and best in (0, count - 1):
        end = "first" if best == 0 else "last"
        note += f". CAUTION: it is the {end} of the stack, so that the focus may lie outside"
    return best, note


def _sharpness(tallies: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Of each slice of one channel, energy and its standard error in the finest band that holds more
    than noise somewhere, as shares of the most; None where no band does."""
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
    """The light of each slice as a share of the first one's, where it fades from slice to slice, as by
    bleaching: means = dark + light * share^number, of which the dark is not known. Else ones."""
    steps = -np.diff(means)
    if len(steps) < 3 or not (steps > 0).all():
        return np.ones(len(means))
    half = len(steps) // 2
    share = (steps[-half:].sum() / steps[:half].sum()) ** (1 / (len(steps) - half))
    return min(share, 1.0) ** np.arange(len(means))


def _together(found: list) -> np.ndarray:
    return np.sqrt(np.sum([error**2 for _, error in found], axis=0)) / len(found)
