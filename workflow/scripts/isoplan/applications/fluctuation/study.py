"""A sequence of a study: opened, measured, and put together from the units that jobs made of its squares."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from isoplan.applications.fluctuation import superresolution, units
from isoplan.applications.fluctuation.information import Evidence, Information
from isoplan.applications.fluctuation.measured import Measured
from isoplan.applications.fluctuation.sequence import Frames, open_frames
from isoplan.applications.fluctuation.superresolution import SuperResolved
from isoplan.base.errors import UserError
from isoplan.cluster.unit_files import load_unit, unit_file

OPTIONS = (
    *("pixel_size_um", "psf_fwhm_nm", "na", "wavelength_um", "psf_shape", "factor"),
    *("offset", "gain", "read_noise_e", "emccd", "halves"),
)


@contextlib.contextmanager
def opened(sequence: dict, scratch: Path) -> Iterator[Frames]:
    """The frames of an entry of `sequences`, by a copy at `scratch` meanwhile."""
    with open_frames(sequence["path"], scratch, channel=sequence["channel"]) as frames:
        yield frames


def measured(sequence: dict, scratch: Path) -> Measured:
    """What an entry of `sequences` and its frames tell. Raises UserError, with its name, where they cannot be used."""
    try:
        with opened(sequence, scratch) as frames:
            return Measured.of(frames, **{key: sequence[key] for key in OPTIONS})
    except UserError as error:
        raise UserError(f"sequence {sequence['name']}: {error}") from error.__cause__


def read(file: str | Path) -> Measured:
    """What was measured."""
    return Measured.from_record(json.loads(Path(file).read_text()))


def information(folder: str | Path, found: Measured) -> Information:
    """What the evidence of all squares tells together. folder: of their units."""
    return superresolution.weigh(_evidence(folder, found), found.shape)


def put_together(evidence: str | Path, blocks: str | Path, found: Measured) -> SuperResolved:
    """All of a sequence, from the folders of its units."""
    told = information(evidence, found)
    made = (_unit(blocks, unit, units.to_block) for unit in range(_count(found)))
    return superresolution.join(made, told, found.shape, found.frames, found.settings)


def _evidence(folder: str | Path, found: Measured) -> list[Evidence]:
    return [_unit(folder, unit, units.to_evidence) for unit in range(_count(found))]


def _count(found: Measured) -> int:
    return len(superresolution.cores(found.shape))


def _unit(folder: str | Path, unit: int, unpack: Callable[[np.ndarray], Any]) -> Any:
    try:
        return unpack(load_unit(folder, unit))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{unit_file(folder, unit)}: cannot be read ({error}); `make resume` makes it again"
        ) from None
