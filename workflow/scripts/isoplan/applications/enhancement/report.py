"""What the report says of enhanced fields: how near each filter brings the input to the target, and by how much."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from isoplan.applications.enhancement import published
from isoplan.applications.enhancement.filters import FILTERS, RAW
from isoplan.applications.enhancement.scores import COMPARED, PLAIN, TRUTH
from isoplan.applications.enhancement.scores import known as known_metrics
from isoplan.applications.enhancement.trials import DOUBTS, PICTURES, SETTINGS, TARGET
from isoplan.applications.enhancement.trials import TRUTH as TRUE
from isoplan.applications.enhancement.whole import DOUBTED
from isoplan.report import style
from isoplan.report.results import ResultTable, Study
from isoplan.report.section import Bar, Caution, Part, Score, Section, StudyFigure
from isoplan.report.tables import Cell, Table

TABLE, SETTINGS_TABLE = "enhancement.csv", "enhancement_settings.csv"
LABELS = {
    RAW: "Input",
    **{name: one.label for name, one in FILTERS.items()},
    TARGET: "Target",
    TRUE: "Noise-free truth",
}
# What networks are compared by, with decimals; and what the input's counts tell.
GAINS = {"PSNR": 2, "SSIM": 3}
SHARES = {
    "doubted": "In doubt (%)",
    "doubted-again": "By a second exposure (%)",
    "planted-found": "Planted found (%)",
    "planted-told": "Told (%)",
    "planted-false": "Told falsely (%)",
}
SHARES_SAID = (
    "In doubt is the share of pixels that the input's own counts, or those of a second exposure, speak against by 4 standard "
    "deviations of their noise. Spots were planted into the networks' results: found are those that stand out more than 95 % of the "
    "places without one; told are those beyond 4 standard deviations, and told falsely are places without one."
)
ABREAST, TITLE_INCHES = 7, 0.35  # pictures beside each other, and the height of their names
COLOURS = {RAW: "#8C9199", "best": "#005EA8"}
DRAWS, COVERED = 2000, (0.025, 0.975)  # of the bootstrap, and its 95 % interval
INTRO = (
    "Pairs of the same fields by a poor detector (the input) and a good one (the target). The setting of each filter was "
    "chosen on training mosaics alone; all numbers are of test mosaics. Every result is brought to the target's brightness "
    "and contrast by a line first. PSNR refers to the target's range of values; mean squared errors are in counts² of "
    "the target. The target has noise of its own, which no method can foretell: the row of the noise-free truth, where it "
    "is known, says the best PSNR and MSE to expect. A noisy target rewards noise in gradient-MSE and Sharpness. Homogeneity "
    "is best near the target's. The FRC cut-off is the frequency up to which result and target have structure in common. "
    "Brackets are 95 % intervals: mosaics are drawn, and fields in them."
)


@dataclass(frozen=True)
class Mean:
    """A mean over fields with its 95 % interval, NaN where there are fewer than two fields."""

    value: float
    low: float
    high: float

    def words(self, decimals: int | None) -> str:
        if decimals is None:
            between = f" [{style.significant(self.low)}, {style.significant(self.high)}]"
            return style.significant(self.value) + (between if np.isfinite(self.low) else "")
        between = style.interval(self.low, self.high, decimals)
        return f"{style.fixed(self.value, decimals)} {between}".strip()


def named(study: Study) -> list[dict]:
    """The entries that the study names."""
    return study.config.get("enhancements") or []


def scores(study: Study) -> pd.DataFrame:
    """enhancement.csv of these entries; it has no rows if nothing was enhanced."""
    rows = study.table(TABLE)
    return rows[rows["enhancement"].isin([entry["name"] for entry in named(study)])]


def wide(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One metric of one entry: a row for each (mosaic, field), a column for each method in their order."""
    own = rows[rows["metric"] == metric]
    if own.empty:
        return pd.DataFrame()
    table = own.pivot(index=["mosaic", "field"], columns="method", values="value")
    return table[ordered(table)]


def ordered(names: Iterable[str]) -> list[str]:
    """Names of methods as they are shown: the input, filters, networks, the target, the truth.

    Examples
    --------
    >>> ordered(["truth", "target", "my-network", "gaussian", "raw"])
    ['raw', 'gaussian', 'my-network', 'target', 'truth']
    """
    known = list(LABELS)
    own = [name for name in names if name not in LABELS]
    order = [*known[:-2], *own, *known[-2:]]
    return [name for name in order if name in set(names)]


def label(name: str) -> str:
    """What a method is called; a network as the study does."""
    return LABELS.get(name, name)


