"""`map` and `restore`: one picture, in the memory of one block whatever its size."""

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from isoplan.base.device import pick_device
from isoplan.base.errors import UserError
from isoplan.base.progress import Progress
from isoplan.cli import preview
from isoplan.cli.outputs import SOFTWARE, Outputs, is_file, reserve
from isoplan.config.entries import CHOSEN
from isoplan.config.validation import validate
from isoplan.mosaic import ngff, tiles
from isoplan.mosaic.convert import convert
from isoplan.mosaic.facts import Facts
from isoplan.mosaic.ground import without_ground
from isoplan.mosaic.headers import complete_optics
from isoplan.mosaic.measure import describe_facts, measure
from isoplan.mosaic.overlaps import notes_on_overlaps
from isoplan.mosaic.reader import open_row, sources_of
from isoplan.mosaic.table import cutoff_of
from isoplan.one_picture import (
    MapNetwork,
    PictureMap,
    blocks_of,
    describe_map,
    estimate_map,
    how_to_restore,
    network_for,
    restored_cores,
)
from isoplan.optics.camera_facts import check_camera_of, complete_camera
from isoplan.optics.plain import PlainPsf
from isoplan.registration import is_restoration
from isoplan.report import plots
from isoplan.report.map_stores import PsfMap
from isoplan.report.maps import map_figures, psf_figures
from isoplan.report.results import Mosaic, Study
from isoplan.restoration.psfs import LocalPsfs
from isoplan.restoration.trust import RestoredStore, create_trust

NO_PIXEL_SIZE = "its pixel size is not known, so lengths are in pixels there; give --pixel-size-um"
RESTORED = (".ome.zarr", ".tif", ".tiff", ".ome.tif", ".ome.tiff")
FORCED = {"psf_scale": 1, "resolution_px": 0}  # what --force means


def make_map(args: argparse.Namespace) -> int:
    """PSF map of one picture into a folder."""
    folder = args.out or Path(f"{stem_of(args.picture)}-map")
    if is_file(folder):
        raise UserError(f"{folder}: is the name of a file; the map comes in a folder")
    settings = _map_settings(args)
    with outputs_of(args, folder) as outputs, open_picture(args, outputs) as mosaic:
        network = _network(args, mosaic.shape)
        found = _estimate(network, mosaic, _measured(args, mosaic), settings)
        _write_map(args, outputs[folder], found)
        outputs.deliver()
    print(f"PSF map: {folder}/psf_map.csv", end="")
    print(f"; open {folder}/psfs.png first" if found.any_known else "")
    return 0


def restore(args: argparse.Namespace) -> int:
    """Map, then restoration core by core into a file that is only ever held in part."""
    _check_ending(args.out)
    mapped, settings = _map_settings(args), _restoration_settings(args)
    if args.overwrite:
        _spare_siblings(args.out)
    name = stem_of(args.out)
    maps, image = args.out.with_name(f"{name}-psf-map"), args.out.with_name(f"{name}-preview.png")
    with (
        outputs_of(args, args.out, maps, image) as outputs,
        open_picture(args, outputs) as mosaic,
    ):
        network = _network(args, mosaic.shape)
        if settings["psf_shape"] not in ("auto", "map"):  # refuses one that is too large
            LocalPsfs(network.model).by(PlainPsf.read(settings["psf_shape"]))
        facts = _measured(args, mosaic)
        found = _estimate(network, mosaic, facts, mapped)
        _write_map(args, outputs[maps], found)
        settings = how_to_restore(mosaic, found, settings, facts, network.device)
        bar = Progress("restoring, squares", len(tiles.shards(mosaic.shape, settings["core_px"])))
        blocks = restored_cores(mosaic, found, settings, facts, network.device, step=bar.step)
        overview = preview.overview(mosaic)
        piece = preview.choose_piece(overview, mosaic.shape)
        save = _save_zarr if _is_store(args.out) else _save_tiff
        made = outputs[args.out]
        after = save(args, made, blocks, mosaic.shape, settings, facts, found, piece)
        rows, columns = piece
        before = mosaic.read(rows.start, rows.stop, columns.start, columns.stop) - args.offset
        shown = before, after, piece, overview, mosaic.shape, drawable(found), args.pixel_size_um
        outputs[image].write_bytes(plots.render(lambda: preview.draw(*shown)))
        outputs.deliver()
    print(f"restored picture: {args.out} (float32, counts above the offset)")
    print(f"where to trust it: validity, alarm and uncertainty of every cell in {maps}/psf_map.csv")
    if _is_store(args.out):
        print(f"whether it agrees with the data, cell by cell: {args.out}/trust")
    print(f"open {image} first")
    return 0


