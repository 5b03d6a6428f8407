"""The functions for notebooks: any array serves, what is wrong is told, and a map is that of its picture."""

import isoplan
import numpy as np
import pytest
import tifffile
import zarr
from isoplan.base.errors import UserError
from skimage import data

HOW = {"iterations": 3, "tv_weight": 0.001, "psf_scale": 1, "psf_shape": "map", "resolution_px": 0}


@pytest.fixture(scope="module")
def seen() -> isoplan.Simulated:
    sharp = data.coins()[:192, :256]
    return isoplan.simulate(sharp, {"width": 3}, psf_model="gaussian-1", offset=100, photons=3000)


@pytest.fixture(scope="module")
def psf_map(seen) -> isoplan.PsfMap:
    return isoplan.map_psf(seen.observed, psf_model="gaussian-1", offset=100, quiet=True)


def test_a_map_in_memory(psf_map):
    assert psf_map.parameters["width"].shape == psf_map.valid.shape == (3, 4)
    psf = psf_map.psf(10, 250)
    assert psf.shape[0] == psf.shape[1] and psf.sum() == pytest.approx(1)
    assert len(psf_map.table()) == 12 and "width_px" in psf_map.table()
    with pytest.raises(UserError, match="outside the picture"):
        psf_map.psf(192, 0)


def test_a_zarr_array_gives_what_a_numpy_array_gives(seen, psf_map, tmp_path):
    expected = isoplan.restore(seen.observed, psf_map=psf_map, restoration=HOW, quiet=True)
    stored = zarr.create_array(tmp_path / "seen.zarr", data=seen.observed, chunks=(64, 64))
    out = zarr.create_array(tmp_path / "out.zarr", shape=stored.shape, dtype="f4", chunks=(64, 64))
    how = {"psf_model": "gaussian-1", "offset": 100, "restoration": HOW, "quiet": True}
    found = isoplan.restore(stored, out=out, **how)
    assert found.picture is out
    np.testing.assert_array_equal(out[:], expected.picture)
    np.testing.assert_array_equal(found.trust["doubt"], expected.trust["doubt"])
    before = isoplan.compare(seen.observed - 100.0, seen.truth)["SNR"]
    assert isoplan.compare(expected.picture, seen.truth)["SNR"] > before + 0.5


def test_a_file_gives_what_its_array_gives(seen, psf_map, tmp_path):
    pixel_size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "axes": "YX"}
    tifffile.imwrite(tmp_path / "seen.ome.tif", seen.observed, ome=True, metadata=pixel_size)
    with isoplan.open_mosaic(tmp_path / "seen.ome.tif") as picture:
        found = isoplan.map_psf(picture, psf_model="gaussian-1", offset=100, quiet=True)
        lazy = isoplan.map_psf(
            picture.dask(96), psf_model="gaussian-1", offset=100, quiet=True, pixel_size_um=0.5
        )
        result = isoplan.restore(picture, psf_map=found, restoration=HOW, quiet=True)
    assert "pixel_size_um 0.5, as the file says" in found.notes
    expected = isoplan.restore(seen.observed, psf_map=psf_map, restoration=HOW, quiet=True)
    np.testing.assert_array_equal(result.picture, expected.picture)
    for other in (found, lazy):
        np.testing.assert_array_equal(other.parameters["width"], psf_map.parameters["width"])


def test_quiet_prints_nothing(seen, capfd):
    few = {"restoration": {"iterations": "auto"}, "psf_model": "gaussian-1", "offset": 100}
    result = isoplan.restore(seen.observed[:128, :128], quiet=True, **few)
    assert result.notes and capfd.readouterr() == ("", "")


def test_a_lazy_array_reads_any_window_and_leaves_a_file_in_one_thread():
    with isoplan.open_mosaic("scikit-image:coins.png") as picture:
        whole, lazy = picture.read(0, picture.shape[0], 0, picture.shape[1]), picture.dask(100)
        assert lazy.numblocks == (4, 4) and lazy.dtype == np.float32
        for window in (np.s_[5:9, ::-1], np.s_[::2, ::3], np.s_[[1, 200]], np.s_[3], np.s_[9:9]):
            np.testing.assert_array_equal(lazy[window].compute(num_workers=4), whole[window])
        assert lazy.mean().compute() == pytest.approx(whole.mean(), rel=1e-5)


def test_optics_that_miss_are_named(seen):
    with pytest.raises(UserError, match="give na, wavelength_um and pixel_size_um"):
        isoplan.map_psf(seen.observed, psf_model="zernike-1", quiet=True)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda seen, _: isoplan.map_psf(np.zeros((64, 64, 3))), "one plane"),
        (lambda seen, m: isoplan.restore(seen.observed.copy(), psf_map=m), "of another picture"),
        (lambda seen, m: isoplan.restore(seen.observed, psf_map=m, offset=1), "offset: what"),
        (
            lambda seen, m: isoplan.restore(seen.observed, psf_map=m, out=np.zeros(3)),
            "has the shape",
        ),
        (
            lambda seen, m: isoplan.restore(seen.observed, restoration={"iteration": 3}),
            "iterations",
        ),
        (lambda seen, _: isoplan.simulate(seen.truth, {"focus": 1}), "focus"),
        (lambda seen, _: isoplan.simulate(-seen.truth, {"width": 1}), "numbers from 0 on"),
        (lambda seen, _: isoplan.compare(seen.truth, seen.truth[1:]), "of one shape"),
    ],
)
def test_what_is_wrong_is_told(seen, psf_map, call, words):
    with pytest.raises(UserError, match=words):
        call(seen, psf_map)
