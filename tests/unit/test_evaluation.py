"""What a restoration gained: streamed as in one piece, and by hand."""

import math

import numpy as np
import pytest
from isoplan.evaluation import channels as sum_channels
from isoplan.evaluation import compare, evaluate_unit, metrics_and_gains
from isoplan.metrics import image
from isoplan.mosaic import tiles

SHAPE, SCALE, CELL = (150, 203), 800.0, 32


def reader(picture):
    return lambda y0, y1, x0, x1: picture[y0:y1, x0:x1]


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    truth = rng.gamma(2, 200, SHAPE).astype(np.float32)
    observed = truth + rng.normal(0, 60, SHAPE).astype(np.float32)
    restored = truth + rng.normal(0, 30, SHAPE).astype(np.float32)
    return truth, observed, restored


def evaluate(pictures, truth=None, side=2):
    """Metrics and gains by units of side x side cells; pictures: name -> picture, "none" among them."""
    true = None if truth is None else reader(truth)
    readers = {name: reader(picture) for name, picture in pictures.items()}
    if true:
        readers["truth"] = true
    grid = [tiles.cell_grid(length, CELL) for length in SHAPE]
    sums = np.full((len(sum_channels(list(readers))), *grid), np.inf)
    for cells in tiles.shards(grid, side):
        sums[(slice(None), *cells)] = evaluate_unit(
            readers, true, SHAPE, cells, scale=SCALE, cell_px=CELL
        )
    sums = sums.reshape(len(readers), -1, *grid)
    return metrics_and_gains(dict(zip(readers, sums, strict=True)))


def test_streamed_metrics_are_those_of_the_whole(pictures):
    truth, observed, restored = pictures
    results, _ = evaluate({"none": observed, "estimated": restored}, truth)
    x, t = restored * 255 / SCALE, truth * 255 / SCALE
    whole = {"data_range": 255, "cell_px": max(SHAPE)}
    expected = image.metrics_of(image.cell_sums(x, t, **whole), 255)
    assert expected["Mean"] == pytest.approx(x.mean(dtype=np.float64))
    assert results["estimated"] == pytest.approx(expected, rel=1e-5)
    # Of the truth, what it should come to.
    expected = image.metrics_of(image.cell_sums(t, **whole), 255)
    assert results["truth"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("side", [1, 3, 100])
def test_the_unit_does_not_matter(pictures, side):
    truth, observed, restored = pictures
    named = {"none": observed, "estimated": restored}
    first, gains = evaluate(named, truth)
    second, others = evaluate(named, truth, side)
    assert first["estimated"] == pytest.approx(second["estimated"], rel=1e-6)
    np.testing.assert_allclose(gains["estimated"], others["estimated"], rtol=1e-5)


def test_gains_by_hand(pictures):
    truth, observed, restored = pictures
    _, gains = evaluate({"none": observed, "estimated": restored}, truth)
    gains = gains["estimated"]
    assert gains.shape == (5, 7)
    for j, i in np.ndindex(5, 7):
        cell = np.s_[j * CELL : (j + 1) * CELL, i * CELL : (i + 1) * CELL]
        before = ((observed - truth)[cell] ** 2).sum()
        after = ((restored - truth)[cell] ** 2).sum()
        assert gains[j, i] == pytest.approx(10 * math.log10(before / after), rel=1e-4)


def test_without_truth_there_are_no_gains(pictures):
    _, observed, _ = pictures
    results, gains = evaluate({"none": observed})
    assert gains["none"] is None and set(results["none"]) == {"CV", "Sharpness", "Mean"}


def test_a_perfect_and_an_untouched_picture(pictures):
    truth, observed, _ = pictures
    results, gains = evaluate({"none": observed, "perfect": truth.copy()}, truth)
    assert results["perfect"]["MSE"] == 0 and results["perfect"]["SNR"] == math.inf
    assert np.isposinf(gains["perfect"]).all()
    np.testing.assert_array_equal(gains["none"], 0)


def test_bad_pixels_are_left_out(pictures):
    _, observed, _ = pictures
    bad = observed.copy()
    bad[10, 20] = np.nan
    found = evaluate({"none": bad})[0]["none"]
    assert found["Mean"] == pytest.approx(float(np.nanmean(bad)) * 255 / SCALE, rel=1e-5)
    assert np.isfinite(found["CV"])


def rows_of(rows, method) -> dict:
    return {row["metric"]: row["value"] for row in rows if row["method"] == method}


def test_compare_by_hand():
    results = {
        "estimated": {"SNR": 13.0, "Mean": 99.0},
        "oracle": {"SNR": 14.0, "Mean": 100.0},
        "none": {"SNR": 10.0, "Mean": 100.0},
    }
    gains = {
        "estimated": np.array([[1.0, -0.5], [-0.005, np.nan]]),
        "oracle": np.ones((2, 2)),
        "none": np.zeros((2, 2)),
    }
    rows = compare(results, gains)
    found = rows_of(rows, "estimated")
    assert found.pop("flux_drift") == pytest.approx(-0.01)
    assert found == pytest.approx(
        {"gain_dB": 3.0, "oracle_share": 0.75, "worse_cells_share": 1 / 3}
    )
    assert rows_of(rows, "oracle")["oracle_share"] == 1
    assert rows_of(rows, "none") == {"flux_drift": 0, "gain_dB": 0, "oracle_share": 0}


def test_compare_where_little_is_known():
    plain = {"Mean": 3.0, "CV": 1.0}
    assert compare({"estimated": plain}, {"estimated": None}) == []
    rows = compare({"estimated": plain, "none": plain}, {"estimated": None, "none": None})
    assert {row["metric"] for row in rows} == {"flux_drift"}
    # An oracle that gains nothing gives no share to speak of.
    same = {"SNR": 1.0, "Mean": 3.0}
    nothing = np.zeros((1, 1))
    rows = compare({"oracle": same, "none": same}, {"oracle": nothing, "none": nothing})
    assert "oracle_share" not in rows_of(rows, "oracle")
