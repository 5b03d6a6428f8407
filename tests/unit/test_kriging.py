"""Gaussian process regression of maps: against its formulas, and what becomes of fields that are known."""

import numpy as np
import pytest
from isoplan.psf_map import kriging
from isoplan.psf_map.kriging import Process, krige
from scipy.linalg import null_space
from scipy.stats import multivariate_normal

NOISE = 0.01


def noisy(true: np.ndarray, seed=0) -> np.ndarray:
    """A field (ny, nx) with errors of variance NOISE, as those of windows that overlap by half: (1, ny, nx)."""
    ny, nx = true.shape
    plain = np.random.default_rng(seed).normal(size=(ny + 1, nx + 1))
    b = 0.34  # of its neighbour, for a correlation of .29 or so
    rows = (plain[1:] + b * plain[:-1]) / np.sqrt(1 + b * b)
    both = (rows[:, 1:] + b * rows[:, :-1]) / np.sqrt(1 + b * b)
    return (true + NOISE**0.5 * both)[None].astype(np.float32)


def smoothed(values, own=None, weights=None) -> np.ndarray:
    shape = values.shape[1:]
    own = np.ones(shape, bool) if own is None else own
    weights = np.ones(shape) if weights is None else weights
    return krige(values, own, weights, np.array([NOISE] * len(values)), 2.0)


def rms(values) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def test_likelihood_is_that_of_all_contrasts():
    """Restricted likelihood: of what is left of values once their mean is taken away."""
    rng = np.random.default_rng(0)
    cells = np.argwhere(np.ones((3, 4)))
    value = rng.normal(size=12)
    contrasts = null_space(np.ones((1, 12)))
    found, expected = [], []
    for variance, reach in ((0.5, 1.5), (2.0, 4.0)):
        process = Process(0.0, variance, reach, 0.3, 1.4)
        covariance = process.signal_covariance(cells, cells) + process.error_covariance(
            cells, np.ones(12)
        )
        found.append(kriging._likelihood(value, covariance.copy())[0])
        inner = contrasts.T @ covariance @ contrasts
        expected.append(multivariate_normal(cov=inner).logpdf(contrasts.T @ value))
    assert found[1] - found[0] == pytest.approx(expected[1] - expected[0], rel=1e-4)


def test_estimates_are_those_of_the_normal_distribution():
    """What is expected of some cells when others are known, of all of them together."""
    own = np.array([[1, 0, 1], [1, 1, 0]], bool)
    plane = np.array([[1.0, 9.0, 2.0], [0.5, 1.5, 9.0]])
    weights = np.array([[1.0, 1.0, 2.0], [0.5, 1.0, 1.0]])
    process = Process(1.2, 0.7, 2.0, 0.2, 1.4)
    known, cells = np.argwhere(own), np.argwhere(np.ones((2, 3)))
    found = kriging._predict(np.s_[0:2, 0:3], known, plane, weights, process)
    inner = process.signal_covariance(known, known) + process.error_covariance(known, weights[own])
    expected = 1.2 + process.signal_covariance(cells, known) @ np.linalg.inv(inner) @ (
        plane[own] - 1.2
    )
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-4)


def test_errors_of_windows_that_do_not_overlap_are_none_of_each_other():
    process = Process(0.0, 1.0, 2.0, 0.5, kriging.ERROR_REACH * 2)
    cells = np.array([[0, 0], [0, 1], [1, 1], [0, 2]])
    errors = process.error_covariance(cells, np.array([1.0, 1.0, 1.0, 4.0]))
    correlation = 1 - 1 / 1.4
    np.testing.assert_allclose(
        errors[0], [0.5, 0.5 * correlation, 0.5 * correlation**2, 0], rtol=1e-6
    )
    assert errors[3, 3] == pytest.approx(0.5 / 4)


@pytest.mark.parametrize("shape", [(2, 2), (6, 6), (16, 16)])
def test_a_map_that_varies_by_its_errors_alone_has_one_value(shape):
    errors = []
    for seed in range(10):
        found = smoothed(noisy(np.ones(shape), seed))
        errors.append(rms(found - 1))
        assert errors[-1] <= 2.5 * NOISE**0.5
    # Of ten maps hardly any is taken for one that varies.
    alone = NOISE**0.5 * 1.6 / np.sqrt(np.prod(shape))
    assert np.median(errors) < 1.5 * alone


def test_a_map_that_varies_keeps_what_varies():
    v, u = np.meshgrid(np.linspace(0, 1, 16), np.linspace(0, 1, 16), indexing="ij")
    own = np.zeros((16, 16), bool)
    own[1:-1, 1:-1] = True  # as where windows cross the border
    for true in (u, v, u**2 + v**2, np.sin(5 * u) * v):
        values = noisy(true)
        values[:, ~own] = 7.0  # which must not count
        error = rms(smoothed(values, own) - true)
        assert error < 0.65 * NOISE**0.5 < 0.25 * true.std()


def test_uncertain_cells_go_over_into_their_neighbours():
    u = np.broadcast_to(np.linspace(0, 1, 20), (24, 20))
    values, weights = noisy(u), np.ones(u.shape)
    values[:, 6:12, 8:14], weights[6:12, 8:14] = 4.0, 1e-3
    found = smoothed(values, weights=weights)[0]
    assert rms((found - u)[6:12, 8:14]) < 0.05 * 4.0
    assert max(np.abs(np.diff(found, axis=axis)).max() for axis in (0, 1)) < 0.25


def test_one_cell_serves_all():
    own = np.zeros((60, 50), bool)
    own[3, 4] = True
    values = np.full((1, 60, 50), 9.0, np.float32)
    values[0, 3, 4] = 2.0
    np.testing.assert_allclose(smoothed(values, own), 2.0, rtol=1e-5)


def test_squares_of_large_maps_leave_no_seams(monkeypatch):
    """Piece by piece, from fewer cells, as from all at once."""
    y, x = np.mgrid[:30, :34]
    true = np.sin(y / 6) * np.cos(x / 7)
    values = noisy(true)
    whole = smoothed(values)[0]
    monkeypatch.setattr(kriging, "MOST_AT_ONCE", 100)
    monkeypatch.setattr(kriging, "SQUARE", 12)
    pieces = smoothed(values)[0]
    assert rms(pieces - whole) < 0.2 * NOISE**0.5
    assert rms(pieces - true) < 1.1 * rms(whole - true)
    steps = np.abs(np.diff(pieces - true, axis=0)).mean(1)
    assert steps[11::12].mean() < 0.2 * NOISE**0.5
