"""The schema of a study file: types, defaults, ranges and words of every key."""

from functools import cache
from pathlib import Path

from isoplan.config import yamlmarks

ROOT = Path(__file__).resolve().parents[4]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
TYPES = {
    "string": "a word or text",
    "integer": "a whole number",
    "number": "a number",
    "array": "a list",
    "object": "a block of keys",
    "null": "null",
}


@cache
def schema() -> dict:
    """The whole schema, which nobody changes."""
    return yamlmarks.parse(SCHEMA.read_text(), str(SCHEMA))


def allowed(rule: dict) -> str:
    """The range or the words that a key allows, in words."""
    if "enum" in rule:
        return ", ".join(map(str, rule["enum"]))
    if "items" in rule and rule["items"]["type"] != "object":
        return allowed(rule["items"])
    parts = []
    if "minimum" in rule and "maximum" in rule:
        parts.append(f"{rule['minimum']:g} to {rule['maximum']:g}")
    elif "minimum" in rule:
        parts.append(f"{rule['minimum']:g} or more")
    elif "exclusiveMinimum" in rule:
        parts.append(f"above {rule['exclusiveMinimum']:g}")
        if "maximum" in rule:
            parts.append(f"up to {rule['maximum']:g}")
    if rule.get("odd"):
        parts.append("odd")
    if "multipleOf" in rule:
        parts.append(f"a multiple of {rule['multipleOf']}")
    parts += [f"or {word}" for word in rule.get("words", ())]
    return ", ".join(parts)
