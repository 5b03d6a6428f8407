"""The house stands: rooms import only from floors below them, and the library knows no Snakemake."""

import ast
import subprocess
import sys
from pathlib import Path

import isoplan
import pytest
from isoplan import api

LIBRARY = Path(__file__).resolve().parents[2] / "workflow" / "scripts" / "isoplan"

# From the ground up, the one list of them. Rooms of one row do not know each other.
FLOORS = (
    ("base",),
    ("config", "cluster"),
    ("mosaic", "metrics", "stages", "tasks"),
    ("optics", "registration"),
    ("objects", "networks", "comparison"),
    ("training", "psf_map"),
    ("restoration", "simulation", "evaluation"),
    ("restoration_test", "one_picture"),
    ("report",),
    ("api", "cli"),
    ("applications",),
    ("viewer",),
    ("__main__",),
)
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
# Read whenever the Snakefile is parsed, by every job: nothing that takes long to import.
LIGHT = (
    "base.cards",
    "base.errors",
    "base.fingerprint",
    "base.imports",
    "base.resources",
    "base.rows",
    "base.textfile",
    "config.asked",
    "config.checks",
    "config.entries",
    "config.named_files",
    "config.schema",
    "config.validation",
    "config.values",
    "config.windows",
    "config.yamlmarks",
    "mosaic.formats.rows",
    "mosaic.magic",
    "mosaic.positions",
    "mosaic.table",
    "stages",
    "tasks",
)
# Scripts of jobs that are over in a second.
SHORT = (
    *("check_mosaics", "convert_mosaic", "refuse_mosaics", "create_restoration"),
    *("finish_restoration", "create_evaluation", "evaluate_mosaic", "tabulate_mosaic"),
    *("collect_tables", "finish_study", "write_config"),
)
HEAVY = {"torch", "numpy", "scipy", "zarr", "pandas", "skimage", "matplotlib", "timm"}


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(LIBRARY).with_suffix("").parts): path
        for path in sorted(LIBRARY.rglob("*.py"))
        if path.name != "__init__.py"
    }


def is_main(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports anywhere, functions included.

    What it does only when it is run as a program is left out.
    """
    found = set()
    tree = ast.parse(path.read_text())
    tree.body = [node for node in tree.body if not is_main(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def inner(path: Path) -> set[str]:
    """The library's modules that a file imports."""
    known = modules()
    names = {name.removeprefix("isoplan.") for name in imports(path) if name.startswith("isoplan")}
    return {name if name in known else name.rpartition(".")[0] for name in names} - {""}


def test_every_room_has_its_floor():
    rooms = {name.split(".")[0] for name in modules()}
    assert rooms | {"applications"} == set(LEVEL), "give the new room its floor here"


@pytest.mark.parametrize("name", modules())
def test_imports_go_down(name):
    room = name.split(".")[0]
    for other in inner(modules()[name]):
        below = other.split(".")[0]
        assert below == room or LEVEL[below] < LEVEL[room], f"{name} imports {other}"


def test_no_cycles():
    graph = {name: inner(path) for name, path in modules().items()}
    while graph:
        free = {name for name, needed in graph.items() if not needed & set(graph)}
        assert free, f"a cycle among {sorted(graph)}"
        graph = {name: needed for name, needed in graph.items() if name not in free}


def test_library_knows_no_snakemake_and_no_script():
    for name, path in modules().items():
        tops = {imported.split(".")[0] for imported in imports(path)}
        assert not tops & {"snakemake", "_job"}, name


def test_init_files_are_empty():
    folders = {path.parent for path in modules().values()} - {LIBRARY}
    for folder in folders:
        assert (folder / "__init__.py").read_bytes() == b"", folder


def test_the_public_names_are_for_others():
    """No hash sees a name that is looked up when it is used: scripts and library import it where it is made."""
    public = {f"isoplan.{name}" for name in isoplan.__all__} | {"isoplan"}
    for path in (*LIBRARY.parent.glob("*.py"), *modules().values()):
        assert not imports(path) & public, path
    for name in isoplan.__all__:
        assert getattr(isoplan, name) is getattr(api, name), name
    stub = ast.parse((LIBRARY / "__init__.pyi").read_text()).body
    told = {each.names[0].asname for each in stub if isinstance(each, ast.ImportFrom)}
    assert told == set(isoplan.__all__) == set(api.__all__)
    with pytest.raises(AttributeError, match="no attribute 'restor'"):
        isoplan.restor  # noqa: B018


@pytest.mark.parametrize("name", LIGHT)
def test_what_the_snakefile_reads_is_light(name):
    path = modules()[name]
    assert not {imported.split(".")[0] for imported in imports(path)} & HEAVY
    assert inner(path) <= set(LIGHT)


def test_short_jobs_start_without_torch():
    """Its import takes seconds: longer than all else that these do, many times a mosaic."""
    read = "".join(f"import {name}\nassert 'torch' not in sys.modules, {name}\n" for name in SHORT)
    subprocess.run([sys.executable, "-c", f"import sys\n{read}"], cwd=LIBRARY.parent, check=True)


def test_scripts_only_read_call_and_write():
    """Every rule's script runs under `job` and holds little code."""
    for script in LIBRARY.parent.glob("[a-z]*.py"):
        text = script.read_text()
        assert "with job(snakemake):" in text and text.startswith('"""'), script
        assert len(text.splitlines()) < 120, script
