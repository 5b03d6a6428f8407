"""`split`: splits an exposure into a dark one and the rest, block by block."""

import argparse

import numpy as np
import tifffile

from isoplan.base.errors import UserError
from isoplan.base.seeds import numpy_rng
from isoplan.cli.outputs import Outputs, allocate, sealed
from isoplan.cli.picture import open_picture, stem_of, tiff_tags
from isoplan.mosaic.measure import measure
from isoplan.mosaic.reader import sources_of
from isoplan.mosaic.table import valid_name
from isoplan.optics.camera_facts import check_camera_of, counting_camera
from isoplan.optics.exposure import split as split_exposure
from isoplan.optics.exposure import split_camera

COLUMNS = ("mosaic", "path", "pixel_size_um", "gain", "offset", "read_noise_e", "reference")
MOST_UNKNOWN, MOST_SATURATED = 0.1, 0.01  # largest shares of such pixels in a picture


def split(args: argparse.Namespace) -> int:
    """Write both parts of every picture, and the table of mosaics that lists them."""
    if not 0 < args.share <= 0.5:
        raise UserError(f"--share {args.share:g}: give a number above 0 and at most 0.5")
    names = [valid_name(stem_of(picture)) for picture in args.pictures]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{name}: two pictures have this name; split them into two folders")
    for picture, name in zip(args.pictures, names, strict=True):
        if name != stem_of(picture):
            print(f"{picture}: is called {name} in the table")
    table = args.out / "pairs.tsv"
    places = [args.out / f"{name}-{part}.tif" for name in names for part in ("dark", "rest")]
    sources = [source for picture in args.pictures for source in sources_of(picture)]
    with Outputs(table, *places, sources=sources, overwrite=args.overwrite) as outputs:
        rows = [
            _split(args, outputs, picture, name)
            for picture, name in zip(args.pictures, names, strict=True)
        ]
        lines = [
            "\t".join(COLUMNS),
            *("\t".join(f"{row[column]}" for column in COLUMNS) for row in rows),
        ]
        outputs[table].write_text(sealed("".join(f"{line}\n" for line in lines)))
        outputs.deliver()
    if any(row["pixel_size_um"] == 1 for row in rows):
        print(
            "where neither --pixel-size-um nor the file gives the pixel size, the table says 1 um"
        )
    print(f"table of mosaics: {table}; to restore and evaluate the dark parts:")
    print(f"  make study STUDY=pairs ARGS='--config study={args.out.name} mosaics={table}'")
    return 0


def _split(args: argparse.Namespace, outputs: Outputs, picture: str, name: str) -> dict:
    """Write the two parts of a picture, and return its line of the table."""
    dark, rest = (args.out / f"{name}-{part}.tif" for part in ("dark", "rest"))
    chosen = argparse.Namespace(**vars(args) | {"picture": picture})
    with open_picture(chosen, outputs, fused=False) as mosaic:
        if mosaic.luminance:
            raise UserError(
                f"{picture}: luminance of colours is not a photon count; choose one colour by --channel"
            )
        facts = measure(mosaic, offset=args.offset or 0.0)
        saturated = facts["saturated_pixels"]
        if saturated > MOST_SATURATED * mosaic.shape[0] * mosaic.shape[1]:
            raise UserError(
                f"{picture}: {saturated:,} pixels are saturated, so their photons cannot be counted; take a shorter "
                "exposure"
            )
        given = {"gain": args.gain, "offset": args.offset, "read_noise_e": args.read_noise}
        try:
            camera, notes = counting_camera(given, mosaic.middle())
        except UserError as error:
            raise UserError(f"{picture}: {error}") from None
        facts |= camera
        notes += check_camera_of(facts, picture)
        if saturated:
            notes.append(
                f"{saturated:,} saturated pixels are split as recorded, so both parts are too dark there"
            )
        unknown = _write(mosaic, facts, (dark, rest), outputs, chosen, name)
        if unknown:
            notes.append(
                f"{unknown:,} pixels are empty in both parts: not finite, or below the offset"
            )
        for note in notes:
            print(f"{picture}: {note}")
        levels = [(facts[key] - facts["offset"]) / facts["gain"] for key in ("mean", "p999")]
        print(
            f"{picture}: the dark part has {args.share * levels[0]:.3g} electrons per pixel on average, "
            f"{args.share * levels[1]:.3g} in the brightest"
        )
    told = split_camera(facts, args.share)
    return {
        "mosaic": name,
        "path": dark,
        "pixel_size_um": chosen.pixel_size_um or 1,
        **{key: f"{value:.6g}" for key, value in told.items()},
        "reference": rest,
    }


def _write(mosaic, facts: dict, places, outputs: Outputs, args, name: str) -> int:
    """Write both parts block by block, and return the number of pixels without a photon count."""
    tags = tiff_tags(mosaic.shape, args.pixel_size_um)
    parts = []
    for place in places:
        made = outputs[place]
        parts.append(tifffile.memmap(made, shape=mosaic.shape, dtype="float32", **tags))
        allocate(made)
    unknown = 0
    for number, ((y0, y1, x0, x1), block) in enumerate(mosaic.blocks()):
        found = split_exposure(
            block, facts, numpy_rng(args.seed, f"split {name}", number), share=args.share
        )
        for whole, part in zip(parts, found, strict=True):
            whole[y0:y1, x0:x1] = part
        unknown += int(np.isnan(found[0]).sum())
    if unknown > MOST_UNKNOWN * mosaic.shape[0] * mosaic.shape[1]:
        raise UserError(
            f"{mosaic.path}: {unknown:,} pixels are not finite or below the offset of "
            f"{facts['offset']:.4g} counts by more than noise explains; give a lower --offset"
        )
    for whole in parts:
        whole.flush()
    return unknown
