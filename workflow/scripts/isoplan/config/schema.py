"""The schema of a study file: types, defaults, ranges and words of every key."""

from functools import cache
from pathlib import Path

from isoplan.base.resources import ROOT
from isoplan.config import yamlmarks

SCHEMAS = ROOT / "workflow" / "schemas"
TYPES = {
    "string": "a word or text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a block of keys",
    "null": "null",
}


@cache
def schema() -> dict:
    """The whole schema, of a file for each key, in their order; nobody changes it."""
    return {"type": "object", "properties": _in_order(map(_part, SCHEMAS.glob("*.yaml")))}


def _part(file: Path) -> tuple[str, dict]:
    """A top-level key and its rule, with the shared keys that it takes; where one of its keys chooses a family, with what
    all families read."""
    rule = yamlmarks.parse(file.read_text(), str(file))
    block = rule.get("items", rule)
    for name in block.get("takes", ()):
        shared = SCHEMAS / "shared" / f"{name}.yaml"
        for key, inner in yamlmarks.parse(shared.read_text(), str(shared))["properties"].items():
            block["properties"][key] = inner | block["properties"].get(key, {})
    for inner in block.get("properties", {}).values():
        if "otherwise" in inner:
            inner["description"] += f" Where neither says it is {inner['otherwise']}."
    if "chosen_by" in rule:
        known = rule.get("items", rule)["properties"]
        told = {name: one for name, one in choices(file.stem).items() if not one.get("internal")}
        chooser = known[rule["chosen_by"]]
        chooser["enum"] = list(told)
        meanings = "; ".join(f"{name}: {one['says']}" for name, one in told.items())
        chooser["description"] += f" {meanings}."
        for name, one in told.items():
            for key in one.get("fixed", ()):
                known[key]["description"] += f" {name} does not read it."
        for family in families(file.stem).values():
            for key, inner in family["properties"].items():
                if key in known:
                    raise ValueError(f"schemas/{file.stem}: two families define {key}; rename one")
                readers = ", ".join(name for name, one in told.items() if key in one["reads"])
                known[key] = inner | {"description": f"{inner['description']} {readers} only."}
    return file.stem, rule


@cache
def families(key: str) -> dict[str, dict]:
    """What can be chosen below a top-level key, of a file for each family: schemas/<key>/<family>.yaml.

    A family has `code`, the class as "module:name"; `choices`, the words that choose it; and `properties`, the keys
    that it reads beside those that all families read. A choice may have a `code` and keys of its `own`.
    """
    files = (SCHEMAS / key).glob("*.yaml")
    return _in_order((file.stem, yamlmarks.parse(file.read_text(), str(file))) for file in files)


@cache
def choices(key: str) -> dict[str, dict]:
    """Each word that chooses a family below a top-level key, with what the family's file says of it, its `code`, and
    the keys (`reads`) that it reads beside those that all families read."""
    found = {}
    for family in families(key).values():
        ranges = {
            name: {of for of in one.get("parameters", {}).values() if isinstance(of, str)}
            | set(one.get("own", ()))
            for name, one in family["choices"].items()
        }
        all_ranges = set().union(*ranges.values())
        for name, one in family["choices"].items():
            reads = [
                k for k in family["properties"] if k not in all_ranges or k in ranges[name]
            ]  # not the range of a parameter that another choice of the family has, nor another's own key
            found[name] = {"code": family["code"]} | one | {"reads": reads}
    return found


def _in_order(parts) -> dict[str, dict]:
    return dict(sorted(parts, key=lambda part: (part[1]["order"], part[0])))


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
