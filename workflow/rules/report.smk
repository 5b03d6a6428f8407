# The report, and the study's verdict.

TARGETS |= {
    "report": f"{RESULTS}/report.html",
    "cost": f"{RESULTS}/cost.csv",
    "finished": f"{RESULTS}/finished.txt",
}


localrules:
    write_config,
    collect_regression,
    collect_metrics,
    finish_study,


rule write_config:
    output:
        config=f"{RESULTS}/config.yaml",
    log:
        f"{LOGS}/write_config.log",
    benchmark:
        f"{BENCHMARKS}/write_config.tsv"
    conda:
        "../../envs/isoplan.yaml"
    params:
        library=library("write_config"),
        # The one rule that takes the whole config: it is its result.
        config=entries.all_that_counts(STUDY),
    message:
        "Writes the study's config with every default filled in"
    script:
        "../scripts/write_config.py"


rule write_report:
    input:
        **REPORTED,
        config=f"{RESULTS}/config.yaml",
    output:
        report=report(
            f"{RESULTS}/report.html",
            caption="../captions/report.rst",
            category="Report",
            labels={"study": STUDY["study"]},
        ),
        cost=f"{RESULTS}/cost.csv",
    log:
        f"{LOGS}/write_report.log",
    benchmark:
        f"{BENCHMARKS}/write_report.tsv"
    conda:
        "../../envs/isoplan.yaml"
    resources:
        **asks("write_report"),
    params:
        library=lambda wc: library(
            "write_report",
            *all_readers(),
            *(entries.code_of_psf(psf) for psf in STUDY["psfs"]),
            *SECTIONS.values(),
            # The costs say how large units are.
            *(s.unit_px for s in stages.STAGES if s.unit_px and s.wanted(STUDY)),
        ),
        templates=contents("workflow/scripts/isoplan/report/templates/*"),
        sections=list(SECTIONS.values()),
        title=lambda wc: STUDY["report"]["title"] or STUDY["study"],
        crop_px=STUDY["report"]["crop_px"],
        published=contents(f"resources/published/{STUDY['report']['published']}.csv"),
        network=NETWORK,
    message:
        "Writes the report"
    script:
        "../scripts/write_report.py"


rule finish_study:
    input:
        report=f"{RESULTS}/report.html",
        metrics=REPORTED["metrics"],
        refused=REPORTED["refused"],
    output:
        finished=f"{RESULTS}/finished.txt",
    log:
        f"{LOGS}/finish_study.log",
    benchmark:
        f"{BENCHMARKS}/finish_study.tsv"
    conda:
        "../../envs/isoplan.yaml"
    params:
        library=library("finish_study"),
    message:
        "Says how the study ended"
    script:
        "../scripts/finish_study.py"
