"""Where commands write: what is there stays, what is read is never written over, and results come whole or not at all."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile
import zarr
from isoplan import one_picture
from isoplan.base.errors import UserError
from isoplan.cli import picture as commands
from isoplan.cli.arguments import main
from isoplan.cli.outputs import FOLDER_MARK, Outputs, allocate, sealed
from isoplan.mosaic import ngff
from isoplan.report import plots
from matplotlib.figure import Figure
from tile_folders import fiji, grid, write_tiles

SCRIPTS = str(Path(__file__).resolve().parents[2] / "workflow" / "scripts")
HEADER = "mosaic\tpath"


def store(path: Path) -> None:
    ngff.create_image(path, (64, 64), dtype="uint16", pixel_size_um=1, levels=1, attributes={})


def foreign_store(path: Path) -> None:
    zarr.create_group(path).create_array("0", data=np.ones((4, 4)))


def ours(place: Path) -> None:
    """Something that isoplan made, by the place's name."""
    if place.suffix == ".zarr":
        store(place)
    elif place.suffix == ".tif":
        tifffile.imwrite(place, np.ones((4, 4), np.float32), software="isoplan")
    elif place.suffix == ".png":
        place.write_bytes(plots.render(lambda: Figure((1, 1))))
    elif place.suffix == ".tsv":
        place.write_text(f"{HEADER}\toffset\n")
    else:
        place.mkdir()
        (place / "psf_map.csv").write_text("y_px\n")


def theirs(place: Path) -> None:
    """Something of the user's that bears the same name."""
    if place.suffix == ".zarr":
        foreign_store(place)
    elif place.suffix == ".tif":
        tifffile.imwrite(place, np.ones((4, 4), np.float32))
    elif place.suffix == ".png":
        imageio.imwrite(place, np.ones((4, 4), np.uint8))
    elif place.suffix == ".tsv":
        place.write_text("note\n")
    else:
        place.mkdir()
        (place / "notes.txt").write_text("mine")


def make(place: Path, **how) -> None:
    with Outputs(place, header=HEADER, **how) as outputs:
        ours(outputs[place])
        outputs.deliver()


def content(place: Path) -> dict:
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    return {str(file): file.read_bytes() for file in files if file.is_file()}


PLACES = ("out.ome.zarr", "out.tif", "out.png", "out.tsv", "out-map")


@pytest.mark.parametrize("name", PLACES)
def test_what_is_there_is_replaced_only_if_asked_and_only_if_isoplan_made_it(
    tmp_path, capsys, name
):
    place = tmp_path / name
    make(place)
    first = content(place)
    with pytest.raises(UserError, match="already exists"):
        make(place)
    make(place, overwrite=True)
    assert content(place).keys() == first.keys()
    # Of tables and maps a change is noticed, and refused; of pixels it is not, and said.
    told = f"{place}: is replaced, with whatever was changed in its pixels since"
    assert (told in capsys.readouterr().out) == (name in ("out.ome.zarr", "out.tif"))
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    theirs(place)
    before = content(place)
    for overwrite in (False, True):
        with pytest.raises(UserError, match=r"already exists|not made by isoplan|did not make"):
            make(place, overwrite=overwrite)
    assert content(place) == before and [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", PLACES)
def test_links_and_things_of_another_kind_are_not_replaced(tmp_path, name):
    place, elsewhere = tmp_path / name, tmp_path / "elsewhere" / name
    elsewhere.parent.mkdir()
    ours(elsewhere)
    place.symlink_to(elsewhere)
    for overwrite in (False, True):
        with pytest.raises(UserError, match=r"already exists|not made by isoplan"):
            make(place, overwrite=overwrite)
    place.unlink()
    place.write_text("") if elsewhere.is_dir() else place.mkdir()
    with pytest.raises(UserError, match=r"already exists|not made by isoplan"):
        make(place, overwrite=True)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("out-map", "notes.txt"),
        ("out.ome.zarr", "notes.txt"),
        ("out.ome.zarr", "0/notes.txt"),
        ("out.ome.zarr", "0/c/0/notes.txt"),
        ("out.ome.zarr", "7/zarr.json"),  # an array that is no level
        ("out.ome.zarr", "labels/cells/0/c/0/0"),
        ("out.ome.zarr", "12"),
    ],
)
def test_what_a_user_put_into_a_result_keeps_it_from_being_replaced(tmp_path, name, own):
    place = tmp_path / name
    make(place)
    (place / own).parent.mkdir(parents=True, exist_ok=True)
    (place / own).write_text("mine")
    with pytest.raises(UserError, match=rf"contains {own}, which isoplan did not make"):
        make(place, overwrite=True)
    assert (place / own).read_text() == "mine"


