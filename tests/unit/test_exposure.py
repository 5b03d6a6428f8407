"""What is known of a mosaic's noise, and which of its pixels are dead, hot or saturated."""

import itertools

import numpy as np
import pytest
from isoplan.base.seeds import numpy_rng
from isoplan.optics.exposure import (
    lone_pixels,
    noise_of,
    replace_lone_pixels,
    split,
    split_camera,
    thin,
)

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


SHAPES = {
    2: [(0, 0), (0, 1)],
    -2: [(0, 0), (1, 1)],
    3: [(0, 0), (0, 1), (1, 0)],
    -3: [(0, 0), (1, 1), (2, 2)],
    4: [(0, 0), (0, 1), (1, 0), (1, 1)],
    -4: [(0, 0), (0, 1), (0, 2), (0, 3)],
    "L": [(0, 0), (0, 1), (0, 2), (1, 0)],
    "T": [(0, 0), (0, 1), (0, 2), (1, 1)],
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=str)
def test_clusters_are_found_and_replaced(shape):
    """Bright ones on dim texture and dead ones on a bright one, each exactly."""
    y, x = np.mgrid[:200, :200]
    texture = np.sin(y / 7) * np.cos(x / 9)
    bad = np.zeros((200, 200), bool)
    for row in range(10, 190, 15):
        for column in range(10, 190, 15):
            for dy, dx in shape:
                bad[row + dy, column + dx] = True
    clean = exposed(400 + 150 * texture)
    counts = np.where(bad, clean + 8000, clean)
    np.testing.assert_array_equal(lone_pixels(counts, 2.0, 16.0), bad)
    replaced = replace_lone_pixels(counts, bad)
    assert (replaced[~bad] == counts[~bad]).all()
    assert np.abs(replaced - 400 - 150 * texture)[bad].max() < 100
    assert replace_lone_pixels(clean, lone_pixels(clean, 2.0, 16.0)) is clean
    dead = lone_pixels(np.where(bad, 0, exposed(4000 + 1500 * texture)), 2.0, 16.0)
    np.testing.assert_array_equal(dead, bad)
    counts[11, 11] = np.nan  # beside or within the first
    assert not lone_pixels(counts, 2.0, 16.0)[9:15, 9:15].any()


@pytest.mark.parametrize("degrees", [0, 30, 45])
def test_a_slope_hides_no_cluster(degrees):
    """Squares and lines of four, hot and dead; the slope alone and its bends are none."""
    y, x = np.mgrid[:200, :200]
    angle = np.deg2rad(degrees)
    ramp = np.abs((np.sin(angle) * y + np.cos(angle) * x) % 120 - 60)
    bad = np.zeros((200, 200), bool)
    for row, column in itertools.product(range(10, 190, 15), repeat=2):
        for dy, dx in SHAPES[4 if row % 2 else -4]:
            bad[row + dy, column + dx] = 5 < ramp[row, column] < 55
    for light, value in ((200 + 20 * ramp, 6000), (2000 + 100 * ramp, 0)):
        clean = exposed(light)
        assert not lone_pixels(clean, 2.0, 16.0).any()
        found = lone_pixels(np.where(bad, value, clean), 2.0, 16.0)
        assert found[bad].mean() > 0.97 and not found[~bad].any()


def test_dim_points_off_the_grid_are_kept():
    """Alone and in pairs, of two, three and four bright pixels, as narrow as 1.42 px, dim to very bright."""
    rng, (y, x) = np.random.default_rng(0), np.mgrid[-7:8, -7:8]
    for width, height, pair in itertools.product((1.42, 2.0, 3.5), (100, 1e3, 1e5), (False, True)):
        light = np.full((200, 200), 2.0)
        for k, (row, column) in enumerate(itertools.product(range(8, 192, 12), repeat=2)):
            off = [(0.5, 0.5), (0, 0.5), rng.uniform(-0.5, 0.5, 2)][k % 3]
            spots = [(1, *off)]
            if pair:
                angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(1.5, 4)
                beside = off[0] + far * np.sin(angle), off[1] + far * np.cos(angle)
                spots.append((rng.choice([0.03, 0.3, 1]), *beside))
            for share, at_y, at_x in spots:
                spot = np.exp(-4 * np.log(2) * ((y - at_y) ** 2 + (x - at_x) ** 2) / width**2)
                light[row - 7 : row + 8, column - 7 : column + 8] += share * height * spot
        assert not lone_pixels(exposed(light), 2.0, 16.0).any()


