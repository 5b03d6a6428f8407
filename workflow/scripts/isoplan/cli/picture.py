"""`map`, `restore` and `convert`: process one picture of any size, block by block."""

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
from isoplan.cli.outputs import SOFTWARE, Outputs, allocate, is_file
from isoplan.config.entries import CHOSEN, LEARNT
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
from isoplan.psf_map.layout import SHARD_CELLS, channels
from isoplan.registration import is_restoration
from isoplan.report import plots
from isoplan.report.map_stores import PsfMap
from isoplan.report.maps import map_figures, psf_figures
from isoplan.report.results import Mosaic, Study
from isoplan.restoration.psfs import LocalPsfs
from isoplan.restoration.trust import RestoredStore, create_trust
from isoplan.restoration.weight_store import GROUP

NO_PIXEL_SIZE = "its pixel size is not known, so lengths are in pixels there; give --pixel-size-um"
RESTORED = (".ome.zarr", ".tif", ".tiff", ".ome.tif", ".ome.tiff")
FORCED = {"psf_scale": 1, "resolution_px": 0}  # what --force means


def make_map(args: argparse.Namespace) -> int:
    """Write the PSF map of one picture to a folder."""
    folder = args.out or Path(f"{stem_of(args.picture)}-map")
    if is_file(folder):
        raise UserError(f"{folder}: is the name of a file; the map needs a folder")
    settings = _map_settings(args)
    store = folder.with_name(f"{folder.name}.ome.zarr")
    with outputs_of(args, folder, store) as outputs, open_picture(args, outputs) as mosaic:
        network = _network(args, mosaic.shape)
        found = _estimate_map(network, mosaic, _measure(args, mosaic), settings)
        _write_map(args, outputs[folder], outputs[store], found)
        outputs.deliver()
    print(f"PSF map: {folder}/psf_map.csv, and {store} to lay over the picture", end="")
    print(f"; open {folder}/psfs.png first" if found.any_known else "")
    return 0


def restore(args: argparse.Namespace) -> int:
    """Map the PSFs of one picture, then restore it core by core into a file."""
    _check_ending(args.out)
    mapped, settings = _map_settings(args), _restoration_settings(args)
    if args.overwrite:
        _refuse_siblings(args.out)
    name = stem_of(args.out)
    maps, image = args.out.with_name(f"{name}-psf-map"), args.out.with_name(f"{name}-preview.png")
    store = maps.with_name(f"{maps.name}.ome.zarr")
    with (
        outputs_of(args, args.out, maps, store, image) as outputs,
        open_picture(args, outputs) as mosaic,
    ):
        network = _network(args, mosaic.shape)
        if settings["psf_shape"] not in ("auto", "map"):  # raises if it is too large
            LocalPsfs(network.model).by(PlainPsf.read(settings["psf_shape"]))
        facts = _measure(args, mosaic)
        found = _estimate_map(network, mosaic, facts, mapped)
        _write_map(args, outputs[maps], outputs[store], found)
        settings = how_to_restore(mosaic, found, settings, facts, network.device)
        bar = Progress("restoring, squares", len(tiles.shards(mosaic.shape, settings["core_px"])))
        blocks = restored_cores(mosaic, found, settings, facts, network.device, step=bar.step)
        overview = preview.overview(mosaic)
        piece = preview.choose_crop(overview, mosaic.shape)
        save = _save_zarr if _is_store(args.out) else _save_tiff
        made = outputs[args.out]
        after = save(args, made, blocks, mosaic.shape, settings, facts, found, piece)
        rows, columns = piece
        before = mosaic.read(rows.start, rows.stop, columns.start, columns.stop) - args.offset
        shown = (
            before,
            after,
            piece,
            overview,
            mosaic.shape,
            as_report_map(found),
            args.pixel_size_um,
        )
        outputs[image].write_bytes(plots.render(lambda: preview.draw(*shown)))
        outputs.deliver()
    print(f"restored picture: {args.out} (float32, counts above the offset)")
    print(f"where to trust it: validity, alarm and uncertainty of every cell in {maps}/psf_map.csv")
    if _is_store(args.out):
        print(f"whether it agrees with the data, for every cell: {args.out}/trust")
        if settings["tv_weight"] == LEARNT:
            print(f"how much was smoothed where: {args.out}/{GROUP}")
    print(f"open {image} first")
    return 0


def convert_picture(args: argparse.Namespace) -> int:
    """Convert one plane to an OME-Zarr that can be read by window."""
    if not _is_store(args.out):
        raise UserError(f"{args.out}: the name must end in .ome.zarr")
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


