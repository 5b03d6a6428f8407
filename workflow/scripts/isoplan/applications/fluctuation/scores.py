"""How near a picture on the fine grid comes to the truth. Lengths are in nm or fine pixels, as the name says."""

import numpy as np
from scipy import ndimage
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial import cKDTree
from skimage.filters import threshold_otsu

SIGMA_NM = 25.0  # standard deviation of the blur before pictures are compared (FWHM 59 nm)
RADIUS_PX = 1.5  # fine pixels this near may match
TRIED = np.geomspace(0.02, 5, 60)  # times Otsu's threshold, which `best_jaccard` tries


def psnr(
    estimate: np.ndarray,
    truth: np.ndarray,
    *,
    pixel_nm: float,
    sigma_nm: float = SIGMA_NM,
    scaled: bool = True,
) -> float:
    """Peak signal-to-noise ratio of two pictures, both blurred by a Gaussian.

    Unblurred, a line that is one fine pixel aside would count as missed and as false.

    Parameters
    ----------
    estimate, truth : ndarray
        (h, w).
    pixel_nm : float
        Size of a fine pixel.
    sigma_nm : float
        Standard deviation of the Gaussian.
    scaled : bool
        Whether the estimate is multiplied by what fits best, at least 0: methods differ in their units.

    Returns
    -------
    float
        10 log10(max(truth)^2 / mean squared error) in dB, of the blurred pictures; inf if they are equal.

    Examples
    --------
    >>> truth = np.eye(9)
    >>> psnr(3 * truth, truth, pixel_nm=25) > 100
    True
    """
    estimate, truth = (
        ndimage.gaussian_filter(np.asarray(each, float), sigma_nm / pixel_nm, mode="constant")
        for each in (estimate, truth)
    )
    if scaled:
        power = (estimate**2).sum()
        estimate = estimate * max((estimate * truth).sum() / power, 0) if power else estimate
    error = ((estimate - truth) ** 2).mean()
    return float(10 * np.log10(truth.max() ** 2 / error)) if error else float("inf")


def threshold_of(estimate: np.ndarray) -> float:
    """Above which value a pixel counts as found, by one rule that needs no truth: Otsu's, of the pixels above 0.

    `jaccard_best` of a study beside its `jaccard` tells what the rule costs each method.

    Examples
    --------
    >>> threshold_of(np.array([[0.0, 1.0, 2.0, 8.0, 9.0]])) < 8
    True
    """
    above = np.asarray(estimate, float)
    above = above[above > 0]
    return float(threshold_otsu(above)) if np.unique(above).size > 1 else 0.0


def jaccard(
    estimate: np.ndarray,
    truth: np.ndarray,
    threshold: float | None = None,
    *,
    radius_px: float = RADIUS_PX,
) -> float:
    """Share of right pixels among all that were found or missed: TP / (TP + FP + FN).

    A pixel found matches at most one true pixel within the radius, and the other way round; as many as can be are
    matched.

    Parameters
    ----------
    estimate : ndarray
        (h, w). Pixels above the threshold are found.
    truth : ndarray
        (h, w). Pixels above 0 are true.
    threshold : float or None
        None: `threshold_of` the estimate.
    radius_px : float
        Largest distance of a match.

    Returns
    -------
    float
        0 to 1; 1 if nothing is true and nothing found.

    Examples
    --------
    >>> truth = np.zeros((5, 5))
    >>> truth[2, 2] = 1
    >>> jaccard(np.roll(truth, 1), truth), jaccard(np.roll(truth, 2), truth)
    (1.0, 0.0)
    """
    threshold = threshold_of(estimate) if threshold is None else threshold
    found, true = np.argwhere(estimate > threshold), np.argwhere(truth > 0)
    if not (len(found) and len(true)):
        return float(len(found) == len(true))
    near = cKDTree(found).sparse_distance_matrix(cKDTree(true), radius_px, output_type="coo_matrix")
    near.data[:] = 1  # a distance of 0 is a match too
    matched = int((maximum_bipartite_matching(near.tocsr(), perm_type="column") >= 0).sum())
    return matched / (len(found) + len(true) - matched)


def best_jaccard(
    estimate: np.ndarray, truth: np.ndarray, *, radius_px: float = RADIUS_PX
) -> tuple[float, float]:
    """The Jaccard index at the threshold that is best for it, which takes the truth; and that threshold.

    Tried are the rule's (`threshold_of`), and .02 to 5 times that.
    """
    tried = threshold_of(estimate) * np.append(1.0, TRIED)
    scores = [jaccard(estimate, truth, each, radius_px=radius_px) for each in tried]
    best = int(np.argmax(scores))
    return scores[best], float(tried[best])


def dip(picture: np.ndarray, lines_px: tuple[float, ...], *, axis: int = 1) -> float:
    """How far parallel lines are separated: (peak - valley) / peak.

    The peak is the mean of the profile at the lines, the valley its mean half-way between neighbours. The dip is below
    0 where the picture has its lines elsewhere or one in place of several (at least -1, so that
    means over scenes exist), and NaN where there is no light at either.

    Parameters
    ----------
    picture : ndarray
        (h, w), cut to where the lines are; it is averaged along them.
    lines_px : tuple of float
        Where the lines are, across them: pixel i has its middle at i.
    axis : int
        The axis across the lines.

    Examples
    --------
    >>> lines = np.zeros((5, 11))
    >>> lines[:, [1, 5, 9]] = 2
    >>> dip(lines, (1, 5, 9)), dip(np.ones((5, 11)), (1, 5, 9))
    (1.0, 0.0)
    """
    profile = np.asarray(picture, float).mean(axis=1 - axis)
    lines = np.asarray(lines_px, float)
    between = (lines[1:] + lines[:-1]) / 2
    peak, valley = (
        np.interp(at, np.arange(profile.size), profile).mean() for at in (lines, between)
    )
    if max(peak, valley) <= 0:
        return float("nan")
    return float(max((peak - valley) / peak, -1)) if peak > 0 else -1.0


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's correlation of two pictures, as of the two halves of a sequence; NaN if one is constant.

    High values alone prove no resolution: two blurred pictures agree well.

    Examples
    --------
    >>> round(correlation(np.array([[1, 2, 3]]), np.array([[2, 4, 6]])), 9)
    1.0
    """
    x, y = (np.ravel(each).astype(float) - np.mean(each) for each in (first, second))
    size = np.sqrt((x**2).sum() * (y**2).sum())
    return float((x * y).sum() / size) if size else float("nan")
