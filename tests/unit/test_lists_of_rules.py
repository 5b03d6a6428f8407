"""Lists of rules outside the rules, compared with the rules themselves."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

import damage
import site_checks
from isoplan.evaluation import MEASURES
from isoplan.report import cost

RULES = Path(damage.__file__).parent / "rules"
TEXTS = {file.name: file.read_text() for file in RULES.glob("*.smk")}
# Rule -> its text.
BLOCKS = {
    name: block.split("\nlocalrules:")[0]
    for text in TEXTS.values()
    for name, block in re.findall(
        r"^(?:rule|checkpoint) (\w+):\n(.*?)(?=^(?:rule|checkpoint) |\Z)", text, re.M | re.S
    )
}
PER_MOSAIC = {name for name, block in BLOCKS.items() if f"{name}/{{{{mosaic}}}}" in block}


def asked(resource: str) -> dict[str, str]:
    """Rule -> the kind of `resources` that it asks for: of `growing("map_mem_mb")`, map."""
    found = {n: re.search(rf'growing\("(\w+)_{resource}"\)', b) for n, b in BLOCKS.items()}
    return {name: match[1] for name, match in found.items() if match}


def test_the_rules_were_found():
    assert len(BLOCKS) > 30 and {"map_psf", "check_mosaics", "register_reference"} <= set(BLOCKS)


def test_rules_that_take_a_device_want_a_gpu():
    assert set(site_checks.ON_DEVICE) == {n for n, b in BLOCKS.items() if 'STUDY["device"]' in b}


def test_costs_know_every_rule_of_a_mosaic():
    assert set(cost.PER_MOSAIC) == PER_MOSAIC
    assert set(cost.SHARED) == {name for name in PER_MOSAIC if "jobs=JOBS" in BLOCKS[name]}
    by_method = {name for name in PER_MOSAIC if "{{mosaic}}/{{method}}" in BLOCKS[name]}
    assert set(cost.PER_METHOD) == by_method - {"check_seams"}  # of one method alone


@pytest.mark.parametrize(
    ("resource", "kinds"), [("mem_mb", cost.MEMORY_KINDS), ("minutes", cost.TIME_KINDS)]
)
def test_advice_on_resources_goes_to_the_rules_that_ask_for_them(resource, kinds):
    for name in PER_MOSAIC & {n for n, block in BLOCKS.items() if "resources:" in block}:
        assert asked(resource).get(name, "file") == kinds.get(name, "other"), name
    for kind, name in site_checks.RULES.items():
        assert asked(resource)[name] == kind


def test_what_resume_misses_is_what_restores():
    methods = re.search(r'method="([a-z|]+)"', TEXTS["common.smk"])[1].split("|")
    assert set(methods) == damage.RESTORING
    assert not damage.RESTORING & {*MEASURES, "none"}
