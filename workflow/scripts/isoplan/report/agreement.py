"""The section on trust: where the restoration, blurred again, agrees with the data."""

from functools import partial

import numpy as np
import pandas as pd
from markupsafe import Markup

from isoplan.report import plots, style
from isoplan.report.results import Study
from isoplan.report.section import Caution, Part, Section, StudyFigure
from isoplan.restoration import trust

# A smaller share of bad pixels is not reported.
LONE_SHARE = 1e-4
INTRO = Markup(
    "The restored picture was blurred again by its PSFs and compared with the picture of the camera. The residual "
    "should be noise, with a reduced chi-square of 1 and no correlation between neighbours. A restoration follows the "
    "noise to some degree, so both values are lower. Brown cells have structure that the restoration does not explain. "
    "Dotted cells disagree with the data: their residual is not noise, and too much of their contrast is unexplained. "
    "PSFs that are too narrow are not detected: they invent nothing, but leave blur. The map is in the group "
    "<code>trust</code> of the restored mosaic's store."
)


def trust_figures(study: Study, mosaic: str) -> list[StudyFigure]:
    """Maps of the residual of a mosaic."""
    found = study.trusts.get(mosaic)
    if found is None:
        return []
    rows, columns = np.indices(found.values["doubt"].shape)
    table = pd.DataFrame(
        {"cell_y": rows.ravel() * found.step, "cell_x": columns.ravel() * found.step}
        | {name: values.ravel() for name, values in found.values.items()}
    )
    flags = {"no_psf": found.doubted(trust.NO_PSF), "disagrees": found.doubted(trust.DISAGREES)}
    flags["no_psf"] &= ~flags["disagrees"]
    pixel = study.pixel_size_um(mosaic)
    width_um = pixel and found.stride_px * rows.shape[1] * pixel
    figures = []
    for name, title, label, limits in (
        ("chi_square", "Residual", "Reduced chi-square (1: noise alone)", (0.0, 2.0)),
        (
            "correlation",
            "Correlation of the residual",
            "Correlation of neighbours (0: noise alone)",
            (-0.5, 0.5),
        ),
    ):
        values = found.values[name]
        if not np.isfinite(values).any():
            continue
        draw = partial(
            *(plots.heat_map, values),
            label=label,
            colours=style.RESIDUAL_MAP,
            limits=limits,
            flags=flags if name == "chi_square" or not found.judged else None,
            width_um=width_um,
        )
        alt = (
            f"{label} in each cell of {mosaic}, median "
            f"{style.significant(float(np.nanmedian(values)))}; "
            f"{style.percent(float(flags['disagrees'].mean()))} of the cells disagree with the data."
        )
        figures.append(
            StudyFigure(
                *(f"trust_{mosaic}_{name}", f"trust_{mosaic}", table, draw),
                *("", title, alt, 330),
            )
        )
    return figures


def _disagreement(study: Study, mosaic: str) -> list[str]:
    """Warnings of cells whose restoration disagrees with the data, and of bad pixels."""
    found = study.trusts.get(mosaic)
    if found is None:
        return []
    if not found.judged:
        return [
            f"{mosaic}: it is unknown whether the restoration agrees with the data, because the camera's gain and read "
            "noise, or the PSFs, are unknown. Give gain and read_noise_e in the table of mosaics if they are missing there."
        ]
    mask = found.doubted(trust.DISAGREES)
    words = []
    if mask.any():
        why = ["the PSF may be too wide there", "light may come from out of focus"]
        why += [] if "iterations" in study.fixed else ["more iterations may be needed"]
        words.append(
            f"{mosaic}: {style.percent(float(mask.mean()))} of the cells disagree with the data: the restored picture, "
            "blurred again, is not what the camera saw (dotted on the map of trust). Do not trust detail there: "
            f"{', '.join(why[:-1])}, or {why[-1]}."
        )
    lone = float(np.nansum(found.values["lone_pixels"])) * found.step**2
    pixels = found.values["doubt"].size * found.stride_px**2
    if lone > LONE_SHARE * pixels:
        words.append(
            f"{mosaic}: about {lone:,.0f} dead or hot pixels were ignored; their restored values come from their "
            "neighbours."
        )
    return words


def parts(study: Study) -> list[Part]:
    found = [
        Part(m.name, figures=figures, mosaic=m.name)
        for m in study.mosaics
        if (figures := trust_figures(study, m.name))
    ]
    return [Part(words=[INTRO]), *found] if found else []


def cautions(study: Study) -> list[Caution]:
    names = [mosaic.name for mosaic in study.mosaics]
    return [Caution(words, name) for name in names for words in _disagreement(study, name)]


SECTION = Section("trust", "Trust", "Where it agrees with the data", parts, cautions=cautions)
