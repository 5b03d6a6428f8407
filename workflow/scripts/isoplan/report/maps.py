"""The section on PSF maps: the parameters, their uncertainty, and pictures of the PSFs."""

from functools import partial

import numpy as np
import pandas as pd

from isoplan.optics.model import of_unit
from isoplan.psf_map.layout import FULLY_USABLE
from isoplan.report import pictures, plots, style
from isoplan.report.map_stores import PsfMap
from isoplan.report.psfs import (
    cell_psfs,
    model_parameters,
    same_size,
    values_like,
    visible_radius,
)
from isoplan.report.results import Study
from isoplan.report.section import Caution, Part, Section, StudyFigure

GLYPHS_PER_SIDE = 8
INTRO = (
    "PSFs that the network estimated from the picture alone. Hatched cells have no usable texture, or no complete window at "
    "the border: their values are filled in from neighbours, or are doubtful if all cells are hatched. {doubt}Estimated "
    "and true maps share one colour scale; differences are estimated minus true."
)
DOUBT = (
    "Cross-hatched cells are out of domain: they do not look like a raw camera picture of a thin sample, so their values "
    "are filled in too. The network also estimates its uncertainty: in 90 % of the cells, the true value should differ "
    "from the estimate by at most the half-width. Brighter cells are less certain. "
)
GLYPHS = "Each PSF is shown relative to its own peak: compare shapes and widths, not brightness."


def map_table(study: Study, mosaic: str) -> pd.DataFrame:
    """A table of the map's cells: row, column, each parameter with its interval and its truth, and flags."""
    psf_map, truth = study.maps[mosaic], study.true_maps.get(mosaic)
    rows, columns = np.indices(psf_map.untrusted.shape)
    found = values_like(psf_map, truth)
    table = {
        "cell_y": rows.ravel() * psf_map.step,
        "cell_x": columns.ravel() * psf_map.step,
    }
    for index, (name, unit) in enumerate(zip(psf_map.names, psf_map.units, strict=True)):
        suffix = f"_{unit}" if unit else ""
        table[f"estimated_{name}{suffix}"] = found[index].ravel()
        if psf_map.uncertainty is not None:
            table[f"half_width_{name}{suffix}"] = psf_map.uncertainty[index].ravel()
        if truth is not None and name in truth.names:
            table[f"true_{name}{suffix}"] = truth.values[truth.names.index(name)].ravel()
    table["validity"] = psf_map.validity.ravel()
    if psf_map.alarm is not None:
        table["alarm"] = psf_map.alarm.ravel()
    if psf_map.other_blur is not None:
        table["other_blur"] = psf_map.other_blur.ravel()
    if psf_map.usable is not None:
        table["usable"] = psf_map.usable.ravel()
    table["untrusted"] = psf_map.untrusted.ravel().astype(int)
    return pd.DataFrame(table)


