"""config/config.yaml and config/README.md, written from the schema so that they cannot disagree.

`python -m isoplan.config.documentation` writes both.
"""

import textwrap
from pathlib import Path

import yaml

from isoplan.base.resources import ROOT
from isoplan.config.schema import TYPES, allowed, schema

WIDTH = 100
CONFIG_HEAD = """\
# The default study, and every key there is. Written from workflow/schemas/.
# For a study of your own, leave this file and write config/studies/<name>.yaml with what differs:
#     make study STUDY=<name>
# A list that you give stands in place of the one here, whole; in every item, what you leave out
# takes its default. Further items of a list show only what differs from the defaults.
"""
README_HEAD = """\
# Every key of a study

Written from `workflow/schemas/`, the one source of defaults and checks, by `make config`.

- `config/config.yaml` is the default study. A study of your own is a file with what differs:
  `make study STUDY=<name>` (add `PROFILE=slurm` on a cluster). Give it a `study` name of its own.
- A list stands in place of the default one, whole; in every item, what you leave out takes the default below.
- A wrong key, type or range stops the run before any job starts, and says file, line and what is allowed.
- Paths count from the folder in which you start `make`.
- `config/mosaics/*.tsv` list mosaics; a path `scikit-image:<file>` is a picture in scikit-image's wheel.
  The pixel size of the demo's retina is a round figure, since the picture comes without one.
"""


def write(root: Path) -> list[Path]:
    """Writes both files under `root`/config and returns their paths."""
    texts = {"config.yaml": config_text(), "README.md": readme_text()}
    for name, text in texts.items():
        path = Path(root) / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(f"wrote {path.relative_to(root)}")
    return [Path(root) / "config" / name for name in texts]


def config_text() -> str:
    """The default study as YAML, each key explained above it."""
    out = [CONFIG_HEAD]
    for key, rule in schema()["properties"].items():
        out.append("\n".join(_key_lines(key, rule, rule.get("default"), "")) + "\n")
    return "\n".join(out)


def _key_lines(key: str, rule: dict, value, indent: str) -> list[str]:
    comment = _comment(rule, indent)
    if rule["type"] == "object":
        out = [*comment, f"{indent}{key}:"]
        for name, inner in rule["properties"].items():
            out += _key_lines(name, inner, inner.get("default"), indent + "  ")
        return out
    if _is_item_list(rule) and value:
        out = [*comment, f"{indent}{key}:"]
        for i, item in enumerate(value):
            out += _item_lines(rule["items"]["properties"], item, indent + "  ", explained=i == 0)
        return out
    return [*comment, f"{indent}{key}: {_flow(value)}"]


def _item_lines(known: dict, item: dict, indent: str, *, explained: bool) -> list[str]:
    """One item of a list: the first with every field explained, the others with what differs."""
    out = []
    for name, rule in known.items():
        if explained:
            out += _key_lines(name, rule, item.get(name, rule.get("default")), indent + "  ")
        elif name in item:
            out += [f"{indent}  {name}: {_flow(item[name])}"]
    first = next(i for i, line in enumerate(out) if not line.lstrip().startswith("#"))
    out[first] = f"{indent}- {out[first].lstrip()}"
    # A comment above the dash stands at the dash's depth.
    return [indent + line.lstrip() for line in out[:first]] + out[first:]


def _comment(rule: dict, indent: str) -> list[str]:
    text = rule["description"]
    limits = allowed(rule) if not _is_item_list(rule) else ""
    notes = "; ".join(filter(None, [f"in {rule['unit']}" if "unit" in rule else "", limits]))
    text = f"{text} ({notes})" if notes else text
    prefix = f"{indent}# "
    return textwrap.wrap(text, WIDTH, initial_indent=prefix, subsequent_indent=prefix)


def _is_item_list(rule: dict) -> bool:
    return rule["type"] == "array" and rule["items"]["type"] == "object"


def _flow(value) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")


def readme_text() -> str:
    """Tables of every key: meaning, unit, what is allowed, default."""
    out = [README_HEAD, "## The study", ""]
    known = schema()["properties"]
    groups = {k: r for k, r in known.items() if r["type"] == "object" or _is_item_list(r)}
    out += _table({k: r for k, r in known.items() if k not in groups})
    for key, rule in groups.items():
        out += _section(key, rule)
    return "\n".join(out).rstrip() + "\n"


def _section(key: str, rule: dict, depth: int = 2) -> list[str]:
    out = [f"{'#' * depth} `{key}`", "", rule["description"], ""]
    if rule["type"] == "object":
        return out + _table(rule["properties"])
    default = _flow(rule["default"])
    out += [f"A list. Default: `{default}`", ""]
    known = rule["items"]["properties"]
    parts = {k: r for k, r in known.items() if r["type"] == "object" or _is_item_list(r)}
    out += _table({k: r for k, r in known.items() if k not in parts})
    for name, inner in parts.items():
        out += _section(f"{key}[].{name}", inner, depth + 1)
    return out


def _table(known: dict) -> list[str]:
    out = ["| key | meaning | unit | allowed | default |", "| --- | --- | --- | --- | --- |"]
    for key, rule in known.items():
        default = f"`{_flow(rule['default'])}`" if "default" in rule else "required"
        meaning = rule["description"].replace("|", "\\|").replace("<", "&lt;")
        unit, limits = rule.get("unit", ""), allowed(rule) or _kind(rule)
        out.append(f"| `{key}` | {meaning} | {unit} | {limits} | {default} |")
    return [*out, ""]


def _kind(rule: dict) -> str:
    kinds = [rule["type"]] if isinstance(rule["type"], str) else rule["type"]
    return " or ".join(TYPES[kind] for kind in kinds)


if __name__ == "__main__":
    write(ROOT)
