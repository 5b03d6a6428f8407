"""`map` and `restore`: one picture, in the memory of one block whatever its size."""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from isoplan.base.config import validate
from isoplan.base.device import pick_device
from isoplan.base.errors import UserError
from isoplan.base.progress import Progress
from isoplan.mosaic import tiles
from isoplan.mosaic.measure import measure
from isoplan.mosaic.reader import open_mosaic
from isoplan.networks import store
from isoplan.psf_map import MapLayout, fill_invalid, map_unit
from isoplan.report import figures, plots
from isoplan.report.results import Mosaic, PsfMap, Study
from isoplan.restoration import LocalPsfs, halo_of, levels, restore_core


def make_map(args: argparse.Namespace) -> int:
    """PSF map of one picture into a folder."""
    args.out.mkdir(parents=True, exist_ok=True)
    with _open(args) as mosaic:
        layout, model, filled = _estimate(args, mosaic)
    _write_map(args, args.out, layout, model, filled)
    print(f"PSF map: {args.out}/psf_map.csv; open {args.out}/psfs.png first")
    return 0


def restore(args: argparse.Namespace) -> int:
    """Map, then restoration core by core into a TIFF that is only ever held in part."""
    _check_output(args)
    maps = args.out.with_name(f"{args.out.stem}-map")
    maps.mkdir(parents=True, exist_ok=True)
    with _open(args) as mosaic:
        layout, model, filled = _estimate(args, mosaic)
        _write_map(args, maps, layout, model, filled)
        # One place checks the numbers and knows the defaults.
        asked = {key: getattr(args, key) for key in ("iterations", "tv_weight", "order")}
        settings = validate({"restoration": asked})["restoration"]
        settings |= {"halo_px": halo_of(settings, model.size_px), "offset": args.offset}
        local = LocalPsfs(model, layout=layout, cells=filled)
        known = levels(measure(mosaic) | {"offset": args.offset})
        device = pick_device(args.device)
        part = args.out.with_name(f".{args.out.stem}.part.tif")
        try:
            picture = tifffile.memmap(
                part, shape=mosaic.shape, dtype="float32", **_tiff_tags(args, mosaic.shape)
            )
            cores = tiles.shards(mosaic.shape, settings["core_px"])
            bar = Progress("restoring, squares", len(cores))
            for core in cores:
                picture[core] = restore_core(
                    mosaic, local, core, settings, levels=known, device=device
                )
                bar.step()
            picture.flush()
            del picture
            part.replace(args.out)
        finally:
            part.unlink(missing_ok=True)
    print(f"restored picture: {args.out} (float32, counts above the offset)")
    print(f"where to trust it: {maps}/psfs.png and the validity in {maps}/psf_map.csv")
    return 0


def _check_output(args: argparse.Namespace) -> None:
    if args.out.suffix.lower() not in (".tif", ".tiff"):
        raise UserError(f"{args.out}: is no TIFF's name; let it end in .tif")
    if args.out.exists() and Path(args.picture).exists() and args.out.samefile(args.picture):
        raise UserError(f"{args.out}: is the picture itself; give the result another name")


def _tiff_tags(args: argparse.Namespace, shape) -> dict:
    tags = {"photometric": "minisblack", "bigtiff": 4 * shape[0] * shape[1] > 4e9}
    if args.pixel_size_um:
        tags |= {"resolution": (1e4 / args.pixel_size_um,) * 2, "resolutionunit": "CENTIMETER"}
    return tags


def _open(args: argparse.Namespace):
    mosaic = open_mosaic(args.picture, channel=args.channel, slice=args.slice)
    for note in mosaic.notes:
        print(f"{args.picture}: {note}")
    return mosaic


def _estimate(args: argparse.Namespace, mosaic):
    """Layout, PSF model and filled map (P + 2, ny, nx) of a picture, unit by unit."""
    device = pick_device(args.device)
    network, model, card = store.load(args.network, device)
    window = card["window_px"]
    stride = args.stride_px or window // 2
    if stride < 1 or window % stride or stride % 16:
        raise UserError(f"--stride-px {stride}: give a multiple of 16 that divides {window}")
    settings = validate({})["map"]
    layout = MapLayout(mosaic.shape, window, stride, settings["edges"])
    raw = np.full((len(model.parameters) + 2, *layout.cells), np.nan, np.float32)
    bar = Progress("mapping, blocks", len(layout.units))
    for unit, (rows, columns) in enumerate(layout.units):
        raw[:, rows, columns] = map_unit(
            network, model, mosaic, layout, unit, offset=args.offset, device=device
        )
        bar.step()
    filled = fill_invalid(
        raw,
        model,
        threshold=settings["validity_threshold"],
        neighbours=settings["neighbours"],
        median_cells=settings["median_cells"],
    )
    valid = int((filled[-1] == 0).sum())
    print(f"{valid} of {filled[-1].size} cells are valid")
    if not valid:
        print("so the PSF stays unknown, and a restoration returns the picture as it is")
    return layout, model, filled


def _write_map(args, folder: Path, layout, model, filled) -> None:
    """psf_map.csv, and PNGs where any cell is valid."""
    y, x = np.meshgrid(layout.centres_px(0), layout.centres_px(1), indexing="ij")
    table = {"y_px": y.ravel(), "x_px": x.ravel()}
    for parameter, values in zip(model.parameters, filled, strict=False):
        table[f"{parameter.name}_{parameter.unit}"] = values.ravel()
    table |= {"validity": filled[-2].ravel(), "filled": filled[-1].ravel().astype(int)}
    pd.DataFrame(table).to_csv(folder / "psf_map.csv", index=False)
    for name, content in _drawn(args, layout, model, filled):
        (folder / f"{name}.png").write_bytes(content)


def _drawn(args, layout, model, filled):
    """(name, PNG) of the report's figures for this one picture."""
    count = len(model.parameters)
    shown = PsfMap(
        mosaic="picture",
        network=Path(args.network).stem,
        spec=model.spec,
        names=[p.name for p in model.parameters],
        units=[p.unit for p in model.parameters],
        stride_px=layout.stride_px,
        step=1,
        shape_cells=layout.cells,
        values=filled[:count],
        raw=filled[:count],
        validity=filled[-2],
        untrusted=filled[-1] > 0,
    )
    facts = {"path": args.picture, "pixel_size_um": args.pixel_size_um, "offset": args.offset}
    study = Study(
        folder=Path("none"),
        config={},
        config_text="",
        mosaics=[Mosaic("picture", facts)],
        networks=[],
        tables={},
        maps={"picture": shown},
        true_maps={},
        benchmarks=pd.DataFrame(),
    )
    for figure in figures.map_figures(study, "picture"):
        name = figure.name.removeprefix("map_picture_").removesuffix("_estimated")
        yield name, plots.render(figure.draw, "png")
    for figure in figures.psf_figures(study, "picture", facts):
        yield "psfs", plots.render(figure.draw, "png")
