# Depth: pictures of surfaces of known height, and how near the heights come that are found in each picture alone; and below,
# pictures of a user's own.

DEPTH_TESTS = [item["name"] for item in STUDY["depth_tests"]]
DEPTH_TEST = f"{RESULTS}/depth_tests/{{depth_test}}"
DEPTH_STAGE = f"{RESULTS}/stages/depth_tests/{{depth_test}}"
DEPTH_ROWS = f"{RESULTS}/depth.csv"
DEPTH_SUMMARY = f"{RESULTS}/depth_summary.csv"
DEPTH_CALIBRATION = f"{DEPTH_TEST}/calibration.json"

if DEPTH_TESTS:
    TARGETS["depth_tests"] = [DEPTH_ROWS, DEPTH_SUMMARY]
    REPORTED["depth_tests"] = DEPTH_SUMMARY
    REPORTED["depth_pictures"] = expand(
        f"{DEPTH_TEST}/pictures.npz", depth_test=DEPTH_TESTS
    )
    SECTIONS["depth"] = "isoplan.applications.depth.report:SECTIONS"

# What lies on the surface of each test.
DEPTH_OBJECTS = {item["name"]: item["objects"] for item in STUDY["depth_tests"]}
# The networks that are compared with the fit: files and code.
DEPTH_NETWORKS = {
    item["name"]: [network_file(name) for name in item["networks"]]
    for item in STUDY["depth_tests"]
}
DEPTH_CODE = {
    item["name"]: sorted(
        {code for name in item["networks"] for code in network_code(name)}
    )
    for item in STUDY["depth_tests"]
}


wildcard_constraints:
    depth_test=r"[A-Za-z0-9._-]+",


rule calibrate_depth:
    input:
        networks=lambda wc: DEPTH_NETWORKS[wc.depth_test],
    output:
        calibration=DEPTH_CALIBRATION,
    log:
        f"{LOGS}/calibrate_depth/{{depth_test}}.log",
    benchmark:
        f"{BENCHMARKS}/calibrate_depth/{{depth_test}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    threads: STUDY["resources"]["threads"]
    resources:
        **asks("calibrate_depth"),
    params:
        library=lambda wc: library("calibrate_depth", *DEPTH_CODE[wc.depth_test]),
        test=lambda wc: entry("depth_tests", wc.depth_test),
        objects=lambda wc: entry("objects", DEPTH_OBJECTS[wc.depth_test]),
        seed=STUDY["seed"],
    message:
        "Calibrates the microscope of {wildcards.depth_test}"
    script:
        "../../scripts/calibrate_depth.py"


rule score_depth:
    input:
        calibration=DEPTH_CALIBRATION,
        networks=lambda wc: DEPTH_NETWORKS[wc.depth_test],
    output:
        done=f"{DEPTH_STAGE}/score.{{job}}.done",
    log:
        f"{LOGS}/score_depth/{{depth_test}}/{{job}}.log",
    benchmark:
        f"{BENCHMARKS}/score_depth/{{depth_test}}/{{job}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    threads: STUDY["resources"]["threads"]
    resources:
        **asks("score_depth"),
    params:
        library=lambda wc: library("score_depth", *DEPTH_CODE[wc.depth_test]),
        folder=f"{DEPTH_TEST}/scores",
        ledger=f"{RESULTS}/ledgers/depth_tests/{{depth_test}}",
        test=lambda wc: entry("depth_tests", wc.depth_test),
        objects=lambda wc: entry("objects", DEPTH_OBJECTS[wc.depth_test]),
        seed=STUDY["seed"],
        jobs=JOBS,
    message:
        "Finds the heights of {wildcards.depth_test}, share {wildcards.job} of {params.jobs}"
    script:
        "../../scripts/score_depth.py"


rule tabulate_depth:
    input:
        done=expand(
            f"{DEPTH_STAGE}/score.{{job}}.done",
            depth_test=DEPTH_TESTS,
            job=range(JOBS),
        ),
    output:
        rows=DEPTH_ROWS,
        summary=DEPTH_SUMMARY,
    log:
        f"{LOGS}/tabulate_depth.log",
    benchmark:
        f"{BENCHMARKS}/tabulate_depth.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("tabulate_depth"),
    params:
        library=library("tabulate_depth"),
        folder=f"{RESULTS}/depth_tests",
        tests=[entry("depth_tests", name) for name in DEPTH_TESTS],
        seed=STUDY["seed"],
    message:
        "Collects how near the heights come"
    script:
        "../../scripts/tabulate_depth.py"


