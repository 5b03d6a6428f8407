"""What a study's results claim to be done and is not: read back, and compared with what was recorded.

Knows what the rules name their files: the "done" files in stages/, the ledgers, the stores.
"""

import csv
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import zarr
from isoplan.base.errors import UserError
from isoplan.base.ledger import damaged
from isoplan.config.schema import schema
from isoplan.evaluation import unit_cells
from isoplan.mosaic import ngff, tiles
from isoplan.mosaic.convert import REFUSED
from isoplan.networks import store
from isoplan.psf_map.layout import MapLayout
from isoplan.restoration.trust import RestoredStore
from isoplan.restoration_test.units import unit_file

# The methods of a study that leave a restoration.
RESTORING = {*schema()["properties"]["restoration"]["properties"]["methods"]["items"]["enum"]} - {
    "none"
}


@dataclass
class Finding:
    """text: what is damaged. remove: files that claim it is done. again: to be made before the rest."""

    text: str
    remove: list[Path]
    again: list[Path] = field(default_factory=list)


def leftovers(results: Path) -> Iterator[Path]:
    """Files and stores that were being written under another name, to be renamed when whole."""
    for pattern in (".*.part", ".*.old", "checkpoint.part", "*.partial"):
        yield from results.rglob(pattern)


def check(results: Path, jobs: int) -> Iterator[Finding]:
    """Everything recorded as done under results/<study>/ whose data are not there or not unharmed.

    jobs: the config's `jobs_per_mosaic`; unit u belongs to job u modulo that.
    """
    yield from check_sample_sets(results)
    yield from check_networks(results)
    yield from check_simulations(results)
    yield from check_conversions(results)
    yield from check_maps(results, jobs)
    yield from check_restorations(results, jobs)
    yield from check_sums(results, jobs)
    yield from check_evaluations(results)
    yield from check_restoration_tests(results, jobs)


def check_sample_sets(results: Path) -> Iterator[Finding]:
    for done in sorted(results.glob("stages/validation/*.done")):
        path = results / "sets" / f"validation-{done.stem}.zarr"
        if not all_whole(path, ("patches", "params", "invalid")):
            yield Finding(f"{path}, validation samples", [done], [done])
    for done in sorted(results.glob("stages/test/*.done")):
        path = results / "sets" / f"test-{done.stem}.zarr"
        if not all_whole(path, ("patches", "params", "invalid")):
            judged = sorted(results.glob(f"regression/*/{done.stem}.*csv"))
            yield Finding(
                f"{path}, test samples", [done, *judged, results / "regression.csv"], [done]
            )


def check_networks(results: Path) -> Iterator[Finding]:
    for file in sorted(results.glob("networks/*/network.safetensors")):
        try:
            store.load(file)
        except UserError as error:
            yield Finding(f"{error}", [file], [file])


def check_simulations(results: Path) -> Iterator[Finding]:
    for done in sorted(results.glob("stages/simulated/*.done")):
        mosaic = done.stem
        pictures = [results / "simulated" / mosaic / f"{n}.ome.zarr" for n in ("observed", "truth")]
        true_map = results / "psf_map" / mosaic / "true.zarr"
        lost = [path for path in [*pictures, true_map] if not all_whole(path)]
        if lost:
            names = ", ".join(map(str, lost))
            yield Finding(f"{names}, simulated", [done, *evaluated(results, mosaic)], [done])


def check_conversions(results: Path) -> Iterator[Finding]:
    for done in sorted(results.glob("stages/converted/*.done")):
        path = results / "converted" / f"{done.stem}.ome.zarr"
        refused = done.read_text().startswith(REFUSED)
        if not (refused or all_whole(path)):
            yield Finding(f"{path}, converted", [done, *evaluated(results, done.stem)], [done])


def check_maps(results: Path, jobs: int) -> Iterator[Finding]:
    for created in sorted(results.glob("stages/psf_map/*/*/created.done")):
        stage, (mosaic, network) = created.parent, created.parts[-3:-1]
        path = results / "psf_map" / mosaic / f"{network}.zarr"
        summary = path.with_suffix(".json")
        after = [summary, *evaluated(results, mosaic)]
        again = [summary] if summary.exists() else []
        ledger = results / "ledgers" / "psf_map" / mosaic / network
        found = check_units(path, map_units, stage, "map", ledger, jobs, after, again)
        yield from found
        if not found and summary.exists() and not whole(path, "0"):
            yield Finding(f"{path}, the filled map", after, again)


def check_restorations(results: Path, jobs: int) -> Iterator[Finding]:
    for created in sorted(results.glob("stages/restored/*/*/created.done")):
        stage, (mosaic, method) = created.parent, created.parts[-3:-1]
        path = results / "restored" / mosaic / f"{method}.ome.zarr"
        finished = stage / "finished.done"
        after = [finished, *evaluated(results, mosaic)]
        ledger = results / "ledgers" / "restored" / mosaic / method
        found = check_units(path, restored_units, stage, "restore", ledger, jobs, after)
        yield from found
        if not found and finished.exists() and not all_whole(path):
            yield Finding(f"{path}, its pyramid", after)


def check_sums(results: Path, jobs: int) -> Iterator[Finding]:
    for created in sorted(results.glob("stages/evaluation/*/created.done")):
        stage, mosaic = created.parent, created.parent.name
        path, after = results / "evaluation" / f"{mosaic}.zarr", evaluated(results, mosaic)
        ledger = results / "ledgers" / "evaluation" / mosaic
        yield from check_units(path, evaluation_units, stage, "evaluate", ledger, jobs, after)


