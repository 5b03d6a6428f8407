# Maps of the regularisation's weight: networks that tell them from pictures.

WEIGHT_NETWORKS = [item["name"] for item in STUDY["weight_networks"]]
WEIGHTS = f"{RESULTS}/weight_networks/{{weights}}"
WEIGHTS_TASK = "isoplan.applications.weight_maps.task:WeightMaps"
WEIGHTS_FILE = f"{WEIGHTS}/network.safetensors"

if WEIGHT_NETWORKS:
    TARGETS["weight_networks"] = expand(WEIGHTS_FILE, weights=WEIGHT_NETWORKS)


wildcard_constraints:
    weights=r"[A-Za-z0-9._-]+",


# The entries that a network of weights learns from, and the classes of its PSFs; none where its weights are given.
WEIGHTS_PSFS = {
    item["name"]: [] if item["weights"] else item["psfs"]
    for item in STUDY["weight_networks"]
}
WEIGHTS_OBJECTS = {item["name"]: item["objects"] for item in STUDY["weight_networks"]}


rule train_weights:
    input:
        weights=lambda wc: entry("weight_networks", wc.weights)["weights"] or [],
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
            "train_network", WEIGHTS_TASK, *map(psf_code, WEIGHTS_PSFS[wc.weights])
        ),
        task=WEIGHTS_TASK,
        validation=None,
        recipe=lambda wc: (
            {
                "psfs": [entry("psfs", name) for name in WEIGHTS_PSFS[wc.weights]],
                "objects": entry("objects", WEIGHTS_OBJECTS[wc.weights]),
            }
            if WEIGHTS_PSFS[wc.weights]
            else {}
        ),
        network=lambda wc: entry("weight_networks", wc.weights),
        seed=STUDY["seed"],
        device=STUDY["device"],
    message:
        "Trains the network of weights {wildcards.weights}"
    script:
        "../../scripts/train_network.py"
