"""Frames are denoised by a network that learned from them alone, and what it leaves is correlated."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from isoplan.applications.fluctuation import denoising, likelihood, simulator
from isoplan.applications.fluctuation.camera import Camera

STEPS = 150
SETTINGS = simulator.Settings(density_per_um=10, shape=(18, 21), frames=120)


@dataclass(frozen=True)
class Perfect(Camera):
    """Without noise, in electrons."""

    def expose(self, mean_e, rng):
        return mean_e


@pytest.fixture(scope="module")
def clean():
    still = replace(SETTINGS, camera=Perfect())
    out = np.empty((SETTINGS.frames, *SETTINGS.shape), np.float32)
    return simulator.simulate(still, 0, out=out).counts


@pytest.fixture(scope="module")
def noisy():
    return SETTINGS.camera.electrons(simulator.simulate(SETTINGS, 0).counts)


@pytest.fixture(scope="module")
def made(noisy):
    return denoising.denoise(noisy, SETTINGS.camera, steps=STEPS)


def error(frames: np.ndarray, clean: np.ndarray) -> float:
    return float(((frames - clean) ** 2).mean())


def test_sides_need_not_be_multiples_of_four(made, noisy):
    assert made.frames.shape == noisy.shape and made.frames.dtype == np.float32


def test_denoised_frames_are_nearer_to_the_truth(made, noisy, clean):
    smoothest = np.broadcast_to(noisy.mean(axis=0), noisy.shape)
    assert error(made.frames, clean) < 0.5 * min(error(noisy, clean), error(smoothest, clean))


def test_the_elbo_rises(made):
    assert len(made.elbo) == STEPS
    assert made.elbo[-20:].mean() > made.elbo[:20].mean() + 0.1


def test_the_seed_alone_decides(noisy):
    first, again, other = (
        denoising.denoise(noisy, SETTINGS.camera, steps=5, seed=seed).frames for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_frames_larger_than_a_batch_are_denoised_whole(noisy):
    wide = np.tile(noisy[:60], (1, 2, 3))
    found = denoising.denoise(wide, SETTINGS.camera, steps=20, samples=1).frames
    assert found.shape == wide.shape and np.isfinite(found).all()


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (np.zeros((16, 16)), "at least two of 8 px"),
        (np.zeros((1, 16, 16)), "at least two of 8 px"),
        (np.zeros((10, 16, 7)), "at least two of 8 px"),
        (np.full((10, 16, 16), np.nan), "not finite"),
    ],
)
def test_what_cannot_be_denoised(frames, words):
    with pytest.raises(ValueError, match=words):
        denoising.denoise(frames, Camera(), steps=1)


def test_dark_frames_without_noise_stay_dark():
    made = denoising.denoise(np.zeros((50, 8, 8), np.float32), Camera(read_noise_e=0), steps=5)
    assert np.isfinite(made.elbo).all() and np.abs(made.frames).max() < 0.1


@pytest.mark.parametrize(("lag", "right"), [(1, 2 / 3), (2, 1 / 3), (3, 0.0)])
def test_correlation_of_a_moving_mean(lag, right):
    noise = np.random.default_rng(0).normal(size=(400, 34, 34))
    wide = sum(noise[:, y : y + 32, x : x + 32] for y in range(3) for x in range(3))
    assert denoising.correlation_of_neighbours(wide, lag) == pytest.approx(right, abs=0.02)


def test_what_never_varies_has_no_correlation():
    assert np.isnan(denoising.correlation_of_neighbours(np.ones((5, 8, 8))))


def test_noise_is_independent_until_it_is_denoised(noisy, made, clean):
    before, after = (
        denoising.correlation_of_neighbours(frames - clean) for frames in (noisy, made.frames)
    )
    assert abs(before) < 0.02 and after > 0.3


def test_slow_changes_are_taken_off():
    slow = np.linspace(0, 1, 200)[:, None, None] * np.ones((1, 8, 8))
    quick = np.random.default_rng(0).normal(size=(200, 8, 8))
    assert np.abs(likelihood.fast(slow)).max() < 0.2
    assert np.corrcoef(likelihood.fast(slow + quick).ravel(), quick.ravel())[0, 1] > 0.95
