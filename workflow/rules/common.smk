# What the rules share: the checked config, names of files, resources.
# Functions of wildcards run once for every job, and a study may have thousands: where a name with
# wildcards says the same, it stands there, and what is read from a file is remembered.
import csv
import os
import sys
from functools import cache
from itertools import accumulate
from pathlib import Path
from types import SimpleNamespace

from snakemake.exceptions import WorkflowError
from snakemake.io import contains_wildcard

# The folder of the repository, whichever Snakefile was started.
ROOT = Path(str(workflow.current_basedir)).parents[1]

# Jobs find the library beside their script; here it has to be named.
sys.path.insert(0, str(ROOT / "workflow/scripts"))

from isoplan import stages, tasks
from isoplan.base.errors import UserError
from isoplan.base.fingerprint import file_stamp, fingerprint, library_hashes
from isoplan.config import entries
from isoplan.config.asked import check_asked
from isoplan.config.validation import validate
from isoplan.mosaic import magic, positions
from isoplan.mosaic.table import read_table

# In the order that they were merged in: those of the command line last.
FILES = sorted(
    map(str, workflow.configfiles),
    key=lambda file: file in map(str, workflow.overwrite_configfiles),
)
try:
    # Once a run, not in each of its jobs: whether files are there, and the whole table of mosaics.
    STUDY = validate(dict(config), FILES, here=workflow.is_main_process)
    if workflow.is_main_process:
        check_asked(STUDY, FILES)
    if STUDY["mosaics"] and workflow.is_main_process:
        read_table(STUDY["mosaics"])
except UserError as error:
    raise WorkflowError(str(error)) from None

# Snakemake ignores settings for a rule that does not exist, so a former name would go unnoticed.
for option, given in (
    ("set-resources", workflow.resource_settings.overwrite_resources),
    ("set-threads", workflow.resource_settings.overwrite_threads),
):
    for former, name in stages.RENAMED.items():
        if former in given:
            raise WorkflowError(
                f"{option}: the rule {former} is now called {name}; use that name"
            )

RESULTS = f"results/{STUDY['study']}"
for folder in (Path("results"), Path(RESULTS)):
    if folder.exists() and not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise WorkflowError(
            f"{folder.absolute()}: cannot be written, as it is not a folder or not yours; "
            "correct its permissions or move what is in the way"
        )
LOGS = f"{RESULTS}/logs"
BENCHMARKS = f"{RESULTS}/benchmarks"
FACTS = f"{RESULTS}/mosaics/{{mosaic}}.json"
JUDGED = f"{RESULTS}/regression/{{network}}/{{test_set}}/{{degradation}}"
# What each rules file adds: files that a study is to leave, those that the report waits for, and the report's sections
# of an application, each "module:name" of a list. All by a name of their own.
TARGETS = {}
REPORTED = {}
SECTIONS = {}
JOBS = STUDY["jobs_per_mosaic"]
ALGORITHM = entries.algorithm(STUDY["restoration"])["code"]
SIMULATED = [entry["mosaic"] for entry in STUDY["simulations"]]
METHODS = STUDY["restoration"]["methods"]
# What `auto` leaves open in the restoration is chosen once for each mosaic and method.
CHOICE = (
    f"{RESULTS}/choices/{{mosaic}}/{{method}}.json"
    if entries.left_open(STUDY["restoration"])
    else []
)
NETWORK = STUDY["map"]["network"] or STUDY["networks"][0]["name"]
# The network that tells learnt weights, where this study trains it.
WEIGHTS_FILE = f"{RESULTS}/weight_networks/{{weights}}/network.safetensors"
LEARNT_WEIGHTS = [
    WEIGHTS_FILE.format(weights=name)
    for name in [entries.weights_of_study(STUDY)]
    if name
]


wildcard_constraints:
    mosaic=r"[A-Za-z0-9._-]+",
    network=r"[A-Za-z0-9._-]+",
    test_set=r"[A-Za-z0-9._-]+",
    test=r"[A-Za-z0-9._-]+",
    degradation=r"[a-z]+",
    method="estimated|oracle|constant|measured|denoised",
    job=r"\d+",


