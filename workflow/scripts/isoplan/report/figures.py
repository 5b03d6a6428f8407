"""Which figures a study has, each with the table it was drawn from."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from isoplan.report import (
    harm,
    network_figures,
    pictures,
    plots,
    published,
    restoration_tests,
    style,
    sweeps,
)
from isoplan.report.psfs import cell_psfs, model_parameters, same_size, visible_radius
from isoplan.report.results import Network, PsfMap, Study, metric_values, read_study
from isoplan.report.study_figure import StudyFigure
from isoplan.restoration import trust
from isoplan.restoration.choosing import in_words

GLYPHS_PER_SIDE = 8


def draw_figures(study_folder: Path, figures_folder: Path) -> list[Path]:
    """Write every figure of a study as PNG and SVG, with the CSV it comes from. Returns the paths.

    Reads the result files only. Raises UserError where the study folder does not exist.
    """
    study, folder = read_study(study_folder), Path(figures_folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for figure in study_figures(study):
        for kind in ("png", "svg"):
            written[folder / f"{figure.name}.{kind}"] = plots.render(figure.draw, kind)
        written[folder / f"{figure.data}.csv"] = figure.table.to_csv(index=False).encode()
    comparison = published.compare(study)
    if len(comparison):
        name = f"published_{published.wanted(study)}.csv"
        written[folder / name] = comparison.to_csv(index=False).encode()
    for path, content in written.items():
        path.write_bytes(content)
    return list(written)


def study_figures(study: Study) -> list[StudyFigure]:
    """All figures of a study, in the order of the report; empty where there is nothing to draw."""
    figures = gain_figure(study)
    for mosaic in study.mosaics:
        if mosaic.name in study.maps:
            figures += map_figures(study, mosaic.name)
            figures += psf_figures(study, mosaic.name, mosaic.facts)
        figures += cell_figures(study, mosaic.name)
        figures += trust_figures(study, mosaic.name)
        figures += ring_figure(study, mosaic.name)
        figures += choice_figures(study, mosaic.name)
    figures += restoration_tests.test_figures(study) + sweeps.sweep_figures(study)
    figures += harm.harm_figures(study)
    figures += network_figures.published_figures(study)
    figures += network_figures.accuracy_figures(study)
    figures += network_figures.scatter_figures(study)
    figures += network_figures.calibration_figures(study)
    figures += network_figures.abstention_figures(study)
    figures += network_figures.robustness_figures(study)
    figures += network_figures.learning_figures(study)
    for network in study.networks:
        figures += curve_figures(network)
    return figures


def snr_gains(study: Study) -> dict[str, dict[str, float]]:
    """mosaic -> method -> SNR gain over doing nothing in dB, for mosaics with a truth or a reference."""
    values = metric_values(study)
    snr = values[values["metric"] == "SNR"]
    gains = {}
    for mosaic in study.mosaics:
        of_mosaic = snr[snr["mosaic"] == mosaic.name].set_index("method")["value"].astype(float)
        if "none" in of_mosaic.index:
            methods = style.sort_methods(set(of_mosaic.index) - set(style.MEASURES))
            gains[mosaic.name] = {m: float(of_mosaic[m] - of_mosaic["none"]) for m in methods}
    return gains


def ring_figure(study: Study, mosaic: str) -> list[StudyFigure]:
    """Down to which size each picture agrees with what it is judged by."""
    table = study.table("frc.csv")
    table = table[table["mosaic"] == mosaic]
    if table.empty:
        return []
    lines = {
        method: table[table["method"] == method]
        for method in style.sort_methods(set(table["method"]))
    }
    draw = partial(plots.ring_curves, lines)
    alt = f"Fourier ring correlation of {mosaic} and its restorations with what they are judged by."
    name = f"frc_{mosaic}"
    return [StudyFigure(name, name, table, draw, f"cells/{mosaic}", "", "How fine", alt, 460)]


def gain_figure(study: Study) -> list[StudyFigure]:
    gains = {name: row for name, row in snr_gains(study).items() if len(row) > 1}
    if not gains:
        return []
    rows = [(name, method, gain) for name, row in gains.items() for method, gain in row.items()]
    table = pd.DataFrame(rows, columns=["mosaic", "method", "snr_gain_db"])
    draw = partial(plots.gain_bars, gains)
    alt = "Bars of the SNR gain in dB of every method for every mosaic with known truth."
    return [StudyFigure("gain", "gain", table, draw, "gain", "", "SNR gain", alt, 720)]


def choice_figures(study: Study, mosaic: str) -> list[StudyFigure]:
    """How held-out photons judged iterations and TV weights, method by method."""
    choices, figures = study.choices.get(mosaic, {}), []
    rows = [
        (method, curve["tv_weight"], *point)
        for method, choice in choices.items()
        for curve in choice["curves"]
        for point in zip(curve["iterations"], curve["error"], strict=True)
    ]
    table = pd.DataFrame(rows, columns=["method", "tv_weight", "iterations", "error_e2"])
    for method in style.sort_methods(choices):
        choice = choices[method]
        if not choice["curves"]:
            continue
        ends = choice.get("ends", {})
        draw = partial(plots.held_out, choice["curves"], choice["iterations"], "iterations" in ends)
        title = style.method_label(method)
        alt = (
            f"Error of held-out photons over iterations for {mosaic} restored by {title}: least after "
            f"{choice['iterations']} iterations with a TV weight of {choice['tv_weight']:g}."
        )
        alt += " ".join(f" At the end of its range: {words}." for words in ends.values())
        names, section = (f"choice_{mosaic}_{method}", f"choice_{mosaic}"), f"choice/{mosaic}"
        figures.append(StudyFigure(*names, table, draw, section, "", title, alt, 460))
        if len(choice["widths"]) > 1:
            figures.append(_narrowed(mosaic, method, choice, section))
    return figures


def _narrowed(mosaic: str, method: str, choice: dict, section: str) -> StudyFigure:
    """How well narrower PSFs foretell held-out photons."""
    table = pd.DataFrame(choice["widths"])
    at_end = "psf_scale" in choice.get("ends", {})
    draw = partial(plots.narrowed, choice["widths"], choice["psf_scale"], at_end)
    title = f"{style.method_label(method)}: PSFs narrower than estimated"
    alt = (
        f"How much worse PSFs of some widths foretell held-out photons of {mosaic}, in standard errors; taken "
        f"are those {choice['psf_scale']:g} times as wide as estimated."
    )
    name = f"narrowed_{mosaic}_{method}"
    return StudyFigure(name, name, table, draw, section, "", title, alt, 460)


def choice_words(study: Study, mosaic: str) -> list[str]:
    """What was chosen for each method of a mosaic, and why."""
    choices = study.choices.get(mosaic, {})
    return [
        f"{style.method_label(method)}: {in_words(choices[method])}."
        for method in style.sort_methods(choices)
    ]


def map_table(study: Study, mosaic: str) -> pd.DataFrame:
    """Tidy cells of the drawn map: row, column, every parameter (its interval, its truth), and flags."""
    psf_map, truth = study.maps[mosaic], study.true_maps.get(mosaic)
    rows, columns = np.indices(psf_map.untrusted.shape)
    table = {
        "cell_y": rows.ravel() * psf_map.step,
        "cell_x": columns.ravel() * psf_map.step,
    }
    for index, (name, unit) in enumerate(zip(psf_map.names, psf_map.units, strict=True)):
        suffix = f"_{unit}" if unit else ""
        table[f"estimated_{name}{suffix}"] = psf_map.values[index].ravel()
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
    psf_map, truth = study.maps[mosaic], study.true_maps.get(mosaic)
    if not psf_map.has_values:
        return []
    table, ranges = map_table(study, mosaic), model_parameters(psf_map)
    pixel = next(m.pixel_size_um for m in study.mosaics if m.name == mosaic)
    width_um = pixel and psf_map.stride_px * psf_map.untrusted.shape[1] * pixel
    strange, doubted = psf_map.out_of_domain, psf_map.uncertainty is not None
    flags = {"untrusted": psf_map.untrusted & ~strange, "out_of_domain": strange}
    figures = []
    for index, (name, unit) in enumerate(zip(psf_map.names, psf_map.units, strict=True)):
        label = style.parameter_label(name)
        values = psf_map.values[index]
        known = truth is not None and name in truth.names
        true = truth.values[truth.names.index(name)] if known else None
        limits = _limits(values, true, ranges.get(name))
        colours = style.PARAMETER_MAPS.get(name, style.DEFAULT_MAP)
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
        # Four side by side fill the page; three or fewer may be larger.
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
                    *(name_of_file, f"map_{mosaic}", table, draw, f"map/{mosaic}", group),
                    *(title, alt, width_px),
                )
            )
    return figures


def held_words(study: Study) -> list[str]:
    """In how many cells of each mosaic with known truth the 90 % intervals hold it, in sentences."""
    words = []
    for mosaic, psf_map in study.maps.items():
        truth = study.true_maps.get(mosaic)
        if truth is None or psf_map.uncertainty is None:
            continue
        own, ranges = ~(psf_map.untrusted | psf_map.out_of_domain), model_parameters(psf_map)
        shares = []
        for index, name in enumerate(psf_map.names):
            if name in truth.names and truth.values[0].shape == own.shape and own.any():
                true = truth.values[truth.names.index(name)]
                gap = np.abs(_wrapped(psf_map.values[index] - true, ranges.get(name)))
                share = float((gap <= psf_map.uncertainty[index])[own].mean())
                shares.append(f"{style.parameter_label(name)} {style.percent(share)}")
        if shares:
            words.append(
                f"{mosaic}: cells whose 90 % interval holds the truth: {', '.join(shares)}."
            )
    return words


def _limits(values, true, parameter) -> tuple[float, float]:
    """One colour range for the estimated and the true map; an angle has its whole period."""
    if parameter is not None and parameter.period:
        return parameter.low, parameter.low + parameter.period
    both = values if true is None else np.concatenate([values.ravel(), true.ravel()])
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
        f"to {style.significant(float(np.nanmax(layer)))} {unit}".rstrip()
    )
    if kind != "true" and psf_map.untrusted.any():
        text += f"; {style.percent(psf_map.untrusted_share)} of the cells are hatched as untrusted"
    if kind != "true" and psf_map.out_of_domain.any():
        share = float(psf_map.out_of_domain.mean())
        text += f"; {style.percent(share)} are cross-hatched as out of domain"
    return text + "."


def psf_figures(study: Study, mosaic: str, facts: dict) -> list[StudyFigure]:
    """Local PSFs over the dimmed mosaic, estimated and, where it is known, true."""
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
    pixel = next(m.pixel_size_um for m in study.mosaics if m.name == mosaic)
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
        title = f"{kind.capitalize()} PSFs, each {enlarged:.0f} times enlarged"
        if enlarged < 1.5:
            title = f"{kind.capitalize()} PSFs"
        alt = f"{kind.capitalize()} local PSFs at {len(usable)} places of {mosaic}, in magma over the dimmed mosaic."
        figures.append(
            StudyFigure(
                *(f"psfs_{mosaic}_{kind}", f"psfs_{mosaic}_{kind}"),
                *(_glyph_table(source_map, usable, psfs), draw, f"psfs/{mosaic}", ""),
                *(title, alt, 524),
                kind="jpg",
            )
        )
    return figures


def glyph_cells(psf_map: PsfMap) -> list[tuple[int, int]]:
    """About 8 x 8 evenly spread cells, (row, column), without those whose value was not measured."""
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


def cell_figures(study: Study, mosaic: str) -> list[StudyFigure]:
    """Where the estimated map gained and lost, and how the gains are spread."""
    cells = study.table("cells.csv")
    table = cells[(cells["mosaic"] == mosaic)]
    methods = [m for m in style.sort_methods(set(table["method"])) if m != "none"]
    grids = {method: study.gain_grid(mosaic, method) for method in methods}
    if not any(np.isfinite(grid).any() for grid in grids.values()):
        return []
    figures, data, section = [], f"cells_{mosaic}", f"cells/{mosaic}"
    pixel = next(m.pixel_size_um for m in study.mosaics if m.name == mosaic)
    psf_map = study.maps.get(mosaic)
    for method in ("estimated",):
        grid = grids.get(method)
        if grid is None or not np.isfinite(grid).any():
            continue
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
            f"Map of the SNR gain over {mosaic}, cell by cell: from "
            f"{style.signed(float(np.nanmin(grid)))} to {style.signed(float(np.nanmax(grid)))} dB."
        )
        figures.append(
            StudyFigure(f"{data}_map", data, table, draw, section, "", "Where", alt, 330)
        )
    draw = partial(plots.gain_histogram, {m: g.ravel() for m, g in grids.items()})
    alt = f"Share of the cells of {mosaic} by SNR gain, one line per method."
    figures.append(
        StudyFigure(f"{data}_spread", data, table, draw, section, "", "How often", alt, 460)
    )
    return figures


def trust_figures(study: Study, mosaic: str) -> list[StudyFigure]:
    """What is left of the data when the restored picture is pushed back through the model."""
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
    pixel = next(m.pixel_size_um for m in study.mosaics if m.name == mosaic)
    width_um = pixel and found.stride_px * rows.shape[1] * pixel
    figures = []
    for name, title, label, limits in (
        ("chi_square", "Residual", "Reduced chi-square (1: noise alone)", (0.0, 2.0)),
        ("correlation", "Its pattern", "Correlation of neighbours (0: noise alone)", (-0.5, 0.5)),
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
            f"{label} over {mosaic}, cell by cell, median "
            f"{style.significant(float(np.nanmedian(values)))}; "
            f"{style.percent(float(flags['disagrees'].mean()))} of the cells disagree with the data."
        )
        figures.append(
            StudyFigure(
                *(f"trust_{mosaic}_{name}", f"trust_{mosaic}", table, draw, f"trust/{mosaic}"),
                *("", title, alt, 330),
            )
        )
    return figures


def curve_figures(network: Network) -> list[StudyFigure]:
    history = network.history
    if history.empty:
        return []
    samples, name = history["samples"].to_numpy(float), f"training_{network.name}"
    best = history.loc[history["best"].astype(str).str.lower().isin(["true", "1"]), "samples"]
    kept = float(best.iloc[-1]) if len(best) else None
    blue, grey = style.method_colour("estimated"), style.method_colour("none")
    loss = {
        "training": (history["train_loss"].to_numpy(float), grey),
        "validation": (history["validation_loss"].to_numpy(float), blue),
    }
    r2 = {"validation": (history["validation_r2"].to_numpy(float), blue)}
    figures = []
    for kind, lines, y_label, log in (("loss", loss, "loss", True), ("r2", r2, "R²", False)):
        draw = partial(plots.curves, samples, lines, y_label=y_label, log=log, best=kept)
        last = lines["validation"][0][-1]
        alt = f"{y_label} of {network.name} over training; validation ends at {style.significant(float(last))}."
        title = "Loss" if kind == "loss" else "R² on the validation set"
        figures.append(
            StudyFigure(
                f"{name}_{kind}", name, history, draw, "training", network.name, title, alt, 460
            )
        )
    return figures
