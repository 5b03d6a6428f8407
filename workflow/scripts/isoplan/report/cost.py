"""Cost of each stage of a study, and the resources that it suggests for mosaics of other sizes.

The cost of mapping, restoring and evaluating is known for each unit from the ledgers, which survive a killed job. That
of other rules is known for each job, as measured by Snakemake. The memory of the former is that of one unit, for
mosaics of any size. Of the others, only the memory for filling a map grows, with the number of its cells.
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
MEMORY_MARGIN, TIME_MARGIN = 1.5, 2  # for other nodes, other load and other pictures
JOB_S = 600  # duration of a job, so that its start takes about 1 % of it
JOBS_A_MOSAIC = 60  # more of them would burden the scheduler
LONGEST_S = 3600  # longest duration of a job, as clusters usually allow an hour or two
FILL_BYTES_A_CELL = 300  # isoplan.psf_map.fill
SIDES_PX = (10_000, 20_000, 100_000)
LEAST_MB, LEAST_MINUTES = 500, 5
LEAST_MEGAPIXELS, ENOUGH_MEGAPIXELS = 4, 16  # below, times vary and are mostly starts


def costs(study: Study) -> pd.DataFrame:
    """The cost of a study.

    Returns
    -------
    pandas.DataFrame
        A row for each rule, mosaic and variant (network or method). The columns are COLUMNS, among them

        - mosaic, variant: empty if the rule has none,
        - seconds: duration of all jobs, including their starts,
        - units_s, make_s: duration of all units, and of their reading and computing alone,
        - start_s: median time of a job outside of its units,
        - peak_mb, start_mb, gpu_mb: largest memory, memory before the first unit, and that of a GPU,
        - unit_megapixels: area of a complete unit.

        A job that was killed and run again counts as if it had not been killed.
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
    """Size of every mosaic that was measured, by name."""
    return {
        mosaic.name: mosaic.facts["height_px"] * mosaic.facts["width_px"] / 1e6
        for mosaic in study.mosaics
        if mosaic.facts.get("height_px")
    }


def _is_ours(rule: str, place: list[str], jobs: int) -> bool:
    """Whether a job belongs to this study; a run with more jobs per mosaic may have left others."""
    return rule not in SHARED or (place[-1].isdigit() and int(place[-1]) < jobs)


def _from_ledger(study: Study, rule, mosaic, variant, jobs: pd.DataFrame, size: float) -> dict:
    """The costs from a ledger; empty if it has no entries with times."""
    stage = SHARED[rule]
    names = dict(zip(stage.per, [mosaic, *filter(None, variant.split("/"))], strict=False))
    units = _entries(study.folder / stage.ledger.format(**names))
    if units.empty:
        return {}
    measured = {int(place[-1]): s for place, s in zip(jobs["place"], jobs["seconds"], strict=True)}
    own = units["all_s"].groupby(units.index % study.config["jobs_per_mosaic"]).sum()
    # For a job that was continued after an accident, Snakemake measured the last part only.
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
    """Entries of the units with the same settings; those of older settings may still be there."""
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
    """Summarise costs by rule.

    Parameters
    ----------
    table
        From `costs`.

    Returns
    -------
    pandas.DataFrame
        A row for each rule, in the order of the work; NaN where a value is unknown. Among the columns are

        - seconds_per_megapixel: without the start of the jobs,
        - dearest: the same, for the most expensive network or method,
        - start_s: start of one job; for rules without units that of the others, but at most their shortest job,
        - overhead: share of the units' time that is not reading and computing,
        - mb_per_megapixel: memory beyond that of a job before its first unit, per megapixel of a unit.
    """
    usual = table["start_s"].median()
    rows = []
    for rule, part in table.groupby("rule", sort=False):
        # Rules that create a store or look at a few places take as long for every size.
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
            # The most expensive variant counts: a method with one PSF costs less than one with a map.
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
    """Number of jobs for one mosaic of the user.

    Parameters
    ----------
    methods
        Number of methods that restore it.
    jobs_per_mosaic
        The config's `jobs_per_mosaic`.
    chosen
        Whether any setting of the restoration is "auto".
    study
        The checked config, which determines whether jobs of applications are included. None includes all.
    """
    count = 0
    for stage in stages.of_mosaics():
        if study and not stage.wanted(study):
            continue
        if stage.usual and (chosen or stage.rule != CHOOSING):
            times = methods if stage.of_method else min(methods, 1) if stage.one_method else 1
            times *= stage.entries(study) if study else 1
            count += times * (jobs_per_mosaic if stage.shared else 1)
    return count


def jobs_for(
    seconds: float, methods: int, *, chosen: bool = False, study: dict | None = None
) -> int:
    """Number of jobs per mosaic for a mosaic whose longest stage takes this many seconds.

    Jobs last JOB_S, but there are at most JOBS_A_MOSAIC in all, unless they would last longer than LONGEST_S.
    methods, chosen, study: as for `jobs_of`.
    """
    few = range(2, JOBS_A_MOSAIC)
    known = {"chosen": chosen, "study": study}
    most = max([1, *(j for j in few if jobs_of(methods, j, **known) <= JOBS_A_MOSAIC)])
    return max(min(math.ceil(seconds / JOB_S), most), math.ceil(seconds / LONGEST_S), 1)


# What it suggests ----------------------------------------------------------------------------------


@dataclass
class Suggestion:
    """Settings for mosaics of a size.

    Attributes
    ----------
    height_px, width_px
        Size of the mosaic.
    seconds
        Duration of all jobs of one mosaic, without their starts.
    jobs_per_mosaic
        The config's `jobs_per_mosaic`.
    resources
        The config's `resources`.
    """

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
    """Suggest settings for the study's largest mosaic, and for larger squares.

    The margins are MEMORY_MARGIN and TIME_MARGIN, and the number of jobs comes from `jobs_for`. There are no
    suggestions if a ledger is missing, or the largest mosaic has less than LEAST_MEGAPIXELS.

    rules: from `by_rule`.
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
    """The study's config if it is complete, else None."""
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
    # A job may have one unit more than another.
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
    rows = [PER_MOSAIC[rule] for rule in known.index]
    times = [(methods if row.of_method else 1) * row.entries(study.config) for row in rows]
    return Suggestion(*shape, float((work * times).sum()), jobs, resources)


def _mb(peak: float) -> int:
    return max(LEAST_MB, math.ceil(MEMORY_MARGIN * peak / 100) * 100)


def _minutes(seconds: float) -> int:
    return max(LEAST_MINUTES, math.ceil(TIME_MARGIN * seconds / 60))
