# Fluctuations: simulated sequences of frames, made finer by several methods and compared with the truth; and below,
# sequences of a user's own.

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
        summary=f"{RESULTS}/fluctuation_summary.csv",
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


# Sequences of a user's own: each measured once, then looked at and made finer by squares, which jobs share.

SEQUENCE_NAMES = [item["name"] for item in STUDY["sequences"]]
SEQUENCES = f"{RESULTS}/sequences"
SEQUENCE_STAGE = f"{RESULTS}/stages/sequences/{{sequence}}"
SEQUENCE_LEDGER = f"{RESULTS}/ledgers/sequences/{{sequence}}"

if SEQUENCE_NAMES:
    TARGETS["sequences"] = REPORTED["sequences"] = f"{RESULTS}/sequences.csv"
    SECTIONS["sequences"] = "isoplan.applications.fluctuation.sequence_report:SECTIONS"


wildcard_constraints:
    sequence=r"[A-Za-z0-9._-]+",


rule measure_sequence:
    output:
        settings=f"{SEQUENCES}/{{sequence}}/settings.json",
    log:
        f"{LOGS}/measure_sequence/{{sequence}}.log",
    benchmark:
        f"{BENCHMARKS}/measure_sequence/{{sequence}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("measure_sequence"),
    params:
        # The reader of the file's format counts, and no other.
        library=lambda wc: library(
            "measure_sequence", *_readers([entry("sequences", wc.sequence)["path"]])
        ),
        sequence=lambda wc: entry("sequences", wc.sequence),
    message:
        "Measures the camera, drift and light of {wildcards.sequence}"
    script:
        "../../scripts/measure_sequence.py"


rule look_sequence:
    input:
        settings=f"{SEQUENCES}/{{sequence}}/settings.json",
    output:
        done=f"{SEQUENCE_STAGE}/look.{{job}}.done",
    log:
        f"{LOGS}/look_sequence/{{sequence}}/{{job}}.log",
    benchmark:
        f"{BENCHMARKS}/look_sequence/{{sequence}}/{{job}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("look_sequence"),
    params:
        library=lambda wc: library(
            "look_sequence", *_readers([entry("sequences", wc.sequence)["path"]])
        ),
        sequence=lambda wc: entry("sequences", wc.sequence),
        folder=f"{SEQUENCES}/{{sequence}}/evidence",
        ledger=f"{SEQUENCE_LEDGER}/evidence",
        jobs=JOBS,
    message:
        "Looks what fluctuates in {wildcards.sequence}, share {wildcards.job} of {params.jobs}"
    script:
        "../../scripts/look_sequence.py"


rule superresolve_sequence:
    input:
        settings=f"{SEQUENCES}/{{sequence}}/settings.json",
        done=expand(
            f"{SEQUENCE_STAGE}/look.{{job}}.done", job=range(JOBS), allow_missing=True
        ),
    output:
        done=f"{SEQUENCE_STAGE}/superresolve.{{job}}.done",
    log:
        f"{LOGS}/superresolve_sequence/{{sequence}}/{{job}}.log",
    benchmark:
        f"{BENCHMARKS}/superresolve_sequence/{{sequence}}/{{job}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("superresolve_sequence"),
    params:
        library=lambda wc: library(
            "superresolve_sequence",
            *_readers([entry("sequences", wc.sequence)["path"]]),
        ),
        sequence=lambda wc: entry("sequences", wc.sequence),
        evidence=f"{SEQUENCES}/{{sequence}}/evidence",
        folder=f"{SEQUENCES}/{{sequence}}/blocks",
        ledger=f"{SEQUENCE_LEDGER}/blocks",
        jobs=JOBS,
    message:
        "Makes {wildcards.sequence} finer, share {wildcards.job} of {params.jobs}"
    script:
        "../../scripts/superresolve_sequence.py"


rule finish_sequence:
    input:
        settings=f"{SEQUENCES}/{{sequence}}/settings.json",
        done=expand(
            f"{SEQUENCE_STAGE}/superresolve.{{job}}.done",
            job=range(JOBS),
            allow_missing=True,
        ),
    output:
        done=f"{SEQUENCE_STAGE}/finished.done",
        facts=f"{SEQUENCES}/{{sequence}}/facts.json",
        table=f"{SEQUENCES}/{{sequence}}/facts.csv",
        lags=f"{SEQUENCES}/{{sequence}}/lags.csv",
        overview=f"{SEQUENCES}/{{sequence}}/overview.png",
    log:
        f"{LOGS}/finish_sequence/{{sequence}}.log",
    benchmark:
        f"{BENCHMARKS}/finish_sequence/{{sequence}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("finish_sequence"),
    params:
        library=library("finish_sequence"),
        evidence=f"{SEQUENCES}/{{sequence}}/evidence",
        blocks=f"{SEQUENCES}/{{sequence}}/blocks",
        store=f"{SEQUENCES}/{{sequence}}.ome.zarr",
    message:
        "Puts {wildcards.sequence} together"
    script:
        "../../scripts/finish_sequence.py"


rule tabulate_sequences:
    input:
        facts=expand(f"{SEQUENCES}/{{sequence}}/facts.json", sequence=SEQUENCE_NAMES),
    output:
        table=f"{RESULTS}/sequences.csv",
    log:
        f"{LOGS}/tabulate_sequences.log",
    benchmark:
        f"{BENCHMARKS}/tabulate_sequences.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("tabulate_sequences"),
    params:
        library=library("tabulate_facts"),
        kind="sequence",
        names=SEQUENCE_NAMES,
    message:
        "Collects what was found of all sequences"
    script:
        "../../scripts/tabulate_facts.py"