def test_a_restored_picture_with_all_that_belongs_to_it_is_replaced(tmp_path):
    place = tmp_path / "out.ome.zarr"

    def restored(made: Path) -> None:
        how = {"pixel_size_um": 1, "attributes": {}}
        ngff.create_image(made, (1100, 600), dtype="uint16", mask=True, **how)
        channels = [{"name": "agrees", "unit": ""}]
        ngff.create_map(made / "trust", channels, (9, 5), stride_px=128, names=["0"], **how)
        for name in ("0", "1", "2", "missing"):
            ngff.open_array(made, name, "r+")[:] = 1
        ngff.open_array(made / "trust", "0", "r+")[:] = 1

    for overwrite in (False, True):
        with Outputs(place, overwrite=overwrite) as outputs:
            restored(outputs[place])
            outputs.deliver()
    assert ngff.read_attributes(place) is not None


def test_a_table_that_the_user_went_on_with_stays(tmp_path):
    place = tmp_path / "pairs.tsv"
    place.write_text(sealed("mosaic\tpath\na\ta.tif\n"))
    with Outputs(place, overwrite=True) as outputs:
        outputs[place].write_text(sealed("mosaic\tpath\nb\tb.tif\n"))
        outputs.deliver()
    changed = place.read_text() + "mine\tmine.tif\n"
    place.write_text(changed)
    with pytest.raises(UserError, match="or was changed since, so --overwrite does not"):
        make(place, overwrite=True)
    assert place.read_text() == changed


def test_a_file_of_a_map_that_the_user_changed_stays(tmp_path):
    place = tmp_path / "out-map"
    make(place)
    (place / "psf_map.csv").write_text("y_px\n7\n")
    with pytest.raises(UserError, match=r"psf_map\.csv was changed since isoplan made it"):
        make(place, overwrite=True)
    assert (place / "psf_map.csv").read_text() == "y_px\n7\n"
    (place / "psf_map.csv").unlink()
    make(place, overwrite=True)


def test_a_mark_names_only_files_of_its_folder(tmp_path):
    place, other = tmp_path / "out-map", tmp_path / "other.csv"
    other.write_text("mine")
    make(place)
    mark = json.loads((place / FOLDER_MARK).read_text())
    mark["files"]["../other.csv"] = hashlib.sha256(b"mine").hexdigest()
    (place / FOLDER_MARK).write_text(json.dumps(mark))
    make(place, overwrite=True)
    assert other.read_text() == "mine"


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "out-map").mkdir()
    make(tmp_path / "out-map")
    assert (tmp_path / "out-map" / "psf_map.csv").exists()


def test_what_is_read_is_never_a_place(tmp_path):
    """Whatever is said, through links and hard links too."""
    raw = tmp_path / "raw"
    raw.mkdir()
    tifffile.imwrite(raw / "a.tif", np.ones((4, 4)), software="isoplan")
    os.link(raw / "a.tif", tmp_path / "hard.tif")
    (tmp_path / "link").symlink_to(raw)
    for place, sources, words in (
        (raw / "a.tif", [raw / "a.tif"], "is an input"),
        (tmp_path / "link" / "a.tif", [raw / "a.tif"], "is an input"),
        (tmp_path / "hard.tif", [raw / "a.tif"], "is an input"),
        (raw / "b.tif", [tmp_path / "link"], "lies inside"),
        (raw, [raw / "a.tif"], "contains"),
    ):
        with pytest.raises(UserError, match=words):
            Outputs(place, sources=sources, overwrite=True)
    foreign_store(raw / "s.zarr")
    with pytest.raises(UserError, match="lies inside the store"):
        Outputs(raw / "s.zarr" / "out.tif")
    Outputs(tmp_path / "b.tif", sources=[raw])


def test_nothing_comes_of_a_command_that_fails(tmp_path):
    places = tmp_path / "new" / "a.tif", tmp_path / "new" / "a-map"
    with pytest.raises(KeyboardInterrupt), Outputs(*places) as outputs:
        ours(outputs[places[0]])
        raise KeyboardInterrupt
    assert not list((tmp_path / "new").iterdir())


def test_two_commands_do_not_make_the_same(tmp_path):
    place = tmp_path / "a.tif"
    with Outputs(place) as first:
        with pytest.raises(UserError, match="another command is writing it"), Outputs(place):
            pass
        ours(first[place])
        place.write_text("by somebody else")
        with pytest.raises(UserError, match="already exists"):
            first.deliver()
    assert place.read_text() == "by somebody else"


def test_a_folder_that_somebody_else_filled_meanwhile_stays(tmp_path):
    place = tmp_path / "a-map"
    with Outputs(place) as outputs:
        ours(outputs[place])
        place.mkdir()
        (place / "psf_map.csv").write_text("by somebody else")
        with pytest.raises(UserError, match="already exists"):
            outputs.deliver()
    assert (place / "psf_map.csv").read_text() == "by somebody else"


