# Restoration: one OME-Zarr per mosaic and method.


# Metadata alone: seconds, less than a wait in a cluster's queue.
localrules:
    create_restoration,


rule choose_restoration:
    input:
        facts=FACTS,
        psf=psf_source,
        weights=LEARNT_WEIGHTS,
    output:
        choice=f"{RESULTS}/choices/{{mosaic}}/{{method}}.json",
    log:
        f"{LOGS}/choose_restoration/{{mosaic}}/{{method}}.log",
    benchmark:
        f"{BENCHMARKS}/choose_restoration/{{mosaic}}/{{method}}.tsv"
    conda:
        "../../envs/isoplan.yaml"
    resources:
        **asks("choose_restoration"),
    params:
        library=by_method("choose_restoration", "path"),
        psf=psf_choice,
        # How it is stored does not matter here.
        restoration=restoration_settings("core_px", "halo_px", "dtype"),
        seed=STUDY["seed"],
        device=STUDY["device"],
    message:
        "Chooses how much to restore of {wildcards.mosaic} by {wildcards.method}"
    script:
        "../scripts/choose_restoration.py"


rule create_restoration:
    input:
        facts=FACTS,
        psf=psf_source,
        weights=LEARNT_WEIGHTS,
        choice=CHOICE,
    output:
        created=f"{RESULTS}/stages/restored/{{mosaic}}/{{method}}/created.done",
    log:
        f"{LOGS}/create_restoration/{{mosaic}}/{{method}}.log",
    benchmark:
        f"{BENCHMARKS}/create_restoration/{{mosaic}}/{{method}}.tsv"
    conda:
        "../../envs/isoplan.yaml"
    params:
        library=by_method("create_restoration"),
        store=f"{RESULTS}/restored/{{mosaic}}/{{method}}.ome.zarr",
        psf=psf_choice,
        restoration=restoration_settings(),
        stride_px=STUDY["map"]["stride_px"],
    message:
        "Lays out the restoration of {wildcards.mosaic} by {wildcards.method}"
    script:
        "../scripts/create_restoration.py"


rule restore_mosaic:
    input:
        facts=FACTS,
        psf=psf_source,
        weights=LEARNT_WEIGHTS,
        created=f"{RESULTS}/stages/restored/{{mosaic}}/{{method}}/created.done",
    output:
        done=f"{RESULTS}/stages/restored/{{mosaic}}/{{method}}/restore.{{job}}.done",
    log:
        f"{LOGS}/restore_mosaic/{{mosaic}}/{{method}}/{{job}}.log",
    benchmark:
        f"{BENCHMARKS}/restore_mosaic/{{mosaic}}/{{method}}/{{job}}.tsv"
    conda:
        "../../envs/isoplan.yaml"
    resources:
        **asks("restore_mosaic"),
    params:
        library=by_method("restore_mosaic", "path"),
        store=f"{RESULTS}/restored/{{mosaic}}/{{method}}.ome.zarr",
        psf=psf_choice,
        ledger=f"{RESULTS}/ledgers/restored/{{mosaic}}/{{method}}",
        restoration=restoration_settings(),
        jobs=JOBS,
        device=STUDY["device"],
    message:
        "Restores {wildcards.mosaic} by {wildcards.method}, share {wildcards.job} of {params.jobs}"
    script:
        "../scripts/restore_mosaic.py"


rule finish_restoration:
    input:
        restored=expand(
            f"{RESULTS}/stages/restored/{{mosaic}}/{{method}}/restore.{{job}}.done",
            job=range(JOBS),
            allow_missing=True,
        ),
    output:
        finished=f"{RESULTS}/stages/restored/{{mosaic}}/{{method}}/finished.done",
    log:
        f"{LOGS}/finish_restoration/{{mosaic}}/{{method}}.log",
    benchmark:
        f"{BENCHMARKS}/finish_restoration/{{mosaic}}/{{method}}.tsv"
    conda:
        "../../envs/isoplan.yaml"
    resources:
        **asks("finish_restoration"),
    params:
        library=library("finish_restoration"),
        store=f"{RESULTS}/restored/{{mosaic}}/{{method}}.ome.zarr",
    message:
        "Builds the pyramid of {wildcards.mosaic} restored by {wildcards.method}"
    script:
        "../scripts/finish_restoration.py"