@cache
def library(script, *chosen):
    """Code of the library behind a script, so that an edit there reruns just what it touches. chosen: the classes that
    the script loads by name, as its settings choose them."""
    return library_hashes(ROOT / f"workflow/scripts/{script}.py", *chosen)


def by_picture(script, *opened):
    """The code behind a script that opens pictures of its mosaic's line. opened: the columns that name them, `path` and
    `reference`, here and below."""
    return lambda wildcards: library(script, *readers(wildcards.mosaic, *opened))


@cache
def readers(mosaic, *columns):
    """The readers through libraries that a mosaic's pictures are opened by, of one that is converted too, as its pixels
    are theirs. Its line is one that its name begins with: to ask the checkpoint, every job would have to wait for it.
    """
    if mosaic in SIMULATED:
        return []
    rows = _rows()
    names = accumulate(mosaic.split("-"), lambda start, part: f"{start}-{part}")
    lines = [mosaic] if mosaic in rows else [name for name in names if name in rows]
    return _readers([rows[name][column] for name in lines for column in columns])


@cache
def all_readers():
    """Those of all pictures that the table names."""
    try:
        rows = _rows().values()
    except UserError:
        return []  # check_mosaics will say what is wrong
    return _readers([row[column] for row in rows for column in ("path", "reference")])


def _readers(paths):
    return sorted({code for path in paths if path for code in _readers_of(path)})


@cache
def _readers_of(path):
    try:
        return magic.readers_of(_files(path))
    except (UserError, OSError):
        return []  # check_mosaics will say what is wrong


def by_network(script, *opened):
    """The code behind a script that uses the network of its wildcards."""
    return lambda wildcards: library(
        script,
        *network_code(wildcards.network),
        *(readers(wildcards.mosaic, *opened) if opened else []),
    )


@cache
def network_code(name):
    return entries.code_of_network(STUDY, entries.entry(STUDY, "networks", name))


def task_of(section, name):
    """Where the code lies that an entry of `networks` or `test_sets` is for."""
    return tasks.of(entries.entry(STUDY, section, name))


def psf_code(name):
    return entries.code_of_psf(entries.entry(STUDY, "psfs", name))


def by_method(script, *opened):
    """The code behind a script that restores by the PSFs of its mosaic and method."""
    return lambda wildcards: library(
        script, ALGORITHM, method_code(wildcards), *readers(wildcards.mosaic, *opened)
    )


def method_code(wildcards):
    """The class of a method's PSFs."""
    if wildcards.method == "measured":
        return psf_code(STUDY["restoration"]["measured"])
    if wildcards.method == "denoised":
        return entries.code_of_psf(entries.ONE_PIXEL)
    if wildcards.method == "oracle":
        return simulated_code(wildcards.mosaic)
    return map_code()


def by_mosaic(script, *opened):
    """The code behind a script that uses PSFs of all methods of its mosaic, and the true ones."""
    return lambda wildcards: library(
        script,
        *mosaic_code(wildcards.mosaic),
        *readers(wildcards.mosaic, *opened),
    )


def mosaic_code(mosaic):
    true = [simulated_code(mosaic)] if mosaic in SIMULATED else []
    kinds = [
        SimpleNamespace(mosaic=mosaic, method=method) for method in methods(mosaic)
    ]
    return [ALGORITHM, map_code(), *true, *map(method_code, kinds)]


def map_code():
    """The class of the PSFs of the map that restores."""
    return psf_code(entries.entry(STUDY, "networks", NETWORK)["psf"])


def simulated_code(mosaic):
    """The class of a simulated mosaic's true PSFs."""
    return psf_code(entries.entry(STUDY, "simulations", mosaic, key="mosaic")["psf"])


def test_code(section, name):
    """The classes that a test of restorations uses: the algorithm, its network's, and its own PSFs'."""
    test = entries.entry(STUDY, section, name)
    # Tests of restorations have settings of their own, of Richardson-Lucy.
    if section == "restoration_tests":
        used = [entries.algorithm(test)["code"], psf_code(test["psf"])]
    else:
        used = [ALGORITHM]
    return [*used, *network_code(test["network"])]


def by_tests(script, names):
    """The code behind a script that tabulates tests of restorations."""
    codes = [code for name in names for code in test_code("restoration_tests", name)]
    return library(script, *codes)


