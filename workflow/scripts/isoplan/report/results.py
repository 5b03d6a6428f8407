"""Reads a study's result files. Any of them may be absent: the report then says what is not there."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
import zarr

from isoplan import stages
from isoplan.base.errors import UserError
from isoplan.config.schema import schema

TABLE_COLUMNS = {
    "metrics.csv": ("study", "mosaic", "method", "metric", "value"),
    "cells.csv": ("mosaic", "method", "cell_y", "cell_x", "snr_gain_db"),
    "regression.csv": (
        *("network", "psf_model", "train_set", "test_set", "degradation"),
        *("level", "parameter", "metric", "value", "n"),
    ),
    "predictions.csv": ("network", "test_set", "parameter", "true", "estimated", "valid"),
    "calibration.csv": (
        *("network", "test_set", "parameter", "group"),
        *("level", "coverage", "n"),
    ),
    "abstention.csv": ("network", "test_set", "parameter", "kept_share", "metric", "value", "n"),
    "frc.csv": ("mosaic", "method", "cycles_per_px", "correlation"),
    "refused.csv": ("mosaic", "path", "reason"),
    "restoration_summary.csv": (
        *("test", "degradation", "detection", "layout", "masks", "iterations", "tv_weight"),
        *("tv_step", "acceleration", "method", "metric", "mean", "low", "high", "sd", "n"),
    ),
    "restoration_sweep.csv": (
        *("test", "psfs", "tv_weight", "iterations", "mean", "low", "high", "sd", "n"),
        *("default_tv_weight", "default_iterations"),
    ),
    "restoration_choice.csv": (
        *("test", "psfs", "rule", "mean", "low", "high", "n", "loss_db", "loss_low", "loss_high"),
        *("median_loss_db", "worst_loss_db", "near_share", "tv_weight", "iterations"),
    ),
    "harm.csv": ("test", "model", "picture", "blur", "kind", "photons", "method", "gain"),
    "harm_summary.csv": (
        *("test", "model", "kind", "photons", "method", "n", "mean", "p5", "worst"),
        *("harmed_share", "cells_p5", "cells_worst", "overshoot", "alone_share", "of_true"),
    ),
    "restoration_budget.csv": ("test", "step", "start", "end", "loss_db", "low", "high", "n"),
}
NAMES = (
    *("study", "mosaic", "method", "metric", "network", "psf_model", "train_set"),
    *("test_set", "degradation", "parameter", "group", "path", "reason", "test"),
    *("model", "picture", "blur", "kind"),
)
MAP_LIMIT_CELLS = 1024
# A 90 % interval that spans more than this share of a parameter's range says next to nothing.
UNCERTAIN_SHARE = 0.5
# A window of which more than this share is usable counts as seen whole.
WHOLE = 0.99


@dataclass
class PsfMap:
    """A PSF map, thinned by `step` cells where it is larger than a figure can show.

    `values` and `raw` are (P, y, x) in the channels' units; `validity` is (y, x) from 0 to 1.
    A cell is `untrusted` where the network gave no usable answer, so the value comes from neighbours,
    or is doubtful where all of them are.
    `uncertainty` is the half-width of the 90 % interval, (P, y, x); `alarm` is the probability (y, x)
    that the picture is of a kind that the network never learned; `usable` is the share (y, x) of the
    window that is neither missing, saturated, dead nor hot, NaN where no window was read. None where a map has none.
    """

    mosaic: str
    network: str
    spec: dict
    names: list[str]
    units: list[str]
    stride_px: float
    step: int
    shape_cells: tuple[int, int]
    values: np.ndarray
    raw: np.ndarray
    validity: np.ndarray
    untrusted: np.ndarray
    uncertainty: np.ndarray | None = None
    alarm: np.ndarray | None = None
    other_blur: np.ndarray | None = None
    usable: np.ndarray | None = None
    alarm_threshold: float = 0.5

    @property
    def has_values(self) -> bool:
        """Whether any cell has a PSF, be it a doubtful one."""
        return bool(np.isfinite(self.values).all(axis=0).any())

    @property
    def untrusted_share(self) -> float:
        return _share(self.untrusted)

    @property
    def out_of_domain(self) -> np.ndarray:
        """(y, x) bool: cells whose alarm is raised."""
        if self.alarm is None:
            return np.zeros(self.untrusted.shape, bool)
        return np.nan_to_num(self.alarm) > self.alarm_threshold

    @property
    def blurred_otherwise(self) -> np.ndarray:
        """(y, x) bool: cells where another blur than the model's is seen."""
        if self.other_blur is None:
            return np.zeros(self.untrusted.shape, bool)
        return np.nan_to_num(self.other_blur) > 0.5

    @property
    def partly_seen(self) -> np.ndarray:
        """(y, x) bool: cells whose window has pixels that show nothing."""
        if self.usable is None:
            return np.zeros(self.untrusted.shape, bool)
        return self.usable < WHOLE

    def uncertain(self, ranges: dict) -> np.ndarray:
        """(y, x) bool: cells with a PSF of their own whose interval spans half of a parameter's range.

        ranges: name -> Parameter, as `psfs.model_parameters` gives them.
        """
        found = np.zeros(self.untrusted.shape, bool)
        if self.uncertainty is not None:
            for name, half_width in zip(self.names, self.uncertainty, strict=True):
                if name in ranges:
                    parameter = ranges[name]
                    span = parameter.period or parameter.high - parameter.low
                    found |= np.nan_to_num(half_width) > UNCERTAIN_SHARE * span / 2
        return found & ~self.untrusted


