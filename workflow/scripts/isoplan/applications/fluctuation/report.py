"""What the report says of simulated sequences: how near every method comes to the truth, and what is not reached."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from isoplan.applications.fluctuation.methods import OURS, SHOWN
from isoplan.report import plots, restoration_plots, style
from isoplan.report.results import ResultTable, Study
from isoplan.report.section import Bar, Caution, Part, Score, Section, StudyFigure
from isoplan.report.tables import Cell, Table

TABLE = "fluctuation.csv"
LABELS = {
    "mean": "Mean",
    "deconvolved": "Deconvolved mean",
    "deconvolved-tv": "Deconvolved mean, TV",
    "sofi": "SOFI (cross-cumulants, restored)",
    "colorme-l1": "COL0RME, L1",
    "colorme-cel0": "COL0RME, CEL0",
    "colorme-tv": "COL0RME, TV",
    "colorme-oracle": "COL0RME, best choice (oracle)",
    "covariance": "Covariance alone",
    "likelihood": "Covariance likelihood (ours)",
    "fluogan-published": "FluoGAN, published physics",
    "fluogan": "FluoGAN, generalised",
    "fluogan-no-critic": "FluoGAN without critic",
    "fluogan-from-likelihood": "FluoGAN, started at ours",
    "srrf": "SRRF (nanopyx)",
    "esrrf": "eSRRF (nanopyx)",
    "vae-sofi": "SOFI on denoised frames (VAE)",
    "vae-likelihood": "Ours on denoised frames (VAE)",
    "truth": "Truth",
}
SHORT = {  # in the head of the table
    "deconvolved": "Deconv.",
    "deconvolved-tv": "Deconv. TV",
    "sofi": "SOFI",
    "colorme-l1": "L1",
    "colorme-cel0": "CEL0",
    "colorme-tv": "TV",
    "colorme-oracle": "Oracle",
    "covariance": "Covariance",
    "likelihood": "Ours",
    "fluogan-published": "FG published",
    "fluogan": "FG general",
    "fluogan-no-critic": "No critic",
    "fluogan-from-likelihood": "FG from ours",
    "srrf": "SRRF",
    "esrrf": "eSRRF",
    "vae-sofi": "VAE, SOFI",
    "vae-likelihood": "VAE, ours",
}
COLOURS = {
    "mean": "#8C9199",
    "deconvolved": "#D98200",
    "deconvolved-tv": "#F0B95A",
    "sofi": "#B0468C",
    "colorme-l1": "#6E9F2E",
    "colorme-cel0": "#999933",
    "colorme-tv": "#12956E",
    "colorme-oracle": "#0B5B43",
    "covariance": "#56B4E9",
    "likelihood": "#005EA8",
    "fluogan-published": "#E6A0C4",
    "fluogan": "#A63D2F",
    "fluogan-no-critic": "#C9B28F",
    "fluogan-from-likelihood": "#6A4FA3",
    "srrf": "#7A5C3E",
    "esrrf": "#3E7C8C",
    "vae-sofi": "#E07B91",
    "vae-likelihood": "#2B8CA6",
}
DRAWS, COVERED = 2000, (0.05, 0.95)  # of the bootstrap, and its 90 % interval
LITTLE_E, FAST = (
    20,
    0.5,
)  # background up to which numbers are to be right; rate from which switching is fast

# Keys of a test that make the same scene harder, one group at a time; and those that do not tell of it.
HARDER = [
    {key}
    for key in (
        *("frames", "photons", "bleaching_frames", "out_of_focus_per_um2", "drift_px", "flicker"),
        *("psf_shape", "excess", "wrong_gain", "wrong_fwhm"),
    )
] + [{"on_frames", "off_frames"}]
UNASKED = ("name", "seeds", "methods")

INTRO = (
    "Emitters on known structures were simulated, and each sequence of frames was made finer by all methods, which were "
    "told the camera and the PSF, but not the drift and the flicker. PSNR compares estimate and truth, both blurred by a "
    "Gaussian of 25 nm (standard deviation), with the factor that fits best. The Jaccard index (J) matches "
    "pixels one to one within 1.5 fine pixels; its threshold is set by a rule that does not know the truth. Ours gives "
    "the deconvolved mean where it refuses; how often it does is given."
)


def named(study: Study) -> list[dict]:
    """The tests that the study names."""
    return study.config.get("fluctuation_tests") or []


def scores(study: Study) -> pd.DataFrame:
    """fluctuation.csv of these tests; it has no rows if nothing was simulated."""
    rows = study.table(TABLE)
    return rows[rows["test"].isin([test["name"] for test in named(study)])]


def wide(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One metric: a row for each (test, seed), a column for each method; tests and methods in their order. Empty if unknown."""
    own = rows[rows["metric"] == metric]
    if own.empty:
        return pd.DataFrame()
    table = own.pivot(index=["test", "seed"], columns="method", values="value")
    order = [name for name in LABELS if name in table]
    return table.reindex(columns=order).reindex(own["test"].unique(), level="test")


