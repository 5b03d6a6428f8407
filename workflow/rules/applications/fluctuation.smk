# Fluctuations: simulated sequences of frames, made finer by several methods and compared with the truth.

FLUCTUATION_TESTS = [item["name"] for item in STUDY["fluctuation_tests"]]
FLUCTUATION = f"{RESULTS}/fluctuation_tests"
FLUCTUATION_STAGE = f"{RESULTS}/stages/fluctuation_tests/{{fluctuation}}"

if FLUCTUATION_TESTS:
    TARGETS["fluctuation"] = REPORTED["fluctuation"] = f"{RESULTS}/fluctuation.csv"
    # The first test is looked at.
    REPORTED["fluctuation_pictures"] = f"{FLUCTUATION}/{FLUCTUATION_TESTS[0]}.npz"
    SECTIONS["fluctuation"] = "isoplan.applications.fluctuation.report:SECTIONS"


wildcard_constraints:
    fluctuation=r"[A-Za-z0-9._-]+",


rule score_fluctuation:
    output:
        done=f"{FLUCTUATION_STAGE}/score.{{job}}.done",
    log:
        f"{LOGS}/score_fluctuation/{{fluctuation}}/{{job}}.log",
    benchmark:
        f"{BENCHMARKS}/score_fluctuation/{{fluctuation}}/{{job}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("score_fluctuation"),
    params:
        library=library("score_fluctuation"),
        folder=f"{FLUCTUATION}/{{fluctuation}}",
        ledger=f"{RESULTS}/ledgers/fluctuation_tests/{{fluctuation}}",
        test=lambda wc: entry("fluctuation_tests", wc.fluctuation),
        seed=STUDY["seed"],
        jobs=JOBS,
    message:
        "Makes the sequences of {wildcards.fluctuation} finer, share {wildcards.job} of {params.jobs}"
    script:
        "../../scripts/score_fluctuation.py"


rule tabulate_fluctuation:
    input:
        done=expand(
            f"{FLUCTUATION_STAGE}/score.{{job}}.done",
            fluctuation=FLUCTUATION_TESTS,
            job=range(JOBS),
        ),
    output:
        table=f"{RESULTS}/fluctuation.csv",
    log:
        f"{LOGS}/tabulate_fluctuation.log",
    benchmark:
        f"{BENCHMARKS}/tabulate_fluctuation.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("tabulate_fluctuation"),
    params:
        library=library("tabulate_fluctuation"),
        folder=FLUCTUATION,
        tests=[entry("fluctuation_tests", name) for name in FLUCTUATION_TESTS],
        seed=STUDY["seed"],
    message:
        "Collects how near every method comes to the truth"
    script:
        "../../scripts/tabulate_fluctuation.py"


rule picture_fluctuation:
    output:
        pictures=f"{FLUCTUATION}/{{fluctuation}}.npz",
    log:
        f"{LOGS}/picture_fluctuation/{{fluctuation}}.log",
    benchmark:
        f"{BENCHMARKS}/picture_fluctuation/{{fluctuation}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("picture_fluctuation"),
    params:
        library=library("picture_fluctuation"),
        test=lambda wc: entry("fluctuation_tests", wc.fluctuation),
        seed=STUDY["seed"],
    message:
        "Makes the first sequence of {wildcards.fluctuation} finer once more, to look at"
    script:
        "../../scripts/picture_fluctuation.py"
