"""The verdict on each restored mosaic, and on all of them: whether it worked, and how much better it is."""

from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd

from isoplan.metrics import catalogue
from isoplan.report import plots, style
from isoplan.report.results import Study, is_simulated, metric_values
from isoplan.report.section import Score, StudyFigure

MEASURED_BY = {"truth": "known truth", "reference": "a reference frame"}
NAMED = 6  # mosaics in one sentence
# A smaller gain is not visible, and counts as none.
SAME_DB = 0.05
AS_BLURRED = (
    "This is expected if the reference is as blurred as the picture (a longer exposure, the rest of a split one), as it "
    "then counts sharpening as an error. If the reference is in focus and the picture is not, only the first number counts."
)
# A smaller relative change of a metric counts as none.
SAME_SHARE = 0.005


@dataclass
class MosaicVerdict:
    """The verdict on one mosaic.

    Attributes
    ----------
    name
        Name of the mosaic.
    level
        "good"; "fair" (better, but not more than with a constant PSF or none, or not in every metric); "bad"; "open"
        (no truth is known); or "empty".
    headline
        The verdict in words.
    gains
        SNR gain over doing nothing in dB, by method.
    oracle_share
        Gain with the estimated map as a share of that with the true map.
    worse_share
        Share of the cells that are worse than before.
    untrusted_share
        Share of the cells without a PSF of their own.
    farther
        Metrics by which the restoration is farther from the reference frame than the input.
    """

    name: str
    level: str
    headline: str
    gains: dict[str, float] = field(default_factory=dict)
    oracle_share: float | None = None
    worse_share: float | None = None
    untrusted_share: float | None = None
    farther: list[str] = field(default_factory=list)


def score(study: Study) -> Score | None:
    """The score of the mosaics for the first screen; None without mosaics."""
    mosaics = judge_mosaics(study)
    if not mosaics:
        return None
    known = [mosaic for mosaic in mosaics if "estimated" in mosaic.gains]
    level, headline, lead = _headline(study, mosaics, known)
    return Score(
        *(level, headline, f"{lead} {_measured_on(study, mosaics, known)}".strip()),
        sound="All checks passed: no invalid cells, no cells that are worse than before, and no refused mosaics.",
        mosaics=mosaics,
        figures=gain_figure(study),
        alarms=[f"{m.name}: {m.headline}" for m in mosaics if m.level == "bad"],
    )


def judge_mosaics(study: Study) -> list[MosaicVerdict]:
    """The verdict on every mosaic of a study."""
    gains = snr_gains(study)
    return [judge_mosaic(study, mosaic.name, gains) for mosaic in study.mosaics]


def snr_gains(study: Study) -> dict[str, dict[str, float]]:
    """SNR gain over doing nothing in dB, by mosaic and method, for mosaics with a truth or a reference."""
    values = metric_values(study)
    snr = values[values["metric"] == "SNR"]
    gains = {}
    for mosaic in study.mosaics:
        of_mosaic = snr[snr["mosaic"] == mosaic.name].set_index("method")["value"].astype(float)
        if "none" in of_mosaic.index:
            methods = style.sort_methods(set(of_mosaic.index) - set(style.STANDARDS))
            gains[mosaic.name] = {m: float(of_mosaic[m] - of_mosaic["none"]) for m in methods}
    return gains


def gain_figure(study: Study) -> list[StudyFigure]:
    """Bars of the SNR gain of every method and mosaic; empty if no gain is known."""
    gains = {name: row for name, row in snr_gains(study).items() if len(row) > 1}
    if not gains:
        return []
    rows = [(name, method, gain) for name, row in gains.items() for method, gain in row.items()]
    table = pd.DataFrame(rows, columns=["mosaic", "method", "snr_gain_db"])
    draw = partial(plots.gain_bars, gains)
    alt = "Bars of the SNR gain in dB of every method for every mosaic with known truth."
    return [StudyFigure("gain", "gain", table, draw, "", "SNR gain", alt, 720)]


