"""Microscopes' own files, by window, with the numbers that were written; and what is said without the extra."""

import sys

import numpy as np
import pytest
from isoplan.base.errors import UserError
from isoplan.mosaic.reader import LUMINANCE, open_mosaic

SHAPE = (90, 120)


@pytest.fixture(scope="module")
def czi():
    return pytest.importorskip("pylibCZIrw.czi", reason="the extra of readers is not installed")


def noise(shape=SHAPE, dtype="uint16", high=4096, seed=0):
    return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)


def check(path, expected, **choice):
    with open_mosaic(path, **choice) as mosaic:
        height, width = mosaic.shape
        assert (mosaic.by_window and mosaic.dtype == expected.dtype) or mosaic.luminance
        read = mosaic.read(0, height, 0, width)
        np.testing.assert_allclose(read, expected, rtol=1e-5)
        np.testing.assert_allclose(mosaic.read(11, 40, 30, 57), expected[11:40, 30:57], rtol=1e-5)
        return mosaic.notes, mosaic.channels, mosaic.optics


def test_channels_and_slices_of_a_czi(tmp_path, czi):
    stack = noise((2, 3, *SHAPE))
    with czi.create_czi(str(tmp_path / "a.czi")) as file:
        for c, z in np.ndindex(2, 3):
            file.write(data=stack[c, z][..., None], plane={"C": c, "Z": z, "T": 0})
        file.write_metadata(
            "a", channel_names={0: "DAPI", 1: "GFP"}, scale_x=1.625e-7, scale_y=1.625e-7
        )
    for c, z in np.ndindex(2, 3):
        _, channels, optics = check(tmp_path / "a.czi", stack[c, z], channel=c, slice=z)
        assert channels == ["DAPI", "GFP"] and optics == {"pixel_size_um": 0.1625}
    with pytest.raises(UserError, match="has no series 1"):
        open_mosaic(tmp_path / "a.czi", series=1)


def test_tiles_and_scenes_of_a_czi(tmp_path, czi):
    """Tiles are put together as the file says, from a corner below 0; the largest scene is read."""
    picture, small = noise((90, 300)), noise((50, 60), seed=1)
    with czi.create_czi(str(tmp_path / "a.czi")) as file:
        file.write(data=small[..., None], plane={"C": 0}, location=(500, 0), scene=0)
        file.write(data=picture[:, :160, None], plane={"C": 0}, location=(-50, 7), scene=1)
        file.write(data=picture[:, 140:, None], plane={"C": 0}, location=(90, 7), scene=1)
    notes, _, _ = check(tmp_path / "a.czi", picture)
    assert notes == ["picture 1 of 2 is read, the largest (90 x 300 px); others by `series`"]
    check(tmp_path / "a.czi", small, series=0)


def test_colours_and_floats_of_a_czi(tmp_path, czi):
    rgb, floats = noise((*SHAPE, 3), "uint8", 256), noise().astype(np.float32) / 7
    for name, data in {"rgb.czi": rgb[..., ::-1], "floats.czi": floats[..., None]}.items():
        with czi.create_czi(str(tmp_path / name)) as file:
            file.write(data=np.ascontiguousarray(data), plane={"C": 0})
    assert "luminance" in check(tmp_path / "rgb.czi", rgb @ LUMINANCE)[0][0]
    check(tmp_path / "floats.czi", floats)


MAGIC = {"CZI": b"ZISRAWFILE", "ND2": b"\xda\xce\xbe\n", "LIF": b"p\0\0\0"}


@pytest.mark.parametrize("kind", MAGIC)
def test_a_broken_file_and_one_without_its_library(tmp_path, monkeypatch, kind):
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(MAGIC[kind] + bytes(500))
    with pytest.raises(
        UserError, match=rf"a\.{kind.lower()}: cannot be read as {kind} \(.*OME-TIFF"
    ):
        open_mosaic(path)
    for name in ("pylibCZIrw", "nd2", "liffile"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"to read {kind} files, install the extra: .*requirements-readers.txt"):  # fmt: skip
        open_mosaic(path)
