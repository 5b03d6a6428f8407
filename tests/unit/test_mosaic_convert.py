"""Pictures that are not read by window: decoded as they come, and made into OME-Zarr."""

import json
from types import SimpleNamespace

import convert_mosaic
import imageio.v3 as imageio
import measure_mosaic
import numpy as np
import pytest
import tifffile
from isoplan.base.errors import UserError
from isoplan.mosaic import convert, reader, strips, tiff
from isoplan.mosaic.convert import memory_mb
from isoplan.mosaic.reader import open_mosaic
from ome_zarr_models.v05.image import Image
from zarr import open_group

SHAPE = (151, 172)


def noise(shape=SHAPE, dtype="uint16", high=4096):
    return np.random.default_rng(1).integers(0, high, shape).astype(dtype)


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch):
    """Small pictures take the way of those of 100 Mpx."""
    monkeypatch.setattr(reader, "HOLD_PX", 100)
    monkeypatch.setattr(reader, "HELD_BYTES", 1000)
    monkeypatch.setattr(reader, "PIECE_BYTES", 1000)
    monkeypatch.setattr(tiff, "TRIED_PX", 100)
    monkeypatch.setattr(convert, "SHARD_PX", 64)
    monkeypatch.setattr(strips, "_READ_BYTES", 777)


def converted(path, tmp_path, **choice):
    """The array that a file is converted to, and what was said of it."""
    with open_mosaic(path, **choice, large_pieces=True) as mosaic:
        assert not mosaic.by_window and memory_mb(mosaic) > 0
        convert.convert(
            mosaic, tmp_path / "a.ome.zarr", pixel_size_um=0.5, attributes={"notes": mosaic.notes}
        )
    assert {file.name for file in tmp_path.iterdir()} == {path.name, "a.ome.zarr"}
    Image.from_zarr(open_group(tmp_path / "a.ome.zarr", mode="r"))
    with open_mosaic(tmp_path / "a.ome.zarr", large_pieces=True) as store:
        return store._source.array[:]


