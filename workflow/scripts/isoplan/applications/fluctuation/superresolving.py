"""`superresolve`: from a file of frames to a picture on a finer grid, with what it is judged by."""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from isoplan.applications.fluctuation import superresolution
from isoplan.applications.fluctuation.figures import overview
from isoplan.applications.fluctuation.sequence import Frames, open_frames
from isoplan.applications.fluctuation.superresolution import Settings, SuperResolved
from isoplan.base.errors import UserError
from isoplan.base.progress import Progress
from isoplan.cli.outputs import Outputs
from isoplan.cli.picture import stem_of, tiff_tags
from isoplan.mosaic import ngff
from isoplan.mosaic.headers import complete_optics
from isoplan.mosaic.reader import sources_of
from isoplan.report import plots

UNIT = "electrons per frame"


def run(args: argparse.Namespace) -> int:
    """Write the picture, and what stands beside it."""
    if not args.out.name.lower().endswith(".ome.zarr") or args.out.name.lower() == ".ome.zarr":
        raise UserError(f"{args.out}: the name must end in .ome.zarr, with a name before it")
    beside = args.out.with_name(f"{stem_of(args.out)}-fluctuations")
    sources = sources_of(args.picture)
    with Outputs(args.out, beside, sources=sources, overwrite=args.overwrite) as outputs:
        scratch = outputs.folder / "frames"
        with open_frames(args.picture, scratch, channel=args.channel) as frames:
            settings, size = _settings(args, frames)
            bar = Progress("making finer, squares", 2 * len(superresolution.cores(frames.shape)))
            made = superresolution.superresolve(frames, settings, step=bar.step)
            _write_picture(outputs[args.out], made, settings, size, frames.path)
            _write_beside(outputs[beside], made, settings, size)
        outputs.deliver()
    for note in superresolution.describe(made):
        print(note)
    print(f"picture: {args.out} ({UNIT}); open {beside}/overview.png first")
    return 0


def _settings(args: argparse.Namespace, frames: Frames) -> tuple[Settings, float]:
    """PSF, camera and drift, as given or found, and the pixel size in um; all is printed."""
    given = {key: getattr(args, key) for key in ("pixel_size_um", "na", "wavelength_um")}
    optics, notes = complete_optics(given, frames.optics)
    size = optics["pixel_size_um"]
    if size is None:
        raise UserError(f"{args.picture}: does not tell its pixel size; give --pixel-size-um")
    try:
        psf, found = superresolution.psf_of(
            size, args.psf_fwhm_nm, optics["na"], optics["wavelength_um"], args.psf_shape
        )
    except UserError as error:
        raise UserError(f"{args.picture}: {error}") from None
    settings, told = superresolution.prepare(
        frames,
        psf,
        factor=args.factor,
        excess=2.0 if args.emccd else 1.0,
        gain=args.gain,
        offset=args.offset,
        read_noise_e=args.read_noise,
    )
    for note in [*frames.notes, *notes, *found, *told]:
        print(f"{args.picture}: {note}")
    return settings, size


def _write_picture(store: Path, made: SuperResolved, settings: Settings, size: float, path) -> None:
    factor, picture = settings.factor, made.picture
    shard = 1024
    ngff.create_image(
        store,
        picture.shape,
        dtype="float32",
        pixel_size_um=size / factor,
        shard_px=shard,
        window=(0, float(np.quantile(picture, 0.998)) or 1.0),
        origin_px=(1 - factor) / 2,
        attributes={
            "unit": UNIT,
            "superresolved": made.information.enough,
            "frames": str(path),
            "psf": vars(settings.psf),
            "camera": vars(settings.camera),
            "parts": settings.parts,
        },
    )
    array = ngff.open_array(store, "0", "r+")
    for y in range(0, picture.shape[0], shard):
        for x in range(0, picture.shape[1], shard):
            window = (
                slice(y, min(y + shard, picture.shape[0])),
                slice(x, min(x + shard, picture.shape[1])),
            )
            ngff.write_shards(array, window, picture[window])
    ngff.build_pyramid(store)


def _write_beside(folder: Path, made: SuperResolved, settings: Settings, size: float) -> None:
    folder.mkdir(parents=True)
    pictures = {
        "mean": made.mean,
        "background": made.background,
        "information": made.information.map,
        "deconvolved": made.deconvolved,
    }
    for name, picture in pictures.items():
        pixel = size / settings.factor if name == "deconvolved" else size
        tifffile.imwrite(folder / f"{name}.tif", picture, **tiff_tags(picture.shape, pixel))
    found = made.information
    facts = {
        "superresolved": found.enough,
        "kappa_e": found.kappa,
        "kappa_error_e": found.error,
        "emission_e": float(made.picture.sum(dtype=float)),
        **(made.facts or {}),
        "psf_fwhm_px": settings.psf.fwhm_px,
        **vars(settings.camera),
        "parts": max(len(settings.parts), 1),
    }
    pd.DataFrame(facts.items(), columns=["fact", "value"]).to_csv(folder / "facts.csv", index=False)
    lags = {
        "distance_px": found.lags_px,
        "covariance_e2": found.covariance,
        "standard_error_e2": found.covariance_error,
        "expected_e2": found.expected,
    }
    pd.DataFrame(lags).to_csv(folder / "lags.csv", index=False)
    image = plots.render(lambda: overview(made, size, settings.factor), "png")
    (folder / "overview.png").write_bytes(image)