def mean_of(values: pd.Series) -> Mean:
    """Over fields, by their (mosaic, field). Fields of a mosaic are alike, so mosaics are drawn first, then their fields.

    Examples
    --------
    >>> index = pd.MultiIndex.from_product([["a", "b"], ["0", "1"]], names=["mosaic", "field"])
    >>> found = mean_of(pd.Series([1.0, 1.0, 3.0, 3.0], index))
    >>> found.value, found.low, found.high
    (2.0, 1.0, 3.0)
    """
    values = values.dropna()
    mosaics = [group.to_numpy() for _, group in values.groupby("mosaic")]
    rng = np.random.default_rng(0)
    means = []
    for _ in range(DRAWS if len(values) > 1 else 0):
        drawn = (mosaics[k] for k in rng.integers(len(mosaics), size=len(mosaics)))
        means.append(np.concatenate([rng.choice(own, len(own)) for own in drawn]).mean())
    ends = np.quantile(means, COVERED) if means else (np.nan, np.nan)
    return Mean(float(values.mean()), float(ends[0]), float(ends[1]))


def chosen(study: Study, name: str) -> pd.DataFrame:
    """The setting of each method of an entry, by method."""
    rows = study.table(SETTINGS_TABLE)
    own = rows[(rows["enhancement"] == name) & rows["chosen"].astype(bool)]
    return own.set_index("method")


def best_trained(study: Study, name: str) -> str | None:
    """The method with the least error on training fields, whose test the headline tells."""
    settings = chosen(study, name)
    return str(settings["error"].idxmin()) if len(settings) else None


def gain(rows: pd.DataFrame, method: str, metric: str = "PSNR") -> Mean:
    """A method less the input, on the same fields."""
    table = wide(rows, metric)
    return mean_of(table[method] - table[RAW])


def method_table(rows: pd.DataFrame, settings: pd.DataFrame) -> Table:
    """How near every method comes to the target: means over test fields with their intervals, the best marked."""
    tables = _tables(rows, COMPARED)
    psnr = wide(rows, "PSNR")
    made = _table(tables)
    for line, name in zip(made.rows, _names(tables), strict=True):
        gained = mean_of(psnr[name] - psnr[RAW]) if name in psnr and name != RAW else None
        line.insert(2, Cell(gained.words(2) if gained else style.fixed(None)))
        text = style.fixed(None)
        if name in settings.index:
            text = f"{settings.loc[name, 'key']} {settings.loc[name, 'setting']:g}"
        line.append(Cell(text))
    made.head.insert(2, "over the input (dB)")
    made.head.append("Setting")
    return made


def picture_table(rows: pd.DataFrame) -> Table:
    """CV, Sharpness and Homogeneity of the results, and how near they come to the noise-free truth where it is known."""
    return _table(_tables(rows, (*PLAIN, *(f"{name}{TRUTH}" for name in COMPARED))))


def _tables(rows: pd.DataFrame, metrics: tuple[str, ...]) -> dict[str, pd.DataFrame]:
    """`wide` of those metrics that there are."""
    tables = {metric: wide(rows, metric) for metric in metrics}
    return {metric: table for metric, table in tables.items() if len(table)}


def _names(tables: dict[str, pd.DataFrame]) -> list[str]:
    return ordered({name: None for table in tables.values() for name in table})


def _table(tables: dict[str, pd.DataFrame]) -> Table:
    """A row for each method, a column for each metric."""
    known = {metric: known_metrics()[metric.removesuffix(TRUTH)] for metric in tables}
    best = {metric: _best(table, known[metric].better) for metric, table in tables.items()}
    cells = []
    for name in _names(tables):
        line = [Cell(label(name))]
        for metric, table in tables.items():
            text = style.fixed(None)
            if name in table:
                text = mean_of(table[name]).words(known[metric].decimals)
            line.append(Cell(text, best=best[metric] == name))
        cells.append(line)
    heads = [_head(metric, one.unit) for metric, one in known.items()]
    return Table(["", *heads], cells, best="best of input, filters and networks")


def _best(table: pd.DataFrame, better: int) -> str | None:
    """The best of input, filters and networks by their means; of metrics that want a certain value, the nearest to the target's."""
    means = table.drop(columns=[name for name in (TARGET, TRUE) if name in table]).mean()
    if better:
        return str((better * means).idxmax())
    return str((means - table[TARGET].mean()).abs().idxmin()) if TARGET in table else None


def _head(metric: str, unit: str) -> str:
    name = metric.replace(TRUTH, ", to the truth")
    return style.with_unit(name, unit)


