"""Unstitched tiles by their positions: the picture they make, its seams, and tables that are wrong."""

import numpy as np
import pytest
import tifffile
from isoplan.base.errors import UserError
from isoplan.mosaic import placed, positions, reader
from isoplan.mosaic.measure import measure
from isoplan.mosaic.reader import open_mosaic
from tile_folders import fiji, grid, mist, own, write_tiles

SHAPE = (300, 410)
BOXES = grid(SHAPE, (120, 150), (90, 130))  # 3 x 3 tiles, 30 and 20 px of overlap


def noise(shape=SHAPE, dtype="uint16", seed=0):
    return np.random.default_rng(seed).integers(1, 4000, shape).astype(dtype)


def folder_of(tmp_path, picture=None, boxes=BOXES, form=own, name="positions.tsv", **options):
    """A folder of tiles with their table, placed where they were cut."""
    names = write_tiles(tmp_path, noise() if picture is None else picture, boxes, **options)
    (tmp_path / name).write_text(form(names, [(y0, x0) for y0, _, x0, _ in boxes]))
    return names


def marked(tmp_path, boxes=BOXES) -> None:
    """Tiles that hold nothing but their own number, so that a pixel tells where it comes from."""
    folder_of(tmp_path, boxes=boxes)
    for number, (y0, y1, x0, x1) in enumerate(boxes):
        flat = np.full((y1 - y0, x1 - x0), number, np.uint16)
        tifffile.imwrite(tmp_path / f"tile{number}.tif", flat)


@pytest.mark.parametrize(
    ("form", "name"),
    [(own, "where.tsv"), (fiji, "TileConfiguration.txt"), (mist, "img-global-positions-0.txt")],
)
@pytest.mark.parametrize("shift", [(0, 0), (-35.0, 1000.25)])
def test_tiles_cut_from_a_picture_make_it_again(tmp_path, form, name, shift):
    picture = noise()
    names = write_tiles(tmp_path, picture, BOXES)
    text = form(names, [(y0 + shift[0], x0 + shift[1]) for y0, _, x0, _ in BOXES])
    (tmp_path / name).write_text(text)
    for path in (tmp_path, tmp_path / name):
        with open_mosaic(path) as mosaic:
            assert (mosaic.shape, mosaic.dtype) == (SHAPE, np.uint16)
            np.testing.assert_array_equal(mosaic.read(0, 300, 0, 410), picture)
            np.testing.assert_array_equal(mosaic.read(77, 201, 99, 300), picture[77:201, 99:300])
            assert any("at most 0.25 px" in note for note in mosaic.notes) == (shift[1] % 1 > 0)


def test_each_pixel_comes_from_the_tile_whose_centre_is_nearest(tmp_path):
    marked(tmp_path)
    y, x = np.indices(SHAPE)
    distance = np.full((len(BOXES), *SHAPE), np.inf)
    for number, (y0, y1, x0, x1) in enumerate(BOXES):
        inside = (y >= y0) & (y < y1) & (x >= x0) & (x < x1)
        squared = (y - (y0 + y1 - 1) / 2) ** 2 + (x - (x0 + x1 - 1) / 2) ** 2
        distance[number][inside] = squared[inside]
    with open_mosaic(tmp_path) as mosaic:
        whole = mosaic.read(0, 300, 0, 410)
        np.testing.assert_array_equal(whole, distance.argmin(axis=0))  # of ties the first
        # Every window sees the same mosaic.
        for y0, y1, x0, x1 in [(0, 1, 0, 1), (88, 94, 128, 152), (5, 290, 130, 131)]:
            np.testing.assert_array_equal(mosaic.read(y0, y1, x0, x1), whole[y0:y1, x0:x1])


def test_what_no_tile_covers(tmp_path):
    boxes = [(0, 100, 0, 100), (40, 180, 130, 230)]
    picture = noise((200, 260), "float32")
    picture[20, 20] = np.nan  # a bad pixel of a tile is no hole
    folder_of(tmp_path, picture, boxes)
    with open_mosaic(tmp_path) as mosaic:
        block, covered = mosaic.read(0, 180, 0, 230), mosaic.covered(0, 180, 0, 230)
        assert mosaic.covered(10, 90, 5, 95) is None
        assert not mosaic.covered(110, 180, 0, 100).any()
        facts = measure(mosaic)
    expected = np.zeros((180, 230), bool)
    expected[:100, :100] = expected[40:180, 130:230] = True
    np.testing.assert_array_equal(covered, expected)
    np.testing.assert_array_equal(np.isfinite(block), expected & np.isfinite(picture[:180, :230]))
    assert (facts["nonfinite_pixels"], facts["uncovered_pixels"]) == (1, int((~expected).sum()))


