"""What size costs: time and memory per pixel at 16384 x 16384 px beside 4096 x 4096, and two workers
beside one.

Through the units that jobs make, with their stores and ledgers. Of each mosaic some units are drawn at
random, as many of every shape of block (corners, edges, the inner ones), and each shape's mean counts
as often as the mosaic has it. The picture is a few simulated shards laid out again and again: neither
network nor restoration knows. Each size and stage has a process of its own with one thread.
"""

import contextlib
import io
import itertools
import multiprocessing
import statistics
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import torch
from isoplan.base.ledger import Ledger
from isoplan.cluster.units import peak_mb, run_units
from isoplan.config.entries import released
from isoplan.config.validation import validate
from isoplan.mosaic import ngff, tiles
from isoplan.mosaic.reader import open_mosaic
from isoplan.networks import store
from isoplan.optics.psf import make_psf_model
from isoplan.psf_map.estimate import map_unit
from isoplan.psf_map.fill import fill_invalid
from isoplan.psf_map.layout import SHARD_CELLS, MapLayout, channels
from isoplan.restoration.cores import restore_core
from isoplan.restoration.halo import halo_of
from isoplan.restoration.psfs import local_psfs
from isoplan.simulation import BLOCK_PX, Simulation

SIZES_PX = 4096, 16384
STAGES = "mapping", "restoring"
DRAWN = 1  # units of each shape, others in each run
WORKED = 2  # units that one worker makes, or two share
COUNTED = 10**7  # integers, likewise
RUNS = 3
PATTERNS = 6
LIMIT_MB = 1536
STUDY = {
    "restoration": {"iterations": 10, "tv_weight": 0.001, "psf_scale": 1, "resolution_px": 0},
    "networks": [{"name": "gaussian-2", "weights": "released"}],
    "test_sets": [],
    "tests": [],
    "simulations": [
        {
            "mosaic": "pattern",
            "size_px": [PATTERNS * BLOCK_PX, BLOCK_PX],
            "field": [
                {"parameter": name, "shape": "tilt-y", "low": 2, "high": 8}
                for name in ("width_y", "width_x")
            ],
        }
    ],
}


def run() -> list[dict]:
    """Rows of bench.csv and, with peak_mb, of memory.csv."""
    with tempfile.TemporaryDirectory() as folder:
        _alone(lay_out, folder)
        return [*growth(folder), *two_workers(folder)]


def growth(folder: str) -> list[dict]:
    """Seconds per megapixel at both sizes, in turn; the loop's own share; peak memory."""
    workers = {(size, stage): _process() for stage in STAGES for size in SIZES_PX}
    costs = defaultdict(list)  # (size, stage) -> runs of {"all_s", "make_s"} per megapixel
    for turn in range(RUNS + 1):
        for (size, stage), worker in workers.items():
            cost = worker.submit(cost_per_megapixel, folder, size, stage, turn).result()
            if turn:  # the first warms up
                costs[size, stage].append(cost)
    peaks = {key: worker.submit(peak_mb).result() for key, worker in workers.items()}
    for worker in workers.values():
        worker.shutdown()
    rows = []
    for stages in (*((stage,) for stage in STAGES), STAGES):
        seconds = {
            size: [
                sum(costs[size, stage][turn]["all_s"] for stage in stages) for turn in range(RUNS)
            ]
            for size in SIZES_PX
        }
        small, large = (seconds[size] for size in SIZES_PX)
        title = f"{' and '.join(stages)} {SIZES_PX[1]} px a side, per megapixel"
        rows.append(_row(title, large, f"the same at {SIZES_PX[0]} px", small))
    both = {
        size: [sum(costs[size, stage][turn]["cpu_s"] for stage in STAGES) for turn in range(RUNS)]
        for size in SIZES_PX
    }
    title = f"{' and '.join(STAGES)} {SIZES_PX[1]} px a side, processor time per megapixel"
    rows.append(_row(title, both[SIZES_PX[1]], f"the same at {SIZES_PX[0]} px", both[SIZES_PX[0]]))
    for stage in STAGES:
        known = costs[SIZES_PX[1], stage]
        whole, made = ([cost[key] for cost in known] for key in ("all_s", "make_s"))
        title = f"{stage} {SIZES_PX[1]} px a side, per megapixel, loop, ledger and stores included"
        floor = statistics.median(made)
        rows.append(_row(title, whole, "its arithmetic and reading alone", made, floor))
    for size, stage in workers:
        title = f"peak memory, {stage} {size} px a side"
        rows.append({"benchmark": title, "peak_mb": peaks[size, stage], "limit_mb": LIMIT_MB})
    return rows


