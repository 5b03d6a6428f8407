"""Finds damaged results of a study: everything recorded as done is read and compared with its record.

`isoplan.stages` says for each rule which files claim that it is done, which data they stand for, and
what depends on them.
"""

import csv
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import zarr
from isoplan import stages
from isoplan.base.errors import UserError
from isoplan.base.imports import load_named
from isoplan.base.ledger import damaged
from isoplan.base.records import FOLDER, differing
from isoplan.base.rows import Stage
from isoplan.config.schema import schema
from isoplan.mosaic.convert import REFUSED

# The methods of a study that write a restoration.
RESTORING = {*schema()["properties"]["restoration"]["properties"]["methods"]["items"]["enum"]} - {
    "none"
}


@dataclass
class Finding:
    """A damaged result.

    text: what is damaged. remove: files that claim it is done. again: files to make before the rest.
    """

    text: str
    remove: list[Path]
    again: list[Path] = field(default_factory=list)


def leftovers(results: Path) -> Iterator[Path]:
    """Temporary files and stores of writers, which would have been renamed when complete."""
    for pattern in (".*.part", ".*.old", "checkpoint.part", "*.partial"):
        yield from results.rglob(pattern)


def check(results: Path, jobs: int) -> Iterator[Finding]:
    """Find everything recorded as done under results/<study>/ whose data are missing or damaged.

    jobs: the config's `jobs_per_mosaic`; unit u belongs to job u modulo that.
    """
    # Stores with lost units: their jobs and all later ones are run again anyway.
    known: set[Path] = set()
    for stage in stages.STAGES:
        for names in recorded_wildcards(results, stage) if stage.data else ():
            data = [results / path.format(**names) for path in stage.data]
            if stage.units:
                found = check_units(results, stage, names, data[0], jobs)
                known |= {data[0]} if found else set()
            elif known.isdisjoint([*data, *(path.parent for path in data)]):
                found = check_whole(results, stage, names, data)
            else:
                continue
            yield from found
    yield from check_evaluations(results)
    yield from check_records(results)


def recorded_wildcards(results: Path, stage: Stage) -> list[dict[str, str]]:
    """Wildcards (without `job`) for which something of a stage is recorded."""
    if stage.laid_out_by:
        patterns = stages.stage(stage.laid_out_by).made
    else:
        patterns = (f"{stage.ledger}/[0-9]*.json", *stage.made) if stage.ledger else stage.made[:1]
    found = [names for pattern in patterns for names, _ in matching(results, pattern)]
    own = [{key: value for key, value in names.items() if key != "job"} for names in found]
    return [dict(pairs) for pairs in sorted({tuple(names.items()) for names in own})]


def matching(results: Path, pattern: str, **known: str) -> list[tuple[dict[str, str], Path]]:
    """Files that match the pattern of a stage, each with the wildcards that are not given."""
    for name, value in known.items():
        pattern = pattern.replace(f"{{{name}}}", value)
    names = re.findall(r"{(\w+)}", pattern)
    parts = re.split(r"{\w+}", pattern)
    glob, regex = "*".join(parts), "([^/]+)".join(re.escape(part) for part in parts)
    regex = regex.replace(re.escape("[0-9]*"), r"\d+")
    files = ((path, path.relative_to(results).as_posix()) for path in sorted(results.glob(glob)))
    found = [(path, re.fullmatch(regex, name)) for path, name in files]
    return [(dict(zip(names, match.groups(), strict=True)), p) for p, match in found if match]


def files_of(results: Path, rules: tuple[str, ...], names: dict[str, str]) -> list[Path]:
    """Files that say that rules are done for these wildcards."""
    patterns = [pattern for rule in rules for pattern in stages.stage(rule).made]
    return [path for pattern in patterns for _, path in matching(results, pattern, **names)]


def check_whole(results: Path, stage: Stage, names: dict, data: list[Path]) -> list[Finding]:
    """Check that the data of one job are there and readable."""
    done = files_of(results, (stage.rule,), names)
    if done[0].suffix == ".done" and done[0].read_text().startswith(REFUSED):
        return []  # no data were made
    try:
        if stage.reads:
            for path in data:
                load_named(stage.reads)(path)
        lost = [] if stage.reads else [path for path in data if not is_complete(path)]
        text = f"{', '.join(map(str, lost))}, made by {stage.rule}" if lost else ""
    except UserError as error:
        text = str(error)
    if not text:
        return []
    after, again = files_of(results, stage.then, names), files_of(results, stage.first, names)
    return [Finding(text, [*done, *after], again)]


