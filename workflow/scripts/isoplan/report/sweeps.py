"""Sweeps over iterations and TV weights in the report, and rules that choose them without the truth."""

from functools import partial

import pandas as pd

from isoplan.report import restoration_plots, style
from isoplan.report.restoration_plots import Curves, Losses
from isoplan.report.results import Study
from isoplan.report.section import Bar, Score, StudyFigure
from isoplan.report.tables import Cell, Table
from isoplan.restoration_test.sweep import NEAR_DB

# Names and colours of the rules; the best of each picture is not drawn as a loss.
RULES = {
    "best": ("Best of each picture", style.INK),
    "best-fixed": ("Best for all pictures", "#8C9199"),
    "chosen": ("Held-out photons", "#005EA8"),
    "discrepancy": ("Discrepancy", "#D98200"),
    "default": ("Test's own setting", "#5FBFA0"),
}
PSFS = {"true": "known PSFs", "estimated": "estimated PSFs"}
INTRO = (
    "Every picture was restored with each TV weight, and its gain was recorded after each number of iterations. The best "
    "choice depends on the truth, while a user needs a rule without it. Held-out photons: the setting that best predicts the "
    "30 % of photons that were held out (iterations: auto, tv_weight: auto). Discrepancy: the test's own TV weight, with "
    "iterations until the residual is no larger than the noise. Losses are those compared with the best choice for each "
    "picture; brackets are 95 % intervals."
)


def choices(study: Study) -> pd.DataFrame:
    """restoration_choice.csv; it has no rows without sweeps."""
    return study.table("restoration_choice.csv")


def choice_table(study: Study) -> Table | None:
    """Gains and losses of the rules, by test and PSFs."""
    rows = []
    for (test, psfs), part in choices(study).groupby(["test", "psfs"], sort=False):
        rows.append([Cell(f"{test}, {PSFS[psfs]}")])
        known = {row["rule"]: row for row in part.to_dict("records")}
        rows += [_row(*RULES[rule], known[rule]) for rule in RULES if rule in known]
    head = ["Rule", "SNR gain (dB)", "Loss to the best (dB)", f"Within {NEAR_DB:g} dB"]
    return Table([*head, "Worst loss (dB)", "Iterations", "TV weight"], rows) if rows else None


def _row(label: str, colour: str, row: dict) -> list[Cell]:
    lost = style.interval(row["loss_low"], row["loss_high"], 2)
    return [
        Cell(label, colour=colour),
        Cell(style.signed(row["mean"]), notes=[style.interval(row["low"], row["high"], 2)]),
        Cell(style.fixed(row["loss_db"]), notes=[lost] if row["rule"] != "best" else []),
        Cell(style.percent(row["near_share"])),
        Cell(style.fixed(row["worst_loss_db"])),
        Cell(f"{row['iterations']:g}"),
        Cell(f"{row['tv_weight']:.2g}"),
    ]


def score(study: Study) -> Score:
    """Gain of the choice without the truth, as a share of the best one's; for a study of which all tests are sweeps."""
    table = choices(study)
    lost = {
        (rule, psfs): _span(part["loss_db"])
        for (rule, psfs), part in table.groupby(["rule", "psfs"])
    }
    names = [name for name in PSFS if ("chosen", name) in lost]
    words = " and ".join(f"{lost['chosen', name]} dB with {PSFS[name]}" for name in names)
    own = " and ".join(f"{lost['default', name]} dB" for name in names)
    return Score(
        *("plain", f"Chosen from the picture alone: {lost['chosen', names[-1]]} dB below the best"),
        f"Iterations and TV weight chosen by held-out photons lose {words} compared with the best choice for each "
        f"picture, which depends on the truth; the tests' own setting loses {own}. These are means of each test.",
        title="Chosen by held-out photons: share of the best choice's gain",
        bars=[Bar(test, RULES["chosen"][1], share) for test, share in kept(study)],
        data="restoration_choice.csv",
        beside=False,
    )


