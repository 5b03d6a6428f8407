"""One value of a study file against its part of the schema."""

import copy
import difflib
import math
import re
import sys

from isoplan.config.schema import TYPES, allowed

Problems = list[tuple[tuple, str]]  # key path, what is wrong


def check(value, rule: dict, path: tuple, problems: Problems):
    """The value with its defaults filled in; what is wrong goes to `problems`."""
    kinds = [rule["type"]] if isinstance(rule["type"], str) else rule["type"]
    if value is None and "object" in kinds:
        value = {}  # a block whose keys are all commented out
    if value is None and "null" in kinds:
        return None
    if "object" in kinds:
        return _check_block(value, rule, path, problems)
    if "array" in kinds:
        return _check_list(value, rule, path, problems)
    if isinstance(value, str) and value in rule.get("words", ()):
        return value  # a word that a number's key takes beside numbers
    if isinstance(value, bool) and "boolean" in kinds:
        return value
    number = None
    if {"integer", "number"} & {*kinds} and not ("string" in kinds and isinstance(value, str)):
        number = _as_number(value, whole="integer" in kinds)
    if number is not None:
        value = number
    elif "string" not in kinds or not isinstance(value, str):
        wanted = " or ".join(TYPES[kind] for kind in kinds)
        quotes = '; put it in "quotes"' if "string" in kinds and _plain(value) else ""
        problems.append((path, f"{shown(value)} is not {wanted}{_allowed(rule)}{quotes}"))
        return value
    wrong = _wrong_value(value, rule)
    if wrong:
        problems.append((path, f"{shown(value)} {wrong}"))
    return value


def _check_block(value, rule: dict, path: tuple, problems: Problems):
    if not isinstance(value, dict):
        problems.append((path, f"{shown(value)} is not {TYPES['object']}"))
        return value
    known = rule["properties"]
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
            problems.append(((*path, key), f"unknown key; {hint}"))
    resolved = {}
    for key, inner in known.items():
        place = (*path, key)
        if key in value:
            resolved[key] = check(value[key], inner, place, problems)
        elif "default" in inner or inner["type"] == "object":
            default = copy.deepcopy(inner.get("default", {}))
            resolved[key] = check(default, inner, place, problems)
        else:
            problems.append((place, "is missing and has no default; give one"))
    return resolved


def _check_list(value, rule: dict, path: tuple, problems: Problems):
    if not isinstance(value, list | tuple):
        problems.append((path, f"{shown(value)} is not {TYPES['array']}{_allowed(rule)}"))
        return value
    before = len(problems)
    inner = {"unit": rule["unit"], **rule["items"]} if "unit" in rule else rule["items"]
    resolved = [check(item, inner, (*path, i), problems) for i, item in enumerate(value)]
    if len(problems) > before:
        return resolved
    if rule.get("range"):
        if len(resolved) != 2:
            problems.append((path, f"{shown(value)} is not a range [lowest, highest]"))
        elif resolved[0] > resolved[1]:
            problems.append((path, f"{shown(value)}: the lowest is above the highest"))
    least, most = rule.get("minItems", 0), rule.get("maxItems", math.inf)
    if not least <= len(resolved) <= most:
        count = least if least == most else f"at least {least}"
        problems.append((path, f"has {len(resolved)} items; wants {count}"))
    if fields := rule.get("unique"):
        seen: dict[tuple, int] = {}
        for i, item in enumerate(resolved):
            key = tuple(item[field] for field in fields)
            if key in seen:
                what = " and ".join(f"{f} {item[f]}" for f in fields)
                problems.append(((*path, i), f"{what} stands in item {seen[key]} already"))
            seen.setdefault(key, i)
    return resolved


def _as_number(value, *, whole: bool) -> int | float | None:
    """The number that `value` is or spells (YAML 1.1 reads 1e-3 as text), or None."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not abs(value) <= sys.float_info.max:  # nan, infinite, or a whole number of 400 digits
        return None
    if whole:
        return int(value) if value == int(value) else None
    return value


def _wrong_value(value, rule: dict) -> str:
    """What is wrong with a value of the right type, or nothing."""
    if "enum" in rule and value not in rule["enum"]:
        near = difflib.get_close_matches(str(value), rule["enum"], n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"is not allowed; {hint}allowed: {', '.join(map(str, rule['enum']))}"
    if "pattern" in rule and isinstance(value, str) and not re.fullmatch(rule["pattern"], value):
        names = "cannot be used in file names; use letters, digits, . _ -, at most 100 in all"
        return rule.get("mismatch", names)
    if isinstance(value, str):
        return ""
    outside = (
        value < rule.get("minimum", -math.inf)
        or value > rule.get("maximum", math.inf)
        or value <= rule.get("exclusiveMinimum", -math.inf)
    )
    if outside:
        return f"is out of range{_allowed(rule)}"
    if rule.get("odd") and value % 2 == 0:
        return f"is even; an odd number of {rule.get('unit', 'units')} has a middle one"
    if value % rule.get("multipleOf", 1 if isinstance(value, int) else value or 1):
        return f"is not a multiple of {rule['multipleOf']}"
    return ""


def _allowed(rule: dict) -> str:
    words = "; ".join(filter(None, [allowed(rule), f"in {rule['unit']}" if "unit" in rule else ""]))
    return f" ({words})" if words else ""


def _plain(value) -> bool:
    return isinstance(value, bool | int | float)


def shown(value) -> str:
    text = repr(value) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= 60 else text[:57] + "..."