def test_what_is_known_of_the_noise():
    facts = {"gain": 2.0, "read_noise_e": 3.0, "dtype": "uint16"}
    assert noise_of(facts) == (2.0, 36.0)
    assert noise_of(facts | {"read_noise_e": 0.0}) == (2.0, 1 / 12)
    assert noise_of(facts | {"read_noise_e": 0.0, "dtype": "float32"}) == (2.0, 0.0)
    for unknown in ({"gain": None}, {"gain": 0.0}, {"read_noise_e": None}):
        assert noise_of(facts | unknown) is None


# One exposure as two -----------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize(("mean", "read_noise_e"), [(3.0, 0.0), (40.0, 3.0)])
def test_parts_are_independent_poisson_numbers(mean, read_noise_e, share):
    """Mean and variance of both, and no covariance: the sum alone would have them anticorrelated."""
    rng = np.random.default_rng(0)
    electrons = rng.poisson(mean, 400_000) + rng.normal(0, read_noise_e, 400_000)
    rest, part = thin(electrons, read_noise_e**2, rng, share=share)
    whole = mean + read_noise_e**2
    for found, held in ((rest, 1 - share), (part, share)):
        assert found.mean() == pytest.approx(held * whole, rel=0.01)
        # Rounding to whole numbers adds a twelfth.
        assert found.var() == pytest.approx(held * whole, rel=0.01, abs=held**2 / 10)
    most = 0.01 * share * whole + share * (1 - share) * (read_noise_e > 0)
    assert abs(np.cov(rest, part)[0, 1]) < most


def test_thinning_splits_every_photon_and_repeats():
    electrons = np.random.default_rng(3).poisson(5.0, (40, 30)).astype(np.float32)
    first = thin(electrons, 0.0, numpy_rng(4, "held-out"), share=0.1)
    np.testing.assert_array_equal(sum(first), electrons)
    again = thin(electrons, 0.0, numpy_rng(4, "held-out"), share=0.1)
    np.testing.assert_array_equal(first, again)
    assert (thin(electrons, 0.0, numpy_rng(5, "held-out"), share=0.1)[1] != first[1]).any()


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize(
    ("gain", "read_noise_e", "light_e"), [(2.0, 2.0, 30.0), (0.25, 6.0, 400.0), (0.05, 0.0, 900.0)]
)
def test_parts_are_pictures_of_the_camera_that_is_told(gain, read_noise_e, light_e, share):
    """Counts of both: the light at the mean, noise as gain and read noise say, none in common."""
    rng = np.random.default_rng(1)
    electrons = rng.poisson(light_e, (500, 800)) + rng.normal(0, read_noise_e, (500, 800))
    counts = (100 + gain * electrons).round().astype(np.float32)
    facts = {"offset": 100.0, "gain": gain, "read_noise_e": read_noise_e, "dtype": "uint16"}
    parts = split(counts, facts, rng, share=share)
    for part, held in zip(parts, (share, 1 - share), strict=True):
        camera = split_camera(facts, held)
        light = held * gain * light_e
        assert part.dtype == np.float32 and part.shape == counts.shape
        assert part.mean() - camera["offset"] == pytest.approx(light, rel=0.01)
        noise = gain * light + (gain * camera["read_noise_e"]) ** 2
        assert part.var() == pytest.approx(noise, rel=0.02)
    assert abs(np.corrcoef(parts[0].ravel(), parts[1].ravel())[0, 1]) < 0.01


def test_what_is_no_photon_count_is_empty_in_both_parts():
    counts = np.full((8, 8), 150, np.float32)
    counts[0, :4] = np.nan, np.inf, 0, 96  # far below the offset; within the noise
    facts = {"offset": 100.0, "gain": 1.0, "read_noise_e": 2.0, "dtype": "float32"}
    for part in split(counts, facts, np.random.default_rng(0), share=0.3):
        assert np.isnan(part[0, :3]).all() and np.isfinite(part).sum() == 61
        assert part[0, 3] < part[1:].min()
