"""Figures of how well networks read the PSF, and of how well they know it themselves."""

from functools import partial

import numpy as np
import pandas as pd

from isoplan.report import lineup, network_plots, plots, published, style
from isoplan.report.network_plots import Line, Mark
from isoplan.report.results import Study
from isoplan.report.study_figure import StudyFigure

# So many lines can be told apart; more are drawn thin and without names.
NAMED_LINES = 6
ENOUGH = 100  # patches in a group before its coverage is judged
MOST_KINDS = 4  # figures of calibration and abstention for as many kinds of networks
LEFT_OUT = 0.2  # share of the least certain samples that the report speaks of


def published_figures(study: Study) -> list[StudyFigure]:
    """Published R2 and ours: dots in a table's figure, curves (robustness_figures) in a figure's."""
    name, table = published.wanted(study), published.compare(study)
    if table.empty or name == "figure_2_6":
        return []
    source = published.read_published(name).rename(columns={"test_set": "test_type"})
    panel, row = ("test_type", "psf_model") if name == "table_2_3" else ("train_set", "test_type")
    table = table.assign(label=published.lines(name, table))
    colours = published.colours(table["label"], table["architecture"])
    figures = []
    for form, rows in table.groupby("form", sort=False):
        panels = []
        compared = set(source[panel]) & set(rows[panel])
        for title in style.in_order(compared, published.TYPES):
            part, marks = rows[rows[panel] == title], {}
            order = published.PSF_MODELS if row == "psf_model" else published.TYPES
            for key in style.in_order(rows[row].unique(), order):
                known = source[(source[panel] == title) & (source[row] == key)]
                grey = [Mark("", r2, published=True) for r2 in known["r2"]]
                own = part[part[row] == key].to_dict("records")
                label = style.psf_label(key) if row == "psf_model" else f"tested on {key}"
                marks[label] = grey + [_mark(r, colours[r["label"]]) for r in own]
            panels.append((title if row == "psf_model" else f"trained on {title}", marks))
        # More than three panels side by side leave no room for their ticks.
        for start in range(0, len(panels), 3):
            some = panels[start : start + 3]
            draw = partial(network_plots.dots, some, width_px=160 + 300 * len(some))
            alt = f"Published R² as grey bars and this study's as dots with intervals, {name}, "
            alt += ", ".join(title for title, _ in some) + "."
            own_name = f"published_{form}_{start // 3 + 1}"
            figures.append(
                StudyFigure(
                    *(own_name, f"published_{name}", table, draw, f"published-{form}", ""),
                    *("", alt, 160 + 300 * len(some)),
                )
            )
    return figures


def _mark(row: dict, colour: str) -> Mark:
    return Mark(row["label"], row["value"], row["low"], row["high"], colour)


def accuracy_figures(study: Study) -> list[StudyFigure]:
    """R2 of all networks beside one another, parameter by parameter, where there is more than one."""
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
        foreign &= rows["architecture"] != lineup.NOT_TRAINED
        start = (rows["train_set"].astype(str) + " \u2192 ").where(foreign, "")
        rows["row"] = start + rows[tested].astype(str)
        panels = []
        for parameter, part in rows.groupby("parameter", sort=False):
            marks: dict[str, list[Mark]] = {}
            for row in part.to_dict("records"):
                marks.setdefault(row["row"], []).append(_mark(row, colours[row["label"]]))
            panels.append((style.parameter_label(parameter), marks))
        width = 220 + 280 * len(panels)
        draw = partial(network_plots.dots, panels, width_px=width)
        title = psf_title(model, form)
        alt = f"R² of {len(colours)} networks for every parameter of {title}, test set by test set."
        name = f"accuracy_{model}_{form}"
        figures.append(StudyFigure(name, name, rows, draw, "accuracy", title, "", alt, width))
    return figures


def psf_title(model: str, form: str) -> str:
    return style.psf_label(str(model)) + (", published form" if form == "published" else "")


def scatter_figures(study: Study) -> list[StudyFigure]:
    """Estimated against true values, coloured by how sure the network was where it says so."""
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
                    *(f"{name}_{parameter}", name, table, draw, "scatter"),
                    *(f"{network} on {test_set}", label, alt, 330),
                )
            )
    return figures


def reported_r2(study: Study, network: str, test_set: str, parameter: str) -> float | None:
    """R2 of regression.csv at the weakest degradation, so that page and table agree."""
    table = study.table("regression.csv")
    rows = table[
        (table["network"] == network)
        & (table["test_set"] == test_set)
        & (table["parameter"] == parameter)
        & (table["metric"].astype(str).str.upper() == "R2")
    ]
    return float(lineup.weakest(rows)["value"].iloc[0]) if len(rows) else None


def robustness_figures(study: Study) -> list[StudyFigure]:
    """R2 against the strength of every degradation that was swept, with published points if asked for."""
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
            words = [psf_title(model, form)] + ([f"on {test_set}"] if several_sets else [])
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
            figures.append(
                StudyFigure(
                    name, data, group, draw, "robustness", ", ".join(words), title, alt, 460
                )
            )
    return figures


