"""A microscope's own file beside a TIFF: each mosaic is made again for its own format's reader alone."""

import json

import numpy as np
import pytest
import tifffile
from checkout import Checkout
from untrained import write_network
from vendor_files import add_format, write_lif, write_nd2

pytestmark = pytest.mark.slow

STUDY = """
study: formats
psfs:
  - {name: gaussian-2, model: gaussian-2, size_px: 15, width_px: [1.5, 5]}
networks:
  - {name: ready, weights: ready.safetensors}
simulations: []
tests: []
mosaics: mosaics.tsv
map: {window_px: 96, stride_px: 32, edges: reflect, validity_threshold: 0}
restoration: {methods: [estimated, none], tv_weight: auto, iterations: 2, psf_scale: 1, resolution_px: 0, core_px: 256}
jobs_per_mosaic: 1
report: {crop_px: 128}
resources: {threads: 1}
"""
TABLE = """mosaic\tpath\tpixel_size_um\tgain\toffset\treference
leica\tleica.lif\t\t2\t10\tbetter.nd2
plain\tplain.tif\t0.5\t2\t10\t
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Checkout:
    """Run with all its jobs, none of which may use code that it does not name."""
    pytest.importorskip("liffile", reason="the extra of readers is not installed")
    pytest.importorskip("nd2", reason="the extra of readers is not installed")
    folder = tmp_path_factory.mktemp("formats") / "isoplan"
    checkout = Checkout.make(folder, "formats.yaml", STUDY)
    write_network(folder / "ready.safetensors")
    rng = np.random.default_rng(0)
    picture = 4095 * rng.gamma(2, 0.1, (100, 130)).clip(0, 1)
    better = np.roll(picture, (2, -3), (0, 1)) + 200 + rng.normal(0, 6, picture.shape)
    tifffile.imwrite(folder / "plain.tif", picture.astype(np.uint16))
    write_lif(folder / "leica.lif", [("a", "YX", picture.astype(np.uint16), 5e-7)])
    write_nd2(folder / "better.nd2", better.astype(np.uint16)[None, None, None])
    (folder / "mosaics.tsv").write_text(TABLE)
    checkout.run()
    return checkout


def test_a_mosaic_is_made_again_for_its_own_reader_alone(study):
    readers = study.folder / "workflow/scripts/isoplan/mosaic/formats"
    add_format(readers.parents[1])
    edit(readers / "czi.py")
    assert "Nothing to be done" in study.run("--dry-run")
    # Of the reference: what it judges.
    assert remade(study, readers / "nd2.py") == {
        *("references/leica.json", "stages/evaluation/leica/evaluate.0.done"),
        *("stages/evaluation/leica/created.done", "evaluation/leica.metrics.csv"),
    }
    # Of the mosaic: all but what facts that come out as they were are enough for.
    again = remade(study, readers / "lif.py")
    its_own = {name for name in made(study) if "leica" in name}
    assert again == its_own - {"stages/psf_map/leica/ready/created.done"}
    assert "Nothing to be done" in study.run("--dry-run")


def test_a_cell_that_nothing_reads_keeps_every_unit(study):
    """A new column of the table, and then a number in it: its facts are told, its units are done already."""
    columns = study.folder / "workflow/schemas/mosaics.yaml"
    columns.write_text(columns.read_text() + "  bleach: {type: number}\n")
    table = study.folder / "mosaics.tsv"
    head, leica, plain = TABLE.splitlines()
    before = made(study)
    table.write_text(f"{head}\tbleach\n{leica}\t\n{plain}\t\n")
    study.run()
    assert made(study) == before  # the table was looked at, and no mosaic
    table.write_text(f"{head}\tbleach\n{leica}\t\n{plain}\t0.3\n")
    study.run()
    assert json.loads((study.results / "mosaics/plain.json").read_text())["bleach"] == 0.3
    for place in ("map_psf/plain/ready", "restore_mosaic/plain/estimated", "evaluate_mosaic/plain"):
        assert "1 of 1 are done already" in (study.results / f"logs/{place}/0.log").read_text()


def edit(module):
    module.write_text(module.read_text() + "\n\nEDITED = True\n")


def made(study) -> dict[str, int]:
    """When each result of the mosaics' own jobs was written."""
    patterns = ("stages/*/*/**/*.done", "mosaics/*.json", "references/*.json", "choices/*/*.json")
    patterns += ("evaluation/*.metrics.csv",)
    files = [file for pattern in patterns for file in study.results.glob(pattern)]
    return {str(file.relative_to(study.results)): file.stat().st_mtime_ns for file in files}


def remade(study, module) -> set[str]:
    """What a run makes again once a module was edited."""
    before = made(study)
    edit(module)
    study.run()
    return {name for name, time in made(study).items() if before[name] != time}
