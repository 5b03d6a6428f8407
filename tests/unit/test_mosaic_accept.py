"""What becomes of the lines of a table: channels each on their own, and refusals that cost one line."""

from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import tifffile
import zarr
from isoplan.mosaic.accept import accept
from isoplan.mosaic.table import COLUMNS
from tile_folders import fiji, grid, write_tiles

SHAPE = (60, 70)
RESULTS = Path("results/none")


def row(name, path, **cells):
    return dict.fromkeys(COLUMNS) | {"mosaic": name, "path": str(path), "pixel_size_um": 1} | cells


def channels_tif(path, names=("DAPI", "FITC")):
    stack = np.zeros((len(names), *SHAPE), np.uint16)
    tifffile.imwrite(path, stack, metadata={"axes": "CYX", "Channel": {"Name": list(names)}})


def test_every_channel_becomes_a_mosaic_of_its_own(tmp_path):
    channels_tif(tmp_path / "two.ome.tif")
    imageio.imwrite(tmp_path / "rgb.png", np.zeros((*SHAPE, 3), np.uint8))
    accepted, refused = accept(
        [
            row("a", tmp_path / "two.ome.tif"),
            row("b", tmp_path / "two.ome.tif", channel=1),
            row("c", tmp_path / "rgb.png"),
            row("d", tmp_path / "rgb.png", channel=0),
        ],
        [],
        RESULTS,
    )
    assert not refused
    assert [(one["mosaic"], one["row"], one["channel"]) for one in accepted] == [
        ("a-DAPI", "a", 0),
        ("a-FITC", "a", 1),
        ("b", "b", 1),
        ("c", "c", ""),  # colours are one picture
        ("d", "d", 0),
    ]
    assert {one["convert_mb"] for one in accepted} == {0}


def test_samples_and_zarr_channels(tmp_path):
    spectral = np.zeros((*SHAPE, 5), np.uint8)
    tifffile.imwrite(
        tmp_path / "five.tif", spectral, photometric="minisblack", planarconfig="contig"
    )
    axes = [{"name": "c", "type": "channel"}, *({"name": n, "type": "space"} for n in "yx")]
    meta = {
        "version": "0.5",
        "multiscales": [{"axes": axes, "datasets": [{"path": "0"}]}],
        "omero": {"channels": [{"label": "red"}, {"label": "far-red"}]},
    }
    group = zarr.create_group(tmp_path / "two.zarr", attributes={"ome": meta})
    group.create_array("0", data=np.ones((2, *SHAPE), np.uint16))
    accepted, _ = accept(
        [row("a", tmp_path / "five.tif"), row("b", tmp_path / "two.zarr")], [], RESULTS
    )
    names = [one["mosaic"] for one in accepted]
    assert names == ["a-c0", "a-c1", "a-c2", "a-c3", "a-c4", "b-red", "b-far-red"]


def test_names_that_clash_are_refused_alone(tmp_path):
    channels_tif(tmp_path / "two.ome.tif")
    tifffile.imwrite(tmp_path / "one.tif", np.zeros(SHAPE, np.uint8))
    rows = [
        row("a", tmp_path / "two.ome.tif"),
        row("a-FITC", tmp_path / "one.tif"),
        row("b", tmp_path / "two.ome.tif"),
        row("made", tmp_path / "one.tif"),
    ]
    accepted, refused = accept(rows, ["made", "b-DAPI"], RESULTS)
    assert [one["mosaic"] for one in accepted] == ["a-FITC"]
    reasons = {line["mosaic"]: reason for line, reason in refused}
    assert set(reasons) == {"a", "b", "made"}
    assert "would be called a-FITC, as another mosaic is" in reasons["a"]
    assert "would be called b-DAPI" in reasons["b"]
    assert "a simulation of this study bears the same name" in reasons["made"]


def test_tiles_name_their_table_and_one_bad_tile_refuses_the_mosaic(tmp_path):
    picture, boxes = np.zeros((50, 90), np.uint16), grid((50, 90), (50, 50), (50, 40))
    for name in ("good", "bad"):
        names = write_tiles(tmp_path / name, picture, boxes)
        table = fiji(names, [(y0, x0) for y0, _, x0, _ in boxes])
        (tmp_path / name / "TileConfiguration.txt").write_text(table)
    tile = tmp_path / "bad" / "tile1.tif"
    tile.write_bytes(tile.read_bytes()[:-100])
    accepted, refused = accept(
        [row(name, tmp_path / name) for name in ("good", "bad")], [], RESULTS
    )
    assert accepted[0]["file"] == str(tmp_path / "good" / "TileConfiguration.txt")
    assert len(accepted) == len(refused) == 1
    assert "tile1.tif: the TIFF is truncated" in refused[0][1]


def test_what_the_study_makes_itself_is_not_read(tmp_path):
    results = tmp_path / "results" / "mine"
    for folder in (results, tmp_path / "results" / "other"):
        folder.mkdir(parents=True)
        tifffile.imwrite(folder / "a.tif", np.zeros(SHAPE, np.uint16))
    (tmp_path / "link").symlink_to(results)
    fine = tmp_path / "results" / "other" / "a.tif"
    rows = [
        row("own", results / "a.tif"),
        row("linked", tmp_path / "link" / "a.tif"),
        row("beside", fine, reference=str(results / "a.tif")),
        row("fine", fine),
    ]
    accepted, refused = accept(rows, [], results)
    assert [one["mosaic"] for one in accepted] == ["fine"]
    assert len(refused) == 3 and all("this study makes anew" in reason for _, reason in refused)


def test_a_pixel_size_comes_from_the_table_or_the_file(tmp_path):
    sizes = {"PhysicalSizeX": 0.2, "PhysicalSizeY": 0.2}
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros(SHAPE, np.uint16), metadata=sizes)
    tifffile.imwrite(tmp_path / "b.tif", np.zeros(SHAPE, np.uint16))
    rows = [row(name[0], tmp_path / name, pixel_size_um=None) for name in ("a.ome.tif", "b.tif")]
    accepted, refused = accept(rows, [], RESULTS)
    assert [one["mosaic"] for one in accepted] == ["a"]
    assert "does not tell its pixel size; give pixel_size_um in the table" in refused[0][1]
