"""What is found of camera, drift, light and broken pixels, in simulated sequences."""

from dataclasses import replace

import numpy as np
import pytest
import zarr
from isoplan.applications.fluctuation import preparation
from isoplan.applications.fluctuation.camera import Camera
from isoplan.applications.fluctuation.formation import Psf
from isoplan.applications.fluctuation.preparation import (
    broken_pixels,
    calibrate,
    check,
    drift,
    light,
)
from isoplan.applications.fluctuation.simulator import Settings, simulate
from isoplan.base.errors import UserError
from scipy import ndimage

PILOT = Settings()  # 40 emitters per um, background 20


@pytest.fixture(scope="module")
def made():
    return simulate(PILOT, 0)


def rms(path) -> float:
    return float(np.sqrt((path**2).sum(1).mean()))


# Camera


@pytest.mark.parametrize(
    "changes",
    [{}, {"density_per_um": 160.0, "background_e": 0.0}, {"psf": Psf(2.0)}, {"drift_px": 1.5}],
)
def test_gain_and_offset(changes):
    found = calibrate(simulate(replace(PILOT, **changes), 1).counts)
    assert found.camera.gain == pytest.approx(2.17, rel=0.07)
    assert found.camera.offset == pytest.approx(100, abs=5)
    assert found.camera.read_noise_e == preparation.READ_NOISE_E
    low, high = found.gain_interval
    assert low < 2.17 < high and high - low < 0.5
    assert any("cannot be told apart" in note for note in found.notes)


def test_what_is_given_is_kept(made):
    assert calibrate(made.counts, gain=2.0, offset=90.0, read_noise_e=3.0).camera == Camera(
        2.0, 90.0, 3.0
    )
    assert calibrate(made.counts, gain=2.17).camera.offset == pytest.approx(100, abs=2)
    # The read noise from the offset: no better than the line tells.
    assert calibrate(made.counts, gain=2.17, offset=100.0).camera.read_noise_e < 3.5
    noise = calibrate(made.counts, gain=2.17, offset=120.0).camera.read_noise_e
    assert noise > 2.5
    wrong = calibrate(made.counts, gain=2.17, offset=80.0)
    assert any("offset or gain is wrong" in note for note in wrong.notes)


def test_gain_behind_a_register():
    camera = Camera(excess=2.0)
    found = calibrate(simulate(replace(PILOT, camera=camera), 0).counts, excess=2.0)
    assert found.camera.gain == pytest.approx(2.17, rel=0.07)
    assert not any("EMCCD" in note for note in found.notes)


def test_intervals_hold():
    """Of 95 % intervals, with 10 groups, few miss."""
    settings = replace(PILOT, frames=150)
    inside = 0
    for seed in range(20):
        low, high = calibrate(simulate(settings, seed).counts).gain_interval
        inside += low < 2.17 < high
    assert inside >= 17


def test_a_gain_that_cannot_be_told():
    flat = np.random.default_rng(0).poisson(200, (100, 32, 32))
    with pytest.raises(UserError, match="give the camera's gain"):
        calibrate(flat)
    assert calibrate(flat, gain=1.0, read_noise_e=0.0).camera.offset == pytest.approx(0, abs=5)


def test_processed_frames_are_told(made):
    smooth = ndimage.gaussian_filter(made.counts.astype(float), (0, 0.5, 0.5))
    assert any("CAUTION" in note for note in calibrate(smooth, gain=2.17).notes)
    assert not any("CAUTION" in note for note in calibrate(made.counts).notes)


# Drift


@pytest.mark.parametrize("length", [0.5, 1.5])
def test_a_straight_drift(length):
    for seed in range(2):
        made = simulate(replace(PILOT, drift_px=length), seed)
        found = drift(made.counts)
        assert rms(found.path_px - made.drift_px) < 0.08
        assert found.length_px > 0.5 * length
        assert rms(found.error_px) < 0.04


@pytest.mark.parametrize(
    "changes", [{"density_per_um": 10.0, "background_e": 100.0}, {"bleaching_frames": 300.0}]
)
def test_an_uneven_background_is_no_drift(changes):
    """What lies before it bleaches or is dim, and it stays."""
    made = simulate(replace(PILOT, drift_px=0.5, **changes), 0)
    assert rms(drift(made.counts).path_px - made.drift_px) < 0.08


def test_no_drift_and_a_walk(made):
    assert rms(drift(made.counts).path_px) < 0.04
    walk = simulate(replace(PILOT, wander_px=1.0, drift_px=0.5), 1)
    assert rms(drift(walk.counts).path_px - walk.drift_px) < 0.12


def test_broken_pixels_do_not_hold_the_picture():
    made = simulate(replace(PILOT, drift_px=1.5), 0)
    counts, broken = made.counts.copy(), np.zeros((32, 32), bool)
    for y, x in ((10, 11), (20, 7), (25, 25)):
        counts[:, y, x] = 3000 + np.arange(500) % 3
        broken[y, x] = True
    assert rms(drift(counts, broken=broken).path_px - made.drift_px) < 0.08


