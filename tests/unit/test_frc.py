"""Fourier ring correlation, against what noise of a known strength must give."""

import numpy as np
import pytest
from isoplan.comparison import ring_correlations, signal_to_noise
from isoplan.metrics import frc
from isoplan.metrics.image import snr
from scipy import ndimage

SIDE = frc.SQUARE_PX


def many(make, count: int = 12) -> np.ndarray:
    rng = np.random.default_rng(3)
    return frc.curve(sum(frc.ring_sums(*make(rng)) for _ in range(count)))


def test_a_picture_agrees_with_itself_at_any_brightness():
    square = np.random.default_rng(0).random((SIDE, SIDE))
    curve = frc.curve(frc.ring_sums(square, 3 * square - 1))
    np.testing.assert_allclose(curve, 1, atol=1e-12)
    assert frc.resolution_px(curve) == 2.0


def test_white_signal_in_white_noise_of_its_own_strength_correlates_by_a_half():
    def make(rng):
        signal = rng.normal(size=(SIDE, SIDE))
        return [signal + rng.normal(size=signal.shape) for _ in range(2)]

    curve = many(make)
    assert curve.mean() == pytest.approx(0.5, abs=0.01)
    assert curve[20:].std() < 0.05


def test_pictures_of_nothing_in_common_do_not_correlate():
    curve = many(lambda rng: rng.normal(size=(2, SIDE, SIDE)))
    assert abs(curve.mean()) < 0.02
    assert frc.resolution_px(np.zeros(frc.RINGS)) == np.inf
    assert (frc.curve(frc.ring_sums(np.ones((SIDE, SIDE)), np.ones((SIDE, SIDE)))) == 0).all()


def test_resolution_is_where_a_low_pass_leaves_off():
    def make(rng):
        spectrum = np.fft.rfft2(rng.normal(size=(SIDE, SIDE)))
        y, x = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None, :]
        signal = np.fft.irfft2(spectrum * (np.hypot(y, x) < 0.2))
        return [signal + 0.3 * rng.normal(size=signal.shape) for _ in range(2)]

    assert frc.resolution_px(many(make)) == pytest.approx(5.0, rel=0.05)


def test_noise_in_common_beyond_the_resolution_does_not_count():
    """A frame shares a trace of noise with its own average; the restoration without it is the better one."""
    rings = np.arange(frc.RINGS)
    frame, restored = np.where(rings < 30, 0.8, 0.06), np.where(rings < 32, 0.85, 0.0)
    assert frame.mean() > restored.mean()
    found = frc.summarise({"none": frame, "estimated": restored, "empty": np.zeros(frc.RINGS)})
    assert found["estimated"]["FRC"] == pytest.approx(0.85, abs=0.03)
    assert found["none"]["FRC"] < found["estimated"]["FRC"]
    assert found["estimated"]["FRC-resolution"] == pytest.approx(frc.SQUARE_PX / 32, rel=0.05)
    assert found["empty"] == {"FRC": 0, "FRC-resolution": np.inf}
    assert frc.summarise({"empty": np.zeros(frc.RINGS)})["empty"]["FRC"] == 0
    assert frc.summarise({}) == {}  # a mosaic without truth or reference


def test_squares_that_do_not_fit_are_errors():
    good = np.ones((SIDE, SIDE))
    for bad in (np.ones((SIDE, SIDE - 1)), np.where(np.eye(SIDE), np.nan, 1)):
        with pytest.raises(ValueError, match="finite"):
            frc.ring_sums(good, bad)


def test_blur_and_noise_lower_the_correlation_of_a_mosaic():
    rng = np.random.default_rng(1)
    truth = ndimage.gaussian_filter(rng.random((700, 900)), 1).astype(np.float32)
    poor = ndimage.gaussian_filter(truth, 2) + 0.01 * rng.random(truth.shape)
    hole = truth.copy()
    hole[:SIDE, :SIDE] = np.nan

    def reader(picture):
        return lambda y0, y1, x0, x1: picture[y0:y1, x0:x1]

    readers = {"truth": reader(truth), "none": reader(poor), "hole": reader(hole)}
    found = ring_correlations(readers, "truth", truth.shape)
    assert set(found) == {"none", "hole"}
    np.testing.assert_allclose(found["hole"], 1)
    assert found["none"].mean() < 0.7
    assert ring_correlations(readers, "truth", (200, 900)) == {}

    del readers["hole"]
    found = signal_to_noise(readers, "truth", truth.shape)
    assert found == {"none": pytest.approx(snr(poor, truth), abs=1e-6)}  # the rims included
    assert (
        signal_to_noise({"truth": reader(0 * truth), "none": reader(poor)}, "truth", (9, 9)) == {}
    )
