"""The pages that users read, and the commands on them."""

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
spec = importlib.util.spec_from_file_location("gather", ROOT / "docs" / "gather.py")
gather = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gather)

PAGES = [
    *("README.md", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md"),
    *("config/README.md", "resources/models/README.md", "workflow/schemas/README.md"),
    *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
]
TEXTS = {page: (ROOT / page).read_text() for page in PAGES}

NAMES = re.compile(
    r"^(?:make|isoplan|snakemake|\.venv/bin/\S+|python3?|PYTHONPATH=\S+|OMP_NUM_THREADS=\S+)(?: |$)"
)


def blocks(text: str) -> list[str]:
    """Lines of code blocks, fenced or indented."""
    lines = [line for block in gather.FENCE.findall(text) for line in block.splitlines()]
    rest = gather.FENCE.sub("", text).splitlines()
    return [line.strip() for line in lines + [x for x in rest if x.startswith(("    ", "\t"))]]


def code(text: str) -> list[str]:
    """Lines of code blocks, and code within lines."""
    within = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", gather.FENCE.sub("", text))
    return [*blocks(text), *(line.strip() for line in within)]


def commands(lines: list[str]) -> list[str]:
    return [line for line in lines if NAMES.match(line)]
