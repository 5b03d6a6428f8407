"""The stages of a study: of each rule what others than Snakemake must know of it, one row each.

The rules take their resources from here, `make resume` how damage shows and what goes with it, `make preflight` what
jobs ask of a machine or a site, and the report's costs what belongs to a mosaic. Read while Snakemake parses, so
what takes long to import stands as "module:function".
"""

from collections.abc import Iterable

from isoplan.base.rows import Stage, rows

# What was measured on a mosaic, of no use when something behind it is made again. Every step to the table that
# collects it has to go: what is missing before a file that is there is not asked for.
MEASURED = (
    *("evaluate_mosaic", "correlate_mosaic", "check_seams", "tabulate_mosaic"),
    "collect_metrics",
)
KINDS = ("train", "map", "restore", "other")  # of the config's `resources`


def _restores(study: dict) -> bool:
    return study["restoration"]["methods"] != ["none"]


def _chooses(study: dict) -> bool:
    from isoplan.config.entries import left_open

    return bool(left_open(study["restoration"]))


def _listed(study: dict) -> bool:
    return bool(study["mosaics"])


def _tests(study: dict) -> bool:
    return bool(study["restoration_tests"])


def _sweeps(study: dict) -> bool:
    return any(test["sweep_tv_weights"] for test in study["restoration_tests"])


def _harms(study: dict) -> bool:
    return bool(study["harm_tests"])


_TABLED = ("tabulate_mosaic", "collect_metrics")
_ARRAYS = ("patches", "params", "invalid")
_MAP, _RESTORED = "psf_map/{mosaic}/{network}", "restored/{mosaic}/{method}"
_FILES = "isoplan.cluster.unit_files:stored_units"