def two_workers(folder: str) -> list[dict]:
    """The same units by one process and shared by two, one thread each, in turn.

    What the machine allows is measured between them: integers alone, which share no memory, by one
    process and by two. floor_s: what one process takes over that ratio.
    """
    size = SIZES_PX[0]
    rows, integers = [], {1: [], 2: []}
    with _process() as first, _process() as second:
        for stage in STAGES:
            shapes = [_block_shape(size, stage, unit) for unit in range(_count(size, stage))]
            # All alike, or one would wait for the other.
            units = [unit for unit, shape in enumerate(shapes) if shape == max(shapes)][:WORKED]
            taken = defaultdict(list)
            for turn, count in itertools.product(range(RUNS + 1), (1, 2)):
                workers = list(enumerate((first, second)[:count]))
                own = [
                    worker.submit(work, folder, size, stage, units[k::count], f"{count}by{turn}")
                    for k, worker in workers
                ]
                taken["units", count].append(_elapsed(own))
                bare = [worker.submit(count_up, COUNTED // count) for _, worker in workers]
                taken["integers", count].append(_elapsed(bare))
            pixels = len(units) * _mean_megapixels(size, stage, units)
            alone, shared = ([s / pixels for s in taken["units", count][1:]] for count in (1, 2))
            one, two = (taken["integers", count][1:] for count in (1, 2))
            title = f"{stage} by two processes of one thread, per megapixel"
            floor = statistics.median(alone) * statistics.median(two) / statistics.median(one)
            rows.append(_row(title, shared, "by one process of one thread", alone, floor))
            integers[1] += one
            integers[2] += two
    title = "two processes of arithmetic alone"
    return [*rows, _row(title, integers[2], "the same by one process", integers[1])]


def _row(title: str, ours: list[float], peer: str, peers: list[float], floor=None) -> dict:
    own, other = statistics.median(ours), statistics.median(peers)
    spread = max((max(s) - min(s)) / statistics.median(s) for s in (ours, peers))
    return {
        "benchmark": title,
        "ours_s": own,
        "peer": peer,
        "peer_s": other,
        "ratio": other / own,
        "floor_s": floor,
        "runs": len(ours),
        "spread": spread,
    }


# In processes of their own -------------------------------------------------------------------------


def _process() -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(
        1, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)
    )


def _alone(work, *arguments):
    with _process() as pool:
        return pool.submit(work, *arguments).result()


def _elapsed(futures) -> float:
    """From the first start to the last end of workers that were all waiting."""
    spans = [future.result()["span"] for future in futures]
    return max(end for _, end in spans) - min(begin for begin, _ in spans)


def count_up(number: int) -> dict:
    """Sums up integers: the processor alone, and neither memory nor the vector units."""
    begin, total = time.time(), 0
    for k in range(number):
        total += k & 7
    return {"span": (begin, time.time())}


@cache
def study() -> dict:
    return validate(STUDY)


@cache
def _layout(size: int) -> MapLayout:
    chosen = study()["map"]
    return MapLayout((size, size), chosen["window_px"], chosen["stride_px"], chosen["edges"])


@cache
def _cores(size: int) -> list:
    return tiles.shards((size, size), study()["restoration"]["core_px"])


def lay_out(folder: str) -> None:
    """Mosaics, maps and empty restorations of both sizes."""
    config, folder = study(), Path(folder)
    model = make_psf_model(config["psfs"][0])
    camera = next(camera for camera in config["cameras"] if camera["name"] == "field")
    order = config["restoration"]["order"]
    scene = Simulation(config["simulations"][0], model, camera, order, config["seed"])
    patterns = [
        scene.observed(k * BLOCK_PX, (k + 1) * BLOCK_PX, 0, BLOCK_PX, k) for k in range(PATTERNS)
    ]
    picture = {"pixel_size_um": 0.5, "shard_px": BLOCK_PX, "levels": 1, "attributes": {}}
    for size in SIZES_PX:
        observed = folder / f"{size}.ome.zarr"
        ngff.create_image(observed, (size, size), dtype="uint16", **picture)
        array = ngff.open_array(observed, mode="r+")
        for core, block in zip(_cores(size), itertools.cycle(patterns), strict=False):
            ngff.write_shards(array, core, block.astype(np.uint16))
        ngff.create_image(
            folder / f"restored{size}.ome.zarr", (size, size), dtype="float32", **picture
        )
        layout, named = _layout(size), channels(model)
        made = {"psf": model.spec, "window_px": layout.window_px, "edges": layout.edges}
        ngff.create_map(
            folder / f"map{size}.zarr", named, layout.cells, stride_px=layout.stride_px,
            pixel_size_um=0.5, shard_cells=SHARD_CELLS, attributes=made,
        )  # fmt: skip
        raw = np.full((len(named), *layout.cells), 0.5, np.float32)
        y, x = np.meshgrid(*(np.linspace(2, 8, n) for n in layout.cells), indexing="ij")
        raw[:2], raw[-3:] = (y, x), 0
        raw[-3, 1:-1, 1:-1] = 1  # cells at the border are filled from within
        filled = fill_invalid(raw, model, threshold=0.5, neighbours=4, smooth=True)
        for name, cells in (("raw", raw), ("0", filled)):
            ngff.write_shards(
                ngff.open_array(folder / f"map{size}.zarr", name, "r+"), (slice(None),) * 3, cells
            )


def cost_per_megapixel(folder: str, size: int, stage: str, turn: int) -> dict:
    """all_s, make_s and cpu_s of a whole mosaic divided by its megapixels, from the units drawn."""
    shapes = defaultdict(list)
    for unit in range(_count(size, stage)):
        shapes[_block_shape(size, stage, unit)].append(unit)
    rng = np.random.default_rng(turn)
    total = defaultdict(float)
    for units in shapes.values():
        drawn = rng.choice(units, min(DRAWN, len(units)), replace=False).tolist()
        found = work(folder, size, stage, drawn, f"growth{turn}-{units[0]}")
        for key in ("all_s", "make_s", "cpu_s"):
            total[key] += found[key] / len(drawn) * len(units)
    return {key: value / (size**2 / 1e6) for key, value in total.items()}


def _count(size: int, stage: str) -> int:
    return len(_layout(size).units if stage == "mapping" else _cores(size))


def _block_shape(size: int, stage: str, unit: int) -> tuple:
    """Size in px of what a unit's arithmetic sees; a map's blocks are all alike but for their ends."""
    if stage == "mapping":
        return tuple(part.stop - part.start for part in _layout(size).units[unit])
    outer = tiles.with_halo(_cores(size)[unit], _settings()["halo_px"], (size, size))
    return tuple(part.stop - part.start for part in outer)


def _mean_megapixels(size: int, stage: str, units) -> float:
    if stage == "mapping":
        stride = _layout(size).stride_px
        parts = [_layout(size).units[unit] for unit in units]
    else:
        stride, parts = 1, [_cores(size)[unit] for unit in units]
    areas = [np.prod([(p.stop - p.start) * stride for p in part]) for part in parts]
    return float(np.mean(areas)) / 1e6


@cache
def _settings() -> dict:
    settings = study()["restoration"]
    halo = halo_of(settings, study()["psfs"][0]["size_px"])
    return settings | {"halo_px": halo, "offset": 100.0}


def work(folder: str, size: int, stage: str, units, name: str) -> dict:
    """Makes units as a job does. Seconds in all, in the arithmetic and of the processor; begin and end."""
    folder, units = Path(folder), list(units)
    ledger = Ledger(folder / "ledgers" / f"{name}-{size}-{stage}-{units[0]}", "mark")
    with open_mosaic(folder / f"{size}.ome.zarr") as mosaic:
        make, write, read = (mapping if stage == "mapping" else restoring)(folder, size, mosaic)
        begin, cpu = time.time(), time.process_time()
        with contextlib.redirect_stderr(io.StringIO()):  # its progress
            run_units(
                ledger, len(units), job=0, jobs=1, title=stage,
                make=lambda k: make(units[k]),
                write=lambda k, block: write(units[k], block),
                read=lambda k: read(units[k]),
            )  # fmt: skip
        end, cpu = time.time(), time.process_time() - cpu
    made = sum(ledger.recorded(k)["make_s"] for k in range(len(units)))
    return {"all_s": end - begin, "make_s": made, "cpu_s": cpu, "span": (begin, end)}


@cache
def _network():
    network, model, _ = store.load(released("gaussian-2"), torch.device("cpu"))
    return network, model


def mapping(folder: Path, size: int, mosaic):
    network, model = _network()
    layout = _layout(size)
    cells = ngff.open_array(folder / f"map{size}.zarr", "raw", "r+")
    return (
        lambda unit: map_unit(
            network, model, mosaic, layout, unit, offset=100.0, device=torch.device("cpu")
        ),
        lambda unit, block: ngff.write_shards(cells, (slice(None), *layout.units[unit]), block),
        lambda unit: cells[(slice(None), *layout.units[unit])],
    )


def restoring(folder: Path, size: int, mosaic):
    choice = {"store": str(folder / f"map{size}.zarr")}
    local = local_psfs(choice, (size, size))
    cores = _cores(size)
    output = ngff.open_array(folder / f"restored{size}.ome.zarr", "0", "r+")
    brightness = {"start": 3000.0, "scale": 20_000.0}
    return (
        lambda unit: restore_core(
            mosaic,
            local,
            cores[unit],
            _settings(),
            brightness=brightness,
            device=torch.device("cpu"),
        ),
        lambda unit, block: ngff.write_shards(output, cores[unit], ngff.to_stored(block, output)),
        lambda unit: output[cores[unit]],
    )
