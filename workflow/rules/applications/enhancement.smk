# Enhancement: pairs of fields by a poor and a good detector. Settings of filters are chosen on training fields, and every
# filter is judged on test fields.

ENHANCEMENTS = [item["name"] for item in STUDY["enhancements"]]
# Files of a user's pairs, as the readers of their formats count.
PAIR_FILES = {
    item["name"]: list(map(str, Path(item["folder"]).glob("*/*")))
    for item in STUDY["enhancements"]
    if item["folder"]
}
ENHANCER = f"{RESULTS}/enhancers/{{enhancer}}"
TASK = "isoplan.applications.enhancement.task:Enhancement"
ENHANCED = f"{RESULTS}/enhancements/{{enhancement}}"
ENHANCER_FILE = f"{ENHANCER}/network.safetensors"
CHOICE_FILE = f"{ENHANCED}/choice.json"
ENHANCEMENT_STAGE = f"{RESULTS}/stages/enhancements/{{enhancement}}"

if ENHANCEMENTS:
    TARGETS["enhancement"] = REPORTED["enhancement"] = f"{RESULTS}/enhancement.csv"
    REPORTED["enhancement_pictures"] = expand(
        f"{RESULTS}/enhancements/{{enhancement}}/pictures.npz", enhancement=ENHANCEMENTS
    )
    SECTIONS["enhancement"] = "isoplan.applications.enhancement.report:SECTIONS"


# The classes of networks, and what jobs of an entry or an enhancer need.
ENHANCER_CODE = {
    item["name"]: entries.choices("enhancers")[item["architecture"]]["code"]
    for item in STUDY["enhancers"]
}
COMPARED = {item["name"]: item["networks"] for item in STUDY["enhancements"]}
COMPARED_FILES = {
    name: [ENHANCER_FILE.format(enhancer=network) for network in networks]
    for name, networks in COMPARED.items()
}
COMPARED_CODE = {
    name: sorted({ENHANCER_CODE[network] for network in networks})
    for name, networks in COMPARED.items()
}
# The entry that an enhancer learns from; none where its weights are given.
TEACHER = {
    item["name"]: None if item["weights"] else item["trained_on"]
    for item in STUDY["enhancers"]
}


wildcard_constraints:
    enhancement=r"[A-Za-z0-9._-]+",
    enhancer=r"[A-Za-z0-9._-]+",


rule choose_enhancement:
    output:
        choice=CHOICE_FILE,
    log:
        f"{LOGS}/choose_enhancement/{{enhancement}}.log",
    benchmark:
        f"{BENCHMARKS}/choose_enhancement/{{enhancement}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("choose_enhancement"),
    params:
        library=lambda wc: library(
            "choose_enhancement", *_readers(PAIR_FILES.get(wc.enhancement, []))
        ),
        enhancement=lambda wc: entry("enhancements", wc.enhancement),
        seed=STUDY["seed"],
    message:
        "Chooses settings on the training fields of {wildcards.enhancement}"
    script:
        "../../scripts/choose_enhancement.py"


rule train_enhancer:
    input:
        choice=lambda wc: (
            CHOICE_FILE.format(enhancement=TEACHER[wc.enhancer])
            if TEACHER[wc.enhancer]
            else []
        ),
        weights=lambda wc: entry("enhancers", wc.enhancer)["weights"] or [],
        perceptual=lambda wc: (
            entry("enhancers", wc.enhancer).get("perceptual_weights") or []
        ),
        encoder=lambda wc: (
            entry("enhancers", wc.enhancer).get("encoder_weights") or []
        ),
    output:
        network=ENHANCER_FILE,
        history=f"{ENHANCER}/history.csv",
        card=f"{ENHANCER}/card.json",
    log:
        f"{LOGS}/train_enhancer/{{enhancer}}.log",
    benchmark:
        f"{BENCHMARKS}/train_enhancer/{{enhancer}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    threads: STUDY["resources"]["threads"]
    resources:
        **asks("train_enhancer"),
    params:
        library=lambda wc: library(
            "train_network",
            TASK,
            ENHANCER_CODE[wc.enhancer],
            *_readers(PAIR_FILES.get(TEACHER[wc.enhancer], [])),
        ),
        task=TASK,
        validation=lambda wc, input: str(input.choice) if input.choice else None,
        recipe=lambda wc: (
            {"enhancement": entry("enhancements", TEACHER[wc.enhancer])}
            if TEACHER[wc.enhancer]
            else {}
        ),
        network=lambda wc: entry("enhancers", wc.enhancer),
        seed=STUDY["seed"],
        device=STUDY["device"],
    message:
        "Trains the enhancer {wildcards.enhancer}"
    script:
        "../../scripts/train_network.py"