def judge_mosaic(study: Study, name: str, gains: dict) -> MosaicVerdict:
    """The verdict on a mosaic. gains: from `snr_gains`."""
    row, psf_map = gains.get(name, {}), study.maps.get(name)
    untrusted = psf_map.untrusted_share if psf_map is not None else None
    verdict = MosaicVerdict(name, "empty", "", gains=row, untrusted_share=untrusted)
    if untrusted == 1:
        verdict.level = "bad"
        verdict.headline = "no cell of the PSF map is valid. " + (
            "Its PSFs are doubtful. Do not trust the map or the restoration."
            if psf_map.has_values
            else "It has no PSFs, so no blur was removed."
        )
        if psf_map.out_of_domain.mean() > 0.5:
            verdict.headline += (
                " Most cells do not look like a raw camera picture of a thin sample: use the picture as it came from "
                "the camera."
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
            f"{style.fixed(-gain)} dB, but blurred again by its PSFs, it predicts that frame better than the picture "
            f"does, by {style.fixed(again)} dB. {AS_BLURRED}"
            if told
            else f"the restoration is farther from the reference frame than doing nothing, by "
            f"{style.fixed(-gain)} dB. Compare the two pictures, as the reference has its own noise and blur."
        )
    elif gain < -SAME_DB:
        verdict.level = "bad"
        verdict.headline = f"the restoration is worse than doing nothing, by {style.fixed(-gain)} dB. Do not use it."
    elif gain <= SAME_DB:
        verdict.level = "fair"
        verdict.headline = (
            "the restoration is no better than doing nothing, so use the picture as it is."
        )
    elif row.get("denoised", -np.inf) > gain - SAME_DB:
        verdict.level = "fair"
        verdict.headline = (
            f"better than doing nothing by {style.fixed(gain)} dB, but removing only noise is as good "
            f"({style.signed(row['denoised'])} dB)"
        )
        added = _gain_again(study, name, over="denoised")
        verdict.headline += (
            f". Blurred again by its PSFs, the restoration predicts the reference frame better than that does, by "
            f"{style.fixed(added)} dB. {AS_BLURRED}"
            if added is not None and added > SAME_DB
            else ", so the PSFs do not help here."
        )
    elif constant is not None and gain <= constant:
        verdict.level = "fair"
        verdict.headline = (
            f"better than doing nothing by {style.fixed(gain)} dB, but one constant PSF is as good "
            f"({style.signed(constant)} dB), so the map does not help here."
        )
    else:
        verdict.level = "fair" if verdict.farther else "good"
        verdict.headline = f"better than doing nothing by {style.fixed(gain)} dB."
    verdict.headline += beside
    return verdict


def _beside_reference(study: Study, name: str) -> tuple[str, list[str]]:
    """Compare a restoration with a reference frame, by all metrics.

    Returns the result in words, and the metrics by which it is farther from the frame than the input.
    """
    values = metric_values(study)
    known = catalogue.by_name()
    values = values[(values["mosaic"] == name) & values["metric"].isin(list(known))]
    grid = values.pivot(index="method", columns="metric", values="value").astype(float)
    if style.standard_in(grid.index) != "reference" or not {"none", "estimated"} <= set(grid.index):
        return "", []
    better, same, worse = [], [], []
    for metric in (m for m in known if m in grid.columns):
        before, after = grid.loc["none", metric], grid.loc["estimated", metric]
        direction, scale = known[metric].better, abs(before)
        if direction == 0:
            aim = grid.loc["reference", metric]
            before, after, direction, scale = abs(before - aim), abs(after - aim), -1, abs(aim)
        if np.isnan(before) or np.isnan(after):
            continue
        change = 0.0 if before == after else direction * (after - before)
        least = SAME_DB if known[metric].unit == "dB" else SAME_SHARE * scale
        if abs(change) <= (least if np.isfinite(least) else 0):
            same.append(metric)
        else:
            (better if change > 0 else worse).append(metric)
    words = (
        f" Closer to the reference frame in {len(better)} of {len(better + same + worse)} metrics"
    )
    words += f", equally close in {', '.join(same)}" if same else ""
    words += f", farther in {', '.join(worse)}." if worse else "."
    if "FRC-resolution" in grid.columns:
        before, after = grid.loc[["none", "estimated"], "FRC-resolution"]
        words += f" By Fourier ring correlation, it agrees {_down_to(after)} ({_down_to(before)} before)."
    return words, worse


