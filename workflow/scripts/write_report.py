"""The study's figures, what it cost, and its report, one self-contained HTML file."""

from pathlib import Path

from _job import job
from isoplan.base.imports import load_named
from isoplan.report.cost import costs
from isoplan.report.page import write_report
from isoplan.report.results import read_study
from isoplan.report.sections import in_order


def main(snakemake):
    params = snakemake.params
    folder = Path(snakemake.output.report).parent
    sections = in_order(one for name in params.sections for one in load_named(name))
    study = read_study(folder, [table for section in sections for table in section.tables])
    if study.aside:
        print(f"left aside, as this study names them no longer: {', '.join(study.aside)}")
    costs(study).to_csv(snakemake.output.cost, index=False)
    write_report(
        study,
        sections,
        Path(snakemake.output.report),
        title=params.title,
        crop_px=params.crop_px,
        figures=folder / "figures",
    )
    print(f"open {snakemake.output.report}")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
