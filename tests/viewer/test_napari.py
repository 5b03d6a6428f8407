"""napari shows isoplan's results exactly over one another, told by its own pixels; it has an environment of its own."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import isoplan
import numpy as np
import pytest
import tifffile
from isoplan.mosaic import ngff
from skimage import data, io

ROOT = Path(__file__).resolve().parents[2]
UV = [sys.executable, "-m", "uv"]
CELL, CELLS, HOT = 32, 8, (2, 5)

pytestmark = pytest.mark.skipif(
    not shutil.which("xvfb-run") and "ISOPLAN_CI" not in os.environ,
    reason="napari needs a screen: install xvfb",
)


@pytest.fixture(scope="module")
def look(tmp_path_factory):
    """Runs lines of Python in napari's environment, in a folder, and gives what they print as JSON."""
    folder = tmp_path_factory.mktemp("napari")
    built = [*UV, "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([*built, "--out-dir", folder, "."], check=True, cwd=ROOT)
    python = folder / "env/bin/python"
    subprocess.run([*UV, "venv", "--quiet", "--python", sys.executable, folder / "env"], check=True)
    install = [*UV, "pip", "install", "--quiet", "--python", python]
    subprocess.run([*install, "-r", ROOT / "envs/requirements-napari.txt"], check=True)
    subprocess.run([*install, "--no-deps", *folder.glob("*.whl")], check=True)
    # What isoplan needs beside: torch takes a minute to install, and is here already.
    packages = next((folder / "env/lib").glob("*/site-packages"))
    (packages / "beside.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")

    def run(text: str):
        screen = ["xvfb-run", "-a", "-s", "-screen 0 1024x768x24"]
        command = [*screen, python, "-c", START + text + END]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    run.folder = folder
    return run


START = """
import json, time, imageio.v3, napari
viewer = napari.Viewer()
viewer.window.resize(900, 700)

def told(layers):
    print(json.dumps([[layer.name, [*map(float, layer.extent.world[0])], layer.visible] for layer in layers]))
"""

# Qt is not taken apart: without a window manager it now and then crashed there, after the answer was out.
END = """
import os, sys
sys.stdout.flush()
os._exit(0)
"""


def test_a_map_lies_over_its_picture(look):
    """A bright square of the picture is seen in the very place of the map's one high cell."""
    size = CELL * CELLS
    square = np.s_[HOT[0] * CELL : (HOT[0] + 1) * CELL, HOT[1] * CELL : (HOT[1] + 1) * CELL]
    picture, cells = np.zeros((size, size), np.float32), np.zeros((1, CELLS, CELLS), np.float32)
    picture[square], cells[0][HOT] = 1000, 3
    known = {"pixel_size_um": 0.25, "attributes": {}}
    ngff.create_image(look.folder / "a.ome.zarr", picture.shape, dtype="float32", **known)
    whole = (slice(None),) * 2
    ngff.write_shards(ngff.open_array(look.folder / "a.ome.zarr", "0", "r+"), whole, picture)
    channel = [{"name": "width", "unit": "px"}]
    ngff.create_map(look.folder / "m.ome.zarr", channel, (CELLS,) * 2, stride_px=CELL, **known)
    whole = (slice(None),) * 3
    ngff.write_shards(ngff.open_array(look.folder / "m.ome.zarr", "0", "r+"), whole, cells)
    layers = look(
        """
layers = viewer.open(["a.ome.zarr"], plugin="isoplan") + viewer.open(["m.ome.zarr"], plugin="isoplan")
viewer.reset_view()
for layer in layers:
    layer.opacity, layer.colormap, layer.contrast_limits = 1, "gray", (0, float(layer.data[0].max()) if layer.multiscale else 3)
for number, layer in enumerate(layers):
    for other in layers:
        other.visible = other is layer
    imageio.v3.imwrite(f"{number}.png", viewer.screenshot(canvas_only=True, flash=False))
told(layers)
"""
    )
    assert [name for name, *_ in layers] == [
        f"{look.folder.name}/a",
        f"width (px), {look.folder.name}/m",
    ]
    seen, mapped = (io.imread(look.folder / f"{k}.png")[..., 0] > 127 for k in range(2))
    assert seen.sum() > 400
    assert (seen != mapped).mean() <= 0.002 * seen.mean()


def test_a_layer_is_restored(look):
    sharp = data.coins()[:192, :256]
    made = isoplan.simulate(sharp, {"width": 3}, psf_model="gaussian-1", offset=100, photons=3000)
    tifffile.imwrite(look.folder / "seen.tif", made.observed)
    layers = look(
        """
layer = viewer.add_image(imageio.v3.imread("seen.tif"), name="seen")
_, widget = viewer.window.add_plugin_dock_widget("isoplan", "Restore this layer")
widget(layer, offset=100.0, psf_model="gaussian-1")
end = time.time() + 200
while len(viewer.layers) < 3 and time.time() < end:
    napari.qt.get_qapp().processEvents()
    time.sleep(0.05)
import numpy
numpy.save("restored.npy", viewer.layers[1].data)
told(viewer.layers)
"""
    )
    assert [name for name, *_ in layers] == ["seen", "seen, restored", "width (px), seen"]
    restored = np.load(look.folder / "restored.npy")
    before = isoplan.compare(made.observed - 100.0, made.truth)["SNR"]
    assert isoplan.compare(restored, made.truth)["SNR"] > before + 0.5
