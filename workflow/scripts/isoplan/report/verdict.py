"""The first screen in words: did it work, how much better, where not to trust it."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from isoplan.optics.plain import PlainPsf
from isoplan.report import harm, lineup, published, restoration_tests, style, sweeps, tables
from isoplan.report.figures import snr_gains
from isoplan.report.psfs import model_parameters
from isoplan.report.results import WHOLE, Study, metric_values
from isoplan.restoration import trust

POOR_R2 = 0.5
MEASURED_BY = {"truth": "known truth", "reference": "a reference frame"}
SHOWN = 6  # warnings of one kind
# Below this a gain is within what one would not see, and is called none.
SAME_DB = 0.05
AS_BLURRED = (
    "So it is if the reference is as blurred as the picture (a longer exposure, the rest of a split one), and "
    "counts as an error what was sharpened. Where it is in focus and the picture is not, only the first counts."
)
# Nor does a change of a metric by less than this share count.
SAME_SHARE = 0.005
# Fewer bad pixels than this share are not worth a word.
LONE_SHARE = 1e-4


@dataclass
class MosaicVerdict:
    """level: good, fair (helps, but no more than one constant PSF or none, or not in every metric), bad, open
    (no truth), empty. farther: metrics by which the restoration is farther from a reference frame than the
    input."""

    name: str
    level: str
    headline: str
    gains: dict[str, float] = field(default_factory=dict)
    oracle_share: float | None = None
    worse_share: float | None = None
    untrusted_share: float | None = None
    farther: list[str] = field(default_factory=list)


@dataclass
class Score:
    """How good one kind of network is: a share from 0 to 1 for a bar, and the same in words."""

    label: str
    colour: str
    share: float
    text: str


@dataclass
class Verdict:
    level: str
    headline: str
    lead: str
    mosaics: list[MosaicVerdict]
    warnings: list[str]
    alarms: list[str]
    scores: list[Score] = field(default_factory=list)
    scores_title: str = ""
    scored_from: str = "metrics.csv"  # the table that tells most of it


def judge(study: Study) -> Verdict:
    """Judge a whole study from its tables and maps."""
    gains = snr_gains(study)
    mosaics = [judge_mosaic(study, mosaic.name, gains) for mosaic in study.mosaics]
    alarms = [f"{m.name}: {m.headline}" for m in mosaics if m.level == "bad"]
    known = [mosaic for mosaic in mosaics if "estimated" in mosaic.gains]
    verdict = Verdict(*_headline(study, mosaics, known), mosaics, _warnings(study, mosaics), alarms)
    if not mosaics:
        verdict.scores_title, verdict.scores, verdict.scored_from = _scores(study)
    return verdict


def judge_mosaic(study: Study, name: str, gains: dict) -> MosaicVerdict:
    row, psf_map = gains.get(name, {}), study.maps.get(name)
    untrusted = psf_map.untrusted_share if psf_map is not None else None
    verdict = MosaicVerdict(name, "empty", "", gains=row, untrusted_share=untrusted)
    if untrusted == 1:
        verdict.level = "bad"
        verdict.headline = "no cell of the PSF map is valid. " + (
            "Its PSFs are doubtful, and restored with all the same: trust neither the map nor what comes of it."
            if psf_map.has_values
            else "There is nothing in it to trust, and the restoration should be the input unchanged."
        )
        if psf_map.out_of_domain.mean() > 0.5:
            verdict.headline += (
                " Most cells do not look like a raw camera picture of a thin sample: take the picture as "
                "it came from the camera."
            )
        if "estimated" in row:
            verdict.headline += f" SNR changed by {style.signed(row['estimated'])} dB."
        return verdict
    if "estimated" not in row:
        return _without_truth(study, verdict)
    gain = row["estimated"]
    verdict.oracle_share = _value(study, name, "estimated", "oracle_share")
    if verdict.oracle_share is None and row.get("oracle", 0) > 0:
        verdict.oracle_share = gain / row["oracle"]
    verdict.worse_share = _value(study, name, "estimated", "worse_cells_share")
    grid = study.gain_grid(name)
    if verdict.worse_share is None and grid is not None and np.isfinite(grid).any():
        verdict.worse_share = float((grid[np.isfinite(grid)] < 0).mean())
    if gain <= 0:
        verdict.oracle_share = None
    constant = row.get("constant")
    beside, verdict.farther = _beside_reference(study, name)
    again = _gain_again(study, name)
    if gain < -SAME_DB and beside:
        told = again is not None and again > SAME_DB and "FRC" not in verdict.farther
        verdict.level = "fair" if told else "bad"
        verdict.headline = (
            f"the restoration is farther from the reference frame than doing nothing, by "
            f"{style.fixed(-gain)} dB, but blurred again by its PSFs it tells that frame better than the picture "
            f"does, by {style.fixed(again)} dB. {AS_BLURRED}"
            if told
            else f"the restoration is farther from the reference frame than doing nothing, by "
            f"{style.fixed(-gain)} dB. Compare the two: the reference has noise and a blur of its own."
        )
    elif gain < -SAME_DB:
        verdict.level = "bad"
        verdict.headline = f"the restoration is worse than doing nothing, by {style.fixed(-gain)} dB. Do not use it."
    elif gain <= SAME_DB:
        verdict.level = "fair"
        verdict.headline = "the restoration is no better than doing nothing."
    elif row.get("denoised", -np.inf) > gain - SAME_DB:
        verdict.level = "fair"
        verdict.headline = (
            f"better than doing nothing by {style.fixed(gain)} dB, but taking noise away alone does as well "
            f"({style.signed(row['denoised'])} dB)"
        )
        added = _gain_again(study, name, over="denoised")
        verdict.headline += (
            f". Blurred again by its PSFs, the restoration tells the reference frame better than that does, by "
            f"{style.fixed(added)} dB. {AS_BLURRED}"
            if added is not None and added > SAME_DB
            else ": the PSFs add nothing here."
        )
    elif constant is not None and gain <= constant:
        verdict.level = "fair"
        verdict.headline = (
            f"better than doing nothing by {style.fixed(gain)} dB, but one constant PSF does as well "
            f"({style.signed(constant)} dB): the map adds nothing here."
        )
    else:
        verdict.level = "fair" if verdict.farther else "good"
        verdict.headline = f"better than doing nothing by {style.fixed(gain)} dB."
    verdict.headline += beside
    return verdict


def _beside_reference(study: Study, name: str) -> tuple[str, list[str]]:
    """What a restoration that is judged by another frame has to say for itself, metric by metric, and the
    metrics by which it is farther from that frame than the input."""
    values = metric_values(study)
    values = values[(values["mosaic"] == name) & values["metric"].isin(tables.METRICS)]
    grid = values.pivot(index="method", columns="metric", values="value").astype(float)
    if style.measure_in(grid.index) != "reference" or not {"none", "estimated"} <= set(grid.index):
        return "", []
    better, same, worse = [], [], []
    for metric in (m for m in tables.METRICS if m in grid.columns):
        before, after = grid.loc["none", metric], grid.loc["estimated", metric]
        direction, scale = style.METRIC_DIRECTION[metric], abs(before)
        if direction == 0:
            aim = grid.loc["reference", metric]
            before, after, direction, scale = abs(before - aim), abs(after - aim), -1, abs(aim)
        if np.isnan(before) or np.isnan(after):
            continue
        change = 0.0 if before == after else direction * (after - before)
        least = SAME_DB if style.METRIC_UNITS.get(metric) == "dB" else SAME_SHARE * scale
        if abs(change) <= (least if np.isfinite(least) else 0):
            same.append(metric)
        else:
            (better if change > 0 else worse).append(metric)
    words = (
        f" Nearer to the reference frame in {len(better)} of {len(better + same + worse)} metrics"
    )
    words += f", as near in {', '.join(same)}" if same else ""
    words += f", farther in {', '.join(worse)}." if worse else "."
    if "FRC-resolution" in grid.columns:
        before, after = grid.loc[["none", "estimated"], "FRC-resolution"]
        words += (
            f" By Fourier ring correlation it agrees {_down_to(after)}, {_down_to(before)} before."
        )
    return words, worse


def _gain_again(study: Study, name: str, over: str = "none") -> float | None:
    """By how many dB the restoration, blurred again, tells the reference frame better than another method."""
    before, after = (_value(study, name, method, "SNR-reblurred") for method in (over, "estimated"))
    return None if before is None or after is None else after - before


def _down_to(period_px: float) -> str:
    return f"down to {style.fixed(period_px)} px" if np.isfinite(period_px) else "nowhere"


def _without_truth(study: Study, verdict: MosaicVerdict) -> MosaicVerdict:
    sharpness = {
        method: _value(study, verdict.name, method, "Sharpness") for method in ("none", "estimated")
    }
    verdict.level = "open"
    if None in sharpness.values() and verdict.gains:
        best = max(verdict.gains, key=verdict.gains.get)
        verdict.headline = (
            f"not restored with the estimated map. Of the others {style.method_label(best)} gained most, "
            f"{style.signed(verdict.gains[best])} dB."
        )
    elif None in sharpness.values():
        verdict.headline = "no restoration was scored."
        verdict.level = "empty"
    elif sharpness["none"]:
        change = sharpness["estimated"] / sharpness["none"] - 1
        if abs(change) < 0.005:
            verdict.headline = "no truth is known, and the restoration changed next to nothing."
        else:
            way = "rose" if change > 0 else "fell"
            verdict.headline = (
                f"no truth is known, so no number here can say whether it is right. "
                f"Sharpness {way} by {style.percent(abs(change))}; look at the pictures."
            )
    else:
        verdict.headline = "no truth is known, and the mosaic is without any contrast."
    return verdict


def _headline(study: Study, mosaics, known) -> tuple[str, str, str]:
    """Level, headline and lead sentence of the whole study."""
    tests = restoration_tests.read_tests(study)
    if not mosaics and tests and _all_swept(study, tests):
        return sweeps.headline(study)
    if not mosaics and tests:
        return restoration_tests.headline(tests)
    if not mosaics and len(harm.summary(study)):
        return harm.headline(study)
    if not mosaics:
        return _headline_of_networks(study)
    if not known and all(m.level == "bad" for m in mosaics):
        return "bad", "Nothing to trust: no cell of the PSF map is valid", ""
    judged = [mosaic for mosaic in mosaics if mosaic.gains]
    if not known and judged:
        return (
            *("open", f"{_count(len(mosaics), 'mosaic')}, not restored with the estimated map"),
            "`estimated` is not among the study's methods. The table of metrics says what the others gained.",
        )
    if not known:
        return (
            *("open", f"{_count(len(mosaics), 'mosaic')}, no known truth: the gain is not known"),
            "No mosaic of this study has a known truth or a reference frame, so the gain cannot be measured "
            "here. Judge by eye below, and by a study with a simulated mosaic.",
        )
    better = [m for m in known if m.level == "good"]
    bad = [m for m in known if m.level == "bad"]
    gains = [m.gains["estimated"] for m in known]
    mean = style.signed(float(np.mean(gains)))
    span = f"{mean} dB" if len(known) == 1 else f"{mean} dB on average"
    count = "the mosaic" if len(known) == 1 else f"{len(better)} of {len(known)} mosaics"
    beside = _farther(known)
    if all(m.untrusted_share == 1 for m in known):
        return "bad", "Nothing to trust: no cell of the PSF map is valid", ""
    if len(bad) == len(known):
        return "bad", "It did not work: worse than doing nothing", _lead(known, span) + beside
    if bad:
        text = (
            f"It worked on {len(known) - len(bad)} of {len(known)} mosaics with {_measures(study)}"
        )
        return "bad", text, _lead(known, span) + beside
    if len(better) == len(known):
        return "good", f"It worked: {span} in SNR", _lead(known, "")
    if beside:
        headline = f"Better by some metrics, worse by others: {span} in SNR"
        return "fair", headline, _lead(known, "") + beside
    if better:
        return "fair", f"It worked on {count} with {_measures(study)}", _lead(known, span)
    return "fair", "It helped no more than the simple alternatives", _lead(known, span)


def _farther(known) -> str:
    """Which mosaics the restoration brought farther from their reference frame, by which metrics."""
    found = [mosaic for mosaic in known if mosaic.farther]
    if not found:
        return ""
    named = [f"{mosaic.name} ({', '.join(mosaic.farther)})" for mosaic in found[:SHOWN]]
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return (
        f" In {len(found)} of {_count(len(known), 'mosaic')} it is farther from the reference frame than doing "
        f"nothing by some metric: {', '.join(named)}{more}."
    )


def _measures(study: Study) -> str:
    """What the mosaics that could be judged were judged by."""
    methods = set(study.table("metrics.csv")["method"])
    known = [words for name, words in MEASURED_BY.items() if name in methods]
    return " or ".join(known) or MEASURED_BY["truth"]


def _lead(known, span: str) -> str:
    words = [f"SNR changed by {span} against doing nothing."] if span else []
    shares = [m.oracle_share for m in known if m.oracle_share is not None]
    if shares and max(m.gains["estimated"] for m in known) > 0:
        mean = float(np.mean(shares))
        words.append(
            f"The map estimated from the picture alone gives {style.percent(mean)} of what the true "
            "PSF map would give."
        )
    constant = [m.gains["constant"] for m in known if "constant" in m.gains]
    if constant:
        words.append(f"One constant PSF gives {style.signed(float(np.mean(constant)))} dB.")
    denoised = [m.gains["denoised"] for m in known if "denoised" in m.gains]
    if denoised:
        words.append(f"Taking noise away alone gives {style.signed(float(np.mean(denoised)))} dB.")
    return " ".join(words)


def _headline_of_networks(study: Study) -> tuple[str, str, str]:
    beside = _beside_published(study)
    if beside:
        return beside
    scores = lineup.weakest(lineup.scores(study))
    clean = scores[(scores["parameter"] != "mean") & scores["value"].notna()]
    if clean.empty:
        return (
            *("empty", "This study has no results yet"),
            "No mosaic was scored and no network was tested. Run the study, or look into its logs.",
        )
    best = clean.loc[clean["value"].idxmax()]
    words = (
        f"{_count(clean['network'].nunique(), 'network')} reading the PSF from single patches. "
        f"Best: {best['network']}, {style.parameter_label(best['parameter'])}, "
        f"R² {style.fixed(float(best['value']), 3)}."
    )
    parts = {
        style.network_label(key): clean.loc[clean["architecture"] == key, "value"]
        for key in style.in_order(clean["architecture"], style.NETWORK_LABELS)
    }
    (first, values), *others = parts.items()
    headline = f"Median R² {style.fixed(float(values.median()), 2)} over {_count(len(values), 'tested parameter')}"
    if others:
        headline = f"{first}: {headline[:1].lower()}{headline[1:]}"
        beside = [f"{n} {style.fixed(float(v.median()), 2)} ({len(v)})" for n, v in others]
        words += f" Beside it: {', '.join(beside)}."
    return "plain", headline, words


def _beside_published(study: Study) -> tuple[str, str, str] | None:
    """Level, headline and lead where published figures are compared with, like with like."""
    table = _comparable(study)
    if table.empty:
        return None
    ours = table[table["architecture"] == "isoplan"]
    who, rows = ("isoplan", ours) if len(ours) else ("This study", table)
    reached = f"{int(rows['reached'].sum())} of {_count(len(rows), 'cell')}"
    words = (
        "Compared at the published two decimals, under the published form and ranges of the PSFs."
    )
    return "plain", f"{who} is at least equal to the published R² in {reached}", words


def _comparable(study: Study) -> pd.DataFrame:
    table = published.compare(study)
    return table[(table["form"] == "published") & table["published"].notna()]


def _scores(study: Study) -> tuple[str, list[Score], str]:
    """Title, scores and the table that they are of.

    Architecture by architecture: cells where the published R2 is reached, or else the median R2.

    Of a study of restoration tests, test by test the share of the known PSFs' gain.
    """
    tests = restoration_tests.read_tests(study)
    if tests and _all_swept(study, tests):
        found, colour = sweeps.kept(study), sweeps.RULES["chosen"][1]
        title = "Chosen by held-out photons: share of the best choice's gain"
        scores = [_share(test, colour, share) for test, share in found]
        return title, scores, "restoration_choice.csv"
    if tests:
        return *_scores_of_tests(tests), "restoration_summary.csv"
    if len(harm.summary(study)):
        return *_scores_of_harm(study), "harm_summary.csv"
    table, title = _comparable(study), "Cells at least equal to the published R²"
    beside = len(table) > 0
    if not beside:
        table, title = (
            lineup.weakest(lineup.scores(study)),
            "Median R² over parameters and test sets",
        )
        table = table[(table["parameter"] != "mean") & table["value"].notna()]
    scores = []
    for key in style.in_order(table["architecture"], style.NETWORK_LABELS):
        rows = table[table["architecture"] == key]
        colour = style.network_colours({key: key})[key]
        share = float(rows["reached"].mean() if beside else rows["value"].median())
        text = f"{int(rows['reached'].sum())} of {len(rows)}" if beside else style.fixed(share, 3)
        scores.append(Score(style.network_label(key), colour, min(max(share, 0.0), 1.0), text))
    return title, scores, "regression.csv"


def _scores_of_tests(tests: list[restoration_tests.Test]) -> tuple[str, list[Score]]:
    scores = []
    for test in tests:
        own = test.row("estimated") or {}
        share = own.get("known_share")
        if style.is_number(share):
            scores.append(_share(test.name, style.method_colour("estimated"), share))
    return "Estimated PSFs: share of the gain of known ones", scores


def _scores_of_harm(study: Study) -> tuple[str, list[Score]]:
    table = harm.summary(study)
    own = table[
        (table["method"] == "estimated") & (table["kind"] == "inside") & table["photons"].isna()
    ]
    colour = style.method_colour("estimated")
    scores = [_share(row.test, colour, row.of_true) for row in own.itertuples() if row.of_true > 0]
    return "By default: share of the gain of known PSFs, blurs of the network's model", scores


def _share(label: str, colour: str, share: float) -> Score:
    return Score(label, colour, min(max(share, 0.0), 1.0), style.percent(share))


def _all_swept(study: Study, tests: list[restoration_tests.Test]) -> bool:
    """Whether how much to restore is all that the study's tests are about."""
    return {test.name for test in tests} == set(sweeps.choices(study)["test"])


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _warnings(study: Study, mosaics) -> list[str]:
    """Where not to trust the result, most serious first."""
    words = []
    for mosaic in mosaics:
        if mosaic.worse_share:
            words.append(
                f"{mosaic.name}: {style.percent(mosaic.worse_share)} of the cells came out worse "
                "than they were."
            )
    for mosaic in mosaics:
        words += _narrowed(study, mosaic.name)
        words += _disagreement(study, mosaic.name)
        words += _doubts(study, mosaic.name)
        words += _pinned(study, mosaic.name)
        seams = tables.seam_error(study, mosaic.name)
        if seams is not None and seams > tables.SEAM_LIMIT:
            words.append(
                f"{mosaic.name}: seams of {seams:.1e} of the range lie between units; a larger `halo_px` "
                "or fewer `iterations` would make them smaller."
            )
    for mosaic in study.mosaics:
        words += [f"{mosaic.name}: {note}." for note in mosaic.registration.get("notes", ())]
        for key, what in (("nonfinite_pixels", "not numbers"), ("saturated_pixels", "saturated")):
            count = mosaic.facts.get(key) or 0
            pixels = (mosaic.facts.get("height_px") or 0) * (mosaic.facts.get("width_px") or 0)
            if count and (pixels == 0 or key == "nonfinite_pixels" or count > pixels / 1000):
                words.append(f"{mosaic.name}: {count:,} pixels are {what}.")
        if mosaic.facts.get("constant"):
            words.append(f"{mosaic.name}: every pixel has the same value; there is nothing to map.")
    words += restoration_tests.warnings(restoration_tests.read_tests(study))
    words += sweeps.warnings(study) + harm.warnings(study)
    return words + _short_of_published(study) + _poor_parameters(study) + _miscalibrated(study)


