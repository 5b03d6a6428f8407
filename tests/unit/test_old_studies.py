"""What studies of before left: networks, maps, ledgers, facts and configs that are read as they are.

`data/study_of_before.tar.xz` is what the study `tiny` of 27 November 2026 left, without its pictures:
`make study STUDY=tiny`, then config.yaml, the tables, mosaics/, networks/small without its checkpoint, psf_map/pictures,
ledgers/psf_map, benchmarks/ and stages/psf_map of results/tiny.
"""

import sys
import tarfile
from pathlib import Path

import pytest
import torch
import yaml
from isoplan.base.ledger import damaged
from isoplan.config import entries
from isoplan.config.validation import validate
from isoplan.mosaic.facts import EXPOSURE, PIXELS, Facts
from isoplan.networks import store
from isoplan.psf_map.layout import stored_units
from isoplan.report.results import read_study
from isoplan.restoration.psfs import local_psfs
from report_fixture import write_page

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

import damage

RECORD = Path(__file__).resolve().parents[1] / "data" / "study_of_before.tar.xz"


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(RECORD) as archive:
        archive.extractall(folder, filter="data")
    return folder / "tiny"


def test_a_network_and_its_card(old):
    network, model, card = store.load(old / "networks/small/network.safetensors")
    assert card["psf"]["focus_waves"] == [0, 0.5]  # keys that its model does not read
    with torch.no_grad():
        seen = network(torch.rand(1, 1, 96, 96), cutoff=torch.tensor([0.25]))
    assert seen.isfinite().all() and model.spec["model"] == "gaussian-2"
    study = validate({"networks": [{"name": "small", "window_px": 96}]})
    spec = entries.told(study, "psfs", "gaussian-2") | {"width_px": [1.5, 5]}
    store.check_fits(old, card, spec, 96)


def test_a_map_and_its_ledger(old):
    made = old / "psf_map/pictures/small.zarr"
    read, count = stored_units(made)
    ledger = old / "ledgers/psf_map/pictures/small"
    assert len(list(ledger.glob("*.json"))) == count and not damaged(ledger, read)
    facts = Facts.read(old / "mosaics/pictures.json")
    kernels, _, _ = local_psfs({"store": str(made)}, facts.shape).around(0, 256, 0, 256)
    assert kernels.shape[-1] == 15
    assert facts.only(*PIXELS, *EXPOSURE).brightness == facts.brightness


def test_nothing_of_it_counts_as_damaged(old):
    lost = [finding.text for finding in damage.check(old, jobs=2)]
    assert not [text for text in lost if "psf_map" in text or "networks" in text]


def test_its_config_is_a_study_of_now(old):
    config = yaml.safe_load((old / "config.yaml").read_text())
    study = validate(config)
    assert study["map"] == config["map"] and study["networks"][0]["window_px"] == 96


def test_its_report_is_written_anew(old):
    assert read_study(old, []).present is not None
    page = write_page(old)
    assert "How much better" in page and "pictures" in page
