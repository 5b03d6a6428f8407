"""The section on networks: their accuracy, robustness, uncertainty and training."""

from functools import partial

import pandas as pd

from isoplan.report import accuracy, lineup, plots, published, style, sureness
from isoplan.report.results import Network, Study
from isoplan.report.section import (
    NO_MOSAIC,
    SHOWN,
    Caution,
    Part,
    Score,
    Section,
    StudyFigure,
    and_more,
)
from isoplan.report.tables import Cell, Table

POOR_R2 = 0.5
ROW_LIMIT = 200
# At most this many figures of each kind are shown.
LIMITS = {
    "accuracy": 12,
    "robustness": 40,
    "learning": 24,
    "scatter": 24,
    "calibration": 30,
    "abstention": 16,
    "training": 24,
}
# With more pairs of network and test set, or more rows, the page shows them on demand.
OPEN_PAIRS, OPEN_ROWS = 6, 40
WORDS = {
    "accuracy": (
        "R² on patches with known PSF: 1 is perfect, 0 is no better than always estimating the mean. The axis is stretched "
        "towards 1. The line through a dot is its 95 % interval; an arrowhead at the edge stands for a value beyond it. "
        "a → b: trained on pictures of type a, tested on type b."
    ),
    "robustness": (
        "R² with degraded pictures. Strengths are those of the published test: Gaussian noise has a standard deviation of "
        "√(strength / 150) of the brightest pixel, Poisson noise has 8 photons there at strength 0.1, and 2 at 0.5. Bands are "
        "95 % intervals; dashed lines are networks trained without noise."
    ),
    "published": " Diamonds are published values, a triangle is an upper bound.",
    "learning": (
        "Accuracy by number of training samples and by size of the network. Each point is another network; bands are 95 % "
        "intervals."
    ),
    "scatter": (
        "Test patches with known PSF. The line is perfect agreement. Grey points are patches with too little texture, which "
        "R² does not include. If the network estimates its uncertainty, bright points are the uncertain ones."
    ),
    "calibration": (
        "For every estimate, the network gives an interval that should contain the truth in 90 % of the cases (green line; "
        "the green band is 85 to 95 %). This is tested by predicted uncertainty, by light, and by angle; n is the number of "
        "patches."
    ),
    "abstention": (
        "The error of the remaining patches if those with the widest intervals are left out. The more the curve falls, the "
        "better the network knows where it is wrong. The dashed line is at 20 %."
    ),
    "flags": (
        "How often networks recognise patches with usable texture, and raise the alarm on pictures that they were not made "
        "for (denoised, compressed, resampled, saturated, hazy)."
    ),
}
# Flags in regression.csv, which are not parameters, with column titles of their metrics.
FLAGS = {
    "validity": {"accuracy": "Texture judged correctly"},
    "alarm": {
        "false-alarms": "Raw pictures that raise the alarm",
        "found": "Processed pictures that raise the alarm",
    },
    "other_blur": {
        "false-alarms": "Blurs of the model taken for others",
        "found": "Other blurs that were recognised",
    },
    "mirror": {
        "accuracy": "PSFs told from their mirror images",
        "accuracy-if-sure": "The same, where the network is sure",
    },
}
# Whoever restores mosaics seldom looks at them.
FOLDED = "Curves of the training"