@dataclass(frozen=True)
class Mean:
    """A mean with its 90 % interval (NaN with one sequence), over so many tests and sequences."""

    value: float
    low: float
    high: float
    tests: int
    sequences: int

    def words(self, decimals: int = 2, unit: str = "") -> str:
        value = style.signed(self.value, decimals) + unit
        between = style.interval(self.low, self.high, decimals)
        return f"{value} {between}" if between else value


def mean_of(values: pd.Series) -> Mean:
    """Over tests and sequences, by their (test, seed).

    The interval is a bootstrap: tests are drawn, and the numbers of sequences, for all tests at once, as those of one
    number have the same structure. One number alone gives no interval.
    """
    grid = values.dropna().unstack("seed")
    numbers = grid.to_numpy()
    tests, seeds = numbers.shape
    rng = np.random.default_rng(0)
    means = []
    for _ in range(DRAWS if seeds > 1 else 0):
        drawn = numbers[rng.integers(tests, size=tests)][:, rng.integers(seeds, size=seeds)]
        if np.isfinite(drawn).any():
            means.append(np.nanmean(drawn))
    ends = np.quantile(means, COVERED) if means else (np.nan, np.nan)
    count = int(np.isfinite(numbers).sum())
    return Mean(float(grid.mean(axis=1).mean()), *map(float, ends), tests, count)


def fluctuating(rows: pd.DataFrame) -> pd.DataFrame:
    """Without static controls: those have no rate."""
    true = rows[(rows["method"] == "truth") & (rows["metric"] == "rate")]
    return rows[rows["test"].isin(true["test"])]


def against(rows: pd.DataFrame, rival: str, metric: str, ours: str = "likelihood") -> Mean | None:
    """Ours less a rival, on the same sequences that fluctuate."""
    table = wide(fluctuating(rows), metric)
    if ours not in table or rival not in table:
        return None
    gains = (table[ours] - table[rival]).dropna()
    return mean_of(gains) if len(gains) else None


def of_methods(rows: pd.DataFrame, metric: str) -> pd.Series:
    """The mean of each method over the tests that fluctuate."""
    table = wide(fluctuating(rows), metric)
    return table.groupby("test").mean().mean() if len(table) else pd.Series(dtype=float)


def best_rival(rows: pd.DataFrame) -> str | None:
    """The method that is not ours with the highest mean PSNR, oracles included."""
    means = of_methods(rows, "psnr_db")
    means = means.drop([name for name in OURS if name in means])
    return str(means.idxmax()) if len(means) else None