def _disagreement(study: Study, mosaic: str) -> list[str]:
    """Cells whose restoration, pushed back through the model, is not what the camera saw."""
    found = study.trusts.get(mosaic)
    if found is None:
        return []
    if not found.judged:
        return [
            f"{mosaic}: whether the restoration agrees with the data was not judged: gain and read noise "
            "of the camera are not known, or no PSF is."
        ]
    mask = found.doubted(trust.DISAGREES)
    words = []
    if mask.any():
        words.append(
            f"{mosaic}: {style.percent(float(mask.mean()))} of the cells disagree with the data: pushed "
            "back through the model, the restored picture is not what the camera saw (dotted on the map of "
            "trust). The PSF is too wide there, light comes from what the model does not know, or more "
            "iterations are needed."
        )
    lone = float(np.nansum(found.values["lone_pixels"])) * found.step**2
    pixels = found.values["doubt"].size * found.stride_px**2
    if lone > LONE_SHARE * pixels:
        words.append(f"{mosaic}: about {lone:,.0f} dead or hot pixels were left out.")
    return words


def _doubts(study: Study, mosaic: str) -> list[str]:
    """Cells not to trust, each counted once: out of domain, without texture, uncertain; and other blurs."""
    psf_map = study.maps.get(mosaic)
    if psf_map is None or psf_map.untrusted.all():
        return []
    strange = psf_map.out_of_domain
    uncertain = psf_map.uncertain(model_parameters(psf_map)) & ~strange
    doubts = (
        (
            strange,
            "of the cells are out of domain: they do not look like a raw camera picture of a thin "
            "sample (denoised, compressed, resampled, saturated, hazy); their PSF is filled in from "
            "neighbours (cross-hatched on the maps).",
        ),
        (
            psf_map.untrusted & ~strange,
            "of the cells have no PSF of their own, for want of texture or of a whole window at the "
            "border; theirs is filled in from neighbours (hatched on the maps).",
        ),
        (
            psf_map.blurred_otherwise & ~strange,
            "of the cells show a blur that no PSF of the model makes (motion, coma, a disk, a halo); the nearest one "
            "stands for it.",
        ),
        (
            psf_map.partly_seen,
            f"of the cells see less than {100 * WHOLE:.0f} % of their window: the rest is missing, saturated, dead or hot "
            "(`usable` of the map).",
        ),
        (
            uncertain,
            "of the cells are uncertain: the 90 % interval of a parameter spans more than half of its range.",
        ),
    )
    return [
        f"{mosaic}: {style.percent(float(mask.mean()))} {text}"
        for mask, text in doubts
        if mask.any()
    ]


