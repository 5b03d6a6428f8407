"""Memory of reading: what one window takes, whatever the picture's size; each case in a process of its own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from tile_folders import grid, own, write_tiles

LIBRARY = Path(__file__).resolve().parents[2] / "workflow" / "scripts"
SIDE = 5120
PICTURE_MIB = SIDE**2 * 2 / 2**20
# Reads windows all over the picture and says by how many MiB the peak rose above the imports'.
READ = f"""
import re, sys
sys.path.insert(0, {str(LIBRARY)!r})
from isoplan.mosaic import convert, placed, reader
from isoplan.mosaic.reader import open_mosaic
def peak():
    # Not getrusage: what the parent held before the fork would count.
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
if len(sys.argv) > 2:
    reader.HELD_BYTES = 2**20  # as if it were larger
placed.OPEN_BYTES = 2**23  # of tiles held whole, or all of them would be
before = peak()
with open_mosaic(sys.argv[1], large_pieces=True) as mosaic:
    assert mosaic.shape == ({SIDE}, {SIDE})
    if len(sys.argv) > 2:
        convert.convert(mosaic, sys.argv[2], pixel_size_um=1, attributes={{}})
    else:
        for y in range(0, {SIDE} - 1024, 1000):
            for x in range(0, {SIDE} - 1024, 1000):
                mosaic.read(y, y + 1024, x, x + 1024)
        for window in mosaic.windows():
            mosaic.read(*window)
print(peak() - before, convert.memory_mb(mosaic))
"""


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    piece = np.random.default_rng(0).integers(0, 4000, (512, 512)).astype(np.uint16)
    return np.tile(piece, (SIDE // 512, SIDE // 512))


def risen(*arguments) -> tuple[float, float]:
    """MiB above the imports' peak, and what `memory_mb` said."""
    command = [sys.executable, "-c", READ, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rise, told = done.stdout.split()
    return float(rise), float(told)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zlib", "rowsperstrip": 16},
        {"compression": "zlib", "tile": (512, 512)},
        {},  # mapped into memory: pages that stay would count
    ],
    ids=["strips", "tiles", "mapped"],
)
def test_a_bigtiff_by_window(tmp_path, picture, options):
    fast = {"compressionargs": {"level": 1}} if options else {}
    tifffile.imwrite(tmp_path / "a.tif", picture, bigtiff=True, **options, **fast)
    assert risen(tmp_path / "a.tif")[0] < PICTURE_MIB / 2


def test_a_folder_of_tiles_by_window(tmp_path, picture):
    boxes = grid(picture.shape, (1024, 1024), (1024, 1024))
    fast = {"compression": "zlib", "compressionargs": {"level": 1}}
    names = write_tiles(tmp_path, picture, boxes, **fast)
    (tmp_path / "where.tsv").write_text(own(names, [(y0, x0) for y0, _, x0, _ in boxes]))
    # To put a window together takes some 30 MiB; with the tiles held it would be 80.
    assert risen(tmp_path)[0] < PICTURE_MIB


@pytest.mark.parametrize("codec", ["zlib", "lzw"])
def test_one_huge_strip_takes_what_it_says(tmp_path, picture, codec):
    tifffile.imwrite(tmp_path / "a.tif", picture, compression=codec, rowsperstrip=SIDE)
    rise, told = risen(tmp_path / "a.tif", tmp_path / "a.ome.zarr")
    assert 0 < rise < told
    if codec == "zlib":  # decoded as it comes: never the whole
        assert rise < 2.5 * PICTURE_MIB