def headline(rows: pd.DataFrame) -> tuple[str, str]:
    """Ours against the best rival: in short, and in full."""
    rival = best_rival(rows)
    gain = rival and against(rows, rival, "psnr_db")
    if not gain:
        short = "Ours is compared with nothing"
        return short, f"{short}: no sequence fluctuates and has another method too."
    found = against(rows, rival, "jaccard")
    verdict = "comes nearer to the truth than"
    if np.isnan(gain.low) or gain.low <= 0 <= gain.high:
        verdict = "does not clearly differ from"
    elif gain.high < 0:
        verdict = "stays farther from the truth than"
    certain = (
        "no interval, as there is one sequence"
        if np.isnan(gain.low)
        else "90 % interval in brackets"
    )
    where = f"{style.count(gain.sequences, 'sequence')} of {style.count(gain.tests, 'test')} that fluctuate"
    return (
        f"Ours {verdict} {LABELS[rival]}",
        f"Against {LABELS[rival]}, the best of the others, ours has {gain.words(2, ' dB')} of PSNR and {found.words()} of "
        f"the Jaccard index on average ({certain}), paired over {where}.",
    )


def method_table(rows: pd.DataFrame) -> Table:
    """PSNR and Jaccard index of each test and method: means over the sequences."""
    psnr, found = (
        wide(rows, metric).groupby("test", sort=False).mean() for metric in ("psnr_db", "jaccard")
    )
    refused = wide(rows, "refused")
    cells = []
    for test, row in psnr.iterrows():
        line = [Cell(str(test))]
        for name, value in row.items():
            text = f"{style.fixed(value, 1)} / {style.fixed(found.loc[test, name])}"
            line.append(Cell(text, best=value == row.max()))
        share = (
            refused.loc[test].mean().get("likelihood", np.nan) if test in refused.index else np.nan
        )
        cells.append([*line, Cell(style.percent(share))])
    head = ["Test", *(SHORT.get(name, LABELS[name]) for name in psnr), "Refused"]
    return Table(head, cells, best="highest PSNR of the test")


@dataclass(frozen=True)
class Goal:
    """What ours is to reach: in words, what was found, and whether that is it (None: not asked of these tests)."""

    words: str
    found: str
    reached: bool | None


def goals(rows: pd.DataFrame, tests: list[dict]) -> list[Goal]:
    """What is to be reached, on this study's tests."""
    return [
        *_gain_goals(rows),
        _dip_goal(rows, tests),
        *_number_goals(rows, tests),
        *_refusal_goals(rows, tests),
    ]


def _gain_goals(rows: pd.DataFrame) -> list[Goal]:
    made = []
    least = (("colorme-oracle", 1.0, 0.03), ("sofi", 3.0, 0.2))
    for rival, decibels, share in least:
        for metric, most, unit in (("psnr_db", decibels, " dB"), ("jaccard", share, "")):
            words = f"{style.signed(most)}{unit} {'of J ' if not unit else ''}over {LABELS[rival]}"
            gain = against(rows, rival, metric)
            if gain is None:
                made.append(Goal(words, "not compared", None))
                continue
            sure = not np.isnan(gain.low) and gain.low > 0
            made.append(Goal(words, gain.words(2, unit), bool(gain.value >= most and sure)))
    return made


def _named(tests: list[dict], wanted: Callable[[dict], bool]) -> list[str]:
    return [test["name"] for test in tests if wanted(test)]


def _told(test: dict) -> bool:
    """Whether the methods of a test are told what is right."""
    return test["wrong_gain"] == 1 and test["wrong_fwhm"] == 1


def _values(rows: pd.DataFrame, names: list[str], metric: str) -> pd.DataFrame:
    return wide(rows[rows["test"].isin(names)], metric)


def _dip_goal(rows: pd.DataFrame, tests: list[dict]) -> Goal:
    words = "a dip of at least 0.3 between lines 125 nm apart"
    names = _named(
        tests, lambda t: t["structure"] == "lines" and t["spacing_nm"] == 125 and _told(t)
    )
    table = _values(rows, names, "dip")
    if "likelihood" not in table:
        return Goal(words, "not simulated", None)
    dip = mean_of(table["likelihood"])
    return Goal(
        words, f"{style.fixed(dip.value)} {style.interval(dip.low, dip.high, 2)}", dip.value >= 0.3
    )


