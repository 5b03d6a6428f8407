"""The study's figures and its report, one self-contained HTML file."""

from pathlib import Path

from _job import job
from isoplan.report.figures import draw_figures
from isoplan.report.page import write_report


def main(snakemake):
    params = snakemake.params
    folder = Path(snakemake.output.report).parent
    draw_figures(folder, folder / "figures")
    write_report(
        folder,
        Path(snakemake.output.report),
        title=params.title,
        crop_px=params.crop_px,
    )
    print(f"open {snakemake.output.report}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
