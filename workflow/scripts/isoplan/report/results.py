"""Reads the result files of a study. Any of them may be missing, and the report then says so."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from isoplan import stages
from isoplan.base.errors import UserError
from isoplan.config import entries
from isoplan.config.entries import with_absent
from isoplan.config.schema import schema
from isoplan.report.map_stores import PsfMap, Trust, read_map, read_trust


@dataclass(frozen=True)
class ResultTable:
    """A CSV in the study's folder.

    Attributes
    ----------
    name
        Its file name.
    words
        Its content in a line.
    columns
        Columns that it must have. Without any, it is linked but not read.
    """

    name: str
    words: str
    columns: tuple[str, ...] = ()


TABLES = (
    ResultTable(
        "metrics.csv",
        "every metric of every mosaic and method",
        ("study", "mosaic", "method", "metric", "value"),
    ),
    ResultTable(
        "cells.csv",
        "SNR gain of every cell",
        ("mosaic", "method", "cell_y", "cell_x", "snr_gain_db"),
    ),
    ResultTable(
        "frc.csv",
        "Fourier ring correlation with the truth or the reference",
        ("mosaic", "method", "cycles_per_px", "correlation"),
    ),
    ResultTable(
        "regression.csv",
        "accuracy of the networks",
        (
            *("network", "psf_model", "train_set", "test_set", "degradation"),
            *("level", "parameter", "metric", "value", "n"),
        ),
    ),
    ResultTable(
        "predictions.csv",
        "true and estimated parameters of test samples",
        ("network", "test_set", "parameter", "true", "estimated", "valid"),
    ),
    ResultTable(
        "calibration.csv",
        "how often the 90 % intervals contain the truth",
        ("network", "test_set", "parameter", "group", "level", "coverage", "n"),
    ),
    ResultTable(
        "abstention.csv",
        "error when the least certain samples are left out",
        ("network", "test_set", "parameter", "kept_share", "metric", "value", "n"),
    ),
    ResultTable("restoration.csv", "gain of every picture and method of the restoration tests"),
    ResultTable(
        "restoration_summary.csv",
        "their means, differences and shares, with 95 % intervals",
        (
            *("test", "degradation", "detection", "layout", "masks", "iterations", "tv_weight"),
            *("tv_step", "acceleration", "method", "metric", "mean", "low", "high", "sd", "n"),
        ),
    ),
    ResultTable(
        "restoration_budget.csv",
        "cost of each step from the true PSFs to the estimated ones",
        ("test", "step", "start", "end", "loss_db", "low", "high", "n"),
    ),
    ResultTable(
        "restoration_sweep.csv",
        "gain by iterations and TV weight of the sweeps",
        (
            *("test", "psfs", "tv_weight", "iterations", "mean", "low", "high", "sd", "n"),
            *("default_tv_weight", "default_iterations"),
        ),
    ),
    ResultTable(
        "restoration_choice.csv",
        "gains and losses of rules that choose them",
        (
            *("test", "psfs", "rule", "mean", "low", "high", "n", "loss_db", "loss_low"),
            *("loss_high", "median_loss_db", "worst_loss_db", "near_share", "tv_weight"),
            "iterations",
        ),
    ),
    ResultTable(
        "harm.csv",
        "gain of every picture, blur, light and method of the harm tests",
        ("test", "model", "picture", "blur", "kind", "photons", "method", "gain"),
    ),
    ResultTable(
        "harm_summary.csv",
        "their means and the worst ones",
        (
            *("test", "model", "kind", "photons", "method", "n", "mean", "p5", "worst"),
            *("harmed_share", "cells_p5", "cells_worst", "overshoot", "alone_share", "of_true"),
        ),
    ),
    ResultTable("refused.csv", "mosaics that could not be read", ("mosaic", "path", "reason")),
)
# Columns that stay text: a mosaic called "001" or "NA" keeps its name.
NAMES = (
    *("study", "mosaic", "method", "metric", "network", "psf_model", "train_set"),
    *("test_set", "degradation", "parameter", "group", "path", "reason", "test"),
    *("model", "picture", "blur", "kind"),
)


@dataclass
class Mosaic:
    """A mosaic.

    Attributes
    ----------
    name
        Its name.
    facts
        Its measured facts.
    registration
        Position of its reference frame, or why that was refused.
    """

    name: str
    facts: dict = field(default_factory=dict)
    registration: dict = field(default_factory=dict)

    @property
    def pixel_size_um(self) -> float | None:
        """Pixel size in micrometres; None if it is unknown."""
        size = self.facts.get("pixel_size_um")
        return float(size) if isinstance(size, int | float) and size > 0 else None


@dataclass
class Network:
    """A network with its training curves (history.csv) and its card."""

    name: str
    history: pd.DataFrame
    card: dict


@dataclass(frozen=True)
class Present:
    """What a study's config names. A run with other settings may have left more in its folder.

    Attributes
    ----------
    config
        The config.
    mosaics
        The simulated mosaics, and those of the table that were not refused.
    """

    config: dict
    mosaics: list[str]

    @classmethod
    def of(cls, folder: Path, config: dict) -> "Present | None":
        """From a study's folder and config; None if the config is incomplete."""
        config = with_absent(config)
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
        """Methods of restoration."""
        return self.config["restoration"]["methods"]

    def names(self, wildcard: str) -> set[str] | None:
        """The values that a wildcard of the rules may have; None if it is not checked."""
        keys = [key for name, key in stages.lists() if name == wildcard]
        if keys:
            return {item["name"] for key in keys for item in self.config[key]}
        return {"mosaic": {*self.mosaics}, "method": {*self.methods}}.get(wildcard)

    def has(self, rule: str, job: str) -> bool:
        """Whether a job of a rule, named as in its benchmark, belongs to the study."""
        stage = stages.BY_RULE.get(rule)
        if stage is None or not stage.wanted(self.config):
            return False
        parts = zip(stage.per, job.split("/"), strict=False)
        return all(
            known is None or part in known for name, part in parts for known in [self.names(name)]
        )

    def table(self, name: str) -> bool:
        """Whether these settings make a table of the study's folder."""
        return all(stage.wanted(self.config) for stage in stages.STAGES if name in stage.made)


