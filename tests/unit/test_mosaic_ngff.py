"""OME-Zarr stores: readable by others, exact in their coordinates, guarded against damage."""

import numpy as np
import pytest
import zarr
from isoplan.base.errors import UserError
from isoplan.mosaic import ngff
from isoplan.mosaic.reader import open_mosaic
from isoplan.mosaic.tiles import cell_grid, centre_px, shards
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from ome_zarr_models.v05.image import Image

PIXEL_UM = 0.325
SHAPE = (301, 442)
CHANNELS = [
    {"name": "focus", "unit": "waves", "low": 0, "high": 0.8},
    {"name": "validity", "unit": "1"},
]


def make_image(path, dtype="float32", shape=SHAPE, levels=4, **options):
    ngff.create_image(
        path,
        shape,
        dtype=dtype,
        pixel_size_um=PIXEL_UM,
        chunk_px=32,
        shard_px=64,
        levels=levels,
        attributes={"method": "estimated"},
        **options,
    )
    picture = np.random.default_rng(0).integers(0, 60000, shape).astype(dtype)
    array = ngff.open_array(path, mode="r+")
    for unit in shards(shape, 64):
        array[unit] = picture[unit]
    return picture


def make_map(path, stride=16, cells=None):
    cells = cells or [cell_grid(length, stride) for length in SHAPE]
    ngff.create_map(
        path,
        CHANNELS,
        cells,
        stride_px=stride,
        pixel_size_um=PIXEL_UM,
        shard_cells=8,
        attributes={"network": "small"},
    )
    return (2, *cells)


def transforms(path):
    """(scale, translation) of each level, as an independent model of the format reads them."""
    image = Image.from_zarr(zarr.open_group(path, mode="r"))
    datasets = image.ome_attributes.multiscales[0].datasets
    return [
        (d.coordinateTransformations[0].scale, d.coordinateTransformations[1].translation)
        for d in datasets
    ]


def test_image_is_valid_and_read_back_by_others(tmp_path):
    path = tmp_path / "estimated.ome.zarr"
    picture = make_image(path, window=(10, 900))
    ngff.build_pyramid(path)
    assert len(transforms(path)) == 4
    ours = zarr.open_group(path, mode="r").attrs.asdict()
    assert {"ome", "isoplan"} <= ours.keys() and ours["ome"]["version"] == "0.5"
    node = next(iter(Reader(parse_url(path))()))
    assert node.metadata["contrast_limits"] == [[10.0, 900.0]]
    assert node.metadata["channel_names"] == ["estimated"]
    assert [axis["unit"] for axis in node.metadata["axes"]] == ["micrometer"] * 2
    np.testing.assert_array_equal(np.asarray(node.data[0]), picture)
    assert [level.shape for level in node.data] == [(301, 442), (151, 221), (76, 111), (38, 56)]
    assert ngff.read_attributes(path) == {"method": "estimated"}
    with open_mosaic(path) as mosaic:
        np.testing.assert_array_equal(mosaic.read(5, 90, 7, 300), picture[5:90, 7:300])


def test_map_is_valid_and_raw_is_no_level(tmp_path):
    path = tmp_path / "small.zarr"
    shape = make_map(path)
    assert len(transforms(path)) == 1
    node = next(iter(Reader(parse_url(path))()))
    assert node.data[0].shape == shape
    assert node.metadata["channel_names"] == ["focus", "validity"]
    assert np.isnan(ngff.open_array(path, "raw")[:]).all()
    ours = ngff.read_attributes(path)
    assert ours["channels"] == [
        {"name": "focus", "unit": "waves"},
        {"name": "validity", "unit": "1"},
    ]
    assert (ours["stride_px"], ours["pixel_size_um"], ours["network"]) == (16, PIXEL_UM, "small")


