"""Figures of the networks' accuracy: of all networks, with degradations, and by number of samples."""

from functools import partial

import numpy as np
import pandas as pd

from isoplan.report import lineup, network_plots, plots, published, style
from isoplan.report.network_plots import Line, Mark
from isoplan.report.results import Study
from isoplan.report.section import StudyFigure


def accuracy_figures(study: Study) -> list[StudyFigure]:
    """R2 of all networks for each parameter, if there is more than one network or test set."""
    table = lineup.weakest(lineup.scores(study))
    figures = []
    for (model, form), rows in table.groupby(["psf_model", "form"], sort=False, dropna=False):
        pairs = rows[["network", "test_set"]].drop_duplicates()
        rows = rows[rows["parameter"] != "mean"]
        if len(pairs) < 2 or rows.empty:
            continue
        rows = rows.assign(label=lineup.labels(study, rows, ["train_set", "test_set"]))
        colours = style.network_colours(dict(zip(rows["label"], rows["architecture"], strict=True)))
        tested = (
            "test_type" if rows["test_type"].nunique() == rows["test_set"].nunique() else "test_set"
        )
        foreign = (rows["train_set"] != rows["test_type"]) & (rows["train_set"].nunique() > 1)
        foreign &= ~rows["architecture"].isin(lineup.NOT_TRAINED)
        start = (rows["train_set"].astype(str) + " \u2192 ").where(foreign, "")
        rows["row"] = start + rows[tested].astype(str)
        panels = []
        for parameter, part in rows.groupby("parameter", sort=False):
            marks: dict[str, list[Mark]] = {}
            for row in part.to_dict("records"):
                marks.setdefault(row["row"], []).append(Mark.of(row, colours[row["label"]]))
            panels.append((style.parameter_label(parameter), marks))
        width = 220 + 280 * len(panels)
        draw = partial(network_plots.dots, panels, width_px=width)
        title = style.psf_title(model, form)
        alt = f"R² of {len(colours)} networks for every parameter of {title}, test set by test set."
        name = f"accuracy_{model}_{form}"
        figures.append(StudyFigure(name, name, rows, draw, title, "", alt, width))
    return figures


def scatter_figures(study: Study) -> list[StudyFigure]:
    """Estimated against true values, coloured by the network's uncertainty if it gives one."""
    predictions = study.table("predictions.csv")
    figures = []
    for (network, test_set), table in predictions.groupby(["network", "test_set"], sort=False):
        for parameter, rows in table.groupby("parameter", sort=False):
            valid = rows["valid"].astype(str).str.lower().isin(["true", "1", "1.0"]).to_numpy()
            true, guess = rows["true"].to_numpy(float), rows["estimated"].to_numpy(float)
            half = rows["half_width"].to_numpy(float) if "half_width" in rows else None
            r2 = reported_r2(study, network, test_set, parameter)
            unit = lineup.parameter_unit(study, network, parameter)
            label = style.parameter_label(parameter)
            draw = partial(plots.scatter, true, guess, valid, half, label=label, unit=unit, r2=r2)
            alt = f"Estimated against true {label} of {network} on {test_set}, {len(rows)} samples"
            alt += f", R² {style.fixed(r2, 3)}." if r2 is not None else "."
            name = f"scatter_{network}_{test_set}"
            figures.append(
                StudyFigure(
                    *(f"{name}_{parameter}", name, table, draw),
                    *(f"{network} on {test_set}", label, alt, 330),
                )
            )
    return figures


def reported_r2(study: Study, network: str, test_set: str, parameter: str) -> float | None:
    """R2 of regression.csv at the weakest degradation, as in the table of the page."""
    table = study.table("regression.csv")
    rows = table[
        (table["network"] == network)
        & (table["test_set"] == test_set)
        & (table["parameter"] == parameter)
        & (table["metric"].astype(str).str.upper() == "R2")
    ]
    return float(lineup.weakest(rows)["value"].iloc[0]) if len(rows) else None


