# `snakemake` in this folder runs the workflow that lies in workflow/.
include: "workflow/Snakefile"


# What is included brings no default of its own.
rule default:
    default_target: True
    input:
        rules.all.input,
