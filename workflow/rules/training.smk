# Networks: trained or taken over, then judged on stored samples.
for _table in ("regression", "predictions", "calibration", "abstention"):
    REPORTED[_table] = f"{RESULTS}/{_table}.csv"
TARGETS |= {
    name: REPORTED[name] for name in ("regression", "calibration", "abstention")
}


rule train_network:
    input:
        validation=lambda wc: (
            []
            if entry("networks", wc.network)["weights"]
            or not entries.learns(entry("networks", wc.network))
            else f"{RESULTS}/stages/validation/{wc.network}.done"
        ),
        weights=lambda wc: (
            entries.weights_file(STUDY, entry("networks", wc.network)) or []
        ),
        pretrained=lambda wc: (entry("networks", wc.network).get("pretrained") or []),
    output:
        network=f"{RESULTS}/networks/{{network}}/network.safetensors",
        history=f"{RESULTS}/networks/{{network}}/history.csv",
        card=f"{RESULTS}/networks/{{network}}/card.json",
    log:
        f"{LOGS}/train_network/{{network}}.log",
    benchmark:
        f"{BENCHMARKS}/train_network/{{network}}.tsv"
    conda:
        "../../envs/isoplan.yaml"
    threads: STUDY["resources"]["threads"]
    resources:
        **asks("train_network"),
    params:
        library=lambda wc: library(
            "train_network",
            task_of("networks", wc.network).task,
            *network_code(wc.network),
        ),
        task=lambda wc: task_of("networks", wc.network).task,
        validation=f"{RESULTS}/sets/validation-{{network}}.zarr",
        recipe=network_recipe,
        network=lambda wc: entry("networks", wc.network),
        files=network_files,
        seed=STUDY["seed"],
        device=STUDY["device"],
    message:
        "Trains network {wildcards.network}"
    script:
        "../scripts/train_network.py"


rule evaluate_network:
    input:
        network=f"{RESULTS}/networks/{{network}}/network.safetensors",
        samples=f"{RESULTS}/stages/test/{{test_set}}.done",
    output:
        regression=f"{JUDGED}.regression.csv",
        predictions=f"{JUDGED}.predictions.csv",
        calibration=f"{JUDGED}.calibration.csv",
        abstention=f"{JUDGED}.abstention.csv",
    log:
        f"{LOGS}/evaluate_network/{{network}}/{{test_set}}/{{degradation}}.log",
    benchmark:
        f"{BENCHMARKS}/evaluate_network/{{network}}/{{test_set}}/{{degradation}}.tsv"
    conda:
        "../../envs/isoplan.yaml"
    threads: STUDY["resources"]["threads"]
    resources:
        **asks("evaluate_network"),
    params:
        library=lambda wc: library(
            "evaluate_network",
            task_of("networks", wc.network).judge,
            *network_code(wc.network),
        ),
        judge=lambda wc: task_of("networks", wc.network).judge,
        samples=f"{RESULTS}/sets/test-{{test_set}}.zarr",
        train_set=lambda wc: entry("networks", wc.network)["objects"],
        test=test_entry,
        seed=STUDY["seed"],
        device=STUDY["device"],
    message:
        "Judges network {wildcards.network} on test set {wildcards.test_set}, degradation {wildcards.degradation}"
    script:
        "../scripts/evaluate_network.py"


rule collect_regression:
    input:
        regression=judged("regression"),
        predictions=judged("predictions"),
        calibration=judged("calibration"),
        abstention=judged("abstention"),
    output:
        regression=report(
            f"{RESULTS}/regression.csv",
            caption="../captions/regression.rst",
            category="Tables",
            labels={"table": "PSF regression"},
        ),
        predictions=f"{RESULTS}/predictions.csv",
        calibration=f"{RESULTS}/calibration.csv",
        abstention=f"{RESULTS}/abstention.csv",
    log:
        f"{LOGS}/collect_regression.log",
    benchmark:
        f"{BENCHMARKS}/collect_regression.tsv"
    conda:
        "../../envs/isoplan.yaml"
    params:
        library=library("collect_tables"),
        columns={
            "regression": [
                "network",
                "psf_model",
                "train_set",
                "test_set",
                "degradation",
                "level",
                "parameter",
                "metric",
                "value",
                "low",
                "high",
                "n",
            ],
            "predictions": [
                "network",
                "test_set",
                "parameter",
                "true",
                "estimated",
                "half_width",
                "photons",
                "valid",
            ],
            "calibration": [
                "network",
                "test_set",
                "parameter",
                "group",
                "level",
                "coverage",
                "n",
            ],
            "abstention": [
                "network",
                "test_set",
                "parameter",
                "kept_share",
                "metric",
                "value",
                "n",
            ],
        },
    message:
        "Collects the regression tables"
    script:
        "../scripts/collect_tables.py"