def _number_goals(rows: pd.DataFrame, tests: list[dict]) -> list[Goal]:
    """Total emission, (1-p)I and k_on + k_off where there is little background and nothing is wrong or moves."""

    def plain(test: dict) -> bool:
        still = not (test["drift_px"] or test["flicker"] or test["out_of_focus_per_um2"])
        return test["background_e"] <= LITTLE_E and test["off_frames"] > 0 and still and _told(test)

    def rate(test: dict) -> float:
        return 1 / test["on_frames"] + 1 / test["off_frames"]

    little = f"background up to {LITTLE_E} electrons"
    fast = _named(tests, lambda t: plain(t) and rate(t) >= FAST)
    slow = _named(tests, lambda t: plain(t) and rate(t) < FAST)
    asked = (
        ("the total emission", "total", [*fast, *slow], 0.1),
        ("(1 - p) I", "amplitude_e", [*fast, *slow], 0.1),
        ("k_on + k_off of fast switching", "rate", fast, 0.25),
        ("k_on + k_off of slow switching", "rate", slow, 0.4),
    )
    made = _interval_goals(rows, [*fast, *slow], little)
    for what, metric, names, most in asked:
        words = f"{what} within {style.percent(most)} on average, {little}"
        table = _values(rows, names, metric)
        if "likelihood" not in table:
            made.append(Goal(words, "not simulated", None))
            continue
        true = table.get("truth", 1.0)
        off = mean_of(table["likelihood"] / true - 1)
        between = style.interval(100 * off.low, 100 * off.high, 0)
        text = f"{style.signed(round(100 * off.value) + 0.0, 0)} % {between}"
        made.append(Goal(words, text, abs(off.value) <= most))
    return made


def _interval_goals(rows: pd.DataFrame, names: list[str], where: str) -> list[Goal]:
    made = []
    for what, metric in (
        ("the total emission", "total_held"),
        ("(1 - p) I", "amplitude_held"),
        ("k_on + k_off", "rate_held"),
    ):
        words = f"intervals of 95 % hold {what} in at least 90 %, {where}"
        table = _values(rows, names, metric)
        if "likelihood" not in table:
            made.append(Goal(words, "not simulated", None))
            continue
        held = table["likelihood"].dropna()
        text = f"{style.percent(held.mean())} of {len(held)}"
        made.append(Goal(words, text, bool(held.mean() >= 0.9)))
    return made


def _refusal_goals(rows: pd.DataFrame, tests: list[dict]) -> list[Goal]:
    made = []
    for words, static, errs in (
        ("static sequences that are not refused, at most 5 %", True, lambda refused: 1 - refused),
        ("fluctuating sequences that are refused, at most 5 %", False, lambda refused: refused),
    ):
        names = _named(tests, lambda t, static=static: (t["off_frames"] == 0) == static)
        table = _values(rows, names, "refused")
        if "likelihood" not in table:
            made.append(Goal(words, "not simulated", None))
            continue
        wrong = errs(table["likelihood"])
        text = f"{int(wrong.sum())} of {len(wrong)}"
        made.append(Goal(words, text, bool(wrong.mean() <= 0.05)))
    return made


def harder(tests: list[dict]) -> tuple[dict | None, list[tuple[dict, str]]]:
    """The test that most others make harder in one thing; and those, each with what differs from it.

    Examples
    --------
    >>> plain = {"name": "a", "drift_px": 0, "flicker": 0}
    >>> base, made = harder([plain, {**plain, "name": "b", "drift_px": 1}, {**plain, "name": "c", "flicker": 0.1}])
    >>> base["name"], [words for _, words in made]
    ('a', ['drift_px 1', 'flicker 0.1'])
    """

    def against(base: dict) -> list[tuple[dict, str]]:
        found = []
        for test in tests:
            keys = [key for key in test if key not in UNASKED and test[key] != base[key]]
            if keys and any(set(keys) <= group for group in HARDER):
                found.append(
                    (
                        test,
                        ", ".join(
                            f"{key} {test[key]:g}" if key != "psf_shape" else str(test[key])
                            for key in keys
                        ),
                    )
                )
        return found

    found = [(base, against(base)) for base in tests]
    base, made = max(found, key=lambda one: len(one[1]), default=(None, []))
    return (base, made) if made else (None, [])


