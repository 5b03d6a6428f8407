# Pictures that the study makes itself: stored sample sets and simulated mosaics.


rule store_validation_set:
    output:
        samples=f"{RESULTS}/stages/validation/{{network}}.done",
    log:
        f"{LOGS}/store_validation_set/{{network}}.log",
    benchmark:
        f"{BENCHMARKS}/store_validation_set/{{network}}.tsv"
    conda:
        "../../envs/isoplan.yaml"
    threads: STUDY["resources"]["threads"]
    resources:
        **asks("store_validation_set"),
    params:
        library=lambda wc: library(
            "store_sample_set",
            task_of("networks", wc.network).samples,
            *network_code(wc.network),
        ),
        store_set=lambda wc: task_of("networks", wc.network).samples,
        store=f"{RESULTS}/sets/validation-{{network}}.zarr",
        recipe=network_recipe,
        samples=lambda wc: entry("networks", wc.network)["validation_samples"],
        split="validation",
        name="validation/{network}",
        seed=STUDY["seed"],
    message:
        "Stores the validation samples of network {wildcards.network}"
    script:
        "../scripts/store_sample_set.py"


rule store_test_set:
    output:
        samples=f"{RESULTS}/stages/test/{{test_set}}.done",
    log:
        f"{LOGS}/store_test_set/{{test_set}}.log",
    benchmark:
        f"{BENCHMARKS}/store_test_set/{{test_set}}.tsv"
    conda:
        "../../envs/isoplan.yaml"
    threads: STUDY["resources"]["threads"]
    resources:
        **asks("store_test_set"),
    params:
        library=lambda wc: library(
            "store_sample_set",
            task_of("test_sets", wc.test_set).samples,
            psf_code(entry("test_sets", wc.test_set)["psf"]),
        ),
        store_set=lambda wc: task_of("test_sets", wc.test_set).samples,
        store=f"{RESULTS}/sets/test-{{test_set}}.zarr",
        recipe=test_recipe,
        samples=lambda wc: entry("test_sets", wc.test_set)["samples"],
        split="test",
        name=f"test/{{test_set}}",
        seed=STUDY["seed"],
    message:
        "Stores test set {wildcards.test_set}"
    script:
        "../scripts/store_sample_set.py"


rule simulate_mosaic:
    output:
        done=f"{RESULTS}/stages/simulated/{{mosaic}}.done",
    log:
        f"{LOGS}/simulate_mosaic/{{mosaic}}.log",
    benchmark:
        f"{BENCHMARKS}/simulate_mosaic/{{mosaic}}.tsv"
    conda:
        "../../envs/isoplan.yaml"
    threads: STUDY["resources"]["threads"]
    resources:
        **asks("simulate_mosaic"),
    params:
        library=lambda wc: library("simulate_mosaic", simulated_code(wc.mosaic)),
        observed=f"{RESULTS}/simulated/{{mosaic}}/observed.ome.zarr",
        truth=f"{RESULTS}/simulated/{{mosaic}}/truth.ome.zarr",
        true_map=f"{RESULTS}/psf_map/{{mosaic}}/true.zarr",
        ledger=f"{RESULTS}/ledgers/simulated/{{mosaic}}",
        simulation=lambda wc: simulation(wc.mosaic),
        window_px=STUDY["map"]["window_px"],
        stride_px=STUDY["map"]["stride_px"],
        edges=STUDY["map"]["edges"],
        seed=STUDY["seed"],
    message:
        "Simulates mosaic {wildcards.mosaic}"
    script:
        "../scripts/simulate_mosaic.py"
