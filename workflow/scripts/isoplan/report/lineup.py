"""Which networks a study ran, what tells them apart, and what they were judged on."""

from collections.abc import Callable

import pandas as pd

from isoplan.config.schema import choices
from isoplan.report import style
from isoplan.report.psfs import model_parameters
from isoplan.report.results import Study
from isoplan.report.section import Bar

# What networks of one architecture may differ in, the most telling first.
TELLING = ("weights", "objects", "psf", "width", "samples", "camera")
# Architectures without weights.
NOT_TRAINED = [
    name for name, told in choices("networks").items() if told.get("without") == "training"
]
# From here on (peak photons, all of a camera's range) a picture shows no noise.
NOISE_FREE_PHOTONS = 1e6


def networks(study: Study) -> dict[str, dict]:
    """name -> entry of the config's `networks`; empty where a study left no config.

    What a network that was taken over is, its card says: the config has defaults there.
    """
    cards = {network.name: network.card.get("network", {}) for network in study.networks}
    return {
        entry["name"]: entry | (_is(cards.get(entry["name"], {})) if entry.get("weights") else {})
        for entry in study.config.get("networks") or []
    }


def _is(card: dict) -> dict:
    return {key: card[key] for key in ("architecture", "width", "pretrained") if key in card}


def architecture(entry: dict, name: str = "") -> str:
    """`resnet34-pretrained` for a ResNet-34 from ImageNet weights; the name where nothing is known."""
    if not entry.get("architecture"):
        return name
    return entry["architecture"] + ("-pretrained" if entry.get("pretrained") else "")


def trained_with_noise(study: Study, name: str) -> bool:
    """Whether the network's camera showed it noise; True where the config does not tell."""
    entry = networks(study).get(name, {})
    camera = _entry(study, "cameras", entry.get("camera"))
    if entry.get("weights") or not camera.get("photons"):
        return True
    fewest = float(camera["photons"][0])
    return fewest < NOISE_FREE_PHOTONS or float(camera["read_noise_e"][1]) > fewest**0.5


def scores(study: Study, metric: str = "R2") -> pd.DataFrame:
    """One row per network, test set, degradation, level and parameter of one metric.

    Columns of regression.csv, and: architecture; form (of the PSF that the samples were made with);
    test_type (name of the objects of the test set); with_noise. Where regression.csv has no mean over
    the parameters (thesis eq. 2.13) it is added, without an interval. low and high may be NaN.
    """
    table = study.table("regression.csv")
    table = table[table["metric"].astype(str).str.upper() == metric.upper()].copy()
    for column in ("value", "low", "high", "n", "level"):
        table[column] = pd.to_numeric(table.get(column), errors="coerce").astype(float)
    table["level"] = table["level"].fillna(0)
    table["degradation"] = table["degradation"].fillna("none")
    if metric == "R2":
        table = _with_mean(table)
    known = networks(study)
    tests = {name: _entry(study, "test_sets", name) for name in table["test_set"].dropna().unique()}
    table["architecture"] = [architecture(known.get(n, {}), n) for n in table["network"]]
    table["test_type"] = [tests.get(n, {}).get("objects", n) for n in table["test_set"]]
    table["form"] = [
        _entry(study, "psfs", tests.get(n, {}).get("psf")).get("form", "isoplan")
        for n in table["test_set"]
    ]
    noise = {name: trained_with_noise(study, name) for name in table["network"].unique()}
    table["with_noise"] = [noise[n] for n in table["network"]]
    return table.reset_index(drop=True)


def parameter_unit(study: Study, network: str, parameter: str) -> str:
    """Unit of a parameter from any map of that network, else from its card; the name tells it where there is neither."""
    for psf_map in study.maps.values():
        if psf_map.network == network and parameter in psf_map.names:
            return psf_map.units[psf_map.names.index(parameter)]
    card = next((found.card for found in study.networks if found.name == network), {})
    known = model_parameters(card.get("psf", {}))
    if parameter in known:
        return known[parameter].unit
    if parameter.startswith("width"):
        return "px"
    return {"focus": "waves", "cylinder": "waves", "axis": "rad"}.get(parameter, "")


