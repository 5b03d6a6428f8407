"""Versions are pinned once: all lists agree, and whatever the code imports is pinned."""

import ast
import sys
from importlib.metadata import packages_distributions, version
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
OWN = {"isoplan", "snakemake"}


def pins(name: str) -> dict[str, str]:
    """Package -> version of one requirements file, every line of which must be an exact pin."""
    rows = (ROOT / "envs" / name).read_text().splitlines()
    rows = [row for row in rows if row.strip() and not row.startswith(("#", "-r "))]
    assert all(row.count("==") == 1 for row in rows), rows
    return dict(row.split("==") for row in rows)


def imported(folder: str) -> set[str]:
    """Top-level modules that the files under a folder import, beside Python's and our own."""
    found = set()
    local = {p.stem for each in ("workflow", "tests") for p in (ROOT / each).rglob("*.py")}
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - OWN - local


def test_conda_repeats_the_pins():
    conda = yaml.safe_load((ROOT / "envs" / "isoplan.yaml").read_text())["dependencies"]
    pip = next(entry["pip"] for entry in conda if isinstance(entry, dict))
    # Jobs submit no others, and a new plugin shall rerun none.
    wanted = pins("requirements.txt")
    wanted = {k: v for k, v in wanted.items() if not k.startswith("snakemake-executor-plugin-")}
    assert dict(row.split("==") for row in pip) == wanted


LISTS = [f"requirements{part}.txt" for part in ("", "-dev", "-readers", "-docs")]


def test_no_package_is_pinned_twice():
    names = [name for each in LISTS for name in pins(each)]
    assert len(names) == len(set(names))


def test_every_list_is_installed_by_make_setup():
    rule = next(row for row in (ROOT / "Makefile").read_text().splitlines() if "$(STAMP): " in row)
    included = (ROOT / "envs" / "requirements-dev.txt").read_text().splitlines()
    for each in LISTS:
        assert f"envs/{each}" in rule.split()
        assert f"-r {each}" in included or each == "requirements-dev.txt"


def test_installed_versions_are_the_pinned_ones():
    wanted = {name: pin for each in LISTS for name, pin in pins(each).items()}
    assert {name: version(name).split("+")[0] for name in wanted} == wanted


# Wanted by one method of `restoration_tests`, which says so where it is missing (rivals.check_installed).
RIVALS = {"deepinv"}
# An extra, which `mosaic.formats` asks for where it is missing.
READERS = set(pins("requirements-readers.txt"))
# An extra too: napari loads the module that imports it.
VIEWER = {"napari"}
# An extra, which two methods of `fluctuation_tests` need; a study that names them without it is refused.
SRRF = set(pins("requirements-srrf.txt"))
# Likewise, for one method of `enhancements`.
BM3D = set(pins("requirements-bm3d.txt"))
# Likewise, for one architecture of `enhancers`.
SMP = set(pins("requirements-smp.txt"))
# Likewise, for `autofocus` of a microscope that Micro-Manager drives.
MICROSCOPE = set(pins("requirements-microscope.txt"))


def test_what_the_code_imports_is_pinned():
    distributions = packages_distributions()
    jobs = set(pins("requirements.txt"))
    for folder, allowed in (
        ("workflow", jobs | RIVALS | READERS | VIEWER | SRRF | BM3D | SMP | MICROSCOPE),
        ("tests", jobs | READERS | set(pins("requirements-dev.txt"))),
    ):
        for module in sorted(imported(folder)):
            names = {name.lower().replace("_", "-") for name in distributions.get(module, [module])}
            assert names & allowed, f"{folder} imports {module} ({names}), which is not pinned"