def check_restoration_tests(results: Path, jobs: int) -> Iterator[Finding]:
    tables = sorted([*results.glob("restoration*.csv"), *results.glob("harm*.csv")])
    kinds = (
        *(("restoration_tests", "test"), ("restoration_sweeps", "sweep")),
        ("harm_tests", "test"),
    )
    found = [(k, name, path) for k, name in kinds for path in results.glob(f"ledgers/{k}/*")]
    for kind, name, ledger in sorted(found):
        folder, stage = results / kind / ledger.name, results / "stages" / kind / ledger.name
        known = [int(file.stem) for place in (ledger, folder) for file in place.glob("[0-9]*.*")]
        count, pictures = max(known, default=-1) + 1, folder.with_name(f"{ledger.name}.npz")
        lost = lost_units(ledger, test_units(folder), count, stage, name, jobs)
        if lost:
            remove = [*traces(lost, ledger, stage, name, jobs), *tables, pictures]
            yield Finding(f"{folder}, {named(lost)} of {count}", remove)


def check_units(path, units_of, stage, name, ledger, jobs, after, again=()) -> list[Finding]:
    """What of a store is lost, the whole or some units, of jobs that leave stage/<name>.<job>.done.

    units_of(path): how a unit is read back, and how many there are. after: files that came of the store.
    """
    try:
        read, count = units_of(path)
    except UserError:
        return [Finding(f"{path}, the whole store", everything(stage, ledger) + after, list(again))]
    lost = lost_units(ledger, read, count, stage, name, jobs)
    remove = traces(lost, ledger, stage, name, jobs) + after
    return [Finding(f"{path}, {named(lost)} of {count}", remove, list(again))] if lost else []


def check_evaluations(results: Path) -> Iterator[Finding]:
    """Restorations that were measured and have since been lost together with their records."""
    for table in sorted(results.glob("evaluation/*.metrics.csv")):
        mosaic = table.name.removesuffix(".metrics.csv")
        with table.open(newline="") as handle:
            named = {row.get("method") for row in csv.DictReader(handle)}
        for method in sorted(named & RESTORING):  # none was not restored, nor truth and reference
            if not (results / "stages" / "restored" / mosaic / method / "created.done").exists():
                path = results / "restored" / mosaic / f"{method}.ome.zarr"
                yield Finding(f"{path}, with its records", evaluated(results, mosaic))


def map_units(path: Path) -> tuple[Callable, int]:
    """How a unit of a map is read back, and how many there are."""
    made, cells = ngff.read_attributes(path), ngff.open_array(path, ngff.RAW)
    units = MapLayout(
        tuple(made["shape_px"]), made["window_px"], made["stride_px"], made["edges"]
    ).units
    return lambda unit: cells[(slice(None), *units[unit])], len(units)


def restored_units(path: Path) -> tuple[Callable, int]:
    store = RestoredStore(path)
    return store.read, len(store.cores)


def evaluation_units(path: Path) -> tuple[Callable, int]:
    cells = ngff.open_array(path)
    units = tiles.shards(cells.shape, unit_cells(ngff.read_attributes(path)["stride_px"]))
    return lambda unit: cells[(slice(None), *units[unit])], len(units)


def test_units(folder: Path) -> Callable:
    """How a unit of a restoration test is read back."""
    return lambda unit: np.load(unit_file(folder, unit))


def lost_units(ledger: Path, read, count: int, stage: Path, name: str, jobs: int) -> list[int]:
    """Units whose data are damaged, and units that a finished job should have recorded and has not."""
    lost = set(damaged(ledger, read))
    for unit in range(count):
        finished = stage / f"{name}.{unit % jobs}.done"
        if finished.exists() and not (ledger / f"{unit}.json").exists():
            lost.add(unit)
    return sorted(lost)


def traces(units: list[int], ledger: Path, stage: Path, name: str, jobs: int) -> list[Path]:
    """The records of these units, and the "done" files of the jobs that own them."""
    owners = {unit % jobs for unit in units}
    return [ledger / f"{unit}.json" for unit in units] + [
        stage / f"{name}.{job}.done" for job in sorted(owners)
    ]


def everything(stage: Path, ledger: Path) -> list[Path]:
    return [*sorted(stage.glob("*.done")), *sorted(ledger.glob("*.json"))]


def evaluated(results: Path, mosaic: str) -> list[Path]:
    """What was measured on a mosaic, and the table that collects it: asked for, it asks for all before.

    Every step between must go: what is missing before a file that is there is not asked for.
    """
    return [
        *sorted(results.glob(f"stages/evaluation/{mosaic}/evaluate.*.done")),
        *sorted(results.glob(f"evaluation/{mosaic}.*.csv")),
        results / "metrics.csv",
    ]


def named(units: list[int]) -> str:
    return f"unit{'s' if len(units) > 1 else ''} {', '.join(map(str, units))}"


def all_whole(path: Path, names: tuple[str, ...] = ()) -> bool:
    """Whether a store's arrays (all, or those named) are there and read without an error."""
    try:
        names = names or tuple(zarr.open_group(path, mode="r").array_keys())
    except Exception:  # zarr raises many kinds
        return False
    return bool(names) and all(whole(path, name) for name in names)


def whole(path: Path, name: str) -> bool:
    """Whether every shard or chunk file of an array is there and reads back."""
    try:
        array = zarr.open_array(path / name, mode="r")
        grid = array.shards or array.chunks
        for place in places(array.shape, grid):
            key = array.metadata.encode_chunk_key(place)
            if not (path / name / key).is_file():
                return False  # a missing file would read as the fill value
            array[tuple(slice(i * g, (i + 1) * g) for i, g in zip(place, grid, strict=True))]
    except Exception:  # zarr and its codecs raise many kinds
        return False
    return True


def places(shape, grid) -> Iterator[tuple[int, ...]]:
    return itertools.product(
        *(range(-(-length // step)) for length, step in zip(shape, grid, strict=True))
    )