def test_what_a_killed_command_left_is_cleared_away(tmp_path):
    place = tmp_path / "a.tif"
    code = (
        "import os, sys; from pathlib import Path; from isoplan.cli.outputs import Outputs\n"
        "place = Path(sys.argv[1])\n"
        "with Outputs(place) as o: o[place].write_text('half'); os._exit(9)"
    )
    subprocess.run(
        [sys.executable, "-c", code, place], env=os.environ | {"PYTHONPATH": SCRIPTS}, check=False
    )
    assert [p.name for p in tmp_path.iterdir()] == [".a.tif.part"]
    make(place)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]
    (tmp_path / ".b.tif.part").mkdir()
    (tmp_path / ".b.tif.part" / "mine").write_text("")
    with pytest.raises(UserError, match="isoplan did not make it"):
        make(tmp_path / "b.tif")


def test_a_full_disk_is_told_before_a_memory_map_kills(tmp_path, monkeypatch):
    place = tmp_path / "a.tif"

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    words = r"a\.tif: the disk or your quota is full"
    with pytest.raises(UserError, match=words), Outputs(place) as outputs:
        tifffile.memmap(outputs[place], shape=(4, 4), dtype="float32")
        allocate(outputs[place])
    assert not list(tmp_path.iterdir())


def test_reserved_space_is_on_the_disk(tmp_path):
    part = tmp_path / "part.tif"
    with open(part, "wb") as handle:
        handle.truncate(2**20)
    assert 512 * part.stat().st_blocks < 2**20
    allocate(part)
    assert 512 * part.stat().st_blocks >= part.stat().st_size == 2**20


# Commands ------------------------------------------------------------------------------------------


def run(*arguments) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture
def no_work(monkeypatch):
    """What is refused is refused before any work."""

    def work(*_, **__):
        raise AssertionError("a map was made")

    monkeypatch.setattr(one_picture, "map_whole", work)
    monkeypatch.setattr(commands, "convert", work)


@pytest.fixture
def raw(tmp_path) -> Path:
    """A user's folder: pictures, tiles, stores, notes."""
    folder = tmp_path / "raw"
    folder.mkdir()
    counts = np.random.default_rng(0).poisson(100, (96, 96)).astype(np.uint16)
    tifffile.imwrite(folder / "section1.tif", counts)
    imageio.imwrite(folder / "section1.png", counts.astype(np.uint8))
    imageio.imwrite(folder / "section2-preview.png", counts.astype(np.uint8))
    boxes = grid((96, 96), (64, 64), (32, 32))
    names = write_tiles(folder / "tiles", counts, boxes)
    table = fiji(names, [(y0, x0) for y0, _, x0, _ in boxes])
    (folder / "tiles" / "TileConfiguration.txt").write_text(table)
    root = zarr.create_group(folder / "scan.ome.zarr")
    root.attrs["ome"] = {"version": "0.5", "bioformats2raw.layout": 3}
    axes = [{"name": name, "type": "space"} for name in "yx"]
    for name in "01":
        group = root.create_group(name)
        group.create_array("0", data=counts)
        group.attrs["ome"] = {"multiscales": [{"axes": axes, "datasets": [{"path": "0"}]}]}
    foreign_store(folder / "notes.ome.zarr")
    return folder


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
@pytest.mark.parametrize(
    "command, source, out, words",
    [
        ("restore", "section1.tif", "section1.tif", "is an input"),
        ("restore", "section1.png", "section2.ome.zarr", "section2-preview.png"),
        ("restore", "section1.png", "section1.tif", "section1.tif"),
        ("restore", "tiles", "tiles/a.tif", "lies inside"),
        ("restore", "tiles/TileConfiguration.txt", "tiles/tile1.tif", "is an input"),
        ("restore", "scan.ome.zarr/0", "scan.ome.zarr", "contains"),
        ("convert", "scan.ome.zarr/0", "scan.ome.zarr", "contains"),
        ("restore", "scan.ome.zarr/0", "scan.ome.zarr/r.tif", "lies inside the store"),
        ("convert", "section1.tif", "notes.ome.zarr", "notes.ome.zarr"),
        ("map", "section1.png", "section1.tif", "is the name of a file"),
        ("map", "section1.png", "tiles", "tiles"),
        ("split", "section1.tif", "tiles/tile1.tif", "Not a directory"),
    ],
)
def test_commands_spare_a_users_files(raw, no_work, capsys, command, source, out, words, overwrite):
    before = content(raw)
    assert run(command, raw / source, "-o", raw / out, *overwrite) == 1
    assert words in capsys.readouterr().err
    assert content(raw) == before and not list(raw.rglob(".*"))
