"""Files that are not what they seem: each with the numbers that are right, or the one line that refuses it."""

import base64
import json
import os
import struct
import time
import zlib

import imagecodecs
import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile
import zarr
from isoplan.base.errors import UserError
from isoplan.cli.picture import tiff_tags
from isoplan.mosaic.convert import convert
from isoplan.mosaic.headers import complete_optics
from isoplan.mosaic.measure import measure
from isoplan.mosaic.reader import LUMINANCE, open_mosaic
from PIL import Image

SHAPE = (48, 60)


def noise(shape=SHAPE, dtype="uint16", high=4096, seed=1):
    return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)


def pixels(path, **choice):
    """What is read, and what is said of it."""
    with open_mosaic(path, **choice) as mosaic:
        return mosaic.read(0, mosaic.shape[0], 0, mosaic.shape[1]), " | ".join(mosaic.notes)


def refused(path, **choice) -> str:
    start = time.monotonic()
    with pytest.raises(UserError) as error:
        open_mosaic(path, **choice)
    assert time.monotonic() - start < 5
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
    return str(error.value)


# TIFF: what the numbers mean -----------------------------------------------------------------------


def packed_tiff(picture, bits, order=">") -> bytes:
    """A white-is-zero TIFF of one strip whose samples have so many bits, most significant first."""
    places = picture[..., None] >> np.arange(bits)[::-1] & 1
    data = np.packbits(places.reshape(len(picture), -1).astype(np.uint8), axis=1).tobytes()
    height, width = picture.shape
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 0), (273, 8), (277, 1)]
    tags += [(278, height), (279, len(data))]
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags)
    ifd = struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
    magic = b"MM\0*" if order == ">" else b"II*\0"
    return magic + struct.pack(f"{order}I", 8 + len(data)) + data + ifd


@pytest.mark.parametrize("bits", [1, 2, 4, 7, 8, 10, 12, 14, 16, 24, 32])
def test_white_is_zero_of_any_bits(tmp_path, bits):
    dark = noise(high=2**bits, dtype=np.int64)
    (tmp_path / "a.tif").write_bytes(
        packed_tiff(2**bits - 1 - dark, bits, "<" if bits == 24 else ">")
    )
    found, notes = pixels(tmp_path / "a.tif")
    np.testing.assert_allclose(found, dark, rtol=1e-6)
    assert "inverted" in notes


def test_white_is_zero_of_signed_numbers_and_floats(tmp_path):
    dark = noise(high=2000, dtype=np.int64) - 500
    tifffile.imwrite(tmp_path / "a.tif", (-1 - dark).astype("int16"), photometric="miniswhite")
    np.testing.assert_array_equal(pixels(tmp_path / "a.tif")[0], dark)
    tifffile.imwrite(tmp_path / "b.tif", dark.astype("float32"), photometric="miniswhite")
    found, notes = pixels(tmp_path / "b.tif")
    np.testing.assert_array_equal(found, dark)
    assert "not inverted" in notes


GREYS = {"photometric": "minisblack", "extrasamples": ["unspecified"] * 2 + ["unassalpha"]}


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_grey_samples_beside_transparency_are_channels(tmp_path, planar):
    picture = noise((4, *SHAPE), "uint8", 256)
    stored = picture if planar == "separate" else np.moveaxis(picture, 0, -1)
    tifffile.imwrite(tmp_path / "a.tif", stored, planarconfig=planar, **GREYS)
    for channel in range(3):
        found, notes = pixels(tmp_path / "a.tif", channel=channel)
        np.testing.assert_array_equal(found, picture[channel])
        assert "transparency is ignored" in notes
    assert "has no channel 3" in refused(tmp_path / "a.tif", channel=3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("how", ["mode=composite", "mode=color", "luts", "tifffile"])
def test_three_channels_are_no_colours(tmp_path, how):
    picture = noise((3, *SHAPE))
    options = {"photometric": "rgb", "planarconfig": "separate"}
    if how == "tifffile":  # takes three planes for colours unless it is told
        options = {}
    elif how == "luts":
        ramps = [np.eye(3, dtype=np.uint8)[k][:, None] * np.arange(256, dtype=np.uint8) for k in range(3)]  # fmt: skip
        options = {"imagej": True, "metadata": {"axes": "CYX", "LUTs": ramps}}
    else:
        options |= {"description": f"ImageJ=1.53t\nchannels=3\n{how}\n", "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", picture, **options)
    for channel in range(3):
        np.testing.assert_array_equal(pixels(tmp_path / "a.tif", channel=channel)[0], picture[channel])  # fmt: skip
    found, notes = pixels(tmp_path / "a.tif")
    np.testing.assert_array_equal(found, picture[0])
    assert "channel 0 of 3" in notes


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fourth_channel_is_no_transparency(tmp_path):
    picture = noise((4, *SHAPE))
    tifffile.imwrite(tmp_path / "a.tif", picture)  # RGB and alpha, as nobody said
    for channel in range(4):
        np.testing.assert_array_equal(pixels(tmp_path / "a.tif", channel=channel)[0], picture[channel])  # fmt: skip


def test_rgb_of_imagej_is_luminance(tmp_path):
    picture = noise((*SHAPE, 3), "uint8", 256)
    tifffile.imwrite(tmp_path / "a.tif", picture, imagej=True)
    np.testing.assert_allclose(pixels(tmp_path / "a.tif")[0], picture @ LUMINANCE, rtol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "told", "value"),
    [("uint16", "65535", 65535), ("uint8", " 0 ", 0), ("int16", "-9999", -9999), ("float32", "-3.4028234663852886e+38", np.finfo("f4").min)],
)  # fmt: skip
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_what_a_tiff_calls_no_data_is_not_read(tmp_path, dtype, told, value, compression):
    picture = noise(dtype=dtype, high=200) + np.ones((), dtype)
    right = picture.astype("float32")
    picture[5:9, 7:30], right[5:9, 7:30] = value, np.nan
    tag = (42113, "s", 0, told, True)
    tifffile.imwrite(tmp_path / "a.tif", picture, extratags=[tag], compression=compression)
    found, notes = pixels(tmp_path / "a.tif")
    np.testing.assert_array_equal(found, right)
    assert f"pixels of {value:g} are not read" in notes
    with open_mosaic(tmp_path / "a.tif") as mosaic:
        assert measure(mosaic)["nonfinite_pixels"] == 4 * 23
        convert(mosaic, tmp_path / "a.zarr", pixel_size_um=0.1, attributes={})
    np.testing.assert_array_equal(pixels(tmp_path / "a.zarr")[0], right)