# Seams -------------------------------------------------------------------------------------------


def held(mosaic, side, stride):
    """Every window with the view that serves it: (y, x, pixels); and how many views there are."""
    tops = np.arange(-side, mosaic.shape[0], stride)
    lefts = np.arange(-side, mosaic.shape[1], stride)
    views = list(mosaic.seamless(tops, lefts, side))
    served = np.sum([mask for _, mask in views], axis=0)
    assert served.max() == 1  # no window twice
    found = [
        (tops[row], lefts[column], read(*[int(e) for e in (tops[row], tops[row] + side, lefts[column], lefts[column] + side)]))
        for read, mask in views
        for row, column in np.argwhere(mask)
    ]  # fmt: skip
    return found, served.astype(bool), tops, lefts, len(views)


@pytest.mark.parametrize("side", [20, 64, 110])
def test_no_window_straddles_a_seam(tmp_path, side):
    marked(tmp_path)
    with open_mosaic(tmp_path) as mosaic:
        found, served, tops, lefts, views = held(mosaic, side, 7)
    assert views <= 4
    for y, x, pixels in found:
        assert pixels.min() == pixels.max()
        holders = {
            number: (2 * y + side - y0 - y1) ** 2 + (2 * x + side - x0 - x1) ** 2
            for number, (y0, y1, x0, x1) in enumerate(BOXES)
            if y0 <= y and y + side <= y1 and x0 <= x and x + side <= x1
        }
        assert pixels[0, 0] == min(holders, key=holders.get)
    # And every window that a tile holds whole is served.
    whole = np.zeros(served.shape, bool)
    for y0, y1, x0, x1 in BOXES:
        rows, columns = (tops >= y0) & (tops + side <= y1), (lefts >= x0) & (lefts + side <= x1)
        whole |= rows[:, None] & columns
    np.testing.assert_array_equal(served, whole)


def test_tiles_of_one_sheet_do_not_overlap(tmp_path):
    rng = np.random.default_rng(3)
    boxes = [(y, y + 60, x, x + 50) for y, x in rng.integers(0, (240, 360), (40, 2)).tolist()]
    folder_of(tmp_path, boxes=boxes)
    with open_mosaic(tmp_path) as mosaic:
        for sheet in range(mosaic.sheets.max() + 1):
            count = np.zeros(mosaic.shape, int)
            for y0, y1, x0, x1 in mosaic.boxes[mosaic.sheets == sheet]:
                count[y0:y1, x0:x1] += 1
            assert count.max() == 1


def test_the_middle_has_no_seam(tmp_path):
    marked(tmp_path)
    with open_mosaic(tmp_path) as mosaic:
        assert set(np.unique(mosaic.middle(80))) == {4}


# Stacks, channels, memory --------------------------------------------------------------------------


def test_one_slice_for_all_tiles(tmp_path):
    """The brightest of all together, though each tile alone would choose another."""
    stack = np.stack([noise(), noise(), noise()]) // 4
    stack[1] += 500
    for slice_, (y0, y1, x0, x1) in zip((0, 2), (BOXES[0], BOXES[8]), strict=True):
        stack[slice_, y0:y1, x0:x1] += 700
    folder_of(tmp_path, stack, imagej=True, metadata={"axes": "ZYX"})
    with open_mosaic(tmp_path, slice="brightest") as mosaic:
        assert mosaic.slice == 1
        assert "every tile: slice 1 of 3 is read, the brightest" in mosaic.notes[-1]
        np.testing.assert_array_equal(mosaic.read(0, 300, 0, 410), stack[1])
    with open_mosaic(tmp_path, slice=2) as mosaic:
        np.testing.assert_array_equal(mosaic.read(0, 300, 0, 410), stack[2])


def test_opening_reads_headers_alone(tmp_path, monkeypatch):
    """A mosaic of thousands of tiles is opened by every job."""
    folder_of(tmp_path, compression="zlib")
    monkeypatch.setattr(reader, "HOLD_PX", 100)  # tiles that are held whole

    def fail(*_):
        raise AssertionError("a tile was decoded")

    monkeypatch.setattr(reader.Mosaic, "_raw", fail)
    open_mosaic(tmp_path).close()


def test_few_tiles_stay_open(tmp_path, monkeypatch):
    picture = noise()
    folder_of(tmp_path, picture, compression="zlib")
    monkeypatch.setattr(placed, "OPEN_TILES", 2)
    with open_mosaic(tmp_path) as mosaic:
        np.testing.assert_array_equal(mosaic.read(0, 300, 0, 410), picture)
        assert len(mosaic._open) == 2


