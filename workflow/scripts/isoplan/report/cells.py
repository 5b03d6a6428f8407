"""The section on cells: where the restoration helped or did harm, and down to which size it agrees with the truth."""

from functools import partial

import numpy as np

from isoplan.report import mosaic_verdict, plots, style
from isoplan.report.results import Study
from isoplan.report.section import Caution, Part, Section, StudyFigure

INTRO = (
    "SNR gain of each cell over doing nothing, for mosaics with a known truth or a reference frame. Blue cells are better "
    "than before, red cells are worse. The Fourier ring correlation shows down to which size a picture agrees with that "
    "truth or frame: the period at which its curve falls below 1/7 is its resolution."
)


def ring_figure(study: Study, mosaic: str) -> list[StudyFigure]:
    """Fourier ring correlation of each picture with the truth or the reference."""
    table = study.table("frc.csv")
    table = table[table["mosaic"] == mosaic]
    if table.empty:
        return []
    lines = {
        method: table[table["method"] == method]
        for method in style.sort_methods(set(table["method"]))
    }
    draw = partial(plots.ring_curves, lines)
    alt = f"Fourier ring correlation of {mosaic} and its restorations with the truth or the reference."
    name = f"frc_{mosaic}"
    return [StudyFigure(name, name, table, draw, "", "Fourier ring correlation", alt, 460)]


def cell_figures(study: Study, mosaic: str) -> list[StudyFigure]:
    """A map of the gain with the estimated map, and histograms of the gains of all methods."""
    cells = study.table("cells.csv")
    table = cells[(cells["mosaic"] == mosaic)]
    methods = [m for m in style.sort_methods(set(table["method"])) if m != "none"]
    grids = {method: study.gain_grid(mosaic, method) for method in methods}
    if not any(np.isfinite(grid).any() for grid in grids.values()):
        return []
    figures, data = [], f"cells_{mosaic}"
    pixel = study.pixel_size_um(mosaic)
    psf_map = study.maps.get(mosaic)
    grid = grids.get("estimated")
    if grid is not None and np.isfinite(grid).any():
        agrees = psf_map is not None and psf_map.shape_cells == grid.shape
        width_um = (
            psf_map.stride_px / psf_map.step * grid.shape[1] * pixel if agrees and pixel else None
        )
        draw = partial(
            *(plots.heat_map, grid),
            label="SNR gain (dB): blue better, red worse",
            colours=style.GAIN_MAP,
            limits=None,
            width_um=width_um,
        )
        alt = (
            f"Map of the SNR gain in each cell of {mosaic}: from "
            f"{style.signed(float(np.nanmin(grid)))} to {style.signed(float(np.nanmax(grid)))} dB."
        )
        figures.append(StudyFigure(f"{data}_map", data, table, draw, "", "Gain by cell", alt, 330))
    draw = partial(plots.gain_histogram, {m: g.ravel() for m, g in grids.items()})
    alt = f"Share of the cells of {mosaic} by SNR gain, one line per method."
    figures.append(
        StudyFigure(f"{data}_spread", data, table, draw, "", "Distribution of the gain", alt, 460)
    )
    return figures


def parts(study: Study) -> list[Part]:
    found = []
    for mosaic in study.mosaics:
        figures = cell_figures(study, mosaic.name) + ring_figure(study, mosaic.name)
        if figures:
            found.append(Part(mosaic.name, figures=figures, mosaic=mosaic.name))
    if found:
        return [Part(words=[INTRO]), *found]
    nothing = (
        "No mosaic with a known truth or a reference frame was scored cell by cell. To see gains here, give a reference "
        "in the table of mosaics, or simulate a mosaic."
    )
    return [Part(remarks=[nothing])] if study.mosaics else []


def cautions(study: Study) -> list[Caution]:
    return [
        Caution(
            f"{mosaic.name}: {style.percent(mosaic.worse_share)} of the cells are worse than before the restoration "
            "(red on the map of gains). Do not measure there in the restored picture.",
            mosaic.name,
            harm=True,
        )
        for mosaic in mosaic_verdict.judge_mosaics(study)
        if mosaic.worse_share
    ]


SECTION = Section(
    "cells",
    "Where it helped",
    "Where it helped and where it harmed",
    parts,
    cautions=cautions,
    score=mosaic_verdict.score,
)
