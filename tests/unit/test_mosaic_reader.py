"""Reading by window: every kind of file, and files that are broken."""

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile
import zarr
from isoplan.base.errors import UserError
from isoplan.mosaic import reader
from isoplan.mosaic.reader import LUMINANCE, open_mosaic
from PIL import Image

SHAPE = (150, 170)
WINDOW = (31, 77, 60, 170)


def noise(shape=SHAPE, dtype="uint16", high=4096):
    return np.random.default_rng(1).integers(0, high, shape).astype(dtype)


def check(path, expected, **choice):
    y0, y1, x0, x1 = WINDOW
    with open_mosaic(path, **choice) as mosaic:
        assert mosaic.shape == expected.shape
        block = mosaic.read(*WINDOW)
        assert block.dtype == np.float32
        np.testing.assert_allclose(block, expected[y0:y1, x0:x1], rtol=1e-6)
        whole = np.full(mosaic.shape, np.nan)
        for top, bottom, left, right in mosaic.windows(64):
            whole[top:bottom, left:right] = mosaic.read(top, bottom, left, right)
        np.testing.assert_allclose(whole, expected, rtol=1e-6)
        return mosaic.notes


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rowsperstrip": 7},
        {"compression": "zlib", "rowsperstrip": 7},
        {"compression": "zlib", "rowsperstrip": 200, "predictor": True},
        {"tile": (32, 48)},
        {"compression": "zlib", "tile": (32, 48)},
        {"bigtiff": True, "byteorder": ">"},
        {"ome": True},
    ],
    ids=str,
)
def test_tiff(tmp_path, options):
    picture = noise()
    tifffile.imwrite(tmp_path / "a.tif", picture, **options)
    assert check(tmp_path / "a.tif", picture) == []


@pytest.mark.parametrize(
    ("dtype", "high"),
    [("uint8", 256), ("uint16", 4096), ("uint16", 65536), ("int16", 3000), ("float32", 99)],
)
def test_values_stay_in_the_units_of_the_file(tmp_path, dtype, high):
    picture = noise(dtype=dtype, high=high)
    tifffile.imwrite(tmp_path / "a.tif", picture, compression="zlib")
    assert check(tmp_path / "a.tif", picture) == []


def test_what_float32_cannot_hold_is_said(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", noise(dtype="float64"))
    tifffile.imwrite(tmp_path / "b.tif", noise(dtype="uint32"))
    assert "float64" in check(tmp_path / "a.tif", noise())[0]
    assert "rounded" in check(tmp_path / "b.tif", noise())[0]


def test_pixels_that_are_not_finite_are_kept(tmp_path):
    picture = noise(dtype="float32")
    picture[40, 70], picture[50, 80] = np.nan, np.inf
    tifffile.imwrite(tmp_path / "a.tif", picture)
    check(tmp_path / "a.tif", picture)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_rgb_is_read_as_luminance_or_by_colour(tmp_path, planar):
    picture = noise((*SHAPE, 3), "uint8", 256)
    stored = picture if planar == "contig" else np.moveaxis(picture, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar)
    assert "luminance" in check(tmp_path / "a.tif", picture @ LUMINANCE)[0]
    assert check(tmp_path / "a.tif", picture[..., 1], channel=1) == []


def test_png_and_jpeg(tmp_path):
    for name, picture in {"a.png": noise(), "b.png": noise(high=255, dtype="uint8")}.items():
        imageio.imwrite(tmp_path / name, picture)
        assert check(tmp_path / name, picture) == []
    colour = noise((*SHAPE, 4), "uint8", 256)
    imageio.imwrite(tmp_path / "c.png", colour)
    assert "transparency" in check(tmp_path / "c.png", colour[..., :3] @ LUMINANCE)[0]
    imageio.imwrite(tmp_path / "d.jpg", np.full(SHAPE, 128, np.uint8))
    check(tmp_path / "d.jpg", np.full(SHAPE, 128))


def test_a_slice_of_a_stack(tmp_path):
    stack = np.stack([noise(high=high) for high in (50, 900, 300)])
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    assert "slice 1 of 3" in check(tmp_path / "a.tif", stack[1], slice="brightest")[0]
    assert check(tmp_path / "a.tif", stack[2], slice=2) == []
    with open_mosaic(tmp_path / "a.tif", slice="brightest") as mosaic:
        assert mosaic.slice == 1
    with pytest.raises(UserError, match=r"has no slice 3.*0 to 2"):
        open_mosaic(tmp_path / "a.tif", slice=3)


def test_channels_and_slices_of_an_ome_tiff(tmp_path):
    stack = noise((3, 2, *SHAPE))
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, metadata={"axes": "ZCYX"}, compression="zlib")
    notes = check(tmp_path / "a.ome.tif", stack[2, 0], slice=2)
    assert notes == ["channel 0 of 2 is read; others by `channel`"]
    assert check(tmp_path / "a.ome.tif", stack[1, 1], slice=1, channel=1) == []
    with pytest.raises(UserError, match="has no channel 2"):
        open_mosaic(tmp_path / "a.ome.tif", channel=2)