@dataclass
class Trust:
    """How far a restored picture is to be trusted: (y, x) of each of `trust.NAMES`, thinned by `step`."""

    method: str
    values: dict[str, np.ndarray]
    stride_px: float
    step: int

    def doubted(self, why: int) -> np.ndarray:
        """(y, x) bool: cells doubted for a reason, `trust.NO_PSF` or `trust.DISAGREES`."""
        return np.nan_to_num(self.values["doubt"]).astype(int) & why > 0

    @property
    def judged(self) -> bool:
        """Whether any cell was compared with the data: that takes gain and read noise."""
        return bool(np.isfinite(self.values["chi_square"]).any())


def _share(mask: np.ndarray) -> float:
    return float(mask.mean()) if mask.size else 0.0


@dataclass
class Mosaic:
    """facts: what was measured on it. registration: how its reference frame lies, or why it was refused."""

    name: str
    facts: dict = field(default_factory=dict)
    registration: dict = field(default_factory=dict)

    @property
    def pixel_size_um(self) -> float | None:
        size = self.facts.get("pixel_size_um")
        return float(size) if isinstance(size, int | float) and size > 0 else None


@dataclass
class Network:
    name: str
    history: pd.DataFrame
    card: dict


@dataclass(frozen=True)
class Present:
    """What a study's config names. A run with other settings may have left more in its folder.

    mosaics: the simulated ones, and those of the table that were not refused. tests: of restorations and of harm.
    """

    config: dict
    mosaics: list[str]

    @classmethod
    def of(cls, folder: Path, config: dict) -> "Present | None":
        """None where the config is not whole, so that nobody knows."""
        if not set(schema()["properties"]) <= set(config):
            return None
        mosaics = [item["mosaic"] for item in config["simulations"]]
        accepted = folder / "accepted.tsv"
        if config["mosaics"] and accepted.is_file():
            mosaics += list(
                pd.read_csv(accepted, sep="\t", dtype=str, keep_default_na=False)["mosaic"]
            )
        return cls(config, mosaics)

    @property
    def methods(self) -> list[str]:
        return self.config["restoration"]["methods"]

    def names(self, wildcard: str) -> set[str] | None:
        """What a wildcard of the rules may be; None for one that is not looked at."""
        listed = {
            "network": ["networks"],
            "test_set": ["test_sets"],
            "test": ["restoration_tests", "harm_tests"],
        }
        if wildcard in listed:
            return {item["name"] for key in listed[wildcard] for item in self.config[key]}
        return {"mosaic": {*self.mosaics}, "method": {*self.methods}}.get(wildcard)

    def has(self, rule: str, job: str) -> bool:
        """Whether a job of a rule, by its benchmark's name, is one of the study."""
        stage = stages.BY_RULE.get(rule)
        if stage is None or not stage.wanted(self.config):
            return False
        parts = zip(stage.per, job.split("/"), strict=False)
        return all(
            known is None or part in known for name, part in parts for known in [self.names(name)]
        )

    def table(self, name: str) -> bool:
        """Whether a table of the study's folder is made by these settings."""
        return all(stage.wanted(self.config) for stage in stages.STAGES if name in stage.made)


@dataclass
class Study:
    """present: what the config names, None where it does not say. aside: mosaics of former settings in the folder."""

    folder: Path
    config: dict
    config_text: str
    mosaics: list[Mosaic]
    networks: list[Network]
    tables: dict[str, pd.DataFrame]
    maps: dict[str, PsfMap]
    true_maps: dict[str, PsfMap]
    benchmarks: pd.DataFrame
    trusts: dict[str, Trust] = field(default_factory=dict)
    choices: dict[str, dict[str, dict]] = field(default_factory=dict)  # mosaic -> method -> choice
    present: Present | None = None
    aside: list[str] = field(default_factory=list)

    @property
    def methods(self) -> list[str] | None:
        """What the study restores with; None where its config does not say."""
        return self.present.methods if self.present else None

    def table(self, name: str) -> pd.DataFrame:
        return self.tables[name]

    def gain_grid(self, mosaic: str, method: str = "estimated") -> np.ndarray | None:
        """SNR gain of each cell in dB, (y, x), NaN where unknown; None without cells of that method."""
        cells = self.table("cells.csv")
        cells = cells[(cells["mosaic"] == mosaic) & (cells["method"] == method)]
        if cells.empty:
            return None
        rows, columns = cells["cell_y"].to_numpy(int), cells["cell_x"].to_numpy(int)
        grid = np.full((rows.max() + 1, columns.max() + 1), np.nan)
        grid[rows, columns] = cells["snr_gain_db"].to_numpy(float)
        return grid


