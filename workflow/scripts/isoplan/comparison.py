"""What a picture is compared with, how it is read beside that, and how well the two agree over a few squares."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from isoplan.metrics import frc
from isoplan.mosaic import ngff, tiles
from isoplan.registration import open_registered

# The truth of a simulation, or a better picture of the same field.
STANDARDS = ("truth", "reference")
RING_SQUARES = 64  # for the Fourier ring correlation, spread over the mosaic


def standard_of(truth, registration) -> str | None:
    """One of STANDARDS, or None where nothing is known: no simulation, no reference or a refused one."""
    if truth:
        return "truth"
    if registration and "refused" not in json.loads(Path(registration).read_text()):
        return "reference"
    return None


@contextmanager
def open_readers(
    facts: dict, stores: dict, *, truth=None, registration=None
) -> Iterator[dict[str, Callable]]:
    """name -> function of (y0, y1, x0, x1) that gives counts above the offset, float32, NaN where
    nothing is known: of "none" (the mosaic), every restored store, and what they are judged by.

    facts: of `mosaic.measure`. stores: method -> store. truth: a simulation's store. registration: of
    `registration.write`, where that did not refuse.
    """
    offset = np.float32(facts["offset"])
    with ExitStack() as stack:
        mosaic = stack.enter_context(facts.open())
        readers = {"none": lambda *window: mosaic.read(*window) - offset}
        for method, store in stores.items():
            readers[method] = _covered(mosaic, _picture(store))
        if truth:
            readers["truth"] = _picture(truth)
        if registration:
            reference = stack.enter_context(open_registered(registration, facts))
            readers["reference"] = lambda *window: reference.read(*window) - offset
        yield readers


def _picture(store) -> Callable:
    level = ngff.ScaledArray(store)
    return lambda y0, y1, x0, x1: level[y0:y1, x0:x1]


def _covered(mosaic, read: Callable) -> Callable:
    """NaN where no tile was: whole numbers have none."""

    def masked(*window):
        block, covered = read(*window), mosaic.covered(*window)
        return block if covered is None else np.where(covered, block, np.float32(np.nan))

    return masked


def ring_correlations(readers: dict, standard: str, shape) -> dict[str, np.ndarray]:
    """Fourier ring correlation of every picture with readers[standard]: name -> (rings,) from -1 to 1.

    Over at most RING_SQUARES squares, evenly spread over the mosaic of `shape` (H, W), in which all
    pictures are known everywhere; empty where there is none.
    """
    side = frc.SQUARE_PX
    per_axis = [length // side for length in shape]
    step = max(1, int(np.ceil(np.sqrt(np.prod(per_axis) / RING_SQUARES))))
    sums = {name: 0.0 for name in readers if name != standard}
    found = False
    for j in range((per_axis[0] - 1) % step // 2, per_axis[0], step):
        for i in range((per_axis[1] - 1) % step // 2, per_axis[1], step):
            window = j * side, (j + 1) * side, i * side, (i + 1) * side
            squares = {name: read(*window) for name, read in readers.items()}
            if all(np.isfinite(square).all() for square in squares.values()):
                found = True
                for name in sums:
                    sums[name] = sums[name] + frc.ring_sums(squares[name], squares[standard])
    return {name: frc.curve(total) for name, total in sums.items()} if found else {}


def signal_to_noise(readers: dict, standard: str, shape) -> dict[str, float]:
    """SNR in dB of every picture beside readers[standard], of the pixels that are known in all.

    Over the mosaic of `shape` (H, W), of a large one over RING_SQUARES squares spread over it.
    """
    squares = tiles.shards(shape, frc.SQUARE_PX)
    chosen = np.unique(np.linspace(0, len(squares) - 1, RING_SQUARES).round().astype(int))
    errors, signal = {name: 0.0 for name in readers if name != standard}, 0.0
    for rows, columns in (squares[k] for k in chosen):
        window = rows.start, rows.stop, columns.start, columns.stop
        blocks = {name: read(*window).astype(np.float64) for name, read in readers.items()}
        known = np.logical_and.reduce([np.isfinite(block) for block in blocks.values()])
        true = blocks[standard][known]
        signal += float((true**2).sum())
        for name in errors:
            errors[name] += float(((blocks[name][known] - true) ** 2).sum())
    return {
        name: float(10 * np.log10(signal / error))
        for name, error in errors.items()
        if signal > 0 and error > 0
    }