def headline(study: Study, entry: dict) -> tuple[str, str]:
    """What the network that is named first, else the filter that training fields prefer, gains on test fields: in short,
    and in full. Test fields have no say in which it is."""
    name, rows = entry["name"], scores(study)
    own = rows[rows["enhancement"] == name]
    networks = entry.get("networks", [])
    method = networks[0] if networks else best_trained(study, name)
    if method is None or own.empty:
        return "", ""
    if wide(own, "PSNR").empty:
        words = (
            "inputs and targets show other places, so that no result is compared with its target"
        )
        return words, f"{name}: {words}. Its noise may be compared with theirs (Noise-share)."
    whose = "the first network" if networks else "which has the least error on training fields"
    found = gain(own, method)
    word = "does not clearly bring the input nearer to the target"
    if found.low > 0:
        word = "brings the input nearer to the target"
    elif found.high < 0:
        word = "takes the input away from the target"
    fields, mosaics = len(wide(own, "PSNR")), own["mosaic"].nunique()
    where = f"{style.count(fields, 'test field')} of {style.count(mosaics, 'mosaic')}"
    between = style.interval(found.low, found.high, 2)
    return (
        f"{label(method)} {word}",
        f"{name}: {label(method)}, {whose}, {word}: "
        f"{style.signed(found.value)} dB {between} of PSNR on {where}.",
    )


def network_table(study: Study, entry: dict) -> tuple[str, Table] | None:
    """What each network of an entry gains over the filter that training fields prefer, on the same test fields, and what the
    input's counts say of it; None where there is nothing to compare."""
    own = scores(study)
    own = own[own["enhancement"] == entry["name"]]
    networks, rival = entry.get("networks", []), best_trained(study, entry["name"])
    if not networks or rival is None or own.empty:
        return None
    compared = [(metric, wide(own, metric), decimals) for metric, decimals in GAINS.items()]
    shares = {metric: wide(own, metric) for metric in SHARES}
    rows = []
    for name in (rival, *networks):
        line = [Cell(label(name))]
        for _, table, decimals in compared:
            gained = mean_of(table[name] - table[rival])
            between = style.interval(gained.low, gained.high, decimals)
            words = f"{style.signed(gained.value, decimals)} {between}".strip()
            line.append(Cell(style.fixed(None) if name == rival else words))
        for table in shares.values():
            known = name in table and table[name].notna().any()
            line.append(Cell(style.fixed(100 * table[name].mean() if known else None, 1)))
        rows.append(line)
    head = [style.with_unit(metric, "dB" if metric == "PSNR" else "") for metric in GAINS]
    title = f"Networks over {label(rival)}, which training fields prefer among the filters"
    return title, Table(["", *head, *SHARES.values()], rows)


