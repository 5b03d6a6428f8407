# Identification of whole kernels: pictures blurred by known kernels, and how near a fit comes to these.

KERNEL_NETWORKS = [item["name"] for item in STUDY["kernel_networks"]]
KERNELS = f"{RESULTS}/kernel_networks/{{kernels}}"
KERNELS_FILE = f"{RESULTS}/kernel_networks/{{kernels}}/network.safetensors"
KERNELS_TASK = "isoplan.applications.identification.task:Kernels"

if KERNEL_NETWORKS:
    TARGETS["kernel_networks"] = expand(KERNELS_FILE, kernels=KERNEL_NETWORKS)

# What a network that is trained learns from; its name says which.
KERNELS_OBJECTS = {item["name"]: item["objects"] for item in STUDY["kernel_networks"]}
KERNELS_PSFS = {item["name"]: item["psf"] for item in STUDY["kernel_networks"]}

IDENTIFICATION_TESTS = [item["name"] for item in STUDY["identification_tests"]]
IDENTIFICATION_TEST = f"{RESULTS}/identification_tests/{{identification_test}}"
IDENTIFICATION_STAGE = f"{RESULTS}/stages/identification_tests/{{identification_test}}"
IDENTIFICATION_ROWS = f"{RESULTS}/identification.csv"
IDENTIFICATION_SUMMARY = f"{RESULTS}/identification_summary.csv"

if IDENTIFICATION_TESTS:
    TARGETS["identification_tests"] = [IDENTIFICATION_ROWS, IDENTIFICATION_SUMMARY]
    REPORTED["identification_tests"] = IDENTIFICATION_SUMMARY
    REPORTED["identification_pictures"] = expand(
        f"{IDENTIFICATION_TEST}/pictures.npz", identification_test=IDENTIFICATION_TESTS
    )
    SECTIONS["identification"] = "isoplan.applications.identification.report:SECTIONS"

# The networks whose fits are tested, the PSFs that blur, and the objects that are blurred.
IDENTIFIERS = {item["name"]: item["network"] for item in STUDY["identification_tests"]}
IDENTIFIED = {
    item["name"]: {"psf": item["psf"], "objects": item["objects"]}
    for item in STUDY["identification_tests"]
}
# The networks that make kernels, of each test.
KERNELS_TESTED = {
    item["name"]: [
        KERNELS_FILE.format(kernels=name) for name in item["kernel_networks"]
    ]
    for item in STUDY["identification_tests"]
}


wildcard_constraints:
    kernels=r"[A-Za-z0-9._-]+",
    identification_test=r"[A-Za-z0-9._-]+",


rule train_kernels:
    input:
        weights=lambda wc: entry("kernel_networks", wc.kernels)["weights"] or [],
    output:
        network=KERNELS_FILE,
        history=f"{KERNELS}/history.csv",
        card=f"{KERNELS}/card.json",
    log:
        f"{LOGS}/train_kernels/{{kernels}}.log",
    benchmark:
        f"{BENCHMARKS}/train_kernels/{{kernels}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    threads: STUDY["resources"]["threads"]
    resources:
        **asks("train_kernels"),
    params:
        library=lambda wc: library(
            "train_network", KERNELS_TASK, psf_code(KERNELS_PSFS[wc.kernels])
        ),
        task=KERNELS_TASK,
        validation=None,
        recipe=lambda wc: {
            "objects": entry("objects", KERNELS_OBJECTS[wc.kernels]),
            "psf": entry("psfs", KERNELS_PSFS[wc.kernels]),
        },
        network=lambda wc: entry("kernel_networks", wc.kernels),
        seed=STUDY["seed"],
        device=STUDY["device"],
    message:
        "Trains the network of kernels {wildcards.kernels}"
    script:
        "../../scripts/train_network.py"


rule score_identification:
    input:
        network=lambda wc: network_file(IDENTIFIERS[wc.identification_test]),
        kernels=lambda wc: KERNELS_TESTED[wc.identification_test],
    output:
        done=f"{IDENTIFICATION_STAGE}/score.{{job}}.done",
    log:
        f"{LOGS}/score_identification/{{identification_test}}/{{job}}.log",
    benchmark:
        f"{BENCHMARKS}/score_identification/{{identification_test}}/{{job}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    threads: STUDY["resources"]["threads"]
    resources:
        **asks("score_identification"),
    params:
        library=lambda wc: library(
            "score_identification",
            psf_code(IDENTIFIED[wc.identification_test]["psf"]),
            *network_code(IDENTIFIERS[wc.identification_test]),
        ),
        folder=f"{IDENTIFICATION_TEST}/scores",
        ledger=f"{RESULTS}/ledgers/identification_tests/{{identification_test}}",
        test=lambda wc: entry("identification_tests", wc.identification_test),
        recipe=lambda wc: {
            "objects": entry("objects", IDENTIFIED[wc.identification_test]["objects"]),
            "psf": entry("psfs", IDENTIFIED[wc.identification_test]["psf"]),
        },
        seed=STUDY["seed"],
        jobs=JOBS,
    message:
        "Identifies the kernels of {wildcards.identification_test}, share {wildcards.job} of {params.jobs}"
    script:
        "../../scripts/score_identification.py"


rule tabulate_identification:
    input:
        done=expand(
            f"{IDENTIFICATION_STAGE}/score.{{job}}.done",
            identification_test=IDENTIFICATION_TESTS,
            job=range(JOBS),
        ),
    output:
        rows=IDENTIFICATION_ROWS,
        summary=IDENTIFICATION_SUMMARY,
    log:
        f"{LOGS}/tabulate_identification.log",
    benchmark:
        f"{BENCHMARKS}/tabulate_identification.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("tabulate_identification"),
    params:
        library=library("tabulate_identification"),
        folder=f"{RESULTS}/identification_tests",
        tests=[entry("identification_tests", name) for name in IDENTIFICATION_TESTS],
        seed=STUDY["seed"],
    message:
        "Collects how near the fit comes to the kernels"
    script:
        "../../scripts/tabulate_identification.py"


rule picture_identification:
    input:
        network=lambda wc: network_file(IDENTIFIERS[wc.identification_test]),
        kernels=lambda wc: KERNELS_TESTED[wc.identification_test],
    output:
        pictures=f"{IDENTIFICATION_TEST}/pictures.npz",
    log:
        f"{LOGS}/picture_identification/{{identification_test}}.log",
    benchmark:
        f"{BENCHMARKS}/picture_identification/{{identification_test}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("picture_identification"),
    params:
        library=lambda wc: library(
            "picture_identification",
            psf_code(IDENTIFIED[wc.identification_test]["psf"]),
            *network_code(IDENTIFIERS[wc.identification_test]),
        ),
        test=lambda wc: entry("identification_tests", wc.identification_test),
        recipe=lambda wc: {
            "objects": entry("objects", IDENTIFIED[wc.identification_test]["objects"]),
            "psf": entry("psfs", IDENTIFIED[wc.identification_test]["psf"]),
        },
        seed=STUDY["seed"],
    message:
        "Identifies some kernels of {wildcards.identification_test} once more, to look at"
    script:
        "../../scripts/picture_identification.py"