@pytest.mark.parametrize("told", ["nan", "none", ""])
def test_no_data_that_is_no_number(tmp_path, told):
    picture = noise()
    tifffile.imwrite(tmp_path / "a.tif", picture, extratags=[(42113, "s", 0, told, True)])
    found, notes = pixels(tmp_path / "a.tif")
    np.testing.assert_array_equal(found, picture)
    assert "not read" not in notes


def test_a_colour_is_no_data_where_all_its_samples_are(tmp_path):
    picture = noise((*SHAPE, 3), "uint8", 250) + np.uint8(1)
    picture[3, 3], picture[4, 4] = 0, (200, 0, 0)
    tifffile.imwrite(tmp_path / "a.tif", picture, photometric="rgb", extratags=[(42113, "s", 0, "0", True)])  # fmt: skip
    found, _ = pixels(tmp_path / "a.tif")
    assert np.isnan(found[3, 3]) and np.isnan(found).sum() == 1
    np.testing.assert_allclose(found[4, 4], 200 * LUMINANCE[0], rtol=1e-5)


def test_no_data_where_white_is_zero_is_of_the_stored_numbers(tmp_path):
    picture = noise(dtype="uint8", high=200)
    picture[2, 3] = 255
    tifffile.imwrite(tmp_path / "a.tif", picture, photometric="miniswhite", extratags=[(42113, "s", 0, "255", True)])  # fmt: skip
    right = 255 - picture.astype("float32")
    right[2, 3] = np.nan
    np.testing.assert_array_equal(pixels(tmp_path / "a.tif")[0], right)


