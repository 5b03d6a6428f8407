"""Noise that is a raw picture's or is not, and the photons that it speaks for."""

import numpy as np
import pytest
from isoplan.optics.exposure import Exposure
from isoplan.restoration.pieces import Piece
from isoplan.restoration.raw_noise import look_at_noise, noise_beyond, noise_of_blocks
from scipy.ndimage import gaussian_filter
from skimage import data

GAIN, ALL = 2.0, np.s_[0:256, 0:256]


def piece(light: np.ndarray, *, width_px: float = 0.0, seed: int = 0) -> Piece:
    """Counts of so many photons, with PSFs said to be of such a width."""
    counts = GAIN * np.random.default_rng(seed).poisson(light).astype(np.float32)
    return Piece(counts, None, ALL, lambda factor: factor * width_px)


def camera(photons: float, blur_px: float = 0.0) -> np.ndarray:
    picture = data.camera()[128:384, 128:384] / 255 * photons
    return gaussian_filter(picture, blur_px / 2.355) if blur_px else picture


@pytest.mark.parametrize("photons", [1e2, 1e3, 1e4])
def test_blocks_of_noise_alone_tell_the_gain(photons):
    even = [piece(np.full((256, 256), photons))]
    times, alone, variance = noise_of_blocks(even, Exposure(gain=GAIN))
    assert variance == pytest.approx(GAIN**2 * photons, rel=0.15)
    assert times == pytest.approx(1, abs=0.1) and alone > 0.9
    assert look_at_noise(even, Exposure(gain=GAIN)).times == 1


def test_a_gain_that_texture_made_too_large_is_corrected():
    """A sharp picture has no frequency without detail, but some blocks with hardly any."""
    sharp = [piece(camera(1e3))]
    assert noise_beyond(sharp, Exposure(gain=GAIN)) is None
    found = look_at_noise(sharp, Exposure(gain=4 * GAIN))
    assert not found.fault and 0.2 < found.times < 0.4
    # It is never made larger.
    assert look_at_noise(sharp, Exposure(gain=GAIN / 4)).times == 1


def test_where_all_is_texture_noise_cannot_be_told():
    grain = 1e4 * (1 + 0.2 * np.random.default_rng(1).normal(size=(256, 256)))
    sizes = np.exp(gaussian_filter(np.random.default_rng(2).normal(size=(256, 256)), 16) * 40)
    textured = [piece(1e4 + (grain - 1e4) * sizes / sizes.max())]
    assert "cannot be told" in look_at_noise(textured, Exposure(gain=GAIN)).fault
    # The camera's own gain is not made too large by texture; what was smoothed has less noise than it makes.
    assert look_at_noise(textured, Exposure(gain=GAIN), gain_given=True).times == 1
    counts = gaussian_filter(textured[0].counts, 1.5)
    smoothed = [Piece(counts, None, ALL, textured[0].width_by)]
    assert look_at_noise(smoothed, Exposure(gain=GAIN), gain_given=True).fault


def test_blurred_pictures_are_judged_by_what_psfs_do_not_pass():
    blurred = [piece(camera(1e3, 4.0), width_px=4.0)]
    times, evenness = noise_beyond(blurred, Exposure(gain=GAIN))
    assert times == pytest.approx(1, abs=0.1) and evenness == pytest.approx(1, abs=0.15)
    assert look_at_noise(blurred, Exposure(gain=3 * GAIN)).times == pytest.approx(1 / 3, abs=0.05)
    smoothed = [Piece(gaussian_filter(blurred[0].counts, 0.7), None, ALL, blurred[0].width_by)]
    assert "not a raw picture's" in look_at_noise(smoothed, Exposure(gain=GAIN)).fault


def test_hardly_more_noise_than_rounding_makes_is_no_raw_pictures():
    """As of a picture that was smoothed or compressed, and whole numbers again."""
    even = piece(np.full((256, 256), 1e4))
    faint = [Piece(even.counts * 1e-3, None, ALL, even.width_by)]
    exposure = Exposure(gain=1e-3 * GAIN)
    assert not look_at_noise(faint, exposure).fault
    assert "hardly more noise than its rounding" in look_at_noise(faint, exposure, True).fault


def test_too_little_light_tells_nothing():
    """Where photons make less of the noise than the camera does."""
    dark = [piece(np.full((256, 256), 10.0))]
    assert noise_of_blocks(dark, Exposure(gain=GAIN, floor=100.0)) is None
    assert look_at_noise(dark, Exposure(gain=GAIN, floor=100.0)).times == 1
