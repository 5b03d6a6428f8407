"""Formats that are read through libraries: whose code opens a file, and what a new format leaves as it was."""

import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tifffile
from isoplan.base import fingerprint
from isoplan.base.fingerprint import library_hashes
from isoplan.base.imports import load_named
from isoplan.mosaic import positions
from isoplan.mosaic.formats.rows import FORMATS
from isoplan.mosaic.magic import readers_of
from tile_folders import fiji
from vendor_files import add_format, write_lif, write_nd2, write_plain

LIBRARY = fingerprint.LIBRARY
PICTURE = np.random.default_rng(0).integers(0, 4096, (90, 120)).astype("uint16")


@pytest.fixture
def files(tmp_path):
    """name -> a picture of each format."""
    made = {kind: tmp_path / f"a.{kind}" for kind in ("tif", "lif", "nd2", "czi")}
    tifffile.imwrite(made["tif"], PICTURE)
    write_lif(made["lif"], [("a", "YX", PICTURE, 1e-7)])
    write_nd2(made["nd2"], PICTURE[None, None, None])
    made["czi"].write_bytes(b"ZISRAWFILE" + bytes(500))
    return made


def readers(path):
    return readers_of(positions.files_of(path))


def test_every_module_has_its_row():
    """And its function, which imports no library before it opens a file."""
    own = {path.stem for path in (LIBRARY / "mosaic" / "formats").glob("*.py")}
    named = {code.partition(":")[0].rpartition(".")[2] for _, code in FORMATS.values()}
    assert own - {"__init__", "libraries", "rows"} == named
    assert all(callable(load_named(code)) for _, code in FORMATS.values())


@pytest.mark.parametrize("script", ["restore_mosaic", "convert_mosaic", "register_reference"])
def test_a_mosaic_has_the_hash_of_its_reader_and_of_no_other(files, script):
    script = LIBRARY.parent / f"{script}.py"
    plain = library_hashes(script)
    assert not readers(files.pop("tif"))
    for kind, path in files.items():
        found = library_hashes(script, *readers(path))
        of_formats = {name.rpartition(".")[2] for name in found if ".formats." in name}
        assert of_formats == {kind, "libraries"}
        assert plain.items() <= found.items()


def test_readers_of_tiles(tmp_path, files):
    """By the first tile of each ending."""
    names = ["a.tif", "a.lif", "a.nd2", "b.nd2"]
    shutil.copy(files["nd2"], tmp_path / "b.nd2")
    (tmp_path / "TileConfiguration.txt").write_text(fiji(names, [(0, 100 * n) for n in range(4)]))
    expected = ["isoplan.mosaic.formats.lif:open_lif", "isoplan.mosaic.formats.nd2:open_nd2"]
    assert readers(tmp_path) == readers(tmp_path / "TileConfiguration.txt") == expected


def test_what_cannot_be_read_has_no_reader(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "store.zarr").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("empty", "store.zarr", "pipe", "none"):
        assert readers(tmp_path / name) == []


def test_a_new_format_leaves_all_else_as_it_was(tmp_path, monkeypatch):
    """A file and a row: pictures of it are read and carry its hash; no script's hashes move."""
    copy, left_out = tmp_path / "workflow", shutil.ignore_patterns("__pycache__")
    scripts = shutil.copytree(LIBRARY.parents[1], copy, ignore=left_out) / "scripts"
    before = {path.name: library_hashes(path) for path in LIBRARY.parent.glob("[a-z]*.py")}
    name = add_format(scripts / "isoplan")
    monkeypatch.setattr(fingerprint, "LIBRARY", scripts / "isoplan")
    assert before == {path.name: library_hashes(path) for path in scripts.glob("[a-z]*.py")}
    write_plain(tmp_path / "a.plain", PICTURE)
    code = """
        import sys
        from isoplan.base.fingerprint import library_hashes, unhashed
        from isoplan.mosaic.magic import readers_of
        from isoplan.mosaic.reader import open_mosaic
        path, script = sys.argv[1:]
        with open_mosaic(path) as mosaic:
            print(mosaic.read(0, 90, 0, 120).sum(dtype=int))
        hashed = library_hashes(script, *readers_of([path]))
        print(*(module for module in hashed if ".formats." in module))
        print(*unhashed(sys.modules, library_hashes(script)))
        print(*unhashed(sys.modules, hashed))
    """
    given = str(tmp_path / "a.plain"), str(scripts / "measure_mosaic.py")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *given],
        env=os.environ | {"PYTHONPATH": str(scripts)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    used = f"isoplan.mosaic.formats.libraries {name}"
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(PICTURE.sum(dtype=int)), used, used, ""]