def make_store(args: argparse.Namespace) -> int:
    """One plane as an OME-Zarr that is read by window."""
    if not _is_store(args.out):
        raise UserError(f"{args.out}: let its name end in .ome.zarr")
    _check_ending(args.out)
    with (
        outputs_of(args, args.out) as outputs,
        open_picture(args, outputs, fused=False, large_pieces=True) as mosaic,
    ):
        attributes = {"converted": str(args.picture), "notes": mosaic.notes}
        if args.pixel_size_um is None:
            print(f"{args.out}: {NO_PIXEL_SIZE}")
        size = args.pixel_size_um
        convert(mosaic, outputs[args.out], pixel_size_um=size, attributes=attributes)
        outputs.deliver()
    print(f"read it as {args.out}")
    return 0


# What is asked for ---------------------------------------------------------------------------------


def stem_of(path) -> str:
    """A picture's name without folder and endings: of scikit-image:retina.jpg, retina."""
    name = Path(str(path).rpartition("scikit-image:")[2]).name
    for ending in (".zarr", ".ome", *Path(name).suffixes[-1:]):
        name = name.removesuffix(ending)
    return name.removesuffix(".ome") or "picture"


def _is_store(out: Path) -> bool:
    return out.name.lower().endswith(".ome.zarr")


def _check_ending(out: Path) -> None:
    if not out.name.lower().endswith((".ome.zarr", ".tif", ".tiff")):
        raise UserError(f"{out}: let its name end in .ome.zarr or in .tif, which says what it is")
    if out.name.lower() in RESTORED:
        raise UserError(f"{out}: is an ending without a name; give one before it")


def _spare_siblings(out: Path) -> None:
    """Refuses a place beside a restored picture of the same stem, whose map and preview bear the same names."""
    for ending in RESTORED:
        other = out.with_name(stem_of(out) + ending)
        if other.name.lower() != out.name.lower() and is_restoration(other):
            raise UserError(
                f"{out}: {other} is restored already, and --overwrite would replace its map and preview; give the "
                "result another name"
            )


def _map_settings(args: argparse.Namespace) -> dict:
    """The config's `map`. One place checks the numbers and knows the defaults."""
    asked = {} if args.alarm_threshold is None else {"alarm_threshold": args.alarm_threshold}
    return validate({"map": asked})["map"]


def _restoration_settings(args: argparse.Namespace) -> dict:
    """The config's `restoration`, likewise."""
    asked = {key: getattr(args, key) for key in ("algorithm", *CHOSEN, "order")}
    settings = validate({"restoration": asked})["restoration"]
    if not args.force:
        return settings
    for key, value in FORCED.items():
        if settings[key] not in ("auto", value):
            raise UserError(
                f"--{key.replace('_', '-')} {settings[key]:g}: contradicts --force, which takes the PSFs as estimated "
                "(--psf-scale 1 --resolution-px 0); leave one of them out"
            )
    return settings | FORCED


def outputs_of(args: argparse.Namespace, *places: Path) -> Outputs:
    """The places of a command's results, none of which may be what it reads."""
    network = [args.network] if getattr(args, "network", None) else []
    read = [*sources_of(args.picture), *network]
    return Outputs(*places, sources=read, overwrite=args.overwrite)


def open_picture(args: argparse.Namespace, outputs: Outputs, *, fused: bool = True, **how):
    """The picture that a command reads, without its ground where it was fused of tiles; what its file knows of
    the optics stands in `args` then, where nothing was given."""
    mosaic = open_row(vars(args) | {"path": args.picture}, **how)
    outputs.spare(mosaic.files)
    if fused:
        mosaic = without_ground(mosaic)
    optics, notes = complete_optics(vars(args), mosaic.optics)
    vars(args).update(optics)
    for note in [*mosaic.notes, *notes_on_overlaps(mosaic), *notes]:
        print(f"{args.picture}: {note}")
    return mosaic


def _measured(args: argparse.Namespace, mosaic) -> Facts:
    """What the picture holds, and the camera that it goes with."""
    camera = _camera(args, mosaic)
    facts = Facts(measure(mosaic, offset=args.offset) | camera)
    for note in [*check_camera_of(facts, args.picture), *describe_facts(facts)]:
        print(f"{args.picture}: {note}")
    return facts


def _network(args: argparse.Namespace, shape: tuple[int, int]) -> MapNetwork:
    """The network that is asked for, at the picture's optics."""
    return network_for(
        shape,
        pick_device(args.device),
        psf_model=args.psf_model,
        file=args.network,
        cutoff=_cutoff(args),
        stride_px=args.stride_px,
    )


def _cutoff(args: argparse.Namespace) -> float | None:
    """Cut-off of the picture's pupil in cycles/px; None where the optics are not told."""
    told = cutoff_of(vars(args) | {"cutoff": None})
    if args.cutoff is None:
        if told is not None:
            print(f"cut-off {told:.3g} cycles/px (NA * pixel size / wavelength)")
        return told
    if told is not None and not math.isclose(args.cutoff, told, rel_tol=0.02):
        print(
            f"cut-off is {args.cutoff:g} cycles/px as given, though NA * pixel size / wavelength is {told:.3g}"
        )
    return args.cutoff


# The map -------------------------------------------------------------------------------------------