def test_pyramid_and_map_lie_exactly_over_the_picture(tmp_path):
    """A linear ramp has, at every sample of every level, the value of the sample's own place."""
    shape = (256, 320)
    make_image(tmp_path / "ramp.ome.zarr", shape=shape)
    y_um, x_um = (np.arange(length) * PIXEL_UM for length in shape)
    ramp = (3 * y_um[:, None] + 5 * x_um[None, :]).astype(np.float32)
    level = ngff.open_array(tmp_path / "ramp.ome.zarr", mode="r+")
    for unit in shards(shape, 64):
        level[unit] = ramp[unit]
    ngff.build_pyramid(tmp_path / "ramp.ome.zarr")
    for number, (scale, translation) in enumerate(transforms(tmp_path / "ramp.ome.zarr")):
        values = ngff.open_array(tmp_path / "ramp.ome.zarr", str(number))[:]
        y, x = (
            start + step * np.arange(length)
            for start, step, length in zip(translation, scale, values.shape, strict=True)
        )
        np.testing.assert_allclose(values, 3 * y[:, None] + 5 * x, rtol=1e-5)

    # A cell of a map is where the pyramid level of the same step has its sample.
    make_map(tmp_path / "map.zarr", stride=8, cells=(32, 40))
    (scale, translation) = transforms(tmp_path / "map.zarr")[0]
    level_3 = transforms(tmp_path / "ramp.ome.zarr")[3]
    assert (scale[1:], translation[1:]) == (list(level_3[0]), list(level_3[1]))
    # tiles.centre_px speaks edge coordinates, half a pixel from those of the samples.
    for cell in range(3):
        centre_um = (centre_px(cell, 8) - 0.5) * PIXEL_UM
        assert translation[1] + cell * scale[1] == pytest.approx(centre_um)


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_pyramid_is_the_mean_of_the_pixels_there_are(tmp_path, dtype):
    picture = make_image(tmp_path / "a.zarr", dtype)
    ngff.build_pyramid(tmp_path / "a.zarr")
    half = ngff.open_array(tmp_path / "a.zarr", "1")[:]
    assert half.dtype == dtype
    tolerance = 0.5 if dtype == "uint16" else 0.01
    for y, x in [(0, 0), (31, 32), (70, 220), (150, 3), (150, 220)]:
        mean = picture[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean(dtype=float)
        assert abs(half[y, x] - mean) <= tolerance


def test_levels_go_down_to_512_px(tmp_path):
    for length, levels in {512: 1, 513: 2, 1025: 3}.items():
        ngff.create_image(
            tmp_path / "a.zarr", (20, length), dtype="uint16", pixel_size_um=1, attributes={}
        )
        assert len(transforms(tmp_path / "a.zarr")) == levels
    assert ngff.open_array(tmp_path / "a.zarr").fill_value == 0


@pytest.mark.parametrize(
    ("shard", "chunk"), [(1024, 256), (1000, 250), (300, 300), (521, 521), (1536, 256), (64, 64)]
)
def test_chunks_divide_shards(tmp_path, shard, chunk):
    ngff.create_image(
        tmp_path / "a.zarr",
        (20, 2000),
        dtype="uint16",
        pixel_size_um=1,
        shard_px=shard,
        attributes={},
    )
    picture = np.random.default_rng(0).integers(0, 60000, (20, 2000), np.uint16)
    for name in ("0", "1"):
        array = ngff.open_array(tmp_path / "a.zarr", name, "r+")
        assert (array.chunks, array.shards) == ((chunk, chunk), (shard, shard))
    level = ngff.open_array(tmp_path / "a.zarr", "0", "r+")
    for unit in shards(level.shape, shard):
        ngff.write_shards(level, unit, picture[unit])
    np.testing.assert_array_equal(level[:], picture)


# Whole numbers ---------------------------------------------------------------------------------


def test_counts_stay_counts_where_they_fit():
    assert ngff.scale_for("uint16", 4095, counts=True) == 1
    assert ngff.scale_for("uint8", 100, counts=True) == 1
    assert ngff.scale_for("float32", 1e9, counts=False) == 1
    for maximum in (65535, 1e6):
        scale = ngff.scale_for("uint16", maximum, counts=True)
        assert scale * 65535 == pytest.approx(2 * maximum)
    assert ngff.scale_for("uint8", 0.5, counts=False) == pytest.approx(1 / 255)
    assert ngff.scale_for("uint16", 0, counts=False) == 1  # nothing there to scale by


@pytest.mark.parametrize(("dtype", "scale"), [("uint16", 1.0), ("uint16", 0.05), ("uint8", 12.5)])
def test_whole_numbers_give_back_their_values(tmp_path, dtype, scale):
    path, shape = tmp_path / "a.ome.zarr", (64, 64)
    ngff.create_image(
        path, shape, dtype=dtype, pixel_size_um=PIXEL_UM, scale=scale, chunk_px=32, shard_px=64,
        levels=2, window=(0, 100 * scale), attributes={},
    )  # fmt: skip
    array, top = ngff.open_array(path, "0", "r+"), np.iinfo(dtype).max
    values = np.random.default_rng(0).uniform(0, 0.9 * top * scale, shape).astype(np.float32)
    values[0, :3] = 2 * top * scale, np.inf, np.nan
    values[1, 0] = -7
    ngff.write_shards(array, (slice(0, 64), slice(0, 64)), ngff.to_stored(values, array))
    back = ngff.ScaledArray(path)[:, :]
    assert back.dtype == np.float32
    assert back[0, :3] == pytest.approx([top * scale, top * scale, 0])
    assert back[1, 0] == 0
    assert np.abs(back - values)[2:].max() <= 0.51 * scale
    assert ngff.clipped_share(path) == 2 / 64**2
    ngff.build_pyramid(path)
    mean = back[2:4, 2:4].mean()
    assert abs(ngff.ScaledArray(path, "1")[1, 1] - mean) <= 0.51 * scale
    # What others read: xarray applies the arrays' attributes; viewers show stored numbers.
    transforms(path)
    node = next(iter(Reader(parse_url(path))()))
    assert node.metadata["contrast_limits"] == [[0.0, pytest.approx(100)]]
    stored = ngff.read_attributes(path)["stored"]
    assert stored == {"dtype": dtype, "scale": scale, "offset": 0.0}
    for name in ("0", "1"):
        attributes = zarr.open_array(path / name, mode="r").attrs.asdict()
        assert attributes == ({} if scale == 1 else {"scale_factor": scale, "add_offset": 0.0})


@pytest.mark.parametrize("kind", ["image", "map"])
def test_a_flipped_byte_raises_on_reading(tmp_path, kind):
    path = tmp_path / "a.zarr"
    if kind == "image":
        make_image(path)
        shard = path / "0" / "c" / "1" / "2"
    else:
        shape = make_map(path)
        ngff.open_array(path, "0", "r+")[:] = np.random.default_rng(0).random(shape)
        shard = path / "0" / "c" / "0" / "1" / "2"
    whole = bytearray(shard.read_bytes())
    for place in (0, len(whole) // 3, len(whole) // 2, len(whole) - 10):  # the last is the index
        damaged = whole.copy()
        damaged[place] ^= 1
        shard.write_bytes(damaged)
        with pytest.raises(Exception, match=r"(?i)checksum"):
            ngff.open_array(path)[...]
        if kind == "image":
            with open_mosaic(path) as mosaic, pytest.raises(UserError, match="damaged"):
                mosaic.read(0, *SHAPE[:1], 0, SHAPE[1])
    shard.write_bytes(whole)
    ngff.open_array(path)[...]


@pytest.mark.parametrize("place", [(1, 2), (4, 6)], ids=["inside", "edge"])
@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[::-1]])
def test_a_damaged_shard_can_be_written_again(tmp_path, place, damage):
    path = tmp_path / "a.zarr"
    picture = make_image(path)
    shard = path / "0" / "c" / str(place[0]) / str(place[1])
    shard.write_bytes(damage(shard.read_bytes()))
    array = ngff.open_array(path, mode="r+")
    window = shards(SHAPE, 64)[place[0] * 7 + place[1]]
    ngff.write_shards(array, window, picture[window])
    np.testing.assert_array_equal(array[:], picture)


