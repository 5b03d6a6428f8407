"""What each stage of a study cost, and what that suggests for mosaics of other sizes.

Mapping, restoring and evaluating are known unit by unit from their ledgers, which a killed job leaves
behind; the other rules job by job, as Snakemake measured them. Memory of the former is that of one
unit, whatever the mosaic's size; of the others only the filling of a map grows, with the map's cells.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from isoplan import stages
from isoplan.base.imports import load_named
from isoplan.report.results import Study

PER_MOSAIC = {stage.rule: stage for stage in stages.of_mosaics()}
LAYING_OUT = {stage.laid_out_by for stage in stages.STAGES}
SIMULATING, CHOOSING = "simulate_mosaic", "choose_restoration"
SHARED = {rule: stage for rule, stage in PER_MOSAIC.items() if stage.shared}
COLUMNS = (
    *("rule", "mosaic", "variant", "megapixels", "jobs", "units", "seconds", "units_s", "make_s"),
    *("start_s", "longest_s", "peak_mb", "start_mb", "gpu_mb", "unit_megapixels"),
)
MEMORY_MARGIN, TIME_MARGIN = 1.5, 2  # other nodes, other neighbours, other pictures
JOB_S = 600  # of a job: the seconds that it takes to start are then a hundredth
JOBS_A_MOSAIC = 60  # more of them burden the scheduler
LONGEST_S = 3600  # of a job, whatever their number: clusters give an hour or two to everybody
FILL_BYTES_A_CELL = 300  # isoplan.psf_map.fill
SIDES_PX = (10_000, 20_000, 100_000)
LEAST_MB, LEAST_MINUTES = 500, 5
LEAST_MEGAPIXELS, ENOUGH_MEGAPIXELS = 4, 16  # below, starting and chance are most of the time


def costs(study: Study) -> pd.DataFrame:
    """A row per rule, mosaic and variant (network or method); the last two empty where a rule has none.

    seconds: of all jobs, starting included. units_s, make_s: of all units, and of their arithmetic and
    reading alone. start_s: median of what a job takes beside its units. start_mb: memory before the
    first unit. gpu_mb: of a GPU. unit_megapixels: area of a whole unit. A job that was killed and run again counts as
    if it had not been.
    """
    rows, sizes = [], megapixels(study)
    places = [
        job.split("/") if rule in PER_MOSAIC else ["", job]
        for rule, job in zip(study.benchmarks["rule"], study.benchmarks["job"], strict=True)
    ]
    benchmarks = study.benchmarks.assign(
        place=places,
        mosaic=[place[0] for place in places],
        variant=[
            "/".join(place[1:-1] if rule in SHARED else place[1:])
            for rule, place in zip(study.benchmarks["rule"], places, strict=True)
        ],
    )
    shared = study.config.get("jobs_per_mosaic") or 0
    ours = [_is_ours(*job, shared) for job in zip(benchmarks["rule"], places, strict=True)]
    benchmarks = benchmarks.loc[ours]
    keys = ["rule", "mosaic", "variant"]
    for (rule, mosaic, variant), jobs in benchmarks.groupby(keys, sort=False):
        row = {"rule": rule, "mosaic": mosaic, "variant": variant, "jobs": len(jobs)}
        row |= {"megapixels": sizes.get(mosaic, math.nan), "seconds": jobs["seconds"].sum()}
        row |= {"longest_s": jobs["seconds"].max(), "peak_mb": jobs["peak_mib"].max()}
        if rule in SHARED:
            row |= _from_ledger(study, rule, mosaic, variant, jobs, row["megapixels"])
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def megapixels(study: Study) -> dict[str, float]:
    """Size of every mosaic that was measured."""
    return {
        mosaic.name: mosaic.facts["height_px"] * mosaic.facts["width_px"] / 1e6
        for mosaic in study.mosaics
        if mosaic.facts.get("height_px")
    }


def _is_ours(rule: str, place: list[str], jobs: int) -> bool:
    """Whether a job is one of this study: those of a run with more jobs a mosaic may lie beside them."""
    return rule not in SHARED or (place[-1].isdigit() and int(place[-1]) < jobs)


def _from_ledger(study: Study, rule, mosaic, variant, jobs: pd.DataFrame, size: float) -> dict:
    """What the units' entries say; nothing where there are none of this version."""
    stage = SHARED[rule]
    names = dict(zip(stage.per, [mosaic, *filter(None, variant.split("/"))], strict=False))
    units = _entries(study.folder / stage.ledger.format(**names))
    if units.empty:
        return {}
    measured = {int(place[-1]): s for place, s in zip(jobs["place"], jobs["seconds"], strict=True)}
    own = units["all_s"].groupby(units.index % study.config["jobs_per_mosaic"]).sum()
    # Of a job that went on after an accident Snakemake measured the last part alone.
    starts = [s - own.get(job, 0) for job, s in measured.items() if s >= own.get(job, 0)]
    start_s = float(pd.Series(starts, dtype=float).median())
    return {
        "units": len(units),
        "seconds": units["all_s"].sum() + len(jobs) * (0 if math.isnan(start_s) else start_s),
        "units_s": units["all_s"].sum(),
        "make_s": units["make_s"].sum(),
        "start_s": start_s,
        "peak_mb": max(units["peak_mb"].max(), jobs["peak_mib"].max()),
        "start_mb": units["start_mb"].median(),
        "gpu_mb": units["gpu_mb"].max() if "gpu_mb" in units else math.nan,
        "unit_megapixels": min((_unit_px(study, rule) or math.nan) ** 2 / 1e6, size),
    }


