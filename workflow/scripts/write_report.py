"""The study's figures, what it cost, and its report, one self-contained HTML file."""

from pathlib import Path

from _job import job
from isoplan.report.cost import costs
from isoplan.report.figures import draw_figures
from isoplan.report.page import write_report
from isoplan.report.results import read_study


def main(snakemake):
    params = snakemake.params
    folder = Path(snakemake.output.report).parent
    study = read_study(folder)
    if study.aside:
        print(f"left aside, as this study names them no longer: {', '.join(study.aside)}")
    costs(study).to_csv(snakemake.output.cost, index=False)
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