def test_shards_are_written_whole(tmp_path):
    path = tmp_path / "a.zarr"
    shape = make_map(path)
    array = ngff.open_array(path, "raw", "r+")
    ngff.write_shards(array, (slice(None),) * 3, np.ones(shape, np.float32))
    ngff.write_shards(array, (slice(None), slice(0, 8), slice(8, 16)), 2.0)
    assert array[:].sum() == np.prod(shape) + 2 * 64
    for window in [(slice(0, 4), slice(0, 8)), (slice(1, 8), slice(0, 8))]:
        with pytest.raises(ValueError, match="whole shards"):
            ngff.write_shards(array, (slice(None), *window), 3.0)
    assert array[:].max() == 2


def test_one_shard_is_one_file_also_where_all_is_fill(tmp_path):
    make_image(tmp_path / "a.zarr", levels=1)
    array = ngff.open_array(tmp_path / "a.zarr", mode="r+")
    files = [f for f in (tmp_path / "a.zarr" / "0" / "c").rglob("*") if f.is_file()]
    assert len(files) == len(shards(SHAPE, 64))
    array[:] = np.nan
    assert len([f for f in files if f.is_file()]) == len(files)


def test_an_older_store_is_replaced_and_nothing_is_left_beside(tmp_path):
    path = tmp_path / "a.zarr"
    make_image(path)
    (tmp_path / ".a.zarr.part").mkdir()  # what a kill leaves
    make_map(path)
    assert ngff.read_attributes(path)["network"] == "small"
    assert np.isnan(ngff.open_array(path)[:]).all()
    assert [file.name for file in tmp_path.iterdir()] == ["a.zarr"]


