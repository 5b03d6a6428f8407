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


# Pictures of a user's own: each is looked at once, then its motion is found block by block, which jobs share.

FLOW_MAP_NAMES = [item["name"] for item in STUDY["flow_maps"]]
FLOW_MAPS = f"{RESULTS}/flow_maps"
FLOW_MAP_STAGE = f"{RESULTS}/stages/flow_maps/{{flow_map}}"
FLOW_MAP = f"{RESULTS}/flow_maps/{{flow_map}}"
# The readers of each one's picture.
FLOW_MAP_READERS = {
    item["name"]: _readers([item["path"]]) for item in STUDY["flow_maps"]
}

# The shorter exposure that each is checked with, if any.
FLOW_SHORTER = {item["name"]: item["shorter"] for item in STUDY["flow_maps"]}

if FLOW_MAP_NAMES:
    TARGETS["flow_maps"] = REPORTED["flow_maps"] = f"{RESULTS}/flow_maps.csv"
    SECTIONS["flow_maps"] = "isoplan.applications.flow.map_report:SECTIONS"


wildcard_constraints:
    flow_map=r"[A-Za-z0-9._-]+",


rule measure_flow:
    output:
        known=f"{FLOW_MAP}/known.json",
    log:
        f"{LOGS}/measure_flow/{{flow_map}}.log",
    benchmark:
        f"{BENCHMARKS}/measure_flow/{{flow_map}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("measure_flow"),
    params:
        library=lambda wc: library("measure_flow", *FLOW_MAP_READERS[wc.flow_map]),
        flow_map=lambda wc: entry("flow_maps", wc.flow_map),
    message:
        "Looks what {wildcards.flow_map} shows"
    script:
        "../../scripts/measure_flow.py"


rule map_flow:
    input:
        known=f"{FLOW_MAP}/known.json",
    output:
        done=f"{FLOW_MAP_STAGE}/map.{{job}}.done",
    log:
        f"{LOGS}/map_flow/{{flow_map}}/{{job}}.log",
    benchmark:
        f"{BENCHMARKS}/map_flow/{{flow_map}}/{{job}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("map_flow"),
    params:
        library=lambda wc: library("map_flow", *FLOW_MAP_READERS[wc.flow_map]),
        flow_map=lambda wc: entry("flow_maps", wc.flow_map),
        folder=f"{FLOW_MAP}/blocks",
        ledger=f"{RESULTS}/ledgers/flow_maps/{{flow_map}}",
        jobs=JOBS,
    message:
        "Finds the motion of {wildcards.flow_map}, share {wildcards.job} of {params.jobs}"
    script:
        "../../scripts/map_flow.py"


rule finish_flow:
    input:
        known=f"{FLOW_MAP}/known.json",
        done=expand(
            f"{FLOW_MAP_STAGE}/map.{{job}}.done",
            job=range(JOBS),
            allow_missing=True,
        ),
        shorter=lambda wc: [
            file
            for name in filter(None, [FLOW_SHORTER[wc.flow_map]])
            for file in (
                f"{FLOW_MAPS}/{name}/known.json",
                *expand(
                    f"{FLOW_MAP_STAGE}/map.{{job}}.done",
                    flow_map=name,
                    job=range(JOBS),
                ),
            )
        ],
    output:
        done=f"{FLOW_MAP_STAGE}/finished.done",
        facts=f"{FLOW_MAP}/facts.json",
        table=f"{FLOW_MAP}/flow.csv",
        values=f"{FLOW_MAP}/flow.tif",
        picture=f"{FLOW_MAP}/flow.png",
        profile=f"{FLOW_MAP}/profile.png",
        tracks=f"{FLOW_MAP}/tracks.csv",
    log:
        f"{LOGS}/finish_flow/{{flow_map}}.log",
    benchmark:
        f"{BENCHMARKS}/finish_flow/{{flow_map}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("finish_flow"),
    params:
        library=lambda wc: library("finish_flow", *FLOW_MAP_READERS[wc.flow_map]),
        flow_map=lambda wc: entry("flow_maps", wc.flow_map),
        folder=f"{FLOW_MAP}/blocks",
        shorter=lambda wc: (
            entry("flow_maps", FLOW_SHORTER[wc.flow_map])
            if FLOW_SHORTER[wc.flow_map]
            else None
        ),
        shorter_folder=lambda wc: f"{FLOW_MAPS}/{FLOW_SHORTER[wc.flow_map]}/blocks",
        store=f"{FLOW_MAPS}/{{flow_map}}.ome.zarr",
    message:
        "Writes the motion of {wildcards.flow_map}"
    script:
        "../../scripts/finish_flow.py"


rule tabulate_flow_maps:
    input:
        facts=expand(f"{FLOW_MAP}/facts.json", flow_map=FLOW_MAP_NAMES),
    output:
        table=f"{RESULTS}/flow_maps.csv",
    log:
        f"{LOGS}/tabulate_flow_maps.log",
    benchmark:
        f"{BENCHMARKS}/tabulate_flow_maps.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("tabulate_flow_maps"),
    params:
        library=library("tabulate_facts"),
        kind="flow_map",
        names=FLOW_MAP_NAMES,
    message:
        "Collects what was found of all motion"
    script:
        "../../scripts/tabulate_facts.py"
