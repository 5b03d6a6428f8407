"""Regression metrics against sums by hand."""

import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from isoplan.metrics import regression

WIDTH = SimpleNamespace(name="width", period=None)
FOCUS = SimpleNamespace(name="focus", period=None)
CYLINDER = SimpleNamespace(name="cylinder", period=None)
AXIS = SimpleNamespace(name="axis", period=math.pi)


def values(rows):
    return {(row["parameter"], row["metric"]): row["value"] for row in rows}


def one(true, estimated, parameter=WIDTH, **keys):
    """Metrics of one parameter: metric -> value."""
    columns = (np.asarray(v, float)[:, None] for v in (true, estimated))
    rows = regression.summarise(*columns, None, [parameter], **keys)
    return {row["metric"]: row["value"] for row in rows}


def test_r2_takes_the_truth_as_truth():
    true, estimated = [3, -0.5, 2, 7], [2.5, 0.0, 2, 8]
    # Sum of squared errors 1.5; about its mean the truth has 29.1875, the estimate 35.1875.
    assert one(true, estimated)["R2"] == pytest.approx(1 - 1.5 / 29.1875)
    assert one(estimated, true)["R2"] == pytest.approx(1 - 1.5 / 35.1875)
    assert one(true, true)["R2"] == 1
    assert one(true, [2.875] * 4)["R2"] == pytest.approx(0)
    assert math.isnan(one([1, 1], [1, 2])["R2"])
    assert math.isnan(one([1], [1])["R2"])


def test_errors_fall_into_bias_and_spread():
    found = one([0, 1, 2, 3], [1, 2, 3, 8])
    assert found["bias"] == 2
    assert found["RMSE"] == pytest.approx(math.sqrt(7))
    assert found["spread"] == pytest.approx(math.sqrt(3))


def test_wrapped_errors():
    period = math.pi
    assert regression.errors([0.05], [period - 0.05], period) == pytest.approx([-0.1])
    a, b = np.random.default_rng(0).uniform(0, period, (2, 500))
    error = regression.errors(a, b, period)
    assert np.abs(error).max() <= period / 2
    np.testing.assert_allclose(error, -regression.errors(b, a, period))
    np.testing.assert_allclose(error, regression.errors(a + 3 * period, b, period))
    found = one(a, b, AXIS)
    assert found["RMSE"] == pytest.approx(np.sqrt((error**2).mean()))
    assert found["circular-median"] == pytest.approx(np.median(np.abs(error)))


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


# Bootstrap -------------------------------------------------------------------------------------


def clustered(rng, scenes=300, each=5, between=1.0, within=0.5):
    """Values whose part is common to all samples of a scene, and the scenes."""
    scene = np.repeat(np.arange(scenes), each) * 7  # any numbers do
    common = rng.normal(0, between, scenes).repeat(each)
    return common + rng.normal(0, within, scenes * each), scene


def test_the_interval_of_a_mean_is_as_wide_as_theory_says():
    """Standard error of a mean over clusters: sqrt((between^2 + within^2 / each) / scenes)."""
    rng = np.random.default_rng(1)
    theory = math.sqrt((1 + 0.25 / 5) / 300)
    found = [regression.share(*clustered(rng)) for _ in range(30)]
    widths = [row["high"] - row["low"] for row in found]
    # 2.5 and 97.5 % of 400 draws are good to 5 % each; 30 runs to 1 or 2 %.
    assert np.mean(widths) == pytest.approx(2 * 1.96 * theory, rel=0.05)
    assert 24 <= sum(row["low"] <= 0 <= row["high"] for row in found) <= 30
    # Samples taken for independent would seem twice as sure.
    values, scene = clustered(rng)
    alone = regression.share(values, np.arange(len(scene)))
    together = regression.share(values, scene)
    assert together["high"] - together["low"] > 1.8 * (alone["high"] - alone["low"])


def test_draws_by_sums_equal_draws_by_samples():
    rng = np.random.default_rng(2)
    scene = rng.integers(0, 20, 200)
    true = rng.uniform(0, math.pi, 200)
    estimated = true + rng.normal(0, 0.1, 200)
    found = regression.summarise(true[:, None], estimated[:, None], None, [AXIS], scene)
    values = {row["metric"]: row for row in found if row["parameter"] == "axis"}
    again = []
    for times in regression.Resampling(scene, 200).times[1:].astype(int):
        drawn = np.repeat(np.arange(200), times[scene])
        again.append(one(true[drawn], estimated[drawn], AXIS))
    assert len(again) == regression.RESAMPLES
    for metric, row in values.items():
        low, high = np.percentile([draw[metric] for draw in again], [2.5, 97.5])
        assert (row["low"], row["high"]) == (pytest.approx(low), pytest.approx(high)), metric


