"""Super-resolution by the likelihood of mean and covariance: against dense matrices, and on sequences of known truth."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from isoplan.applications.fluctuation import blinking, information, likelihood, scores, simulator
from isoplan.applications.fluctuation import superresolution as sr
from isoplan.applications.fluctuation.baselines import background_of, richardson_lucy
from isoplan.applications.fluctuation.camera import Camera
from isoplan.applications.fluctuation.formation import Formation, Psf
from isoplan.applications.fluctuation.sequence import Frames
from isoplan.applications.fluctuation.settings import Settings, parts_of, prepare
from isoplan.applications.fluctuation.tiles import TILE_PX, Tiles
from isoplan.base.errors import UserError
from scipy.ndimage import convolve1d

BASE = simulator.Settings(shape=(24, 24), frames=300)
STILL = replace(BASE, off_frames=0.0, bleaching_frames=1e9)  # always on


def electrons(settings: simulator.Settings, seed: int = 0):
    made = simulator.simulate(settings, seed)
    return made, settings.camera.electrons(made.counts)


def emission(settings: simulator.Settings, frames: np.ndarray, **how) -> np.ndarray:
    """The estimate on the fine grid, without its border."""
    read = settings.camera.variance(0.0) ** 0.5
    seen = likelihood.moments(frames, read_noise_e=read, **how)
    made = likelihood.fit(seen, settings.psf, factor=settings.factor)
    cut = likelihood.BORDER_PX * settings.factor
    return made.emission[cut:-cut, cut:-cut]


def quality(x: np.ndarray, truth: np.ndarray) -> float:
    return scores.psnr(x, truth, pixel_nm=25)


@pytest.fixture(scope="module")
def base():
    made, frames = electrons(BASE)
    return made, frames, emission(BASE, frames)


# The model -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["gaussian", "airy"])
def test_sums_over_pairs_of_pixels_are_those_of_dense_matrices(shape):
    rng = np.random.default_rng(0)
    psf, n = Psf(2.4, shape), TILE_PX
    seen = likelihood.moments(rng.normal(size=(60, n, n)), read_noise_e=1.0, bands=(0.01, 0.5))
    tiles = Tiles.of(seen.views, seen.noise, psf, 2, "cpu")
    psi = Formation.of((n, n), psf, factor=2, border=likelihood.BORDER_PX)
    dense = np.einsum("rik,rjl->ijkl", psi.rows, psi.columns).reshape(n * n, -1)
    x = rng.random(psi.fine_shape)
    made = tiles.spread(seen.views[0], torch.tensor(x[None], dtype=torch.float32))[0]
    np.testing.assert_allclose(made, dense * x.ravel() @ dense.T, rtol=1e-4, atol=1e-5)
    symmetric = rng.normal(size=(n * n, 4))
    symmetric = symmetric @ symmetric.T
    energy = tiles.energy(seen.views[0], torch.tensor(symmetric[None], dtype=torch.float32))[0]
    direct = np.einsum("ik,ij,jk->k", dense, symmetric, dense).reshape(psi.fine_shape)
    np.testing.assert_allclose(energy, direct, rtol=2e-3, atol=1e-3 * direct.max())


def test_the_parts_of_the_gradient_are_those_of_the_objective(base):
    _, frames, _ = base
    seen = likelihood.moments(frames[:, :16, :16], read_noise_e=1.6, bands=(0.01, 0.5))
    tiles = Tiles.of(seen.views, seen.noise, BASE.psf, 2, "cpu")
    rng = np.random.default_rng(1)
    x, step = 5 + rng.random(tiles.fine_shape), rng.normal(size=tiles.fine_shape)
    kappa = np.array([40.0])
    up, down, _, _ = tiles.gradient(x, kappa)
    ahead, behind = (tiles.gradient(x + by * step, kappa)[3] for by in (0.05, -0.05))
    assert (ahead - behind) / 0.1 == pytest.approx(((down - up) * step).sum(), rel=0.02)


def test_every_phase_lowers_the_objective(base):
    _, frames, _ = base
    seen = likelihood.moments(frames, read_noise_e=1.6)
    told = likelihood.fit(seen, BASE.psf, factor=2, covariance_steps=8, joint_steps=8).objective
    assert told[7] < told[0] and told[-1] < told[9] < told[0]


# What it finds -------------------------------------------------------------------------------------


def test_it_is_finer_than_the_deconvolved_mean(base):
    made, frames, x = base
    psi = Formation.of(BASE.shape, BASE.psf, factor=4, border=4)
    mean = frames.mean(0)
    plain = psi.inner(richardson_lucy(mean, psi, iterations=50, background=background_of(mean)))
    assert quality(x, made.truth) > quality(plain, made.truth) + 3
    best = scores.best_jaccard(x, made.truth)[0]
    assert best > scores.best_jaccard(plain, made.truth)[0] + 0.2
    assert x.sum() == pytest.approx(made.truth.sum(), rel=0.1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_light_of_a_smooth_object_is_not_taken_for_background(seed):
    cloud = replace(BASE, structure="cloud", density_per_um=5.0)
    made, _ = electrons(cloud, seed)
    found = sr.superresolve(Frames(made.counts), Settings(BASE.psf, BASE.camera))
    truth, facts = made.truth.sum(), found.facts
    assert found.picture.sum() == pytest.approx(truth, rel=0.25)
    assert facts["emission_low_e"] < truth < facts["emission_high_e"]
    # How much of the light fluctuates is uncertain then, and that is told.
    assert (facts["explained"] < sr.EXPLAINED) == any("uncertain" in w for w in sr.describe(found))
    assert facts["explained"] < 0.9
    assert facts["emission_high_e"] <= 1.001 * found.mean.sum()


def test_drift_is_undone_in_the_model(base):
    _, _, still = base
    moving = replace(BASE, drift_px=1.5)
    made, frames = electrons(moving)
    truth, plain = made.truth, emission(moving, frames)
    parts = parts_of(made.drift_px)
    assert len(parts) > 1
    undone = emission(moving, frames, parts=parts)
    assert quality(undone, truth) > quality(plain, truth) + 1
    assert quality(undone, truth) > quality(still, base[0].truth) - 1


def test_broken_pixels_do_not_count(base):
    made, frames, x = base
    hot = frames.copy()
    hot[:, 10, 11] += 500 * np.random.default_rng(0).random(len(hot))
    broken = np.zeros(BASE.shape, bool)
    broken[10, 11] = True
    found = emission(BASE, hot, broken=broken)
    assert quality(found, made.truth) > quality(x, made.truth) - 1.5


def test_the_model_disagrees_with_a_wrong_psf(base):
    _, frames, _ = base
    seen = likelihood.moments(frames, read_noise_e=BASE.camera.variance(0.0) ** 0.5)
    told = {}
    for fwhm in (BASE.psf.fwhm_px, 1.2 * BASE.psf.fwhm_px):
        made = likelihood.fit(seen, Psf(fwhm), factor=2)
        told[fwhm] = likelihood.agreement(seen, made, Psf(fwhm), factor=2)
    right, wrong = told.values()
    assert 0.8 < right.covariance < 1.1 < right.alone and right.mean < 5
    assert wrong.mean > 3 * right.mean


def test_emitters_parameters(base):
    _, frames, _ = base
    seen = likelihood.moments(frames, read_noise_e=BASE.camera.variance(0.0) ** 0.5)
    kappa = likelihood.fit(seen, BASE.psf, factor=4).kappa
    told = blinking.fit(kappa, likelihood.BANDS, BASE.frames)
    on = BASE.on_frames / (BASE.on_frames + BASE.off_frames)
    assert told.amplitude_e == pytest.approx((1 - on) * BASE.photons, rel=0.1)
    assert told.rate == pytest.approx(1 / BASE.on_frames + 1 / BASE.off_frames, rel=0.25)


def test_a_fit_that_has_nothing_to_find_stays_finite():
    frames = electrons(replace(STILL, shape=(20, 20), frames=100, drift_px=1.0, flicker=0.05))[1]
    assert np.isfinite(emission(STILL, frames)).all()


# Whether there is something to find ----------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("disturbed", [{}, {"drift_px": 1.0, "flicker": 0.05}])
def test_what_does_not_fluctuate_is_refused(disturbed, seed):
    found = information.look(electrons(replace(STILL, **disturbed), seed)[1], STILL.psf)
    assert not found.enough and "do not fluctuate together" in found.reason
    assert abs(found.kappa) < 4 * found.error  # the error is that of chance


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"photons": 20.0},
        {"background_e": 100.0, "density_per_um": 10.0},
        {"structure": "rings"},
    ],
)
def test_what_fluctuates_is_not_refused(how):
    found = information.look(electrons(replace(BASE, **how), 2)[1], BASE.psf)
    assert found.enough, found.reason
    assert found.map.shape == BASE.shape and found.map.max() > 5


def test_noise_that_was_filtered_along_rows_is_not_the_psf_s():
    _, frames = electrons(STILL)
    smooth = convolve1d(frames, [0.25, 0.5, 0.25], axis=2)
    found = information.look(smooth, STILL.psf)
    assert not found.enough and "not shaped as the PSF" in found.reason


def test_pixels_that_were_filled_are_no_evidence():
    """The median of their surroundings varies with these."""
    rng = np.random.default_rng(0)
    counts = simulator.simulate(STILL, 3).counts
    broken = rng.random(STILL.shape) < 0.05
    settings = Settings(STILL.psf, STILL.camera, broken=broken)
    core = (slice(0, 24), slice(0, 24))
    found = sr.weigh([sr.evidence(Frames(counts), core, settings)], STILL.shape)
    assert abs(found.kappa) < 4 * found.error


def test_blocks_with_halos_count_every_pair_once(monkeypatch):
    made = simulator.simulate(replace(STILL, shape=(24, 48), frames=100), 1)
    frames, settings = Frames(made.counts), Settings(STILL.psf, STILL.camera)
    (whole,) = (sr.evidence(frames, core, settings) for core in sr.cores(frames.shape))
    monkeypatch.setattr(sr, "CORE_PX", 24)
    parts = [sr.evidence(frames, core, settings) for core in sr.cores(frames.shape)]
    assert len(parts) == 2
    np.testing.assert_array_equal(sum(one.totals[:, -1] for one in parts), whole.totals[:, -1])
    alone = information.conclude([whole], whole.map)
    assert sr.weigh(parts, frames.shape).error == pytest.approx(alone.error, rel=0.2)


# The whole -----------------------------------------------------------------------------------------


def test_squares_fit_together(monkeypatch):
    wide = simulator.simulate(replace(BASE, shape=(24, 48), frames=200), 4)
    frames = Frames(wide.counts)
    camera = BASE.camera
    whole = sr.superresolve(frames, Settings(BASE.psf, camera, factor=2))
    monkeypatch.setattr(sr, "CORE_PX", 24)
    assert len(sr.cores(frames.shape)) == 2
    split = sr.superresolve(frames, Settings(BASE.psf, camera, factor=2))
    near = np.s_[:, 44:52]  # beside the seam
    scale = whole.picture.mean()
    assert np.abs(whole.picture - split.picture)[near].mean() < 0.25 * scale
    assert split.picture.sum() == pytest.approx(whole.picture.sum(), rel=0.05)
    assert split.facts["rate"] == pytest.approx(whole.facts["rate"], rel=0.1)


def test_without_information_the_picture_is_the_deconvolved_mean():
    made = simulator.simulate(STILL, 1)
    found = sr.superresolve(Frames(made.counts), Settings(STILL.psf, STILL.camera))
    assert not found.information.enough and found.facts is None
    np.testing.assert_array_equal(found.picture, found.deconvolved)


@pytest.mark.parametrize(
    ("counts", "psf", "words"),
    [
        (np.zeros((60, 20)), 2.5, "give a sequence of three"),
        (np.zeros((20, 24, 24)), 2.5, "has 20 frames"),
        (np.zeros((60, 8, 24)), 2.5, "at least 16 px"),
        (np.ones((60, 24, 24)), 2.5, "is constant"),
        (np.ones((60, 24, 24)), 0.8, "FWHM is 0.8 px"),
    ],
)
def test_what_cannot_be_used(counts, psf, words):
    with pytest.raises(UserError, match=words):
        prepare(Frames(counts), Psf(psf), gain=2.0, offset=0.0, read_noise_e=1.0)


def test_a_sequence_tells_its_camera_and_drift():
    made = simulator.simulate(replace(BASE, shape=(48, 48), drift_px=0.6, flicker=0.03), 3)
    settings, notes = prepare(
        Frames(made.counts), BASE.psf, gain=None, offset=100.0, read_noise_e=None
    )
    assert settings.camera.gain == pytest.approx(BASE.camera.gain, rel=0.1)
    assert len(settings.parts) > 1 and settings.flicker is not None
    assert any("drifts by" in note for note in notes)
    assert isinstance(settings.camera, Camera)


def test_an_object_that_leaves_nothing_dark_keeps_its_light():
    """Its background and its own light could be taken for one another."""
    made, frames = electrons(replace(BASE, structure="star", density_per_um=80.0))
    x = emission(BASE, frames)
    assert x.sum() == pytest.approx(made.truth.sum(), rel=0.05)
