"""What is left of a sequence that was made finer: the picture, and what it is judged by."""

from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from isoplan.applications.fluctuation.figures import overview
from isoplan.applications.fluctuation.measured import Measured
from isoplan.applications.fluctuation.superresolution import SuperResolved
from isoplan.cli.picture import tiff_tags
from isoplan.mosaic import ngff
from isoplan.report import plots

UNIT = "electrons per frame"


def write_picture(store: Path, made: SuperResolved, found: Measured) -> None:
    """The picture as OME-Zarr, over the frames' place."""
    settings, picture, shard = found.settings, made.picture, 1024
    factor = settings.factor
    ngff.create_image(
        store,
        picture.shape,
        dtype="float32",
        pixel_size_um=found.pixel_size_um / factor,
        shard_px=shard,
        window=(0, float(np.quantile(picture, 0.998)) or 1.0),
        origin_px=(1 - factor) / 2,
        attributes={
            "unit": UNIT,
            "superresolved": made.information.enough,
            "frames": found.path,
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


def write_beside(folder: Path, made: SuperResolved, found: Measured) -> None:
    """What the picture is judged by: pictures, two tables, and an overview."""
    folder.mkdir(parents=True, exist_ok=True)
    size, factor, seen = found.pixel_size_um, found.settings.factor, made.information
    pictures = {
        "mean": made.mean,
        "background": made.background,
        "information": seen.map,
        "deconvolved": made.deconvolved,
    }
    fine = {"deconvolved"}
    if made.halves is not None:
        for name, (half, _) in zip(("first_half", "second_half"), made.halves, strict=True):
            pictures[name] = half
            fine.add(name)
    for name, picture in pictures.items():
        pixel = size / factor if name in fine else size
        tifffile.imwrite(folder / f"{name}.tif", picture, **tiff_tags(picture.shape, pixel))
    facts = facts_of(made, found).items()
    pd.DataFrame(facts, columns=["fact", "value"]).to_csv(folder / "facts.csv", index=False)
    lags = {
        "distance_px": seen.lags_px,
        "covariance_e2": seen.covariance,
        "standard_error_e2": seen.covariance_error,
        "expected_e2": seen.expected,
    }
    pd.DataFrame(lags).to_csv(folder / "lags.csv", index=False)
    image = plots.render(lambda: overview(made, size, factor), "png")
    (folder / "overview.png").write_bytes(image)


def facts_of(made: SuperResolved, found: Measured) -> dict:
    """The figures of `facts.csv`."""
    settings, seen = found.settings, made.information
    return {
        "superresolved": seen.enough,
        "kappa_e": seen.kappa,
        "kappa_error_e": seen.error,
        "emission_e": float(made.picture.sum(dtype=float)),
        **(made.facts or {}),
        "psf_fwhm_px": settings.psf.fwhm_px,
        **vars(settings.camera),
        "parts": max(len(settings.parts), 1),
    }