# In the order of the work; applications stand before the report.
_WORK = (
    Stage(
        "store_validation_set",
        ("network",),
        made=("stages/validation/{network}.done",),
        memory="other",
        minutes="other",
        data=tuple(f"sets/validation-{{network}}.zarr/{name}" for name in _ARRAYS),
        first=("store_validation_set",),
    ),
    Stage(
        "store_test_set",
        ("test_set",),
        made=("stages/test/{test_set}.done",),
        memory="other",
        minutes="other",
        data=tuple(f"sets/test-{{test_set}}.zarr/{name}" for name in _ARRAYS),
        then=("evaluate_network", "collect_regression"),
        first=("store_test_set",),
    ),
    Stage(
        "train_network",
        ("network",),
        made=("networks/{network}/network.safetensors",),
        memory="train",
        minutes="train",
        device=True,
        wanted=lambda study: any(not network["weights"] for network in study["networks"]),
        data=("networks/{network}/network.safetensors",),
        reads="isoplan.networks.store:read",
        first=("train_network",),
    ),
    Stage(
        "evaluate_network",
        ("network", "test_set", "degradation"),
        made=tuple(
            f"regression/{{network}}/{{test_set}}/{{degradation}}.{table}.csv"
            for table in ("regression", "predictions", "calibration", "abstention")
        ),
        memory="other",
        minutes="other",
        device=True,
        wanted=lambda study: bool(study["tests"]),
        then=("collect_regression",),
    ),
    Stage("collect_regression", made=("regression.csv",)),
    Stage(
        "simulate_mosaic",
        ("mosaic",),
        made=("stages/simulated/{mosaic}.done",),
        memory="other",
        minutes="other",
        wanted=lambda study: bool(study["simulations"]),
        usual=False,
        data=(
            "simulated/{mosaic}/observed.ome.zarr",
            "simulated/{mosaic}/truth.ome.zarr",
            "psf_map/{mosaic}/true.zarr",
        ),
        then=MEASURED,
        first=("simulate_mosaic",),
    ),
    Stage(
        "check_mosaics",
        made=("stages/mosaics/accepted.tsv",),
        wanted=_listed,
        first=("check_mosaics",),
    ),
    Stage(
        "convert_mosaic",
        ("mosaic",),
        made=("stages/converted/{mosaic}.done",),
        memory="file",
        minutes="other",
        usual=False,
        data=("converted/{mosaic}.ome.zarr",),
        then=MEASURED,
        first=("convert_mosaic",),
    ),
    Stage(
        "measure_mosaic",
        ("mosaic",),
        made=("mosaics/{mosaic}.json",),
        memory="other",
        minutes="other",
        first=("measure_mosaic",),
    ),
    Stage(
        "refuse_mosaics",
        made=("accepted.tsv", "refused.csv"),
        wanted=_listed,
        first=("refuse_mosaics",),
    ),
    Stage("create_psf_map", ("mosaic", "network"), made=(f"stages/{_MAP}/created.done",)),
    Stage(
        "map_psf",
        ("mosaic", "network", "job"),
        made=(f"stages/{_MAP}/map.{{job}}.done",),
        memory="map",
        minutes="map",
        device=True,
        data=(f"{_MAP}.zarr",),
        units="isoplan.psf_map.layout:stored_units",
        ledger=f"ledgers/{_MAP}",
        laid_out_by="create_psf_map",
        unit_px="isoplan.psf_map.layout:unit_px",
        then=("fill_psf_map", *MEASURED),
        first=("fill_psf_map",),
    ),
    Stage(
        "fill_psf_map",
        ("mosaic", "network"),
        made=(f"{_MAP}.json",),
        memory="other",
        minutes="other",
        data=(f"{_MAP}.zarr/0",),
        then=MEASURED,
        first=("fill_psf_map",),
    ),
    Stage(
        "register_reference",
        ("mosaic",),
        made=("references/{mosaic}.json",),
        memory="other",
        minutes="other",
        usual=False,
        sampled=True,
        first=("register_reference",),
    ),
    Stage(
        "choose_restoration",
        ("mosaic", "method"),
        made=("choices/{mosaic}/{method}.json",),
        memory="restore",
        minutes="restore",
        device=True,
        wanted=_chooses,
        sampled=True,
        first=("choose_restoration",),
    ),
    Stage("create_restoration", ("mosaic", "method"), made=(f"stages/{_RESTORED}/created.done",)),
    Stage(
        "restore_mosaic",
        ("mosaic", "method", "job"),
        made=(f"stages/{_RESTORED}/restore.{{job}}.done",),
        memory="restore",
        minutes="restore",
        device=True,
        wanted=_restores,
        data=(f"{_RESTORED}.ome.zarr",),
        units="isoplan.restoration.trust:stored_units",
        ledger=f"ledgers/{_RESTORED}",
        laid_out_by="create_restoration",
        unit_px="isoplan.restoration.trust:unit_px",
        then=("finish_restoration", *MEASURED),
    ),
    Stage(
        "finish_restoration",
        ("mosaic", "method"),
        made=(f"stages/{_RESTORED}/finished.done",),
        memory="other",
        minutes="other",
        data=(f"{_RESTORED}.ome.zarr",),
        then=MEASURED,
    ),
    Stage("create_evaluation", ("mosaic",), made=("stages/evaluation/{mosaic}/created.done",)),
    Stage(
        "evaluate_mosaic",
        ("mosaic", "job"),
        made=("stages/evaluation/{mosaic}/evaluate.{job}.done",),
        memory="other",
        minutes="other",
        data=("evaluation/{mosaic}.zarr",),
        units="isoplan.evaluation:stored_units",
        ledger="ledgers/evaluation/{mosaic}",
        laid_out_by="create_evaluation",
        unit_px="isoplan.evaluation:unit_px",
        then=MEASURED,
    ),
    Stage(
        "correlate_mosaic",
        ("mosaic",),
        made=("evaluation/{mosaic}.frc.csv", "evaluation/{mosaic}.again.csv"),
        memory="other",
        minutes="other",
        usual=False,
        sampled=True,
        then=_TABLED,
    ),
    Stage(
        "check_seams",
        ("mosaic", "method"),
        made=("evaluation/{mosaic}.{method}.seams.csv",),
        memory="restore",
        minutes="other",
        device=True,
        wanted=_restores,
        one_method=True,
        sampled=True,
        then=_TABLED,
    ),
    Stage(
        "tabulate_mosaic",
        ("mosaic",),
        made=tuple(f"evaluation/{{mosaic}}.{table}.csv" for table in ("metrics", "cells", "map")),
        memory="other",
        minutes="other",
        then=("collect_metrics",),
    ),
    Stage("collect_metrics", made=("metrics.csv",)),
    Stage(
        "assess_restoration",
        ("test", "job"),
        made=("stages/restoration_tests/{test}/test.{job}.done",),
        memory="restore",
        minutes="restore",
        device=True,
        wanted=_tests,
        data=("restoration_tests/{test}",),
        units=_FILES,
        ledger="ledgers/restoration_tests/{test}",
        then=("tabulate_restoration_tests", "picture_restoration"),
    ),
    Stage(
        "tabulate_restoration_tests",
        made=("restoration.csv", "restoration_summary.csv", "restoration_budget.csv"),
        memory="other",
        minutes="other",
        wanted=_tests,
    ),
    Stage(
        "sweep_restoration",
        ("test", "job"),
        made=("stages/restoration_sweeps/{test}/sweep.{job}.done",),
        memory="restore",
        minutes="restore",
        device=True,
        wanted=_sweeps,
        data=("restoration_sweeps/{test}",),
        units=_FILES,
        ledger="ledgers/restoration_sweeps/{test}",
        then=("tabulate_sweeps",),
        first=("tabulate_sweeps",),
    ),
    Stage(
        "tabulate_sweeps",
        made=("restoration_sweep.csv", "restoration_choice.csv"),
        memory="other",
        minutes="other",
        wanted=_sweeps,
        first=("tabulate_sweeps",),
    ),
    Stage(
        "picture_restoration",
        ("test",),
        made=("restoration_tests/{test}.npz",),
        memory="restore",
        minutes="other",
        device=True,
        wanted=_tests,
        first=("picture_restoration",),
    ),
    Stage(
        "assess_harm",
        ("test", "job"),
        made=("stages/harm_tests/{test}/test.{job}.done",),
        memory="restore",
        minutes="restore",
        device=True,
        wanted=_harms,
        data=("harm_tests/{test}",),
        units=_FILES,
        ledger="ledgers/harm_tests/{test}",
        then=("tabulate_harm", "picture_harm"),
    ),
    Stage(
        "tabulate_harm",
        made=("harm.csv", "harm_summary.csv"),
        memory="other",
        minutes="other",
        wanted=_harms,
    ),
    Stage(
        "picture_harm",
        ("test",),
        made=("harm_tests/{test}.npz",),
        memory="restore",
        minutes="other",
        device=True,
        wanted=_harms,
        first=("picture_harm",),
    ),
)
_END = (
    Stage("write_config", made=("config.yaml",)),
    Stage("write_report", made=("report.html", "cost.csv"), memory="other", minutes="other"),
    Stage("finish_study", made=("finished.txt",)),
)
STAGES = (*_WORK, *rows("STAGES"), *_END)
BY_RULE = {stage.rule: stage for stage in STAGES}
# The lists of the config whose entries' names a wildcard takes.
LISTS = (
    *(("network", "networks"), ("test_set", "test_sets")),
    *(("test", "restoration_tests"), ("test", "harm_tests")),
)
# Former name of a rule -> its name now: users' profiles may still set resources for the former one.
RENAMED = {"test_restoration": "assess_restoration", "test_harm": "assess_harm"}


def lists() -> list[tuple[str, str]]:
    """(wildcard, key of the config): the lists whose entries' names wildcards take."""
    return [*LISTS, *(pair for stage in STAGES for pair in stage.lists)]


def stage(rule: str) -> Stage:
    """The row of a rule."""
    return BY_RULE[rule]


def of_mosaics() -> list[Stage]:
    """What is done for every mosaic, or for some, in the order of the work."""
    return [stage for stage in STAGES if stage.of_mosaic]


def example(kind: str, stages: Iterable[Stage] = STAGES) -> Stage:
    """The stage that stands for a kind of `resources`: the first that asks for its memory and time, shared if any is."""
    asks = [stage for stage in stages if stage.memory == stage.minutes == kind]
    return next((stage for stage in asks if stage.shared and stage.of_mosaic), asks[0])