def test_planes_between_headers_are_mapped(tmp_path):
    """Stacks that were written slice by slice: uncompressed planes that do not lie in one run."""
    stack = noise((3, *SHAPE))
    with tifffile.TiffWriter(tmp_path / "a.tif", byteorder=">") as writer:
        for plane in stack:
            writer.write(plane, photometric="minisblack", metadata=None)
    check(tmp_path / "a.tif", stack[2], slice=2)
    with open_mosaic(tmp_path / "a.tif", slice=1) as mosaic:
        mosaic.read(*WINDOW)
        assert mosaic.held_bytes == 0


def test_names_of_channels(tmp_path):
    stack = noise((2, *SHAPE))
    for names, expected in (
        (["DAPI", "FITC-2"], ["DAPI", "FITC-2"]),
        (["DAPI", "dapi"], ["c0", "c1"]),  # one file on some systems
        (["a/b", "c"], ["c0", "c1"]),
        (None, ["c0", "c1"]),
    ):
        metadata = {"axes": "CYX"} | ({"Channel": {"Name": names}} if names else {})
        tifffile.imwrite(tmp_path / "a.ome.tif", stack, metadata=metadata)
        with open_mosaic(tmp_path / "a.ome.tif") as mosaic:
            assert mosaic.channels == expected
    tifffile.imwrite(tmp_path / "rgb.tif", noise((*SHAPE, 3), "uint8", 256), photometric="rgb")
    tifffile.imwrite(tmp_path / "grey.tif", stack[0])
    for name in ("rgb.tif", "grey.tif"):
        with open_mosaic(tmp_path / name) as mosaic:
            assert mosaic.channels == []


def test_transparency_is_no_channel(tmp_path):
    picture = noise((*SHAPE, 2), "uint8", 256)
    tifffile.imwrite(
        tmp_path / "a.tif", picture, photometric="minisblack", planarconfig="contig",
        extrasamples=["unassalpha"],
    )  # fmt: skip
    imageio.imwrite(tmp_path / "a.png", picture)
    for name in ("a.tif", "a.png"):
        assert check(tmp_path / name, picture[..., 0]) == ["transparency is ignored"]


def test_white_is_zero_and_palette(tmp_path):
    picture = noise(dtype="uint8", high=256)
    tifffile.imwrite(tmp_path / "a.tif", picture, photometric="miniswhite")
    assert "inverted" in check(tmp_path / "a.tif", 255 - picture.astype(float))[0]
    colours = np.zeros((3, 256), np.uint16)
    tifffile.imwrite(tmp_path / "b.tif", picture, photometric="palette", colormap=colours)
    assert "palette" in check(tmp_path / "b.tif", picture)[0]