rule score_enhancement:
    input:
        choice=CHOICE_FILE,
        networks=lambda wc: COMPARED_FILES[wc.enhancement],
    output:
        done=f"{ENHANCEMENT_STAGE}/score.{{job}}.done",
    log:
        f"{LOGS}/score_enhancement/{{enhancement}}/{{job}}.log",
    benchmark:
        f"{BENCHMARKS}/score_enhancement/{{enhancement}}/{{job}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("score_enhancement"),
    params:
        library=lambda wc: library(
            "score_enhancement",
            *_readers(PAIR_FILES.get(wc.enhancement, [])),
            *COMPARED_CODE[wc.enhancement],
        ),
        folder=f"{ENHANCED}/scores",
        ledger=f"{RESULTS}/ledgers/enhancements/{{enhancement}}",
        enhancement=lambda wc: entry("enhancements", wc.enhancement),
        seed=STUDY["seed"],
        jobs=JOBS,
    message:
        "Enhances test fields of {wildcards.enhancement}, share {wildcards.job} of {params.jobs}"
    script:
        "../../scripts/score_enhancement.py"


rule tabulate_enhancement:
    input:
        choices=expand(f"{ENHANCED}/choice.json", enhancement=ENHANCEMENTS),
        done=expand(
            f"{ENHANCEMENT_STAGE}/score.{{job}}.done",
            enhancement=ENHANCEMENTS,
            job=range(JOBS),
        ),
    output:
        table=f"{RESULTS}/enhancement.csv",
        settings=f"{RESULTS}/enhancement_settings.csv",
    log:
        f"{LOGS}/tabulate_enhancement.log",
    benchmark:
        f"{BENCHMARKS}/tabulate_enhancement.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("tabulate_enhancement"),
    params:
        library=library("tabulate_enhancement"),
        folder=f"{RESULTS}/enhancements",
        enhancements=[entry("enhancements", name) for name in ENHANCEMENTS],
        seed=STUDY["seed"],
    message:
        "Collects how near every method comes to the target"
    script:
        "../../scripts/tabulate_enhancement.py"


rule picture_enhancement:
    input:
        choice=CHOICE_FILE,
        networks=lambda wc: COMPARED_FILES[wc.enhancement],
    output:
        pictures=f"{ENHANCED}/pictures.npz",
    log:
        f"{LOGS}/picture_enhancement/{{enhancement}}.log",
    benchmark:
        f"{BENCHMARKS}/picture_enhancement/{{enhancement}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("picture_enhancement"),
    params:
        library=lambda wc: library(
            "picture_enhancement",
            *_readers(PAIR_FILES.get(wc.enhancement, [])),
            *COMPARED_CODE[wc.enhancement],
        ),
        enhancement=lambda wc: entry("enhancements", wc.enhancement),
        seed=STUDY["seed"],
    message:
        "Enhances one test field of {wildcards.enhancement} once more, to look at"
    script:
        "../../scripts/picture_enhancement.py"


# Pictures of a user's own: each measured once, then enhanced core by core, which jobs share.

PICTURE_NAMES = [item["name"] for item in STUDY["enhanced_pictures"]]
ENHANCED_PICTURES = f"{RESULTS}/enhanced_pictures"
PICTURE_STAGE = f"{RESULTS}/stages/enhanced_pictures/{{picture}}"
KNOWN_FILE = f"{ENHANCED_PICTURES}/{{picture}}/known.json"
# Files and code of each one's networks, and the readers of its exposures.
PICTURE_FILES = {
    item["name"]: [ENHANCER_FILE.format(enhancer=one) for one in item["networks"]]
    for item in STUDY["enhanced_pictures"]
}
PICTURE_CODE = {
    item["name"]: sorted({ENHANCER_CODE[one] for one in item["networks"]})
    for item in STUDY["enhanced_pictures"]
}
PICTURE_READERS = {
    item["name"]: _readers([item["path"], *filter(None, [item["second"]])])
    for item in STUDY["enhanced_pictures"]
}

