"""The section on cost: what the study took, and what to request from a cluster."""

import numpy as np
import pandas as pd

from isoplan.report import cost, style
from isoplan.report.results import Study
from isoplan.report.section import Part, Section
from isoplan.report.tables import Cell, Table

INTRO = (
    "{note} Seconds per megapixel do not include the start of the jobs. For mapping, restoring and evaluating, the overhead "
    "is the share of time for ledger and stores, and MB per megapixel is the memory of a unit for its area, which does not "
    "grow with the mosaic."
)
SUGGESTED = (
    "Estimated from the table above, for similar nodes and the settings and methods of this study, with "
    f"{cost.MEMORY_MARGIN} times the memory and {cost.TIME_MARGIN} times the time. Jobs last about {cost.JOB_S // 60} minutes, "
    f"or up to {cost.LONGEST_S // 60} minutes if a mosaic would otherwise have more than {cost.JOBS_A_MOSAIC} of them. Work is "
    "the total time of all jobs of one mosaic."
)


def cost_table(study: Study, rules: pd.DataFrame) -> Table | None:
    """Jobs, time and memory of each rule. rules: from `cost.by_rule`."""
    if rules.empty:
        return None
    whole = rules["seconds"].sum()
    rows = []
    for row in rules.to_dict("records"):
        texts = [row["rule"], f"{row['jobs']:,}", style.duration(row["seconds"])]
        texts += [style.percent(row["seconds"] / whole), style.duration(row["longest_s"])]
        texts += [_known(row["seconds_per_megapixel"], style.significant)]
        texts += [_known(row["start_s"], style.significant), _known(row["overhead"], style.percent)]
        texts += [style.memory(row["peak_mb"]), _known(row["mb_per_megapixel"], style.significant)]
        rows.append([Cell(text) for text in texts])
        if np.isfinite(row["gpu_mb"]):
            rows[-1][-2].notes.append(f"GPU {style.memory(row['gpu_mb'])}")
    head = ["Rule", "Jobs", "Time, all", "Share", "Longest job", "s per Mpx", "Start of a job (s)"]
    head += ["Overhead", "Peak memory", "MB per Mpx"]
    peak = style.memory(rules["peak_mb"].max())
    note = f"All jobs together took {style.duration(whole)}; the largest used {peak}."
    if rules["gpu_mb"].notna().any():
        note += " On a GPU, batches are as large as its free memory allows."
    return Table(head, rows, note)


def _known(value: float, text) -> str:
    return text(value) if np.isfinite(value) else "\u2013"


def suggestion_table(suggestions: list[cost.Suggestion]) -> Table | None:
    """What to request from a cluster, by size of the mosaic."""
    if not suggestions:
        return None
    rows = []
    for one in suggestions:
        texts = [f"{one.height_px:,} \u00d7 {one.width_px:,}", style.duration(one.seconds)]
        texts.append(f"{one.jobs_per_mosaic:,}")
        for kind in ("map", "restore", "other"):
            memory, time = one.resources[f"{kind}_mem_mb"], one.resources[f"{kind}_minutes"]
            texts.append(f"{memory:,} MB, {time:,} min")
        rows.append([Cell(text) for text in texts])
    head = ["Height \u00d7 width (px)", "Work", "jobs_per_mosaic"]
    return Table([*head, "Mapping job", "Restoring job", "Any other job"], rows)


def parts(study: Study) -> list[Part]:
    rules = cost.by_rule(cost.costs(study))
    table = cost_table(study, rules)
    if table is None:
        return [Part(remarks=["This study has no benchmarks."])]
    found = [Part(words=[INTRO.format(note=table.note)], tables=[("", table)], data=["cost.csv"])]
    largest = max(cost.megapixels(study).values(), default=0)
    few = f"The largest mosaic of this study has {largest:.2g} megapixels: run one of {cost.ENOUGH_MEGAPIXELS} or more"
    suggestions = cost.suggestions(study, rules)
    if suggestions:
        words = SUGGESTED
        if largest < cost.ENOUGH_MEGAPIXELS:
            words += f" {few} before you rely on it."
        yaml = "\n\n".join(suggestion.yaml for suggestion in suggestions)
        found.append(
            Part(
                "What to request from a cluster",
                words=[words],
                tables=[("", suggestion_table(suggestions))],
                listing=("The same as YAML, for the study's config", yaml),
            )
        )
    elif largest:
        found.append(Part(notes=[f"{few} to see here what to request from a cluster."]))
    return found


SECTION = Section("cost", "Cost", "What it cost", parts)
