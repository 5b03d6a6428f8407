"""The demo's heavy stages, each at the demo's size and settings, for `run.py` to take their memory.

Only time is saved: few steps, two iterations, one unit of work. None of these changes the peak.

    PYTHONPATH=workflow/scripts .venv/bin/python tests/bench/memory_stages.py

prints what mapping and restoring take before their unit and for it, by the size of its block, from
which workflow/preflight.py has its figures.
"""

import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from math import prod
from pathlib import Path

import numpy as np
import torch
from isoplan.cluster.units import peak_mb
from isoplan.config.validation import load, validate
from isoplan.mosaic import ngff, tiles
from isoplan.mosaic.reader import open_mosaic
from isoplan.networks import store
from isoplan.optics.exposure import exposure_of
from isoplan.optics.psf import make_psf_model
from isoplan.psf_map.estimate import map_unit
from isoplan.psf_map.layout import MapLayout, channels
from isoplan.restoration.cores import restore_with_trust
from isoplan.restoration.halo import halo_of
from isoplan.restoration.psfs import LocalPsfs
from isoplan.simulation import BLOCK_PX, Simulation
from isoplan.training.loop import train
from isoplan.training.psf_regression import PsfRegression
from isoplan.training.samples import Recipe

CONFIG = Path(__file__).resolve().parents[2] / "config" / "studies" / "demo.yaml"
CPU = torch.device("cpu")
# What would be chosen; the halo is still that of the most iterations.
CHOSEN = {
    "iterations": 2,
    "tv_weight": 0.001,
    "psf_scale": 1.0,
    "psf_shape": "map",
    "resolution_px": 0.5,
}
FACTS = {
    "offset": 100.0,
    "gain": 2.0,
    "read_noise_e": 2.0,
    "dtype": "uint16",
    "saturation": 19_999.0,
}


def training(study: dict, folder: Path) -> None:
    """Two epochs of four steps, so that the scenes are renewed once."""
    spec = study["networks"][0]
    spec |= {"samples": 8 * spec["batch"], "epoch_samples": 4 * spec["batch"]}
    recipe = Recipe(
        study["psfs"][0], study["objects"][0], study["cameras"][0],
        study["map"]["window_px"], spec["black_share"],
    )  # fmt: skip
    train(PsfRegression(recipe, spec, study["seed"], CPU), folder)


def simulating(study: dict, folder: Path) -> None:
    """One block of the mosaic."""
    model = make_psf_model(study["psfs"][0])
    camera, order = study["cameras"][1], study["restoration"]["order"]
    scene = Simulation(study["simulations"][0], model, camera, order, study["seed"])
    scene.observed(0, BLOCK_PX, 0, BLOCK_PX, 0)


def mapping(study: dict, folder: Path) -> int:
    """One whole unit of 32 x 32 cells, which at the demo's stride is the whole mosaic. Pixels of its block."""
    layout, model = _layout(study), make_psf_model(study["psfs"][0])
    network = store.build(study["networks"][0], layout.window_px, model).eval()
    with open_mosaic(_mosaic(study, folder)) as mosaic:
        map_unit(network, model, mosaic, layout, 0, offset=100.0, device=CPU)
    y0, y1, x0, x1 = layout.window_of(0)
    return (y1 - y0) * (x1 - x0)


def mapping_dense(study: dict, folder: Path) -> int:
    """The same at a stride of 32 px: a quarter of the block."""
    study["map"]["stride_px"] = 32
    study["simulations"][0]["size_px"] = [1024, 1024]
    return mapping(study, folder)


def mapping_wide(study: dict, folder: Path) -> int:
    """The same at a stride of 128 px: four times the block."""
    study["map"]["stride_px"] = 128
    study["simulations"][0]["size_px"] = [4096, 4096]
    return mapping(study, folder)