# Arguments -------------------------------------------------------------------------------------


def stem_of(path) -> str:
    """A picture's name without folder and extensions: "retina" for scikit-image:retina.jpg."""
    name = Path(str(path).rpartition("scikit-image:")[2]).name
    for ending in (".zarr", ".ome", *Path(name).suffixes[-1:]):
        name = name.removesuffix(ending)
    return name.removesuffix(".ome") or "picture"


def _is_store(out: Path) -> bool:
    return out.name.lower().endswith(".ome.zarr")


def _check_ending(out: Path) -> None:
    if not out.name.lower().endswith((".ome.zarr", ".tif", ".tiff")):
        raise UserError(
            f"{out}: the name must end in .ome.zarr or .tif, which says what it will be"
        )
    if out.name.lower() in RESTORED:
        raise UserError(f"{out}: is an extension without a name; give a name before it")


def _refuse_siblings(out: Path) -> None:
    """Refuse a result beside another restored picture whose map and preview have the same names."""
    for ending in RESTORED:
        other = out.with_name(stem_of(out) + ending)
        if other.name.lower() != out.name.lower() and is_restoration(other):
            raise UserError(
                f"{out}: {other} is another restored picture, and --overwrite would replace its map and preview; give "
                "the result another name"
            )


def _map_settings(args: argparse.Namespace) -> dict:
    """The config's `map`, so that checks and defaults are the same as in a study."""
    asked = {} if args.alarm_threshold is None else {"alarm_threshold": args.alarm_threshold}
    return validate({"map": asked})["map"]


def _restoration_settings(args: argparse.Namespace) -> dict:
    """The config's `restoration`, so that checks and defaults are the same as in a study."""
    asked = {key: getattr(args, key) for key in ("algorithm", *CHOSEN, "order")}
    if args.weight_network != "released":
        asked["weight_network"] = args.weight_network
    settings = validate({"restoration": asked})["restoration"]
    if not args.force:
        return settings
    for key, value in FORCED.items():
        if settings[key] not in ("auto", value):
            raise UserError(
                f"--{key.replace('_', '-')} {settings[key]:g}: contradicts --force, which uses the PSFs as estimated "
                "(--psf-scale 1 --resolution-px 0); leave one of them out"
            )
    return settings | FORCED


def outputs_of(args: argparse.Namespace, *places: Path) -> Outputs:
    """The results of a command, none of which may be one of its inputs."""
    networks = getattr(args, "network", None) or []
    second = getattr(args, "second", None)
    weights = getattr(args, "weight_network", "released")
    read = [
        *sources_of(args.picture),
        *(networks if isinstance(networks, list) else [networks]),
        *(sources_of(second) if second else []),
        *([weights] if weights != "released" else []),
    ]
    return Outputs(*places, sources=read, overwrite=args.overwrite)


def open_picture(args: argparse.Namespace, outputs: Outputs, *, fused: bool = True, **how):
    """Open the picture of a command, and complete the optics in `args` from its file.

    fused: read the ground of a fused mosaic (zeros where no tile was) as NaN. **how: further arguments
    of `open_mosaic`.
    """
    mosaic = open_row(vars(args) | {"path": args.picture}, **how)
    outputs.refuse_sources(mosaic.files)
    if fused:
        mosaic = without_ground(mosaic)
    optics, notes = complete_optics(vars(args), mosaic.optics)
    vars(args).update(optics)
    for note in [*mosaic.notes, *notes_on_overlaps(mosaic), *notes]:
        print(f"{args.picture}: {note}")
    return mosaic


def _measure(args: argparse.Namespace, mosaic) -> Facts:
    """Statistics of the picture, and its camera."""
    camera = _camera(args, mosaic)
    facts = Facts(measure(mosaic, offset=args.offset) | camera)
    for note in [*check_camera_of(facts, args.picture), *describe_facts(facts)]:
        print(f"{args.picture}: {note}")
    return facts


def _network(args: argparse.Namespace, shape: tuple[int, int]) -> MapNetwork:
    """The requested network, at the picture's optics."""
    return network_for(
        shape,
        pick_device(args.device),
        psf_model=args.psf_model,
        file=args.network,
        cutoff=_cutoff(args),
        stride_px=args.stride_px,
    )


def _cutoff(args: argparse.Namespace) -> float | None:
    """Cut-off frequency of the picture's pupil in cycles/px; None if the optics are not known."""
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


def as_report_map(found: PictureMap) -> PsfMap:
    """The map in the form that the report's figures need."""
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
    """Offset, gain and read noise, as given or estimated from the picture; notes are printed."""
    given = {"offset": args.offset, "gain": getattr(args, "gain", None)}
    camera, notes = complete_camera(given, mosaic.middle())
    for note in notes:
        print(f"{args.picture}: {note}")
    return camera


