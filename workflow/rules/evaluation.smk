# What was gained.

for _table in ("metrics", "cells", "map_errors", "frc"):
    REPORTED[_table] = f"{RESULTS}/{_table}.csv"
TARGETS["metrics"] = REPORTED["metrics"]
# The settings that metrics.csv tells of each restoration, its algorithm's own among them.
RESTORED_HOW = [
    key
    for key in (
        *("algorithm", "psf_scale", "psf_shape", "resolution_px", "iterations"),
        *entries.algorithm(STUDY["restoration"])["reads"],
        "tv_weight",
    )
    if key not in entries.fixed(STUDY["restoration"])
]


# Metadata alone: seconds, less than a wait in a cluster's queue.
localrules:
    create_evaluation,


rule register_reference:
    input:
        facts=FACTS,
        reference=lambda wc: watched(mosaic_row(wc)["reference"]),
    output:
        registered=f"{RESULTS}/references/{{mosaic}}.json",
    log:
        f"{LOGS}/register_reference/{{mosaic}}.log",
    benchmark:
        f"{BENCHMARKS}/register_reference/{{mosaic}}.tsv"
    conda:
        "../../envs/isoplan.yaml"
    resources:
        **asks("register_reference"),
    params:
        library=by_picture("register_reference", "path", "reference"),
        files=lambda wc: _stamp(mosaic_row(wc)["reference"]),
    message:
        "Brings the reference of {wildcards.mosaic} onto it"
    script:
        "../scripts/register_reference.py"


rule create_evaluation:
    input:
        facts=FACTS,
        registered=registered,
    output:
        created=f"{RESULTS}/stages/evaluation/{{mosaic}}/created.done",
    log:
        f"{LOGS}/create_evaluation/{{mosaic}}.log",
    benchmark:
        f"{BENCHMARKS}/create_evaluation/{{mosaic}}.tsv"
    conda:
        "../../envs/isoplan.yaml"
    params:
        library=library("create_evaluation"),
        store=f"{RESULTS}/evaluation/{{mosaic}}.zarr",
        methods=lambda wc: methods(wc.mosaic),
        truth=true_store,
        cell_px=STUDY["map"]["stride_px"],
    message:
        "Lays out the evaluation of {wildcards.mosaic}"
    script:
        "../scripts/create_evaluation.py"


rule evaluate_mosaic:
    input:
        facts=FACTS,
        registered=registered,
        created=f"{RESULTS}/stages/evaluation/{{mosaic}}/created.done",
        restored=lambda wc: [
            f"{RESULTS}/stages/restored/{wc.mosaic}/{method}/finished.done"
            for method in methods(wc.mosaic)
        ],
    output:
        done=f"{RESULTS}/stages/evaluation/{{mosaic}}/evaluate.{{job}}.done",
    log:
        f"{LOGS}/evaluate_mosaic/{{mosaic}}/{{job}}.log",
    benchmark:
        f"{BENCHMARKS}/evaluate_mosaic/{{mosaic}}/{{job}}.tsv"
    conda:
        "../../envs/isoplan.yaml"
    resources:
        **asks("evaluate_mosaic"),
    params:
        library=by_picture("evaluate_mosaic", "path", "reference"),
        store=f"{RESULTS}/evaluation/{{mosaic}}.zarr",
        ledger=f"{RESULTS}/ledgers/evaluation/{{mosaic}}",
        stores=restored_stores,
        truth=true_store,
        jobs=JOBS,
    message:
        "Measures what the restoration of {wildcards.mosaic} gained, share {wildcards.job} of {params.jobs}"
    script:
        "../scripts/evaluate_mosaic.py"


rule correlate_mosaic:
    input:
        facts=FACTS,
        registered=registered,
        psf_map=f"{RESULTS}/psf_map/{{mosaic}}/{NETWORK}.json",
        restored=lambda wc: [
            f"{RESULTS}/stages/restored/{wc.mosaic}/{method}/finished.done"
            for method in methods(wc.mosaic)
        ],
    output:
        rings=f"{RESULTS}/evaluation/{{mosaic}}.frc.csv",
        again=f"{RESULTS}/evaluation/{{mosaic}}.again.csv",
    log:
        f"{LOGS}/correlate_mosaic/{{mosaic}}.log",
    benchmark:
        f"{BENCHMARKS}/correlate_mosaic/{{mosaic}}.tsv"
    conda:
        "../../envs/isoplan.yaml"
    resources:
        **asks("correlate_mosaic"),
    params:
        library=by_mosaic("correlate_mosaic", "path", "reference"),
        stores=restored_stores,
        psfs=lambda wc: {
            method: psf_choice(SimpleNamespace(mosaic=wc.mosaic, method=method))
            for method in methods(wc.mosaic)
        },
        truth=true_store,
    message:
        "Correlates {wildcards.mosaic} and its restorations with what they are judged by"
    script:
        "../scripts/correlate_mosaic.py"


