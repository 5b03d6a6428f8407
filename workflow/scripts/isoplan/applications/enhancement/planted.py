"""How many invented structures `whole.doubts` finds: spots are planted into a result, and looked for."""

import numpy as np
from scipy import ndimage

from isoplan.applications.enhancement.filters import Camera
from isoplan.applications.enhancement.whole import DOUBTED, doubts

SITES_PX = 16  # distance of sites, of which every second gets a spot
SPOT_PX, NEAR_PX = 1.5, 3  # standard deviation of a spot; how far around a site doubts count
SHARE = 0.5  # of the brightest place's height over the median, which a spot has
ALLOWED = 0.05  # of sites without a spot may be told


def planted(counts: np.ndarray, made: np.ndarray, camera: Camera) -> dict[str, float]:
    """Shares of planted spots, and of sites without one, that are told.

    Parameters
    ----------
    counts, made : ndarray
        (h, w) counts of the input, and a network's result.
    camera : Camera
        Of the input.

    Returns
    -------
    dict
        A site is told by the most standard deviations that the result has over the counts within NEAR_PX. `planted-found` is
        the share of spots that have more than all but ALLOWED of the sites without one, `planted-told` that of DOUBTED or
        more, `planted-false` that of sites without one. Empty where a picture is too small, or has no structure.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = 50 + 150.0 * (rng.random((128, 128)) < 0.2)
    >>> planted(rng.poisson(truth), truth, Camera())
    {'planted-found': 1.0, 'planted-told': 1.0, 'planted-false': 0.0}
    """
    bright = ndimage.gaussian_filter(np.asarray(made, float), SPOT_PX).max()
    height = SHARE * float(bright - np.median(made))
    ys, xs = (np.arange(SITES_PX // 2, n - SITES_PX // 2, SITES_PX) for n in made.shape)
    sites = [(y, x, bool((i + k) % 2)) for i, y in enumerate(ys) for k, x in enumerate(xs)]
    if len(sites) < 4 or height <= 0:
        return {}
    side = np.arange(-SITES_PX // 2, SITES_PX // 2)
    spot = height * np.exp(-0.5 * (side[:, None] ** 2 + side**2) / SPOT_PX**2)
    altered = np.array(made, float)
    for y, x, has in sites:
        if has:
            altered[y + side[0] : y + side[-1] + 1, x + side[0] : x + side[-1] + 1] += spot
    found = doubts(counts, altered, camera)
    most: dict[bool, list[float]] = {True: [], False: []}
    for y, x, has in sites:
        near = found[y - NEAR_PX : y + NEAR_PX + 1, x - NEAR_PX : x + NEAR_PX + 1]
        most[has].append(float(near.max()))
    spots, free = np.array(most[True]), np.array(most[False])
    return {
        "planted-found": float((spots > np.quantile(free, 1 - ALLOWED)).mean()),
        "planted-told": float((spots >= DOUBTED).mean()),
        "planted-false": float((free >= DOUBTED).mean()),
    }