def _entries(folder: Path) -> pd.DataFrame:
    """Entries of the units that were made alike; those of older settings may lie beside them."""
    entries = {}
    for file in folder.glob("*.json"):
        if file.stem.isdigit():
            entries[int(file.stem)] = json.loads(file.read_text())
    table = pd.DataFrame.from_dict(entries, orient="index").sort_index()
    if not {"all_s", "make_s", "start_mb", "peak_mb"} <= set(table.columns):
        return pd.DataFrame()
    table = table[table["fingerprint"] == table["fingerprint"].iloc[0]]
    return table.dropna(subset="all_s")


def _unit_px(study: Study, rule: str) -> int | None:
    unit_px = SHARED[rule].unit_px
    return load_named(unit_px)(study.config) if unit_px else None


# By rule -------------------------------------------------------------------------------------------


def by_rule(table: pd.DataFrame) -> pd.DataFrame:
    """A row per rule of `costs`, in the order of the work; NaN where nothing is known.

    seconds_per_megapixel: beside the start of the jobs. start_s: of one job; of rules without units
    that of the others, but never more than their shortest job. mb_per_megapixel: memory beside what
    a job takes before its first unit, for each megapixel of a unit.
    """
    usual = table["start_s"].median()
    rows = []
    for rule, part in table.groupby("rule", sort=False):
        # To lay out a store, and what looks at a few places, take as long for every size.
        fixed = rule in LAYING_OUT or (rule in PER_MOSAIC and PER_MOSAIC[rule].sampled)
        sized = part.dropna(subset="megapixels")[: 0 if fixed else None]
        row = {"rule": rule, "seconds": part["seconds"].sum(), "jobs": part["jobs"].sum()}
        row |= {"longest_s": part["longest_s"].max(), "peak_mb": part["peak_mb"].max()}
        row["gpu_mb"] = part["gpu_mb"].max()
        if part["units_s"].notna().any():
            row["start_s"] = part["start_s"].median()
            work = sized["units_s"]
            row["overhead"] = 1 - part["make_s"].sum() / part["units_s"].sum()
            grown = (part["peak_mb"] - part["start_mb"]) / part["unit_megapixels"]
            row["mb_per_megapixel"] = grown.max()
        else:
            shortest = (sized["seconds"] / sized["jobs"]).min()
            row["start_s"] = min(usual, shortest) if len(sized) else math.nan
            start_s = 0 if math.isnan(row["start_s"]) else row["start_s"]
            work = sized["seconds"] - sized["jobs"] * start_s
        if len(sized):
            row["seconds_per_megapixel"] = work.sum() / sized["megapixels"].sum()
            # The dearest variant: a method with one PSF everywhere costs less than a map.
            each = (work / sized["megapixels"]).groupby(sized["variant"]).mean()
            row["dearest"] = each.max()
        rows.append(row)
    known = (
        *("rule", "jobs", "seconds", "longest_s", "seconds_per_megapixel", "dearest", "start_s"),
        *("overhead", "peak_mb", "gpu_mb", "mb_per_megapixel"),
    )
    order = {rule: place for place, rule in enumerate(PER_MOSAIC)}
    found = pd.DataFrame(rows, columns=list(known))
    return found.sort_values("rule", key=lambda names: names.map(order), kind="stable")


def jobs_of(
    methods: int, jobs_per_mosaic: int, *, chosen: bool = False, study: dict | None = None
) -> int:
    """Jobs that a mosaic of the user's has in all, with so many methods that restore it.

    chosen: whether something of the restoration is `auto`. study: the checked config, by which an application's jobs
    count or do not.
    """
    count = 0
    for stage in stages.of_mosaics():
        if study and not stage.wanted(study):
            continue
        if stage.usual and (chosen or stage.rule != CHOOSING):
            times = methods if stage.of_method else min(methods, 1) if stage.one_method else 1
            count += times * (jobs_per_mosaic if stage.shared else 1)
    return count


