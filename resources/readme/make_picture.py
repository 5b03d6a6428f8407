"""Makes before-after.jpg, the picture of README.md, from results/demo (after `make demo`):

PYTHONPATH=workflow/scripts .venv/bin/python resources/readme/make_picture.py
"""

import json
from pathlib import Path

import numpy as np
from isoplan.mosaic import ngff
from isoplan.report import pictures, plots, style
from isoplan.report.figures import glyph_cells
from isoplan.report.psfs import cell_psfs, visible_radius
from isoplan.report.results import read_map
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

DEMO, MOSAIC, NETWORK = Path("results/demo"), "pictures", "small"
# Within one of the pictures that the mosaic is laid out of.
CROP = slice(1552, 1776), slice(1552, 1776)
OUTPUT = Path(__file__).with_name("before-after.jpg")
SIDE, GAP, TOP = 4.6, 0.14, 0.42  # inches


def main():
    facts = json.loads((DEMO / "mosaics" / f"{MOSAIC}.json").read_text())
    psf_map = read_map(DEMO / "psf_map" / MOSAIC / f"{NETWORK}.zarr")
    sources = pictures.open_pictures(DEMO, MOSAIC, facts)
    before = ngff.open_array(facts["path"])[CROP].astype(np.float32) - facts["offset"]
    after = ngff.open_array(DEMO / "restored" / MOSAIC / "estimated.ome.zarr")[CROP]
    overview = sources["none"].overview()
    width_um = (CROP[1].stop - CROP[1].start) * facts["pixel_size_um"]

    figure = Figure(figsize=(3 * SIDE + 2 * GAP, SIDE + TOP), facecolor="white")
    axes = [panel(figure, number) for number in range(3)]
    levels = pictures.levels_of(after)
    for place, (picture, title) in enumerate(((before, "As observed"), (after, "Restored"))):
        shown = pictures.to_grey(picture, *levels)
        axes[place].imshow(shown, cmap="gray", vmin=0, vmax=255, extent=(0, 1, 1, 0))
        label(axes[place], title)
    plots.scale_bar(axes[0], width_um, "µm")
    draw_map(axes[2], psf_map, pictures.to_grey(overview, *pictures.levels_of(overview)), facts)
    label(axes[2], "PSFs found in the picture alone")
    figure.savefig(OUTPUT, dpi=110, pil_kwargs={"quality": 88, "optimize": True})
    print(f"open {OUTPUT}, {OUTPUT.stat().st_size // 1000} kB")


def panel(figure, number):
    """A square with no frame; lengths as shares of the figure."""
    width, height = figure.get_size_inches()
    left = number * (SIDE + GAP) / width
    axes = figure.add_axes((left, 0, SIDE / width, SIDE / height))
    axes.set_axis_off()
    return axes


def label(axes, text):
    axes.set_title(text, loc="left", fontsize=15, color=style.INK, pad=8, family=style.FONTS)


def draw_map(axes, psf_map, overview, facts):
    """PSFs in magma over the dimmed mosaic, and where the other two pictures lie."""
    height, width = facts["height_px"], facts["width_px"]
    axes.imshow(overview, cmap="gray", vmin=0, vmax=600, extent=(0, width, height, 0))
    cells = glyph_cells(psf_map)
    psfs = cell_psfs(psf_map, cells)
    middle, radius = psfs.shape[-1] // 2, visible_radius(psfs)
    window = slice(middle - radius, middle + radius + 1)
    half = 0.46 * width / 8
    for psf, (row, column) in zip(psfs[:, window, window], cells, strict=True):
        y, x = (row + 0.5) * psf_map.stride_px, (column + 0.5) * psf_map.stride_px
        level = psf / psf.max()
        colour = colormaps[style.PSF_MAP](level)
        colour[..., 3] = np.clip(5 * level, 0, 1)
        axes.imshow(
            colour,
            extent=(x - half, x + half, y + half, y - half),
            interpolation="bilinear",
            zorder=2,
        )
    rows, columns = CROP
    place = (columns.start, rows.start), columns.stop - columns.start, rows.stop - rows.start
    axes.add_patch(Rectangle(*place, fill=False, edgecolor="white", linewidth=1.6, zorder=3))
    axes.set(xlim=(0, width), ylim=(height, 0))
    plots.scale_bar(axes, width * facts["pixel_size_um"], "µm")


if __name__ == "__main__":
    main()