def contents(pattern):
    """Hashes of files of the workflow's own: unlike their paths they stay when the folder moves."""
    paths = sorted(ROOT.glob(pattern))
    return {path.name: fingerprint(path.read_text()) for path in paths}


def entry(section, name, key="name"):
    """The entry of that name in one of the config's lists: the keys that count, with a mark of each file or folder that
    it names, so that a changed one is noticed. Those of a network are `network_files`.
    """
    item = entries.told(STUDY, section, name, key)
    named = [] if section == "networks" else entries.files_in(section)
    marks = {key: _mark(item[key]) for key in named if item.get(key)}
    return item | {"stamp": marks} if marks else item


@cache
def _mark(path):
    try:
        return file_stamp(path)
    except OSError:
        return None  # whoever reads it will say what is wrong


def recipe(item):
    """What the samples of an entry of `networks` or `test_sets` are made of."""
    return entries.recipe_of(STUDY, item) | {
        "psf": entry("psfs", item["psf"]),
        "objects": entry("objects", item["objects"]),
    }


def network_recipe(wildcards):
    """What a network is trained on; of one that is taken over, what it has to fit."""
    item = entries.entry(STUDY, "networks", wildcards.network)
    if item["weights"]:
        return {
            "psf": entry("psfs", item["psf"]),
            "window_px": item["window_px"],
        }
    return recipe(item)


def network_files(wildcards):
    """Marks of the files that a network is taken from; a released one is the repository's own."""
    item = entry("networks", wildcards.network)
    files = [item["weights"], item.get("pretrained")]
    return [_mark(file) for file in files if file and file != "released"]


def test_recipe(wildcards):
    return recipe(entry("test_sets", wildcards.test_set))


def test_entry(wildcards):
    """The entry of `tests` of a network, a test set and a degradation."""
    wanted = dict(wildcards)
    return next(test for test in STUDY["tests"] if wanted.items() <= test.items())


def judged(table):
    """The parts of one table, of all tests."""
    return [f"{JUDGED.format(**test)}.{table}.csv" for test in STUDY["tests"]]


def simulation(mosaic):
    """A simulated mosaic's entry with the entries that it names."""
    item = entry("simulations", mosaic, key="mosaic")
    return {
        "simulation": item,
        "psf": entry("psfs", item["psf"]),
        "camera": entry("cameras", item["camera"]),
        "order": STUDY["restoration"]["order"],
    }


def network_file(name):
    """File of a network's weights, once it is trained."""
    return f"{RESULTS}/networks/{name}/network.safetensors"


def harm_test(name):
    """A harm test's entry with the entries that it names, and how maps are made and mosaics restored."""
    test = entry("harm_tests", name)
    network = entry("networks", test["network"])
    return {
        "test": test,
        "objects": entry("objects", test["objects"]),
        "camera": entry("cameras", test["camera"]),
        "detected": entry("psfs", network["psf"]),
        "map": {k: v for k, v in STUDY["map"].items() if k != "network"}
        | {"window_px": network["window_px"]},
        "restoration": restoration_settings(),
    }


def restoration_test(name):
    """A restoration test's entry with the entries that it names, and what the map's settings say."""
    test = entry("restoration_tests", name)
    network = entry("networks", test["network"])
    map_keys = ("neighbours", "validity_threshold", "alarm_threshold")
    return {
        "test": test,
        "objects": entry("objects", test["objects"]),
        "psf": entry("psfs", test["psf"]),
        "camera": entry("cameras", test["camera"]),
        "detected": entry("psfs", network["psf"]),
        "window_px": network["window_px"],
        "order": STUDY["restoration"]["order"],
        **{key: STUDY["map"][key] for key in map_keys},
    }


def own_mosaics(wildcards, pattern):
    """Files of the mosaics that a network of weights learns from; none if it learns from others' pictures."""
    item = entries.entry(STUDY, "weight_networks", wildcards.weights)
    own = item["pictures"] == "mosaics" and not item["weights"]
    return [pattern.format(mosaic=name) for name in mosaics()] if own else []


def own_references(wildcards):
    """The registered references of the mosaics that a network of weights learns from; none if it needs no truth."""
    item = entries.entry(STUDY, "weight_networks", wildcards.weights)
    own = item["pictures"] == "mosaics" and not item["weights"]
    if not own or item["learns"] == "held-out":
        return []
    named = [registered(SimpleNamespace(mosaic=name)) for name in mosaics()]
    return [file for file in named if file]


