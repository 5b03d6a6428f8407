"""What is known of a mosaic's noise, and which of its pixels are dead, hot or saturated."""

import itertools

import numpy as np
import pytest
from isoplan.exposure import lone_pixels, noise_of

# Bad pixels --------------------------------------------------------------------------------------


def exposed(light, gain=2.0, read_noise_e=2.0, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = read_noise_e * rng.standard_normal(light.shape)
    return (gain * (rng.poisson(light / gain) + noise)).round().astype(np.float32)


@pytest.mark.parametrize("level", [0.2, 20.0, 2e4])
def test_noise_is_not_taken_for_bad_pixels(level):
    """A million pixels of flat light, dark and bright, with and without read noise."""
    for read_noise_e in (0.0, 2.0):
        counts = exposed(np.full((1000, 1000), level), read_noise_e=read_noise_e)
        assert lone_pixels(counts, 2.0, (2.0 * read_noise_e) ** 2).sum() <= 1


def test_points_are_not_taken_for_hot_pixels():
    """Points of light on black, on a pixel's centre and off it, as narrow as 1.5 px."""
    y, x = np.mgrid[:90, :90]
    for width in (1.5, 2.0, 5.0):
        light = np.full((90, 90), 2.0)
        for k, (row, column) in enumerate(itertools.product(range(8, 82, 10), repeat=2)):
            distance2 = (y - row - 0.01 * k) ** 2 + (x - column) ** 2
            light += 1e5 * np.exp(-4 * np.log(2) * distance2 / width**2)
        assert not lone_pixels(exposed(light), 2.0, 16.0).any()


def test_dead_and_hot_pixels_are_found():
    """On textured light, wherever the block was cut, and not beside what is not a number."""
    y, x = np.mgrid[:120, :130]
    counts = exposed(4000 + 1500 * np.sin(y / 7) * np.cos(x / 9))
    places = np.random.default_rng(1).permutation(120 * 130)[:60]
    bad = np.zeros(120 * 130, bool)
    bad[places] = True
    bad = bad.reshape(120, 130)
    bad[::, 1::3], bad[1::3] = False, False  # no two side by side
    bad[[0, -1]], bad[:, [0, -1]] = False, False
    counts[bad] = np.where(np.arange(bad.sum()) % 2, 0, 65535)
    found = lone_pixels(counts, 2.0, 16.0)
    np.testing.assert_array_equal(found, bad)
    part = lone_pixels(counts[30:90, 20:100], 2.0, 16.0)
    np.testing.assert_array_equal(part[1:-1, 1:-1], found[31:89, 21:99])
    counts[50, 50], counts[50, 51] = 65535, np.nan
    assert not lone_pixels(counts, 2.0, 16.0)[50, 50]
    assert not lone_pixels(counts[:2], 2.0, 16.0).any()


def test_what_is_known_of_the_noise():
    facts = {"gain": 2.0, "read_noise_e": 3.0, "dtype": "uint16"}
    assert noise_of(facts) == (2.0, 36.0)
    assert noise_of(facts | {"read_noise_e": 0.0}) == (2.0, 1 / 12)
    assert noise_of(facts | {"read_noise_e": 0.0, "dtype": "float32"}) == (2.0, 0.0)
    for unknown in ({"gain": None}, {"gain": 0.0}, {"read_noise_e": None}):
        assert noise_of(facts | unknown) is None
