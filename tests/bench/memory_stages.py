"""The demo's heavy stages, each at the demo's size and settings, for `run.py` to take their memory.

Only time is saved: few steps, two iterations, one unit of work. None of these changes the peak.
"""

import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from isoplan.base.config import load, validate
from isoplan.exposure import exposure_of
from isoplan.mosaic import ngff, tiles
from isoplan.mosaic.reader import open_mosaic
from isoplan.networks import store
from isoplan.optics.psf import make_psf_model
from isoplan.psf_map import MapLayout, channels, map_unit
from isoplan.restoration import LocalPsfs, halo_of, restore_and_judge
from isoplan.simulation import BLOCK_PX, Simulation
from isoplan.synthesis import Recipe
from isoplan.training import train

CONFIG = Path(__file__).resolve().parents[2] / "config" / "config.yaml"
CPU = torch.device("cpu")
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
    train(recipe, spec, folder, seed=study["seed"], device=CPU)


def simulating(study: dict, folder: Path) -> None:
    """One block of the mosaic."""
    model = make_psf_model(study["psfs"][0])
    camera, order = study["cameras"][1], study["restoration"]["order"]
    scene = Simulation(study["simulations"][0], model, camera, order, study["seed"])
    scene.observed(0, BLOCK_PX, 0, BLOCK_PX, 0)


def mapping(study: dict, folder: Path) -> None:
    """One whole unit of 32 x 32 cells, which at the demo's stride is the whole mosaic."""
    layout, model = _layout(study), make_psf_model(study["psfs"][0])
    network = store.build(study["networks"][0], layout.window_px, model).eval()
    with open_mosaic(_mosaic(study, folder)) as mosaic:
        map_unit(network, model, mosaic, layout, 0, offset=100.0, device=CPU)


def restoring(study: dict, folder: Path) -> None:
    """One core with the halo that the demo's iterations ask for."""
    settings, layout = study["restoration"], _layout(study)
    model = make_psf_model(study["psfs"][0])
    settings |= {"halo_px": halo_of(settings, model.size_px), "offset": 100.0, "iterations": 2}
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
        levels = {"start": 1000.0, "scale": 10_000.0}
        restore_and_judge(mosaic, local, core, settings, levels=levels, device=CPU)


def restoring_wide(study: dict, folder: Path) -> None:
    """A core in the middle of a mosaic: 1536 px a side with its halo, PSFs of 127 px every 64 px that
    have little in common, a focus and an astigmatism whose axis turns."""
    settings = study["restoration"]
    default, entry = study["psfs"], {"name": "wide", "model": "zernike-3", "size_px": 127}
    model = make_psf_model(validate({"psfs": [*default, entry]})["psfs"][-1])
    settings |= {"halo_px": halo_of(settings, model.size_px), "offset": 100.0, "iterations": 2}
    settings |= {"exposure": asdict(exposure_of(FACTS, 0.0)), "trust_px": 64}
    layout = MapLayout((1536, 1536), 128, 64, "reflect")
    v, u = np.meshgrid(*(np.linspace(-1, 1, n) for n in layout.cells), indexing="ij")
    turning = [0.2 + 0.1 * u, 0.15 + 0.1 * v, 3 * np.arctan2(v, u) % np.pi]
    local = LocalPsfs(model, layout=layout, cells=np.stack(turning).astype(np.float32))
    study["simulations"][0]["size_px"] = [1536, 1536]
    with open_mosaic(_mosaic(study, folder)) as mosaic:
        core = slice(256, 1280), slice(256, 1280)
        levels = {"start": 1000.0, "scale": 10_000.0}
        restore_and_judge(mosaic, local, core, settings, levels=levels, device=CPU)


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


STAGES = {f.__name__: f for f in (training, simulating, mapping, restoring, restoring_wide)}


def run(stage: str) -> None:
    """Does one stage in a folder of its own, which is then removed."""
    with tempfile.TemporaryDirectory() as folder:
        STAGES[stage](load(CONFIG), Path(folder))