# What is wrong -------------------------------------------------------------------------------------


def test_a_missing_tile_and_one_that_is_cut_off(tmp_path):
    names = folder_of(tmp_path)
    cut = (tmp_path / names[4]).read_bytes()[:-2000]
    (tmp_path / names[4]).write_bytes(cut)
    with pytest.raises(UserError, match=r"tile4\.tif: the TIFF is truncated"):
        open_mosaic(tmp_path)
    (tmp_path / names[4]).unlink()
    with pytest.raises(UserError, match=r"positions\.tsv, line 7: there is no tile .*tile4\.tif"):
        open_mosaic(tmp_path)


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (np.zeros((120, 150), np.uint8), "type uint16, .*tile4.tif uint8"),
        (np.zeros((2, 120, 150), np.uint16), "slices 1, .*tile4.tif 2"),
    ],
)
def test_tiles_that_differ(tmp_path, other, what):
    folder_of(tmp_path)
    tifffile.imwrite(tmp_path / "tile4.tif", other, photometric="minisblack", metadata=None)
    with pytest.raises(UserError, match=f"tiles differ: .*has {what}"):
        open_mosaic(tmp_path)


def test_tiles_of_another_pixel_size(tmp_path):
    names = write_tiles(tmp_path, noise(), BOXES, imagej=True, resolution=(2, 2), metadata={"unit": "um"})  # fmt: skip
    (tmp_path / "positions.tsv").write_text(own(names, [(y0, x0) for y0, _, x0, _ in BOXES]))
    with open_mosaic(tmp_path) as mosaic:
        assert mosaic.optics == {"pixel_size_um": 0.5}
    y0, y1, x0, x1 = BOXES[4]
    other = {"resolution": (4, 4), "metadata": {"unit": "um"}}
    tifffile.imwrite(tmp_path / "tile4.tif", noise()[y0:y1, x0:x1], imagej=True, **other)
    with pytest.raises(UserError, match=r"tile0.tif has pixel size 0.5 um, .*tile4.tif 0.25 um"):
        open_mosaic(tmp_path)


def rewritten(folder, number: int, **options) -> None:
    """One of the tiles saved again with another header."""
    y0, y1, x0, x1 = BOXES[number]
    tifffile.imwrite(folder / f"tile{number}.tif", noise()[y0:y1, x0:x1], **options)


def test_the_pixel_size_of_any_tile_counts(tmp_path):
    folder_of(tmp_path)
    rewritten(tmp_path, 2, imagej=True, resolution=(2, 2), metadata={"unit": "um"})
    with open_mosaic(tmp_path) as mosaic:
        assert mosaic.optics == {"pixel_size_um": 0.5}
    rewritten(tmp_path, 7, imagej=True, resolution=(4, 4), metadata={"unit": "um"})
    with pytest.raises(UserError, match=r"tile2.tif has pixel size 0.5 um, .*tile7.tif 0.25 um"):
        open_mosaic(tmp_path)


@pytest.mark.parametrize("number", [0, 4])
def test_tiles_whose_numbers_mean_another_thing(tmp_path, number):
    folder_of(tmp_path)
    rewritten(tmp_path, number, photometric="miniswhite")
    with pytest.raises(UserError, match=r"tiles differ: .*has polarity (black|white) is zero"):
        open_mosaic(tmp_path)
    signed = {"description": "ImageJ=1.53t\ncf=0\nc0=-32768\nc1=1\nvunit=Gray Value\n"}
    rewritten(tmp_path, number, photometric="minisblack", metadata=None, **signed)
    with pytest.raises(UserError, match=r"has calibration .*-32768 \+ 1 \* number"):
        open_mosaic(tmp_path)


def test_notes_of_every_tile_are_told(tmp_path):
    names = folder_of(tmp_path)
    oblong = {"imagej": True, "resolution": (2, 4), "metadata": {"unit": "um"}}
    for number in (3, 5, 8):
        rewritten(tmp_path, number, **oblong)
    with open_mosaic(tmp_path) as mosaic:
        _, note = mosaic.notes
    assert note.startswith("CAUTION: a pixel is 0.5 um wide and 0.25 um high")
    assert note.endswith("(tile3.tif and 2 more of 9 tiles)")
    for number in range(len(names)):
        rewritten(tmp_path, number, **oblong)
    with open_mosaic(tmp_path) as mosaic:  # of all tiles, it needs no name
        assert mosaic.notes[1:] == [note.partition(" (")[0]]