@pytest.mark.parametrize("kind", ["tif", "png", "jpg"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_orientation_is_told_of(tmp_path, kind, orientation):
    picture, path = noise(dtype="uint8", high=200), tmp_path / f"a.{kind}"
    if kind == "tif":
        tifffile.imwrite(path, picture, extratags=[(274, "H", 1, orientation, True)])
    else:
        exif = Image.Exif()
        exif[274] = orientation
        Image.fromarray(picture).save(path, exif=exif)
    found, notes = pixels(path)
    assert found.shape == SHAPE
    if kind != "jpg":
        np.testing.assert_array_equal(found, picture)
    words = f"stored rotated or mirrored (orientation {orientation}): read as stored"
    assert (words in notes) == (orientation > 1)


# TIFF: which picture -------------------------------------------------------------------------------


def test_the_largest_picture_of_a_file(tmp_path):
    picture = noise()
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(noise((20, 30, 3), "uint8", 256), photometric="rgb", metadata=None)
        tiff.write(picture, photometric="miniswhite", metadata=None)
        tiff.write(noise((9, 9)), photometric="minisblack", metadata=None)
    found, notes = pixels(tmp_path / "a.tif")
    np.testing.assert_array_equal(found, 65535 - picture.astype(float))
    assert "picture 1 of 3 is read, the largest (48 x 60 px); others by `series`" in notes
    np.testing.assert_array_equal(pixels(tmp_path / "a.tif", series=2)[0], noise((9, 9)))
    assert "luminance" in pixels(tmp_path / "a.tif", series=0)[1]
    assert "has no series 3; it has 3, choose 0 to 2" in refused(tmp_path / "a.tif", series=3)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("cut", [{"tile": (16, 32)}, {"rowsperstrip": 48}, {"rowsperstrip": 7}], ids=str)  # fmt: skip
@pytest.mark.parametrize("axes", ["YX", "CYX"])
def test_the_whole_picture_of_a_pyramid(tmp_path, axes, cut, compression):
    picture = noise((2, *SHAPE)[-len(axes) :])
    how = cut | {"compression": compression, "photometric": "minisblack"}
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tiff:
        tiff.write(picture, subifds=2, metadata={"axes": axes}, **how)
        for step in (2, 4):
            tiff.write(picture[..., ::step, ::step], subfiletype=1, **how)
    found, _ = pixels(tmp_path / "a.ome.tif", channel=len(axes) - 2)
    np.testing.assert_array_equal(found, picture[1] if axes == "CYX" else picture)


def write_tiles_in_one_file(path, step):
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for k in range(3):
            at = {"PositionX": [step * k], "PositionY": [0.0]}
            tiff.write(
                noise(seed=k), photometric="minisblack", metadata={"axes": "YX", "Plane": at}
            )


def ome(size, planes=1, pages="") -> str:
    """A header of so many planes of (H, W), whose pixels have 0.1 um, with the pages that it lists."""
    return (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="{size[1]}" SizeY="{size[0]}"'
        f' SizeZ="{planes}" SizeC="1" SizeT="1" PhysicalSizeX="0.1" PhysicalSizeY="0.1">'
        f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{pages}</Pixels></Image></OME>'
    )


@pytest.mark.parametrize("scale", [1, 2])
def test_the_pixel_size_of_another_picture_s_header(tmp_path, scale):
    xml = ome([scale * length for length in SHAPE], pages="<TiffData/>")
    tifffile.imwrite(tmp_path / "a.ome.tif", noise(), description=xml, metadata=None)
    with open_mosaic(tmp_path / "a.ome.tif") as mosaic:
        assert mosaic.optics == ({"pixel_size_um": 0.1} if scale == 1 else {})
        words = "its pixel size is not known: the header describes a picture of 96 x 120 px"
        assert (words in mosaic.notes) == (scale == 2)


def test_a_header_that_lists_too_few_planes(tmp_path):
    pages = "".join(f'<TiffData IFD="{k}" FirstZ="{k}" PlaneCount="1"/>' for k in range(2))
    xml = ome(SHAPE, 3, pages)
    tifffile.imwrite(tmp_path / "a.ome.tif", noise((3, *SHAPE)), description=xml, metadata=None, photometric="minisblack")  # fmt: skip
    assert "its OME header lists only 2 of its 3 planes" in refused(tmp_path / "a.ome.tif")


@pytest.mark.parametrize(
    ("kind", "words"),
    [(2, "colours"), (4, "grey and transparency"), (6, "colours and transparency")],
)
def test_png_of_16_bits_is_called_what_it_is(tmp_path, kind, words):
    head = struct.pack(">IIBBBBB", 60, 48, 16, kind, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + head)
    assert f"PNG with {words} of 16 bits is not read" in refused(tmp_path / "a.png")


def test_tiles_inside_one_ome_tiff_are_not_the_picture(tmp_path):
    write_tiles_in_one_file(tmp_path / "tiles.ome.tif", 50.0)
    assert "holds 3 pictures of one size at different positions" in refused(
        tmp_path / "tiles.ome.tif"
    )
    np.testing.assert_array_equal(pixels(tmp_path / "tiles.ome.tif", series=2)[0], noise(seed=2))
    write_tiles_in_one_file(tmp_path / "still.ome.tif", 0.0)
    found, notes = pixels(tmp_path / "still.ome.tif")
    np.testing.assert_array_equal(found, noise(seed=0))
    assert "the first of the largest" in notes


def test_axes_that_nobody_named(tmp_path):
    stack = noise((2, 4, *SHAPE))
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    assert "does not say what its axes of length 2 and 4 are" in refused(tmp_path / "a.tif")
    for name, clear in {"b.tif": stack[:, :1], "c.tif": stack[:1, :2]}.items():
        tifffile.imwrite(tmp_path / name, clear, photometric="minisblack")
        found, _ = pixels(tmp_path / name, slice=1)
        np.testing.assert_array_equal(found, clear.reshape(2, *SHAPE)[1])


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}], ids=str)
@pytest.mark.parametrize(("axes", "choice"), [("YXC", "channel"), ("YXZ", "slice"), ("XYZ", "slice")])  # fmt: skip
def test_planes_that_lie_across_the_picture(tmp_path, axes, choice, options):
    picture = noise((*SHAPE, 3))
    tifffile.imwrite(tmp_path / "a.tif", picture, photometric="minisblack", metadata={"axes": axes}, **options)  # fmt: skip
    right = picture[..., 1].T if axes.startswith("X") else picture[..., 1]
    np.testing.assert_array_equal(pixels(tmp_path / "a.tif", **{choice: 1})[0], right)


# TIFF: files in pieces -----------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"compression": "zlib", "predictor": True}], ids=str)  # fmt: skip
def test_an_ome_tiff_in_two_files_of_different_byte_order(tmp_path, options):
    picture, ids = (
        noise((2, *SHAPE)),
        [f"urn:uuid:{d * 8}-1111-1111-1111-111111111111" for d in "12"],
    )
    planes = "".join(
        f'<TiffData IFD="0" FirstZ="{k}" PlaneCount="1"><UUID FileName="{name}">{ids[k]}</UUID></TiffData>'
        for k, name in enumerate(("a.ome.tif", "b.ome.tif"))
    )
    for k, name in enumerate(("a.ome.tif", "b.ome.tif")):
        xml = (
            f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{ids[k]}">'
            f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="{SHAPE[1]}" '
            f'SizeY="{SHAPE[0]}" SizeZ="2" SizeC="1" SizeT="1"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
            f"{planes}</Pixels></Image></OME>"
        )
        tifffile.imwrite(
            tmp_path / name, picture[k], byteorder="<>"[k], description=xml, metadata=None, rowsperstrip=16, **options
        )  # fmt: skip
    for name in ("a.ome.tif", "b.ome.tif"):
        for k in (0, 1):
            found, notes = pixels(tmp_path / name, slice=k)
            np.testing.assert_array_equal(found, picture[k])
            assert "belongs to a set of 2 files: channels and slices count over all" in notes
        with open_mosaic(tmp_path / name, slice=0) as mosaic:  # and as rows from top to bottom
            for k in (0, 1):
                bands = mosaic._source.stream and list(mosaic._source.stream({"Z": k}, 20))
                assert bands is None or (np.concatenate(bands) == picture[k]).all()
    (tmp_path / "b.ome.tif").unlink()
    assert "of which 'b.ome.tif' is missing" in refused(tmp_path / "a.ome.tif")