def map_figures(study: Study, mosaic: str) -> list[StudyFigure]:
    """Maps of each parameter of a mosaic: estimated, uncertainty, true, and difference."""
    psf_map, truth = study.maps[mosaic], study.true_maps.get(mosaic)
    if not psf_map.has_values:
        return []
    table, ranges = map_table(study, mosaic), model_parameters(psf_map.spec)
    found = values_like(psf_map, truth)
    pixel = study.pixel_size_um(mosaic)
    width_um = pixel and psf_map.stride_px * psf_map.untrusted.shape[1] * pixel
    strange, doubted = psf_map.out_of_domain, psf_map.uncertainty is not None
    flags = {"untrusted": psf_map.untrusted & ~strange, "out_of_domain": strange}
    figures = []
    for index, (name, unit) in enumerate(zip(psf_map.names, psf_map.units, strict=True)):
        label = style.parameter_label(name)
        values = found[index]
        known = truth is not None and name in truth.names
        true = truth.values[truth.names.index(name)] if known else None
        limits = _limits(values, true, ranges.get(name))
        colours = style.PARAMETER_MAPS.get(name, style.DEFAULT_MAP)
        if name in ranges and ranges[name].low < 0:
            colours = style.SIGNED_MAP
        common = {"label": style.with_unit(label, unit), "colours": colours, "limits": limits}
        layers = [("estimated", values, {**common, "flags": flags})]
        if doubted:
            half_width = psf_map.uncertainty[index]
            own = half_width[~(psf_map.untrusted | strange) & np.isfinite(half_width)]
            settings = {
                "label": style.with_unit("90 % half-width", unit),
                "colours": style.UNCERTAINTY_MAP,
                "limits": (0.0, float(np.percentile(own, 99.5)) if own.size else 1.0),
                "flags": flags,
            }
            layers.append(("uncertainty", half_width, settings))
        if known:
            layers.append(("true", true, common))
            difference = {
                "label": style.with_unit("Estimated minus true", unit),
                "colours": style.DIFFERENCE_MAP,
                "limits": None,
                "flags": flags,
            }
            gap = _wrapped(values - true, ranges.get(name))
            layers.append(("difference", gap, difference))
        # Four maps fill the width of the page; three or fewer can be larger.
        width_px = 246 if len(layers) > 3 else 330
        for kind, layer, settings in layers:
            if not np.isfinite(layer).any():
                continue
            draw = partial(
                *(plots.heat_map, layer), width_um=width_um, width_px=width_px, **settings
            )
            alt = _map_alt(kind, label, unit, mosaic, layer, psf_map)
            group, title = label, kind.capitalize()
            if truth is None and not doubted:
                group, title = "", label
            name_of_file = f"map_{mosaic}_{name}_{kind}"
            figures.append(
                StudyFigure(
                    *(name_of_file, f"map_{mosaic}", table, draw, group),
                    *(title, alt, width_px),
                )
            )
    return figures


def held_words(study: Study) -> list[str]:
    """Says in how many cells the 90 % intervals contain the truth, for mosaics with a known truth."""
    words = []
    for mosaic, psf_map in study.maps.items():
        truth = study.true_maps.get(mosaic)
        if truth is None or psf_map.uncertainty is None:
            continue
        own, ranges = ~(psf_map.untrusted | psf_map.out_of_domain), model_parameters(psf_map.spec)
        shares, found = [], values_like(psf_map, truth)
        for index, name in enumerate(psf_map.names):
            if name in truth.names and truth.values[0].shape == own.shape and own.any():
                true = truth.values[truth.names.index(name)]
                gap = np.abs(_wrapped(found[index] - true, ranges.get(name)))
                share = float((gap <= psf_map.uncertainty[index])[own].mean())
                shares.append(f"{style.parameter_label(name)} {style.percent(share)}")
        if shares:
            words.append(
                f"{mosaic}: cells whose 90 % interval contains the truth: {', '.join(shares)}."
            )
    return words


def _limits(values, true, parameter) -> tuple[float, float]:
    """A common colour range of the estimated and the true map; that of an angle is its period."""
    if parameter is not None and parameter.period:
        return parameter.low, parameter.low + parameter.period
    both = values if true is None else np.concatenate([values.ravel(), true.ravel()])
    if (
        parameter is not None and parameter.low < 0
    ):  # its zero means something, and is in the middle
        most = float(np.nanpercentile(np.abs(both), 99.5)) or 0.5
        return -most, most
    low, high = np.nanpercentile(both, [0.5, 99.5])
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def _wrapped(difference: np.ndarray, parameter) -> np.ndarray:
    if parameter is None or not parameter.period:
        return difference
    half = parameter.period / 2
    return (difference + half) % parameter.period - half


def _map_alt(kind, label, unit, mosaic, layer, psf_map: PsfMap) -> str:
    what = {
        "estimated": "Estimated map",
        "uncertainty": "Half-width of the 90 % interval",
        "true": "True map",
        "difference": "Estimated minus true",
    }
    text = (
        f"{what[kind]} of {label} over {mosaic}: from {style.significant(float(np.nanmin(layer)))} "
        f"to {of_unit(style.significant(float(np.nanmax(layer))), unit)}"
    )
    if kind != "true" and psf_map.untrusted.any():
        text += f"; {style.percent(psf_map.untrusted_share)} of the cells are hatched as untrusted"
    if kind != "true" and psf_map.out_of_domain.any():
        share = float(psf_map.out_of_domain.mean())
        text += f"; {style.percent(share)} are cross-hatched as out of domain"
    return text + "."


