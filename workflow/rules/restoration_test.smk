# Restoration tests: small pictures with known PSFs, restored in many ways side by side.

RESTORATION_TESTS = [item["name"] for item in STUDY["restoration_tests"]]
TESTED = f"{RESULTS}/restoration_tests"
TEST_STAGE = f"{RESULTS}/stages/restoration_tests/{{test}}"
SWEPT = [
    item["name"] for item in STUDY["restoration_tests"] if item["sweep_tv_weights"]
]
SWEEPS = f"{RESULTS}/restoration_sweeps"
SWEEP_STAGE = f"{RESULTS}/stages/restoration_sweeps/{{test}}"
TARGETS["restoration"] = [
    f"{RESULTS}/{table}.csv"
    for table in ("restoration", "restoration_summary")
    if RESTORATION_TESTS
]
REPORTED |= {
    "restoration": [
        f"{RESULTS}/restoration_{table}.csv"
        for table in ("summary", "budget")
        if RESTORATION_TESTS
    ],
    "sweeps": [
        f"{RESULTS}/restoration_{table}.csv" for table in ("sweep", "choice") if SWEPT
    ],
    "pictures": expand(f"{TESTED}/{{test}}.npz", test=RESTORATION_TESTS),
}


rule assess_restoration:
    input:
        network=network_tested,
    output:
        done=f"{TEST_STAGE}/test.{{job}}.done",
    log:
        f"{LOGS}/assess_restoration/{{test}}/{{job}}.log",
    benchmark:
        f"{BENCHMARKS}/assess_restoration/{{test}}/{{job}}.tsv"
    conda:
        "../../envs/isoplan.yaml"
    resources:
        **asks("assess_restoration"),
    params:
        library=lambda wc: library(
            "assess_restoration", *test_code("restoration_tests", wc.test)
        ),
        folder=f"{TESTED}/{{test}}",
        ledger=f"{RESULTS}/ledgers/restoration_tests/{{test}}",
        test=lambda wc: restoration_test(wc.test),
        seed=STUDY["seed"],
        jobs=JOBS,
        device=STUDY["device"],
    message:
        "Restores the pictures of test {wildcards.test}, share {wildcards.job} of {params.jobs}"
    script:
        "../scripts/assess_restoration.py"


rule tabulate_restoration_tests:
    input:
        tested=expand(
            f"{TEST_STAGE}/test.{{job}}.done", test=RESTORATION_TESTS, job=range(JOBS)
        ),
    output:
        rows=f"{RESULTS}/restoration.csv",
        summary=report(
            f"{RESULTS}/restoration_summary.csv",
            caption="../captions/restoration.rst",
            category="Tables",
            labels={"table": "Restoration tests"},
        ),
        budget=f"{RESULTS}/restoration_budget.csv",
    log:
        f"{LOGS}/tabulate_restoration_tests.log",
    benchmark:
        f"{BENCHMARKS}/tabulate_restoration_tests.tsv"
    conda:
        "../../envs/isoplan.yaml"
    resources:
        **asks("tabulate_restoration_tests"),
    params:
        library=lambda wc: by_tests("tabulate_restoration_tests", RESTORATION_TESTS),
        folder=TESTED,
        tests=[restoration_test(name) for name in RESTORATION_TESTS],
        seed=STUDY["seed"],
    message:
        "Collects what the restoration tests gained"
    script:
        "../scripts/tabulate_restoration_tests.py"


# How much to restore, of the tests that ask for it.


rule sweep_restoration:
    input:
        network=network_tested,
    output:
        done=f"{SWEEP_STAGE}/sweep.{{job}}.done",
    log:
        f"{LOGS}/sweep_restoration/{{test}}/{{job}}.log",
    benchmark:
        f"{BENCHMARKS}/sweep_restoration/{{test}}/{{job}}.tsv"
    conda:
        "../../envs/isoplan.yaml"
    resources:
        **asks("sweep_restoration"),
    params:
        library=lambda wc: library(
            "sweep_restoration", *test_code("restoration_tests", wc.test)
        ),
        folder=f"{SWEEPS}/{{test}}",
        ledger=f"{RESULTS}/ledgers/restoration_sweeps/{{test}}",
        test=lambda wc: restoration_test(wc.test),
        seed=STUDY["seed"],
        jobs=JOBS,
        device=STUDY["device"],
    message:
        "Sweeps iterations and TV weights of test {wildcards.test}, share {wildcards.job} of {params.jobs}"
    script:
        "../scripts/sweep_restoration.py"


rule tabulate_sweeps:
    input:
        swept=expand(f"{SWEEP_STAGE}/sweep.{{job}}.done", test=SWEPT, job=range(JOBS)),
    output:
        sweep=f"{RESULTS}/restoration_sweep.csv",
        choice=report(
            f"{RESULTS}/restoration_choice.csv",
            caption="../captions/choice.rst",
            category="Tables",
            labels={"table": "How much to restore"},
        ),
    log:
        f"{LOGS}/tabulate_sweeps.log",
    benchmark:
        f"{BENCHMARKS}/tabulate_sweeps.tsv"
    conda:
        "../../envs/isoplan.yaml"
    resources:
        **asks("tabulate_sweeps"),
    params:
        library=lambda wc: by_tests("tabulate_sweeps", SWEPT),
        folder=SWEEPS,
        tests=[restoration_test(name) for name in SWEPT],
        seed=STUDY["seed"],
    message:
        "Collects what iterations and TV weights gained"
    script:
        "../scripts/tabulate_sweeps.py"


rule picture_restoration:
    input:
        network=network_tested,
        rows=f"{RESULTS}/restoration.csv",
    output:
        pictures=f"{TESTED}/{{test}}.npz",
    log:
        f"{LOGS}/picture_restoration/{{test}}.log",
    benchmark:
        f"{BENCHMARKS}/picture_restoration/{{test}}.tsv"
    conda:
        "../../envs/isoplan.yaml"
    resources:
        **asks("picture_restoration"),
    params:
        library=lambda wc: library(
            "picture_restoration", *test_code("restoration_tests", wc.test)
        ),
        test=lambda wc: restoration_test(wc.test),
        seed=STUDY["seed"],
        device=STUDY["device"],
    message:
        "Makes the median picture of restoration test {wildcards.test} once more, to look at"
    script:
        "../scripts/picture_restoration.py"
