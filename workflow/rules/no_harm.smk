# No harm: pictures of all kinds, blurred in all ways, restored by default.

HARM_TESTS = [item["name"] for item in STUDY["harm_tests"]]
HARM = f"{RESULTS}/harm_tests"
HARM_STAGE = f"{RESULTS}/stages/harm_tests/{{test}}"
TARGETS["harm"] = [
    f"{RESULTS}/{table}.csv" for table in ("harm", "harm_summary") if HARM_TESTS
]
REPORTED |= {
    "harm": f"{RESULTS}/harm_summary.csv" if HARM_TESTS else [],
    "harm_pictures": expand(f"{HARM}/{{test}}.npz", test=HARM_TESTS),
}


rule assess_harm:
    input:
        network=lambda wc: network_file(entry("harm_tests", wc.test)["network"]),
        weights=LEARNT_WEIGHTS,
    output:
        done=f"{HARM_STAGE}/test.{{job}}.done",
    log:
        f"{LOGS}/assess_harm/{{test}}/{{job}}.log",
    benchmark:
        f"{BENCHMARKS}/assess_harm/{{test}}/{{job}}.tsv"
    conda:
        "../../envs/isoplan.yaml"
    resources:
        **asks("assess_harm"),
    params:
        library=lambda wc: library("assess_harm", *test_code("harm_tests", wc.test)),
        folder=f"{HARM}/{{test}}",
        ledger=f"{RESULTS}/ledgers/harm_tests/{{test}}",
        test=lambda wc: harm_test(wc.test),
        seed=STUDY["seed"],
        jobs=JOBS,
        device=STUDY["device"],
    message:
        "Restores the pictures of harm test {wildcards.test}, share {wildcards.job} of {params.jobs}"
    script:
        "../scripts/assess_harm.py"


rule tabulate_harm:
    input:
        tested=expand(
            f"{HARM_STAGE}/test.{{job}}.done", test=HARM_TESTS, job=range(JOBS)
        ),
    output:
        rows=f"{RESULTS}/harm.csv",
        summary=report(
            f"{RESULTS}/harm_summary.csv",
            caption="../captions/harm.rst",
            category="Tables",
            labels={"table": "No harm"},
        ),
    log:
        f"{LOGS}/tabulate_harm.log",
    benchmark:
        f"{BENCHMARKS}/tabulate_harm.tsv"
    conda:
        "../../envs/isoplan.yaml"
    resources:
        **asks("tabulate_harm"),
    params:
        library=library("tabulate_harm"),
        folder=HARM,
        tests=[harm_test(name) for name in HARM_TESTS],
        seed=STUDY["seed"],
    message:
        "Collects what the harm tests gained and lost"
    script:
        "../scripts/tabulate_harm.py"


rule picture_harm:
    input:
        network=lambda wc: network_file(entry("harm_tests", wc.test)["network"]),
        weights=LEARNT_WEIGHTS,
        rows=f"{RESULTS}/harm.csv",
    output:
        pictures=f"{HARM}/{{test}}.npz",
    log:
        f"{LOGS}/picture_harm/{{test}}.log",
    benchmark:
        f"{BENCHMARKS}/picture_harm/{{test}}.tsv"
    conda:
        "../../envs/isoplan.yaml"
    resources:
        **asks("picture_harm"),
    params:
        library=lambda wc: library("picture_harm", *test_code("harm_tests", wc.test)),
        test=lambda wc: harm_test(wc.test),
        seed=STUDY["seed"],
        device=STUDY["device"],
    message:
        "Makes the worst pictures of harm test {wildcards.test} once more, to look at"
    script:
        "../scripts/picture_harm.py"
