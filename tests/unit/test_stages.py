"""The list of stages, compared with the rules themselves."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

import damage
from isoplan import stages
from isoplan.base.imports import load_named
from isoplan.base.records import KINDS as SMALL
from isoplan.comparison import STANDARDS
from isoplan.report import cost
from isoplan.stages import BY_RULE, KINDS, STAGES

ROOT = Path(damage.__file__).parent.parent
TEXTS = {file.name: file.read_text() for file in (ROOT / "workflow/rules").rglob("*.smk")}
NAMES = dict(re.findall(r'^([A-Z_]+) = f"(.+)"$', "\n".join(TEXTS.values()), re.M))
# Of what a study always asks for, where it has it: a file of each rule.
TARGETS = {
    *("report.html", "metrics.csv", "regression.csv", "restoration.csv", "harm.csv"),
    *("fluctuation.csv", "sequences.csv", "enhancement.csv", "enhanced_pictures.csv"),
    *("weight_maps.csv", "weight_maps_summary.csv"),
    "autofocus.csv",
    "autofocus_curves.csv",
    "autofocus_scores.csv",
    "autofocus_summary.csv",
    "depth.csv",
    "depth_summary.csv",
    "flow.csv",
    "flow_summary.csv",
    "flow_maps.csv",
    "height_maps.csv",
    "identification.csv",
}
# Rule -> its text, with the names of folders put in.
BLOCKS = {
    name: block.split("\nlocalrules:")[0]
    for text in TEXTS.values()
    for name, block in re.findall(
        r"^(?:rule|checkpoint) (\w+):\n(.*?)(?=^(?:rule|checkpoint) |\Z)", text, re.M | re.S
    )
}
LOCAL = {
    name
    for text in TEXTS.values()
    for block in re.findall(r"^localrules:\n((?:    \w+,\n)+)", text, re.M)
    for name in re.findall(r"\w+", block)
}


def spelt(text: str) -> str:
    """A rule's text with the names of folders in full, from results/<study>/ on."""
    for _ in range(3):
        text = re.sub(r"\{([A-Z_]+)\}", lambda m: NAMES.get(m[1], m[0]), text)
        text = re.sub(r"(?<==)[A-Z_]+\b", lambda m: f'"{NAMES.get(m[0], m[0])}"', text)
    for old, new in (
        ("results/{STUDY['study']}/", ""),
        ("{{", "{"),
        ("}}", "}"),
        ("{wildcards.", "{"),
    ):
        text = text.replace(old, new)
    return text


def part(rule: str, key: str) -> str:
    """What stands under one keyword of a rule."""
    found = re.search(rf"^    {key}:\n((?:        .*\n|\n)+)", BLOCKS[rule], re.M)
    return spelt(found[1]) if found else ""


def test_every_rule_has_its_row():
    assert len(BLOCKS) > 30 and set(BLOCKS) == set(BY_RULE)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.rule)
def test_a_row_says_what_its_rule_does(stage):
    made = re.findall(r'"([^"]+)"', part(stage.rule, "output"))
    assert stage.made and {*stage.made} <= {*made}
    assert {path for path in made if path.endswith(".done")} <= {*stage.made}
    log = re.findall(r'"(.+)\.log"', part(stage.rule, "log"))[0]
    assert tuple(re.findall(r"\{(\w+)\}", log)) == stage.per
    assert stage.device == ('STUDY["device"]' in BLOCKS[stage.rule])
    assert stage.shared == ("jobs=JOBS" in BLOCKS[stage.rule])
    asks = f'**asks("{stage.rule}"),'
    assert (asks in BLOCKS[stage.rule]) == (stage.memory is not None) == (stage.rule not in LOCAL)
    assert (stage.memory is None) == (stage.minutes is None)
    assert {stage.memory, stage.minutes} <= {*KINDS, "file", None}


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.rule)
def test_what_is_read_back_is_what_the_rule_writes(stage):
    texts = spelt(BLOCKS[stage.rule] + TEXTS["common.smk"])
    for path in (*stage.data, *filter(None, [stage.ledger])):
        store = re.sub(r"(\.zarr)/\w+$", r"\1", path)
        assert f'"{store}"' in texts, store
    for name in filter(None, (stage.units, stage.reads, stage.unit_px)):
        assert callable(load_named(name))
    for rule in (*stage.then, *stage.first, *filter(None, [stage.laid_out_by])):
        assert rule in BY_RULE


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.rule)
def test_a_small_file_that_is_damaged_is_made_again(stage):
    """Its rule is asked for first, or something after it that a study always asks for is gone too."""
    small = [
        path
        for path in re.findall(r'"([^"]+)"', part(stage.rule, "output"))
        if path.endswith(SMALL)
    ]
    gone = {path for rule in (stage.rule, *stage.then) for path in BY_RULE[rule].made}
    assert not small or stage.rule in stage.first or gone & TARGETS


def test_units_have_all_that_belongs_to_them():
    for stage in STAGES:
        assert stage.shared == bool(stage.units) == bool(stage.ledger)
        assert bool(stage.unit_px) == (stage.shared and stage.of_mosaic)


def test_each_kind_of_resources_has_its_example():
    found = {kind: stages.example(kind).rule for kind in KINDS}
    assert found == {
        "train": "train_network",
        "map": "map_psf",
        "restore": "restore_mosaic",
        "other": "evaluate_mosaic",
    }


def test_jobs_of_a_mosaic_are_counted_as_snakemake_plans_them():
    """Laid out, measured, filled, tabulated; seams looked for; for each method laid out and a pyramid built."""
    for methods, jobs in ((1, 1), (3, 4)):
        once = 5 + 1 + 2 * methods + jobs * (2 + methods)
        assert cost.jobs_of(methods, jobs) == once
        assert cost.jobs_of(methods, jobs, chosen=True) == once + methods


def test_what_resume_misses_is_what_restores():
    methods = re.search(r'method="([a-z|]+)"', TEXTS["common.smk"])[1].split("|")
    assert set(methods) == damage.RESTORING
    assert not damage.RESTORING & {*STANDARDS, "none"}