def _narrowed(study: Study, mosaic: str) -> list[str]:
    """Where the restoration does not take the PSFs of the map as they are."""
    choice = study.choices.get(mosaic, {}).get("estimated")
    if choice and not choice["iterations"]:
        return [f"{mosaic} was left as it is: {choice['reason']}."]
    if choice and choice["psf_shape"] != "map":
        return [
            f"{mosaic}: restored by a {PlainPsf.read(choice['psf_shape']).words}, the same everywhere, in place of "
            "the map's PSFs: the blur is none of the PSF model's, and photons held out bear this one out."
        ]
    if not choice or choice["psf_scale"] >= 1:
        return []
    if not choice["psf_scale"]:
        return [f"{mosaic}: noise alone was taken away, no blur: {choice['reason']}."]
    return [
        f"{mosaic}: restored by PSFs {choice['psf_scale']:g} times as wide as the map's: detail in the picture is "
        "finer than the map's PSFs allow, or may be: the specimen is soft itself, or the blur is another."
    ]


def _pinned(study: Study, mosaic: str) -> list[str]:
    """Cells at the top of the trained range: there the true PSF may be wider than the map says."""
    psf_map = study.maps.get(mosaic)
    if psf_map is None or psf_map.untrusted.all():
        return []
    words = []
    for name, parameter in model_parameters(psf_map).items():
        if parameter.period or name not in psf_map.names:
            continue
        values = psf_map.values[psf_map.names.index(name)]
        values = values[~(psf_map.untrusted | psf_map.out_of_domain)]
        if not values.size:
            continue
        top = parameter.high - 0.02 * (parameter.high - parameter.low)
        share = float((values >= top).mean())
        if share > 0.01:
            words.append(
                f"{mosaic}: in {style.percent(share)} of the cells {style.parameter_label(name)} is at "
                f"the end of the trained range ({parameter.high:g} {parameter.unit}); the real one may be larger."
            )
    return words