def picture_figure(
    pictures: dict[str, np.ndarray],
    doubts: dict[str, np.ndarray],
    width_px: int = 1040,
    *,
    paired: bool = True,
) -> Figure:
    """Crops of every method beside the target, below them what is left of the target, on one scale, and where the input's counts
    speak against them. After so many as ABREAST the next ones stand below."""
    names = ordered(pictures)
    target = pictures[TARGET]
    low, high = np.quantile(target, (0.01, 0.995))
    forms = [
        {"cmap": "gray", "vmin": low, "vmax": max(high, low + 1e-6)},
        {"cmap": "RdBu_r", **_about_zero(max(3 * float((pictures[RAW] - target).std()), 1e-9))},
        {"cmap": "RdBu_r", **_about_zero(2 * DOUBTED)},
    ]
    rest = {
        name: picture - target for name, picture in pictures.items() if name != TARGET and paired
    }
    shown = [row for row in (pictures, rest, doubts) if row]
    abreast = min(len(names), ABREAST)
    bands, side = -(-len(names) // abreast), width_px / 100 / abreast
    figure = Figure(figsize=(width_px / 100, bands * (len(shown) * side + TITLE_INCHES)))
    grid = figure.subfigures(bands, 1, squeeze=False)[:, 0]
    for number, band in enumerate(grid):
        axes = band.subplots(len(shown), abreast, squeeze=False)
        for place, name in enumerate(names[number * abreast : (number + 1) * abreast]):
            axes[0, place].set_title(label(name).replace(", ", ",\n"), fontsize=8)
            for line, (row, form) in enumerate(zip(shown, forms, strict=False)):
                if name in row:
                    axes[line, place].imshow(row[name], **form)
        for one in axes.flat:
            one.set_axis_off()
        top = 1 - TITLE_INCHES / (len(shown) * side + TITLE_INCHES)
        band.subplots_adjust(0.005, 0.01, 0.995, top, 0.03, 0.03)
    return figure


def _about_zero(reach: float) -> dict[str, float]:
    return {"vmin": -reach, "vmax": reach}


def _figures(study: Study, entry: dict) -> list[StudyFigure]:
    name, paired = entry["name"], entry.get("paired", True)
    path = Path(study.folder) / "enhancements" / name / "pictures.npz"
    if not path.is_file():
        return []
    kinds: dict[str, dict[str, np.ndarray]] = {PICTURES: {}, DOUBTS: {}}
    with np.load(path) as stored:
        for key in stored:
            kind, _, method = key.partition("/")
            kinds[kind][method] = stored[key]
    pictures = kinds[PICTURES]
    title = f"{name}: a part of the test field whose target has most structure"
    if paired:
        title += ", and below it what each result has more (red) or less (blue) than the target"
    if kinds[DOUBTS]:
        title += (
            f"; then how far the input's counts speak against it, up to {2 * DOUBTED:g} standard deviations of their noise: red "
            "where the result has more than they say"
        )
    spread = {
        key: float((picture - pictures[TARGET]).std() if paired else picture.std())
        for key, picture in pictures.items()
        if key != TARGET
    }
    column = "rms_from_target" if paired else "standard_deviation"
    table = pd.DataFrame(spread.items(), columns=["method", column])
    file = f"enhancement_{name}"
    draw = partial(picture_figure, pictures, kinds[DOUBTS], paired=paired)
    return [StudyFigure(file, file, table, draw, "", title, title, 1040, "jpg")]


def parts(study: Study) -> list[Part]:
    rows = scores(study)
    if rows.empty:
        return []
    found = [Part(words=[INTRO], data=[TABLE, SETTINGS_TABLE])]
    for entry in named(study):
        own = rows[rows["enhancement"] == entry["name"]]
        settings = chosen(study, entry["name"])
        ends = [LABELS[name] for name in settings.index if settings.loc[name, "at_end"]]
        notes = [SHARES_SAID] if entry.get("networks") else []
        if ends:
            notes.append(
                f"The chosen setting is an end of those that were tried, so a better one may lie beyond: {', '.join(ends)}."
            )
        found.append(
            Part(
                entry["name"],
                words=[headline(study, entry)[1]],
                figures=_figures(study, entry),
                tables=[
                    *filter(None, [network_table(study, entry)]),
                    *_method_tables(own, settings),
                ],
                notes=notes,
                link_figures=False,
            )
        )
    paired = [entry["name"] for entry in named(study) if entry.get("paired", True)]
    for name in paired[:1]:
        found += published.part(study, name, rows[rows["enhancement"] == name])
    return found


def _method_tables(rows: pd.DataFrame, settings: pd.DataFrame) -> list[tuple[str, Table]]:
    own = ("Of the pictures, and to the noise-free truth where it is known", picture_table(rows))
    if wide(rows, "PSNR").empty:
        return [own]
    return [("To the target, means over test fields", method_table(rows, settings)), own]


def score(study: Study) -> Score | None:
    """The methods of the first entry of pairs by PSNR; None if there is none."""
    rows = scores(study)
    compared = set(rows[rows["metric"] == "PSNR"]["enhancement"])
    known = [entry for entry in named(study) if entry["name"] in compared]
    if not known:
        return None
    first = known[0]
    short, full = headline(study, first)
    means = wide(rows[rows["enhancement"] == first["name"]], "PSNR").mean()
    best = [best_trained(study, first["name"]), *first.get("networks", [])]
    bars = [
        Bar(
            label(name),
            COLOURS["best"] if name in best else COLOURS[RAW],
            value / max(means.max(), 1e-9),
            f"{style.fixed(value, 2)} dB",
        )
        for name, value in means.items()
    ]
    title = f"PSNR to the target, mean over the test fields of {first['name']}"
    return Score("plain", short, full, title=title, bars=bars, data=TABLE)


def cautions(study: Study) -> list[Caution]:
    """Entries whose best filter is farther from the target than the input, and networks that are farther than it."""
    found = []
    for entry in named(study):
        short, full = headline(study, entry)
        if short and "takes the input away" in short:
            found.append(Caution(full, harm=True))
        found += [Caution(words) for words in _worse(study, entry)]
    return found


def _worse(study: Study, entry: dict) -> list[str]:
    """Of each network that is beyond doubt farther from the target than the filter that training fields prefer."""
    own = scores(study)
    table = wide(own[own["enhancement"] == entry["name"]], "PSNR")
    rival, found = best_trained(study, entry["name"]), []
    for name in entry.get("networks", []):
        if rival in table and name in table:
            gained = mean_of(table[name] - table[rival])
            if gained.high < 0:
                found.append(
                    f"{entry['name']}: the network {name} is farther from the target than {LABELS[rival]}, by "
                    f"{style.fixed(-gained.value, 2)} dB of PSNR; train it longer or on more fields, or take the filter."
                )
    return found


TABLES = (
    ResultTable(
        TABLE,
        "how near every filter brings the input to the target",
        ("enhancement", "mosaic", "field", "method", "metric", "value"),
    ),
    ResultTable(SETTINGS_TABLE, "settings that were tried on training fields", tuple(SETTINGS)),
)
SECTIONS = [
    Section(
        "enhancement",
        "Enhancement",
        "Enhancement: a poor detector made good",
        parts,
        TABLES,
        cautions=cautions,
        score=score,
    )
]