def own_recipe(wildcards):
    """The mosaics that a network of weights learns from, with the PSFs of their maps and their references.

    The rule's inputs do not tell them: before the mosaics are known, they are those of the checkpoint.
    """
    known = {Path(file).name: file for file in own_references(wildcards)}
    mapped = own_mosaics(wildcards, OWN_SUMS)
    told = [
        {
            "facts": facts,
            "sums": sums,
            "psf": {"store": str(Path(sums).with_suffix(".zarr"))},
            "reference": known.get(Path(facts).name),
        }
        for facts, sums in zip(own_mosaics(wildcards, FACTS), mapped)
    ]
    return {"mosaics": told}


def network_tested(wildcards):
    return network_file(entry("restoration_tests", wildcards.test)["network"])


def mosaics_in(checkpoint):
    """Mosaics of the table that a checkpoint let through, name -> line of its list."""
    if STUDY["mosaics"] is None:
        return {}
    path = checkpoint.get().output.accepted
    return _mosaics_in(path, os.stat(path).st_mtime_ns)


@cache
def _mosaics_in(path, mtime_ns):
    with open(path, newline="") as handle:
        return {line["mosaic"]: line for line in csv.DictReader(handle, delimiter="\t")}


def accepted():
    """Mosaics of the table whose headers can be read."""
    return mosaics_in(checkpoints.check_mosaics)


def mosaics():
    """Every mosaic of the study: the simulated ones and those that were read whole."""
    return [*SIMULATED, *mosaics_in(checkpoints.refuse_mosaics)]


def mosaic_stamps(wildcards):
    """Marks of the table's files, so that a corrected one is read again."""
    try:
        rows = _rows().values()
    except UserError:
        return {}  # check_mosaics will say what is wrong
    return {
        row["mosaic"]: [_stamp(row[key]) for key in ("path", "reference") if row[key]]
        for row in rows
    }


def mosaic_stamp(wildcards):
    """The mark of a mosaic's files: a copy put in their place may be older than what was made of them."""
    if wildcards.mosaic in SIMULATED:
        return None
    return _stamp(accepted()[wildcards.mosaic]["file"])


@cache
def _stamp(path):
    """Sizes and dates of a mosaic's files, of thousands of tiles in one short mark; None without them."""
    try:
        return fingerprint([file_stamp(file) for file in _files(path)])
    except (UserError, OSError):
        return None  # check_mosaics will say what is wrong


@cache
def _files(path):
    """What a picture is read from, of tiles all."""
    return positions.files_of(path)


def watched(path):
    """Files of a picture, of tiles all, for Snakemake to watch. Names that it would take for wildcards are
    left out: `_stamp` notices a change of theirs."""
    return [file for file in _files(path) if not contains_wildcard(file)]


def mosaic_files(wildcards):
    """What a mosaic of the table is read from, so that a changed file is noticed."""
    return watched(accepted()[wildcards.mosaic]["file"])


def convert_mb(wildcards):
    """Memory that a mosaic's conversion takes; 0 where it is read as it is."""
    return int(accepted()[wildcards.mosaic]["convert_mb"])


def mosaic_source(wildcards):
    """What a mosaic is read from."""
    if wildcards.mosaic in SIMULATED:
        return f"{RESULTS}/stages/simulated/{wildcards.mosaic}.done"
    if convert_mb(wildcards):
        return f"{RESULTS}/stages/converted/{wildcards.mosaic}.done"
    return mosaic_files(wildcards)


def made_store(wildcards):
    """The OME-Zarr that was made of a mosaic, or None where it is read as it came."""
    if wildcards.mosaic in SIMULATED:
        return f"{RESULTS}/simulated/{wildcards.mosaic}/observed.ome.zarr"
    if convert_mb(wildcards):
        return f"{RESULTS}/converted/{wildcards.mosaic}.ome.zarr"


