"""Which slice of a stack is read: the sharpest, whatever noise, bleaching and other channels say."""

import numpy as np
import pytest
import tifffile
from isoplan.base.errors import UserError
from isoplan.mosaic import slices
from isoplan.mosaic.reader import open_mosaic
from scipy.ndimage import gaussian_filter


def stack(focus, *, photons=1000.0, fading=1.0, count=7, step=1.0, seed=0, shape=(160, 176)):
    """A widefield stack: the same light in all slices but for bleaching, a Gaussian blur that grows off
    focus, photon and read noise, an offset of 100."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    scene = np.full(shape, 0.02)
    for _ in range(40):
        r = rng.uniform(1.5, 10)
        at = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        scene[(y - at[0]) ** 2 + (x - at[1]) ** 2 < r * r] += rng.uniform(0.1, 1)
    planes = [
        rng.poisson(photons * fading**k * gaussian_filter(scene, 1.3 + step * abs(k - focus)))
        + rng.normal(100, 2, shape).round()
        for k in range(count)
    ]
    return np.array(planes).astype(np.uint16)


def chosen(planes, how="sharpest"):
    return slices.choose(np.array([[slices.tally([plane.astype("f4")])] for plane in planes]), how)


@pytest.mark.parametrize("photons", [30, 1000])
@pytest.mark.parametrize("fading", [1, 0.98, 0.9])
@pytest.mark.parametrize("focus", [2, 5])
def test_the_sharpest_slice_whatever_bleaching_says(photons, fading, focus):
    found, note = chosen(stack(focus, photons=photons, fading=fading))
    assert found == focus
    assert f"slice {focus} of 7 is read, the sharpest; others by `slice`" in note
    assert "CAUTION" not in note


def test_the_brightest_is_a_choice():
    planes = stack(4, fading=0.95)
    assert chosen(planes, "brightest")[0] == 0
    planes[6] += 40
    number, note = chosen(planes, "brightest")
    assert (number, "the brightest by its mean" in note) == (6, True)


def test_frames_of_a_time_series_have_no_focus(tmp_path):
    for axes, said in (("TYX", "frame 0 of 7 is read, the sharpest"), ("ZYX", "slice 0 of 7 is")):
        tifffile.imwrite(tmp_path / "a.ome.tif", stack(0), metadata={"axes": axes})
        with open_mosaic(tmp_path / "a.ome.tif") as mosaic:
            (note,) = mosaic.notes
        assert note.startswith(said) and ("focus" in note or "slice 1" in note) == (axes == "ZYX")


def test_how_sure_the_choice_is():
    assert "has 9" not in chosen(stack(3))[1] and "may be noise" not in chosen(stack(3))[1]
    assert "which may be noise" in chosen(stack(3, step=0.02, photons=30))[1]
    for focus, end in ((0, "first"), (6, "last")):
        assert f"CAUTION: it is the {end} of the stack" in chosen(stack(focus))[1]
    noise = (
        np.random.default_rng(0).poisson(50, (5, 99, 99)) + np.array([0, 9, 2, 0, 0])[:, None, None]
    )
    number, note = chosen(noise)
    assert number == 1 and "the brightest by its mean, since none has structure" in note


@pytest.mark.parametrize("how", ["rows", "overexposed", "bars"])
def test_a_slice_that_stands_out_alone_is_pointed_at(how):
    planes = stack(3).astype(np.int64)
    if how == "rows":
        planes[5][::2] += 400
    elif how == "overexposed":
        planes[5] = np.minimum(planes[5] * 40, 65535)
    else:
        planes[5] += 2000 * (np.arange(planes.shape[2]) // 3 % 2)
    number, note = chosen(planes)
    assert number == 5 and "CAUTION: look at slice 5" in note
    assert "CAUTION" not in chosen(planes[3:7])[1]  # of four slices, focus may fall off so


def test_noise_does_not_win():
    """A slice of much more noise, and one of hot pixels, beside the sharp one."""
    planes = stack(3).astype(np.int64)
    rng = np.random.default_rng(1)
    planes[0] += rng.normal(0, 60, planes[0].shape).round().astype(int)
    planes[6][rng.integers(0, 160, 150), rng.integers(0, 176, 150)] += 2000
    assert chosen(planes)[0] == 3


def test_all_channels_take_one_slice_and_gaps_do_no_harm(tmp_path):
    """A bright channel and one of a tenth of its light, both in focus at 2 but for a third, in doubt."""
    bright, dim = stack(2, photons=3000), stack(2, photons=300, seed=3)
    flat = np.random.default_rng(2).poisson(500, bright.shape).astype(np.uint16)
    planes = np.stack([flat, dim, bright], axis=1).astype(np.float32)
    planes[:, :, 40:50, 60:90] = np.nan
    tifffile.imwrite(tmp_path / "a.ome.tif", planes, metadata={"axes": "ZCYX"})
    for channel in range(3):
        with open_mosaic(tmp_path / "a.ome.tif", channel=channel) as mosaic:
            assert mosaic.slice == 2
            read = mosaic.read(0, 160, 0, 176)
        np.testing.assert_array_equal(read, planes[2, channel])
    with pytest.raises(UserError, match="has no slice 7"):
        open_mosaic(tmp_path / "a.ome.tif", slice=7)
