# What was gained.


rule evaluate_mosaic:
    input:
        facts=mosaic_facts,
        restored=lambda wc: [
            f"{RESULTS}/stages/restored/{wc.mosaic}/{method}/finished.done"
            for method in methods(wc.mosaic)
        ],
        psf_map=f"{RESULTS}/psf_map/{{mosaic}}/{NETWORK}.json",
    output:
        metrics=f"{RESULTS}/evaluation/{{mosaic}}.metrics.csv",
        cells=f"{RESULTS}/evaluation/{{mosaic}}.cells.csv",
        map_errors=f"{RESULTS}/evaluation/{{mosaic}}.map.csv",
    log:
        f"{LOGS}/evaluate_mosaic/{{mosaic}}.log",
    benchmark:
        f"{BENCHMARKS}/evaluate_mosaic/{{mosaic}}.tsv"
    conda:
        "../../envs/isoplan.yaml"
    resources:
        mem_mb=growing("other_mem_mb"),
        runtime=growing("other_minutes"),
    params:
        library=library("evaluate_mosaic"),
        study=STUDY["study"],
        network=NETWORK,
        methods=lambda wc: methods(wc.mosaic) + (["none"] if "none" in METHODS else []),
        stores=lambda wc: {
            method: f"{RESULTS}/restored/{wc.mosaic}/{method}.ome.zarr"
            for method in methods(wc.mosaic)
        },
        truth=lambda wc: (
            f"{RESULTS}/simulated/{wc.mosaic}/truth.ome.zarr"
            if wc.mosaic in SIMULATED
            else None
        ),
        maps=lambda wc: {
            "estimated": f"{RESULTS}/psf_map/{wc.mosaic}/{NETWORK}.zarr",
            "true": (
                f"{RESULTS}/psf_map/{wc.mosaic}/true.zarr"
                if wc.mosaic in SIMULATED
                else None
            ),
        },
        cell_px=STUDY["map"]["stride_px"],
        settings={
            k: STUDY["restoration"][k] for k in ("iterations", "tv_step", "tv_weight")
        },
    message:
        "Measures what the restoration of {wildcards.mosaic} gained"
    script:
        "../scripts/evaluate_mosaic.py"


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
    output:
        metrics=report(
            f"{RESULTS}/metrics.csv",
            caption="../captions/metrics.rst",
            category="Tables",
            labels={"table": "Image metrics"},
        ),
        cells=f"{RESULTS}/cells.csv",
        map_errors=f"{RESULTS}/map_errors.csv",
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
                "iterations",
                "tv_step",
                "tv_weight",
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
        },
    message:
        "Collects the image metrics"
    script:
        "../scripts/collect_tables.py"
