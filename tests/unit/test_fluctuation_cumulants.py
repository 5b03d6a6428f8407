"""SOFI against closed forms: k-statistics, the cumulants of blinking light, one emitter between the pixels."""

from itertools import combinations, product

import numpy as np
import pytest
from fluctuation_frames import PSF, filaments, scene
from isoplan.applications.fluctuation import cumulants
from isoplan.applications.fluctuation.blocks import blocks, deviations, mean_of
from isoplan.applications.fluctuation.cumulants import auto_cumulant, cross_cumulant, sofi
from scipy.stats import kstat

ORDERS = (2, 3, 4)
P = 1 / 3  # share of time that emitters are on
OF_BERNOULLI = {
    2: P * (1 - P),
    3: P * (1 - P) * (1 - 2 * P),
    4: P * (1 - P) * (1 - 6 * P * (1 - P)),
}


@pytest.mark.parametrize("order", ORDERS)
def test_auto_cumulants_are_k_statistics(order):
    frames = np.random.default_rng(0).gamma(2, 3, (60, 2, 3))
    whole = [kstat(frames[:, y, x], order) for y, x in product(range(2), range(3))]
    found = auto_cumulant(frames, order, block=60)
    assert found.ravel() == pytest.approx(whole, rel=1e-4)
    halves = [auto_cumulant(frames[part], order) for part in (slice(30), slice(30, 60))]
    assert auto_cumulant(frames, order, block=30) == pytest.approx(np.mean(halves, axis=0))


@pytest.mark.parametrize("order", ORDERS)
def test_shot_and_read_noise_come_off(order):
    rng = np.random.default_rng(1)
    shape = (200_000, 2, 2)
    light = 20 * (rng.random(shape) < P) + 3
    frames = rng.poisson(light) + rng.normal(0, 1.6, shape)
    found = auto_cumulant(frames, order, block=50_000, read_noise_e=1.6).mean()
    assert found == pytest.approx(OF_BERNOULLI[order] * 20**order, rel=0.05)
    if order == 2:
        assert auto_cumulant(frames, 2).mean() == pytest.approx(
            OF_BERNOULLI[2] * 400 + light.mean() + 1.6**2, rel=0.02
        )


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("at", [(4.5, 4.5), (4.1, 5.3)])
def test_one_emitter_gives_the_power_of_its_psf(order, at):
    """On the finer grid, exactly, wherever the emitter lies: so the distance factor is right."""
    sigma, pixels = 1.2, np.arange(10) + 0.5
    h = np.exp(-((pixels[:, None] - at[0]) ** 2 + (pixels - at[1]) ** 2) / (2 * sigma**2))
    on = (np.random.default_rng(2).random(80) < 0.4).astype(float)
    found = cross_cumulant(100 * on[:, None, None] * h, order, sigma, block=80)
    assert found.shape == (9 * order + 1,) * 2
    finer = np.arange(9 * order + 1) / order + 0.5
    power = np.exp(-order * ((finer[:, None] - at[0]) ** 2 + (finer - at[1]) ** 2) / (2 * sigma**2))
    expected = kstat(on, order) * 100.0**order * power
    seen = np.isfinite(found)
    assert seen[order:-order, order:-order].all()
    np.testing.assert_allclose(found[seen], expected[seen], atol=1e-4 * abs(expected).max())


def test_different_pixels_share_no_noise():
    rng = np.random.default_rng(3)
    frames = rng.poisson(50, (2000, 8, 8)) + rng.normal(0, 2, (2000, 8, 8))
    found = cross_cumulant(frames, 2, 1.2)
    assert abs(np.nanmean(found)) < 1
    assert auto_cumulant(frames, 2).mean() == pytest.approx(54, rel=0.02)


