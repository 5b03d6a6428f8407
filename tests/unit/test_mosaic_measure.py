"""Streaming statistics against numpy's on the whole picture."""

import json

import numpy as np
import pytest
import tifffile
from isoplan.mosaic.facts import Facts
from isoplan.mosaic.measure import describe_facts, measure
from isoplan.mosaic.reader import LUMINANCE, open_mosaic
from isoplan.optics.exposure import lone_pixels
from scipy import ndimage

SHAPE = (211, 307)


def of(folder, picture, **options):
    tifffile.imwrite(folder / "a.tif", picture, **options)
    with open_mosaic(folder / "a.tif") as mosaic:
        result = measure(mosaic, block_px=64)
    json.dumps(result, allow_nan=False)
    return result


def check(result, values, tolerance):
    assert result["minimum"] == values.min()
    assert result["maximum"] == values.max()
    assert result["mean"] == pytest.approx(values.mean(dtype=np.float64), rel=1e-12)
    for name, percent in {"p01": 1, "p50": 50, "p999": 99.9}.items():
        expected = np.percentile(values, percent, method="inverted_cdf")
        assert abs(result[name] - expected) <= tolerance * abs(expected), name


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16"])
def test_integers_are_exact(tmp_path, dtype):
    info, rng = np.iinfo(dtype), np.random.default_rng(0)
    picture = rng.integers(info.min, info.max, SHAPE, dtype=dtype, endpoint=True)
    result = of(tmp_path, picture)
    check(result, picture, 0)
    assert (result["height_px"], result["width_px"], result["dtype"]) == (*SHAPE, dtype)
    assert result["saturated_pixels"] == (picture == info.max).sum()
    assert result["nonfinite_pixels"] == 0


@pytest.mark.parametrize("scale", [1e-20, 1, 1e20])
def test_floats_of_either_sign_within_the_stated_tolerance(tmp_path, scale):
    picture = (np.random.default_rng(0).normal(0.3, 1, SHAPE) ** 3 * scale).astype(np.float32)
    check(of(tmp_path, picture), picture, 2**-13)


def test_pixels_that_are_not_finite_are_counted_and_left_out(tmp_path):
    picture = np.random.default_rng(0).random(SHAPE, np.float32)
    picture[3, :5], picture[9, 9] = np.nan, -np.inf
    result = of(tmp_path, picture)
    check(result, picture[np.isfinite(picture)], 2**-13)
    assert result["nonfinite_pixels"] == 6
    nothing = of(tmp_path, np.full(SHAPE, np.nan, np.float32))
    assert nothing["constant"]
    assert nothing["mean"] is None
    assert nothing["p50"] is None
    assert nothing["nonfinite_pixels"] == SHAPE[0] * SHAPE[1]


@pytest.mark.parametrize(("value", "dtype"), [(0, "uint8"), (7, "uint16"), (-0.0, "float32")])
def test_constant_pictures(tmp_path, value, dtype):
    result = of(tmp_path, np.full(SHAPE, value, dtype))
    assert result["constant"]
    assert result["minimum"] == result["p01"] == result["p999"] == result["maximum"] == value
    assert result["saturated_pixels"] == 0


def test_saturation_of_a_camera_of_12_bits(tmp_path):
    picture = np.random.default_rng(0).normal(3000, 800, SHAPE).clip(0, 4095).astype(np.uint16)
    assert of(tmp_path, picture)["saturated_pixels"] == (picture == 4095).sum() > 1000
    # A dim picture has many pixels at its maximum of a few counts, but more just below.
    dim = np.random.default_rng(0).poisson(0.3, SHAPE).clip(0, 3).astype(np.uint16)
    assert (dim == 3).sum() > 1e-4 * dim.size
    assert of(tmp_path, dim)["saturated_pixels"] == 0


def test_saturation_of_rgb(tmp_path):
    picture = np.random.default_rng(0).integers(0, 200, (*SHAPE, 3), dtype=np.uint8)
    picture[:4, :5] = 255
    result = of(tmp_path, picture, photometric="rgb")
    assert result["saturated_pixels"] == 20
    assert result["mean"] == pytest.approx((picture @ LUMINANCE).mean(), rel=1e-6)