@pytest.mark.parametrize(
    "options",
    [
        {"rowsperstrip": 151},
        {"rowsperstrip": 40},
        {"rowsperstrip": 151, "predictor": True},
        {"rowsperstrip": 151, "predictor": True, "byteorder": ">", "bigtiff": True},
        {"tile": (128, 160)},
        {"rowsperstrip": 151, "compression": "lzw"},
        {"rowsperstrip": 151, "compression": "packbits"},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_the_picture_stays_as_it_is(tmp_path, options, dtype):
    picture = noise(dtype=dtype, high=200)
    options = {"compression": "zlib"} | options
    tifffile.imwrite(tmp_path / "a.tif", picture, **options)
    with open_mosaic(tmp_path / "a.tif", large_pieces=True) as mosaic:
        streams = options["compression"] == "zlib" and "tile" not in options
        assert mosaic.streams == streams
        with pytest.raises(ValueError, match="not read by window"):
            mosaic.read(0, 1, 0, 1)
    array = converted(tmp_path / "a.tif", tmp_path)
    assert array.dtype == dtype
    np.testing.assert_array_equal(array, picture)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colours_and_channels(tmp_path, planar):
    picture = noise((*SHAPE, 3), "uint8", 256)
    stored = picture if planar == "contig" else np.moveaxis(picture, -1, 0)
    tifffile.imwrite(
        tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar, compression="zlib",
        rowsperstrip=151,
    )  # fmt: skip
    grey = converted(tmp_path / "a.tif", tmp_path)
    assert grey.dtype == np.float32
    np.testing.assert_allclose(grey, picture @ reader.LUMINANCE, rtol=1e-6)
    np.testing.assert_array_equal(
        converted(tmp_path / "a.tif", tmp_path, channel=2), picture[..., 2]
    )


def test_the_brightest_slice_and_a_named_channel(tmp_path):
    stack = np.stack([noise((2, *SHAPE), high=high) for high in (50, 900, 300)])
    tifffile.imwrite(
        tmp_path / "a.ome.tif", stack, metadata={"axes": "ZCYX"}, compression="zlib",
        rowsperstrip=151,
    )  # fmt: skip
    np.testing.assert_array_equal(
        converted(tmp_path / "a.ome.tif", tmp_path, channel=1), stack[1, 1]
    )
    np.testing.assert_array_equal(converted(tmp_path / "a.ome.tif", tmp_path, slice=2), stack[2, 0])


def test_png(tmp_path):
    imageio.imwrite(tmp_path / "a.png", noise())
    np.testing.assert_array_equal(converted(tmp_path / "a.png", tmp_path), noise())


def test_what_float32_holds_as_it_is_read(tmp_path):
    picture = noise(dtype="uint32", high=2**31)
    tifffile.imwrite(tmp_path / "a.tif", picture, compression="zlib", rowsperstrip=151)
    array = converted(tmp_path / "a.tif", tmp_path)
    np.testing.assert_array_equal(array, picture.astype(np.float32))


@pytest.mark.parametrize("damage", ["flip", "short", "checksum"])
def test_a_damaged_strip_leaves_no_store(tmp_path, damage):
    tifffile.imwrite(tmp_path / "a.tif", noise(), compression="zlib", rowsperstrip=151)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        page = tiff.pages[0]
        offset, length = page.dataoffsets[0], page.databytecounts[0]
        place = page.tags["StripByteCounts"].valueoffset
    with open(tmp_path / "a.tif", "r+b") as handle:
        if damage == "flip":
            handle.seek(offset + length // 2)
            handle.write(b"\xff" * 40)
        elif damage == "checksum":  # behind the last pixel
            handle.seek(offset + length - 1)
            handle.write(b"\xaa")
        else:
            handle.seek(place)
            handle.write((length // 2).to_bytes(4, "little"))
    with (
        open_mosaic(tmp_path / "a.tif", large_pieces=True) as mosaic,
        pytest.raises(UserError, match=r"a\.tif: rows \d+ to \d+ cannot be read .* is damaged"),
    ):
        convert.convert(mosaic, tmp_path / "a.ome.zarr", pixel_size_um=1, attributes={})
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"]


def test_a_damaged_file_is_recorded_and_a_full_disk_is_not(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", noise(), compression="zlib", rowsperstrip=151)
    whole, done = (tmp_path / "a.tif").read_bytes(), tmp_path / "a.done"
    (tmp_path / "a.tif").write_bytes(whole.replace(whole[900:940], b"\xff" * 40))
    row = {"mosaic": "a", "path": str(tmp_path / "a.tif"), "pixel_size_um": 1.0}
    params = {"store": str(tmp_path / "made/a.ome.zarr"), "library": {}}
    job = SimpleNamespace(
        params=SimpleNamespace(row=row | {"channel": None, "slice": None}, **params),
        output=SimpleNamespace(done=done),
    )
    convert_mosaic.main(job)
    assert done.read_text().startswith(f"{convert.REFUSED}{tmp_path}/a.tif: rows ")
    assert not list((tmp_path / "made").iterdir())
    (tmp_path / "a.tif").write_bytes(whole)
    convert_mosaic.main(job)
    assert done.read_text().startswith(f"{tmp_path}/a.tif converted")
    monkeypatch.undo()
    facts = tmp_path / "a.json"
    measuring = SimpleNamespace(
        input=SimpleNamespace(source=str(done)),
        output=SimpleNamespace(facts=facts),
        params=SimpleNamespace(**vars(job.params), background=0, files=None),
    )
    measure_mosaic.main(measuring)
    told = json.loads(facts.read_text())
    assert (told["path"], told["slice"]) == (params["store"], None)
    assert told["mean"] == pytest.approx(noise().mean())

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    done.unlink()
    monkeypatch.setattr(convert.ngff, "open_array", full)
    with pytest.raises(UserError, match="No space left"):
        convert_mosaic.main(job)
    assert not done.exists()


def test_an_older_store_is_replaced_and_what_a_kill_left(tmp_path):
    folder = tmp_path / "converted"
    part = folder / ".a.ome.zarr.part" / "a.ome.zarr"
    part.mkdir(parents=True)
    (part / "zarr.json").write_text("{}")
    for high in (100, 4000):
        tifffile.imwrite(tmp_path / "a.tif", noise(high=high), compression="zlib", rowsperstrip=151)
        with open_mosaic(tmp_path / "a.tif", large_pieces=True) as mosaic:
            convert.convert(mosaic, folder / "a.ome.zarr", pixel_size_um=1, attributes={})
        assert [file.name for file in folder.iterdir()] == ["a.ome.zarr"]
    with open_mosaic(folder / "a.ome.zarr", large_pieces=True) as store:
        np.testing.assert_array_equal(store._source.array[:], noise(high=4000))


def test_what_is_too_large_to_decode_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(convert, "LARGEST_PIECE", 10_000)
    tifffile.imwrite(tmp_path / "lzw.tif", noise(), compression="lzw", rowsperstrip=151)
    tifffile.imwrite(tmp_path / "zip.tif", noise(), compression="zlib", rowsperstrip=151)
    with open_mosaic(tmp_path / "zip.tif", large_pieces=True) as mosaic:
        assert memory_mb(mosaic) > 0  # decoded as it comes, it has no limit
    with (
        open_mosaic(tmp_path / "lzw.tif", large_pieces=True) as mosaic,
        pytest.raises(UserError, match=r"lzw\.tif: .* too large to decode; save it as tiled TIFF"),
    ):
        memory_mb(mosaic)


def test_what_is_read_by_window_needs_no_conversion(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", noise(), compression="zlib", rowsperstrip=2)
    tifffile.imwrite(tmp_path / "b.tif", noise())
    for name in ("a.tif", "b.tif"):
        with open_mosaic(tmp_path / name) as mosaic:
            assert memory_mb(mosaic) == 0