def mosaic_row(wildcards):
    """A mosaic's line of the table, so that an edit of one line reruns one mosaic."""
    if wildcards.mosaic in SIMULATED:
        item = entry("simulations", wildcards.mosaic, key="mosaic")
        return {"mosaic": item["mosaic"], "pixel_size_um": item["pixel_size_um"]}
    line = accepted()[wildcards.mosaic]
    channel = int(line["channel"]) if line["channel"] else None
    row = _rows()[line["row"]] | {"mosaic": wildcards.mosaic, "channel": channel}
    # An empty cell says nothing: a new column reruns nothing.
    return {key: value for key, value in row.items() if value is not None}


def converted_row(wildcards):
    """What of a mosaic's line its conversion reads: an edit of other cells does not convert it again."""
    read = ("mosaic", "path", "series", "slice", "channel", "pixel_size_um")
    row = mosaic_row(wildcards)
    return {key: row[key] for key in read if key in row}


@cache
def _rows():
    """Lines of the table of mosaics, where the study has one."""
    rows = read_table(STUDY["mosaics"]) if STUDY["mosaics"] else []
    return {row["mosaic"]: row for row in rows}


def methods(mosaic):
    """Methods that restore a mosaic; only simulated ones have a true map."""
    return [
        method
        for method in METHODS
        if method != "none" and (method != "oracle" or mosaic in SIMULATED)
    ]


def true_store(wildcards):
    """The sharp picture that a simulated mosaic was made from."""
    if wildcards.mosaic in SIMULATED:
        return f"{RESULTS}/simulated/{wildcards.mosaic}/truth.ome.zarr"


def registered(wildcards):
    """The better picture of the same field that a mosaic is judged by, where the table names one."""
    if mosaic_row(wildcards).get("reference"):
        return f"{RESULTS}/references/{wildcards.mosaic}.json"
    return []


def judgeable(wildcards, mosaic=None):
    """Whether something is known that restorations can be judged by."""
    named = SimpleNamespace(mosaic=mosaic) if mosaic else wildcards
    return bool(true_store(named) or registered(named))


def restored_stores(wildcards):
    return {
        method: f"{RESULTS}/restored/{wildcards.mosaic}/{method}.ome.zarr"
        for method in methods(wildcards.mosaic)
    }


def psf_source(wildcards):
    """What a method's PSFs are known from."""
    if wildcards.method == "oracle":
        return f"{RESULTS}/stages/simulated/{wildcards.mosaic}.done"
    if wildcards.method == "measured":
        return entry("psfs", STUDY["restoration"]["measured"])["file"]
    if wildcards.method == "denoised":
        return FACTS
    return f"{RESULTS}/psf_map/{wildcards.mosaic}/{NETWORK}.json"


def psf_choice(wildcards):
    """The map that a method restores with, or its one PSF, as an entry of `psfs`."""
    if wildcards.method == "measured":
        return {"fixed": entry("psfs", STUDY["restoration"]["measured"])}
    if wildcards.method == "denoised":
        return {"fixed": entries.ONE_PIXEL}
    name = "true" if wildcards.method == "oracle" else NETWORK
    made = f"{RESULTS}/psf_map/{wildcards.mosaic}/{name}"
    mean = {"mean_of": f"{made}.json"} if wildcards.method == "constant" else {}
    return {"store": f"{made}.zarr", **mean}


def restoration_settings(*without):
    """What the restoration itself depends on."""
    settings = entries.what_counts("restoration", STUDY["restoration"])
    if LEARNT_WEIGHTS:
        settings |= {"weight_network": LEARNT_WEIGHTS[0]}
    elif settings["tv_weight"] == entries.LEARNT:
        settings |= {"weights_stamp": _mark(entries.weight_network_file(settings))}
    return {
        k: v for k, v in settings.items() if k not in ("methods", "measured", *without)
    }


def growing(key):
    """A resource that doubles when a job failed, as it may have been too little."""
    return lambda wildcards, attempt: STUDY["resources"][key] * 2 ** (attempt - 1)


def asks(rule):
    """Memory and time that the jobs of a rule ask for, as `isoplan.stages` has it."""
    stage = stages.stage(rule)
    kinds = {"mem_mb": (stage.memory, "mem_mb"), "runtime": (stage.minutes, "minutes")}
    return {
        name: (
            growing(f"{kind}_{unit}")
            if kind in stages.KINDS
            else lambda wc, attempt: convert_mb(wc) * 2 ** (attempt - 1)
        )
        for name, (kind, unit) in kinds.items()
    }
