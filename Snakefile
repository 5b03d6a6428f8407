# isoplan: finds the local PSF of every patch of a mosaic and restores it. One config file, one study.
from snakemake.utils import min_version

min_version("9.19")


configfile: "config/config.yaml"


report: "workflow/report.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/synthesis.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/psf_map.smk"
include: "workflow/rules/deconvolution.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/restoration_test.smk"
include: "workflow/rules/no_harm.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        report=f"{RESULTS}/report.html",
        metrics=f"{RESULTS}/metrics.csv",
        regression=f"{RESULTS}/regression.csv",
        calibration=f"{RESULTS}/calibration.csv",
        abstention=f"{RESULTS}/abstention.csv",
        cost=f"{RESULTS}/cost.csv",
        restoration=[
            f"{RESULTS}/{table}.csv"
            for table in ("restoration", "restoration_summary")
            if RESTORATION_TESTS
        ],
        harm=[
            f"{RESULTS}/{table}.csv"
            for table in ("harm", "harm_summary")
            if HARM_TESTS
        ],
        finished=f"{RESULTS}/finished.txt",