@pytest.mark.parametrize(
    ("table", "caution"),
    [
        (np.stack([0 * np.arange(256), np.arange(256), 0 * np.arange(256)], 1), False),  # green
        (np.random.default_rng(3).permutation(256)[:, None].repeat(3, 1), True),
    ],
)
def test_palettes_are_read_in_one_way(tmp_path, table, caution):
    """As look-up tables of a microscope, whatever the kind of file."""
    picture = noise(dtype="uint8", high=256)
    colours = (257 * table.T).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", picture, photometric="palette", colormap=colours)
    image = Image.fromarray(picture).convert("P")
    image.putpalette(table.astype(np.uint8).tobytes())
    image.save(tmp_path / "a.png")
    for name in ("a.tif", "a.png"):
        (note,) = check(tmp_path / name, picture)
        assert "indices are taken as intensities" in note
        assert note.startswith("CAUTION") == caution


def test_a_channel_by_its_name(tmp_path):
    planes, path = noise((2, *SHAPE)), tmp_path / "a.ome.tif"
    names = {"axes": "CYX", "Channel": {"Name": ["DAPI", "Alexa 488"]}}
    tifffile.imwrite(path, planes, metadata=names)
    with open_mosaic(path, channel="alexa 488") as mosaic:
        np.testing.assert_array_equal(mosaic.read(0, 9, 0, 9), planes[1, :9, :9])
    with pytest.raises(
        UserError, match="no channel 'GFP'; channels count from 0 and are called DAPI,"
    ):
        open_mosaic(path, channel="GFP")
    tifffile.imwrite(tmp_path / "b.tif", planes[0])
    with pytest.raises(UserError, match="channels count from 0 and have no names in this file"):
        open_mosaic(tmp_path / "b.tif", channel="GFP")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr(tmp_path, version):
    stack = noise((2, *SHAPE))
    axes = [{"name": "c", "type": "channel"}, *({"name": n, "type": "space"} for n in "yx")]
    meta = {"multiscales": [{"axes": axes, "datasets": [{"path": "s0"}], "version": version}]}
    attributes = meta if version == "0.4" else {"ome": {"version": "0.5", **meta}}
    group = zarr.create_group(
        tmp_path / "a.zarr", zarr_format=2 if version == "0.4" else 3, attributes=attributes
    )
    group.create_array("s0", data=stack, chunks=(1, 64, 64))
    assert "channel 0 of 2" in check(tmp_path / "a.zarr", stack[0])[0]
    assert check(tmp_path / "a.zarr", stack[1], channel=1) == []


def test_reflection_goes_on_as_often_as_needed(tmp_path):
    picture = noise((9, 13))
    tifffile.imwrite(tmp_path / "a.tif", picture)
    with open_mosaic(tmp_path / "a.tif") as mosaic:
        expected = np.pad(picture, ((30, 25), (40, 33)), mode="symmetric")
        np.testing.assert_array_equal(mosaic.read_reflected(-30, 34, -40, 46), expected)
        np.testing.assert_array_equal(mosaic.read_reflected(-30, -20, 40, 46), expected[:10, 80:])
        np.testing.assert_array_equal(mosaic.read_reflected(2, 5, 3, 9), picture[2:5, 3:9])
        for window in [(-1, 3, 0, 3), (0, 10, 0, 3), (3, 3, 0, 3)]:
            with pytest.raises(ValueError, match="leaves the picture"):
                mosaic.read(*window)