def _span(values: pd.Series) -> str:
    low, high = style.fixed(values.min()), style.fixed(values.max())
    return low if low == high else f"{low} to {high}"


def kept(study: Study) -> list[tuple[str, float]]:
    """Gain of the choice by held-out photons as a share of the best choice's gain, for each test.

    It is that with estimated PSFs if there are any. Tests in which the best choice gains nothing are left out.
    """
    table = choices(study)
    psfs = "estimated" if "estimated" in set(table["psfs"]) else "true"
    table = table[table["psfs"] == psfs]
    mean = table.pivot(index="test", columns="rule", values="mean").reindex(table["test"].unique())
    return [(test, row["chosen"] / row["best"]) for test, row in mean.iterrows() if row["best"] > 0]


def warnings(study: Study) -> list[str]:
    """Warnings of choices by held-out photons that lose too much, with estimated PSFs."""
    table = choices(study)
    table = table[(table["psfs"] == "estimated") & (table["rule"] == "chosen")]
    return [
        f"{row['test']}: iterations and TV weight chosen by held-out photons lose {style.fixed(row['loss_db'])} dB "
        f"compared with the best choice, more than {NEAR_DB:g} dB. Give both yourself for such pictures."
        for row in table.to_dict("records")
        if round(row["loss_db"], 2) > NEAR_DB
    ]


def sweep_figures(study: Study) -> list[StudyFigure]:
    """Losses of the rules for each test, and gains over iterations and TV weights."""
    chosen, swept = choices(study), study.table("restoration_sweep.csv")
    if chosen.empty or swept.empty:
        return []
    names = [name for name in PSFS if name in set(chosen["psfs"])]
    panels = [(PSFS[name], _losses(chosen[chosen["psfs"] == name])) for name in names]
    alt = "SNR gain lost by each rule compared with the best choice, for each test."
    first = "restoration_choice"
    draw = partial(restoration_plots.choices, panels, width_px=960)
    figures = [StudyFigure(first, first, chosen, draw, "", "", alt, 960)]
    for name in names:
        parts = swept[swept["psfs"] == name].groupby("test", sort=False)
        picked = chosen[chosen["psfs"] == name]
        curves = [_curves(test, part, picked[picked["test"] == test]) for test, part in parts]
        draw = partial(restoration_plots.sweeps, curves, width_px=960)
        title = f"With {PSFS[name]}: mean gain over iterations, one line per TV weight"
        alt = f"Mean SNR gain over iterations with {PSFS[name]}, {len(curves)} tests, one line per TV weight."
        file = f"restoration_sweep_{name}"
        figures.append(StudyFigure(file, "restoration_sweep", swept, draw, "", title, alt, 960))
    return figures


def _losses(chosen: pd.DataFrame) -> list[Losses]:
    shown = {rule: look for rule, look in RULES.items() if rule != "best"}
    return [
        Losses(
            test,
            [
                (*shown[row["rule"]], row["loss_db"], row["loss_low"], row["loss_high"])
                for row in part.to_dict("records")
                if row["rule"] in shown
            ],
        )
        for test, part in chosen.groupby("test", sort=False)
    ]


def _curves(test: str, swept: pd.DataFrame, chosen: pd.DataFrame) -> Curves:
    own = swept.iloc[0]
    rings = {row["rule"]: row for row in chosen.to_dict("records")}
    fixed = rings["best-fixed"]
    return Curves(
        test,
        {weight: (part["iterations"], part["mean"]) for weight, part in swept.groupby("tv_weight")},
        {
            RULES["best-fixed"][0]: (RULES["best-fixed"][1], fixed["iterations"], fixed["mean"]),
            RULES["default"][0]: (
                RULES["default"][1],
                own["default_iterations"],
                rings["default"]["mean"],
            ),
        },
        {RULES[rule][0]: (RULES[rule][1], rings[rule]["mean"]) for rule in ("best", "chosen")},
    )
