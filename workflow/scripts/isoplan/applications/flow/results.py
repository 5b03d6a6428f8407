"""A map of motion on disk, and what is said of it."""

from functools import partial
from pathlib import Path

import numpy as np
import tifffile

from isoplan.applications.flow.figures import arrows, profile, sequence_figure
from isoplan.applications.flow.fit import CHANNELS, UNITS, FlowMap
from isoplan.applications.flow.sequence import FOLLOWED, FlowSequence
from isoplan.applications.flow.sequence import UNITS as FOLLOWED_UNITS
from isoplan.cli.picture import tiff_tags
from isoplan.mosaic import ngff
from isoplan.mosaic.window import Picture
from isoplan.psf_map.layout import SHARD_CELLS
from isoplan.report import plots

TABLE, PICTURE, PROFILE, VALUES = "flow.csv", "flow.png", "profile.png", "flow.tif"
TRACKS = "tracks.csv"  # of a sequence
# Of the longest displacement that is looked for, and share of the cells.
AT_END, MUCH_AT_END = 0.95, 0.05
LEAST_AGREE = 0.7  # share of cells in which two exposures agree
MUCH_STILL = 0.05  # share of the cells
# Share of cells that follow the next picture, and of those whose heading is known.
LEAST_FOLLOW, LEAST_HEADINGS = 0.5, 0.3
THUMBNAIL_PX, BAND_PX = 1024, 512


def facts_of(
    found: FlowMap | FlowSequence,
    exposure_ms: float | None,
    shorter: tuple[FlowMap, float] | None = None,
) -> dict[str, float]:
    """Figures of a map, of valid cells; speeds in um/s with an exposure, displacements in um without; shorter: as `FlowMap.table`."""
    if isinstance(found, FlowSequence):
        return facts_of(found.whole, exposure_ms) | _followed_facts(found)
    valid = found.valid
    facts = {
        "valid": float(valid.mean()),
        "apart": float(found.apart.mean()),
        "longest_um": found.longest_um,
    }
    if exposure_ms is not None:
        facts["exposure_ms"] = exposure_ms
        if shorter:
            both = found.agrees(exposure_ms, *shorter)
            facts["both_known"] = float(np.isfinite(both).mean())
            if facts["both_known"]:
                facts["agree"] = float(np.nanmean(both))
    if not valid.any():
        return facts
    scale = 1.0 if exposure_ms is None else 1000 / exposure_ms
    low, middle, high = np.quantile(found["displacement"][valid], (0.1, 0.5, 0.9)) * scale
    facts |= {"low": float(low), "median": float(middle), "high": float(high)}
    facts["half_width"] = float(np.median(found["displacement_uncertainty"][valid]) * scale)
    facts["axial"] = float(np.median(found["axial"][valid]) * scale)
    facts["axial_half_width"] = float(np.median(found["axial_uncertainty"][valid]) * scale)
    facts["at_end"] = float((found["displacement"][valid] > AT_END * found.longest_um).mean())
    return facts


def _followed_facts(found: FlowSequence) -> dict[str, float]:
    """What a sequence tells beyond its pictures, of cells that are valid in all pictures but the last."""
    valid, still = found.whole.valid[:-1], found["still"][:-1]
    facts = {"frames": float(len(found.frames)), "interval_ms": found.interval_ms}
    if np.isfinite(still).any():
        facts["still"] = float(np.nanmean(still))
    if not valid.any():
        return facts
    follows = found["follows"][:-1][valid]
    facts["headings"] = float(np.isfinite(found["heading"][:-1][valid]).mean())
    facts["followed"] = float(np.isfinite(follows).mean())
    if facts["followed"]:
        facts["follow"] = float(np.nanmean(follows))
    tracks = found.tracks()
    facts["tracks"] = float(tracks["track"].nunique())
    facts["to_the_end"] = float((tracks["frame"] == len(found.frames) - 1).sum())
    return facts


def describe(facts: dict[str, float], doubt: str) -> list[str]:
    """What a map says, in words; facts: of `facts_of`, doubt: of the map."""
    if doubt:
        return [
            f"CAUTION: this picture looks less like motion than like a specimen at rest, seen with {doubt}; no cell is valid. Check the optics that you gave, and measure a specimen at rest"
        ]
    if not facts["valid"] and facts.get("still", 0) > 0:
        return [_standing(facts)]
    if not facts["valid"]:
        return ["CAUTION: no cell is valid: too little texture"]
    unit = "um/s" if "exposure_ms" in facts else "um"
    what = "speeds" if "exposure_ms" in facts else "displacements"
    told = {}
    for key, wide in (("median", "half_width"), ("axial", "axial_half_width")):
        value, half = facts[key], facts[wide]
        known = f"{value:.3g} +- {half:.2g} {unit}"
        told[key] = (
            known
            if half < value
            else f"no more is known than that it is below {value + half:.3g} {unit}"
        )
    lines = [
        f"{facts['valid']:.0%} of the cells are valid; {what} from {facts['low']:.3g} to {facts['high']:.3g} {unit} (10 and 90 %); in the median cell {told['median']}, along the axis "
        f"{told['axial']} (90 % intervals)"
    ]
    if facts["apart"]:
        lines.append(
            f"in {facts['apart']:.0%} of the cells the parts of a window moved differently; what is told of these is a mean"
        )
    if "both_known" in facts:
        lines.append(_agreement(facts))
    if "headings" in facts:
        lines += _following(facts)
    if facts["at_end"] > MUCH_AT_END:
        lines.append(
            f"CAUTION: {facts['at_end']:.0%} of the displacements are about as long as what is looked for, {facts['longest_um']:.3g} um along x and y; give a larger --longest-px, or expose "
            "for a shorter time"
        )
    return lines


