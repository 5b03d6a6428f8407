# Maps of the regularisation's weight: networks that tell them from pictures.

WEIGHT_NETWORKS = [item["name"] for item in STUDY["weight_networks"]]
WEIGHTS = f"{RESULTS}/weight_networks/{{weights}}"
WEIGHTS_TASK = "isoplan.applications.weight_maps.task:WeightMaps"

if WEIGHT_NETWORKS:
    TARGETS["weight_networks"] = expand(WEIGHTS_FILE, weights=WEIGHT_NETWORKS)

if STUDY["restoration"]["tv_weight"] == entries.LEARNT:
    SECTIONS["tv_weights"] = "isoplan.applications.weight_maps.mosaic_report:SECTIONS"


wildcard_constraints:
    weights=r"[A-Za-z0-9._-]+",


OWN_SUMS = f"{RESULTS}/psf_map/{{mosaic}}/{NETWORK}.json"

# The entries that a network of weights learns from, and the classes of its PSFs; none where its weights are given, or
# where it learns from the study's mosaics.
WEIGHTS_OWN = {
    item["name"]: item["pictures"] == "mosaics" and not item["weights"]
    for item in STUDY["weight_networks"]
}
WEIGHTS_PSFS = {
    item["name"]: ([] if item["weights"] or WEIGHTS_OWN[item["name"]] else item["psfs"])
    for item in STUDY["weight_networks"]
}
WEIGHTS_OBJECTS = {item["name"]: item["objects"] for item in STUDY["weight_networks"]}
WEIGHTS_STARTS = {
    item["name"]: (
        os.path.relpath(entries.weight_network_file({"weight_network": item["start"]}))
        if item["start"] and not item["weights"]
        else []
    )
    for item in STUDY["weight_networks"]
}


rule train_weights:
    input:
        weights=lambda wc: entry("weight_networks", wc.weights)["weights"] or [],
        start=lambda wc: WEIGHTS_STARTS[wc.weights],
        facts=lambda wc: own_mosaics(wc, FACTS),
        sums=lambda wc: own_mosaics(wc, OWN_SUMS),
        references=own_references,
    output:
        network=WEIGHTS_FILE,
        history=f"{WEIGHTS}/history.csv",
        card=f"{WEIGHTS}/card.json",
    log:
        f"{LOGS}/train_weights/{{weights}}.log",
    benchmark:
        f"{BENCHMARKS}/train_weights/{{weights}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    threads: STUDY["resources"]["threads"]
    resources:
        **asks("train_weights"),
    params:
        library=lambda wc: library(
            "train_network",
            WEIGHTS_TASK,
            *map(psf_code, WEIGHTS_PSFS[wc.weights]),
            *([map_code(), *all_readers()] if WEIGHTS_OWN[wc.weights] else []),
        ),
        task=WEIGHTS_TASK,
        validation=None,
        recipe=lambda wc: (
            {
                "psfs": [entry("psfs", name) for name in WEIGHTS_PSFS[wc.weights]],
                "objects": entry("objects", WEIGHTS_OBJECTS[wc.weights]),
            }
            if WEIGHTS_PSFS[wc.weights]
            else own_recipe(wc)
        ),
        network=lambda wc: entry("weight_networks", wc.weights),
        seed=STUDY["seed"],
        device=STUDY["device"],
    message:
        "Trains the network of weights {wildcards.weights}"
    script:
        "../../scripts/train_network.py"


# Tests: the same pictures restored with weights by every method.

WEIGHT_TESTS = [item["name"] for item in STUDY["weight_tests"]]
WEIGHT_TEST = f"{RESULTS}/weight_tests/{{weight_test}}"
WEIGHT_STAGE = f"{RESULTS}/stages/weight_tests/{{weight_test}}"
WEIGHT_ROWS = f"{RESULTS}/weight_maps.csv"
WEIGHT_SUMMARY = f"{RESULTS}/weight_maps_summary.csv"
WEIGHT_FOLLOW = f"{RESULTS}/weight_maps_follow.csv"