def test_the_darkest_squares(tmp_path):
    """What haze there is between objects, where a pixel's percentile is its noise's tail."""
    rng = np.random.default_rng(0)
    picture = rng.poisson(50, SHAPE).astype(np.uint16)
    picture[40:120, 60:200] += 3000
    result = of(tmp_path, picture)
    assert result["p01"] < 36 and result["dark"] == pytest.approx(50, abs=5)
    # By hand: windows are a multiple of the squares, those beyond the last whole one are left out.
    whole = picture[: 211 // 8 * 8, : 307 // 8 * 8].astype(float)
    means = whole.reshape(26, 8, 38, 8).mean((1, 3))
    expected = np.percentile(means, 1, method="inverted_cdf")
    assert result["dark"] == pytest.approx(expected, rel=2**-12)
    assert of(tmp_path, picture[:7, :7])["dark"] is None
    spoilt = picture.astype(np.float32)
    spoilt[::8, ::8] = np.nan
    assert of(tmp_path, spoilt)["dark"] is None


def test_from_where_on_pixels_are_saturated(tmp_path):
    rng = np.random.default_rng(0)
    full = rng.poisson(3000, SHAPE).clip(0, 4095).astype(np.uint16)
    assert of(tmp_path, full)["saturation"] is None
    full[5:25, 5:25] = 4095
    assert of(tmp_path, full)["saturation"] == 4095
    full[0, 0] = 65535
    assert of(tmp_path, full)["saturation"] == 65535
    assert of(tmp_path, full.astype(np.float32))["saturation"] is None


def test_levels():
    assert Facts(offset=100, mean=300.0, p999=1100.0).brightness == {"start": 200, "scale": 1000}
    for facts in ({"mean": 90.0, "p999": 95.0}, {"mean": None, "p999": None}):
        found = Facts({"offset": 100} | facts).brightness
        assert 0 < found["start"] <= found["scale"]


def test_pixels_below_the_offset_by_more_than_noise_are_counted(tmp_path):
    rng = np.random.default_rng(0)
    dark = rng.normal(100, 3, (256, 256)).round().astype(np.int16)
    dark[:64] -= 30
    tifffile.imwrite(tmp_path / "a.tif", dark)
    zeros = np.zeros((64, 64), np.uint8)  # rounding alone
    zeros[0, 0] = 9
    tifffile.imwrite(tmp_path / "b.tif", zeros)
    for name, offset, share in (
        *(("a", 60, 0), ("a", 100, 0.25), ("a", 103, 0.25), ("a", 140, 1)),
        *(("b", 0, 0), ("b", 1, 0), ("b", 7, 63 / 64)),
    ):
        with open_mosaic(tmp_path / f"{name}.tif") as mosaic:
            found = measure(mosaic, block_px=64, offset=offset)["below_offset"]
            assert found == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("kind", ["dead", "weak", "hot"])
def test_dead_and_weak_lines_of_a_camera(tmp_path, kind):
    rng = np.random.default_rng(0)
    light = ndimage.gaussian_filter(rng.normal(size=(600, 300)), 2)
    picture = rng.poisson(200 + 150 * light / light.std() * 0.4 + 100).astype("uint16")
    tifffile.imwrite(tmp_path / "whole.tif", picture)
    for line in (np.s_[:, 140], np.s_[333, :]):
        part = picture[line].astype(int)
        changed = {"dead": part * 0, "weak": 100 + (part - 100) // 2, "hot": part + 3000}
        picture[line] = changed[kind]
    tifffile.imwrite(tmp_path / "lines.tif", picture)
    for name, rows, columns in (("whole", [], []), ("lines", [333], [140])):
        with open_mosaic(tmp_path / f"{name}.tif") as mosaic:
            facts = measure(mosaic, offset=100)
        assert (facts["bad_rows"], facts["bad_columns"]) == (rows, columns)
        words = " ".join(describe_facts(facts))
        assert (
            ("CAUTION: rows 333 differ" in words) == ("columns 140 differ" in words) == bool(rows)
        )


def test_ringing_at_a_border_is_no_dead_line(tmp_path):
    picture = np.random.default_rng(0).poisson(200, (300, 300)).astype("uint16")
    picture[5] //= 2
    picture[:, -7] *= 2
    tifffile.imwrite(tmp_path / "a.tif", picture)
    with open_mosaic(tmp_path / "a.tif") as mosaic:
        facts = measure(mosaic)
    assert facts["bad_rows"] == facts["bad_columns"] == []


@pytest.mark.filterwarnings("error")
def test_infinite_pixels_raise_no_warnings(tmp_path):
    picture = np.random.default_rng(0).gamma(2, 500, (100, 120)).astype(np.float32)
    picture[20:24, 30:35], picture[50, 50:52], picture[70, 7] = np.inf, (-np.inf, np.inf), np.nan
    tifffile.imwrite(tmp_path / "a.tif", np.stack([picture, picture]))
    with open_mosaic(tmp_path / "a.tif") as mosaic:
        assert measure(mosaic)["nonfinite_pixels"] == 23
    lone_pixels(picture, 2.0, 1.0)
