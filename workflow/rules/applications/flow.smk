# Flow: pictures of known motion, and how near the motion comes that is found in each window alone.

FLOW_TESTS = [item["name"] for item in STUDY["flow_tests"]]
FLOW_TEST = f"{RESULTS}/flow_tests/{{flow_test}}"
FLOW_STAGE = f"{RESULTS}/stages/flow_tests/{{flow_test}}"
FLOW_ROWS = f"{RESULTS}/flow.csv"
FLOW_SUMMARY = f"{RESULTS}/flow_summary.csv"

if FLOW_TESTS:
    TARGETS["flow_tests"] = [FLOW_ROWS, FLOW_SUMMARY]
    REPORTED["flow_tests"] = [FLOW_ROWS, FLOW_SUMMARY]
    SECTIONS["flow"] = "isoplan.applications.flow.report:SECTIONS"

# What moves in each test.
FLOW_OBJECTS = {item["name"]: item["objects"] for item in STUDY["flow_tests"]}


wildcard_constraints:
    flow_test=r"[A-Za-z0-9._-]+",


rule score_flow:
    output:
        done=f"{FLOW_STAGE}/score.{{job}}.done",
    log:
        f"{LOGS}/score_flow/{{flow_test}}/{{job}}.log",
    benchmark:
        f"{BENCHMARKS}/score_flow/{{flow_test}}/{{job}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    threads: STUDY["resources"]["threads"]
    resources:
        **asks("score_flow"),
    params:
        library=library("score_flow"),
        folder=f"{FLOW_TEST}/scores",
        ledger=f"{RESULTS}/ledgers/flow_tests/{{flow_test}}",
        test=lambda wc: entry("flow_tests", wc.flow_test),
        objects=lambda wc: entry("objects", FLOW_OBJECTS[wc.flow_test]),
        seed=STUDY["seed"],
        jobs=JOBS,
    message:
        "Finds the motion of {wildcards.flow_test}, share {wildcards.job} of {params.jobs}"
    script:
        "../../scripts/score_flow.py"


rule tabulate_flow:
    input:
        done=expand(
            f"{FLOW_STAGE}/score.{{job}}.done",
            flow_test=FLOW_TESTS,
            job=range(JOBS),
        ),
    output:
        rows=FLOW_ROWS,
        summary=FLOW_SUMMARY,
    log:
        f"{LOGS}/tabulate_flow.log",
    benchmark:
        f"{BENCHMARKS}/tabulate_flow.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("tabulate_flow"),
    params:
        library=library("tabulate_flow"),
        folder=f"{RESULTS}/flow_tests",
        tests=[entry("flow_tests", name) for name in FLOW_TESTS],
        seed=STUDY["seed"],
    message:
        "Collects how near the motion comes"
    script:
        "../../scripts/tabulate_flow.py"