def test_a_half_made_store_never_stands_in_its_place(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zarr.Group, "create_array", fail)
    with pytest.raises(UserError, match=r"a\.zarr: cannot be written \(No space left"):
        make_map(tmp_path / "a.zarr")
    assert not (tmp_path / "a.zarr").exists()


def test_what_is_in_the_way_is_not_deleted(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="not a Zarr store"):
        make_map(tmp_path / "a.zarr")
    assert (tmp_path / "a.zarr" / "mine.txt").exists()
    (tmp_path / "file").write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        make_map(tmp_path / "file" / "a.zarr")


def test_missing_stores_and_arrays(tmp_path):
    make_map(tmp_path / "a.zarr")
    for path, name in [(tmp_path / "b.zarr", "0"), (tmp_path / "a.zarr", "7")]:
        with pytest.raises(UserError, match=f"no array '{name}'"):
            ngff.open_array(path, name)
    for path in (tmp_path / "b.zarr", tmp_path):
        with pytest.raises(UserError, match="not written by isoplan"):
            ngff.read_attributes(path)
    with pytest.raises(UserError):
        ngff.open_array(tmp_path / "b.zarr", "0", "r+")
    assert not (tmp_path / "b.zarr").exists()


@pytest.mark.parametrize("name", ["zarr.json", "0/zarr.json"])
def test_a_changed_digit_of_the_metadata_is_noticed(tmp_path, name):
    path = tmp_path / "a.ome.zarr"
    make_image(path)
    assert ngff.read_attributes(path) == {"method": "estimated"}
    text = (path / name).read_text()
    old = "0.325" if name == "zarr.json" else str(SHAPE[0])
    assert old in text
    (path / name).write_text(text.replace(old, old[:-1] + "7"))
    with pytest.raises(UserError, match="metadata were changed or damaged"):
        ngff.read_attributes(path)


def test_whole_numbers_keep_a_mask_beside_them(tmp_path):
    made = {"pixel_size_um": 1, "shard_px": 64, "chunk_px": 32, "attributes": {}}
    ngff.create_image(tmp_path / "a.zarr", (70, 600), dtype="uint8", mask=True, **made)
    ngff.create_image(tmp_path / "b.zarr", (70, 600), dtype="float32", mask=True, **made)
    assert ngff.missing_mask(tmp_path / "b.zarr") is None
    block = np.arange(64 * 64, dtype=np.float32).reshape(64, 64) % 200
    block[5:9, 7] = np.nan
    array = ngff.open_array(tmp_path / "a.zarr", "0", "r+")
    ngff.write_shards(array, np.s_[0:64, 0:64], ngff.to_stored(block, array))
    ngff.write_shards(
        ngff.missing_mask(tmp_path / "a.zarr", "r+"), np.s_[0:64, 0:64], np.isnan(block)
    )
    np.testing.assert_array_equal(ngff.ScaledArray(tmp_path / "a.zarr")[0:64, 0:64], block)
    assert np.isfinite(ngff.ScaledArray(tmp_path / "a.zarr")[64:70, :]).all()
    with open_mosaic(tmp_path / "a.zarr") as mosaic:
        np.testing.assert_array_equal(mosaic.read(0, 64, 0, 64), block)
        assert any("mask marks as unknown" in note for note in mosaic.notes)
    ngff.build_pyramid(tmp_path / "a.zarr")  # of the picture alone