def psf_figures(study: Study, mosaic: str, facts: dict) -> list[StudyFigure]:
    """Local PSFs over the dimmed mosaic: estimated, and true if they are known."""
    psf_map = study.maps[mosaic]
    if not psf_map.has_values or not psf_map.spec:
        return []
    cells = glyph_cells(psf_map)
    rows, columns = psf_map.untrusted.shape
    shape_px = (rows * psf_map.stride_px, columns * psf_map.stride_px)
    sources = pictures.open_pictures(study.folder, mosaic, facts, study.methods)
    source = sources.get("none") or sources.get("estimated")
    overview = source.overview() if source else None
    if overview is not None:
        shape_px = source.shape
        overview = pictures.to_grey(overview, *pictures.levels_of(overview))
    pixel = study.pixel_size_um(mosaic)
    kinds = {"estimated": psf_map, "true": study.true_maps.get(mosaic)}
    shown = {}
    for kind, source_map in kinds.items():
        if source_map is not None:
            usable = [c for c in cells if np.isfinite(source_map.values[:, c[0], c[1]]).all()]
            shown[kind] = (source_map, usable, cell_psfs(source_map, usable))
    resized = same_size([psfs for _, _, psfs in shown.values()])
    radius = visible_radius(np.concatenate(resized))
    side_px = 0.92 * max(shape_px) / GLYPHS_PER_SIDE
    figures = []
    for (kind, (source_map, usable, _)), psfs in zip(shown.items(), resized, strict=True):
        middle = psfs.shape[-1] // 2
        window = slice(middle - radius, middle + radius + 1)
        middles = [
            ((y + 0.5) * psf_map.stride_px, (x + 0.5) * psf_map.stride_px) for y, x in usable
        ]
        draw = partial(
            *(plots.psf_field, overview, shape_px, psfs[:, window, window], middles, side_px),
            width_um=pixel and shape_px[1] * pixel,
        )
        enlarged = side_px / (2 * radius + 1)
        title = f"{kind.capitalize()} PSFs, enlarged {enlarged:.0f} times"
        if enlarged < 1.5:
            title = f"{kind.capitalize()} PSFs"
        alt = f"{kind.capitalize()} local PSFs at {len(usable)} places of {mosaic}, in magma over the dimmed mosaic."
        figures.append(
            StudyFigure(
                *(f"psfs_{mosaic}_{kind}", f"psfs_{mosaic}_{kind}"),
                *(_glyph_table(source_map, usable, psfs), draw, ""),
                *(title, alt, 524),
                kind="jpg",
            )
        )
    return figures


def glyph_cells(psf_map: PsfMap) -> list[tuple[int, int]]:
    """About 8 x 8 evenly spread cells (row, column), without untrusted ones unless all are."""
    rows, columns = psf_map.untrusted.shape
    longest = max(rows, columns)
    pick = lambda n: _spread(n, max(1, round(GLYPHS_PER_SIDE * n / longest)))  # noqa: E731
    cells = [(int(y), int(x)) for y in pick(rows) for x in pick(columns)]
    return [cell for cell in cells if not psf_map.untrusted[cell]] or cells


def _spread(n: int, wanted: int) -> np.ndarray:
    count = min(n, wanted)
    return np.unique(((np.arange(count) + 0.5) * n / count).astype(int))


def _glyph_table(psf_map: PsfMap, cells, psfs) -> pd.DataFrame:
    table = pd.DataFrame(cells, columns=["cell_y", "cell_x"]) * psf_map.step
    for index, (name, unit) in enumerate(zip(psf_map.names, psf_map.units, strict=True)):
        values = [psf_map.values[index, y, x] for y, x in cells]
        table[f"{name}_{unit}" if unit else name] = values
    table["blur_area_px2"] = 1 / (psfs.astype(np.float64) ** 2).sum(axis=(1, 2))
    return table


