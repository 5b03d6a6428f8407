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


# An application brings its own.
for _file in sorted(Path(workflow.basedir).glob("workflow/rules/applications/*.smk")):

    include: str(_file)


include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        **TARGETS,