def regression_table(study: Study) -> Table | None:
    """A row for each network, test set and parameter, at the weakest degradation that was tested.

    Columns with a single value are described in the note. 95 % intervals stand below the values.
    """
    everything = study.table("regression.csv")
    everything = everything[~everything["parameter"].isin(FLAGS)]
    table = lineup.weakest(everything.assign(degradation=everything["degradation"].fillna("none")))
    if table.empty:
        return None
    keys = ["network", "psf_model", "train_set", "test_set", "degradation", "level", "parameter"]
    table = table.assign(level=table["level"].astype(str).str.removesuffix(".0"))
    table[keys] = table[keys].fillna("\u2013")
    # The mean over a single parameter equals it.
    alone = table.groupby(keys[:-1])["parameter"].transform("nunique") <= 2
    table = table[~(alone & (table["parameter"] == "mean"))]
    metrics = list(dict.fromkeys(table["metric"]))
    constant = [k for k in keys[:-1] if table[k].nunique() == 1]
    shown = ["parameter", *(k for k in keys[:-1] if k not in constant)]
    rows = []
    for key, part in table.groupby(keys, sort=False):
        named = dict(zip(keys, key, strict=True))
        unit = lineup.parameter_unit(study, named["network"], named["parameter"])
        named["parameter"] = style.with_unit(style.parameter_label(named["parameter"]), unit)
        values = {row["metric"]: row for row in part.to_dict("records")}
        count = part["n"].max()
        rows.append(
            [Cell(str(named[k])) for k in shown]
            + [_regression_cell(values.get(metric)) for metric in metrics]
            + [Cell(f"{count:,.0f}" if pd.notna(count) else "\u2013")]
        )
    names = {"psf_model": "PSF model", "R2": "R²", "r2": "R²"}
    head = [names.get(k, k.replace("_", " ").capitalize()) for k in shown]
    head += [names.get(metric, metric) for metric in metrics]
    fixed = "; ".join(f"{k.replace('_', ' ')} {table[k].iloc[0]}" for k in constant)
    notes = [f"All rows: {fixed.replace('psf', 'PSF')}."] if fixed else []
    if "low" in table and table["low"].notna().any():
        notes.append("Brackets are 95 % intervals, by bootstrap over scenes.")
    if len(rows) > ROW_LIMIT:
        notes.append(f"These are the first {ROW_LIMIT} of {len(rows)} rows; the CSV has all.")
    if everything["level"].nunique() > 1:
        notes.append("Stronger degradations are shown by the curves above and in the CSV.")
    return Table([*head, "n"], rows[:ROW_LIMIT], " ".join(notes))


def _regression_cell(row: dict | None) -> Cell:
    if row is None or not style.is_number(row["value"]):
        return Cell("\u2013")
    text = partial(style.fixed, decimals=3) if row["metric"].upper() == "R2" else style.significant
    low, high = row.get("low"), row.get("high")
    known = style.is_number(low) and style.is_number(high)
    return Cell(text(row["value"]), notes=[f"[{text(low)}, {text(high)}]"] if known else [])


def flag_table(study: Study) -> Table | None:
    """How well networks recognise patches without texture, and pictures that they were not made for."""
    table = study.table("regression.csv")
    table = lineup.weakest(table[table["parameter"].isin(FLAGS)])
    if table.empty:
        return None
    columns = [(p, m) for p, metrics in FLAGS.items() for m in metrics]
    present = set(zip(table["parameter"], table["metric"], strict=True))
    columns = [column for column in columns if column in present]
    rows = []
    for (network, test_set), part in table.groupby(["network", "test_set"], sort=False):
        values = {(r["parameter"], r["metric"]): r for r in part.to_dict("records")}
        cells = [_share_cell(values.get(column)) for column in columns]
        rows.append([Cell(f"{network} on {test_set}"), *cells])
    head = ["Network and test set", *(FLAGS[p][m] for p, m in columns)]
    return Table(head, rows[:ROW_LIMIT])


def _share_cell(row: dict | None) -> Cell:
    if row is None:
        return Cell("\u2013")
    limits = [style.percent(row.get(key)) for key in ("low", "high")]
    notes = [f"[{limits[0]}, {limits[1]}]"] if "\u2013" not in limits else []
    return Cell(style.percent(float(row["value"])), notes=notes)


