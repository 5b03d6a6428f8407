"""One picture of any size, mapped and restored with a trained network: what the command line and `isoplan.api` share."""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from isoplan.base.device import return_freed_memory
from isoplan.base.errors import UserError
from isoplan.config.entries import left_open, released
from isoplan.mosaic import tiles
from isoplan.mosaic.facts import Facts
from isoplan.mosaic.window import Picture
from isoplan.networks import store
from isoplan.optics.exposure import exposure_of
from isoplan.optics.model import PsfModel, of_unit
from isoplan.psf_map.estimate import map_whole
from isoplan.psf_map.layout import (
    FULLY_USABLE,
    MapLayout,
    at_cutoff,
    channels,
    check_window,
    strides,
)
from isoplan.restoration import choice_words, choosing
from isoplan.restoration.cores import RestoredCore, restore_with_trust
from isoplan.restoration.halo import halo_of, with_choice
from isoplan.restoration.psfs import LocalPsfs
from isoplan.restoration.trust import cell_px

DEFAULT_MODEL = "gaussian-2"


@dataclass
class MapNetwork:
    """A network for a picture's optics. model, binning: from `psf_map.layout.at_cutoff`. window_px, stride_px: of the map."""

    file: Path
    network: torch.nn.Module
    model: PsfModel
    binning: int
    window_px: int
    stride_px: int
    device: torch.device


def network_for(
    shape: tuple[int, int],
    device: torch.device,
    *,
    psf_model: str | None = None,
    file: str | Path | None = None,
    cutoff: float | None = None,
    stride_px: int | None = None,
    say: Callable[[str], None] = print,
) -> MapNetwork:
    """The network that maps a picture of `shape` (h, w): of a file, or the released one of a PSF model.

    cutoff: of the picture's pupil, in cycles/px. stride_px: half the network's window where it is None.
    Raises UserError where network, optics, picture and stride do not fit each other.
    """
    file = Path(file) if file else released(psf_model or DEFAULT_MODEL)
    network, model, card = store.load(file, device)
    known = card["psf"]["model"]
    if psf_model and known != psf_model:
        raise UserError(f"{file}: estimates {known}, not {psf_model}; leave one of them out")
    low, high = model.cutoff_range
    if cutoff is None and low < high:
        raise UserError(
            f"{known} depends on the optics: give na, wavelength_um and pixel_size_um (at the sample), or cutoff"
        )
    model, binning = at_cutoff(model, cutoff)
    window_px = card["window_px"]
    check_window(window_px, binning, shape)
    if binning > 1:
        say(f"{binning} x {binning} pixels are binned, as the picture is finely sampled")
    window, possible = window_px * binning, strides(window_px, binning)
    stride = stride_px
    if stride is None:
        stride = max(s for s in possible if s <= max(possible[0], window / 2))
    if stride not in possible:
        raise UserError(
            f"stride_px {stride}: give one of {', '.join(map(str, possible))}, which divide the "
            f"network's {window}"
        )
    return MapNetwork(file, network, model, binning, window, stride, device)


@dataclass
class PictureMap:
    """The filled map of a picture: cells (channels, ny, nx), each channel by its name."""

    layout: MapLayout
    model: PsfModel
    cells: np.ndarray
    network: str
    alarm_threshold: float

    def __getitem__(self, name: str) -> np.ndarray:
        return self.cells[[channel["name"] for channel in channels(self.model)].index(name)]

    @property
    def valid(self) -> np.ndarray:
        return self["filled"] == 0

    def table(self) -> pd.DataFrame:
        """A row per cell: its centre in px, PSF parameters, their uncertainties, validity and the rest, units in the names."""
        y, x = np.meshgrid(self.layout.centres_px(0), self.layout.centres_px(1), indexing="ij")
        table = {"y_px": y.ravel(), "x_px": x.ravel()}
        for channel, values in zip(channels(self.model), self.cells, strict=True):
            unitless = channel["unit"] in ("", "probability", "share of the window", "0 or 1")
            name = channel["name"] if unitless else f"{channel['name']}_{channel['unit']}"
            table[name] = values.ravel().astype(int) if name == "filled" else values.ravel()
        return pd.DataFrame(table)

    @property
    def any_known(self) -> bool:
        """Whether there is any PSF, be it a doubtful one."""
        return bool(np.isfinite(self.cells[0]).any())