def harder_table(rows: pd.DataFrame, tests: list[dict]) -> Table | None:
    """What each thing costs every method, on sequences of the same numbers; None without such tests."""
    base, made = harder(tests)
    psnr, total = wide(rows, "psnr_db"), wide(rows, "total")
    known = [(test, words) for test, words in made if test["name"] in psnr.index.unique("test")]
    if base is None or base["name"] not in psnr.index.unique("test") or not known:
        return None
    plain = psnr.loc[base["name"]]
    names = [
        n for n in ("likelihood", "covariance", "colorme-l1", "sofi", "deconvolved") if n in psnr
    ]
    cells = []
    for test, words in known:
        lost = (psnr.loc[test["name"]] - plain).mean()
        off = 100 * (total.loc[test["name"]].mean().get("likelihood", np.nan) - 1)
        line = [Cell(words), *(Cell(style.signed(lost[name], 1)) for name in names)]
        cells.append([*line, Cell(f"{style.signed(off, 0)} %")])
    head = ["What differs", *(SHORT.get(name, name) for name in names), "Total, ours"]
    return Table(head, cells)


def goal_table(found: list[Goal]) -> Table:
    """What is to be reached, what was, and whether that is enough."""
    verdicts = {True: "reached", False: "NOT reached", None: "not asked"}
    rows = [
        [Cell(goal.words), Cell(goal.found), Cell(verdicts[goal.reached], best=bool(goal.reached))]
        for goal in found
    ]
    return Table(["What ours is to reach", "Found", ""], rows, best="reached", numeric=False)


def missed(found: list[Goal]) -> str:
    """What is not reached, plainly."""
    short = [f"{goal.words} (found: {goal.found})" for goal in found if goal.reached is False]
    return f"Not reached: {'; '.join(short)}." if short else ""


def unknown(found: list[Goal]) -> str:
    """What these tests do not say."""
    left = [goal.words for goal in found if goal.reached is None]
    return f"Not known, as these tests do not ask it: {'; '.join(left)}." if left else ""


def psnr_figure(rows: pd.DataFrame, width_px: int = 960) -> Figure:
    """PSNR of every sequence, and a line for each mean, by test and method."""
    table = wide(rows, "psnr_db")
    tests = list(table.index.unique("test"))
    step = 0.8 / len(table.columns)
    figure = Figure(figsize=(width_px / 100, 0.9 + 0.34 * max(len(tests), 4)), layout="constrained")
    axes = figure.subplots()
    for k, name in enumerate(table):
        colour = COLOURS.get(name, style.QUIET)
        for place, test in enumerate(tests):
            at = place + (k - (len(table.columns) - 1) / 2) * step
            values = table.loc[test, name].dropna().to_numpy()
            axes.plot(values, np.full(len(values), at), "o", ms=2.4, mew=0, alpha=0.5, color=colour)
            if len(values):
                label = LABELS[name] if not place else None
                axes.plot(values.mean(), at, "|", ms=9, mew=2, color=colour, label=label)
    for place in range(1, len(tests), 2):
        axes.axhspan(place - 0.5, place + 0.5, color="#F6F7F8", lw=0, zorder=0)
    axes.set_yticks(range(len(tests)), tests)
    axes.set_ylim(len(tests) - 0.5, -0.5)
    axes.set_xlabel("PSNR (dB)")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=style.RULE, lw=0.6)
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)
    figure.legend(loc="outside upper left", ncols=4, fontsize=8)
    return figure


def picture_figure(panels: list[tuple[str, np.ndarray]], width_um: float) -> Figure:
    """Pictures in one row of grey, each with its own scale and a bar in micrometres."""
    shown = [(title, picture / max(np.quantile(picture, 0.995), 1e-9)) for title, picture in panels]
    figure = restoration_plots.pictures(shown, (0.0, 1.0))
    for axes in figure.axes[: len(shown)]:
        plots.scale_bar(axes, width_um, "µm")
    return figure