def _with_undegraded(rows: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows of one degradation, each network's curve begun with what it does without any."""
    at = rows[rows["degradation"] == kind]
    plain = rows[(rows["degradation"] == "none") & rows["network"].isin(at["network"])]
    return pd.concat([plain, at]).drop_duplicates(["network", "level"], keep="last")


def _network_lines(study: Study, rows: pd.DataFrame, x: str, cell: list[str]) -> list[Line]:
    """One line of R2 per network, dashed where it was trained without noise."""
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
    """R2 and circular error against training samples, and against network size, one line per network.

    Of networks trained for the same PSFs, scenes and camera, in at least two sizes or with at least
    two numbers of samples. Samples and size are those of the network's card, where it has one.
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
            title = psf_title(named["psf_model"], named["form"])
            group = f"{title}, tested on {named['test_set']}"
            # Against size at one number of samples of each architecture alone: the largest.
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
                figures.append(
                    StudyFigure(name, data, shown, draw, "learning", group, heading, alt, 460)
                )
    return figures


def _learning_lines(rows: pd.DataFrame, x: str, by: str) -> list[Line]:
    """One line per architecture and `by` (the other of size and samples), sorted along `x`.

    The network-free fit is a dashed level.
    """
    fitted = rows[rows["architecture"] == lineup.NOT_TRAINED]
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
        # What needs no training is a level to compare with.
        ends, level = np.array([rows[x].min(), rows[x].max()]), fitted["value"].iloc[0]
        label, colour = (
            d[lineup.NOT_TRAINED] for d in (style.NETWORK_LABELS, style.NETWORK_COLOURS)
        )
        found.append(Line(label, ends, np.full(2, level), colour, dashed=True))
    return found


def _number(text) -> float:
    return float(text) if str(text) else 0.0


SERIES = ["network", "test_set", "parameter"]  # what has a line of its own
GROUPS = (
    ("spread fifth", "By predicted spread", "fifth of the predicted spread, surest first"),
    ("photons decade", "By light", "photons at the brightest pixel, from"),
    ("axis region", "By angle", "true axis (degrees)"),
)


def calibration_figures(study: Study) -> list[StudyFigure]:
    """How often the 90 % intervals hold the truth: by predicted spread, by photons, by axis."""
    figures = []
    for group, stem, rows in _kinds(_named(study, "calibration.csv")):
        data, looks = f"calibration_{stem}", _looks(rows)
        for kind, title, x_label in GROUPS:
            part = rows[rows["group"] == kind]
            if part.empty:
                continue
            levels, lines = sorted(part["level"].unique()), []
            for key, line in part.groupby(SERIES, sort=False):
                held = line.set_index("level")["coverage"].reindex(levels).to_numpy(float)
                label, colour = looks[key]
                lines.append((label, held, colour))
            draw = partial(
                *(network_plots.coverage, [_level_text(kind, level) for level in levels], lines),
                [_count_text(part[part["level"] == level]["n"]) for level in levels],
                x_label=x_label,
            )
            inside = style.percent(float(part["coverage"].between(*style.CALIBRATED).mean()))
            alt = (
                f"Share of 90 % intervals that hold the truth, {x_label}, {group}: {inside} of the "
            )
            alt += "points lie between 85 and 95 %."
            name = f"{data}_{kind.replace(' ', '_')}"
            figures.append(
                StudyFigure(name, data, rows, draw, "calibration", group, title, alt, 330)
            )
    return figures


def _level_text(kind: str, level: float) -> str:
    return style.large(10**level) if kind == "photons decade" else f"{level:.0f}"


def _count_text(counts: pd.Series) -> str:
    ends = dict.fromkeys([style.large(int(counts.min())), style.large(int(counts.max()))])
    return "n " + "\u2013".join(ends)


def _named(study: Study, name: str) -> pd.DataFrame:
    """calibration.csv or abstention.csv with each network's PSF model and architecture."""
    table = study.table(name)
    known, scores = lineup.networks(study), study.table("regression.csv")
    models = dict(zip(scores["network"], scores["psf_model"], strict=True))
    return table.assign(
        psf_model=[str(models.get(n, "")) for n in table["network"]],
        architecture=[lineup.architecture(known.get(n, {}), n) for n in table["network"]],
    )


def _kinds(table: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """(title, file stem, rows) per architecture and PSF model; of many, per architecture alone."""
    parts = list(table.groupby(["architecture", "psf_model"], sort=False))
    if len(parts) > MOST_KINDS:
        parts = [((key, ""), rows) for key, rows in table.groupby("architecture", sort=False)]
    return [
        (
            ", ".join(filter(None, [style.network_label(key), style.psf_label(model)])),
            "_".join(filter(None, [key, model])),
            rows,
        )
        for (key, model), rows in parts
    ]


def _looks(rows: pd.DataFrame) -> dict[tuple, tuple[str, str]]:
    """(network, test set, parameter) -> label and colour of its line; of too many no label."""
    found = list(rows[SERIES].drop_duplicates().itertuples(index=False, name=None))
    if len(found) > NAMED_LINES:
        return dict.fromkeys(found, ("", style.METHOD_COLOURS["estimated"]))
    varied = [i for i in range(2) if len({key[i] for key in found}) > 1]
    colours = (style.METHOD_COLOURS["estimated"], *style.OTHER_COLOURS)
    return {
        key: (", ".join([*(key[i] for i in varied), style.parameter_label(key[2])]), colour)
        for key, colour in zip(found, colours, strict=False)
    }


def calibration_words(study: Study) -> list[str]:
    """How often the 90 % intervals held the truth over all samples, network by network."""
    table = _named(study, "calibration.csv")
    fine = table[table["group"] != "all"]
    table = table[table["group"] == "all"]
    if table.empty:
        return []
    words = []
    if len(table) <= NAMED_LINES:
        words += [
            f"{row.network} on {row.test_set}, {style.parameter_label(row.parameter)}: the 90 % interval holds "
            f"the truth in {style.percent(float(row.coverage))} of {row.n:,.0f} patches."
            for row in table.itertuples()
        ]
    else:
        words.append(
            f"Over {len(table)} networks, test sets and parameters the 90 % intervals hold the truth in "
            f"{style.percent(float(table['coverage'].min()))} to {style.percent(float(table['coverage'].max()))} of the patches."
        )
    fine = fine[fine["n"] >= ENOUGH]
    if len(fine):
        inside = int(fine["coverage"].between(*style.CALIBRATED).sum())
        words.append(
            f"{inside} of {len(fine)} groups of {ENOUGH} patches or more lie between 85 and 95 %."
        )
    return words


def abstention_figures(study: Study) -> list[StudyFigure]:
    """The error of what is kept, as the least certain samples are left out."""
    figures = []
    for group, stem, rows in _kinds(_named(study, "abstention.csv")):
        data, looks = f"abstention_{stem}", _looks(rows)
        units = [
            _error_unit(study, n, p)
            for n, p in zip(rows["network"], rows["parameter"], strict=True)
        ]
        # Many lines of different units can only be shown as shares of what they begin with.
        crowd = len(looks) > NAMED_LINES
        rows = rows.assign(unit="" if crowd else units)
        kinds = [("", rows)] if crowd else rows.groupby(["metric", "unit"], sort=False)
        for kind, part in kinds:
            what = "Error of the patches kept (% of that of all)"
            if not crowd:
                what = style.with_unit(ERROR_LABELS.get(kind[0], kind[0]), kind[1])
            lines = []
            for key, line in part.groupby(SERIES, sort=False):
                line = line.sort_values("kept_share", ascending=False)
                x = 100 * (1 - line["kept_share"].to_numpy(float))
                y = line["value"].to_numpy(float)
                if crowd:
                    y = 100 * y / y[0]
                elif kind[1] == "degrees":
                    y = np.degrees(y)
                lines.append(Line(looks[key][0], x, y, looks[key][1]))
            draw = partial(
                *(network_plots.error_curves, lines),
                x_label="least certain patches left out (%)",
                y_label=what,
                mark_x=100 * LEFT_OUT,
            )
            alt = f"{what}, against the share left out, {group}, {len(lines)} lines."
            name = "_".join([data, *kind])
            figures.append(StudyFigure(name, data, rows, draw, "abstention", group, what, alt, 460))
    return figures


ERROR_LABELS = {"RMSE": "Root mean square error", "circular-median": "Median error of the axis"}


def _error_unit(study: Study, network: str, parameter: str) -> str:
    unit = lineup.parameter_unit(study, network, parameter)
    return "degrees" if unit == "rad" else unit


def abstention_words(study: Study) -> list[str]:
    """What leaving out the least certain 20 % does to the error, in sentences."""
    table = study.table("abstention.csv")
    found = []
    keys = ["network", "test_set", "parameter"]
    for (network, test_set, parameter), rows in table.groupby(keys, sort=False):
        share = rows["kept_share"].astype(float)
        everything = rows[np.isclose(share, 1)]["value"].astype(float)
        kept = rows[np.isclose(share, 1 - LEFT_OUT)]["value"].astype(float)
        if len(everything) and len(kept) and everything.iloc[0] > 0:
            unit = _error_unit(study, network, parameter)
            turn = 180 / np.pi if unit == "degrees" else 1
            ends = [turn * float(everything.iloc[0]), turn * float(kept.iloc[0])]
            found.append((network, test_set, parameter, unit, *ends))
    if not found:
        return []
    if len(found) > NAMED_LINES:
        drops = np.array([1 - after / before for *_, before, after in found])
        lower = int((drops > 0).sum())
        return [
            f"Leaving out the least certain 20 % lowers the error in {lower} of {len(found)} cases, "
            f"by {style.percent(float(np.median(drops)))} in the median."
        ]
    words = []
    for network, test_set, parameter, unit, before, after in found:
        verb = "lowers" if after < before else "does not lower"
        words.append(
            f"{network} on {test_set}, {style.parameter_label(parameter)}: leaving out the least certain 20 % {verb} "
            f"the error{'' if after < before else ','} from {style.significant(before)} to {style.significant(after)} {unit}.".replace(
                "  ", " "
            )
        )
    return words
