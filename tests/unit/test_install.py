"""The package, as `make wheel` builds it: it brings its command and all that it needs, and reads no checkout."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import isoplan
import numpy as np
import pytest
import tifffile
from isoplan.base import resources
from isoplan.base.fingerprint import library_hashes

ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).with_name("uv")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder that holds the installed package, beside which its dependencies are those of this environment."""
    made = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory"]
    subprocess.run([*build, made / "dist"], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (made / "dist").glob("*.whl")
    assert wheel.stat().st_size < 25e6
    place = ["--no-deps", "--offline", "--target", made / "site", "--python", sys.executable]
    subprocess.run([UV, "pip", "install", "--quiet", *place, wheel], check=True)
    return made / "site"


def said(site: Path, *command, cwd: Path) -> str:
    """What a command of the installed package prints."""
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(site)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_command(site, tmp_path):
    command = site / "bin" / "isoplan"
    assert said(site, command, "--version", cwd=tmp_path) == f"isoplan {isoplan.__version__}\n"
    assert "complete" in said(site, command, "--print-completion", "bash", cwd=tmp_path)
    picture = np.random.default_rng(0).poisson(200, (192, 192)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "seen.tif", picture)
    text = said(site, command, "map", "seen.tif", "--offset", 100, cwd=tmp_path)
    assert "psf_map.csv" in text
    assert (tmp_path / "seen-map" / "psf_map.csv").is_file()
    made = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert made == ["seen-map", "seen-map.ome.zarr"]


@pytest.mark.parametrize("beside", ["an empty folder", "the checkout"])
def test_it_reads_what_it_brought(site, tmp_path, beside):
    code = """
import sys
from pathlib import Path
import isoplan
from isoplan.base.fingerprint import library_hashes
from isoplan.base.resources import ROOT
from isoplan.config.entries import released
from isoplan.config.validation import validate
print(ROOT)
validate({})
assert released("zernike-3").is_file()
scripts = ROOT / "workflow" / "scripts"
print(sum(library_hashes(scripts / f"{s}.py") != {} for s in ("train_network", "evaluate_network")))
assert "torch" not in sys.modules, "importing isoplan is cheap"
"""
    cwd = tmp_path if beside == "an empty folder" else ROOT
    lines = said(site, sys.executable, "-c", code, cwd=cwd).split()
    assert Path(lines[0]) == site / "isoplan" / "files" and lines[1] == "2"


def test_an_editable_install_reads_the_checkout(tmp_path):
    """Its schemas and networks are the checkout's own, so that they do not go stale."""
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run(
        [UV, "venv", "--quiet", "--python", sys.executable, tmp_path / "env"], check=True
    )
    (packages,) = (tmp_path / "env" / "lib").glob("*/site-packages")
    (packages / "beside.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    install = [
        UV,
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--python",
        python,
    ]
    subprocess.run([*install, "--editable", ROOT], check=True)
    code = "import isoplan; from isoplan.base.resources import ROOT; print(isoplan.__file__, ROOT)"
    own = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    told = subprocess.run(
        [python, "-c", code], cwd=tmp_path, env=own, check=True, capture_output=True, text=True
    )
    assert told.stdout.split() == [str(ROOT / "workflow/scripts/isoplan/__init__.py"), str(ROOT)]
    command = [python.with_name("isoplan"), "--version"]
    said = subprocess.run(
        command, cwd=tmp_path, env=own, check=True, capture_output=True, text=True
    )
    assert said.stdout == f"isoplan {isoplan.__version__}\n"


def test_code_of_a_training_is_the_same_installed_or_not(site):
    scripts = [
        root / "workflow" / "scripts" / "train_network.py"
        for root in (ROOT, site / "isoplan" / "files")
    ]
    assert library_hashes(scripts[0]) == library_hashes(scripts[1])
    assert resources.ROOT == ROOT  # here the checkout comes first