def test_rows_with_intervals_and_the_mean_of_eq_2_13():
    rng = np.random.default_rng(3)
    true = rng.uniform(0, 1, (500, 2))
    estimated = true + rng.normal(0, [0.05, 0.2], (500, 2))
    pair = [FOCUS, CYLINDER]
    rows = regression.summarise(true, estimated, None, pair, np.arange(500) // 2)
    plain = regression.summarise(true, estimated, None, pair)
    assert [row["value"] for row in rows[:-1]] == pytest.approx([row["value"] for row in plain])
    assert all(row["low"] < row["value"] < row["high"] for row in rows)
    found = values(rows)
    mean = (found["focus", "R2"] + found["cylinder", "R2"]) / 2
    assert found["mean", "R2"] == pytest.approx(mean) and rows[-1]["n"] == 500
    again = regression.summarise(true, estimated, None, pair, np.arange(500) // 2)
    assert rows == again
    # A single scene says nothing of the next one.
    alone = regression.summarise(true, estimated, None, pair, np.zeros(500))
    assert all(math.isnan(row["low"]) and math.isnan(row["high"]) for row in alone)


# Uncertainty -----------------------------------------------------------------------------------

HALF = 1.6449  # of a Gaussian's deviation: holds 90 %


def gaussian_errors(n, rng):
    """True and estimated values whose predicted half-widths are right, and their photons."""
    deviation = 10 ** rng.uniform(-2, 0, n)
    true = rng.uniform(1, 10, n)
    photons = 10 ** rng.uniform(2, 5, n)
    columns = (true, true + deviation * rng.normal(size=n), HALF * deviation)
    return *(column[:, None] for column in columns), photons


def test_right_intervals_hold_the_truth_in_every_group():
    n = 20_000
    rows = regression.calibration(*gaussian_errors(n, np.random.default_rng(4)), [WIDTH])
    groups = {(row["group"], row["level"]): row for row in rows}
    wanted = {("all", 0), *(("spread fifth", k) for k in range(1, 6))}
    assert set(groups) == wanted | {("photons decade", k) for k in (2, 3, 4)}
    assert {groups["spread fifth", k]["n"] for k in range(1, 6)} == {n / 5}
    for row in rows:
        assert row["coverage"] == pytest.approx(0.9, abs=3 * math.sqrt(0.9 * 0.1 / row["n"])), row


def test_one_width_for_all_holds_overall_and_not_by_fifths():
    true, estimated, half, photons = gaussian_errors(20_000, np.random.default_rng(5))
    error = np.abs(estimated - true)
    level = np.quantile(error, 0.9)
    constant = level * (1 + 1e-9 * half)  # in the order of the right ones
    rows = regression.calibration(true, estimated, constant, photons, [WIDTH])
    found = {(row["group"], row["level"]): row["coverage"] for row in rows}
    assert found["all", 0] == pytest.approx(0.9, abs=0.001)
    assert found["spread fifth", 1] > 0.99 and found["spread fifth", 5] < 0.8


def test_an_axis_is_judged_by_region_where_it_has_a_meaning():
    rng = np.random.default_rng(6)
    cylinder = np.repeat([0.05, 0.2], 600)
    axis = rng.uniform(0, math.pi, 1200)
    axis[600:700] = rng.uniform(-0.2, 0.2, 100) % math.pi  # around 0, on both sides
    true = np.stack([cylinder, axis], 1)
    estimated = true + np.array([0, 0.1])
    half = np.where(np.abs(np.sin(axis)) < 0.25, 0.05, 0.2)[:, None].repeat(2, axis=1)
    rows = regression.calibration(true, estimated, half, np.full(1200, 1e4), [CYLINDER, AXIS])
    regions = {row["level"]: row for row in rows if row["group"] == "axis region"}
    assert sorted(regions) == pytest.approx([0, 30, 60, 90, 120, 150])
    assert sum(row["n"] for row in regions.values()) == 600
    assert regions[0]["coverage"] < 0.1 and regions[0]["n"] > 150
    assert regions[90]["coverage"] == 1
    counts = {row["parameter"]: row["n"] for row in rows if row["group"] == "all"}
    assert counts == {"cylinder": 1200, "axis": 600}


def test_a_decade_begins_at_its_own_number():
    photons = np.array([1e4, 1e4, 999.9999, 5e3], np.float32)
    one = np.ones((4, 1))
    rows = regression.calibration(one, one, one, photons, [WIDTH])
    assert {row["level"]: row["n"] for row in rows if row["group"] == "photons decade"} == {
        3: 2,
        4: 2,
    }


def test_abstention_by_the_true_error_falls_without_end():
    rng = np.random.default_rng(7)
    true = np.stack([rng.uniform(0.2, 1, 5000), rng.uniform(0, math.pi, 5000)], 1)
    estimated = true + rng.normal(0, 0.1, (5000, 2))
    size = np.abs(np.stack([estimated[:, 0] - true[:, 0], estimated[:, 1] - true[:, 1]], 1))
    rows = regression.abstention(true, estimated, size, [CYLINDER, AXIS])
    for name, metric in (("cylinder", "RMSE"), ("axis", "circular-median")):
        curve = [row for row in rows if row["parameter"] == name]
        assert {row["metric"] for row in curve} == {metric}
        assert [row["kept_share"] for row in curve] == pytest.approx(np.arange(1, 0.09, -0.05))
        assert [row["n"] for row in curve][::18] == [5000, 500]
        assert all(a["value"] > b["value"] for a, b in pairwise(curve))
    found = values(regression.summarise(true, estimated, None, [CYLINDER, AXIS]))
    assert rows[0]["value"] == pytest.approx(found["cylinder", "RMSE"])
    assert rows[19]["value"] == pytest.approx(found["axis", "circular-median"])
    # A width that says nothing leaves the error as it is.
    blind = regression.abstention(true, estimated, rng.random((5000, 2)), [CYLINDER, AXIS])
    assert [row["value"] for row in blind[:15]] == pytest.approx([0.1] * 15, rel=0.06)


def test_no_samples_give_nan():
    none, photons = np.ones((0, 2)), np.ones(0)
    assert regression.calibration(none, none, none, photons, [CYLINDER, AXIS]) == []
    rows = regression.abstention(none, none, none, [CYLINDER, AXIS])
    assert len(rows) == 38 and all(math.isnan(row["value"]) for row in rows)
    assert math.isnan(regression.share(none[:, 0], none[:, 0])["value"])
