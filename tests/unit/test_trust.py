"""The map of trust: what noise gives, what wrong PSFs and unknown light give, and where nothing is said."""

import numpy as np
import pytest
import torch
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.restoration import trust
from isoplan.restoration.richardson_lucy import richardson_lucy
from scipy import ndimage

GAIN, FLOOR, SIZE = 2.0, 16.0, 32


def judged(counts, seen, **changes) -> dict[str, np.ndarray]:
    """Channel by its name; everything is known and nothing spoilt but for `changes`."""
    every = np.ones(counts.shape, bool)
    grid = [-(-length // changes.get("size", SIZE)) for length in counts.shape]
    given = {"usable": every, "lone": ~every, "saturated": ~every}
    given |= {"noise": (GAIN, FLOOR), "size": SIZE, "iterations": 10}
    given |= dict.fromkeys(("uncertainty", "filled", "other_blur"), np.zeros(grid)) | changes
    cells = trust.assess(counts, seen, **given)
    assert cells.shape == (len(trust.CHANNELS), *grid) and cells.dtype == np.float32
    return dict(zip(trust.NAMES, cells, strict=True))


def exposed(light, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    read = rng.normal(0, FLOOR**0.5, light.shape)
    return (GAIN * rng.poisson(light / GAIN) + read).astype(np.float32)


def ramp(shape, low, high) -> np.ndarray:
    return np.broadcast_to(np.linspace(low, high, shape[1], dtype=np.float32), shape).copy()


@pytest.mark.parametrize("light", [0.5, 20.0, 1e4])
def test_noise_agrees_with_the_truth(light):
    """In the dark and in the light: chi-square and spectrum at 1, no correlation, no cell doubted."""
    seen = ramp((640, 640), light, 3 * light)
    cells = judged(exposed(seen), seen)
    assert cells["chi_square"].mean() == pytest.approx(1, abs=0.01)
    assert abs(cells["correlation"].mean()) < 0.005
    for band in trust.BANDS:
        assert cells[f"spectrum_{band}"].mean() == pytest.approx(1, abs=0.02)
    assert not cells["doubt"].any()


def test_limits_are_passed_by_noise_as_seldom_as_said():
    """One-sided, 1 of 1000 cells passes each: of 10,000 cells of pure noise neither 0 nor 40 do."""
    size = SIZE * 100
    seen = np.full((size, size), 100, np.float32)
    rng = np.random.default_rng(0)
    counts = (GAIN * (rng.poisson(seen / GAIN) + rng.normal(0, 2, seen.shape))).astype(np.float32)
    cells = judged(counts, seen)
    spread = 2 + GAIN**2 / (GAIN * 100 + FLOOR)
    over = cells["chi_square"] > 1 + trust.QUANTILE * (spread / SIZE**2) ** 0.5
    assert 1 <= over.sum() <= 40
    pairs = 2 * SIZE * (SIZE - 1)
    assert 1 <= (cells["correlation"] > trust.QUANTILE / pairs**0.5).sum() <= 40


def test_bands_hold_what_lies_in_them():
    seen = np.full((SIZE, 3 * SIZE), 1000, np.float32)
    x = np.arange(3 * SIZE)
    for number, frequency in enumerate((3, 6, 12)):
        wave = 300 * np.cos(2 * np.pi * frequency * x / SIZE)
        cells = judged((exposed(seen) + wave).astype(np.float32), seen)
        powers = [float(cells[f"spectrum_{name}"].min()) for name in trust.BANDS]
        assert int(np.argmax(powers)) == number and powers[number] > 1.2


def blur_of(width: float, shape) -> SpaceVariantBlur:
    axis = torch.arange(15) - 7.0
    line = torch.exp(-4 * np.log(2) * (axis / width) ** 2)
    psf = line[:, None] * line
    return SpaceVariantBlur((psf / psf.sum())[None, None], [0.0], [0.0], shape)


def test_wrong_psfs_and_unknown_light_are_found():
    """Cells with the true PSF agree; with one too wide, or beside light that comes from nowhere in the
    model (a mote that darkens pixels sharply), they do not; with one too narrow they agree."""
    shape = (256, 256)
    true = blur_of(4.0, shape)
    rng = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(rng.random(true.object_shape), 1.5) > 0.5
    sharp = torch.from_numpy(500 + 8000.0 * texture).float()
    counts = torch.from_numpy(exposed(true.forward(sharp).numpy()))
    mote = counts.clone()
    mote[100:110, 100:140] *= 0.5
    shares = {}
    for name, width, picture in (
        ("true", 4.0, counts), ("narrow", 3.0, counts), ("wide", 7.0, counts), ("mote", 4.0, mote)
    ):  # fmt: skip
        blur = blur_of(width, shape)
        x = richardson_lucy(
            picture, blur, start=float(picture.mean()), scale=8500.0, shift=FLOOR / GAIN
        )
        cells = judged(picture.numpy(), blur.forward(x).numpy())
        shares[name] = cells["doubt"] == trust.DISAGREES
    assert shares["true"].mean() < 0.05 and shares["narrow"].mean() < 0.05
    assert shares["wide"].mean() > 0.9
    where = np.argwhere(shares["mote"])
    assert len(where) and (where[:, 0] == 3).all() and set(where[:, 1]) <= {3, 4}


@pytest.mark.parametrize("iterations", [20, 40])
def test_psfs_too_wide_are_found_after_many_iterations(iterations):
    """The restoration has followed the noise by then: chi-square alone says that all is well."""
    shape = (256, 256)
    true = blur_of(3.0, shape)
    texture = ndimage.gaussian_filter(np.random.default_rng(0).random(true.object_shape), 1.5) > 0.5
    counts = exposed(true.forward(torch.from_numpy(500 + 8000.0 * texture).float()).numpy())
    found = {}
    for width in (3.0, 5.0):
        blur = blur_of(width, shape)
        x = richardson_lucy(
            torch.from_numpy(counts), blur, iterations=iterations, start=float(counts.mean()),
            scale=8500.0, shift=FLOOR / GAIN,
        )  # fmt: skip
        found[width] = judged(counts, blur.forward(x).numpy(), size=64, iterations=iterations)
    assert not found[3.0]["doubt"].any() and found[3.0]["missed"].max() < 1e-3
    assert (found[5.0]["doubt"] == trust.DISAGREES).all()


@pytest.mark.parametrize("strength", [1.0, 1.5])
def test_noise_stronger_than_said_misses_nothing(strength):
    """Whatever the gain's error: the outermost rings of the spectrum tell how strong noise is."""
    seen = np.full((640, 640), 1000, np.float32)
    noise = np.random.default_rng(0).normal(0, 1, seen.shape)
    counts = (seen + strength * noise * np.sqrt(GAIN * seen + FLOOR)).astype(np.float32)
    cells = judged(counts, seen, size=64, iterations=40)
    assert (cells["missed"] == 0).mean() > 0.97


def test_pixels_that_say_nothing_are_left_out():
    """Whatever bad and saturated pixels hold; cells of too few others are not judged."""
    seen = np.full((2 * SIZE, 2 * SIZE), 1000, np.float32)
    counts = exposed(seen)
    lone, saturated = np.zeros((2, *seen.shape), bool)
    lone[3, 3], lone[5, 40], saturated[40:50, 3:13] = True, True, True
    saturated[SIZE:, SIZE:][:20] = True
    spoilt = np.where(lone, np.nan, np.where(saturated, 65535, counts)).astype(np.float32)
    cells = judged(spoilt, seen, usable=~lone, lone=lone, saturated=saturated)
    np.testing.assert_array_equal(cells["lone_pixels"], [[1, 1], [0, 0]])
    np.testing.assert_array_equal(cells["saturated_pixels"], [[0, 0], [100, 20 * SIZE]])
    judged_cells = np.isfinite(cells["chi_square"])
    np.testing.assert_array_equal(judged_cells, [[True, True], [True, False]])
    assert np.abs(cells["chi_square"][judged_cells] - 1).max() < 0.3
    assert not cells["doubt"].any()


def test_the_last_cells_may_be_cut_short():
    seen = np.full((SIZE + 20, SIZE + 3), 1000, np.float32)
    cells = judged(exposed(seen), seen)
    expected = [[True, False], [True, False]]
    np.testing.assert_array_equal(np.isfinite(cells["chi_square"]), expected)


def test_without_noise_known_nothing_disagrees():
    seen = ramp((64, 64), 100, 200)
    cells = judged(
        exposed(seen) + 50 * np.sin(np.arange(64) / 4, dtype=np.float32), seen, noise=None
    )
    for name in ("chi_square", "unexplained", "missed"):
        assert np.isnan(cells[name]).all()
    assert (cells["correlation"] > 0.1).all() and not cells["doubt"].any()
    found = trust.summarise(np.stack(list(cells.values())))
    assert found["disagreeing_cells_share"] is None and found["residual_chi_square"] is None
    assert found["doubted_cells_share"] == 0


def test_psfs_that_are_not_sure_are_doubted():
    seen = np.full((SIZE, 3 * SIZE), 100, np.float32)
    cells = judged(
        exposed(seen),
        seen,
        uncertainty=np.array([[0.2, 0.6, np.nan]]),
        filled=np.array([[1, 0, 0]]),
    )
    np.testing.assert_array_equal(cells["doubt"], [[1, 1, 0]])
    found = trust.summarise(np.stack(list(cells.values())))
    assert found["doubted_cells_share"] == pytest.approx(2 / 3)
    other = judged(seen, seen, other_blur=np.array([[0.9, 0.3, np.nan]]))
    np.testing.assert_array_equal(other["doubt"], [[1, 0, 0]])
    assert found["disagreeing_cells_share"] == 0
    assert found["residual_chi_square"] == pytest.approx(1, abs=0.2)


def test_cells_divide_cores():
    assert trust.cell_px(64, 1024) == 64 and trust.cell_px(96, 1024) == 32
    assert trust.cell_px(1024, 256) == 256
