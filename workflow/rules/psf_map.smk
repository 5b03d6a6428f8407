# Mosaics as they come, and the PSF map of each.

REPORTED["refused"] = f"{RESULTS}/refused.csv" if STUDY["mosaics"] else []


# Headers and metadata alone: seconds, less than a wait in a cluster's queue.
localrules:
    check_mosaics,
    refuse_mosaics,
    create_psf_map,


checkpoint check_mosaics:
    input:
        table=STUDY["mosaics"] or [],
    output:
        accepted=f"{RESULTS}/stages/mosaics/accepted.tsv",
        refused=f"{RESULTS}/stages/mosaics/refused.csv",
    log:
        f"{LOGS}/check_mosaics.log",
    benchmark:
        f"{BENCHMARKS}/check_mosaics.tsv"
    conda:
        "../../envs/isoplan.yaml"
    params:
        library=lambda wc: library("check_mosaics", *all_readers()),
        simulated=SIMULATED,
        files=mosaic_stamps,
    message:
        "Looks at the headers of the mosaics in {input.table}; to measure, map, restore and evaluate each of them is planned after that"
    script:
        "../scripts/check_mosaics.py"


rule convert_mosaic:
    input:
        source=mosaic_files,
    output:
        done=f"{RESULTS}/stages/converted/{{mosaic}}.done",
    log:
        f"{LOGS}/convert_mosaic/{{mosaic}}.log",
    benchmark:
        f"{BENCHMARKS}/convert_mosaic/{{mosaic}}.tsv"
    conda:
        "../../envs/isoplan.yaml"
    resources:
        **asks("convert_mosaic"),
    params:
        library=by_picture("convert_mosaic", "path"),
        store=made_store,
        row=converted_row,
        files=mosaic_stamp,
    message:
        "Converts {wildcards.mosaic}, which cannot be read by window"
    script:
        "../scripts/convert_mosaic.py"


rule measure_mosaic:
    input:
        source=mosaic_source,
    output:
        facts=FACTS,
    log:
        f"{LOGS}/measure_mosaic/{{mosaic}}.log",
    benchmark:
        f"{BENCHMARKS}/measure_mosaic/{{mosaic}}.tsv"
    conda:
        "../../envs/isoplan.yaml"
    resources:
        **asks("measure_mosaic"),
    params:
        library=by_picture("measure_mosaic", "path"),
        store=made_store,
        row=mosaic_row,
        # One above all light is refused as an offset is.
        background=STUDY["restoration"]["background"],
        files=mosaic_stamp,
    message:
        "Measures mosaic {wildcards.mosaic}: size, brightness, noise"
    script:
        "../scripts/measure_mosaic.py"


# A damaged strip in the middle shows only when every pixel was read: such a mosaic is refused too, and the
# others go on. It runs whenever check_mosaics does, for the same reasons: behind a checkpoint that was to run, and then
# need not as its input came out as it was, Snakemake looks no further, and what else had changed would wait for the next run.
checkpoint refuse_mosaics:
    input:
        table=STUDY["mosaics"] or [],
        accepted=f"{RESULTS}/stages/mosaics/accepted.tsv",
        refused=f"{RESULTS}/stages/mosaics/refused.csv",
        facts=lambda wc: [f"{RESULTS}/mosaics/{name}.json" for name in accepted()],
    output:
        accepted=f"{RESULTS}/accepted.tsv",
        refused=f"{RESULTS}/refused.csv",
    log:
        f"{LOGS}/refuse_mosaics.log",
    benchmark:
        f"{BENCHMARKS}/refuse_mosaics.tsv"
    conda:
        "../../envs/isoplan.yaml"
    params:
        library=library("refuse_mosaics"),
        checked=lambda wc: library("check_mosaics", *all_readers()),
        files=mosaic_stamps,
    message:
        "Sets the mosaics aside that could not be read whole"
    script:
        "../scripts/refuse_mosaics.py"


rule create_psf_map:
    input:
        facts=FACTS,
        network=f"{RESULTS}/networks/{{network}}/network.safetensors",
    output:
        created=f"{RESULTS}/stages/psf_map/{{mosaic}}/{{network}}/created.done",
    log:
        f"{LOGS}/create_psf_map/{{mosaic}}/{{network}}.log",
    benchmark:
        f"{BENCHMARKS}/create_psf_map/{{mosaic}}/{{network}}.tsv"
    conda:
        "../../envs/isoplan.yaml"
    params:
        library=by_network("create_psf_map"),
        store=f"{RESULTS}/psf_map/{{mosaic}}/{{network}}.zarr",
        psf=lambda wc: entry("psfs", entry("networks", wc.network)["psf"]),
        window_px=lambda wc: entry("networks", wc.network)["window_px"],
        stride_px=STUDY["map"]["stride_px"],
        edges=STUDY["map"]["edges"],
    message:
        "Lays out the PSF map of {wildcards.mosaic} by {wildcards.network}"
    script:
        "../scripts/create_psf_map.py"


rule map_psf:
    input:
        facts=FACTS,
        network=f"{RESULTS}/networks/{{network}}/network.safetensors",
        created=f"{RESULTS}/stages/psf_map/{{mosaic}}/{{network}}/created.done",
    output:
        done=f"{RESULTS}/stages/psf_map/{{mosaic}}/{{network}}/map.{{job}}.done",
    log:
        f"{LOGS}/map_psf/{{mosaic}}/{{network}}/{{job}}.log",
    benchmark:
        f"{BENCHMARKS}/map_psf/{{mosaic}}/{{network}}/{{job}}.tsv"
    conda:
        "../../envs/isoplan.yaml"
    resources:
        **asks("map_psf"),
    params:
        library=by_network("map_psf", "path"),
        store=f"{RESULTS}/psf_map/{{mosaic}}/{{network}}.zarr",
        ledger=f"{RESULTS}/ledgers/psf_map/{{mosaic}}/{{network}}",
        jobs=JOBS,
        device=STUDY["device"],
    message:
        "Estimates the PSF of {wildcards.mosaic}, share {wildcards.job} of {params.jobs}"
    script:
        "../scripts/map_psf.py"


rule fill_psf_map:
    input:
        mapped=expand(
            f"{RESULTS}/stages/psf_map/{{mosaic}}/{{network}}/map.{{job}}.done",
            job=range(JOBS),
            allow_missing=True,
        ),
    output:
        summary=f"{RESULTS}/psf_map/{{mosaic}}/{{network}}.json",
    log:
        f"{LOGS}/fill_psf_map/{{mosaic}}/{{network}}.log",
    benchmark:
        f"{BENCHMARKS}/fill_psf_map/{{mosaic}}/{{network}}.tsv"
    conda:
        "../../envs/isoplan.yaml"
    resources:
        **asks("fill_psf_map"),
    params:
        library=by_network("fill_psf_map"),
        store=f"{RESULTS}/psf_map/{{mosaic}}/{{network}}.zarr",
        neighbours=STUDY["map"]["neighbours"],
        smooth=STUDY["map"]["smoothing"] == "kriging",
        stride_px=STUDY["map"]["stride_px"],
        validity_threshold=STUDY["map"]["validity_threshold"],
        alarm_threshold=STUDY["map"]["alarm_threshold"],
    message:
        "Fills the invalid cells of {wildcards.mosaic}'s map by {wildcards.network}"
    script:
        "../scripts/fill_psf_map.py"