def jobs_for(
    seconds: float, methods: int, *, chosen: bool = False, study: dict | None = None
) -> int:
    """Jobs to share a mosaic among whose longest stage takes so many seconds: of JOB_S, but no more than
    JOBS_A_MOSAIC in all; of LONGEST_S where those would last longer."""
    few = range(2, JOBS_A_MOSAIC)
    known = {"chosen": chosen, "study": study}
    most = max([1, *(j for j in few if jobs_of(methods, j, **known) <= JOBS_A_MOSAIC)])
    return max(min(math.ceil(seconds / JOB_S), most), math.ceil(seconds / LONGEST_S), 1)


# What it suggests ----------------------------------------------------------------------------------


@dataclass
class Suggestion:
    """Settings for mosaics of height_px x width_px. seconds: of all jobs of one, beside their starts."""

    height_px: int
    width_px: int
    seconds: float
    jobs_per_mosaic: int
    resources: dict[str, int]

    @property
    def yaml(self) -> str:
        lines = [
            f"# mosaics of {self.height_px:,} x {self.width_px:,} px",
            f"jobs_per_mosaic: {self.jobs_per_mosaic}",
            "resources:",
            *(f"  {key}: {value}" for key, value in self.resources.items()),
        ]
        return "\n".join(lines)


def suggestions(study: Study, rules: pd.DataFrame) -> list[Suggestion]:
    """Settings for the study's largest mosaic and for larger squares.

    There are none where a ledger is missing or the largest mosaic has less than LEAST_MEGAPIXELS.

    rules: of `by_rule`. The margins are MEMORY_MARGIN and TIME_MARGIN; how many jobs says `jobs_for`.
    """
    known = rules.set_index("rule")
    sizes = [m.facts for m in study.mosaics if m.facts.get("height_px")]
    if not sizes or not study.config:
        return []
    config = _whole(study)
    wanted = {rule for rule, stage in SHARED.items() if not config or stage.wanted(config)}
    if not wanted <= set(known.index[known["overhead"].notna()]):
        return []
    largest = max(sizes, key=lambda facts: facts["height_px"] * facts["width_px"])
    shapes = [(largest["height_px"], largest["width_px"])]
    if math.prod(shapes[0]) < LEAST_MEGAPIXELS * 1e6:
        return []
    shapes += [(side, side) for side in SIDES_PX if side**2 > math.prod(shapes[0])]
    return [_suggestion(study, known, shape) for shape in shapes]


def _whole(study: Study) -> dict | None:
    """The study's config, where it is known whole."""
    return study.present.config if study.present else None


def _suggestion(study: Study, known: pd.DataFrame, shape: tuple[int, int]) -> Suggestion:
    known = known.loc[[rule for rule in PER_MOSAIC if rule in known.index and rule != SIMULATING]]
    chosen = (study.config.get("restoration") or {}).get("methods") or ["estimated"]
    methods = len([m for m in chosen if m not in ("none", "oracle")])
    work = known["dearest"].fillna(0) * math.prod(shape) / 1e6
    sampled = [rule for rule in known.index if PER_MOSAIC[rule].sampled]
    work[sampled] = known.loc[sampled, "longest_s"]
    sides = {rule: _unit_px(study, rule) for rule in SHARED if rule in known.index}
    units = {
        rule: math.prod(-(-length // side) for length in shape)
        for rule, side in sides.items()
        if side
    }
    jobs = jobs_for(
        work[list(sides)].max(),
        methods,
        chosen=CHOOSING in known.index,
        study=_whole(study),
    )
    jobs = min(jobs, max(units.values()))
    # One job may have a unit more than another.
    shares = pd.Series({rule: math.ceil(n / jobs) / n for rule, n in units.items()})
    seconds = work * shares.reindex(work.index).fillna(1) + known["start_s"].fillna(0)
    peaks = known["peak_mb"].copy()
    if "fill_psf_map" in peaks:
        stride = study.config["map"]["stride_px"]
        cells = math.prod(-(-length // stride) for length in shape)
        peaks["fill_psf_map"] += FILL_BYTES_A_CELL * cells / 2**20
    resources = {}
    for kind in ("map", "restore", "other"):
        large = [(PER_MOSAIC[rule].memory or "other") == kind for rule in known.index]
        long = [(PER_MOSAIC[rule].minutes or "other") == kind for rule in known.index]
        resources[f"{kind}_mem_mb"] = _mb(peaks[large].max())
        resources[f"{kind}_minutes"] = _minutes(seconds[long].max())
    times = [methods if PER_MOSAIC[rule].of_method else 1 for rule in known.index]
    return Suggestion(*shape, float((work * times).sum()), jobs, resources)


def _mb(peak: float) -> int:
    return max(LEAST_MB, math.ceil(MEMORY_MARGIN * peak / 100) * 100)


def _minutes(seconds: float) -> int:
    return max(LEAST_MINUTES, math.ceil(TIME_MARGIN * seconds / 60))
