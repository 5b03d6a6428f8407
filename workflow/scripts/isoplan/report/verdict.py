"""The first screen in words: did it work, how much better, where not to trust it."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from isoplan.report import style
from isoplan.report.figures import snr_gains
from isoplan.report.psfs import model_parameters
from isoplan.report.results import Study, metric_values

POOR_R2 = 0.5
# Below this a gain is within what one would not see, and is called none.
SAME_DB = 0.05


@dataclass
class MosaicVerdict:
    """level: good, fair (helps, but no more than one constant PSF), bad, open (no truth), empty."""

    name: str
    level: str
    headline: str
    gains: dict[str, float] = field(default_factory=dict)
    oracle_share: float | None = None
    worse_share: float | None = None
    untrusted_share: float | None = None


@dataclass
class Verdict:
    level: str
    headline: str
    lead: str
    mosaics: list[MosaicVerdict]
    warnings: list[str]
    alarms: list[str]


def judge(study: Study) -> Verdict:
    """Judge a whole study from its tables and maps."""
    gains = snr_gains(study)
    mosaics = [judge_mosaic(study, mosaic.name, gains) for mosaic in study.mosaics]
    alarms = [f"{m.name}: {m.headline}" for m in mosaics if m.level == "bad"]
    known = [mosaic for mosaic in mosaics if "estimated" in mosaic.gains]
    return Verdict(*_headline(study, mosaics, known), mosaics, _warnings(study, mosaics), alarms)


def judge_mosaic(study: Study, name: str, gains: dict) -> MosaicVerdict:
    row, psf_map = gains.get(name, {}), study.maps.get(name)
    untrusted = psf_map.untrusted_share if psf_map is not None else None
    verdict = MosaicVerdict(name, "empty", "", gains=row, untrusted_share=untrusted)
    if untrusted == 1:
        verdict.level = "bad"
        verdict.headline = (
            "no cell of the PSF map is valid. There is nothing in it to trust, and the restoration "
            "should be the input unchanged."
        )
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
    if gain < -SAME_DB:
        verdict.level = "bad"
        verdict.headline = f"the restoration is worse than doing nothing, by {style.fixed(-gain)} dB. Do not use it."
    elif gain <= SAME_DB:
        verdict.level = "fair"
        verdict.headline = "the restoration is no better than doing nothing."
    elif constant is not None and gain <= constant:
        verdict.level = "fair"
        verdict.headline = (
            f"better than doing nothing by {style.fixed(gain)} dB, but one constant PSF does as well "
            f"({style.signed(constant)} dB): the map adds nothing here."
        )
    else:
        verdict.level = "good"
        verdict.headline = f"better than doing nothing by {style.fixed(gain)} dB."
    return verdict


def _without_truth(study: Study, verdict: MosaicVerdict) -> MosaicVerdict:
    sharpness = {
        method: _value(study, verdict.name, method, "Sharpness") for method in ("none", "estimated")
    }
    verdict.level = "open"
    if None in sharpness.values():
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
    if not mosaics:
        return _headline_of_networks(study)
    if not known and all(m.level == "bad" for m in mosaics):
        return "bad", "Nothing to trust: no cell of the PSF map is valid", ""
    if not known:
        return (
            *("open", f"{_count(len(mosaics), 'mosaic')}, no known truth: the gain is not known"),
            "No mosaic of this study has a known truth, so the gain cannot be measured here. "
            "Judge by eye below, and by a study with a simulated mosaic.",
        )
    better = [m for m in known if m.level == "good"]
    bad = [m for m in known if m.level == "bad"]
    gains = [m.gains["estimated"] for m in known]
    mean = style.signed(float(np.mean(gains)))
    span = f"{mean} dB" if len(known) == 1 else f"{mean} dB on average"
    count = "the mosaic" if len(known) == 1 else f"{len(better)} of {len(known)} mosaics"
    if all(m.untrusted_share == 1 for m in known):
        return "bad", "Nothing to trust: no cell of the PSF map is valid", ""
    if len(bad) == len(known):
        return "bad", "It did not work: worse than doing nothing", _lead(known, span)
    if bad:
        text = f"It worked on {len(known) - len(bad)} of {len(known)} mosaics with known truth"
        return "bad", text, _lead(known, span)
    if len(better) == len(known):
        return "good", f"It worked: {span} in SNR", _lead(known, "")
    if better:
        return "fair", f"It worked on {count} with known truth", _lead(known, span)
    return "fair", "It helped no more than the simple alternatives", _lead(known, span)


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
    return " ".join(words)


def _headline_of_networks(study: Study) -> tuple[str, str, str]:
    table = study.table("regression.csv")
    r2 = table[table["metric"].astype(str).str.upper() == "R2"]
    if r2.empty:
        return (
            *("empty", "This study has no results yet"),
            "No mosaic was scored and no network was tested. Run the study, or look into its logs.",
        )
    level = pd.to_numeric(r2["level"], errors="coerce").fillna(0)
    clean = r2[level == level.min()]
    best = clean.loc[clean["value"].astype(float).idxmax()]
    words = (
        f"{_count(clean['network'].nunique(), 'network')} reading the PSF from single patches. "
        f"Best: {best['network']}, {style.parameter_label(best['parameter'])}, "
        f"R² {style.fixed(float(best['value']), 3)}."
    )
    median = style.fixed(float(clean["value"].astype(float).median()), 2)
    return "plain", f"Median R² {median} over {_count(len(clean), 'tested parameter')}", words


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
        if mosaic.untrusted_share and mosaic.untrusted_share < 1:
            words.append(
                f"{mosaic.name}: {style.percent(mosaic.untrusted_share)} of the cells have no PSF of "
                "their own; theirs is filled in from neighbours (hatched on the maps)."
            )
        words += _pinned(study, mosaic.name)
    for mosaic in study.mosaics:
        for key, what in (("nonfinite_pixels", "not numbers"), ("saturated_pixels", "saturated")):
            count = mosaic.facts.get(key) or 0
            pixels = (mosaic.facts.get("height_px") or 0) * (mosaic.facts.get("width_px") or 0)
            if count and (pixels == 0 or key == "nonfinite_pixels" or count > pixels / 1000):
                words.append(f"{mosaic.name}: {count:,} pixels are {what}.")
        if mosaic.facts.get("constant"):
            words.append(f"{mosaic.name}: every pixel has the same value; there is nothing to map.")
    return words + _poor_parameters(study)


def _pinned(study: Study, mosaic: str) -> list[str]:
    """Cells at the top of the trained range: there the true PSF may be wider than the map says."""
    psf_map = study.maps.get(mosaic)
    if psf_map is None or psf_map.untrusted.all():
        return []
    words = []
    for name, parameter in model_parameters(psf_map).items():
        if parameter.period or name not in psf_map.names:
            continue
        values = psf_map.values[psf_map.names.index(name)][~psf_map.untrusted]
        top = parameter.high - 0.02 * (parameter.high - parameter.low)
        share = float((values >= top).mean())
        if share > 0.01:
            words.append(
                f"{mosaic}: in {style.percent(share)} of the cells {style.parameter_label(name)} is at "
                f"the end of the trained range ({parameter.high:g} {parameter.unit}); the real one may be larger."
            )
    return words


def _poor_parameters(study: Study) -> list[str]:
    table = study.table("regression.csv")
    table = table[table["metric"].astype(str).str.upper() == "R2"]
    if table.empty:
        return []
    level = pd.to_numeric(table["level"], errors="coerce").fillna(0)
    poor = table[(level == level.min()) & (table["value"].astype(float) < POOR_R2)]
    return [
        f"{row.network} reads {style.parameter_label(row.parameter)} poorly on {row.test_set} "
        f"(R² {style.fixed(float(row.value), 2)})."
        for row in poor.head(6).itertuples()
    ] + ([f"{len(poor) - 6} more parameters with R² below {POOR_R2}."] if len(poor) > 6 else [])


def _value(study: Study, mosaic: str, method: str, metric: str) -> float | None:
    values = metric_values(study)
    found = values[
        (values["mosaic"] == mosaic) & (values["method"] == method) & (values["metric"] == metric)
    ]["value"]
    return float(found.iloc[0]) if len(found) and np.isfinite(float(found.iloc[0])) else None
