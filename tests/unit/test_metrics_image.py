"""Image metrics against scikit-image, direct sums, and themselves block by block."""

import math

import numpy as np
import pytest
from isoplan.metrics import image
from isoplan.metrics.image import HALO_PX, SUMS, cell_sums, metrics_of
from isoplan.mosaic.tiles import inside, shards, with_halo
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

RANGE = 255.0


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    truth = rng.random((143, 171)).cumsum(0).cumsum(1) % 200 + 20
    return (truth + rng.normal(0, 12, truth.shape)).astype(np.float32), truth.astype(np.float32)


def tiled(picture, truth, core_px, valid=None, halo=HALO_PX, cell_px=13):
    """Metrics from the sums of blocks, in any order."""
    parts = []
    for core in reversed(shards(picture.shape, core_px)):
        outer = with_halo(core, halo, picture.shape)
        block = cell_sums(
            picture[outer],
            None if truth is None else truth[outer],
            data_range=RANGE,
            cell_px=cell_px,
            core=inside(core, outer),
            valid=None if valid is None else valid[outer],
        )
        parts.append(block.reshape(len(SUMS), -1))
    found = metrics_of(np.concatenate(parts, axis=1), RANGE)
    del found["Mean"]
    return found


def of_whole(picture, truth=None, valid=None, data_range=RANGE):
    """Metrics of a picture in one block of one cell."""
    size = max(picture.shape)
    sums = cell_sums(picture, truth, data_range=data_range, cell_px=size, valid=valid)
    return metrics_of(sums, data_range)