def changed(path, which: int, **entry) -> None:
    """Gives an entry of the first page another tag, count or value."""
    data = bytearray(path.read_bytes())
    (place,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[place : place + 2])
    places = range(place + 2, place + 2 + 12 * count, 12)
    at = next(at for at in places if struct.unpack("<H", data[at : at + 2])[0] == which)
    for name, value in entry.items():
        where, form = {"tag": (at, "<H"), "count": (at + 4, "<I"), "value": (at + 8, "<I")}[name]
        struct.pack_into(form, data, where, value)
    path.write_bytes(data)


def fewer_strips(path):
    tifffile.imwrite(path, noise(), compression="zlib", rowsperstrip=8, metadata=None)
    for tag in (273, 279):  # offsets and lengths
        changed(path, tag, count=5)


def never_written(path):
    tifffile.imwrite(path, noise(), compression="zlib", rowsperstrip=48, metadata=None)
    changed(path, 279, value=0)


def test_strips_that_were_never_written_are_told(tmp_path):
    picture = noise()
    tifffile.imwrite(tmp_path / "a.tif", picture, compression="zlib", rowsperstrip=8, metadata=None)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        lengths = tiff.pages[0].tags[279]
    data = bytearray((tmp_path / "a.tif").read_bytes())
    size = lengths.valuebytecount // lengths.count
    data[lengths.valueoffset + 2 * size : lengths.valueoffset + 3 * size] = bytes(size)
    (tmp_path / "a.tif").write_bytes(data)
    found, notes = pixels(tmp_path / "a.tif")
    picture[16:24] = 0
    np.testing.assert_array_equal(found, picture)
    assert notes == "1 of 6 strips or tiles were never written: they read as 0"


