"""Makes the other pictures of docs/gallery.md, from the figures of results/demo (after `make demo`):

PYTHONPATH=workflow/scripts .venv/bin/python resources/readme/make_gallery.py
"""

from pathlib import Path

from PIL import Image

FIGURES = Path("results/demo/figures")
# Picture -> figures of the report that stand side by side in it.
PICTURES = {
    "map": [f"map_pictures_width_x_{what}" for what in ("true", "estimated", "uncertainty")],
    "psfs": ["psfs_pictures_true", "psfs_pictures_estimated"],
    "gain": ["cells_pictures_map", "trust_pictures_chi_square"],
}
WIDTH_PX, GAP_PX, MARGIN_PX, LARGEST_BYTES = 1200, 16, 6, 150_000


def main():
    for name, figures in PICTURES.items():
        picture = side_by_side([Image.open(FIGURES / f"{figure}.png") for figure in figures])
        file = Path(__file__).with_name(f"{name}.jpg")
        picture.save(file, quality=85, optimize=True)
        assert file.stat().st_size < LARGEST_BYTES, file
        print(f"open {file}, {file.stat().st_size // 1000} kB")


def side_by_side(figures: list[Image.Image]) -> Image.Image:
    """Figures of one width beside each other, on white, without the legends below, which the page says in words."""
    height = min(figure.height for figure in figures) - MARGIN_PX
    width = sum(figure.width for figure in figures) + GAP_PX * (len(figures) - 1)
    row = Image.new("RGB", (width, height), "white")
    left = 0
    for figure in figures:
        row.paste(figure.convert("RGB"), (left, 0))
        left += figure.width + GAP_PX
    shown = min(WIDTH_PX, width)
    return row.resize((shown, round(height * shown / width)), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
