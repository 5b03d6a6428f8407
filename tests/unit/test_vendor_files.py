"""Microscopes' own files, by window, with the numbers that were written; and what is said without the extra."""

import ast
import inspect
import sys
from importlib import import_module

import numpy as np
import pytest
from isoplan.base.errors import UserError
from isoplan.mosaic.formats.rows import FORMATS
from isoplan.mosaic.reader import LUMINANCE, open_mosaic
from vendor_files import write_lif, write_nd2

SHAPE = (90, 120)


def imported(code):
    """Top names of what the module of "module:name" imports anywhere."""
    tree = ast.parse(inspect.getsource(import_module(code.partition(":")[0])))
    nodes = [*ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names}


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


@pytest.fixture(scope="module")
def liffile():
    return pytest.importorskip("liffile", reason="the extra of readers is not installed")


def test_channels_slices_and_series_of_a_lif(tmp_path, liffile):
    """By what the memory of each is in: planes of a channel, channels of a slice, and the other way round."""
    stack, small = noise((3, 2, *SHAPE)), noise((70, 80), "uint8", 256, seed=1)
    turned = noise((2, 3, 60, 70), seed=2)
    images = [("small", "YX", small, 4e-7), ("stack", "ZCYX", stack, 1.625e-7)]
    write_lif(tmp_path / "a.lif", [*images, ("turned", "CZYX", turned, 1e-7)])
    for c, z in np.ndindex(2, 3):
        notes, channels, optics = check(tmp_path / "a.lif", stack[z, c], channel=c, slice=z)
        assert channels == ["c0", "c1"] and optics == {"pixel_size_um": 0.1625}
        assert notes == ["picture 1 of 3 is read, the largest (90 x 120 px); others by `series`"]
        check(tmp_path / "a.lif", turned[c, z], series=2, channel=c, slice=z)
    assert check(tmp_path / "a.lif", small, series=0) == ([], [], {"pixel_size_um": 0.4})
    with pytest.raises(UserError, match=r"has no series 3; it has 3, choose 0 to 2$"):
        open_mosaic(tmp_path / "a.lif", series=3)


def test_what_of_a_lif_is_no_picture_in_one_piece(tmp_path, liffile):
    """Tiles are told of as such; gaps behind rows and a file cut short are refused, where other pictures are read."""
    path, fine = tmp_path / "a.lif", noise((70, 80))
    tiles, gaps = noise((4, *SHAPE)), noise((2, 90, 128))[..., :120]
    images = [("fine", "YX", fine, 1e-7), ("tiles", "MYX", tiles, 1e-7)]
    images += [("gaps", "ZYX", gaps, 1e-7), ("channels with gaps", "CYX", gaps, 1e-7)]
    write_lif(path, images)
    with pytest.raises(UserError, match=r"holds 4 pictures of one size at different .* export the tiles") as error:  # fmt: skip
        open_mosaic(path)
    assert "choose one by `series`" not in str(error.value)
    for series in (2, 3):
        with pytest.raises(UserError, match="OME-TIFF"):
            open_mosaic(path, series=series)
    check(path, fine, series=0)
    path.write_bytes(path.read_bytes()[:-100])
    check(path, fine, series=0)
    write_lif(path, images[:1])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="is cut short; copy it again"):
        open_mosaic(path)


@pytest.fixture(scope="module")
def nd2():
    return pytest.importorskip("nd2", reason="the extra of readers is not installed")


CALIBRATED = {"bCalibrated": True, "dCalibration": 0.1625, "dObjectiveNA": 1.4, "dObjectiveMag": 60.0}  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("pad", [0, 12])
@pytest.mark.parametrize("planes", [2, 1])
def test_channels_and_slices_of_an_nd2(tmp_path, nd2, planes, pad, packed):
    """Rows with and without a gap; channels that are planes, and those that are components of one."""
    path, frames = tmp_path / "a.nd2", noise((1, 3, 2, *SHAPE))
    write_nd2(path, frames, planes=planes, pad=pad, packed=packed, **CALIBRATED)
    expected = {"pixel_size_um": 0.1625, "na": 1.4, "magnification": 60.0}
    for c, z in np.ndindex(2, 3):
        _, channels, optics = check(path, frames[0, z, c], channel=c, slice=z)
        if planes == 2:
            assert channels == ["dye0", "dye1"]
            assert optics == expected | {"wavelength_um": (500 + c) / 1000}
        assert optics.items() >= expected.items()
    with open_mosaic(path, slice=0) as mosaic:
        assert (mosaic._source.axes, mosaic.slices) == ("ZCYX", 3)


def test_positions_of_an_nd2(tmp_path, nd2):
    """Places of the stage are tiles; without calibration no pixel size is known."""
    path, frames = tmp_path / "a.nd2", noise((2, 3, 2, *SHAPE))
    write_nd2(path, frames, [(0, 0), (150, -20)], bCalibrated=False, dCalibration=1.0)
    with pytest.raises(UserError, match="holds 2 pictures of one size at different positions"):
        open_mosaic(path)
    for p, z in np.ndindex(2, 3):
        _, _, optics = check(path, frames[p, z, 1], series=p, channel=1, slice=z)
        assert optics == {"wavelength_um": 0.501}
    with pytest.raises(UserError, match="has no series 2"):
        open_mosaic(path, series=2)


def test_colours_of_an_nd2(tmp_path, nd2):
    """They lie as blue, green, red; the wavelengths that the library tells of them are none of the file's."""
    path, rgb = tmp_path / "a.nd2", noise((1, 1, 3, *SHAPE))
    write_nd2(path, rgb[:, :, ::-1], planes=1, pad=6, **CALIBRATED)
    notes, _, optics = check(path, np.moveaxis(rgb[0, 0], 0, -1) @ LUMINANCE)
    assert "luminance" in notes[0] and "wavelength_um" not in optics
    check(path, rgb[0, 0, 0], channel=0)


def test_a_frame_that_an_nd2_lacks(tmp_path, nd2):
    """An acquisition that was stopped is not read as zeros."""
    path, frames = tmp_path / "a.nd2", noise((1, 3, 2, *SHAPE))
    write_nd2(path, frames, missing=[2], **CALIBRATED)
    check(path, frames[0, 1, 0], slice=1)
    with (
        pytest.raises(UserError, match=r"rows 0 to 90 cannot be read \(ValueError: frame 2 is not"),
        open_mosaic(path, slice=2) as mosaic,
    ):
        mosaic.read(0, 90, 0, 120)


@pytest.mark.parametrize("magic", FORMATS)
def test_a_broken_file_and_one_without_its_library(tmp_path, monkeypatch, magic):
    kind, code = FORMATS[magic]
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(magic + bytes(500))
    with pytest.raises(
        UserError, match=rf"a\.{kind.lower()}: cannot be read as {kind} \(.*OME-TIFF"
    ):
        open_mosaic(path)
    for name in imported(code) - {*sys.stdlib_module_names, "isoplan", "numpy"}:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"to read {kind} files, install the extra: .*requirements-readers.txt"):  # fmt: skip
        open_mosaic(path)
