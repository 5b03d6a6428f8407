"""Mistakes in a study, its table and its files: clear words, and nothing half made."""

import pytest
import torch
from checkout import Checkout
from safetensors.torch import save_file
from untrained import write_network

pytestmark = pytest.mark.slow

STUDY = """
study: own
psfs:
  - {name: gaussian-2, model: gaussian-2, size_px: 15, width_px: [1.5, 5]}
networks:
  - {name: ready, weights: ready.safetensors}
simulations: []
tests: []
mosaics: mosaics.tsv
map: {window_px: 96, stride_px: 32}
resources: {threads: 1}
"""

WITHOUT_TABLE = STUDY.replace("mosaics: mosaics.tsv", "mosaics: null\nharm_tests: [{name: h}]")


@pytest.fixture(scope="session")
def plain(tmp_path_factory) -> Checkout:
    """A copy that nothing was run in."""
    checkout = Checkout.make(tmp_path_factory.mktemp("plain") / "isoplan", "own.yaml", STUDY)
    write_network(checkout.folder / "ready.safetensors")
    return checkout


def error_lines(checkout, text, *arguments) -> list[str]:
    """What Snakemake says of a study file: it must fail, without a traceback."""
    (checkout.folder / checkout.study).write_text(text)
    code, output = checkout.try_(*arguments)
    assert code != 0
    assert "Traceback" not in output, output
    return output.splitlines()


def test_mistakes_in_the_study_name_key_and_line(plain):
    lines = error_lines(
        plain,
        "study: wrong\n"
        "sede: 3\n"
        "map:\n"
        "  stride_px: 0\n"
        "  neighbours: many\n"
        "psfs:\n"
        "  - {name: a, model: zernike-1, cutoff: 0}\n"
        "cameras:\n"
        "  - {name: training, read_noise_e: [-1, 2]}\n",
    )
    for start in (
        "own.yaml:2: sede: unknown key; did you mean seed?",
        "own.yaml:4: map.stride_px: 0 is out of range",
        "own.yaml:5: map.neighbours: 'many' is not a whole number",
        "own.yaml:7: psfs[0].cutoff: 0 is out of range",
        "own.yaml:9: cameras[0].read_noise_e[0]: -1 is out of range",
    ):
        assert any(start in line for line in lines), (start, lines)
    assert not (plain.folder / "results").exists()


def test_a_name_that_nothing_bears(plain):
    text = STUDY.replace("tests: []", "tests: [{network: redy, test_set: scenes}]")
    lines = error_lines(plain, text)
    wanted = "own.yaml:8: tests[0].network: 'redy' is no entry of networks; did you mean ready?"
    assert any(wanted in line for line in lines), lines


def test_a_table_that_is_not_there_or_has_a_slip(plain):
    """Whatever is to be made, and where nothing is: a study that was finished long ago would need no table."""
    lines = error_lines(plain, STUDY, "-n", "results/own/config.yaml")
    assert any("own.yaml:9: mosaics: there is no file 'mosaics.tsv'" in line for line in lines), (
        lines
    )
    table = plain.folder / "mosaics.tsv"
    table.write_text('mosaic\tpath\tpixel_size_um\na\t"x.tif\t1\n')
    lines = error_lines(plain, STUDY, "-n", "results/own/config.yaml")
    table.unlink()
    assert any(line.startswith("mosaics.tsv, line 2: a cell begins with") for line in lines), lines


@pytest.mark.parametrize(
    "option, setting", [("set-resources", "test_harm:mem_mb=9"), ("set-threads", "test_harm=2")]
)
def test_resources_for_a_rule_that_was_renamed(plain, option, setting):
    lines = error_lines(plain, WITHOUT_TABLE, "-n", f"--{option}", setting)
    said = f"{option}: the rule test_harm is now called assess_harm; use that name"
    assert said in lines, lines


def test_files_that_do_not_serve(plain):
    """Networks without a card or for another PSF, and a folder without pictures."""
    save_file({"weight": torch.zeros(3)}, plain.folder / "stray.safetensors")
    write_network(plain.folder / "other.safetensors", width_px=(2, 9))
    (plain.folder / "empty").mkdir()
    text = STUDY.replace("mosaics: mosaics.tsv", "mosaics: null").replace(
        "  - {name: ready, weights: ready.safetensors}",
        "  - {name: stray, weights: stray.safetensors}\n"
        "  - {name: other, weights: other.safetensors}\n"
        "  - {name: own, objects: folder}\n"
        "objects:\n"
        "  - {name: scenes}\n"
        "  - {name: folder, kinds: [folder], folder: empty}",
    )
    targets = [f"results/own/networks/{name}/network.safetensors" for name in ("stray", "other", "own")]  # fmt: skip
    lines = error_lines(plain, text, *targets)
    errors = [line for line in lines if line.startswith("ERROR ")]
    for start in (
        "ERROR stray.safetensors: has no isoplan card",
        "ERROR other.safetensors: was trained for PSF width_px [2, 9], but the study wants [1.5, 5]",
        "ERROR empty: has no pictures",
    ):
        assert any(line.startswith(start) for line in errors), (start, errors)
    assert len(errors) == 3
    assert not list(plain.folder.glob("results/own/networks/*/network.safetensors"))


def test_results_that_cannot_be_written(plain):
    """A file stands where the folder should be: as root, who may write anywhere, the one way to see it."""
    results = plain.folder / "results"
    if results.exists():
        results.rename(plain.folder / "aside")
    results.write_text("a file\n")
    lines = error_lines(plain, WITHOUT_TABLE)
    results.unlink()
    assert any("results" in line and "cannot be written" in line for line in lines), lines
