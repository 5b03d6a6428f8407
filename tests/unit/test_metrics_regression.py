"""Regression metrics against sums by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from isoplan.metrics import regression

FOCUS = SimpleNamespace(name="focus", period=None)
CYLINDER = SimpleNamespace(name="cylinder", period=None)
AXIS = SimpleNamespace(name="axis", period=math.pi)


def values(rows):
    return {(row["parameter"], row["metric"]): row["value"] for row in rows}


def test_r2_takes_the_truth_as_truth():
    true, estimated = [3, -0.5, 2, 7], [2.5, 0.0, 2, 8]
    # Sum of squared errors 1.5; about the mean 2.875 the truth has 29.1875, the estimate 35.6875.
    assert regression.r2(true, estimated) == pytest.approx(1 - 1.5 / 29.1875)
    assert regression.r2(estimated, true) != pytest.approx(regression.r2(true, estimated))
    assert regression.r2(true, true) == 1
    assert regression.r2(true, [2.875] * 4) == 0
    assert math.isnan(regression.r2([1, 1], [1, 2]))
    assert math.isnan(regression.r2([1], [1]))


def test_errors_fall_into_bias_and_spread():
    true, estimated = np.array([0.0, 1, 2, 3]), np.array([1.0, 2, 3, 8])
    assert regression.bias(true, estimated) == 2
    assert regression.rmse(true, estimated) == pytest.approx(math.sqrt(7))
    assert regression.spread(true, estimated) == pytest.approx(math.sqrt(3))
    assert math.isnan(regression.rmse(true[:0], true[:0]))


def test_wrapped_errors():
    period = math.pi
    assert regression.circular_error([0.05], [period - 0.05], period) == pytest.approx([0.1])
    assert regression.errors([0.05], [period - 0.05], period) == pytest.approx([-0.1])
    assert regression.circular_error([0], [period / 2], period) == pytest.approx([period / 2])
    a, b = np.random.default_rng(0).uniform(0, period, (2, 500))
    error = regression.circular_error(a, b, period)
    assert error.max() <= period / 2
    np.testing.assert_allclose(error, regression.circular_error(b, a, period))
    np.testing.assert_allclose(error, regression.circular_error(a + 3 * period, b, period))


def test_summary_is_tidy_and_leaves_out_what_is_not_valid():
    true = np.array([[0.0, 1], [1, 2], [2, 3], [9, 9]])
    estimated = np.array([[0.0, 1], [1, 2], [2, 6], [0, 0]])
    plain = [SimpleNamespace(name=name, period=None) for name in ("width_x", "width_y")]
    rows = regression.summarise(true, estimated, np.array([True, True, True, False]), plain)
    assert len(rows) == 8
    assert all(set(row) == {"parameter", "metric", "value", "n"} for row in rows)
    assert {row["n"] for row in rows} == {3}
    found = values(rows)
    assert found["width_x", "R2"] == 1
    assert found["width_y", "R2"] == 1 - 9 / 2
    assert found["width_y", "bias"] == 1
    estimated[3] = np.nan  # never counts, valid or not
    assert values(regression.summarise(true, estimated, None, plain)) == found


def test_axis_counts_where_the_psf_is_not_round():
    true = np.array([[0.5, 0.3, 0.1], [0.0, 0.3, 1.0], [0.5, 0.05, 1.0], [0.5, 0.2, 2.0]])
    estimated = true.copy()
    estimated[:, 2] = [math.pi - 0.1, 2.5, 2.5, 2.3]
    found = values(regression.summarise(true, estimated, None, [FOCUS, CYLINDER, AXIS]))
    assert found["axis", "kept-share"] == 0.5  # no focus in one, no cylinder in another
    assert found["axis", "circular-median"] == pytest.approx(np.median([0.2, 0.3]))
    assert found["axis", "circular-p90"] == pytest.approx(0.29)
    # A model without focus asks for the cylinder only.
    found = values(regression.summarise(true[:, 1:], estimated[:, 1:], None, [CYLINDER, AXIS]))
    assert found["axis", "kept-share"] == 0.75
    assert ("focus", "R2") not in found


def test_nothing_valid_gives_nan_and_n_0():
    one = np.ones((3, 3))
    rows = regression.summarise(one, one, np.zeros(3, bool), [FOCUS, CYLINDER, AXIS])
    assert {row["n"] for row in rows} == {0}
    assert all(math.isnan(row["value"]) for row in rows)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="parameters"):
        regression.summarise(np.ones((3, 2)), np.ones((3, 2)), None, [FOCUS])