def curve_figures(network: Network) -> list[StudyFigure]:
    """A figure of the losses over training, and one of each other column that the network's task records."""
    history = network.history
    if history.empty:
        return []
    samples, name = history["samples"].to_numpy(float), f"training_{network.name}"
    best = history.loc[history["best"].astype(str).str.lower().isin(["true", "1"]), "samples"]
    kept = float(best.iloc[-1]) if len(best) else None
    columns = list(history.columns)
    told = columns[columns.index("learning_rate") + 1 : columns.index("best")]
    groups = {"loss": [column for column in told if column.endswith("_loss")]}
    groups |= {c.removeprefix("validation_"): [c] for c in told if c not in groups["loss"]}
    figures = []
    for kind, drawn in groups.items():
        lines = _curves(history, drawn)
        y_label = {"r2": "R²"}.get(kind, kind.replace("_", " "))
        log = kind == "loss" and all((values > 0).all() for values, _ in lines.values())
        draw = partial(plots.curves, samples, lines, y_label=y_label, log=log, best=kept)
        label, (values, _) = list(lines.items())[-1]
        alt = f"{y_label} of {network.name} over training; {label} ends at {style.significant(float(values[-1]))}."
        checked = " on the validation set" if drawn[0] == f"validation_{kind}" else ""
        title = f"{y_label[:1].upper()}{y_label[1:]}{checked}"
        figures.append(
            StudyFigure(f"{name}_{kind}", name, history, draw, network.name, title, alt, 460)
        )
    return figures


def _curves(history: pd.DataFrame, columns: list[str]) -> dict:
    """(values, colour) of columns of history.csv by label; training is grey, validation is blue."""
    known = {"train": style.method_colour("none"), "validation": style.method_colour("estimated")}
    others, lines = iter(style.OTHER_COLOURS), {}
    for column in columns:
        label = column.removesuffix("_loss")
        label = "validation" if label.startswith("validation_") else label
        colour = known.get(label) or next(others)
        label = "training" if label == "train" else label.replace("_", " ")
        lines[label] = history[column].to_numpy(float), colour
    return lines


def score(study: Study) -> Score | None:
    """Median R2 of each architecture; None if no network was tested."""
    scores = lineup.weakest(lineup.scores(study))
    clean = scores[(scores["parameter"] != "mean") & scores["value"].notna()]
    if clean.empty:
        return None
    best = clean.loc[clean["value"].idxmax()]
    words = (
        f"{style.count(clean['network'].nunique(), 'network')} estimating the PSF from single patches. "
        f"Best: {best['network']}, {style.parameter_label(best['parameter'])}, "
        f"R² {style.fixed(float(best['value']), 3)}."
    )
    medians = {
        style.network_label(key): clean.loc[clean["architecture"] == key, "value"]
        for key in style.in_order(clean["architecture"], style.NETWORK_LABELS)
    }
    (first, values), *others = medians.items()
    headline = f"Median R² {style.fixed(float(values.median()), 2)} over {style.count(len(values), 'tested parameter')}"
    if others:
        headline = f"{first}: {headline[:1].lower()}{headline[1:]}"
        beside = [f"{n} {style.fixed(float(v.median()), 2)} ({len(v)})" for n, v in others]
        words += f" Others: {', '.join(beside)}."
    return Score(
        *("plain", headline, words),
        title="Median R² over parameters and test sets",
        bars=lineup.bars(clean, _median),
        data="regression.csv",
        question="How good the networks are",
        note=NO_MOSAIC,
        sound=f"Every network estimates every parameter with an R² of at least {POOR_R2} at the weakest degradation.",
        beside=False,
    )


def _median(rows: pd.DataFrame) -> tuple[float, str]:
    median = float(rows["value"].median())
    return median, style.fixed(median, 3)


def _poor_parameters(study: Study) -> list[str]:
    """Warnings of parameters that networks estimate poorly."""
    table = lineup.weakest(lineup.scores(study))
    poor = table[(table["parameter"] != "mean") & (table["value"] < POOR_R2)]
    # The baseline without a network is only for comparison.
    poor = poor[~poor["architecture"].isin(lineup.NOT_TRAINED)]
    return [
        f"{row.network} estimates {style.parameter_label(row.parameter)} poorly on {row.test_set} "
        f"(R² {style.fixed(row.value, 2)}). Do not rely on it for such pictures; train with more samples of this kind."
        for row in poor.head(SHOWN).itertuples()
    ] + and_more(len(poor), f"parameters with R² below {POOR_R2}")


