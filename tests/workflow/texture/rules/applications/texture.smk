# Texture: how much detail every square of a mosaic shows, beside a network that takes noise off pictures.

TEXTURES = [item["name"] for item in STUDY["textures"]]
TEXTURE = f"{RESULTS}/textures/{{mosaic}}/{{texture}}"
TEXTURE_STAGE = f"{RESULTS}/stages/textures/{{mosaic}}/{{texture}}"

if TEXTURES:
    TARGETS["texture"] = REPORTED["texture"] = f"{RESULTS}/texture.csv"
    TARGETS["denoisers"] = expand(
        f"{RESULTS}/denoisers/{{texture}}/network.safetensors", texture=TEXTURES
    )
    SECTIONS["texture"] = "isoplan.applications.texture.report:SECTIONS"


wildcard_constraints:
    texture=r"[A-Za-z0-9._-]+",


rule train_denoiser:
    input:
        weights=[],
    output:
        network=f"{RESULTS}/denoisers/{{texture}}/network.safetensors",
        history=f"{RESULTS}/denoisers/{{texture}}/history.csv",
        card=f"{RESULTS}/denoisers/{{texture}}/card.json",
    log:
        f"{LOGS}/train_denoiser/{{texture}}.log",
    benchmark:
        f"{BENCHMARKS}/train_denoiser/{{texture}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    threads: STUDY["resources"]["threads"]
    resources:
        **asks("train_denoiser"),
    params:
        library=library("train_network", tasks.TASKS["texture"].task),
        task=tasks.TASKS["texture"].task,
        validation=None,
        recipe=lambda wc: {"noise": entry("textures", wc.texture)["noise"]},
        network=lambda wc: entry("textures", wc.texture),
        seed=STUDY["seed"],
        device=STUDY["device"],
    script:
        "../../scripts/train_network.py"


rule texture_mosaic:
    input:
        facts=FACTS,
    output:
        done=f"{TEXTURE_STAGE}/texture.{{job}}.done",
    log:
        f"{LOGS}/texture_mosaic/{{mosaic}}/{{texture}}/{{job}}.log",
    benchmark:
        f"{BENCHMARKS}/texture_mosaic/{{mosaic}}/{{texture}}/{{job}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("texture_mosaic"),
    params:
        library=by_picture("texture_mosaic", "path"),
        folder=TEXTURE,
        ledger=f"{RESULTS}/ledgers/textures/{{mosaic}}/{{texture}}",
        texture=lambda wc: entry("textures", wc.texture),
        jobs=JOBS,
    script:
        "../../scripts/texture_mosaic.py"


rule tabulate_texture:
    input:
        facts=lambda wc: expand(FACTS, mosaic=mosaics()),
        done=lambda wc: expand(
            f"{TEXTURE_STAGE}/texture.{{job}}.done",
            mosaic=mosaics(),
            texture=TEXTURES,
            job=range(JOBS),
        ),
    output:
        table=f"{RESULTS}/texture.csv",
    log:
        f"{LOGS}/tabulate_texture.log",
    benchmark:
        f"{BENCHMARKS}/tabulate_texture.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("tabulate_texture"),
    params:
        library=library("tabulate_texture"),
        folder=f"{RESULTS}/textures",
        textures=[entry("textures", name) for name in TEXTURES],
    script:
        "../../scripts/tabulate_texture.py"