def robustness_figures(study: Study) -> list[StudyFigure]:
    """R2 against the strength of each degradation, with published points if the study asks for them."""
    table = lineup.scores(study)
    table = table[table["parameter"] != "mean"]
    swept = table.groupby("degradation")["level"].nunique()
    kinds = style.in_order(table["degradation"].unique(), style.DEGRADATION_LABELS)
    kinds = [kind for kind in kinds if kind != "none" and swept[kind] > 1]
    source = pd.DataFrame()
    if published.wanted(study) == "figure_2_6":
        source = published.read_published("figure_2_6").dropna(subset="level")
    figures = []
    keys = ["psf_model", "form", "test_set", "parameter"]
    several_sets = table["test_set"].nunique() > table.groupby(["psf_model", "form"]).ngroups
    for (model, form, test_set, parameter), rows in table.groupby(keys, sort=False, dropna=False):
        for kind in kinds:
            at = _with_undegraded(rows, kind)
            if at.empty:
                continue
            lines = _network_lines(study, at, "level", ["with_noise"])
            points = []
            if len(source):
                known = source[(source["psf_model"] == model) & source["with_noise"]]
                known = known[known["degradation"].isin(["none", kind])]
                points = list(zip(known["level"], known["r2"], known["below"], strict=True))
            draw = partial(
                *(network_plots.curves_of_r2, lines),
                x_label="strength of the degradation",
                published=points,
            )
            words = [style.psf_title(model, form)] + ([f"on {test_set}"] if several_sets else [])
            title = style.degradation_label(kind)
            if table[table["psf_model"] == model]["parameter"].nunique() > 1:
                title += f": {style.parameter_label(parameter)}"
            alt = f"R² against the strength of {kind}, {', '.join(words)}, {len(lines)} networks."
            data = f"robustness_{model}_{form}_{test_set}"
            group = table[
                (table["psf_model"] == model)
                & (table["form"] == form)
                & (table["test_set"] == test_set)
            ]
            name = f"{data}_{kind}_{parameter}"
            figures.append(StudyFigure(name, data, group, draw, ", ".join(words), title, alt, 460))
    return figures


