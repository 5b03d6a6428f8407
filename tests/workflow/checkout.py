"""A copy of the repository to run studies in, so that results never land in the repository's own."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# A job fails that used code of the library whose edits would not rerun it.
CHECKED = os.environ | {"ISOPLAN_CHECK_HASHES": "1"}
LEFT_OUT = shutil.ignore_patterns(".*", "results", "logs", "tests", "__pycache__")


class Checkout:
    """One such copy. study: the file in it that commands run."""

    def __init__(self, folder: Path, study: str):
        self.folder, self.study = folder, study
        self.results = folder / "results" / Path(study).stem

    @classmethod
    def make(cls, folder: Path, study: str, text: str) -> "Checkout":
        """A fresh copy with one more study file."""
        shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
        (folder / study).write_text(text)
        return cls(folder, study)

    def clone(self, folder: Path) -> "Checkout":
        """A copy of everything, with results and what Snakemake remembers of them."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Checkout(folder, self.study)

    def _command(self, *arguments: str) -> list[str]:
        return [
            *(sys.executable, "-m", "snakemake", "--cores", "2", "--nocolor"),
            *(f"--configfile={self.study}", *arguments),
        ]

    def try_(self, *arguments: str) -> tuple[int, str]:
        """Runs Snakemake; exit code and all that it printed."""
        done = subprocess.run(
            self._command(*arguments),
            cwd=self.folder,
            env=CHECKED,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1800,
        )
        return done.returncode, done.stdout

    def run(self, *arguments: str) -> str:
        """Runs Snakemake, which has to succeed."""
        code, output = self.try_(*arguments)
        assert code == 0, output[-8000:]
        return output

    def kill_when(self, ready, *arguments: str, seconds: float = 300) -> None:
        """Starts a run and kills all of it, as a power cut would, as soon as ready() is true."""
        with open(self.folder / "killed.log", "w") as log:
            process = subprocess.Popen(
                self._command(*arguments),
                cwd=self.folder,
                env=CHECKED,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            end = time.monotonic() + seconds
            try:
                while not ready():
                    assert process.poll() is None and time.monotonic() < end, (
                        self.folder / "killed.log"
                    ).read_text()[-8000:]
                    time.sleep(0.002)
            finally:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def planned(output: str) -> dict[str, int]:
    """Jobs by rule, from the table that a run prints before it starts, and a dry run too."""
    lines = output.split("Job stats:")[1].split("\n\n")[0].splitlines()
    cells = [line.split() for line in lines if line.strip()]
    return {name: int(count) for name, count in (c for c in cells if c[1:] and c[1].isdigit())}