def _doubts(study: Study, mosaic: str) -> list[str]:
    """Warnings of cells that cannot be trusted."""
    psf_map = study.maps.get(mosaic)
    if psf_map is None or psf_map.untrusted.all():
        return []
    strange = psf_map.out_of_domain
    uncertain = psf_map.uncertain(model_parameters(psf_map.spec)) & ~strange
    doubts = (
        (
            strange,
            "of the cells are out of domain: they do not look like a raw camera picture of a thin sample, but denoised, "
            "compressed, resampled, saturated or hazy. Their PSFs are filled in from neighbours (cross-hatched on the "
            "maps). If you can, use the picture as it came from the camera.",
        ),
        (
            psf_map.untrusted & ~strange,
            "of the cells have no PSF of their own, because there is too little texture, or no complete window at the "
            "border. Their PSFs are filled in from neighbours (hatched on the maps); do not interpret them.",
        ),
        (
            psf_map.blurred_otherwise & ~strange,
            "of the cells have a blur that does not belong to the PSF model (motion, coma, a disk, a halo), so their PSFs "
            "are only the nearest ones. Compare the restoration with the picture there.",
        ),
        (
            psf_map.partly_seen,
            f"of the cells can use less than {100 * FULLY_USABLE:.0f} % of their window: the rest is missing, saturated, dead "
            "or hot (`usable` of the map). Their PSFs are less certain.",
        ),
        (
            uncertain,
            "of the cells are uncertain: the 90 % interval of a parameter is more than half of its range. Do not interpret "
            "their PSFs one by one.",
        ),
    )
    return [
        f"{mosaic}: {style.percent(float(mask.mean()))} {text}"
        for mask, text in doubts
        if mask.any()
    ]


def _pinned(study: Study, mosaic: str) -> list[str]:
    """Warnings of cells at the upper end of the trained range, where the true PSF may be wider."""
    psf_map = study.maps.get(mosaic)
    if psf_map is None or psf_map.untrusted.all():
        return []
    words = []
    for name, parameter in model_parameters(psf_map.spec).items():
        if parameter.period or name not in psf_map.names:
            continue
        values = psf_map.values[psf_map.names.index(name)]
        values = values[~(psf_map.untrusted | psf_map.out_of_domain)]
        if not values.size:
            continue
        top = parameter.high - 0.02 * (parameter.high - parameter.low)
        share = float((values >= top).mean())
        if share > 0.01:
            end = of_unit(f"{parameter.high:g}", parameter.unit)
            words.append(
                f"{mosaic}: in {style.percent(share)} of the cells, {style.parameter_label(name)} is at "
                f"the end of the trained range ({end}), and the true value may be larger. Use a network "
                "that was trained with a wider range."
            )
    return words


def parts(study: Study) -> list[Part]:
    if not study.mosaics:
        return []
    found = []
    for mosaic in study.mosaics:
        if mosaic.name not in study.maps:
            continue
        maps = map_figures(study, mosaic.name)
        glyphs = psf_figures(study, mosaic.name, mosaic.facts)
        if maps:
            found.append(Part(mosaic.name, figures=maps, mosaic=mosaic.name))
        if glyphs:
            title = "Local PSFs on the mosaic"
            found.append(Part(title, remarks=[GLYPHS], figures=glyphs, mosaic=mosaic.name, level=4))
    if found:
        doubted = any(psf_map.uncertainty is not None for psf_map in study.maps.values())
        words = [INTRO.format(doubt=DOUBT if doubted else ""), *held_words(study)]
        found.insert(0, Part(words=words))
    notes = [
        f"{name}: every cell of the map is invalid"
        + (": its values are doubtful." if psf_map.has_values else ", so there is no map to draw.")
        for name, psf_map in study.maps.items()
        if psf_map.untrusted_share == 1
    ]
    if not study.maps:
        notes.append("This study made no PSF maps.")
    return [*found, Part(notes=notes)]


def cautions(study: Study) -> list[Caution]:
    return [
        Caution(words, mosaic.name)
        for mosaic in study.mosaics
        for words in _doubts(study, mosaic.name) + _pinned(study, mosaic.name)
    ]


SECTION = Section("maps", "PSF maps", "PSF maps", parts, cautions=cautions)