def test_a_dead_pixel_does_not_rule(made):
    counts = made.counts.copy()
    counts[:, 10, 11] = 100
    assert rms(drift(counts).path_px) < 0.04
    assert light(counts, offset=100.0).error_sd < 0.02


# Light


def test_flicker_and_bleaching():
    made = simulate(replace(PILOT, flicker=0.03, bleaching_frames=300.0, background_change=0.0), 0)
    found = light(made.counts, offset=100.0)
    assert found.flicker_sd == pytest.approx(0.03, abs=0.006)
    assert np.corrcoef(found.flicker, made.light)[0, 1] > 0.85
    assert 0.05 < found.lost < 0.8 and found.trend.mean() == pytest.approx(1)
    assert ((found.best / found.trend).std()) < found.flicker.std()


def test_no_flicker(made):
    found = light(made.counts, offset=100.0)
    assert found.flicker_sd < 0.008 and found.error_sd < 0.02
    assert np.abs(found.best / found.trend - 1).max() < 0.03


# Broken pixels


def test_broken_pixels(made):
    camera = PILOT.camera
    assert not broken_pixels(made.counts, camera).any.any()
    counts = made.counts.copy()
    rng = np.random.default_rng(0)
    counts[:, 5, 6] += 500  # bright
    counts[:, 30, 15] = 100  # dead
    noisy = np.rint(rng.normal(0, 60, (2, 500))).astype(int)
    for (y, x), noise in zip(((12, 20), (0, 0)), noisy, strict=True):
        counts[:, y, x] = np.maximum(counts[:, y, x] + noise, 0)
    found = broken_pixels(counts, camera)
    assert found.by_mean[5, 6] and not found.by_variance[5, 6]
    assert found.any[30, 15]
    assert found.by_variance[12, 20] and found.by_variance[0, 0]
    assert found.any.sum() <= 5


@pytest.mark.parametrize(
    "changes", [{"density_per_um": 2.0}, {"psf": Psf(2.0), "structure": "rings"}]
)
def test_single_emitters_are_not_broken(changes):
    for seed in range(4):
        settings = replace(PILOT, background_e=2.0, **changes)
        assert not broken_pixels(simulate(settings, seed).counts, settings.camera).any.any()


# What is read


def test_blocks_and_stores_do_not_change_the_result(made, tmp_path, monkeypatch):
    store = zarr.create_array(tmp_path / "frames.zarr", data=made.counts, chunks=(50, 32, 32))

    def all_of(frames):
        check(frames)
        found, path = calibrate(frames), drift(frames)
        broken = broken_pixels(frames, found.camera).any
        return np.concatenate(
            [[found.camera.gain], path.path_px.ravel(), light(frames).best, broken.ravel()]
        )

    whole = all_of(made.counts)
    monkeypatch.setattr(preparation, "BLOCK_VALUES", 37 * 32 * 32)
    np.testing.assert_allclose(all_of(store), whole, rtol=1e-6, atol=1e-6)


GOOD = np.random.default_rng(0).poisson(50, (60, 16, 20)).astype(np.uint16)


def wrong(change):
    frames = GOOD.astype(float)
    change(frames)
    return frames


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (GOOD[0], "one frame"),
        (GOOD[:1], "one frame"),
        (GOOD[:5], "there are 5 frames"),
        (GOOD[:, :4], "too small"),
        (np.stack([GOOD] * 3, -1), "as of colours or channels"),
        (np.stack([GOOD] * 2, 1), "as of colours or channels"),
        (np.moveaxis(GOOD[:3], 0, -1), "as of colours or channels"),
        (np.full_like(GOOD, 7), r"frame 0 is constant \(all 7\)"),
        (wrong(lambda f: f.__setitem__(9, 3)), r"frame 9 is constant \(all 3\)"),
        (np.repeat(GOOD[:1], 60, 0), "frame 1 is a copy of the one before"),
        (wrong(lambda f: f.__setitem__(31, f[30])), "frame 31 is a copy"),
        (
            wrong(lambda f: f.__setitem__((8, 2, 3), np.nan)),
            "frame 8 has 1 values that are not finite",
        ),
        (np.minimum(GOOD, 55), "% of the values are 55, the largest one: the frames are saturated"),
    ],
)
def test_bad_frames(frames, words, monkeypatch):
    monkeypatch.setattr(preparation, "BLOCK_VALUES", 10 * 16 * 20)
    with pytest.raises(UserError, match=words):
        check(frames)


def test_good_frames():
    check(GOOD)
    stuck = GOOD.copy()
    stuck[:, 3, 4] = 65535  # a broken pixel is no saturation
    check(stuck)
