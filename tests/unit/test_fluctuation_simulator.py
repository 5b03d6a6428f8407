"""Simulated sequences against the closed forms of their mean and covariance."""

from dataclasses import replace

import numpy as np
import pytest
from isoplan.applications.fluctuation import moments
from isoplan.applications.fluctuation.camera import Camera
from isoplan.applications.fluctuation.formation import Formation, Psf
from isoplan.applications.fluctuation.simulator import STRUCTURES, Settings, simulate, view
from isoplan.base.errors import UserError
from scipy import integrate

SMALL = Settings(shape=(12, 14), frames=60)
STEADY = replace(SMALL, bleaching_frames=np.inf, background_e=0.0, background_change=0.0)
EXACT = Camera(gain=100.0, offset=500.0, read_noise_e=0.0)  # rounding does not count
LONG = replace(STEADY, frames=20_000, shape=(8, 8), camera=EXACT)


@pytest.fixture(scope="module")
def long():
    """Emitters in the middles of fine pixels of 8 x 8 px, their electrons, and Psi."""
    rng = np.random.default_rng(1)
    fine = rng.integers(0, 32, (15, 2))
    positions = (fine + 0.5) / 4
    made = simulate(LONG, 3, positions=positions)
    psi = Formation.of((8, 8), LONG.psf, factor=4, border=0)
    x = np.zeros(psi.fine_shape)
    p = moments.share_on(LONG.on_frames, LONG.off_frames)
    np.add.at(x, tuple(fine.T), LONG.photons * p)
    return EXACT.electrons(made.counts).astype(float), psi, x, made


def test_autocovariance_is_the_double_integral():
    on, off = 1.5, 3.0
    p, k = moments.share_on(on, off), moments.rate(on, off)
    for n in range(3):
        area, _ = integrate.dblquad(
            lambda s, t: np.exp(-k * abs(s - t)), 0, 1, n, n + 1, epsabs=1e-6
        )
        assert moments.autocovariance(on, off, n) == pytest.approx(p * (1 - p) * area, rel=1e-3)


def test_spectrum_is_the_sum_over_lags():
    lags, f = np.arange(-200, 201), 0.13
    c = moments.autocovariance(2, 4, lags)
    assert moments.spectrum(2, 4, f) == pytest.approx((c * np.cos(2 * np.pi * f * lags)).sum())


def test_mean(long):
    electrons, psi, x, made = long
    np.testing.assert_allclose(electrons.mean(0), psi.forward(x), rtol=0.02, atol=0.1)
    np.testing.assert_allclose(made.truth.sum(), x.sum(), rtol=0.02)
    assert (made.truth[x == 0] == 0).all()


@pytest.mark.parametrize("lag", [0, 1, 2, 3])
def test_covariance_of_all_pixels(long, lag):
    electrons, psi, x, _ = long
    flat = electrons.reshape(len(electrons), -1)
    flat = flat - flat.mean(0)
    seen = flat[: len(flat) - lag].T @ flat[lag:] / (len(flat) - lag)
    kappa = moments.kappa(LONG.photons, LONG.on_frames, LONG.off_frames, lag)
    noise = psi.forward(x) if lag == 0 else 0.0
    told = moments.covariance(psi, x, kappa, noise)
    total = moments.covariance(psi, x, moments.kappa(LONG.photons, 2, 4), psi.forward(x))
    assert np.abs(seen - told).max() < 0.04 * total.max()
    assert np.linalg.norm(seen - told) < 0.04 * np.linalg.norm(total)
    assert np.linalg.norm(seen - told) < 0.3 * np.linalg.norm(told)
    if lag == 0:  # neighbours share no shot noise
        away = np.abs(np.subtract.outer(np.arange(64), np.arange(64))) == 1
        assert seen[away].sum() == pytest.approx(told[away].sum(), rel=0.03)


def test_bleaching_ends_the_light():
    settings = replace(SMALL, bleaching_frames=20.0, density_per_um=1000.0)
    made = simulate(settings, 0)
    lives = -np.expm1(-60 / 20) * 20 / 60  # of the sequence, on average
    told = moments.share_on(2, 4) * lives
    assert made.emitters.on.mean() == pytest.approx(told, rel=0.05)
    light = settings.camera.electrons(made.counts).mean((1, 2)) - made.background_e.mean()
    assert light[40] / light[0] == pytest.approx(np.exp(-2), abs=0.05)


@pytest.mark.parametrize("excess", [1.0, 2.0])
def test_noise_of_the_camera(excess):
    camera = Camera(gain=2.17, offset=100.0, read_noise_e=1.6, excess=excess)
    settings = replace(STEADY, density_per_um=0.0, background_e=50.0, frames=3000, camera=camera)
    made = simulate(settings, 0)
    electrons = camera.electrons(made.counts)
    np.testing.assert_allclose(electrons.mean(0), made.background_e, rtol=0.03)
    ratio = electrons.var(0) / camera.variance(made.background_e)
    assert ratio.mean() == pytest.approx(1, abs=0.01)
    assert made.counts.dtype == np.uint16


