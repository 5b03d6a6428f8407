"""Scores of pictures on the fine grid, against brute force."""

import numpy as np
import pytest
from isoplan.applications.fluctuation import scores
from scipy.stats import norm


def matched(near: np.ndarray) -> int:
    """The largest number of pairs, by trying all."""
    if not near.size:
        return 0
    best = matched(near[1:])
    for column in np.flatnonzero(near[0]):
        best = max(best, 1 + matched(np.delete(near[1:], column, axis=1)))
    return best


@pytest.mark.parametrize("seed", range(12))
def test_jaccard_matches_as_many_as_can_be(seed):
    rng = np.random.default_rng(seed)
    estimate, truth = (rng.random((6, 6)) * (rng.random((6, 6)) < 0.2) for _ in range(2))
    found, true = np.argwhere(estimate > 0.3), np.argwhere(truth > 0)
    near = np.linalg.norm(found[:, None] - true[None], axis=-1) <= 1.5
    pairs = matched(near)
    expected = pairs / (len(found) + len(true) - pairs)
    assert scores.jaccard(estimate, truth, 0.3) == pytest.approx(expected)


def test_jaccard_of_nothing():
    none, one = np.zeros((3, 3)), np.eye(3)
    assert scores.jaccard(none, none) == 1
    assert scores.jaccard(none, one) == scores.jaccard(one, none) == 0
    assert scores.best_jaccard(none, one) == (0, 0)


def test_two_pixels_cannot_match_the_same_one():
    truth, estimate = np.zeros((2, 1, 9))
    truth[0, 4], estimate[0, 3:6] = 1, 1
    assert scores.jaccard(estimate, truth) == pytest.approx(1 / 3)


def test_the_best_threshold_is_at_least_as_good_as_the_rule():
    rng = np.random.default_rng(0)
    truth = (rng.random((30, 30)) < 0.05).astype(float)
    estimate = truth + 0.3 * rng.random((30, 30))
    best, threshold = scores.best_jaccard(estimate, truth)
    assert best == pytest.approx(1) and 0.3 < threshold < 1
    assert best >= scores.jaccard(estimate, truth)
    assert best == scores.jaccard(estimate, truth, threshold)


def test_the_rule_parts_bright_from_faint_and_knows_no_unit():
    rng = np.random.default_rng(1)
    values = rng.gamma(0.5, 1, (20, 20))
    values[rng.random(values.shape) < 0.2] += 30
    level = scores.threshold_of(values)
    assert np.quantile(values[values < 30], 0.98) < level < 30
    padded = np.pad(values, 50)
    assert scores.threshold_of(padded) == pytest.approx(level)
    assert scores.threshold_of(3 * values) == pytest.approx(3 * level)
    assert scores.threshold_of(np.zeros((3, 3))) == 0


def blur(n: int, sigma: float) -> np.ndarray:
    at = np.arange(n)
    weights = norm.pdf(at[:, None] - at[None], scale=sigma)
    reach = int(4 * sigma + 0.5)
    weights[abs(at[:, None] - at[None]) > reach] = 0
    kernel = norm.pdf(np.arange(-reach, reach + 1), scale=sigma)
    return weights / kernel.sum()


def test_psnr_by_dense_matrices_and_a_scan_of_scales():
    rng = np.random.default_rng(2)
    truth, estimate = rng.random((2, 12, 15))
    left, right = blur(12, 1.25), blur(15, 1.25)
    wide_truth, wide = (left @ each @ right.T for each in (truth, estimate))

    def value(scale):
        return 10 * np.log10(wide_truth.max() ** 2 / ((scale * wide - wide_truth) ** 2).mean())

    keys = {"pixel_nm": 20, "sigma_nm": 25}
    assert scores.psnr(estimate, truth, scaled=False, **keys) == pytest.approx(value(1))
    best = max(value(scale) for scale in np.linspace(0, 3, 30001))
    assert scores.psnr(estimate, truth, **keys) == pytest.approx(best, abs=1e-4)
    assert scores.psnr(7 * estimate, truth, **keys) == pytest.approx(best, abs=1e-4)
    assert scores.psnr(-estimate, truth, **keys) == pytest.approx(value(0))  # no negative scale
    assert scores.psnr(0 * truth, truth, **keys) == pytest.approx(value(0))
    assert scores.psnr(truth, truth, scaled=False, **keys) == np.inf


def test_dip_of_lines():
    at = np.arange(41)
    for width, low, high in ((1.5, 0.9, 1), (3, 0.1, 0.6), (4, -0.2, 0)):
        profile = sum(norm.pdf(at, line, width) for line in (12, 20, 28))
        lines = np.tile(profile, (7, 1))
        found = scores.dip(lines, (12, 20, 28))
        peak, valley = profile[[12, 20, 28]].mean(), profile[[16, 24]].mean()
        assert found == pytest.approx((peak - valley) / peak) and low < found < high
        assert scores.dip(lines.T, (12, 20, 28), axis=0) == pytest.approx(found)
    between = np.tile([0, 0, 1, 0, 1, 0, 0, 0, 0], (5, 1))
    assert scores.dip(between, (1, 3, 5)) == -1
    assert np.isnan(scores.dip(np.zeros((5, 9)), (1, 3, 5)))


def test_correlation_is_pearsons():
    first, second = np.random.default_rng(3).random((2, 5, 6))
    expected = np.corrcoef(first.ravel(), second.ravel())[0, 1]
    assert scores.correlation(first, second) == pytest.approx(expected)
    assert np.isnan(scores.correlation(first, np.ones((5, 6))))