def test_so_many_notes_of_tiles_at_most(tmp_path, monkeypatch):
    monkeypatch.setattr(placed, "MOST_NOTES", 2)
    names = folder_of(tmp_path)
    for number in range(len(names)):
        size = {"resolution": (2, 4 + number), "metadata": {"unit": "um"}}
        rewritten(tmp_path, number, imagej=True, **size)
    with open_mosaic(tmp_path) as mosaic:
        _, first, second, rest = mosaic.notes
    assert first.endswith("(tile0.tif)") and second.endswith("(tile1.tif)")
    assert rest == "CAUTION: there are 7 more notes on tiles: look at their files"


def test_positions_that_are_not_in_px_are_told_of(tmp_path):
    picture = noise()
    names = write_tiles(tmp_path, picture, BOXES)
    places = [(0.2 * y0, 0.2 * x0) for y0, _, x0, _ in BOXES]
    (tmp_path / "positions.tsv").write_text(own(names, places))
    with open_mosaic(tmp_path) as mosaic:
        assert any("check that their positions are in px" in note for note in mosaic.notes)
    (tmp_path / "positions.tsv").write_text(own(names, [(y0, x0) for y0, _, x0, _ in BOXES]))
    with open_mosaic(tmp_path) as mosaic:
        assert not any("CAUTION" in note for note in mosaic.notes)


def test_tiles_that_the_table_leaves_out_are_told_of(tmp_path):
    names = write_tiles(tmp_path, noise(), BOXES)
    places = [(y0, x0) for y0, _, x0, _ in BOXES]
    (tmp_path / "positions.tsv").write_text(own(names[:7], places[:7]))
    with open_mosaic(tmp_path) as mosaic:
        assert (
            "2 files beside positions.tsv look like tiles but are not listed, such as tile7.tif: not read"
            in mosaic.notes
        )


@pytest.mark.parametrize("place", [(90, 130), (90.3, 129.8)])
def test_two_tiles_at_one_place(tmp_path, place):
    names = write_tiles(tmp_path, noise(), BOXES)
    places = [(y0, x0) for y0, _, x0, _ in BOXES]
    places[7] = place  # that of the fifth
    (tmp_path / "positions.tsv").write_text(own(names, places))
    with pytest.raises(UserError, match=r"tsv: tile4.tif and tile7.tif lie at the same position"):
        open_mosaic(tmp_path)


@pytest.mark.parametrize(("form", "name"), [(own, "where.tsv"), (fiji, "TileConfiguration.txt")])
def test_a_tile_whose_name_begins_as_a_comment(tmp_path, form, name):
    picture = noise()
    names = write_tiles(tmp_path, picture, BOXES)
    for number in (0, 5):
        (tmp_path / names[number]).rename(tmp_path / f"#{number}.tif")
        names[number] = f"#{number}.tif"
    text = form(names, [(y0, x0) for y0, _, x0, _ in BOXES])
    (tmp_path / name).write_text(f"# {names[1]}\tas it was\n{text}#{names[2]}; ; (1, 2)\n")
    with open_mosaic(tmp_path) as mosaic:
        np.testing.assert_array_equal(mosaic.read(0, 300, 0, 410), picture)


def test_a_position_far_away(tmp_path):
    names = write_tiles(tmp_path, noise(), BOXES)
    places = [[y0, x0] for y0, _, x0, _ in BOXES]
    places[5][0] = 10**9
    (tmp_path / "positions.tsv").write_text(own(names, places))
    with pytest.raises(
        UserError, match=r"cover only .* % of the 1000000120 x 410 px.*; tile5\.tif"
    ):
        open_mosaic(tmp_path)


@pytest.mark.parametrize("header", ["tile\ty_um\tx_um", "tile\tx\ty"])
def test_a_table_of_tiles_with_other_columns_is_named(tmp_path, header):
    (tmp_path / "positions.tsv").write_text(f"{header}\na.tif\t0\t0\n")
    for path in (tmp_path, tmp_path / "positions.tsv"):
        with pytest.raises(UserError, match=r"positions\.tsv: is a table of tiles without y_px"):
            open_mosaic(path)
    write_tiles(tmp_path, np.zeros((90, 90)), [(0, 90, 0, 90)])
    (tmp_path / "where.tsv").write_text(own(["tile0.tif"], [(0, 0)]))
    with open_mosaic(tmp_path) as mosaic:  # another table of the folder's serves
        assert mosaic.shape == (90, 90)