def _gain_again(study: Study, name: str, over: str = "none") -> float | None:
    """By how many dB the restoration, blurred again, predicts the reference frame better than another method."""
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
            f"not restored with the estimated map. Of the other methods, {style.method_label(best)} gained most, "
            f"{style.signed(verdict.gains[best])} dB."
        )
    elif None in sharpness.values():
        verdict.headline = "no restoration was scored."
        verdict.level = "empty"
    elif sharpness["none"]:
        change = sharpness["estimated"] / sharpness["none"] - 1
        if abs(change) < 0.005:
            verdict.headline = "no truth is known, and the restoration hardly changed anything."
        else:
            way = "increased" if change > 0 else "decreased"
            verdict.headline = (
                f"no truth is known, so no number here can say whether it is right. "
                f"Sharpness {way} by {style.percent(abs(change))}; look at the pictures."
            )
    else:
        verdict.headline = "no truth is known, and the mosaic has no contrast."
    return verdict


def _headline(study: Study, mosaics, known) -> tuple[str, str, str]:
    """Level, headline and lead sentence of all mosaics."""
    if not known and all(m.level == "bad" for m in mosaics):
        return "bad", "Nothing to trust: no cell of the PSF map is valid", ""
    judged = [mosaic for mosaic in mosaics if mosaic.gains]
    if not known and judged:
        return (
            *(
                "open",
                f"{style.count(len(mosaics), 'mosaic')}, not restored with the estimated map",
            ),
            "`estimated` is not among the study's methods. The table of metrics has the gains of the others.",
        )
    if not known:
        return (
            *(
                "open",
                f"{style.count(len(mosaics), 'mosaic')} without a known truth: the gain is unknown",
            ),
            "No mosaic of this study has a known truth or a reference frame, so the gain cannot be measured. Compare the "
            "pictures below by eye, and run a study with a simulated mosaic.",
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


def _measured_on(study: Study, mosaics, known) -> str:
    """Says if the gain was measured on simulated mosaics, and not on the user's own."""
    simulated = [m for m in known if is_simulated(study.config, m.name)]
    if not simulated:
        return ""
    count = style.count(len(simulated), "simulated mosaic")
    words = f"The gain is measured on {count}, whose truth is known"
    if len(known) > len(simulated):
        words += f", and with {style.count(len(known) - len(simulated), 'reference frame')}"
    return words + (". That of the other mosaics is unknown." if len(mosaics) > len(known) else ".")


def _farther(known) -> str:
    """Names the mosaics that are farther from their reference frame than before, and the metrics."""
    found = [mosaic for mosaic in known if mosaic.farther]
    if not found:
        return ""
    named = [f"{mosaic.name} ({', '.join(mosaic.farther)})" for mosaic in found[:NAMED]]
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return (
        f" In {len(found)} of {style.count(len(known), 'mosaic')}, it is farther from the reference frame than doing "
        f"nothing by at least one metric: {', '.join(named)}{more}."
    )


def _measures(study: Study) -> str:
    """What the mosaics were compared with."""
    methods = set(study.table("metrics.csv")["method"])
    known = [words for name, words in MEASURED_BY.items() if name in methods]
    return " or ".join(known) or MEASURED_BY["truth"]


def _lead(known, span: str) -> str:
    words = [f"SNR changed by {span} compared with doing nothing."] if span else []
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
        words.append(f"Removing only noise gives {style.signed(float(np.mean(denoised)))} dB.")
    return " ".join(words)


def _value(study: Study, mosaic: str, method: str, metric: str) -> float | None:
    values = metric_values(study)
    found = values[
        (values["mosaic"] == mosaic) & (values["method"] == method) & (values["metric"] == metric)
    ]["value"]
    return float(found.iloc[0]) if len(found) and np.isfinite(float(found.iloc[0])) else None