rule picture_depth:
    input:
        calibration=DEPTH_CALIBRATION,
    output:
        pictures=f"{DEPTH_TEST}/pictures.npz",
    log:
        f"{LOGS}/picture_depth/{{depth_test}}.log",
    benchmark:
        f"{BENCHMARKS}/picture_depth/{{depth_test}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("picture_depth"),
    params:
        library=library("picture_depth"),
        test=lambda wc: entry("depth_tests", wc.depth_test),
        objects=lambda wc: entry("objects", DEPTH_OBJECTS[wc.depth_test]),
        seed=STUDY["seed"],
    message:
        "Finds the heights of one picture of {wildcards.depth_test} once more, to look at"
    script:
        "../../scripts/picture_depth.py"


# Pictures of a user's own: each is looked at once, then its heights are found block by block, which jobs share.

HEIGHT_MAP_NAMES = [item["name"] for item in STUDY["height_maps"]]
HEIGHT_MAPS = f"{RESULTS}/height_maps"
HEIGHT_MAP_STAGE = f"{RESULTS}/stages/height_maps/{{height_map}}"
HEIGHT_MAP = f"{RESULTS}/height_maps/{{height_map}}"
# The readers of each one's picture.
HEIGHT_MAP_READERS = {
    item["name"]: _readers([item["path"]]) for item in STUDY["height_maps"]
}

if HEIGHT_MAP_NAMES:
    TARGETS["height_maps"] = REPORTED["height_maps"] = f"{RESULTS}/height_maps.csv"
    SECTIONS["height_maps"] = "isoplan.applications.depth.map_report:SECTIONS"


wildcard_constraints:
    height_map=r"[A-Za-z0-9._-]+",


rule measure_heights:
    input:
        calibration=lambda wc: entry("height_maps", wc.height_map)["calibration"],
    output:
        known=f"{HEIGHT_MAP}/known.json",
    log:
        f"{LOGS}/measure_heights/{{height_map}}.log",
    benchmark:
        f"{BENCHMARKS}/measure_heights/{{height_map}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("measure_heights"),
    params:
        library=lambda wc: library(
            "measure_heights", *HEIGHT_MAP_READERS[wc.height_map]
        ),
        height_map=lambda wc: entry("height_maps", wc.height_map),
    message:
        "Looks what {wildcards.height_map} shows"
    script:
        "../../scripts/measure_heights.py"


rule map_heights:
    input:
        known=f"{HEIGHT_MAP}/known.json",
    output:
        done=f"{HEIGHT_MAP_STAGE}/map.{{job}}.done",
    log:
        f"{LOGS}/map_heights/{{height_map}}/{{job}}.log",
    benchmark:
        f"{BENCHMARKS}/map_heights/{{height_map}}/{{job}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("map_heights"),
    params:
        library=lambda wc: library("map_heights", *HEIGHT_MAP_READERS[wc.height_map]),
        height_map=lambda wc: entry("height_maps", wc.height_map),
        folder=f"{HEIGHT_MAP}/blocks",
        ledger=f"{RESULTS}/ledgers/height_maps/{{height_map}}",
        jobs=JOBS,
    message:
        "Finds the heights of {wildcards.height_map}, share {wildcards.job} of {params.jobs}"
    script:
        "../../scripts/map_heights.py"


rule finish_heights:
    input:
        known=f"{HEIGHT_MAP}/known.json",
        done=expand(
            f"{HEIGHT_MAP_STAGE}/map.{{job}}.done",
            job=range(JOBS),
            allow_missing=True,
        ),
    output:
        done=f"{HEIGHT_MAP_STAGE}/finished.done",
        facts=f"{HEIGHT_MAP}/facts.json",
        table=f"{HEIGHT_MAP}/heights.csv",
        values=f"{HEIGHT_MAP}/heights.tif",
        picture=f"{HEIGHT_MAP}/heights.png",
        surface=f"{HEIGHT_MAP}/surface.png",
    log:
        f"{LOGS}/finish_heights/{{height_map}}.log",
    benchmark:
        f"{BENCHMARKS}/finish_heights/{{height_map}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("finish_heights"),
    params:
        library=lambda wc: library("finish_heights", *HEIGHT_MAP_READERS[wc.height_map]),
        height_map=lambda wc: entry("height_maps", wc.height_map),
        folder=f"{HEIGHT_MAP}/blocks",
        store=f"{HEIGHT_MAPS}/{{height_map}}.ome.zarr",
    message:
        "Joins the heights of {wildcards.height_map}"
    script:
        "../../scripts/finish_heights.py"


rule tabulate_heights:
    input:
        facts=expand(f"{HEIGHT_MAP}/facts.json", height_map=HEIGHT_MAP_NAMES),
    output:
        table=f"{RESULTS}/height_maps.csv",
    log:
        f"{LOGS}/tabulate_heights.log",
    benchmark:
        f"{BENCHMARKS}/tabulate_heights.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("tabulate_heights"),
    params:
        library=library("tabulate_facts"),
        kind="height_map",
        names=HEIGHT_MAP_NAMES,
    message:
        "Collects what was found of all heights"
    script:
        "../../scripts/tabulate_facts.py"