def _estimate_map(network: MapNetwork, mosaic, facts: Facts, settings: dict) -> PictureMap:
    """Estimate the map of a picture and print its summary. settings: the config's `map`."""
    bar = Progress("mapping, blocks", blocks_of(mosaic.shape, network, settings))
    found = estimate_map(network, mosaic, facts, settings, step=bar.step)
    for line in describe_map(found):
        print(line)
    return found


def _write_map(args, folder: Path, store: Path, found: PictureMap) -> None:
    """Write psf_map.csv with figures as PNG (if any PSF is known), and the map as OME-Zarr."""
    folder.mkdir(parents=True, exist_ok=True)
    found.table().to_csv(folder / "psf_map.csv", index=False)
    for name, content in _figures(args, found):
        (folder / f"{name}.png").write_bytes(content)
    attributes = {"network": found.network, "psf": found.model.spec, "edges": found.layout.edges}
    ngff.create_map(
        store,
        channels(found.model),
        found.layout.cells,
        stride_px=found.layout.stride_px,
        pixel_size_um=args.pixel_size_um,
        shard_cells=SHARD_CELLS,
        names=["0"],
        attributes=attributes | {"window_px": found.layout.window_px},
    )
    ngff.write_shards(ngff.open_array(store, "0", "r+"), (slice(None),) * 3, found.cells)


def _figures(args, found: PictureMap) -> Iterator[tuple[str, bytes]]:
    """The report's figures for this picture, as (name, PNG)."""
    facts = {"path": args.picture, "pixel_size_um": args.pixel_size_um, "offset": args.offset}
    facts |= {"channel": args.channel, "slice": args.slice, "series": args.series}
    study = Study(
        folder=Path("none"),
        config={},
        config_text="",
        mosaics=[Mosaic("picture", facts)],
        networks=[],
        tables={},
        maps={"picture": as_report_map(found)},
        true_maps={},
        benchmarks=pd.DataFrame(),
    )
    for figure in map_figures(study, "picture"):
        name = figure.name.removeprefix("map_picture_").removesuffix("_estimated")
        yield name, plots.render(figure.draw, "png")
    for figure in psf_figures(study, "picture", facts):
        yield "psfs", plots.render(figure.draw, "png")


# The restoration -----------------------------------------------------------------------------------


def _provenance(settings: dict, found: PictureMap) -> dict:
    """What is stored with a restored picture: its unit, settings, PSF model and network."""
    return {
        "unit": "counts above the camera's offset",
        "restoration": settings,
        "psf": found.model.spec,
        "network": found.network,
    }


def _save_tiff(args, made: Path, blocks, shape, settings, facts, found, piece) -> np.ndarray:
    """Write an OME-TIFF, and return the crop that the preview shows."""
    tags = tiff_tags(shape, args.pixel_size_um)
    tags["metadata"]["Description"] = json.dumps(_provenance(settings, found))
    picture = tifffile.memmap(made, shape=shape, dtype="float32", **tags)
    allocate(made)
    for core, (block, *_) in blocks:
        picture[core] = block
    picture.flush()
    return np.array(picture[piece])


def tiff_tags(shape, pixel_size_um: float | None) -> dict:
    """Arguments of tifffile for a float32 picture as OME-TIFF."""
    tags = {"photometric": "minisblack", "bigtiff": 4 * shape[0] * shape[1] > 4e9, "ome": True}
    ome = {"axes": "YX"}
    if pixel_size_um:
        # Programs that read no OME-XML find the resolution.
        tags |= {"resolution": (1e4 / pixel_size_um,) * 2, "resolutionunit": "CENTIMETER"}
        for axis in "XY":
            ome |= {f"PhysicalSize{axis}": pixel_size_um, f"PhysicalSize{axis}Unit": "µm"}
    return tags | {"software": SOFTWARE, "metadata": ome}


def _save_zarr(args, made: Path, blocks, shape, settings, facts, found, piece) -> np.ndarray:
    """Write an OME-Zarr with its pyramid, and return the crop that the preview shows."""
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
        attributes=_provenance(settings, found),
    )
    known = {"height_px": shape[0], "width_px": shape[1], "pixel_size_um": args.pixel_size_um}
    create_trust(made, settings, known, {"network": found.network})
    stored = RestoredStore(made, "r+")
    for unit, (_, block) in enumerate(blocks):
        stored.write(unit, block)
    ngff.build_pyramid(made)
    return stored.picture[piece]