if PICTURE_NAMES:
    TARGETS["pictures"] = REPORTED["pictures"] = f"{RESULTS}/enhanced_pictures.csv"
    SECTIONS["enhanced_pictures"] = (
        "isoplan.applications.enhancement.picture_report:SECTIONS"
    )


wildcard_constraints:
    picture=r"[A-Za-z0-9._-]+",


rule measure_picture:
    input:
        networks=lambda wc: PICTURE_FILES[wc.picture],
    output:
        known=KNOWN_FILE,
    log:
        f"{LOGS}/measure_picture/{{picture}}.log",
    benchmark:
        f"{BENCHMARKS}/measure_picture/{{picture}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("measure_picture"),
    params:
        library=lambda wc: library(
            "measure_picture",
            *PICTURE_READERS[wc.picture],
        ),
        picture=lambda wc: entry("enhanced_pictures", wc.picture),
        store=f"{ENHANCED_PICTURES}/{{picture}}.ome.zarr",
    message:
        "Measures brightness, noise and camera of {wildcards.picture}"
    script:
        "../../scripts/measure_picture.py"


rule enhance_picture:
    input:
        known=KNOWN_FILE,
        networks=lambda wc: PICTURE_FILES[wc.picture],
    output:
        done=f"{PICTURE_STAGE}/enhance.{{job}}.done",
    log:
        f"{LOGS}/enhance_picture/{{picture}}/{{job}}.log",
    benchmark:
        f"{BENCHMARKS}/enhance_picture/{{picture}}/{{job}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("enhance_picture"),
    params:
        library=lambda wc: library(
            "enhance_picture",
            *PICTURE_READERS[wc.picture],
            *PICTURE_CODE[wc.picture],
        ),
        picture=lambda wc: entry("enhanced_pictures", wc.picture),
        store=f"{ENHANCED_PICTURES}/{{picture}}.ome.zarr",
        ledger=f"{RESULTS}/ledgers/enhanced_pictures/{{picture}}",
        jobs=JOBS,
    message:
        "Enhances {wildcards.picture}, share {wildcards.job} of {params.jobs}"
    script:
        "../../scripts/enhance_picture.py"


rule finish_picture:
    input:
        known=KNOWN_FILE,
        networks=lambda wc: PICTURE_FILES[wc.picture],
        done=expand(
            f"{PICTURE_STAGE}/enhance.{{job}}.done",
            job=range(JOBS),
            allow_missing=True,
        ),
    output:
        done=f"{PICTURE_STAGE}/finished.done",
        facts=f"{ENHANCED_PICTURES}/{{picture}}/facts.json",
        preview=f"{ENHANCED_PICTURES}/{{picture}}/preview.png",
    log:
        f"{LOGS}/finish_picture/{{picture}}.log",
    benchmark:
        f"{BENCHMARKS}/finish_picture/{{picture}}.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("finish_picture"),
    params:
        library=lambda wc: library(
            "finish_picture",
            *PICTURE_READERS[wc.picture],
        ),
        picture=lambda wc: entry("enhanced_pictures", wc.picture),
        store=f"{ENHANCED_PICTURES}/{{picture}}.ome.zarr",
    message:
        "Finishes {wildcards.picture}"
    script:
        "../../scripts/finish_picture.py"


rule tabulate_pictures:
    input:
        facts=expand(
            f"{ENHANCED_PICTURES}/{{picture}}/facts.json", picture=PICTURE_NAMES
        ),
    output:
        table=f"{RESULTS}/enhanced_pictures.csv",
    log:
        f"{LOGS}/tabulate_pictures.log",
    benchmark:
        f"{BENCHMARKS}/tabulate_pictures.tsv"
    conda:
        "../../../envs/isoplan.yaml"
    resources:
        **asks("tabulate_pictures"),
    params:
        library=library("tabulate_facts"),
        kind="picture",
        names=PICTURE_NAMES,
    message:
        "Collects what was found of all enhanced pictures"
    script:
        "../../scripts/tabulate_facts.py"
