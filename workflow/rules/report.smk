# The report, and the study's verdict.

# What applications add to the report: "module:name" of a list of sections each, appended by their rules files.
SECTIONS = []


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
        config=f"{RESULTS}/config.yaml",
        metrics=f"{RESULTS}/metrics.csv",
        cells=f"{RESULTS}/cells.csv",
        map_errors=f"{RESULTS}/map_errors.csv",
        frc=f"{RESULTS}/frc.csv",
        regression=f"{RESULTS}/regression.csv",
        predictions=f"{RESULTS}/predictions.csv",
        calibration=f"{RESULTS}/calibration.csv",
        abstention=f"{RESULTS}/abstention.csv",
        refused=f"{RESULTS}/refused.csv" if STUDY["mosaics"] else [],
        restoration=[
            f"{RESULTS}/restoration_{table}.csv"
            for table in ("summary", "budget")
            if RESTORATION_TESTS
        ],
        sweeps=[
            f"{RESULTS}/restoration_{table}.csv"
            for table in ("sweep", "choice")
            if SWEPT
        ],
        pictures=expand(f"{TESTED}/{{test}}.npz", test=RESTORATION_TESTS),
        harm=f"{RESULTS}/harm_summary.csv" if HARM_TESTS else [],
        harm_pictures=expand(f"{HARM}/{{test}}.npz", test=HARM_TESTS),
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
        library=library(
            "write_report",
            *(entries.code_of_psf(psf) for psf in STUDY["psfs"]),
        ),
        templates=contents("workflow/scripts/isoplan/report/templates/*"),
        sections=lambda wc: SECTIONS,
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
        metrics=f"{RESULTS}/metrics.csv",
        refused=f"{RESULTS}/refused.csv" if STUDY["mosaics"] else [],
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
