"""What the mean of a sequence gives: splines and Richardson-Lucy."""

import numpy as np
import pytest
from fluctuation_frames import PSF
from isoplan.applications.fluctuation import baselines
from isoplan.applications.fluctuation.formation import Formation


@pytest.fixture(scope="module")
def psi() -> Formation:
    return Formation.of((16, 16), PSF, factor=4, border=3)


def test_splines_keep_place_and_light():
    at = (np.arange(20) + 0.5) / 20 - 0.5
    smooth = np.exp(-(at[:, None] ** 2 + at**2) * 30)
    fine = baselines.upsampled(smooth, 4)
    axis = (np.arange(80) + 0.5) / 80 - 0.5
    expected = np.exp(-(axis[:, None] ** 2 + axis**2) * 30) / 16
    assert fine == pytest.approx(expected, abs=1e-3 / 16)
    assert fine.dtype == np.float32 and (fine >= 0).all()


def test_richardson_lucy_keeps_light_and_finds_the_emitter(psi):
    x = np.zeros(psi.fine_shape)
    x[40, 45] = 1000
    mean = psi.forward(x)
    found = baselines.richardson_lucy(mean, psi, iterations=100)
    assert (found * psi.adjoint(np.ones(psi.shape))).sum() == pytest.approx(mean.sum(), rel=1e-4)
    assert np.unravel_index(found.argmax(), found.shape) == (40, 45)
    assert baselines.deconvolved(mean + 7, psi, background=7)[22:35, 27:40].sum() == pytest.approx(
        1000, rel=0.05
    )


def test_pixels_without_a_value_are_not_used(psi):
    x = np.random.default_rng(0).gamma(0.2, 10, psi.fine_shape)
    mean = psi.forward(x)
    mean[5, 5] = np.nan
    found = baselines.richardson_lucy(mean, psi, iterations=50)
    assert np.isfinite(found).all()
    seen = psi.forward(found)
    assert seen[5, 5] == pytest.approx(psi.forward(x)[5, 5], rel=0.3)


def test_read_noise_at_no_background(psi):
    """Where half of the values are negative, the shift keeps noise from being taken for emitters."""
    x = np.zeros(psi.fine_shape)
    x[40, 40] = 300

    def near(noise: float, seed: int) -> float:
        mean = psi.forward(x) + np.random.default_rng(seed).normal(0, 1, psi.shape)
        found = baselines.deconvolved(mean, psi, background=0, read_noise_e=noise)
        return found[20:36, 20:36].sum() / found.sum()

    shares = np.array([[near(noise, seed) for noise in (1.0, 0.0)] for seed in range(4)])
    assert shares[:, 0].min() > 0.85
    assert (shares[:, 0] > shares[:, 1] + 0.02).all()


def test_background_is_the_level_of_dark_parts(psi):
    x = np.zeros(psi.fine_shape)
    x[40:44, 20:60] = 30
    mean = psi.forward(x) + 12 + np.random.default_rng(2).normal(0, 0.2, psi.shape)
    assert baselines.background_of(mean) == pytest.approx(12, abs=0.5)
    assert baselines.background_of(mean - 30) == 0
    assert not baselines.deconvolved(np.zeros(psi.shape), psi).any()