def test_counts_are_cut_at_16_bits():
    made = Camera(gain=10.0).expose(np.full((4, 4), 1e5), np.random.default_rng(0))
    assert (made == 65535).all()


def test_emitters_that_never_go_off_are_still():
    settings = replace(STEADY, off_frames=0.0, spread=0.5)
    made = simulate(settings, 0)
    assert (made.emitters.on == 1).all()
    assert made.emitters.brightness.std() == pytest.approx(50, rel=0.2)


def test_drift_moves_the_picture():
    settings = replace(STEADY, off_frames=0.0, drift_px=2.0, frames=200, shape=(24, 24))
    made = simulate(settings, 5, positions=np.full((200, 2), 12.0))
    light = settings.camera.electrons(made.counts)
    light = light / light.sum((1, 2), keepdims=True)
    at = np.arange(24) + 0.5
    centre = np.stack([(light.sum(2) * at).sum(1), (light.sum(1) * at).sum(1)], 1)
    np.testing.assert_allclose(centre, 12 + made.drift_px, atol=0.08)
    length = np.linalg.norm(made.drift_px[-1] - made.drift_px[0])
    assert length == pytest.approx(2) and np.abs(made.drift_px.mean(0)).max() < 1e-9
    assert np.abs(simulate(replace(SMALL, wander_px=3.0), 0).drift_px).max() > 0.3


@pytest.mark.parametrize("changes", [{}, {"drift_px": 1.0, "out_of_focus_per_um2": 20.0}])
def test_blocks_do_not_change_the_result(changes, tmp_path):
    settings = replace(SMALL, flicker=0.05, **changes)
    out = np.memmap(tmp_path / "counts", np.uint16, "w+", shape=(60, 12, 14))
    whole, parts = simulate(settings, 7), simulate(settings, 7, block=13, out=out)
    np.testing.assert_array_equal(whole.counts, out)
    np.testing.assert_allclose(whole.truth, parts.truth)
    assert (whole.counts != simulate(settings, 8).counts).any()


def test_settings_share_the_structure():
    one, other = (simulate(replace(SMALL, **c), 2) for c in ({}, {"drift_px": 1.0, "flicker": 0.1}))
    np.testing.assert_array_equal(one.emitters.y, other.emitters.y)
    np.testing.assert_array_equal(one.emitters.on, other.emitters.on)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_structures(structure):
    settings = replace(SMALL, structure=structure, shape=(32, 32), density_per_um=400.0, frames=5)
    made = simulate(settings, 0)
    length_um = sum(np.hypot(*np.diff(c, axis=0).T).sum() for c in made.curves) * 0.1
    points = np.stack([made.emitters.y, made.emitters.x], 1)
    assert len(points) <= 1.1 * length_um * 400
    steps = np.concatenate(
        [c[0] + (c[-1] - c[0]) * np.linspace(0, 1, 200)[:, None] for c in made.curves]
    )
    if structure in ("lines", "star"):
        assert len(points) == pytest.approx(length_um * 400, rel=0.05)
        apart = np.linalg.norm(points[:200, None] - steps[None], axis=2).min(1)
        assert apart.max() < 0.1
    if structure == "lines":
        first, second = made.curves[:2]
        along = (first[1] - first[0]) / np.linalg.norm(first[1] - first[0])
        away = second[0] - first[0]
        assert np.linalg.norm(away - (away @ along) * along) == pytest.approx(1.25)
    if structure == "rings":
        radii = [np.linalg.norm(c - c[:-1].mean(0), axis=1).mean() for c in made.curves]
        assert min(radii) >= 0.6 and max(radii) <= 1.5
    assert made.truth.shape == (128, 128) and made.truth.sum() > 0


@pytest.mark.parametrize("psf", [Psf(2.59), Psf(2.59, "airy")])
def test_the_view_is_that_of_the_formation(psf):
    fine = np.array([[40, 40], [3, 70], [51, 22]])
    psi = Formation.of((20, 20), psf, factor=4, border=0)
    seen = view((fine + 0.5) / 4, psf, (20, 20)).toarray()
    for (y, x), own in zip(fine, seen.T, strict=True):
        at = np.zeros(psi.fine_shape)
        at[y, x] = 1
        told = psi.forward(at)
        np.testing.assert_allclose(own.reshape(20, 20), told, atol=0.01 * told.max())


def test_wide_emitters_are_no_truth():
    plain = simulate(replace(SMALL, frames=400), 1)
    more = simulate(replace(SMALL, frames=400, out_of_focus_per_um2=100.0), 1)
    np.testing.assert_array_equal(plain.truth, more.truth)
    assert more.counts.mean() > plain.counts.mean() + 10
    assert more.counts.var(0).mean() > 1.1 * plain.counts.var(0).mean()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"structure": "cubes"}, "structure cubes: unknown; known are filaments, rings"),
        ({"photons": 0.0}, "photons is 0.0; it must be above 0"),
        ({"flicker": -1.0}, "flicker is -1.0; it must not be below 0"),
    ],
)
def test_wrong_settings(changes, words):
    with pytest.raises(UserError, match=words):
        Settings(**changes)