def test_windows_of_a_file_in_strips_span_its_width(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", noise(), compression="zlib", rowsperstrip=10)
    with open_mosaic(tmp_path / "a.tif") as mosaic:
        windows = list(mosaic.windows(64))
    assert all((x0, x1) == (0, 170) and y0 % 10 == 0 for y0, _, x0, x1 in windows)


def test_one_compressed_strip_is_held_whole_up_to_a_limit(tmp_path, monkeypatch):
    picture = noise()
    tifffile.imwrite(tmp_path / "a.tif", picture, compression="zlib", rowsperstrip=150)
    monkeypatch.setattr(reader, "HOLD_PX", 100)
    check(tmp_path / "a.tif", picture)
    with open_mosaic(tmp_path / "a.tif") as mosaic:
        assert mosaic.held_bytes == 0  # headers alone
        mosaic.read(*WINDOW)
        assert mosaic.held_bytes == picture.nbytes  # in the file's type
    monkeypatch.setattr(reader, "HELD_BYTES", 1000)
    check(tmp_path / "a.tif", picture)
    monkeypatch.setattr(reader, "PIECE_BYTES", 1000)
    imageio.imwrite(tmp_path / "a.png", picture)
    for name in ("a.tif", "a.png"):
        with pytest.raises(UserError, match="too large to read by window; make an OME-Zarr"):
            open_mosaic(tmp_path / name)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.99])
@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "zlib", "tile": (32, 48)}, {"imagej": True}, {"metadata": None}],
    ids=["plain", "tiles", "imagej", "pages"],
)
def test_truncated_tiff(tmp_path, options, share):
    tifffile.imwrite(tmp_path / "a.tif", noise((3, *SHAPE)), photometric="minisblack", **options)
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match=r"cut\.tif: the TIFF is truncated or damaged; copy"):
        open_mosaic(tmp_path / "cut.tif")


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_truncated_picture(tmp_path, name):
    imageio.imwrite(tmp_path / name, noise(dtype="uint8", high=256))
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="the picture is truncated or damaged"):
        open_mosaic(tmp_path / name)


def test_damage_inside_a_file_is_told_with_the_rows(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", noise(), compression="zlib", rowsperstrip=10)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        offset = tiff.pages[0].dataoffsets[9]
    with open(tmp_path / "a.tif", "r+b") as handle:
        handle.seek(offset)
        handle.write(b"\xff" * 40)
    with (
        open_mosaic(tmp_path / "a.tif") as mosaic,
        pytest.raises(UserError, match="rows 80 to 120 cannot be read"),
    ):
        mosaic.read(80, 120, 0, 170)


def test_a_disk_that_fails_is_no_damage(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", noise(), compression="zlib", rowsperstrip=10)

    def fail(*_):
        raise OSError(5, "Input/output error")

    with open_mosaic(tmp_path / "a.tif") as mosaic:
        monkeypatch.setattr(mosaic, "_raw", fail)
        with pytest.raises(UserError, match=r"Input/output error\); check the disk"):
            mosaic.read(0, 20, 0, 20)


def test_what_is_no_picture(tmp_path):
    (tmp_path / "empty.tif").touch()
    (tmp_path / "text.tif").write_text("not a picture")
    zarr.create_group(tmp_path / "group.zarr")
    zarr.create_array(tmp_path / "array.zarr", shape=(4, 4), dtype="f4")
    line = {"multiscales": [{"axes": [{"name": "x"}], "datasets": [{"path": "0"}]}]}
    zarr.create_group(tmp_path / "line.zarr", attributes={"ome": line}).create_array(
        "0", shape=(4,), dtype="f4"
    )
    gone = {"multiscales": [{"axes": [{"name": "x"}], "datasets": [{"path": "gone"}]}]}
    zarr.create_group(tmp_path / "gone.zarr", attributes={"ome": gone})
    tifffile.imwrite(tmp_path / "complex.tif", np.zeros(SHAPE, np.complex64))
    for name, message in {
        "missing.tif": "no such file; correct the path",
        "empty.tif": "is empty",
        "text.tif": "neither a TIFF",
        ".": "not an OME-Zarr store",
        "group.zarr": "no complete OME-Zarr picture",
        "array.zarr": "not an OME-Zarr store",
        "line.zarr": "no image plane",
        "gone.zarr": "no complete OME-Zarr picture",
        "complex.tif": "complex64",
    }.items():
        with pytest.raises(UserError, match=message) as error:
            open_mosaic(tmp_path / name)
        assert str(error.value).startswith(str(tmp_path / name))