def read_study(folder: Path) -> Study:
    """Read every result file of a study but its pictures. Raises UserError where there is no such folder."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such results folder; run the study first")
    config_file = folder / "config.yaml"
    config_text = config_file.read_text() if config_file.exists() else ""
    config = yaml.safe_load(config_text) or {}
    present = Present.of(folder, config)
    tables = {
        name: _read_table(folder / name, columns, there=present is None or present.table(name))
        for name, columns in TABLE_COLUMNS.items()
    }
    mosaics = _read_mosaics(folder, tables)
    aside = [m.name for m in mosaics if present and m.name not in present.mosaics]
    mosaics = [mosaic for mosaic in mosaics if mosaic.name not in aside]
    networks = [_read_network(path) for path in sorted(folder.glob("networks/*")) if path.is_dir()]
    networks = [n for n in networks if present is None or n.name in present.names("network")]
    threshold = (config.get("map") or {}).get("alarm_threshold", 0.5)
    maps, true_maps = {}, {}
    for mosaic in mosaics:
        used = _network_in_use(tables["metrics.csv"], mosaic.name)
        stores = sorted((folder / "psf_map" / mosaic.name).glob("*.zarr"))
        if present:
            stores = [
                s
                for s in stores
                if s.stem in present.names("network")
                or (s.stem == "true" and _simulated(config, mosaic.name))
            ]
        estimated = [store for store in stores if store.stem != "true"]
        estimated.sort(key=lambda store: store.stem != used)
        if estimated:
            maps[mosaic.name] = read_map(estimated[0], threshold)
        if any(store.stem == "true" for store in stores):
            true_maps[mosaic.name] = read_map(folder / "psf_map" / mosaic.name / "true.zarr")
    return Study(
        folder=folder,
        config=config,
        config_text=config_text,
        mosaics=mosaics,
        networks=networks,
        tables=tables,
        maps=maps,
        true_maps=true_maps,
        benchmarks=_read_benchmarks(folder, present),
        trusts={m.name: trust for m in mosaics if (trust := _read_trust(folder, m.name, present))},
        choices={
            mosaic.name: _read_choices(folder / "choices" / mosaic.name, present)
            for mosaic in mosaics
        },
        present=present,
        aside=aside,
    )


def read_map(path: Path, alarm_threshold: float = 0.5) -> PsfMap:
    """Read one map store: arrays "0" (filled) and "raw", attributes "isoplan"."""
    group = zarr.open_group(path, mode="r")
    notes = group.attrs["isoplan"]
    channels = [channel["name"] for channel in notes["channels"]]
    units = [channel.get("unit") or "" for channel in notes["channels"]]
    others = ("validity", "filled", "alarm", "other_blur", "usable")
    parameters = [
        i
        for i, name in enumerate(channels)
        if name not in others and not name.endswith("_uncertainty")
    ]
    height, width = group["0"].shape[-2:]
    step = max(1, -(-max(height, width) // MAP_LIMIT_CELLS))
    filled_map = np.asarray(group["0"][:, ::step, ::step])
    raw = np.asarray(group["raw"][:, ::step, ::step]) if "raw" in group else filled_map
    # Where nothing could be filled in, the filled map itself has no number.
    untrusted = ~np.isfinite(raw[parameters] + filled_map[parameters]).all(axis=0)
    if "filled" in channels:
        untrusted |= np.nan_to_num(filled_map[channels.index("filled")]) > 0.5
    validity = np.isfinite(raw[parameters]).all(axis=0).astype(np.float32)
    if "validity" in channels:
        validity = np.nan_to_num(filled_map[channels.index("validity")])
        untrusted |= validity <= 0
    half_widths = [f"{channels[i]}_uncertainty" for i in parameters]
    known = bool(parameters) and set(half_widths) <= set(channels)
    flags = {
        name: filled_map[channels.index(name)]
        for name in ("alarm", "other_blur", "usable")
        if name in channels
    }
    return PsfMap(
        mosaic=str(notes.get("mosaic", path.parent.name)),
        network=str(notes.get("network", path.stem)),
        spec=dict(notes.get("psf") or {}),
        names=[channels[i] for i in parameters],
        units=[units[i] for i in parameters],
        stride_px=float(notes["stride_px"]) * step,
        step=step,
        shape_cells=(height, width),
        values=filled_map[parameters],
        raw=raw[parameters],
        validity=validity,
        untrusted=untrusted,
        uncertainty=filled_map[[channels.index(n) for n in half_widths]] if known else None,
        alarm_threshold=alarm_threshold,
        **flags,
    )


def _simulated(config: dict, mosaic: str) -> bool:
    return any(item["mosaic"] == mosaic for item in config["simulations"])


def _read_trust(folder: Path, mosaic: str, present: Present | None = None) -> Trust | None:
    """The map of trust of the method that the report opens with; None where there is none."""
    for method in ("estimated", "measured", "constant", "oracle", "denoised"):
        if present and method not in present.methods:
            continue
        path = folder / "restored" / mosaic / f"{method}.ome.zarr" / "trust"
        if (path / "zarr.json").exists():
            group = zarr.open_group(path, mode="r")
            notes, cells = group.attrs["isoplan"], group["0"]
            step = max(1, -(-max(cells.shape[1:]) // MAP_LIMIT_CELLS))
            names = [channel["name"] for channel in notes["channels"]]
            values = np.asarray(cells[:, ::step, ::step])
            stride_px = float(notes["stride_px"]) * step
            return Trust(method, dict(zip(names, values, strict=True)), stride_px, step)
    return None


def metric_values(study: Study) -> pd.DataFrame:
    """metrics.csv with one value per mosaic, method and metric: of several settings the last one written."""
    return study.table("metrics.csv").drop_duplicates(["mosaic", "method", "metric"], keep="last")


def _read_table(path: Path, columns: tuple[str, ...], *, there: bool = True) -> pd.DataFrame:
    if not there or not path.exists() or path.stat().st_size == 0:
        return pd.DataFrame({column: pd.Series(dtype=object) for column in columns})
    # Names stay text: a mosaic called "001" or "NA" keeps its name.
    table = pd.read_csv(
        path, dtype=dict.fromkeys(NAMES, str), keep_default_na=False, na_values=["", "nan", "NaN"]
    )
    absent = [column for column in columns if column not in table.columns]
    if absent:
        raise UserError(f"{path}: the columns {', '.join(absent)} are missing; run the study again")
    return table


def _read_mosaics(folder: Path, tables: dict) -> list[Mosaic]:
    facts, registrations = (
        {path.stem: json.loads(path.read_text()) for path in folder.glob(f"{stage}/*.json")}
        for stage in ("mosaics", "references")
    )
    names = list(dict.fromkeys(tables["metrics.csv"]["mosaic"].dropna()))
    names += sorted(set(facts) - set(names))
    on_disk = {path.name for stage in ("restored", "psf_map") for path in folder.glob(f"{stage}/*")}
    names += sorted(on_disk - set(names))
    refused = set(tables["refused.csv"]["mosaic"])
    # Those that a table no longer names too: their facts stay.
    refused |= {name for name, known in facts.items() if "refused" in known}
    return [
        Mosaic(name, facts.get(name, {}), registrations.get(name, {}))
        for name in names
        if name not in refused
    ]


def _read_network(path: Path) -> Network:
    history, card = path / "history.csv", path / "card.json"
    return Network(
        name=path.name,
        history=pd.read_csv(history) if history.exists() else pd.DataFrame(),
        card=json.loads(card.read_text()) if card.exists() else {},
    )


def _read_choices(folder: Path, present: Present | None = None) -> dict[str, dict]:
    files = [f for f in sorted(folder.glob("*.json")) if not present or f.stem in present.methods]
    return {path.stem: json.loads(path.read_text()) for path in files}


def _network_in_use(metrics: pd.DataFrame, mosaic: str) -> str | None:
    if "network" not in metrics.columns:
        return None
    used = metrics[(metrics["mosaic"] == mosaic) & (metrics["method"] == "estimated")]["network"]
    used = used.dropna()
    return str(used.iloc[-1]) if len(used) else None


def _read_benchmarks(folder: Path, present: Present | None = None) -> pd.DataFrame:
    """One row per job: rule, job, seconds, peak memory (MiB)."""
    rows = []
    for path in sorted(folder.glob("benchmarks/**/*.tsv")):
        parts = path.relative_to(folder / "benchmarks").with_suffix("").parts
        if present and not present.has(parts[0], "/".join(parts[1:])):
            continue
        table = pd.read_csv(path, sep="\t", na_values=["-", "NA"])
        if table.empty:
            continue
        rows.append(
            {
                "rule": parts[0],
                "job": "/".join(parts[1:]),
                "seconds": float(pd.to_numeric(table["s"], errors="coerce").sum()),
                "peak_mib": float(pd.to_numeric(table["max_rss"], errors="coerce").max()),
            }
        )
    return pd.DataFrame(rows, columns=["rule", "job", "seconds", "peak_mib"])
