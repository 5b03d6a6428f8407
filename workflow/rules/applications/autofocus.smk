# Autofocus: a simulated microscope is driven to focus by several methods.

AUTOFOCUS_TESTS = [item["name"] for item in STUDY["autofocus_tests"]]
AUTOFOCUS_TEST = f"{RESULTS}/autofocus_tests/{{autofocus_test}}"
AUTOFOCUS_STAGE = f"{RESULTS}/stages/autofocus_tests/{{autofocus_test}}"
AUTOFOCUS_TABLES = [
    f"{RESULTS}/{table}.csv"
    for table in (
        "autofocus",
        "autofocus_summary",
        "autofocus_curves",
        "autofocus_scores",
    )
]
AUTOFOCUS_CALIBRATION = f"{AUTOFOCUS_TEST}/calibration.json"

if AUTOFOCUS_TESTS:
    TARGETS["autofocus_tests"] = AUTOFOCUS_TABLES
    REPORTED["autofocus_tests"] = AUTOFOCUS_TABLES
    SECTIONS["autofocus"] = "isoplan.applications.autofocus.report:SECTIONS"

# What lies on the slide of each test.
AUTOFOCUS_OBJECTS = {item["name"]: item["objects"] for item in STUDY["autofocus_tests"]}
# The networks that are compared: files and code.
AUTOFOCUS_NETWORKS = {
    item["name"]: [network_file(name) for name in item["networks"]]
    for item in STUDY["autofocus_tests"]
}
AUTOFOCUS_CODE = {
    item["name"]: sorted(
        {code for name in item["networks"] for code in network_code(name)}
    )
    for item in STUDY["autofocus_tests"]
}


wildcard_constraints:
    autofocus_test=r"[A-Za-z0-9._-]+",


rule calibrate_autofocus:
    input:
        networks=lambda wc: AUTOFOCUS_NETWORKS[wc.autofocus_test],
    output:
        calibration=AUTOFOCUS_CALIBRATION,
    log:
        f"{LOGS}/calibrate_autofocus/{{autofocus_test}}.log",
    benchmark:
        f"{BENCHMARKS}/calibrate_autofocus/{{autofocus_test}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    threads: STUDY["resources"]["threads"]
    resources:
        **asks("calibrate_autofocus"),
    params:
        library=lambda wc: library(
            "calibrate_autofocus", *AUTOFOCUS_CODE[wc.autofocus_test]
        ),
        test=lambda wc: entry("autofocus_tests", wc.autofocus_test),
        objects=lambda wc: entry("objects", AUTOFOCUS_OBJECTS[wc.autofocus_test]),
        seed=STUDY["seed"],
    message:
        "Calibrates the microscope of {wildcards.autofocus_test}"
    script:
        "../../scripts/calibrate_autofocus.py"


rule score_autofocus:
    input:
        calibration=AUTOFOCUS_CALIBRATION,
        networks=lambda wc: AUTOFOCUS_NETWORKS[wc.autofocus_test],
    output:
        done=f"{AUTOFOCUS_STAGE}/score.{{job}}.done",
    log:
        f"{LOGS}/score_autofocus/{{autofocus_test}}/{{job}}.log",
    benchmark:
        f"{BENCHMARKS}/score_autofocus/{{autofocus_test}}/{{job}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    threads: STUDY["resources"]["threads"]
    resources:
        **asks("score_autofocus"),
    params:
        library=lambda wc: library(
            "score_autofocus", *AUTOFOCUS_CODE[wc.autofocus_test]
        ),
        folder=f"{AUTOFOCUS_TEST}/scores",
        ledger=f"{RESULTS}/ledgers/autofocus_tests/{{autofocus_test}}",
        test=lambda wc: entry("autofocus_tests", wc.autofocus_test),
        objects=lambda wc: entry("objects", AUTOFOCUS_OBJECTS[wc.autofocus_test]),
        seed=STUDY["seed"],
        jobs=JOBS,
    message:
        "Focuses the microscope of {wildcards.autofocus_test}, share {wildcards.job} of {params.jobs}"
    script:
        "../../scripts/score_autofocus.py"


rule tabulate_autofocus:
    input:
        done=expand(
            f"{AUTOFOCUS_STAGE}/score.{{job}}.done",
            autofocus_test=AUTOFOCUS_TESTS,
            job=range(JOBS),
        ),
    output:
        rows=f"{RESULTS}/autofocus.csv",
        summary=f"{RESULTS}/autofocus_summary.csv",
        curves=f"{RESULTS}/autofocus_curves.csv",
        scores=f"{RESULTS}/autofocus_scores.csv",
    log:
        f"{LOGS}/tabulate_autofocus.log",
    benchmark:
        f"{BENCHMARKS}/tabulate_autofocus.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("tabulate_autofocus"),
    params:
        library=library("tabulate_autofocus"),
        folder=f"{RESULTS}/autofocus_tests",
        tests=[entry("autofocus_tests", name) for name in AUTOFOCUS_TESTS],
        seed=STUDY["seed"],
    message:
        "Collects how near to focus each method comes"
    script:
        "../../scripts/tabulate_autofocus.py"
