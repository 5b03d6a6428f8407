"""The networks of a study, what distinguishes them, and what they were tested on."""

from collections.abc import Callable

import pandas as pd

from isoplan.config.schema import choices
from isoplan.report import style
from isoplan.report.psfs import model_parameters
from isoplan.report.results import Study
from isoplan.report.section import Bar

# Keys in which networks of one architecture may differ, the most informative first.
TELLING = ("weights", "objects", "psf", "width", "samples", "camera")
# Architectures without weights.
NOT_TRAINED = [
    name for name, told in choices("networks").items() if told.get("without") == "training"
]
# From this number of photons at the peak on, a picture has practically no noise.
NOISE_FREE_PHOTONS = 1e6


def networks(study: Study) -> dict[str, dict]:
    """Entries of the config's `networks` by name; empty without a config.

    Properties of a network that was not trained in the study come from its card, as the config has defaults there.
    """
    cards = {network.name: network.card.get("network", {}) for network in study.networks}
    return {
        entry["name"]: entry | (_is(cards.get(entry["name"], {})) if entry.get("weights") else {})
        for entry in study.config.get("networks") or []
    }


def _is(card: dict) -> dict:
    return {key: card[key] for key in ("architecture", "width", "pretrained") if key in card}


def architecture(entry: dict, name: str = "") -> str:
    """The architecture of an entry, like `resnet34-pretrained` for ImageNet weights; the name if it is unknown."""
    if not entry.get("architecture"):
        return name
    return entry["architecture"] + ("-pretrained" if entry.get("pretrained") else "")


def trained_with_noise(study: Study, name: str) -> bool:
    """Whether the network was trained with noise; True if the config does not say."""
    entry = networks(study).get(name, {})
    camera = _entry(study, "cameras", entry.get("camera"))
    if entry.get("weights") or not camera.get("photons"):
        return True
    fewest = float(camera["photons"][0])
    return fewest < NOISE_FREE_PHOTONS or float(camera["read_noise_e"][1]) > fewest**0.5


def scores(study: Study, metric: str = "R2") -> pd.DataFrame:
    """Values of one metric for each network, test set, degradation, level and parameter.

    Returns
    -------
    pandas.DataFrame
        The columns of regression.csv, of which low and high may be NaN, and

        - architecture,
        - form: that of the PSFs of the samples,
        - test_type: name of the objects of the test set,
        - with_noise: whether the network was trained with noise.

        The mean over the parameters (thesis, eq. 2.13) is added without an interval if it is missing.
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
    """Unit of a parameter, from a map of the network or its card, or guessed from the parameter's name."""
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
    """The rows of each network and test set at the weakest degradation that was tested."""
    level = pd.to_numeric(table["level"], errors="coerce").fillna(0)
    level = level.where(table["degradation"].fillna("none") != "none", -1.0)
    least = level.groupby([table["network"], table["test_set"]]).transform("min")
    return table[level == least]


def labels(study: Study, table: pd.DataFrame, cell: list[str]) -> pd.Series:
    """A label for the network of every row: its architecture, and what distinguishes it from others.

    Parameters
    ----------
    study
        The study.
    table
        Rows with network and architecture.
    cell
        Columns. Networks of one architecture get different labels if they share values of these columns.
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
            # A property that all networks of a cell share would only make the label longer.
            if any(len({told[n] for n in group}) > 1 for group in meetings):
                words = {n: (*words[n], told[n]) for n in names}
        if not _all_differ(words, meetings):
            words = {n: (words[n][0], n) for n in names}
        found |= {name: ", ".join(filter(None, words[name])) for name in names}
    return table["network"].map(found)


def _all_differ(words: dict[str, tuple], meetings: list[set]) -> bool:
    return all(len({words[name] for name in group}) == len(group) for group in meetings)


def _camera_words(study: Study, told: dict[str, str], meetings: list[set]) -> dict[str, str]:
    """Whether each was trained with noise, if that distinguishes all networks, else the cameras' names."""
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


def bars(table: pd.DataFrame, summarise: Callable[[pd.DataFrame], tuple[float, str]]) -> list[Bar]:
    """A bar for each architecture. summarise: (rows) -> share and words."""
    found = []
    for key in style.in_order(table["architecture"], style.NETWORK_LABELS):
        share, text = summarise(table[table["architecture"] == key])
        found.append(
            Bar(style.network_label(key), style.network_colours({key: key})[key], share, text)
        )
    return found


def _entry(study: Study, section: str, name: str | None) -> dict:
    return next((e for e in study.config.get(section) or [] if e.get("name") == name), {})