def test_white_is_not_zero_where_the_header_does_not_say_so(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", noise(), metadata=None)
    changed(tmp_path / "a.tif", 262, tag=261)
    np.testing.assert_array_equal(pixels(tmp_path / "a.tif")[0], noise())


def broken_list(path, target: int) -> None:
    """Lets the last page of a file point to another one at `target`."""
    data = bytearray(path.read_bytes())
    (place,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[place : place + 2])
    data[place + 2 + 12 * count : place + 6 + 12 * count] = struct.pack("<I", target)
    path.write_bytes(data)


@pytest.mark.parametrize("target", [3, 9, 12345678, 2**32 - 1])
def test_rubbish_behind_a_whole_page(tmp_path, target):
    picture = noise()
    tifffile.imwrite(tmp_path / "a.tif", picture, metadata=None)
    broken_list(tmp_path / "a.tif", target)
    found, notes = pixels(tmp_path / "a.tif")
    np.testing.assert_array_equal(found, picture)
    assert "list of pages is broken" in notes


# PNG and JPEG --------------------------------------------------------------------------------------


def write_png(path, bits, rows, shape=SHAPE, interlaced=0):
    """A grey PNG that holds these rows, each behind a byte for its filter."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *shape[::-1], bits, 0, 0, 0, interlaced))
    end = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + end)


def test_a_png_above_pillows_limit(tmp_path, monkeypatch):
    picture = noise(dtype="uint8", high=256)
    imageio.imwrite(tmp_path / "a.png", picture)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    np.testing.assert_array_equal(pixels(tmp_path / "a.png")[0], picture)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_the_first_frame_of_an_animated_png(tmp_path):
    frames = [Image.fromarray(noise(dtype="uint8", high=256, seed=k)) for k in range(3)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    found, notes = pixels(tmp_path / "a.png")
    np.testing.assert_array_equal(found, np.asarray(frames[0]))
    assert "the first of 3 frames is read" in notes


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_png_of_few_bits_keeps_its_numbers(tmp_path, bits):
    """Which the decoder spreads over 8."""
    picture = noise(high=2**bits, dtype="uint8")
    places = picture[..., None] >> np.arange(bits)[::-1] & 1
    rows = np.packbits(places.reshape(len(picture), -1), axis=1)
    write_png(tmp_path / "a.png", bits, b"".join(b"\0" + row.tobytes() for row in rows))
    np.testing.assert_array_equal(pixels(tmp_path / "a.png")[0], picture)


def in_passes(picture, passes=((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))):  # fmt: skip
    """The rows of an interlaced PNG of 16 bits."""
    parts = (picture[top::down, left::right] for left, top, right, down in passes)
    return b"".join(b"\0" + row.astype(">u2").tobytes() for part in parts for row in part if row.size)  # fmt: skip


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 2), (9, 5), SHAPE])
def test_an_interlaced_png_and_one_that_ends_too_early(tmp_path, shape):
    picture, file = noise(shape, high=65536), tmp_path / "a.png"
    write_png(file, 16, in_passes(picture), shape, interlaced=1)
    np.testing.assert_array_equal(pixels(file)[0], picture)
    for rows in (in_passes(picture)[:-1], in_passes(picture[: len(picture) // 2])):
        write_png(file, 16, rows, shape, interlaced=1)
        with pytest.raises(UserError, match=r"a\.png: rows .*its last rows are missing"):
            pixels(file)


@pytest.mark.parametrize("kind", ["png", "baseline", "progressive"])
def test_half_a_file_never_passes(tmp_path, kind):
    """Not even where its head holds a small picture with an end of its own, or its text the end's letters."""
    picture, name = Image.fromarray(noise((300, 300), "uint8", 256)), f"a.{kind[:3]}"
    options = {"exif": b"Exif\0\0" + b"\xff\xd9" * 2000, "progressive": kind == "progressive"}
    picture.save(tmp_path / name, format="PNG" if kind == "png" else "JPEG", **({} if kind == "png" else options))  # fmt: skip
    data = (tmp_path / name).read_bytes()
    assert pixels(tmp_path / name)[0].shape == (300, 300)
    assert pixels_of(tmp_path / name, data + b"rubbish" * 9).shape == (300, 300)
    for share in (0.3, 0.5, 0.9, 0.999):
        cut = data[: int(share * len(data))] + (b"IEND" if kind == "png" else b"")
        (tmp_path / name).write_bytes(cut)
        assert "truncated or damaged" in refused(tmp_path / name)


def pixels_of(path, data: bytes) -> np.ndarray:
    path.write_bytes(data)
    return pixels(path)[0]


# OME-Zarr ------------------------------------------------------------------------------------------

AXES = [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]


def store_picture(group, picture, axes=AXES):
    scales = [{"axes": axes, "datasets": [{"path": "0"}], "version": "0.4"}]
    group.attrs.update({"multiscales": scales})
    group.create_array("0", data=picture, chunks=(1,) * (picture.ndim - 2) + (16, 16))


def test_the_largest_picture_of_a_series(tmp_path):
    group = zarr.create_group(tmp_path / "a.zarr", zarr_format=2, attributes={"bioformats2raw.layout": 3})  # fmt: skip
    pictures = [noise((9, 9)), noise(), noise(seed=2)]
    for number, picture in enumerate(pictures):
        store_picture(group.create_group(str(number)), picture)
    found, notes = pixels(tmp_path / "a.zarr")
    np.testing.assert_array_equal(found, pictures[1])
    assert "picture 1 of 3 is read, the first of the largest" in notes
    for number, picture in enumerate(pictures):
        np.testing.assert_array_equal(pixels(tmp_path / "a.zarr", series=number)[0], picture)


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
@pytest.mark.parametrize("version", [2, 3])
def test_an_outdated_copy_of_an_array_s_metadata_does_not_count(tmp_path, version):
    path = tmp_path / "a.zarr"
    store_picture(zarr.create_group(path, zarr_format=version), noise((24, 60)))
    zarr.consolidate_metadata(path)
    (path / ("0/.zarray" if version == 2 else "0/zarr.json")).unlink()
    picture = noise()
    zarr.create_array(path / "0", data=picture, chunks=(16, 16), zarr_format=version)
    np.testing.assert_array_equal(pixels(path)[0], picture)


@pytest.mark.parametrize(
    "attributes",
    [
        {"_FillValue": 4095},
        {"missing_value": 4095.0},
        {"_FillValue": base64.b64encode(struct.pack("<d", 4095)).decode()},
    ],
)
def test_what_a_store_calls_missing_is_not_read(tmp_path, attributes):
    picture = noise(high=4095)
    right = picture.astype("float32")
    picture[:3], right[:3] = 4095, np.nan
    group = zarr.create_group(tmp_path / "a.zarr")
    store_picture(group, picture)
    group["0"].attrs.update(attributes)
    found, notes = pixels(tmp_path / "a.zarr")
    np.testing.assert_array_equal(found, right)
    assert "pixels of 4095 are not read" in notes
    group["0"].attrs.put({"_FillValue": "no number"})
    np.testing.assert_array_equal(pixels(tmp_path / "a.zarr")[0], picture)


def test_axes_of_space_by_other_names(tmp_path):
    picture = noise((3, *SHAPE))
    axes = [{"name": "channel", "type": "channel"}]
    axes += [{"name": name, "type": "space"} for name in ("height", "width")]
    store_picture(zarr.create_group(tmp_path / "a.zarr"), picture, axes)
    np.testing.assert_array_equal(pixels(tmp_path / "a.zarr", channel=2)[0], picture[2])


@pytest.mark.parametrize(("version", "axes"), [("0.3", ["y", "x"]), ("0.2", None)])
def test_stores_of_an_old_version(tmp_path, version, axes):
    group = zarr.create_group(tmp_path / "a.zarr", zarr_format=2)
    group.create_array("0", data=noise())
    told = {"version": version, "datasets": [{"path": "0"}]} | ({"axes": axes} if axes else {})
    group.attrs["multiscales"] = [told]
    words = f"NGFF {version} is not read; convert it to 0.4 or 0.5"
    assert words in refused(tmp_path / "a.zarr")


def test_what_of_a_store_is_not_read_is_told(tmp_path):
    group = zarr.create_group(tmp_path / "a.zarr", zarr_format=2)
    store_picture(group, noise())
    group.attrs["multiscales"] = group.attrs["multiscales"] * 2
    group["0"].attrs.update({"scale_factor": 0.5, "add_offset": 100})
    found, notes = pixels(tmp_path / "a.zarr")
    np.testing.assert_array_equal(found, noise())
    for words in (
        "each stands for 0.5",
        "without 100 (add_offset)",
        "the first of 2 entries of `multi",
    ):
        assert words in notes


def test_tiles_inside_one_store_are_not_the_picture(tmp_path):
    root = zarr.create_group(tmp_path / "a.zarr", zarr_format=2, attributes={"bioformats2raw.layout": 3})  # fmt: skip
    for number in range(2):
        store_picture(root.create_group(str(number)), noise(seed=number))
    root.create_group("OME")
    for place, tiles in (("50.0", True), ("0", False)):  # which is where the first one is, 0.0
        images = "".join(
            f'<Image ID="Image:{k}"><Pixels><Plane PositionX="{x}" PositionY="0.0"/></Pixels></Image>'
            for k, x in enumerate(("0.0", place))
        )
        (tmp_path / "a.zarr" / "OME" / "METADATA.ome.xml").write_text(f"<OME>{images}</OME>")
        if tiles:
            assert "holds 2 pictures of one size at different" in refused(tmp_path / "a.zarr")
        else:
            assert "the first of the largest" in pixels(tmp_path / "a.zarr")[1]
        np.testing.assert_array_equal(pixels(tmp_path / "a.zarr", series=1)[0], noise(seed=1))


def test_axes_of_a_store_by_their_types(tmp_path):
    stack = noise((2, 3, *SHAPE))
    axes = [{"name": "tile", "type": "time"}, {"name": "dye", "type": "channel"}, *AXES]
    store_picture(zarr.create_group(tmp_path / "a.zarr", zarr_format=2), stack, axes)
    found = pixels(tmp_path / "a.zarr", channel=2, slice=1)[0]
    np.testing.assert_array_equal(found, stack[1, 2])


@pytest.mark.parametrize("version", [2, 3])
def test_chunks_that_are_not_there_are_told(tmp_path, version):
    picture = noise() + 1
    group = zarr.create_group(tmp_path / "a.zarr", zarr_format=version)
    store_picture(group, picture)
    assert pixels(tmp_path / "a.zarr")[1] == ""
    (tmp_path / "a.zarr" / ("0/1.1" if version == 2 else "0/c/1/1")).unlink()
    found, notes = pixels(tmp_path / "a.zarr")
    picture[16:32, 16:32] = 0
    np.testing.assert_array_equal(found, picture)
    assert notes == "1 of 12 chunks are not in the store, never written or lost: they read as 0"


@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize("version", [2, 3])
def test_a_chunk_of_blosc_that_is_cut_short(tmp_path, version, share):
    """Of what does not get smaller Blosc keeps the bytes as they are, and reads on behind their end."""
    picture = noise(high=65536)
    group = zarr.create_group(tmp_path / "a.zarr", zarr_format=version)
    scales = {"multiscales": [{"axes": AXES, "datasets": [{"path": "0"}], "version": "0.4"}]}
    group.attrs.update(scales if version == 2 else {"ome": scales})
    blosc = {"id": "blosc"} if version == 2 else zarr.codecs.BloscCodec()
    group.create_array("0", data=picture, chunks=(48, 30), compressors=[blosc])
    np.testing.assert_array_equal(pixels(tmp_path / "a.zarr")[0], picture)
    chunk = tmp_path / "a.zarr" / ("0/0.1" if version == 2 else "0/c/0/1")
    data = chunk.read_bytes()
    chunk.write_bytes(data[: int(share * len(data))])
    with open_mosaic(tmp_path / "a.zarr") as mosaic:
        np.testing.assert_array_equal(mosaic.read(0, 48, 0, 30), picture[:, :30])
        with pytest.raises(UserError, match=r"EOFError: chunk .* is cut short.* copy or export it"):
            mosaic.read(0, 48, 0, 60)


# What is refused: a line for each ------------------------------------------------------------------


def plate(path):
    wells = [{"path": "A/1"}, {"path": "B/2"}]
    zarr.create_group(path, zarr_format=2, attributes={"plate": {"wells": wells}})


def well(path):
    zarr.create_group(path, zarr_format=2, attributes={"well": {"images": [{"path": "0"}]}})


def void(path):
    """A store that takes a few bytes and says that it holds a million times a million pixels squared."""
    group = zarr.create_group(path, zarr_format=2)
    scales = [{"axes": AXES, "datasets": [{"path": "0"}], "version": "0.4"}]
    group.attrs.update({"multiscales": scales})
    group.create_array("0", shape=(10**9, 10**9), chunks=(512, 512), dtype="u2")


def labels(path):
    store_picture(zarr.create_group(path, zarr_format=2, attributes={"image-label": {}}), noise())


def small_first(path):
    group = zarr.create_group(path, zarr_format=2)
    levels = [{"path": name} for name in "10"]
    group.attrs["multiscales"] = [{"axes": AXES, "datasets": levels, "version": "0.4"}]
    for name, step in {"0": 1, "1": 2}.items():
        group.create_array(name, data=noise()[::step, ::step])


def other_names(path):
    """A store whose chunks lie in folders, which its metadata do not say."""
    store_picture(zarr.create_group(path, zarr_format=2), noise())
    for chunk in (path / "0").glob("[0-9]*"):
        row, _, column = chunk.name.partition(".")
        (path / "0" / "c" / row).mkdir(parents=True, exist_ok=True)
        chunk.rename(path / "0" / "c" / row / column)


def bomb(path):
    """A PNG of a hundred bytes that says that it holds 10^10 pixels."""
    write_png(path, 8, bytes(9), (100_000, 100_000))


def colours(**options):
    return lambda path: tifffile.imwrite(path, noise((*SHAPE, 4), "uint8", 256)[..., : options.pop("samples")], **options)  # fmt: skip


BAD = {
    "pipe.tif": (os.mkfifo, "is not a regular file; give a file or a folder"),
    "pipe.txt": (os.mkfifo, "is not a regular file"),
    "cmyk.tif": (colours(samples=4, photometric="separated"), r"ink \(CMYK\), not intensities"),
    "lab.tif": (colours(samples=3, photometric="cielab"), "CIE Lab colours, not intensities"),
    "ycc.tif": (colours(samples=3, photometric="ycbcr"), "YCbCr colours, not intensities"),
    "cfa.tif": (lambda path: tifffile.imwrite(path, noise(), photometric="cfa"), "colour-filter camera"),
    "cmyk.jpg": (lambda path: Image.fromarray(noise((*SHAPE, 4), "uint8", 256), "CMYK").save(path), r"ink \(CMYK\)"),
    "12.jpg": (lambda path: path.write_bytes(imagecodecs.jpeg8_encode(noise(), bitspersample=12)), "is damaged or not supported, such as a 12-bit"),
    "gel.tif": (lambda path: tifffile.imwrite(path, noise(), metadata=None, extratags=[(33445, 4, 1, 2), (33446, 5, 1, (1, 9))]), "not counts"),
    "places.tif": (lambda path: tifffile.imwrite(path, noise((3, *SHAPE)), photometric="minisblack", metadata={"axes": "RYX"}), "3 pictures of one size at different positions of the stage, tiles or fields; export the tiles"),
    "fewer.tif": (fewer_strips, "the TIFF is truncated or damaged"),
    "never.tif": (never_written, "the TIFF is truncated or damaged"),
    "24.tif": (lambda path: path.write_bytes(packed_tiff(noise(), 24)), "24 bits in this byte order"),
    "imaris.ims": (lambda path: path.write_bytes(b"\x89HDF\r\n"), r"HDF5, as Imaris writes \(IMS\), which is not read; export it"),
    "plate.zarr": (plate, "is a plate of 2 wells; give one field of one, such as .*plate.zarr/A/1/0"),
    "well.zarr": (well, "is a well of 1 fields; give one, such as .*well.zarr/0"),
    "labels.zarr": (labels, "its numbers are labels of objects, not intensities"),
    "small_first.zarr": (small_first, "level 0 is larger than 1, which is listed first"),
    "other_names.zarr": (other_names, "has none of the chunks that its metadata name"),
    "void.zarr": (void, "1000000000 x 1000000000 px, more than any disk holds"),
    "bomb.png": (bomb, "is compressed in pieces of 9537 MiB"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(tmp_path, name):
    make, message = BAD[name]
    make(tmp_path / name)
    with pytest.raises(UserError, match=message):
        open_mosaic(tmp_path / name)
    refused(tmp_path / name)


# What the header knows -----------------------------------------------------------------------------


def test_what_headers_know(tmp_path):
    stack = noise((2, *SHAPE))
    known = {
        "axes": "CYX", "PhysicalSizeX": 162.5, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.1625,
        "Channel": {"Name": ["DAPI", "GFP"], "EmissionWavelength": [461, 0.509], "EmissionWavelengthUnit": ["nm", "µm"]},
    }  # fmt: skip
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, metadata=known)
    for channel, wave in enumerate((0.461, 0.509)):
        with open_mosaic(tmp_path / "a.ome.tif", channel=channel) as mosaic:
            assert mosaic.optics == {"pixel_size_um": 0.1625, "wavelength_um": wave}
            assert mosaic.channels == ["DAPI", "GFP"]
    tifffile.imwrite(
        tmp_path / "b.tif", stack[0], imagej=True, resolution=(4, 4), metadata={"unit": "micron"}
    )
    tifffile.imwrite(tmp_path / "c.tif", stack[0], resolution=(300, 300), resolutionunit="inch")
    tifffile.imwrite(
        tmp_path / "e.tif", stack[0], imagej=True, resolution=(4, 2), metadata={"unit": "um"}
    )
    with open_mosaic(tmp_path / "e.tif") as mosaic:
        assert mosaic.optics == {} and "0.25 um wide and 0.5 um high" in mosaic.notes[-1]
    for name, optics in {"b.tif": {"pixel_size_um": 0.25}, "c.tif": {}}.items():
        with open_mosaic(tmp_path / name) as mosaic:
            assert mosaic.optics == optics
    # Of a resolution alone: what can be a pixel at the sample, not one of the camera's chip. Of isoplan's own results what
    # their OME-XML says.
    for pixel, bare, optics in (
        (0.1, True, {"pixel_size_um": 0.1}),
        (6.5, True, {}),
        (6.5, False, {"pixel_size_um": 6.5}),
    ):
        tags = tiff_tags(SHAPE, pixel) | ({"ome": False, "metadata": None} if bare else {})
        tifffile.imwrite(tmp_path / "f.tif", stack[0], **tags)
        with open_mosaic(tmp_path / "f.tif") as mosaic:
            assert mosaic.optics == optics
    own = [(51123, "s", 0, json.dumps({"PixelSizeUm": 0.108}), True)]
    tifffile.imwrite(tmp_path / "g.tif", stack[0], extratags=own)
    with open_mosaic(tmp_path / "g.tif") as mosaic:
        assert mosaic.optics == {"pixel_size_um": 0.108}
    axes = [axis | {"unit": "nanometer"} for axis in AXES]
    group = zarr.create_group(tmp_path / "d.zarr", zarr_format=2)
    store_picture(group, stack[0], axes)
    scales = json.loads(json.dumps(group.attrs["multiscales"]))
    scales[0]["datasets"][0]["coordinateTransformations"] = [{"type": "scale", "scale": [325, 325]}]
    group.attrs["multiscales"] = scales
    with open_mosaic(tmp_path / "d.zarr") as mosaic:
        assert mosaic.optics == {"pixel_size_um": 0.325}
    # A store that has a unit and no scale does not say that a pixel is 1 of it.
    del scales[0]["datasets"][0]["coordinateTransformations"]
    group.attrs["multiscales"] = scales
    with open_mosaic(tmp_path / "d.zarr") as mosaic:
        assert mosaic.optics == {}


@pytest.mark.parametrize(("first", "known"), [(0.1, {}), (0.2, {"pixel_size_um": 0.2})])
def test_a_header_that_knows_of_more_pictures_than_the_file(tmp_path, first, known):
    """The first picture lies in a file that is not there: what is said of it is not said of the second."""
    elsewhere = '<UUID FileName="gone.ome.tif">urn:uuid:11111111-1111-1111-1111-111111111111</UUID>'
    images = "".join(
        f'<Image ID="Image:{k}"><Pixels ID="Pixels:{k}" DimensionOrder="XYZCT" Type="uint16" SizeX="{SHAPE[1]}" '
        f'SizeY="{SHAPE[0]}" SizeZ="1" SizeC="1" SizeT="1" PhysicalSizeX="{size}" PhysicalSizeY="{size}">'
        f'<Channel ID="Channel:{k}:0" SamplesPerPixel="1"/><TiffData IFD="0" PlaneCount="1">{place}</TiffData>'
        "</Pixels></Image>"
        for k, (size, place) in enumerate([(first, elsewhere), (0.2, "")])
    )
    xml = f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">{images}</OME>'
    tifffile.imwrite(tmp_path / "a.ome.tif", noise(), description=xml, metadata=None)
    with open_mosaic(tmp_path / "a.ome.tif") as mosaic:
        np.testing.assert_array_equal(mosaic.read(0, 48, 0, 60), noise())
        assert mosaic.optics == known


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("cf=0\nc0=-32768\nc1=1", "numbers are read as stored; ImageJ shows -32768 + 1 * number"),
        ("cf=1\nc0=1\nc1=2\nc2=3", "numbers are read as stored; ImageJ shows a function of it"),
        ("images=6\nchannels=2\nslices=3", "CAUTION: ImageJ's header lists other slices and"),
        ("cf=0\nc0=0\nc1=1", ""),
    ],
)
def test_what_imagej_says_of_numbers_and_slices_is_told(tmp_path, lines, words):
    stack = noise((3, *SHAPE))
    picture = stack if "images" in lines else stack[0]
    description = f"ImageJ=1.53t\n{lines}\n"
    how = {"photometric": "minisblack", "metadata": None, "description": description}
    tifffile.imwrite(tmp_path / "a.tif", picture, **how)
    found, notes = pixels(tmp_path / "a.tif", slice=0)
    np.testing.assert_array_equal(found, stack[0])
    assert words in notes and bool(words) == bool(notes)
    if "images" in lines:  # where pages are missing that would have been read
        tifffile.imwrite(tmp_path / "b.tif", picture, compression="zlib", **how)
        assert "truncated or damaged" in refused(tmp_path / "b.tif", slice=2)


def test_what_is_given_stands_over_the_header():
    known = {"pixel_size_um": 0.1625, "na": 1.4}
    values, notes = complete_optics({"pixel_size_um": None, "na": 0.9}, known)
    assert values == {"pixel_size_um": 0.1625, "na": 0.9, "wavelength_um": None}
    assert notes == [
        "pixel_size_um 0.1625, as the file says",
        "na is 0.9 as given, though the file says 1.4",
    ]
    values, notes = complete_optics({"pixel_size_um": 325.0, "wavelength_um": 0.5}, {})
    assert values == {"pixel_size_um": 325.0, "na": None, "wavelength_um": 0.5}
    assert notes == ["CAUTION: pixel_size_um 325 is unusual; check its unit"]
    assert complete_optics({"pixel_size_um": 0.163}, known)[1] == ["na 1.4, as the file says"]