def _miscalibrated(study: Study) -> list[str]:
    """Warnings of intervals that are too narrow."""
    table = study.table("calibration.csv")
    table = table[table["group"] == "all"]
    table = table.assign(coverage=table["coverage"].astype(float))
    # Intervals that are too wide are no reason for a warning: on sharp scenes, they allow for soft ones.
    wrong = table[table["coverage"] < style.CALIBRATED[0]]
    if len(wrong) > SHOWN // 2:
        low, high = wrong["coverage"].min(), wrong["coverage"].max()
        return [
            f"In {len(wrong)} of {len(table)} cases (network, test set, parameter), the 90 % interval contains the truth in "
            f"less than 85 % of the patches ({100 * low:.1f} to {100 * high:.1f} %). True errors are larger than these "
            "intervals say."
        ]
    return [
        f"{row.network} on {row.test_set}: its 90 % interval of {style.parameter_label(row.parameter)} contains the truth "
        f"in {100 * row.coverage:.1f} % of the patches. True errors are larger than it says."
        for row in wrong.itertuples()
    ]


def parts(study: Study) -> list[Part]:
    robustness = WORDS["robustness"]
    if len(published.compare(study)):
        robustness += WORDS["published"]
    pairs = accuracy.scatter_figures(study)
    shown = len({figure.group for figure in pairs[: LIMITS["scatter"]]})
    training = [figure for network in study.networks for figure in curve_figures(network)]
    found = [
        _drawn("Comparison of networks", "accuracy", accuracy.accuracy_figures(study)),
        _drawn("Robustness", "robustness", accuracy.robustness_figures(study), words=[robustness]),
        _drawn("Learning curve", "learning", accuracy.learning_figures(study)),
        _drawn(
            *("True against estimated", "scatter", pairs),
            fold=f"{shown} pairs of network and test set" if shown > OPEN_PAIRS else "",
        ),
        _accuracy(study),
        _drawn(
            *("Does the network know how sure it is?", "calibration"),
            sureness.calibration_figures(study),
            remarks=sureness.calibration_words(study),
        ),
        _drawn(
            *("Error without the least certain patches", "abstention"),
            sureness.abstention_figures(study),
            remarks=sureness.abstention_words(study),
        ),
    ]
    if flags := flag_table(study):
        found.append(Part("Texture and alarm", words=[WORDS["flags"]], tables=[("", flags)]))
    found.append(
        _drawn("Training", "training", training, words=[], fold=FOLDED if study.mosaics else "")
        or Part("Training", remarks=["No network was trained in this study."])
    )
    return [part for part in found if part]


def _drawn(title: str, kind: str, figures: list[StudyFigure], **more) -> Part | None:
    """A part with figures; None if there are none."""
    if not figures:
        return None
    return Part(title, figures=figures, limit=LIMITS[kind], **{"words": [WORDS.get(kind)], **more})


def _accuracy(study: Study) -> Part:
    table = regression_table(study)
    if table is None:
        return Part(remarks=["No network was tested in this study."])
    return Part(
        "Accuracy per parameter",
        words=[table.note],
        tables=[("", table)],
        fold=f"All {len(table.rows)} rows" if len(table.rows) > OPEN_ROWS else "",
        data=["regression.csv", "predictions.csv"],
    )


def cautions(study: Study) -> list[Caution]:
    return [Caution(words) for words in _poor_parameters(study) + _miscalibrated(study)]


SECTION = Section(
    "network",
    "Network",
    "How well the network estimates the PSF",
    parts,
    cautions=cautions,
    score=score,
)