if WEIGHT_TESTS:
    TARGETS["weight_tests"] = [WEIGHT_ROWS, WEIGHT_SUMMARY, WEIGHT_FOLLOW]
    REPORTED["weight_tests"] = WEIGHT_SUMMARY
    REPORTED["weight_pictures"] = expand(
        f"{WEIGHT_TEST}/pictures.npz", weight_test=WEIGHT_TESTS
    )
    SECTIONS["weight_maps"] = "isoplan.applications.weight_maps.report:SECTIONS"

# The networks' files and the classes of PSFs and of the restoration that tests need.
WEIGHT_TEST_FILES = {
    item["name"]: [WEIGHTS_FILE.format(weights=name) for name in item["networks"]]
    for item in STUDY["weight_tests"]
}
WEIGHT_TEST_CODE = {
    item["name"]: [
        psf_code(item["psf"]),
        entries.choices("restoration")["richardson-lucy"]["code"],
    ]
    for item in STUDY["weight_tests"]
}
WEIGHT_TEST_RECIPE = {
    item["name"]: {"psf": item["psf"], "objects": item["objects"]}
    for item in STUDY["weight_tests"]
}


wildcard_constraints:
    weight_test=r"[A-Za-z0-9._-]+",


rule score_weights:
    input:
        networks=lambda wc: WEIGHT_TEST_FILES[wc.weight_test],
    output:
        done=f"{WEIGHT_STAGE}/score.{{job}}.done",
    log:
        f"{LOGS}/score_weights/{{weight_test}}/{{job}}.log",
    benchmark:
        f"{BENCHMARKS}/score_weights/{{weight_test}}/{{job}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("score_weights"),
    params:
        library=lambda wc: library("score_weights", *WEIGHT_TEST_CODE[wc.weight_test]),
        folder=f"{WEIGHT_TEST}/scores",
        ledger=f"{RESULTS}/ledgers/weight_tests/{{weight_test}}",
        test=lambda wc: entry("weight_tests", wc.weight_test),
        recipe=lambda wc: {
            "objects": entry("objects", WEIGHT_TEST_RECIPE[wc.weight_test]["objects"]),
            "psfs": [entry("psfs", WEIGHT_TEST_RECIPE[wc.weight_test]["psf"])],
        },
        seed=STUDY["seed"],
        jobs=JOBS,
    message:
        "Restores pictures of {wildcards.weight_test}, share {wildcards.job} of {params.jobs}"
    script:
        "../../scripts/score_weights.py"


rule tabulate_weights:
    input:
        networks=sorted(
            {file for files in WEIGHT_TEST_FILES.values() for file in files}
        ),
        done=expand(
            f"{WEIGHT_STAGE}/score.{{job}}.done",
            weight_test=WEIGHT_TESTS,
            job=range(JOBS),
        ),
    output:
        rows=WEIGHT_ROWS,
        summary=WEIGHT_SUMMARY,
        follow=WEIGHT_FOLLOW,
    log:
        f"{LOGS}/tabulate_weights.log",
    benchmark:
        f"{BENCHMARKS}/tabulate_weights.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("tabulate_weights"),
    params:
        library=library("tabulate_weights"),
        folder=f"{RESULTS}/weight_tests",
        tests=[entry("weight_tests", name) for name in WEIGHT_TESTS],
        networks=WEIGHT_TEST_FILES,
        seed=STUDY["seed"],
    message:
        "Collects how near every method comes to the truth"
    script:
        "../../scripts/tabulate_weights.py"


rule picture_weights:
    input:
        networks=lambda wc: WEIGHT_TEST_FILES[wc.weight_test],
    output:
        pictures=f"{WEIGHT_TEST}/pictures.npz",
    log:
        f"{LOGS}/picture_weights/{{weight_test}}.log",
    benchmark:
        f"{BENCHMARKS}/picture_weights/{{weight_test}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("picture_weights"),
    params:
        library=lambda wc: library("picture_weights", *WEIGHT_TEST_CODE[wc.weight_test]),
        test=lambda wc: entry("weight_tests", wc.weight_test),
        recipe=lambda wc: {
            "objects": entry("objects", WEIGHT_TEST_RECIPE[wc.weight_test]["objects"]),
            "psfs": [entry("psfs", WEIGHT_TEST_RECIPE[wc.weight_test]["psf"])],
        },
        seed=STUDY["seed"],
    message:
        "Restores one picture of {wildcards.weight_test} once more, to look at"
    script:
        "../../scripts/picture_weights.py"
