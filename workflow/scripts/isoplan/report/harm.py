"""The section on harm tests: what restoring with default settings gains, and the worst that it does."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from isoplan.report import pictures, restoration_plots, style
from isoplan.report.results import Study
from isoplan.report.section import Bar, Caution, Part, Score, Section, StudyFigure
from isoplan.report.tables import Cell, Table
from isoplan.restoration_test.blurs import BLURS
from isoplan.restoration_test.harm_tables import HARMED_DB

KINDS = {
    "inside": "Blurs of the network's model",
    "outside": "Other blurs",
    "sharp": "No blur",
}
# Methods that the default is compared with; the true PSF of a sharp picture is none.
BESIDE = ("true", "true-best", "denoised", "denoised-best", "richardson-lucy", "unsharp")
SHOWN = ("sharp", "none", "estimated", "true", "denoised-best")
# The worst picture may change by this much in dB, compared with doing nothing, or with denoising if it is sharp.
LIMITS_DB = {"inside": -0.3, "outside": -0.5, "sharp": -1.0}
INTRO = (
    "Pictures that were not used for training were blurred, in ways that the network was or was not made for, and "
    "exposed. They were restored like the command restore does if it knows only the camera's offset. Gains are those of "
    "SNR over doing nothing: the mean, the 5th percentile and the worst picture. Pictures that lose more than 0.3 dB are "
    "harmed; pictures that were not changed have a gain of 0. With known PSFs, settings are chosen by held-out photons as "
    "well, while the best choice depends on the truth."
)

WORST = (
    "The pictures of each test with the largest losses from restoring with default settings, each of another picture or "
    "kind of blur, with its own grey scale."
)


def summary(study: Study) -> pd.DataFrame:
    """harm_summary.csv; it has no rows if nothing was tested."""
    return study.table("harm_summary.csv")


def harm_table(study: Study) -> Table | None:
    """Gains of the default and of other methods, by test, kind of blur and light."""
    rows = []
    for test, part in summary(study).groupby("test", sort=False):
        rows.append([Cell(f"{test}: {part['model'].iloc[0]}")])
        for kind, lights in _groups(part):
            for light, methods in lights:
                rows.append(_row(kind, light, methods))
    head = ["Blur, photons", "Pictures", "By default (dB)", "5th percentile", "Worst", "Harmed"]
    head += ["Worst cell", "Known PSFs", "With best choice", "Denoised", "With best choice"]
    head += ["Richardson-Lucy", "Unsharp mask"]
    return Table(head, rows, best="better than doing nothing") if rows else None


def _groups(part: pd.DataFrame):
    """(kind, [(light, method -> row)]); all lights together come last, as NaN."""
    for kind in KINDS:
        of = part[part["kind"] == kind]
        lights = sorted(of["photons"].dropna().unique()) + [np.nan] * int(
            of["photons"].isna().any()
        )
        found = []
        for light in lights:
            same = of["photons"].isna() if np.isnan(light) else of["photons"] == light
            found.append((light, {row["method"]: row for row in of[same].to_dict("records")}))
        if found:
            yield kind, found


def _below(own: dict, kind: str) -> float:
    """Change of the worst picture in dB, compared with doing nothing, or with denoising if it is sharp."""
    return own["worst_to_denoised" if kind == "sharp" else "worst"]


def _row(kind: str, light: float, methods: dict) -> list[Cell]:
    own = methods["estimated"]
    name = f"{KINDS[kind]}, {'all' if np.isnan(light) else f'{light:.3g}'}"
    below = _below(own, kind)
    share = own["of_true"]
    notes = [f"{style.percent(share)} of known"] if kind == "inside" and np.isfinite(share) else []
    return [
        Cell(name),
        Cell(str(int(own["n"]))),
        Cell(style.signed(own["mean"]), best=own["mean"] > 0, notes=notes),
        Cell(style.signed(own["p5"])),
        Cell(style.signed(own["worst"]), colour="" if below >= LIMITS_DB[kind] else "#B3261E"),
        Cell(style.percent(own["harmed_share"])),
        Cell(style.signed(own["cells_worst"])),
        *(
            Cell(style.signed(methods[m]["mean"]), notes=[style.signed(methods[m]["worst"])])
            for m in BESIDE
        ),
    ]


def score(study: Study) -> Score | None:
    """The gain of restoring with default settings; None without harm tests."""
    table = summary(study)
    if table.empty:
        return None
    own = table[(table["method"] == "estimated") & table["photons"].isna()]
    worst = own["worst"].min()
    harmed = (own["harmed_share"] * own["n"]).sum() / own["n"].sum()
    words = [
        f"{KINDS[kind].lower()} {style.signed((part['mean'] * part['n']).sum() / part['n'].sum())} dB"
        for kind in KINDS
        if len(part := own[own["kind"] == kind])
    ]
    count = f"{int(own['n'].sum()):,} restorations"
    inside = own[(own["kind"] == "inside") & (own["of_true"] > 0)]
    colour = style.method_colour("estimated")
    return Score(
        *("plain", f"With default settings: {', '.join(words)}"),
        f"Mean SNR gains of {count} over doing nothing. {style.percent(harmed)} of them lose more than "
        f"{-HARMED_DB:g} dB; the worst one changes by {style.signed(worst)} dB.",
        title="Default settings: share of the gain with known PSFs, blurs of the network's model",
        bars=[Bar(row.test, colour, row.of_true) for row in inside.itertuples()],
        data="harm_summary.csv",
        beside=False,
    )


def warnings(study: Study) -> list[str]:
    """Warnings of pictures that lost more than they may, for each test."""
    words = []
    for test, part in summary(study).groupby("test", sort=False):
        for kind, lights in _groups(part):
            for light, methods in lights:
                if np.isnan(light):
                    continue
                below = _below(methods["estimated"], kind)
                if below < LIMITS_DB[kind]:
                    against = "denoising" if kind == "sharp" else "doing nothing"
                    words.append(
                        f"{test}, {KINDS[kind].lower()}, {light:.3g} photons: the worst picture is "
                        f"{style.fixed(-below)} dB worse than {against}; at most {-LIMITS_DB[kind]:g} dB are accepted. "
                        "See it under No harm, and check restorations of such pictures by eye."
                    )
    return words


def gain_figures(study: Study) -> list[StudyFigure]:
    """The gain of every picture, for each test."""
    rows, figures = study.table("harm.csv"), []
    for test, part in rows.groupby("test", sort=False):
        panels = [
            (KINDS[kind], [(light, dict(tuple(of.groupby("method")["gain"]))) for light, of in own])
            for kind in KINDS
            if (own := list(part[part["kind"] == kind].groupby("photons")))
        ]
        draw = partial(restoration_plots.scattered, panels, width_px=960)
        alt = f"SNR gain of every picture of {test} by kind of blur and light."
        name = f"harm_{_file(test)}"
        figures.append(StudyFigure(name, "harm", rows, draw, "", str(test), alt, 960))
    return figures


def _file(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)


def _worst(study: Study, test: str, rows: pd.DataFrame) -> list[StudyFigure]:
    path = Path(study.folder) / "harm_tests" / f"{test}.npz"
    if not path.exists():
        return []
    figures = []
    with np.load(path) as stored:
        count = len({name.partition("/")[0] for name in stored.files})
        for k in range(count):
            picture, blur, photons = stored[f"{k}/what"].tolist()
            case = (rows["picture"] == picture) & (rows["blur"] == blur)
            case = rows[case & (rows["photons"] == float(photons))].set_index("method")["gain"]
            panels = [(_caption(name, case), stored[f"{k}/{name}"]) for name in SHOWN]
            draw = partial(restoration_plots.pictures, panels, pictures.levels_of(panels[0][1]))
            title = f"{test}: {picture}, {BLURS[blur].title}, {photons} photons"
            table = case.rename("snr_gain_db").reset_index()
            name = f"harm_{_file(test)}_{k}"
            figures.append(StudyFigure(name, name, table, draw, "", title, title, 1040, "jpg"))
    return figures


def _caption(name: str, gains: pd.Series) -> str:
    if name == "sharp":
        return "Sharp"
    label = style.method_label(name)
    return label if name == "none" else f"{label}\n{style.signed(gains[name])} dB"


def parts(study: Study) -> list[Part]:
    table = harm_table(study)
    if table is None:
        return []
    found = [
        Part(
            words=[INTRO],
            figures=gain_figures(study),
            tables=[("", table)],
            data=["harm_summary.csv", "harm.csv"],
            link_figures=False,
        )
    ]
    tests = study.table("harm.csv").groupby("test", sort=False)
    if worst := [figure for test, rows in tests for figure in _worst(study, str(test), rows)]:
        found.append(Part("The worst pictures", words=[WORST], figures=worst, link_figures=False))
    return found


def cautions(study: Study) -> list[Caution]:
    return [Caution(words) for words in warnings(study)]


SECTION = Section("harm", "No harm", "No harm", parts, cautions=cautions, score=score)