def weakest(table: pd.DataFrame) -> pd.DataFrame:
    """Of every network and test set, the rows at the weakest degradation that it was judged at."""
    level = pd.to_numeric(table["level"], errors="coerce").fillna(0)
    level = level.where(table["degradation"].fillna("none") != "none", -1.0)
    least = level.groupby([table["network"], table["test_set"]]).transform("min")
    return table[level == least]


def labels(study: Study, table: pd.DataFrame, cell: list[str]) -> pd.Series:
    """A label for the network of every row: its architecture, and what tells it from its like.

    Two networks of one architecture get different labels where they share a `cell` (columns).
    """
    known, found = networks(study), {}
    for key, rows in table.groupby("architecture", sort=False):
        names = list(rows["network"].unique())
        meet = rows.groupby(cell, sort=False, dropna=False)["network"].unique() if cell else [names]
        meetings = [set(group) for group in meet if len(group) > 1]
        words = {name: (style.network_label(key),) for name in names}
        for field in TELLING:
            if _all_differ(words, meetings):
                break
            told = {n: _word(field, known.get(n, {})) for n in names}
            if field == "camera":
                told = _camera_words(study, told, meetings)
            # Something that says the same of all that meet would only lengthen the label.
            if any(len({told[n] for n in group}) > 1 for group in meetings):
                words = {n: (*words[n], told[n]) for n in names}
        if not _all_differ(words, meetings):
            words = {n: (words[n][0], n) for n in names}
        found |= {name: ", ".join(filter(None, words[name])) for name in names}
    return table["network"].map(found)


def _all_differ(words: dict[str, tuple], meetings: list[set]) -> bool:
    return all(len({words[name] for name in group}) == len(group) for group in meetings)


def _camera_words(study: Study, told: dict[str, str], meetings: list[set]) -> dict[str, str]:
    """With or without noise where that tells all apart; else the cameras' names."""
    noise = {n: f"trained with{'' if trained_with_noise(study, n) else 'out'} noise" for n in told}
    return noise if _all_differ({n: (text,) for n, text in noise.items()}, meetings) else told


def _word(field: str, entry: dict) -> str:
    value = entry.get(field)
    if field == "weights":
        return "" if value is None else "released" if value == "released" else "taken over"
    if field == "width":
        return f"width {value}"
    if field == "samples":
        return f"{value:,} samples" if style.is_number(value) else ""
    return {"objects": "trained on {}", "psf": "PSF {}", "camera": "camera {}"}[field].format(value)


def _with_mean(table: pd.DataFrame) -> pd.DataFrame:
    keys = ["network", "psf_model", "train_set", "test_set", "degradation", "level"]
    has = table.loc[table["parameter"] == "mean", keys].apply(tuple, axis=1)
    lacking = table[~table[keys].apply(tuple, axis=1).isin(set(has))] if len(has) else table
    if lacking.empty:
        return table
    added = lacking.groupby(keys, sort=False, dropna=False).agg(
        value=("value", "mean"), n=("n", "max")
    )
    added = added.reset_index().assign(parameter="mean", metric="R2")
    return pd.concat([table, added], ignore_index=True)


def bars(table: pd.DataFrame, told: Callable[[pd.DataFrame], tuple[float, str]]) -> list[Bar]:
    """A bar per architecture; told: its rows -> share and words."""
    found = []
    for key in style.in_order(table["architecture"], style.NETWORK_LABELS):
        share, text = told(table[table["architecture"] == key])
        found.append(
            Bar(style.network_label(key), style.network_colours({key: key})[key], share, text)
        )
    return found


def _entry(study: Study, section: str, name: str | None) -> dict:
    return next((e for e in study.config.get(section) or [] if e.get("name") == name), {})