def _pictures(study: Study, tests: list[dict], rows: pd.DataFrame) -> list[StudyFigure]:
    path = Path(study.folder) / "fluctuation_tests" / f"{tests[0]['name']}.npz" if tests else None
    if path is None or not path.exists():
        return []
    test = tests[0]
    psnr = wide(rows, "psnr_db").loc[(test["name"], 0)]
    with np.load(path) as stored:
        panels = [
            (_caption(name, psnr), stored[name]) for name in (*SHOWN, "truth") if name in stored
        ]
    width_um = test["size_px"] * test["pixel_nm"] / 1000
    draw = partial(picture_figure, panels, width_um)
    title = (
        f"The first sequence of {test['name']}, all blurred by 25 nm, each with its own grey scale"
    )
    table = psnr.rename("psnr_db").reset_index()
    return [
        StudyFigure(
            "fluctuation_pictures",
            "fluctuation_pictures",
            table,
            draw,
            "",
            title,
            title,
            1040,
            "jpg",
        )
    ]


def _caption(name: str, psnr: pd.Series) -> str:
    return LABELS[name] if name == "truth" else f"{LABELS[name]}\n{style.fixed(psnr[name], 1)} dB"


def parts(study: Study) -> list[Part]:
    rows, tests = scores(study), named(study)
    if rows.empty:
        return []
    found = goals(rows, tests)
    means = wide(rows, "psnr_db").reset_index()
    shown = StudyFigure(
        *("fluctuation_psnr", "fluctuation_psnr", means, partial(psnr_figure, rows), ""),
        "PSNR of every sequence (dots) and their means (bars)",
        "PSNR of every test and method.",
        960,
    )
    compared = Part(
        words=[". ".join(headline(rows)), INTRO],
        figures=[shown],
        tables=[("PSNR (dB) / Jaccard index, means over the sequences", method_table(rows))],
        data=[TABLE],
        link_figures=False,
    )
    looked = Part("What it looks like", figures=_pictures(study, tests, rows), link_figures=False)
    told = Part(
        "What is reached, and what is not",
        words=[missed(found), unknown(found)],
        tables=[("", goal_table(found))],
    )
    cost = harder_table(rows, tests)
    lost = Part(
        "What makes it harder",
        words=[
            f"Each test is {harder(tests)[0]['name']} with one thing changed. Changes of PSNR in dB, on sequences of the same "
            "numbers, and how far the total emission of ours is off."
        ]
        if cost
        else [],
        tables=[("", cost)] if cost else [],
    )
    return [
        compared,
        *([looked] if looked.figures else []),
        *([lost] if cost else []),
        told,
    ]


def score(study: Study) -> Score | None:
    """Ours against the best rival; None if nothing was simulated."""
    rows = scores(study)
    if rows.empty:
        return None
    short, full = headline(rows)
    means = of_methods(rows, "jaccard")
    return Score(
        *(
            "plain",
            short,
            f"{full} Simulated sequences of fluctuating emitters, whose truth is known.",
        ),
        title="Jaccard index of the emitters' pixels, mean over the tests that fluctuate",
        bars=[
            Bar(LABELS[name], COLOURS.get(name, style.QUIET), value, style.fixed(value))
            for name, value in means.items()
        ],
        data=TABLE,
    )


def cautions(study: Study) -> list[Caution]:
    """What is not reached."""
    rows = scores(study)
    short = missed(goals(rows, named(study))) if len(rows) else ""
    return [Caution(f"Super-resolution from fluctuations. {short}")] if short else []


TABLES = (
    ResultTable(
        TABLE,
        "how near every method comes to the truth of simulated sequences",
        ("test", "seed", "method", "metric", "value"),
    ),
)
SECTIONS = [
    Section(
        "fluctuation",
        "Fluctuations",
        "Super-resolution from fluctuations",
        parts,
        TABLES,
        cautions=cautions,
        score=score,
    )
]
