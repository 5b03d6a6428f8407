"""Figures and words on the networks' uncertainty: calibration of intervals, and abstention."""

from functools import partial

import numpy as np
import pandas as pd

from isoplan.optics.model import of_unit
from isoplan.report import lineup, network_plots, style
from isoplan.report.network_plots import Line
from isoplan.report.results import Study
from isoplan.report.section import StudyFigure

# At most this many lines can be distinguished; more are drawn thin and without names.
NAMED_LINES = 6
ENOUGH = 100  # smallest number of patches in a group whose coverage is judged
MOST_KINDS = 4  # largest number of kinds of networks with separate figures
LEFT_OUT = 0.2  # share of the least certain samples that is left out in the text
SERIES = ["network", "test_set", "parameter"]  # each combination has its own line
GROUPS = (
    (
        "spread fifth",
        "By predicted uncertainty",
        "fifth by predicted uncertainty, most certain first",
    ),
    ("photons decade", "By light", "photons at the brightest pixel, from"),
    ("axis region", "By angle", "true axis (degrees)"),
)


def calibration_figures(study: Study) -> list[StudyFigure]:
    """How often the 90 % intervals contain the truth: by predicted uncertainty, photons and axis."""
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
            alt = f"Share of 90 % intervals that contain the truth, {x_label}, {group}: {inside} of the "
            alt += "points lie between 85 and 95 %."
            name = f"{data}_{kind.replace(' ', '_')}"
            figures.append(StudyFigure(name, data, rows, draw, group, title, alt, 330))
    return figures


def _level_text(kind: str, level: float) -> str:
    return style.large(10**level) if kind == "photons decade" else f"{level:.0f}"


def _count_text(counts: pd.Series) -> str:
    ends = dict.fromkeys([style.large(int(counts.min())), style.large(int(counts.max()))])
    return "n " + "\u2013".join(ends)


def _named(study: Study, name: str) -> pd.DataFrame:
    """calibration.csv or abstention.csv, with PSF model and architecture of each network."""
    table = study.table(name)
    known, scores = lineup.networks(study), study.table("regression.csv")
    models = dict(zip(scores["network"], scores["psf_model"], strict=True))
    return table.assign(
        psf_model=[str(models.get(n, "")) for n in table["network"]],
        architecture=[lineup.architecture(known.get(n, {}), n) for n in table["network"]],
    )


def _kinds(table: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """(title, file stem, rows) for each architecture and PSF model; if there are many, for each architecture."""
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
    """Label and colour of each line, by (network, test set, parameter); without labels if there are many."""
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
    """Says how often the 90 % intervals contain the truth."""
    table = _named(study, "calibration.csv")
    fine = table[table["group"] != "all"]
    table = table[table["group"] == "all"]
    if table.empty:
        return []
    words = []
    if len(table) <= NAMED_LINES:
        words += [
            f"{row.network} on {row.test_set}, {style.parameter_label(row.parameter)}: the 90 % interval contains "
            f"the truth in {style.percent(float(row.coverage))} of {row.n:,.0f} patches."
            for row in table.itertuples()
        ]
    else:
        words.append(
            f"The 90 % intervals of {len(table)} networks, test sets and parameters contain the truth in "
            f"{style.percent(float(table['coverage'].min()))} to {style.percent(float(table['coverage'].max()))} of the patches."
        )
    fine = fine[fine["n"] >= ENOUGH]
    if len(fine):
        inside = int(fine["coverage"].between(*style.CALIBRATED).sum())
        words.append(
            f"{inside} of {len(fine)} groups of {ENOUGH} patches or more are between 85 and 95 %."
        )
    return words


def abstention_figures(study: Study) -> list[StudyFigure]:
    """Error of the remaining samples if the least certain ones are left out."""
    figures = []
    for group, stem, rows in _kinds(_named(study, "abstention.csv")):
        data, looks = f"abstention_{stem}", _looks(rows)
        units = [
            _error_unit(study, n, p)
            for n, p in zip(rows["network"], rows["parameter"], strict=True)
        ]
        # Many lines with different units can only be shown relative to their first values.
        crowd = len(looks) > NAMED_LINES
        rows = rows.assign(unit="" if crowd else units)
        kinds = [("", rows)] if crowd else rows.groupby(["metric", "unit"], sort=False)
        for kind, part in kinds:
            what = "Error of the remaining patches (% of that of all)"
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
            figures.append(StudyFigure(name, data, rows, draw, group, what, alt, 460))
    return figures


ERROR_LABELS = {"RMSE": "Root mean square error", "circular-median": "Median error of the axis"}


def _error_unit(study: Study, network: str, parameter: str) -> str:
    unit = lineup.parameter_unit(study, network, parameter)
    return "degrees" if unit == "rad" else unit


def abstention_words(study: Study) -> list[str]:
    """Says how the error changes if the least certain 20 % are left out."""
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
            f"by a median of {style.percent(float(np.median(drops)))}."
        ]
    words = []
    for network, test_set, parameter, unit, before, after in found:
        verb = "lowers" if after < before else "does not lower"
        words.append(
            f"{network} on {test_set}, {style.parameter_label(parameter)}: leaving out the least certain 20 % {verb} "
            f"the error{'' if after < before else ','} from {style.significant(before)} to "
            f"{of_unit(style.significant(after), unit)}."
        )
    return words