def restoring(study: dict, folder: Path) -> int:
    """One core with the halo that the most iterations ask for. Pixels of its block."""
    settings, layout = study["restoration"], _layout(study)
    model = make_psf_model(study["psfs"][0])
    settings |= {"halo_px": halo_of(settings, model.size_px), "offset": 100.0}
    settings |= CHOSEN
    settings |= {"exposure": asdict(exposure_of(FACTS, 0.0)), "trust_px": 64}
    path = folder / "map.zarr"
    ngff.create_map(
        path, channels(model), layout.cells, stride_px=64, pixel_size_um=0.5, attributes={}
    )
    field = np.random.default_rng(0).uniform(2, 8, (len(channels(model)), *layout.cells))
    ngff.write_shards(
        ngff.open_array(path, "0", "r+"), (slice(None),) * 3, field.astype(np.float32)
    )
    local = LocalPsfs(model, layout=layout, cells=ngff.open_array(path))
    with open_mosaic(_mosaic(study, folder)) as mosaic:
        core = tiles.shards(mosaic.shape, settings["core_px"])[0]
        brightness = {"start": 1000.0, "scale": 10_000.0}
        restore_with_trust(mosaic, local, core, settings, brightness=brightness, device=CPU)
        outer = tiles.with_halo(core, settings["halo_px"], mosaic.shape)
    return prod(part.stop - part.start for part in outer)


def restoring_wide(study: dict, folder: Path, core_px: int = 1024) -> int:
    """A core in the middle of a mosaic: 1536 px a side with its halo, PSFs of 127 px every 64 px that
    have little in common, a focus and an astigmatism whose axis turns."""
    settings = study["restoration"]
    default, entry = study["psfs"], {"name": "wide", "model": "zernike-3", "size_px": 127}
    model = make_psf_model(validate({"psfs": [*default, entry]})["psfs"][-1])
    settings |= {"halo_px": halo_of(settings, model.size_px), "offset": 100.0}
    settings |= CHOSEN
    settings |= {"exposure": asdict(exposure_of(FACTS, 0.0)), "trust_px": 64}
    side = core_px + 512
    layout = MapLayout((side, side), 128, 64, "reflect")
    v, u = np.meshgrid(*(np.linspace(-1, 1, n) for n in layout.cells), indexing="ij")
    turning = [0.2 + 0.1 * u, 0.15 + 0.1 * v, 3 * np.arctan2(v, u) % np.pi]
    local = LocalPsfs(model, layout=layout, cells=np.stack(turning).astype(np.float32))
    study["simulations"][0]["size_px"] = [side, side]
    with open_mosaic(_mosaic(study, folder)) as mosaic:
        core = slice(256, side - 256), slice(256, side - 256)
        brightness = {"start": 1000.0, "scale": 10_000.0}
        restore_with_trust(mosaic, local, core, settings, brightness=brightness, device=CPU)
    return side**2


def restoring_large(study: dict, folder: Path) -> int:
    """The same with a core of 2048 px."""
    return restoring_wide(study, folder, core_px=2048)


def _layout(study: dict) -> MapLayout:
    shape, chosen = tuple(study["simulations"][0]["size_px"]), study["map"]
    return MapLayout(shape, chosen["window_px"], chosen["stride_px"], chosen["edges"])


def _mosaic(study: dict, folder: Path) -> str:
    path = folder / "observed.ome.zarr"
    shape = study["simulations"][0]["size_px"]
    ngff.create_image(path, shape, dtype="uint16", pixel_size_um=0.5, attributes={})
    counts = np.random.default_rng(0).integers(100, 20_000, shape, np.uint16)
    ngff.write_shards(ngff.open_array(path, mode="r+"), (slice(None),) * 2, counts)
    return str(path)


STAGES = {
    f.__name__: f
    for f in (
        training,
        simulating,
        mapping_dense,
        mapping,
        mapping_wide,
        restoring,
        restoring_wide,
        restoring_large,
    )
}


def run(stage: str) -> int | None:
    """Does one stage in a folder of its own, which is then removed."""
    with tempfile.TemporaryDirectory() as folder:
        return STAGES[stage](load(CONFIG), Path(folder))


def growth(stage: str) -> str:
    """What a stage takes in a fresh process, before and for its block."""
    before = peak_mb()
    pixels = run(stage)
    unit = peak_mb() - before
    return (
        f"{stage}: {before:.0f} MB, and {unit:.0f} MB for a block of {pixels / 1e6:.2f} million px"
    )


if __name__ == "__main__":
    for stage in STAGES:
        if stage.startswith(("mapping", "restoring")):
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                print(pool.submit(growth, stage).result())
