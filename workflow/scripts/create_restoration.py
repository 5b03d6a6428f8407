"""Makes the empty OME-Zarr of a restored mosaic, with all its metadata."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from _job import job
from isoplan.mosaic import ngff, tiles
from isoplan.mosaic.facts import Facts
from isoplan.optics.exposure import exposure_of
from isoplan.restoration.halo import halo_of, with_choice
from isoplan.restoration.trust import cell_px, create_trust


def main(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    facts = Facts.read(snakemake.input.facts)
    chosen = params.psf
    psf = chosen.get("fixed") or ngff.read_attributes(chosen["store"])["psf"]
    choice = snakemake.input.get("choice")
    choice = json.loads(Path(choice).read_text()) if choice else None
    settings = with_choice(dict(params.restoration), choice)
    settings |= {"halo_px": halo_of(settings, psf["size_px"]), "offset": facts["offset"]}
    settings["exposure"] = asdict(exposure_of(facts, settings["background"]))
    settings["trust_px"] = cell_px(params.stride_px, settings["core_px"])
    shape = facts.shape
    counts = np.dtype(facts["dtype"]).kind in "ui"
    brightest = (facts["maximum"] or 0) - facts["offset"]
    scale = ngff.scale_for(settings["dtype"], brightest, counts=counts)
    made = {
        "mosaic": wildcards.mosaic,
        "method": wildcards.method,
        "psf": psf,
        "library": dict(params.library),
    }
    ngff.create_image(
        params.store,
        shape,
        dtype=settings["dtype"],
        scale=scale,
        pixel_size_um=facts["pixel_size_um"],
        shard_px=settings["core_px"],
        mask=True,
        window=(0, max((facts["p999"] or 0) - facts["offset"], 1e-6)),
        attributes=made | {"unit": "counts above the camera's offset", "restoration": settings},
    )
    create_trust(params.store, settings, facts, made)
    units = len(tiles.shards(shape, settings["core_px"]))
    text = f"{shape[0]} x {shape[1]} px in {units} units, halo {settings['halo_px']} px"
    if scale != 1:
        text += f"; a stored 1 is {scale:.6g} counts"
    if settings["exposure"]["gain"] is None:
        text += "; gain and read noise are not known: whether it agrees with the data is not judged"
    print(text)
    Path(snakemake.output.created).write_text(text + "\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
