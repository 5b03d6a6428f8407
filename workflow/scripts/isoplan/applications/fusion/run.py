"""`fuse`: from a focus series to a picture that is in focus everywhere."""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import tifffile
from matplotlib.figure import Figure

from isoplan.applications.fusion.fuse import STEP_PX, Fusion, cores
from isoplan.base.errors import UserError
from isoplan.base.progress import Progress
from isoplan.cli.optics import optics_of
from isoplan.cli.outputs import allocate, is_file
from isoplan.cli.picture import open_picture, outputs_of, tiff_tags
from isoplan.cli.stack import positions
from isoplan.report import plots

PICTURES = ("fused", "share")
FAR = 2.0  # depths of field from slice to slice from where something is in focus in none


def run(args: argparse.Namespace) -> int:
    """Write the picture, where it is in focus, and how much of it was estimated."""
    if is_file(args.out):
        raise UserError(f"{args.out}: is the name of a file; results need a folder")
    if args.slice is not None:
        raise UserError("--slice: all slices are fused; leave it out")
    first = argparse.Namespace(**vars(args) | {"slice": 0})
    with (
        outputs_of(args, args.out) as outputs,
        open_picture(first, outputs, fused=False) as picture,
    ):
        count = picture.slices
        if count < 2:
            raise UserError(f"{args.picture}: has one slice; give a z stack")
        optics, z = optics_of(first), positions(args, count)
        apart = float(np.abs(np.diff(z)).max()) / optics.depth_of_field_um
        if apart > FAR:
            print(
                f"CAUTION: slices are {apart:.2g} depths of field apart ({optics.depth_of_field_um:.3g} um); what lies between is in focus in none"
            )

        def stack(y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
            part = picture.read_stack(0, count, y0, y1, x0, x1)
            if not np.isfinite(part).all():
                raise UserError(f"{args.picture}: has pixels without a number")
            return part

        fusion, shape = Fusion(z, optics), picture.shape
        heights = fusion.heights(
            stack, shape, Progress("finding focus, squares", cores(shape)).step
        )
        folder = outputs[args.out]
        folder.mkdir(parents=True, exist_ok=True)
        made = {name: _file(folder / f"{name}.tif", shape, optics) for name in PICTURES}
        bar = Progress("fusing, squares", cores(shape))
        for core in fusion.fuse(stack, shape, heights):
            made["fused"][core.place], made["share"][core.place] = core.picture, core.share
            bar.step()
        share = float(np.mean([rows.mean() for rows in made["share"]]))
        tags = tiff_tags(heights.shape, STEP_PX * optics.pixel_size_um)
        tifffile.imwrite(folder / "heights.tif", heights, **tags)
        figures = {
            "fused": partial(fused_figure, made["fused"]),
            "heights": partial(height_figure, heights, STEP_PX * optics.pixel_size_um),
        }
        for name, draw in figures.items():
            (folder / f"{name}.png").write_bytes(plots.render(draw))
        outputs.deliver()
    low, high = np.quantile(heights, (0.01, 0.99))
    print(
        f"in focus from {low:.3g} to {high:.3g} um; {share:.0%} of the picture is estimated from all slices, the rest is of the sharpest"
    )
    print(f"picture: {args.out}/fused.tif; open {args.out}/fused.png first")
    return 0


def fused_figure(picture: np.ndarray) -> Figure:
    """The picture, reduced if it is large."""
    step = max(1, max(picture.shape) // 1600)
    small = np.asarray(picture[::step, ::step])
    low, high = np.quantile(small, (0.002, 0.998))
    height, width = small.shape
    figure = plots.blank(900, max(80, round(900 * height / width)))
    axes = figure.subplots()
    axes.imshow(small, cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
    axes.set_axis_off()
    return figure


def height_figure(heights: np.ndarray, block_um: float) -> Figure:
    """Where each part is in focus."""
    figure = plots.blank(760, 520)
    axes = figure.subplots()
    extent = (0, heights.shape[1] * block_um, heights.shape[0] * block_um, 0)
    shown = axes.imshow(heights, cmap="viridis", extent=extent)
    axes.set(xlabel="x (µm)", ylabel="y (µm)")
    figure.colorbar(shown, label="in focus at (µm)")
    return figure


def _file(path: Path, shape: tuple[int, int], optics) -> np.ndarray:
    made = tifffile.memmap(
        path, shape=shape, dtype="float32", **tiff_tags(shape, optics.pixel_size_um)
    )
    allocate(path)
    return made
