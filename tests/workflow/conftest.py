"""The study that several tests share, run once."""

import fcntl
import os
import shutil

import pytest
from checkout import Checkout
from mini import STUDY


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Checkout:
    """The study, run once without a disturbance, and what dry runs by both Snakefiles say after it (`again`).

    All workers share it, and the first one makes it. Nothing is started in its folder after that: tests that start or
    change something clone it.
    """
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folder, said = root / "finished", [root / "finished.log", root / "finished-again.log"]
    with (root / "finished.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        checkout = Checkout(folder, "config/studies/demo.yaml")
        if not said[-1].exists():
            shutil.rmtree(folder, ignore_errors=True)  # where another worker failed
            Checkout.make(folder, checkout.study, STUDY)
            said[0].write_text(checkout.run())
            # The catalogue of workflows starts the second.
            runs = ([], ["--snakefile", "workflow/Snakefile"])
            said[1].write_text("".join(checkout.run("--dry-run", *run) for run in runs))
    checkout.output, checkout.again = (file.read_text() for file in said)
    return checkout