def _short_of_published(study: Study) -> list[str]:
    """The cells of our own network that fall farthest short of the published figure."""
    table = _comparable(study)
    table = table[(table["architecture"] == "isoplan") & ~table["reached"].astype(bool)]
    table = table.assign(gap=table["published"].astype(float) - table["value"])
    words = []
    for row in table.sort_values("gap", ascending=False).head(SHOWN).itertuples():
        below = "below " if row.below else ""
        told = [style.psf_label(row.psf_model), row.label, f"trained on {row.train_set}"]
        told.append(f"tested on {row.test_type}")
        if row.degradation != "none":
            told.append(f"{style.degradation_label(row.degradation)} of strength {row.level:g}")
        words.append(
            f"{', '.join(told)}: R² {style.fixed(row.value, 3)}, published {below}{style.fixed(row.published)}."
        )
    return words + _and_more(len(table), "cells below the published R²")


def _poor_parameters(study: Study) -> list[str]:
    table = lineup.weakest(lineup.scores(study))
    poor = table[(table["parameter"] != "mean") & (table["value"] < POOR_R2)]
    # The baseline without a network is there to be beaten.
    poor = poor[poor["architecture"] != "spectrum-fit"]
    return [
        f"{row.network} reads {style.parameter_label(row.parameter)} poorly on {row.test_set} "
        f"(R² {style.fixed(row.value, 2)})."
        for row in poor.head(SHOWN).itertuples()
    ] + _and_more(len(poor), f"parameters with R² below {POOR_R2}")