@dataclass
class Study:
    """The results of a study.

    Attributes
    ----------
    folder
        Its folder.
    config, config_text
        Its config, and the text of that.
    mosaics, networks
        Its mosaics and networks.
    tables
        Its CSVs by name.
    maps, true_maps
        Estimated and true PSF maps by mosaic.
    benchmarks
        rule, job, seconds and peak_mib of every job.
    trusts
        Maps of trust by mosaic.
    choices
        What was chosen for the restoration, by mosaic and method.
    present
        What the config names; None if it is incomplete.
    aside
        Mosaics of former settings that are still in the folder.
    """

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
    choices: dict[str, dict[str, dict]] = field(default_factory=dict)
    present: Present | None = None
    aside: list[str] = field(default_factory=list)

    @property
    def methods(self) -> list[str] | None:
        """Methods of restoration; None if the config is incomplete."""
        return self.present.methods if self.present else None

    @property
    def fixed(self) -> list[str]:
        """Settings that the restoration algorithm fixes (`config.entries.fixed`)."""
        return entries.fixed(self.config.get("restoration") or {})

    def table(self, name: str) -> pd.DataFrame:
        """A CSV by its name; it has no rows if the file does not exist."""
        return self.tables[name]

    def pixel_size_um(self, mosaic: str) -> float | None:
        """Pixel size of a mosaic in micrometres; None if it is unknown."""
        return next(m.pixel_size_um for m in self.mosaics if m.name == mosaic)

    def gain_grid(self, mosaic: str, method: str = "estimated") -> np.ndarray | None:
        """SNR gain (y, x) of each cell in dB, NaN if unknown; None without cells of that method."""
        cells = self.table("cells.csv")
        cells = cells[(cells["mosaic"] == mosaic) & (cells["method"] == method)]
        if cells.empty:
            return None
        rows, columns = cells["cell_y"].to_numpy(int), cells["cell_x"].to_numpy(int)
        grid = np.full((rows.max() + 1, columns.max() + 1), np.nan)
        grid[rows, columns] = cells["snr_gain_db"].to_numpy(float)
        return grid


def read_study(folder: Path, more: Iterable[ResultTable] = ()) -> Study:
    """Read the results of a study, except its pictures.

    Parameters
    ----------
    folder
        The study's folder.
    more
        CSVs to read in addition to TABLES.

    Raises
    ------
    UserError
        If the folder does not exist, or a CSV lacks a column.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such results folder; run the study first")
    config_file = folder / "config.yaml"
    config_text = config_file.read_text() if config_file.exists() else ""
    config = yaml.safe_load(config_text) or {}
    present = Present.of(folder, config)
    tables = {
        table.name: _read_table(folder / table.name, table.columns, present)
        for table in (*TABLES, *more)
        if table.columns
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
                or (s.stem == "true" and is_simulated(config, mosaic.name))
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
        trusts={
            m.name: trust
            for m in mosaics
            if (trust := read_trust(folder, m.name, present and present.methods))
        },
        choices={
            mosaic.name: _read_choices(folder / "choices" / mosaic.name, present)
            for mosaic in mosaics
        },
        present=present,
        aside=aside,
    )


def is_simulated(config: dict, mosaic: str) -> bool:
    """Whether a mosaic is simulated in the study."""
    return any(item["mosaic"] == mosaic for item in config.get("simulations") or [])


def metric_values(study: Study) -> pd.DataFrame:
    """metrics.csv with one value per mosaic, method and metric; of several settings, the last one counts."""
    return study.table("metrics.csv").drop_duplicates(["mosaic", "method", "metric"], keep="last")


def _read_table(path: Path, columns: tuple[str, ...], present: Present | None) -> pd.DataFrame:
    there = present is None or present.table(path.name)
    if not there or not path.exists() or path.stat().st_size == 0:
        return pd.DataFrame({column: pd.Series(dtype=object) for column in columns})
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
    # Also those that the table no longer names, whose facts are still there.
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
    """Benchmarks with a row per job: rule, job, seconds, peak_mib."""
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
