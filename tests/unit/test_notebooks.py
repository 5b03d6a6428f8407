"""The notebooks run from the first cell to the last."""

import os
import re
from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "docs" / "notebooks"


@pytest.mark.parametrize("name", ["one-picture", "a-map"])
def test_a_notebook_runs(name, monkeypatch):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4)
    # As its first cell says to start it, in the repository's folder; kernels start in the notebook's.
    told = re.search(r"`PYTHONPATH=(\S+)", notebook.cells[0].source)[1]
    monkeypatch.setitem(os.environ, "PYTHONPATH", told.replace("$PWD", str(ROOT)))
    where = {"metadata": {"path": str(NOTEBOOKS)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=where).execute()


def test_what_is_stored_is_small_and_without_errors():
    for file in NOTEBOOKS.glob("*.ipynb"):
        assert file.stat().st_size < 300_000, file
        cells = [cell for cell in nbformat.read(file, 4).cells if cell.cell_type == "code"]
        assert any(cell.outputs for cell in cells), file
        kinds = {output.output_type for cell in cells for output in cell.outputs}
        assert "error" not in kinds, file