def _agreement(facts: dict[str, float]) -> str:
    if not facts["both_known"]:
        return "CAUTION: nothing is known of the shorter exposure, so nothing is checked"
    line = f"speeds in the shorter exposure agree with these in {facts['agree']:.0%} of the cells, within 90 % intervals"
    if facts["agree"] >= LEAST_AGREE:
        return line
    return f"CAUTION: {line}; blur that does not grow with the exposure is not motion"


def _standing(facts: dict[str, float]) -> str:
    return f"CAUTION: in {facts['still']:.0%} of the cells with texture, what is seen is in the same place in the next picture, so its blur is not motion; they are not valid. Check the optics that you gave"


def _following(facts: dict[str, float]) -> list[str]:
    """What pictures say that follow each other."""
    lines = [_standing(facts)] if facts.get("still", 0) > MUCH_STILL else []
    lines += [
        f"{facts['frames']:.0f} pictures; headings are told from their opposites in {facts['headings']:.0%} of the cells; {facts['tracks']:.0f} tracks, of which {facts['to_the_end']:.0f} last to the end"
    ]
    if facts["headings"] < LEAST_HEADINGS:
        lines.append(
            "CAUTION: most headings are not known; what is seen should move by less than 60 px, and about as far as in an exposure, until the next picture"
        )
    if facts.get("follow", 1) < LEAST_FOLLOW:
        lines.append(
            f"CAUTION: only {facts['follow']:.0%} of the cells moved until the next picture as their blur tells; blur that is not followed by such a displacement is not motion"
        )
    return lines


def thumbnail(picture: Picture) -> np.ndarray:
    """The picture with at most THUMBNAIL_PX a side, read in bands; every so-many-th pixel."""
    height, width = picture.shape
    step = max(1, -(-max(height, width) // THUMBNAIL_PX))
    band = BAND_PX // step * step or step
    parts = [
        picture.read(top, min(height, top + band), 0, width)[::step, ::step]
        for top in range(0, height, band)
    ]
    return np.concatenate(parts)


def write_map(
    folder: Path,
    store: Path,
    found: FlowMap | FlowSequence,
    exposure_ms: float | None,
    small: np.ndarray,
    shorter: tuple[FlowMap, float] | None = None,
) -> None:
    """Write a table, a TIFF and figures to a folder, and the map as OME-Zarr that lies over the picture.

    Of a sequence there are tracks, too. small: of `thumbnail`, of the first picture. shorter: as `FlowMap.table`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    channels, units, in_time = CHANNELS, UNITS, {}
    if isinstance(found, FlowSequence):
        table, tracks = found.table(), found.tracks()
        tracks.to_csv(folder / TRACKS, index=False, float_format="%.6g")
        channels, units = (*CHANNELS, *FOLLOWED), (*UNITS, *FOLLOWED_UNITS)
        values = np.concatenate([found.whole.values.swapaxes(0, 1), found.followed], 1)
        in_time = {"frames": len(found.frames), "interval_s": found.interval_ms / 1000}
        draw = partial(sequence_figure, found, tracks, small)
        one = found.whole
    else:
        table, values, one = found.table(exposure_ms, shorter), found.values, found
        draw = partial(arrows, found, small, exposure_ms)
    table.to_csv(folder / TABLE, index=False, float_format="%.6g")
    cell = one.layout.stride_px * one.pixel_size_um
    tags = tiff_tags(values.shape, cell)
    axes = "TCYX" if in_time else "CYX"
    tags["metadata"] |= {"axes": axes, "Channel": {"Name": list(channels)}}
    tifffile.imwrite(folder / VALUES, values, **tags)
    (folder / PICTURE).write_bytes(plots.render(draw))
    (folder / PROFILE).write_bytes(plots.render(partial(profile, one, exposure_ms)))
    ngff.create_map(
        store,
        [{"name": name, "unit": unit} for name, unit in zip(channels, units, strict=True)],
        one.layout.cells,
        stride_px=one.layout.stride_px,
        pixel_size_um=one.pixel_size_um,
        shard_cells=SHARD_CELLS,
        names=["0"],
        **in_time,
        attributes={"window_px": one.layout.window_px, "exposure_ms": exposure_ms},
    )
    ngff.write_shards(ngff.open_array(store, "0", "r+"), (slice(None),) * values.ndim, values)
