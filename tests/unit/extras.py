"""Extras in an environment of their own: what they need beside themselves is among the pins."""

import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UV = [sys.executable, "-m", "uv"]
LIBRARY = {"PYTHONPATH": str(ROOT / "workflow/scripts")}  # variables of its programs


def environment(folder: Path, requirements: str, *, alone: bool = True) -> Path:
    """The Python of a fresh environment with a file of envs/, beside the packages of this one.

    alone: of the file itself nothing more is installed than what it names.
    """
    python = folder / "env/bin/python"
    subprocess.run([*UV, "venv", "--quiet", "--python", sys.executable, folder / "env"], check=True)
    install = [*UV, "pip", "install", "--quiet", *["--no-deps"] * alone, "--python", python]
    subprocess.run([*install, "-r", ROOT / "envs" / requirements], check=True)
    packages = next((folder / "env/lib").glob("*/site-packages"))
    (packages / "beside.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return python
