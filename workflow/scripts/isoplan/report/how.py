"""The section on how the report was made: mosaics, settings, files and versions."""

import platform
from importlib import metadata

from isoplan.report import style
from isoplan.report.results import Study
from isoplan.report.section import Part, Section
from isoplan.report.tables import Cell, Table

PACKAGES = (
    *("isoplan", "snakemake", "torch", "torchvision", "timm"),
    *("numpy", "scipy", "scikit-image", "tifffile", "zarr", "pandas", "matplotlib", "jinja2"),
)


def mosaic_table(study: Study) -> Table | None:
    """The mosaics with what is known of them; None without mosaics."""
    if not study.mosaics:
        return None
    rows = []
    for mosaic in study.mosaics:
        facts, psf_map = mosaic.facts, study.maps.get(mosaic.name)
        cells = f"{psf_map.shape_cells[0]} \u00d7 {psf_map.shape_cells[1]}" if psf_map else "\u2013"
        size = "\u2013"
        if facts.get("height_px"):
            size = f"{facts['height_px']:,} \u00d7 {facts['width_px']:,}"
        pixel, gain, offset = (
            f"{facts[key]:g}" if style.is_number(facts.get(key)) else "unknown"
            for key in ("pixel_size_um", "gain", "offset")
        )
        notes = facts.get("notes") or []
        notes = "; ".join(notes) if isinstance(notes, list) else str(notes)
        texts = [mosaic.name, size, pixel, str(facts.get("dtype", "\u2013")), gain, offset, cells]
        rows.append([Cell(text) for text in [*texts, notes or "\u2013"]])
    head = ["Mosaic", "Height \u00d7 width (px)", "Pixel (µm)", "Type"]
    head += ["Gain (counts/e⁻)", "Offset (counts)", "Map cells", "Notes"]
    return Table(head, rows, numeric=False)


def version_table() -> Table:
    """Versions of the packages that are installed."""
    rows = [[Cell("Python"), Cell(platform.python_version())]]
    plugins = sorted(
        {
            one.name
            for one in metadata.distributions()
            if one.name.startswith("snakemake-executor-plugin-")
        }
    )
    for package in (*PACKAGES, *plugins):
        try:
            rows.append([Cell(package), Cell(metadata.version(package))])
        except metadata.PackageNotFoundError:
            continue
    note = (
        f"Packages on the machine that wrote this page ({platform.system()} {platform.machine()})."
    )
    return Table(["Package", "Version"], rows, note, numeric=False)


def parts(study: Study) -> list[Part]:
    versions = version_table()
    mosaics = mosaic_table(study)
    return [
        Part("Mosaics", tables=[("", mosaics)] if mosaics else []),
        Part("Versions", remarks=[versions.note], tables=[("", versions)]),
    ]


SECTION = Section("how", "How it was made", "How it was made", parts, template="how.html")
