"""The schema of a study file: types, defaults, ranges and words of every key."""

from functools import cache
from pathlib import Path

from isoplan.config import yamlmarks

ROOT = Path(__file__).resolve().parents[4]
SCHEMAS = ROOT / "workflow" / "schemas"
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
    """The whole schema, of a file for each key, in their order; nobody changes it."""
    parts = {
        file.stem: yamlmarks.parse(file.read_text(), str(file)) for file in SCHEMAS.glob("*.yaml")
    }
    ordered = sorted(parts.items(), key=lambda part: (part[1]["order"], part[0]))
    return {"type": "object", "properties": dict(ordered)}


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
