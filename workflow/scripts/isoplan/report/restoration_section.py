"""The section on restoration tests, including the sweeps of iterations and TV weights."""

from isoplan.report import style, sweeps
from isoplan.report.restoration_tests import (
    Test,
    budget_figure,
    budget_table,
    gain_figures,
    gain_table,
    picture_figure,
    published,
    read_tests,
    share_words,
)
from isoplan.report.results import Study
from isoplan.report.section import Bar, Caution, Part, Score, Section

BLIND = ("blind", "deepinv-blind", "wiener", "unsharp", "constant")
# Goals, which lead to warnings if they are missed.
KNOWN_SHARE_GOAL, MODEL_GOAL_DB, WORSE_GOAL = 0.95, 0.15, 0.02
SAME_DB = 0.05  # a smaller gain is not visible
INTRO = (
    "Each cell of a small picture is blurred by its own random PSF. The picture is exposed, and then restored with known, "
    "estimated and other PSFs; all methods have the same pictures. Gains are over the degraded picture (SNR: power of the "
    "sharp picture over that of the error, without 16 px at the border). Brackets are 95 % intervals by bootstrap over "
    "pictures."
)
SEAMS = (
    "Where hard cells meet, light is lost or doubled. On bright empty ground, this is the largest error, and only the exact "
    "PSFs can correct it. Away from these seams means further from them than a quarter of a cell."
)
BESIDE_PUBLISHED = (
    "Published values (thesis, Table 4.1; grey diamonds) are only for orientation: their pictures, ranges of PSFs and noise "
    "differ, and are partly unknown."
)
BUDGET = (
    "SNR gain lost from one method to the next, starting from known PSFs without camera noise. Bars to the right are "
    "losses; the line is the 95 % interval. One PSF for the whole picture is only in the table."
)
MEDIAN = "The picture of each test with the median gain from estimated PSFs, with one grey scale for all methods."


def intro(tests: list[Test]) -> str:
    """The introduction of the section."""
    seams = any(metric == "SNR_gain_inside" for test in tests for metric, _ in test.rows)
    return f"{INTRO} {SEAMS}" if seams else INTRO


def score(study: Study) -> Score | None:
    """Gain of estimated PSFs as a share of that of known ones; None without tests."""
    tests = read_tests(study)
    if not tests:
        return None
    if {test.name for test in tests} == set(sweeps.choices(study)["test"]):
        # All tests are sweeps.
        return sweeps.score(study)
    headline, lead = _headline(tests)
    colour = style.method_colour("estimated")
    known = {test.name: (test.row("estimated") or {}).get("known_share") for test in tests}
    return Score(
        *("plain", headline, lead),
        title="Estimated PSFs: share of the gain with known ones",
        bars=[Bar(name, colour, share) for name, share in known.items() if style.is_number(share)],
        data="restoration_summary.csv",
        beside=False,
    )


def _headline(tests: list[Test]) -> tuple[str, str]:
    own = [t.row("estimated") for t in tests if t.matched and t.followed and t.row("estimated")]
    shares = [row.get("known_share") for row in own]
    shares = [share for share in shares if style.is_number(share)]
    if not shares:
        return f"{len(tests)} restoration test{'s' * (len(tests) > 1)}", ""
    low, high = style.percent(min(shares)), style.percent(max(shares))
    span = low if low == high else f"{low.removesuffix(' %')} to {high}"
    words = (
        f"PSFs estimated from the picture alone give {span} of the gain with known PSFs, if the network's PSF model is "
        "that of the blur and the map can follow the field."
    )
    return f"Estimated PSFs: {span} of the gain of known ones", words


def warnings(tests: list[Test]) -> list[str]:
    """Warnings of estimated PSFs that miss the goals, for each test."""
    return [
        f"{test.name} ({test.title}): {'; '.join(words)}. Train the network longer, or for this blur; until then look at "
        "restorations of such pictures by eye."
        for test in tests
        if (words := _shortcomings(test))
    ]


def _shortcomings(test: Test) -> list[str]:
    own, best = test.row("estimated"), test.row("best-of-model")
    if own is None:
        return []
    if own["mean"] < SAME_DB:
        what = "does harm" if own["mean"] < -SAME_DB else "gains nothing"
        grid = test.row("true-grid")
        known = f" (known ones on the map's grid: {style.signed(grid['mean'])} dB)" if grid else ""
        gain = style.signed(round(own["mean"], 2) + 0.0)
        return [f"restoring with estimated PSFs {what}, {gain} dB{known}"]
    found, share, worse = [], own.get("known_share"), own["worse_cells_share"]
    if test.matched:
        if style.is_number(share) and share < KNOWN_SHARE_GOAL:
            goal, inside = style.percent(KNOWN_SHARE_GOAL), test.row("estimated", "SNR_gain_inside")
            away = f" ({share_words(inside)} away from the seams)" if share_words(inside) else ""
            found.append(
                f"estimated PSFs reach {style.percent(share)} of the known PSFs' gain{away}, less than {goal}"
            )
    elif best and best["mean"] - own["mean"] > MODEL_GOAL_DB:
        short = style.fixed(best["mean"] - own["mean"])
        found.append(f"{short} dB below the nearest PSFs of the network's model")
    if style.is_number(worse) and worse > WORSE_GOAL:
        found.append(f"{100 * worse:.1f} % of the cells are worse than before")
    for method in BLIND:
        row = test.row(method)
        if (
            row
            and style.is_number(row["minus_estimated_high"])
            and row["minus_estimated_high"] >= 0
        ):
            ends = style.interval(-row["minus_estimated_high"], -row["minus_estimated_low"], 2)
            gap = f"{style.signed(-row['minus_estimated'])} dB {ends}"
            found.append(f"not clearly better than {style.method_label(method)} ({gap})")
    return found


def parts(study: Study) -> list[Part]:
    tests = read_tests(study)
    if not tests:
        return []
    words = intro(tests) + (f" {BESIDE_PUBLISHED}" if len(published(study)) else "")
    found = [
        Part(
            words=[words],
            figures=gain_figures(study, tests),
            tables=[("", gain_table(study, tests))],
            data=["restoration.csv"],
        )
    ]
    if budget := budget_figure(study, tests):
        tables = [("", budget_table(study, tests))]
        found.append(Part("Where the gain is lost", [BUDGET], figures=budget, tables=tables))
    if swept := sweeps.sweep_figures(study):
        tables = [("", sweeps.choice_table(study))]
        found.append(Part("How much to restore", [sweeps.INTRO], figures=swept, tables=tables))
    if pictures := [figure for test in tests for figure in picture_figure(study, test)]:
        # Their gains are in the table above.
        median = Part("The median pictures", [MEDIAN], figures=pictures, link_figures=False)
        found.append(median)
    return found


def cautions(study: Study) -> list[Caution]:
    return [Caution(words) for words in warnings(read_tests(study)) + sweeps.warnings(study)]


SECTION = Section(
    "restoration", "Restoration tests", "Restoration tests", parts, cautions=cautions, score=score
)
