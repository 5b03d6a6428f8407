"""A mosaic with a known truth: sharp pictures, a known PSF field, a known camera, block by block."""

import json
from pathlib import Path

import numpy as np
from _job import job
from isoplan.base.errors import UserError
from isoplan.base.fingerprint import fingerprint
from isoplan.base.ledger import Ledger
from isoplan.cluster.units import run_units
from isoplan.mosaic import ngff, tiles
from isoplan.optics.camera import check_camera
from isoplan.optics.psf import make_psf_model
from isoplan.psf_map.layout import USABLE, VALIDITY, MapLayout, channels
from isoplan.simulation import BLOCK_PX, Simulation


def main(snakemake):
    params = snakemake.params
    made = params.simulation
    spec = made["simulation"]
    model = make_psf_model(made["psf"])
    model.check()
    check_camera(made["camera"])
    scene = Simulation(spec, model, made["camera"], made["order"], params.seed)
    shared = {"mosaic": spec["mosaic"], "camera": scene.camera_columns(), "seed": params.seed}
    mark = fingerprint(made, params.seed, dict(params.library))
    for store, dtype in ((params.observed, scene.dtype), (params.truth, "float32")):
        lay_out(store, scene.shape_px, dtype, spec["pixel_size_um"], shared | {"mark": mark})
    observed, truth = (ngff.open_array(s, mode="r+") for s in (params.observed, params.truth))
    units = tiles.shards(scene.shape_px, BLOCK_PX)

    def make(unit):
        rows, columns = units[unit]
        window = rows.start, rows.stop, columns.start, columns.stop
        return scene.observed(*window, unit), scene.truth(*window)

    def write(unit, pictures):
        for array, block in zip((observed, truth), pictures, strict=True):
            ngff.write_shards(array, units[unit], block.astype(array.dtype))

    run_units(
        Ledger(params.ledger, mark),
        len(units),
        job=0,
        jobs=1,
        make=make,
        write=write,
        read=lambda unit: np.stack([observed[units[unit]], truth[units[unit]]]),
        title=f"simulating {spec['mosaic']}, blocks",
    )
    ngff.build_pyramid(params.observed)
    ngff.build_pyramid(params.truth)
    store_true_map(params, scene, model, shared)
    Path(snakemake.output.done).write_text(json.dumps(shared) + "\n")


def lay_out(store, shape, dtype, pixel_size_um, attributes):
    """An empty picture, or, where a killed job has left one of the same settings, that one."""
    try:
        if ngff.read_attributes(store)["mark"] == attributes["mark"]:
            ngff.open_array(store)
            return
    except (UserError, KeyError):
        pass  # none yet, a damaged one, or another's
    ngff.create_image(
        store,
        shape,
        dtype=dtype,
        pixel_size_um=pixel_size_um,
        shard_px=BLOCK_PX,
        attributes=attributes,
    )


def store_true_map(params, scene, model, shared):
    """The true parameters in the layout of the estimated map."""
    layout = MapLayout(scene.shape_px, params.window_px, params.stride_px, params.edges)
    ngff.create_map(
        params.true_map,
        channels(model),
        layout.cells,
        stride_px=params.stride_px,
        pixel_size_um=scene.spec["pixel_size_um"],
        attributes=shared
        | {
            "psf": model.spec,
            "network": "true",
            "window_px": params.window_px,
            "edges": params.edges,
            "shape_px": scene.shape_px,
        },
    )
    for name in ("0", "raw"):
        cells = ngff.open_array(params.true_map, name, "r+")
        for rows, columns in layout.units:
            field = scene.field.at(layout.centres_px(0)[rows], layout.centres_px(1)[columns])
            block = np.zeros((len(channels(model)), *field.shape[:2]), np.float32)
            block[: field.shape[2]] = np.moveaxis(field.numpy(), -1, 0)
            block[[VALIDITY, USABLE]] = 1
            ngff.write_shards(cells, (slice(None), rows, columns), block)


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