def check_units(results: Path, stage: Stage, names: dict, store: Path, jobs: int) -> list[Finding]:
    """Check a store that is written unit by unit; all or some units may be lost."""
    ledger = results / stage.ledger.format(**names)
    after, again = files_of(results, stage.then, names), files_of(results, stage.first, names)
    try:
        read, count = load_named(stage.units)(store)
    except UserError:
        rules = filter(None, (stage.laid_out_by, stage.rule))
        own = files_of(results, tuple(rules), names)
        records = sorted(ledger.glob("*.json"))
        return [Finding(f"{store}, the whole store", [*own, *records, *after], again)]
    if count is None:  # then count those that are recorded or written
        files = [file for place in (ledger, store) for file in place.glob("[0-9]*.*")]
        count = max((int(file.stem) for file in files), default=-1) + 1
    done = {job: results / stage.made[0].format(job=job, **names) for job in range(jobs)}
    lost = lost_units(ledger, read, count, done)
    if not lost:
        return []
    owners = sorted({unit % jobs for unit in lost})
    remove = [ledger / f"{unit}.json" for unit in lost] + [done[job] for job in owners]
    text = f"unit{'s' if len(lost) > 1 else ''} {', '.join(map(str, lost))}"
    return [Finding(f"{store}, {text} of {count}", [*remove, *after], again)]


def lost_units(ledger: Path, read: Callable, count: int, done: dict[int, Path]) -> list[int]:
    """Units whose data are damaged, and units that a finished job failed to record."""
    lost = set(damaged(ledger, read))
    for unit in range(count):
        if done[unit % len(done)].exists() and not (ledger / f"{unit}.json").exists():
            lost.add(unit)
    return sorted(lost)


def check_evaluations(results: Path) -> Iterator[Finding]:
    """Find restorations that were evaluated and have since been lost together with their records."""
    laid_out, restored = stages.stage("create_restoration"), stages.stage("restore_mosaic")
    for names, table in matching(results, "evaluation/{mosaic}.metrics.csv"):
        with table.open(newline="") as handle:
            named = {row.get("method") for row in csv.DictReader(handle)}
        for method in sorted(named & RESTORING):  # `none`, truth and reference are not restorations
            if not (results / laid_out.made[0].format(**names, method=method)).exists():
                path = results / restored.data[0].format(**names, method=method)
                after = files_of(results, stages.MEASURED, names)
                yield Finding(f"{path}, with its records", after)


def check_records(results: Path) -> Iterator[Finding]:
    """Find tables and other small files that differ from what their jobs wrote."""
    for stage in stages.STAGES:
        place = "/".join([FOLDER, stage.rule, *(f"{{{name}}}" for name in stage.per)])
        for names, record in matching(results, f"{place}.json"):
            if changed := differing(record, results):
                text = f"{', '.join(map(str, changed))}, made by {stage.rule}"
                after = files_of(results, (stage.rule, *stage.then), names)
                yield Finding(text, [*changed, *after], files_of(results, stage.first, names))


def is_complete(path: Path) -> bool:
    """Whether an array, or all arrays of a store, exist and can be read without an error."""
    try:
        found = zarr.open(path, mode="r", use_consolidated=False)
        names = [""] if isinstance(found, zarr.Array) else list(found.array_keys())
    except Exception:  # zarr raises many kinds
        return False
    return bool(names) and all(array_is_complete(path / name) for name in names)


def array_is_complete(path: Path) -> bool:
    """Whether every shard or chunk file of an array exists and can be read."""
    try:
        array = zarr.open_array(path, mode="r")
        grid = array.shards or array.chunks
        for place in chunk_indices(array.shape, grid):
            key = array.metadata.encode_chunk_key(place)
            if not (path / key).is_file():
                return False  # a missing file would read as the fill value
            array[tuple(slice(i * g, (i + 1) * g) for i, g in zip(place, grid, strict=True))]
    except Exception:  # zarr and its codecs raise many kinds
        return False
    return True


def chunk_indices(shape, grid) -> Iterator[tuple[int, ...]]:
    return itertools.product(
        *(range(-(-length // step)) for length, step in zip(shape, grid, strict=True))
    )