def test_equal_to_scikit_image(pair):
    picture, truth = (array.astype(np.float64) for array in pair)
    found = of_whole(picture, truth)
    expected = structural_similarity(
        picture,
        truth,
        data_range=RANGE,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert found["SSIM"] == pytest.approx(expected, rel=1e-12)
    expected = peak_signal_noise_ratio(truth, picture, data_range=RANGE)
    assert found["PSNR"] == pytest.approx(expected, rel=1e-12)


def test_direct_sums():
    picture, truth = np.array([[1.0, 2], [3, 6]]), np.array([[1.0, 4], [3, 2]])
    found = of_whole(picture, truth)
    assert found["MSE"] == (4 + 16) / 4
    assert found["CV"] == pytest.approx(math.sqrt(14 / 4) / 3)
    assert found["SNR"] == image.snr(picture, truth) == pytest.approx(10 * math.log10(30 / 20))


def test_gradient_of_a_ramp_is_eight_times_its_slope():
    y, x = np.mgrid[:20, :30].astype(float)
    magnitude = image.gradient_magnitude(3 * x + 4 * y)
    np.testing.assert_allclose(magnitude[1:-1, 1:-1], 8 * 5)
    assert of_whole(2 * x, x)[
        "gradient-MSE"
    ]  # edges are mirrored, so only the inner part is exact:
    inner = (slice(1, -1), slice(1, -1))
    valid = np.zeros(x.shape, bool)
    valid[inner] = True
    assert of_whole(3 * x + 4 * y, valid=valid)["Sharpness"] == pytest.approx(40)
    assert of_whole(2 * x, x, valid)["gradient-MSE"] == pytest.approx(64)


def test_sobel_kernels_are_the_printed_ones():
    point = np.zeros((5, 5))
    point[2, 2] = 1
    expected = np.hypot([[1, 0, -1], [2, 0, -2], [1, 0, -1]], [[1, 2, 1], [0, 0, 0], [-1, -2, -1]])
    np.testing.assert_allclose(image.gradient_magnitude(point)[1:4, 1:4], expected)


def test_a_perfect_picture(pair):
    result = tiled(pair[1], pair[1], 64)
    assert result["MSE"] == result["gradient-MSE"] == 0
    assert result["SSIM"] == pytest.approx(1, abs=1e-12)
    assert result["PSNR"] == result["SNR"] == math.inf
    assert image.snr(pair[1], pair[1]) == math.inf


@pytest.mark.parametrize("core_px", [7, 50, 64, 1000])
@pytest.mark.parametrize(("halo", "cell_px"), [(HALO_PX, 13), (9, 1), (9, 1000)])
def test_block_by_block_equals_whole(pair, core_px, halo, cell_px):
    picture, truth = (array.astype(np.float64) for array in pair)
    result = tiled(*pair, core_px, halo=halo, cell_px=cell_px)
    gradients = image.gradient_magnitude(picture), image.gradient_magnitude(truth)
    similar = image.ssim_map(picture, truth, RANGE)
    whole = {
        "MSE": ((picture - truth) ** 2).mean(),
        "SSIM": similar[HALO_PX:-HALO_PX, HALO_PX:-HALO_PX].mean(),
        "PSNR": 10 * math.log10(RANGE**2 / ((picture - truth) ** 2).mean()),
        "CV": picture.std() / picture.mean(),
        "Sharpness": gradients[0].mean(),
        "gradient-MSE": ((gradients[0] - gradients[1]) ** 2).mean(),
        "SNR": image.snr(picture, truth),
    }
    assert result == pytest.approx(whole, rel=1e-9)


def test_each_cell_sums_its_own_pixels(pair):
    picture, truth = (array.astype(np.float64) for array in pair)
    sums = dict(zip(SUMS, cell_sums(picture, truth, data_range=RANGE, cell_px=50), strict=True))
    assert sums["count"].shape == (3, 4)
    corner = np.s_[100:143, 150:171]  # the last cell, smaller than the others
    assert sums["count"][-1, -1] == 43 * 21
    assert sums["sum"][-1, -1] == pytest.approx(picture[corner].sum())
    assert sums["deviations"][-1, -1] == pytest.approx(picture[corner].var() * 43 * 21)
    assert sums["error"][-1, -1] == pytest.approx(((picture - truth)[corner] ** 2).sum())
    assert sums["signal"][-1, -1] == pytest.approx((truth[corner] ** 2).sum())
    assert sums["ssim_count"][-1, -1] == 38 * 16  # without the outermost 5 px
    gradients = image.gradient_magnitude(picture), image.gradient_magnitude(truth)
    difference = (gradients[0] - gradients[1])[corner]
    assert sums["gradient"][-1, -1] == pytest.approx(gradients[0][corner].sum())
    assert sums["gradient_error"][-1, -1] == pytest.approx((difference**2).sum())


def test_mean_far_above_the_deviation_keeps_its_digits():
    picture = 1e7 + np.random.default_rng(0).normal(0, 1e-2, (100, 100))
    assert tiled(picture, None, 30)["CV"] == pytest.approx(picture.std() / picture.mean(), rel=1e-6)


def test_without_a_truth_only_what_needs_none(pair):
    assert set(tiled(pair[0], None, 64)) == {"CV", "Sharpness"}


def test_pixels_that_do_not_count_change_nothing(pair):
    picture, truth = (array.copy() for array in pair)
    valid = np.ones(picture.shape, bool)
    valid[40:44, 60:70] = valid[0, 0] = False
    expected = tiled(picture, truth, 1000, valid)
    picture[~valid] = 1e9
    assert tiled(picture, truth, 50, valid) == pytest.approx(expected, rel=1e-9)
    picture[~valid] = np.nan  # excluded of themselves
    assert tiled(picture, truth, 50) == pytest.approx(expected, rel=1e-9)
    assert expected["MSE"] == pytest.approx(((picture - truth)[valid] ** 2).mean())
    assert expected["SNR"] == pytest.approx(image.snr(picture, truth))
    # A gradient counts where no pixel of its kernel is bad.
    kept = np.ones(valid.shape, bool)
    kept[39:45, 59:71] = kept[:2, :2] = False
    gradients = image.gradient_magnitude(pair[0]), image.gradient_magnitude(pair[1])
    difference = (gradients[0] - gradients[1])[kept]
    assert expected["gradient-MSE"] == pytest.approx((difference**2).mean())
    # The SSIM of what is left is scikit-image's map over windows without a bad pixel.
    full = structural_similarity(
        *(array.astype(float) for array in pair),
        data_range=RANGE,
        gaussian_weights=True,
        use_sample_covariance=False,
        full=True,
    )[1]
    clean = np.zeros(valid.shape, bool)
    clean[5:-5, 5:-5] = True
    clean[35:49, 55:75] = clean[:6, :6] = False
    assert expected["SSIM"] == pytest.approx(full[clean].mean(), rel=1e-9)


def test_where_nothing_counts_or_nothing_varies():
    nothing = np.full((20, 20), np.nan)
    assert all(math.isnan(value) for value in tiled(nothing, nothing, 64).values())
    black = np.zeros((20, 20))
    result = metrics_of(cell_sums(black, black, data_range=0, cell_px=8), 0)
    assert result["MSE"] == result["Sharpness"] == 0
    assert all(math.isnan(result[name]) for name in ("CV", "SSIM", "PSNR", "SNR"))
    assert image.snr(black + 1, black) == -math.inf
    assert math.isnan(of_whole(black[:8], black[:8])["SSIM"])
    for bad in (-1, math.nan, math.inf):
        with pytest.raises(ValueError, match="data_range"):
            cell_sums(black, black, data_range=bad, cell_px=8)
