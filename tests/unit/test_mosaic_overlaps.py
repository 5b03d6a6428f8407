"""Tiles that do not show the same where a table lays them over each other, and why."""

import numpy as np
import pytest
import tifffile
from isoplan.mosaic import overlaps
from isoplan.mosaic.overlaps import notes_on_overlaps
from isoplan.mosaic.reader import open_mosaic
from scipy import ndimage
from tile_folders import grid, own

SHAPE, BOXES = (500, 620), grid((500, 620), (180, 220), (160, 200))  # 3 x 3 tiles, 20 px of overlap


def scene(seed: int = 0) -> np.ndarray:
    """Blobs of a few px, 20 to 1000 counts."""
    blobs = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 4)
    return 20 + 980 * np.clip(blobs / blobs.max(), 0, 1)


def tiles(folder, picture, change=lambda y, x: (y, x), boxes=BOXES, seed=0) -> list[str]:
    """Notes on exposures of a picture's tiles, each with noise and a brighter middle of its own, positions changed."""
    rng, names = np.random.default_rng(seed), []
    for number, (y0, y1, x0, x1) in enumerate(boxes):
        y, x = np.mgrid[-1 : 1 : (y1 - y0) * 1j, -1 : 1 : (x1 - x0) * 1j]
        light = picture[y0:y1, x0:x1] * (1 - 0.2 * (y * y + x * x))
        names.append(f"tile{number}.tif")
        tifffile.imwrite(folder / names[-1], rng.poisson(light).astype("uint16"))
    (folder / "where.tsv").write_text(own(names, [change(y0, x0) for y0, _, x0, _ in boxes]))
    with open_mosaic(folder) as mosaic:
        return notes_on_overlaps(mosaic)


@pytest.mark.parametrize("off", [0, 8])
def test_tiles_in_place_agree(tmp_path, off):
    rng = np.random.default_rng(1)
    (note,) = tiles(tmp_path, scene(), lambda y, x: (y + rng.integers(off + 1), x))
    assert note.startswith("tiles show the same where they overlap (correlation ")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda y, x: (x, y), "x and y exchanged"),
        (lambda y, x: (-y, x), "the sign of y changed"),
        (lambda y, x: (y, -x), "the sign of x changed"),
        (lambda y, x: (-y, -x), "the sign of y changed and the sign of x changed"),
        (lambda y, x: (x, -y), "x and y exchanged and the sign of y changed"),
    ],
)
def test_a_table_s_usual_mistakes_are_named(tmp_path, change, words):
    """Rows of tiles that are right beside each other do not hide that the rows are in the wrong order."""
    (note,) = tiles(tmp_path, scene(), change)
    assert note.startswith("CAUTION: tiles do not") and f"with {words} they show the same" in note


APART = [(y, y + 160, x, x + 160) for y in (0, 128, 224) for x in (0, 224)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda y, x: (x, y), "x and y exchanged"),
        (lambda y, x: (-y, x), "the sign of y changed"),
        (lambda y, x: (x, -y), "x and y exchanged and the sign of y changed"),
    ],
)
def test_a_sign_that_no_overlap_shows_is_not_made_up(tmp_path, change, words):
    """Left and right neighbours do not overlap: with the sign of x changed they would agree as well."""
    (note,) = tiles(tmp_path, scene(), change, APART)
    assert f"; with {words} they show the same" in note
    assert note.endswith(
        "correct the table; along x they hardly overlap, so that the sign of x cannot be told"
    )


def test_where_nothing_overlaps_a_mistake_would_not_show(tmp_path):
    (note,) = tiles(tmp_path, scene(), boxes=APART)
    assert note.startswith("tiles show the same where they overlap (correlation ")
    assert note.endswith("; along x they hardly overlap, so that a mistake there would not show")


def test_positions_that_are_wrong_in_no_usual_way(tmp_path):
    rng = np.random.default_rng(2)
    order = iter(rng.permutation(len(BOXES)))
    (note,) = tiles(tmp_path, scene(), lambda y, x: BOXES[next(order)][::2])
    assert note.startswith("CAUTION: tiles hardly show the same where they overlap")


FIVE = grid((900, 1000), (180, 220), (160, 190))  # 5 x 5 tiles