@pytest.mark.parametrize("order", ORDERS)
def test_the_closest_sets_of_different_pixels_are_combined(order):
    sets = cumulants._combinations(order)
    kinds = {tuple(np.sum(pixels, axis=0) % order) for pixels, _ in sets}
    assert kinds == set(product(range(order), repeat=2))
    assert len({pixels for pixels, _ in sets}) == len(sets)
    for pixels, spread in sets:
        assert len(set(pixels)) == order
        apart = [np.sum(np.subtract(a, b) ** 2) for a, b in combinations(pixels, 2)]
        assert spread == pytest.approx(sum(apart) / order, abs=1e-5)
    if order == 2:
        assert {spread for _, spread in sets} == {0.5, 1, 2}  # halves of 1, 2 and 4 px^2


@pytest.mark.parametrize(("order", "cross"), [(2, True), (2, False), (3, True)])
def test_light_of_an_emitter_is_found(order, cross):
    made = scene(np.array([[8.1, 8.1]]), 16, np.random.default_rng(4), background=2)
    keys = {"cross": cross, "read_noise_e": None if cross else 1.6}
    found = sofi(made.frames, PSF, order=order, iterations=100, **keys)
    assert found.shape == (64, 64) and found.dtype == np.float32
    assert np.unravel_index(found.argmax(), found.shape) == (32, 32)
    near = found[24:40, 24:40].sum()
    assert near == pytest.approx(OF_BERNOULLI[order] * 100**order, rel=0.3)
    linear = sofi(made.frames, PSF, order=order, iterations=100, linear=True, **keys)
    assert linear == pytest.approx(found ** (1 / order), rel=1e-4)


def test_it_is_sharper_than_the_mean():
    rng = np.random.default_rng(5)
    two = np.array([[8.0, 7.0], [8.0, 9.4]])
    made = scene(two, 16, rng, background=5)
    mean = mean_of(made.frames)[7:9, 5:12].sum(axis=0)
    assert (np.diff(np.sign(np.diff(mean))) != 0).sum() == 1  # one peak
    profile = sofi(made.frames, PSF)[30:34].sum(axis=0)
    assert min(profile[26:30].max(), profile[36:40].max()) > 2 * profile[32:34].max()


def test_slow_changes_do_not_count():
    slow = np.linspace(100, 50, 1000)[:, None, None] * np.ones((1, 5, 5))
    assert np.nanmax(cross_cumulant(slow, 2, 1.2, block=50)) < 5
    assert np.nanmin(cross_cumulant(slow, 2, 1.2, block=1000)) > 200


def test_memory_does_not_grow_with_the_sequence():
    class Lazy:
        shape = (1001, 4, 4)
        asked = 0

        def __len__(self):
            return 1001

        def __getitem__(self, part):
            self.asked = max(self.asked, part.stop - part.start)
            return np.ones((part.stop - part.start, 4, 4))

    lazy = Lazy()
    assert mean_of(lazy) == pytest.approx(1)
    assert sum(len(parts) for _, parts in deviations(lazy)) == 1001
    assert lazy.asked == 101


@pytest.mark.parametrize(
    ("frames", "order", "says"),
    [
        (np.zeros((9, 4, 4)), 5, "order 5"),
        (np.zeros((2, 4, 4)), 2, "2 frames are too few"),
        (np.zeros((9, 4)), 2, "t, y, x"),
        (np.zeros((0, 4, 4)), 2, "t, y, x"),
    ],
)
def test_what_is_no_sequence_is_refused(frames, order, says):
    with pytest.raises(ValueError, match=says):
        auto_cumulant(frames, order)


def test_a_dark_sequence_gives_a_dark_picture():
    assert not sofi(np.zeros((50, 6, 6)), PSF).any()


def test_the_simulator_keeps_light():
    rng = np.random.default_rng(6)
    made = scene(filaments(16, 4, rng), 16, rng, background=10, frames=200)
    assert len(list(blocks(made.frames))) == 2
    seen, true = mean_of(made.frames).sum() - 10 * 256, made.truth.sum()
    assert 0.75 * true < seen < 1.01 * true  # some light falls beside the picture
