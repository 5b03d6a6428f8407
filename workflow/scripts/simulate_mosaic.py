"""A mosaic with a known truth: sharp pictures, a known PSF field, a known camera, block by block."""

import json
from pathlib import Path

import numpy as np
from _job import job
from isoplan.base.progress import Progress
from isoplan.mosaic import ngff, tiles
from isoplan.optics.camera import check_camera
from isoplan.optics.psf import make_psf_model
from isoplan.psf_map import MapLayout, channels
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
    common = {"pixel_size_um": spec["pixel_size_um"], "shard_px": BLOCK_PX}
    ngff.create_image(
        params.observed,
        scene.shape_px,
        dtype=scene.dtype,
        attributes=shared | {"is": "observed"},
        **common,
    )
    ngff.create_image(
        params.truth, scene.shape_px, dtype="float32", attributes=shared | {"is": "truth"}, **common
    )
    observed = ngff.open_array(params.observed, mode="r+")
    truth = ngff.open_array(params.truth, mode="r+")
    units = tiles.shards(scene.shape_px, BLOCK_PX)
    bar = Progress(f"simulating {spec['mosaic']}, blocks", len(units))
    for unit, (rows, columns) in enumerate(units):
        window = rows.start, rows.stop, columns.start, columns.stop
        ngff.write_shards(
            observed, (rows, columns), scene.observed(*window, unit).astype(observed.dtype)
        )
        ngff.write_shards(truth, (rows, columns), scene.truth(*window))
        bar.step()
    ngff.build_pyramid(params.observed)
    ngff.build_pyramid(params.truth)
    store_true_map(params, scene, model, shared)
    Path(snakemake.output.done).write_text(json.dumps(shared) + "\n")


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
            true, none = np.moveaxis(field.numpy(), -1, 0), np.zeros((1, *field.shape[:2]))
            block = np.concatenate([true, 0 * true, none + 1, none, none]).astype(np.float32)
            ngff.write_shards(cells, (slice(None), rows, columns), block)


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