def large_scene(seed: int = 0) -> np.ndarray:
    blobs = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(900, 1000)), 4)
    return 20 + 980 * np.clip(blobs / blobs.max(), 0, 1)


@pytest.mark.parametrize("number", [0, 7, 12, 22])  # a corner, inside, and at an edge
@pytest.mark.parametrize("how", ["copied", "turned", "off"])
def test_one_wrong_tile_among_many_is_named(tmp_path, number, how):
    picture, boxes = large_scene(), list(FIVE)
    if how == "off":
        y0, y1, x0, x1 = boxes[number]
        step = 60 if y1 + 60 <= 900 else -60
        boxes[number] = y0 + step, y1 + step, x0, x1
        right = iter(FIVE)
        notes = tiles(tmp_path, picture, lambda y, x: next(right)[::2], boxes)
    else:
        tiles(tmp_path, picture, boxes=FIVE)
        other = tifffile.imread(tmp_path / f"tile{number if how == 'turned' else 16}.tif")
        path = tmp_path / f"tile{number}.tif"
        tifffile.imwrite(path, other[::-1, ::-1] if how == "turned" else other)
        with open_mosaic(tmp_path) as mosaic:
            notes = notes_on_overlaps(mosaic)
    caution, rest = notes
    assert caution.startswith(f"CAUTION: tile{number}.tif does not show the same as tile")
    assert rest.startswith("the other tiles show the same where they overlap")


def test_the_last_tile_of_a_row_is_named(tmp_path):
    tiles(tmp_path, large_scene(), boxes=FIVE[:5])
    tifffile.imwrite(tmp_path / "tile4.tif", tifffile.imread(tmp_path / "tile1.tif"))
    with open_mosaic(tmp_path) as mosaic:
        caution, _ = notes_on_overlaps(mosaic)
    assert caution.startswith("CAUTION: tile4.tif does not show the same as tile3.tif where")


@pytest.mark.parametrize("blank", [slice(0, 400), slice(250, 420)])
def test_blank_and_dim_overlaps_blame_no_tile(tmp_path, blank):
    """Half of the picture, or a stripe, holds nothing; what is left is as dim as 10 photons."""
    picture = large_scene() / 20
    picture[:, blank] = 10
    notes = tiles(tmp_path, picture, boxes=FIVE)
    assert not any("does not show" in note for note in notes)


def test_shifts_after_which_tiles_agree_are_told(tmp_path):
    boxes = grid((900, 1000), (240, 280), (160, 180))  # 80 px of overlap
    places = {box[::2]: k for k, box in enumerate(boxes)}
    (note,) = tiles(tmp_path, large_scene(), lambda y, x: (y + 16 * (places[y, x] % 2), x), boxes)
    assert "but only after shifts of about 16 px (median): so far are their positions off" in note


def test_of_many_overlaps_it_is_said_how_many_were_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(overlaps, "MOST_COMPARED", 6)
    (note,) = tiles(tmp_path, large_scene(), boxes=FIVE)
    assert note.endswith(") in 12 of 40 overlaps")


def test_of_noise_nothing_is_known(tmp_path):
    (note,) = tiles(tmp_path, np.full(SHAPE, 100.0))
    assert note.startswith("whether the tiles' positions are right is not known")


def test_tiles_that_do_not_overlap_and_pictures_without_tiles(tmp_path):
    boxes = grid(SHAPE, (100, 100), (120, 120))
    assert tiles(tmp_path, scene(), boxes=boxes) == []
    with open_mosaic(tmp_path / "tile0.tif") as picture:
        assert notes_on_overlaps(picture) == []


def test_pixels_that_are_not_finite_and_a_row_of_tiles(tmp_path):
    boxes, picture = BOXES[:3], scene().astype("float32")
    picture[::7, ::9] = np.nan
    names = [f"tile{number}.tif" for number in range(3)]
    for name, (y0, y1, x0, x1) in zip(names, boxes, strict=True):
        tifffile.imwrite(tmp_path / name, picture[y0:y1, x0:x1])
    (tmp_path / "where.tsv").write_text(own(names, [(y0, x0) for y0, _, x0, _ in boxes]))
    with open_mosaic(tmp_path) as mosaic:
        (note,) = notes_on_overlaps(mosaic)
    assert note == "tiles show the same where they overlap (correlation 1.00)"