rule check_seams:
    input:
        facts=FACTS,
        psf=psf_source,
        restored=f"{RESULTS}/stages/restored/{{mosaic}}/{{method}}/finished.done",
    output:
        seams=f"{RESULTS}/evaluation/{{mosaic}}.{{method}}.seams.csv",
    log:
        f"{LOGS}/check_seams/{{mosaic}}/{{method}}.log",
    benchmark:
        f"{BENCHMARKS}/check_seams/{{mosaic}}/{{method}}.tsv"
    conda:
        "../../envs/isoplan.yaml"
    resources:
        **asks("check_seams"),
    params:
        library=by_mosaic("check_seams", "path"),
        store=f"{RESULTS}/restored/{{mosaic}}/{{method}}.ome.zarr",
        psf=psf_choice,
        device=STUDY["device"],
    message:
        "Looks for seams in {wildcards.mosaic} restored by {wildcards.method}"
    script:
        "../scripts/check_seams.py"


rule tabulate_mosaic:
    input:
        facts=FACTS,
        evaluated=expand(
            f"{RESULTS}/stages/evaluation/{{mosaic}}/evaluate.{{job}}.done",
            job=range(JOBS),
            allow_missing=True,
        ),
        psf_map=f"{RESULTS}/psf_map/{{mosaic}}/{NETWORK}.json",
        rings=lambda wc: (
            f"{RESULTS}/evaluation/{wc.mosaic}.frc.csv" if judgeable(wc) else []
        ),
        again=lambda wc: (
            f"{RESULTS}/evaluation/{wc.mosaic}.again.csv" if judgeable(wc) else []
        ),
        choices=lambda wc: [
            CHOICE.format(mosaic=wc.mosaic, method=method)
            for method in methods(wc.mosaic)
            if CHOICE
        ],
        # Of one method: they differ in their PSFs, not in how they are cut.
        seams=lambda wc: [
            f"{RESULTS}/evaluation/{wc.mosaic}.{method}.seams.csv"
            for method in methods(wc.mosaic)[:1]
        ],
    output:
        metrics=f"{RESULTS}/evaluation/{{mosaic}}.metrics.csv",
        cells=f"{RESULTS}/evaluation/{{mosaic}}.cells.csv",
        map_errors=f"{RESULTS}/evaluation/{{mosaic}}.map.csv",
    log:
        f"{LOGS}/tabulate_mosaic/{{mosaic}}.log",
    benchmark:
        f"{BENCHMARKS}/tabulate_mosaic/{{mosaic}}.tsv"
    conda:
        "../../envs/isoplan.yaml"
    resources:
        **asks("tabulate_mosaic"),
    params:
        library=by_mosaic("tabulate_mosaic"),
        study=STUDY["study"],
        network=NETWORK,
        store=f"{RESULTS}/evaluation/{{mosaic}}.zarr",
        methods=lambda wc: methods(wc.mosaic) + (["none"] if "none" in METHODS else []),
        trust=lambda wc: {
            method: f"{RESULTS}/restored/{wc.mosaic}/{method}.ome.zarr/trust"
            for method in methods(wc.mosaic)
        },
        maps=lambda wc: {
            "estimated": f"{RESULTS}/psf_map/{wc.mosaic}/{NETWORK}.zarr",
            "true": (
                f"{RESULTS}/psf_map/{wc.mosaic}/true.zarr"
                if wc.mosaic in SIMULATED
                else None
            ),
        },
        settings={
            key: value
            for key, value in restoration_settings().items()
            if key in RESTORED_HOW
        },
    message:
        "Tabulates what the restoration of {wildcards.mosaic} gained"
    script:
        "../scripts/tabulate_mosaic.py"


rule collect_metrics:
    input:
        metrics=lambda wc: [
            f"{RESULTS}/evaluation/{name}.metrics.csv" for name in mosaics()
        ],
        cells=lambda wc: [
            f"{RESULTS}/evaluation/{name}.cells.csv" for name in mosaics()
        ],
        map_errors=lambda wc: [
            f"{RESULTS}/evaluation/{name}.map.csv" for name in mosaics()
        ],
        frc=lambda wc: [
            f"{RESULTS}/evaluation/{name}.frc.csv"
            for name in mosaics()
            if judgeable(wc, name)
        ],
    output:
        metrics=report(
            f"{RESULTS}/metrics.csv",
            caption="../captions/metrics.rst",
            category="Tables",
            labels={"table": "Image metrics"},
        ),
        cells=f"{RESULTS}/cells.csv",
        map_errors=f"{RESULTS}/map_errors.csv",
        frc=f"{RESULTS}/frc.csv",
    log:
        f"{LOGS}/collect_metrics.log",
    benchmark:
        f"{BENCHMARKS}/collect_metrics.tsv"
    conda:
        "../../envs/isoplan.yaml"
    params:
        library=library("collect_tables"),
        columns={
            "metrics": [
                "study",
                "mosaic",
                "method",
                "metric",
                "value",
                "network",
                *RESTORED_HOW,
                "counts_for_255",
            ],
            "cells": ["mosaic", "method", "cell_y", "cell_x", "snr_gain_db"],
            "map_errors": [
                "mosaic",
                "network",
                "parameter",
                "metric",
                "value",
                "n",
            ],
            "frc": ["mosaic", "method", "cycles_per_px", "correlation"],
        },
    message:
        "Collects the image metrics"
    script:
        "../scripts/collect_tables.py"