def drawable(found: PictureMap) -> PsfMap:
    """The map as the report's figures take it."""
    parameters = found.model.parameters
    values = np.stack([found[p.name] for p in parameters])
    return PsfMap(
        mosaic="picture",
        network=found.network,
        spec=found.model.spec,
        names=[p.name for p in parameters],
        units=[p.unit for p in parameters],
        stride_px=found.layout.stride_px,
        step=1,
        shape_cells=found.layout.cells,
        values=values,
        raw=values,
        validity=found["validity"],
        untrusted=~found.valid,
        uncertainty=np.stack([found[f"{p.name}_uncertainty"] for p in parameters]),
        alarm=found["alarm"],
        usable=found["usable"],
        alarm_threshold=found.alarm_threshold,
    )


def _camera(args: argparse.Namespace, mosaic) -> dict:
    """Offset, gain and read noise, as given or as the picture tells them, which it says."""
    given = {"offset": args.offset, "gain": getattr(args, "gain", None)}
    camera, notes = complete_camera(given, mosaic.middle())
    for note in notes:
        print(f"{args.picture}: {note}")
    return camera


def _estimate(network: MapNetwork, mosaic, facts: Facts, settings: dict) -> PictureMap:
    """The map of a picture, and what it says in words. settings: the config's `map`."""
    bar = Progress("mapping, blocks", blocks_of(mosaic.shape, network, settings))
    found = estimate_map(network, mosaic, facts, settings, step=bar.step)
    for line in describe_map(found):
        print(line)
    return found


def _write_map(args, folder: Path, found: PictureMap) -> None:
    """psf_map.csv, and PNGs where any PSF is known."""
    folder.mkdir(parents=True, exist_ok=True)
    found.table().to_csv(folder / "psf_map.csv", index=False)
    for name, content in _drawn(args, found):
        (folder / f"{name}.png").write_bytes(content)


def _drawn(args, found: PictureMap) -> Iterator[tuple[str, bytes]]:
    """(name, PNG) of the report's figures for this one picture."""
    facts = {"path": args.picture, "pixel_size_um": args.pixel_size_um, "offset": args.offset}
    facts |= {"channel": args.channel, "slice": args.slice, "series": args.series}
    study = Study(
        folder=Path("none"),
        config={},
        config_text="",
        mosaics=[Mosaic("picture", facts)],
        networks=[],
        tables={},
        maps={"picture": drawable(found)},
        true_maps={},
        benchmarks=pd.DataFrame(),
    )
    for figure in map_figures(study, "picture"):
        name = figure.name.removeprefix("map_picture_").removesuffix("_estimated")
        yield name, plots.render(figure.draw, "png")
    for figure in psf_figures(study, "picture", facts):
        yield "psfs", plots.render(figure.draw, "png")


# The restoration -----------------------------------------------------------------------------------


def _made(settings: dict, found: PictureMap) -> dict:
    """What a restored picture says of itself."""
    return {
        "unit": "counts above the camera's offset",
        "restoration": settings,
        "psf": found.model.spec,
        "network": found.network,
    }


def _save_tiff(args, made: Path, blocks, shape, settings, facts, found, piece) -> np.ndarray:
    """Writes a TIFF. Returns the piece of it that is shown."""
    tags = tiff_tags(shape, args.pixel_size_um)
    tags |= {"description": json.dumps(_made(settings, found)), "metadata": None}
    picture = tifffile.memmap(made, shape=shape, dtype="float32", **tags)
    reserve(made)
    for core, (block, _) in blocks:
        picture[core] = block
    picture.flush()
    return np.array(picture[piece])


def tiff_tags(shape, pixel_size_um: float | None) -> dict:
    """How a picture in float32 is written as TIFF."""
    tags = {"photometric": "minisblack", "bigtiff": 4 * shape[0] * shape[1] > 4e9}
    if pixel_size_um:
        tags |= {"resolution": (1e4 / pixel_size_um,) * 2, "resolutionunit": "CENTIMETER"}
    return tags | {"software": SOFTWARE}


def _save_zarr(args, made: Path, blocks, shape, settings, facts, found, piece) -> np.ndarray:
    """Writes an OME-Zarr with its pyramid; returns the piece of it that is shown."""
    if args.pixel_size_um is None:
        print(f"{args.out}: {NO_PIXEL_SIZE}")
    ngff.create_image(
        made,
        shape,
        dtype=settings["dtype"],
        pixel_size_um=args.pixel_size_um,
        shard_px=settings["core_px"],
        mask=True,
        window=(0, facts.brightness["scale"]),
        attributes=_made(settings, found),
    )
    known = {"height_px": shape[0], "width_px": shape[1], "pixel_size_um": args.pixel_size_um}
    create_trust(made, settings, known, {"network": found.network})
    stored = RestoredStore(made, "r+")
    for unit, (_, block) in enumerate(blocks):
        stored.write(unit, block)
    ngff.build_pyramid(made)
    return stored.picture[piece]