def estimate_map(
    chosen: MapNetwork,
    picture: Picture,
    facts: Facts,
    settings: dict,
    *,
    step: Callable[[], None] = lambda: None,
) -> PictureMap:
    """The filled map of a picture, unit by unit. settings: the config's `map`. step: called after each block."""
    layout = MapLayout(picture.shape, chosen.window_px, chosen.stride_px, settings["edges"])
    cells = map_whole(
        *(chosen.network, chosen.model, picture, layout, settings),
        step=step,
        offset=facts["offset"],
        device=chosen.device,
        binning=chosen.binning,
        exposure=exposure_of(facts),
    )
    threshold = settings["alarm_threshold"]
    return PictureMap(layout, chosen.model, cells, chosen.file.stem, threshold)


def blocks_of(shape: tuple[int, int], chosen: MapNetwork, settings: dict) -> int:
    """How many blocks `estimate_map` maps."""
    layout = MapLayout(shape, chosen.window_px, chosen.stride_px, settings["edges"])
    return len(layout.units)


def describe_map(found: PictureMap) -> Iterator[str]:
    """How much of the map there is, and how far it is to be trusted."""
    valid, count = found.valid, int(found.valid.sum())
    yield f"{count} of {valid.size} cells are valid ({100 * count / valid.size:.0f} %)"
    if alarms := int((found["alarm"] > found.alarm_threshold).sum()):
        yield (
            f"{alarms} cells raise the alarm: they do not look like a raw camera picture of a thin "
            "sample (denoised, compressed, resampled, saturated or hazy?), and count as not valid; "
            "an alarm_threshold of 1 takes them all the same"
        )
    partly = found["usable"] < FULLY_USABLE
    if partly.any():
        yield (
            f"{int(partly.sum())} cells see less than {100 * FULLY_USABLE:.0f} % of their window: the rest is missing, "
            f"saturated, dead or hot (`usable` in psf_map.csv); the worst cell sees {100 * np.nanmin(found['usable']):.0f} %"
        )
    if not found.any_known:
        yield "so the PSF stays unknown, and a restoration only removes noise"
        return
    if not count:
        yield "so every PSF is doubtful: a restoration only removes noise, unless psf_scale is given"
        return
    if count < valid.size:
        yield (
            "cells that are not valid (too little texture, a window that crosses the border, the "
            "alarm) take the PSF of their neighbours"
        )
    for parameter in found.model.parameters:
        middle = float(np.median(found[parameter.name][valid]))
        half = float(np.median(found[f"{parameter.name}_uncertainty"][valid]))
        if parameter.period:  # an axis has no median
            yield f"{parameter.name}: uncertain by {math.degrees(half):.2g} degrees in the median cell"
        else:
            value, error = (
                of_unit(number, parameter.unit) for number in (f"{middle:.3g}", f"{half:.2g}")
            )
            yield f"{parameter.name}: {value} in the median cell, uncertain by {error} (90 % interval)"


def how_to_restore(
    picture: Picture,
    found: PictureMap,
    settings: dict,
    facts: Facts,
    device: torch.device,
    *,
    say: Callable[[str], None] = print,
) -> dict:
    """The config's `restoration`, with all that it leaves open: what `auto` takes, from held-out photons, and the halo.

    say: is told what was chosen, and why.
    """
    if left_open(settings):
        local = LocalPsfs(found.model, layout=found.layout, cells=found.cells)
        choice = choosing.choose_for(
            picture, local, facts, settings, seed=0, stream="held-out", device=device
        )
        say(choice_words.describe_choice(choice))
        settings = with_choice(settings, choice)
    settings = settings | {"offset": facts["offset"]}
    settings["halo_px"] = halo_of(settings, found.model.size_px)
    settings["exposure"] = asdict(exposure_of(facts, settings["background"]))
    settings["trust_px"] = cell_px(found.layout.stride_px, settings["core_px"])
    return settings


def restored_cores(
    picture: Picture,
    found: PictureMap,
    settings: dict,
    facts: Facts,
    device: torch.device,
    *,
    step: Callable[[], None] = lambda: None,
) -> Iterator[tuple[tuple[slice, slice], RestoredCore]]:
    """Cores of the picture, (rows, columns), and what `restore_with_trust` makes of them. settings: of `how_to_restore`."""
    local = LocalPsfs(found.model, layout=found.layout, cells=found.cells)
    for core in tiles.shards(picture.shape, settings["core_px"]):
        yield (
            core,
            restore_with_trust(
                picture, local, core, settings, brightness=facts.brightness, device=device
            ),
        )
        step()
    return_freed_memory()