def test_two_tables_in_a_folder(tmp_path):
    names = folder_of(tmp_path, form=fiji, name="TileConfiguration.txt")
    moved = [(y0 + 1000, x0) for y0, _, x0, _ in BOXES[:8]] + [(1200, 270)]
    (tmp_path / "TileConfiguration.registered.txt").write_text(fiji(names, moved))
    with open_mosaic(tmp_path) as mosaic:  # what Fiji leaves: the registered one is the result
        assert mosaic.shape == (320, 420)
        assert "positions are those of TileConfiguration.registered.txt" in mosaic.notes
    (tmp_path / "more.txt").write_text(mist(names, moved))
    with pytest.raises(UserError, match=r"holds 3 position tables .*more\.txt.*name the one meant"):
        open_mosaic(tmp_path)
    with open_mosaic(tmp_path / "more.txt") as mosaic:
        assert mosaic.shape == (320, 420)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tile\ty_px\tx_px\n", "lists no tile"),
        ("tile\ty_px\tx_px\ntile0.tif\t0\n", r"line 2: .*give tile, y_px, x_px"),
        ("tile\ty_px\tx_px\ntile0.tif\t0\t50_5\n", "line 2: .*could not convert"),
        ("tile\ty_px\tx_px\ntile0.tif\t0\tleft\n", "line 2: .*could not convert"),
        (
            "tile\ty_px\tx_px\ntile0.tif\t0\tnan\n",
            "line 2: the position of 'tile0.tif', .nan, 0., is impossible",
        ),
        ("tile\ty_px\tx_px\ntile0.tif\t1e300\t0\n", "line 2: .* is impossible"),
        ("tile\ty_px\tx_px\n../gone/t.tif\t0\t0\n", "line 2: there is no tile .*gone/t.tif"),
        (
            "tile\ty_px\tx_px\ntile0.tif\t0\t0\ntile0.tif\t9\t9\n",
            "line 3: .* already listed in line 2",
        ),
        (
            "tile\ty_px\tx_px\ntile0.tif\t0\t0\n./tile0.tif\t9\t9\n",
            "line 3: .* already listed in line 2",
        ),
        ("tile\tx_px\ty_px\tx_px\ntile0.tif\t0\t0\t9\n", "line 1: column 'x_px' occurs twice"),
        (
            "dim = 3\ntile0.tif; ; (0, 0, 5.0)\ntile1.tif; ; (0, 9, 6)\n",
            "line 3: has another height z",
        ),
        ("dim = 2\ntile0.tif; 3; (0.0, 0.0)\n", "line 2: positions of series 3"),
        ("dim = 2\ntile0.tif; ; (0.0, 0.0)\nrubbish\n", "line 3: 'rubbish' is not a position"),
        ("tile0.tif; ; (0.0.1, 0.0)\n", "line 1: .* has no numbers"),
    ],
)
def test_tables_that_are_wrong(tmp_path, text, message):
    write_tiles(tmp_path, noise(), BOXES)
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        positions.read(tmp_path / "a.txt")
    assert str(error.value).startswith(str(tmp_path / "a.txt"))


@pytest.mark.parametrize(
    ("heights", "code"), [("", "cp1252"), (", 0.0", "utf-8"), (", 5", "utf-8")]
)
def test_tables_of_other_writers(tmp_path, heights, code):
    """A letter outside UTF-8 in a comment, and positions in three dimensions at one height."""
    picture = noise()
    names = write_tiles(tmp_path, picture, BOXES)
    lines = "".join(
        f"{name}; ; ({x0}, {y0}{heights})\n"
        for name, (y0, _, x0, _) in zip(names, BOXES, strict=True)
    )
    (tmp_path / "TileConfiguration.txt").write_bytes(f"# 0.3 µm\ndim = 2\n{lines}".encode(code))
    with open_mosaic(tmp_path) as mosaic:
        np.testing.assert_array_equal(mosaic.read(0, 300, 0, 410), picture)


def test_what_a_mosaic_is_read_from(tmp_path):
    names = folder_of(tmp_path)
    wanted = [str(tmp_path / name) for name in ("positions.tsv", *names)]
    assert positions.files_of(tmp_path) == positions.files_of(tmp_path / "positions.tsv") == wanted
    assert positions.files_of(tmp_path / names[0]) == [str(tmp_path / names[0])]
    (tmp_path / names[3]).unlink()
    with pytest.raises(UserError, match=names[3]):
        positions.files_of(tmp_path)


def test_folders_and_files_that_are_no_tiles(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing here; at all; (really)")
    with pytest.raises(UserError, match="or tiles with a position table"):
        open_mosaic(tmp_path)
    with pytest.raises(UserError, match="nor a table of tile positions"):
        open_mosaic(tmp_path / "readme.txt")