def _with_undegraded(rows: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows of one degradation, and those without any, at which each network's curve begins."""
    at = rows[rows["degradation"] == kind]
    plain = rows[(rows["degradation"] == "none") & rows["network"].isin(at["network"])]
    return pd.concat([plain, at]).drop_duplicates(["network", "level"], keep="last")


def _network_lines(study: Study, rows: pd.DataFrame, x: str, cell: list[str]) -> list[Line]:
    """One line of R2 per network, dashed if it was trained without noise."""
    rows = rows.assign(label=lineup.labels(study, rows, [x, *cell]))
    colours = style.network_colours(dict(zip(rows["label"], rows["architecture"], strict=True)))
    lines = []
    for (label, with_noise), part in rows.groupby(["label", "with_noise"], sort=False):
        part = part.sort_values(x)
        doubled = "camera" in label  # it has a long label already
        plain = " (no noise)" if doubled else ", trained without noise"
        words = label if with_noise else label + plain
        columns = (part[c].to_numpy(float) for c in (x, "value", "low", "high"))
        xs, values, low, high = columns
        lines.append(Line(words, xs, values, colours[label], low, high, dashed=not with_noise))
    return lines


def learning_figures(study: Study) -> list[StudyFigure]:
    """R2 and circular error against the number of training samples, and against the size of the network.

    Each figure has networks that were trained for the same PSFs, scenes and camera, with at least two sizes or two
    numbers of samples. Both come from the network's card if it has one.
    """
    known, cards = lineup.networks(study), {n.name: n.card for n in study.networks}
    figures = []
    metrics = (("R2", "R²"), ("circular-median", "median error of the axis (degrees)"))
    for metric, y_label in metrics:
        table = lineup.weakest(lineup.scores(study, metric))
        trained = [
            n for n, entry in known.items() if not entry.get("weights") and "samples" in entry
        ]
        table = table[table["network"].isin(trained)].copy()
        if table.empty:
            continue
        table["samples"] = [
            float(cards.get(n, {}).get("samples") or known[n]["samples"]) for n in table["network"]
        ]
        table["weights"] = [
            float(cards.get(n, {}).get("parameters") or np.nan) for n in table["network"]
        ]
        table["asked"] = [float(known[n]["samples"]) for n in table["network"]]
        table["size"] = [
            f"{known[n].get('width')}" if known[n]["architecture"] == "isoplan" else ""
            for n in table["network"]
        ]
        table["camera"] = [known[n].get("camera") for n in table["network"]]
        if metric != "R2":
            columns = ["value", "low", "high"]
            table[columns] = np.degrees(table[columns])
        keys = ["psf_model", "form", "train_set", "camera", "test_set", "parameter"]
        for key, rows in table.groupby(keys, sort=False, dropna=False):
            named = dict(zip(keys, key, strict=True))
            if named["parameter"] == "mean":
                continue
            title = style.psf_title(named["psf_model"], named["form"])
            group = f"{title}, tested on {named['test_set']}"
            # Sizes are compared at one number of samples of each architecture, the largest.
            most = rows[rows["asked"] == rows.groupby("architecture")["asked"].transform("max")]
            for x, x_label, lines in (
                ("samples", "training samples", _learning_lines(rows, "samples", "size")),
                ("weights", "weights of the network", _learning_lines(most, "weights", "asked")),
            ):
                if not any(len(line.x) > 1 and not line.dashed for line in lines):
                    continue
                plot = partial(network_plots.curves_of_r2, lines)
                if metric != "R2":
                    plot = partial(network_plots.error_curves, lines, y_label=y_label)
                draw = partial(plot, x_label=x_label, log_x=True)
                parameter = style.parameter_label(named["parameter"])
                what = "samples" if x == "samples" else "network size"
                alt = f"{y_label} of {parameter} against {what}, {len(lines)} lines, {group}."
                stem = f"learning_{'_'.join(map(str, key[:5]))}"
                name = f"{stem}_{named['parameter']}_{metric}_{x}"
                heading = f"{y_label[:1].upper()}{y_label[1:]} against {what}"
                if metric == "R2":
                    heading = f"{parameter}: {heading}"
                data = f"{stem}_{metric}"
                shown = table[(table[keys[:5]] == list(key[:5])).all(axis=1)]
                figures.append(StudyFigure(name, data, shown, draw, group, heading, alt, 460))
    return figures


def _learning_lines(rows: pd.DataFrame, x: str, by: str) -> list[Line]:
    """One line per architecture and value of `by`, sorted along `x`; methods without training are dashed."""
    fitted = rows[rows["architecture"].isin(lineup.NOT_TRAINED)]
    rows = rows[~rows.index.isin(fitted.index) & np.isfinite(rows[x])].sort_values(x)
    parts = list(rows.groupby(["architecture", by], sort=False))
    words = {}
    for (architecture, value), _ in parts:
        words[architecture, value] = style.network_label(architecture)
        if by == "size" and value:
            words[architecture, value] += f", width {value}"
        elif by == "asked":
            words[architecture, value] += f", {style.large(value)} samples"
    keys = sorted((key for key, _ in parts), key=lambda key: _number(key[1]))
    keys = [
        key
        for a in style.in_order((k[0] for k in keys), style.NETWORK_LABELS)
        for key in keys
        if key[0] == a
    ]
    lines = {words[key]: key[0] for key in keys}
    colours = style.network_colours(lines)
    found = []
    for key, part in parts:
        part = part.drop_duplicates(x, keep="last")
        xs, values, low, high = (part[c].to_numpy(float) for c in (x, "value", "low", "high"))
        found.append(Line(words[key], xs, values, colours[words[key]], low, high))
    order = list(lines)
    found.sort(key=lambda line: order.index(line.label))
    if len(fitted) and len(rows):
        # A method without training is drawn as a level for comparison.
        ends, level = np.array([rows[x].min(), rows[x].max()]), fitted["value"].iloc[0]
        label = style.network_label(fitted["architecture"].iloc[0])
        colour = style.network_colours({label: fitted["architecture"].iloc[0]})[label]
        found.append(Line(label, ends, np.full(2, level), colour, dashed=True))
    return found


def _number(text) -> float:
    return float(text) if str(text) else 0.0