def _miscalibrated(study: Study) -> list[str]:
    table = study.table("calibration.csv")
    table = table[table["group"] == "all"]
    table = table.assign(coverage=table["coverage"].astype(float))
    # Too wide ones are no reason for distrust: on sharp scenes they allow for soft ones.
    wrong = table[table["coverage"] < style.CALIBRATED[0]]
    if len(wrong) > SHOWN // 2:
        low, high = wrong["coverage"].min(), wrong["coverage"].max()
        return [
            f"In {len(wrong)} of {len(table)} cases (network, test set, parameter) the 90 % interval holds the "
            f"truth in less than 85 % of the patches ({100 * low:.1f} to {100 * high:.1f} %)."
        ]
    return [
        f"{row.network} on {row.test_set}: its 90 % interval of {style.parameter_label(row.parameter)} holds the "
        f"truth in {100 * row.coverage:.1f} % of the patches."
        for row in wrong.itertuples()
    ]


def _and_more(count: int, what: str) -> list[str]:
    return [f"{count - SHOWN} more {what}."] if count > SHOWN else []


def _value(study: Study, mosaic: str, method: str, metric: str) -> float | None:
    values = metric_values(study)
    found = values[
        (values["mosaic"] == mosaic) & (values["method"] == method) & (values["metric"] == metric)
    ]["value"]
    return float(found.iloc[0]) if len(found) and np.isfinite(float(found.iloc[0])) else None
