"""Networks that enhance: windows agree with the whole, training learns and resumes, and what cannot be is refused."""

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from isoplan.applications.enhancement import fields, published, report, scores, trials
from isoplan.applications.enhancement.networks import Enhancer, statistics
from isoplan.applications.enhancement.task import Enhancement
from isoplan.applications.enhancement.unet import UNet
from isoplan.base.errors import UserError
from isoplan.config.validation import validate
from isoplan.networks import store
from isoplan.training.loop import train

PAIRS = {
    "name": "made",
    "kinds": ["filaments"],
    "train_mosaics": 3,
    "test_mosaics": 1,
    "mosaic_px": 128,
    "field_px": 64,
    "methods": ["gaussian"],
    "networks": ["small"],
}
SMALL = {"name": "small", "trained_on": "made", "width": 4, "levels": 2, "patch_px": 32, "turns": 1}
SMALL |= {"samples": 160, "epoch_samples": 40, "batch": 4}


def study(**keys) -> dict:
    pairs = PAIRS | {"networks": [keys.get("name", "small")]}
    return validate({"enhancements": [pairs], "enhancers": [SMALL | keys]})


def task(tmp_path, **keys) -> Enhancement:
    made = study(**keys)
    pairs, spec = made["enhancements"][0], made["enhancers"][0]
    file = tmp_path / "choice.json"
    layout = asdict(fields.lay_out(pairs, 0))
    file.write_text(json.dumps({"layout": layout}))
    cpu = torch.device("cpu")
    return Enhancement.of_config({"enhancement": pairs}, spec, seed=0, device=cpu, validation=file)


def enhancer(turns: int = 1, bridges: bool = True) -> Enhancer:
    torch.manual_seed(0)
    network = UNet(width=4, levels=3, bridges=bridges).eval()
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return Enhancer(network, {"network": {"turns": turns}})


@pytest.mark.parametrize(("bridges", "turns"), [(True, 1), (False, 1), (True, 8)])
def test_windows_agree_with_the_whole(bridges, turns):
    made = enhancer(turns, bridges)
    picture = np.random.default_rng(0).normal(size=(210, 187)).astype(np.float32)
    level, spread = statistics(picture)
    whole = made.apply(picture, level, spread)
    halo = made.network.halo_px
    window = made.apply(picture[16:208, 20:], level, spread)  # of multiples of 4, as levels are
    inner = slice(halo, 192 - halo), slice(halo, -1)
    at = slice(16 + halo, 208 - halo), slice(20 + halo, -1)
    assert np.abs(window[inner] - whole[at]).max() < 1e-4 * np.abs(whole).max()
    beside = made.apply(picture[17:209, 20:], level, spread)[inner]
    assert np.abs(beside - whole[17 + halo : 209 - halo, at[1]]).max() > 1e-3


def test_orientations_are_averaged():
    made = enhancer(turns=8)
    picture = np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32)
    once = made.apply(picture, 0.0, 1.0)
    np.testing.assert_allclose(
        made.apply(picture.T, 0.0, 1.0), once.T, atol=1e-4 * np.abs(once).max()
    )


def test_counts_may_be_of_any_scale():
    made = enhancer()
    picture = np.random.default_rng(2).normal(size=(40, 50))
    one = made.apply(picture, *statistics(picture))
    scaled = 300 * picture + 7000
    other = made.apply(scaled, *statistics(scaled))
    np.testing.assert_allclose(other, 300 * one + 7000, rtol=1e-3, atol=1)
    flat = np.full((40, 40), 5.0)
    assert np.isfinite(made.apply(flat, *statistics(flat))).all()


@pytest.mark.parametrize("adversarial", [0, 0.1])
def test_training_learns_and_resumes_exactly(tmp_path, adversarial):
    folders = [tmp_path / name for name in ("through", "broken")]
    keys = {"adversarial": adversarial}
    assert train(task(tmp_path, **keys), folders[0])
    for _ in range(3):
        assert not train(task(tmp_path, **keys), folders[1], stop_after_s=0)
    assert train(task(tmp_path, **keys), folders[1])
    one, other = (store.read(folder / "network.safetensors")[1] for folder in folders)
    assert all(torch.equal(one[key], other[key]) for key in one)
    history = (folders[0] / "history.csv").read_text().splitlines()
    assert len(history) == 5
    told = pd.read_csv(folders[0] / "history.csv")["critic_loss"]
    assert (told > 0).all() == bool(adversarial)
    made = Enhancer.load(folders[0] / "network.safetensors")
    assert made.card["fields"] == 10 and made.card["mosaics"] == 3
    pairs = study()["enhancements"][0]
    layout = fields.lay_out(pairs, 0)
    gains = []
    for place in layout.test:
        pair = fields.read(pairs, layout, place, 0)
        result = made.apply(pair.low, *statistics(pair.low))
        own, raw = (scores.against(one, pair.high)["PSNR"] for one in (result, pair.low))
        gains.append(own - raw)
    assert min(gains) > 1


def test_fields_take_turns_where_not_all_are_held(tmp_path):
    made = task(tmp_path, held_fields=4)
    shown = [{id(pair) for pair in made._held(epoch)} for epoch in range(3)]
    assert all(len(one) == 4 for one in shown) and not shown[0] & shown[1]


def test_what_cannot_be_is_refused(tmp_path):
    with pytest.raises(UserError, match="patch_px 96 is more than the 64 px"):
        task(tmp_path, patch_px=96)
    file = tmp_path / "other.safetensors"
    spec = study(architecture="autoencoder")["enhancers"][0]
    store.save(file, UNet(4, 2, bridges=False), {"task": "enhancement", "network": spec})
    with pytest.raises(UserError, match="has the architecture autoencoder, but small wants unet"):
        Enhancement.take(file, {}, study()["enhancers"][0])
    store.save(file, UNet(4, 2), {"task": "enhancement", "network": spec})
    with pytest.raises(UserError, match="weights do not fit its card"):
        Enhancer.load(file)
    released = Path(__file__).parents[2] / "resources/models/gaussian-2.safetensors"
    with pytest.raises(UserError, match="is a network for psf-regression, not for enhancement"):
        Enhancer.load(released)
    for keys, words in (
        ({"name": "gaussian"}, "is the name of a filter"),
        ({"trained_on": None}, "is missing; name an entry of enhancements"),
        ({"trained_on": "nothing"}, "no entry of enhancements"),
    ):
        with pytest.raises(UserError, match=words):
            study(**keys)


def test_a_network_that_is_worse_than_the_filter_is_told():
    rng, rows = np.random.default_rng(0), []
    for mosaic in "abcd":
        for field in "012":
            level = 20 + rng.normal()
            for method, more in (("raw", 0), ("gaussian", 5), ("worse", 4), ("better", 6)):
                made = level + more + 0.1 * rng.normal()
                rows.append(("made", mosaic, field, method, "PSNR", made))
    tables = {
        report.TABLE: pd.DataFrame(rows, columns=trials.COLUMNS),
        report.SETTINGS_TABLE: pd.DataFrame(
            [("made", "gaussian", "sigma_px", 2.0, 9.0, True, False)], columns=trials.SETTINGS
        ),
    }
    entries = [{"name": "made", "networks": ["worse", "better"]}]
    seen = SimpleNamespace(config={"enhancements": entries}, table=tables.get)
    told = [caution.text for caution in report.cautions(seen)]
    assert len(told) == 1 and "worse is farther from the target than Gaussian" in told[0]
    short, full = report.headline(seen, entries[0])
    assert short == "worse brings the input nearer to the target" and "+4.0" in full


def test_published_gains_stand_beside_those_of_the_same_kind():
    rows = pd.DataFrame(
        [
            ("made", "a", "0", method, metric, value)
            for method, psnr, ssim in (("raw", 20.0, 0.2), ("unet", 26.0, 0.6), ("gan", 24.0, 0.5))
            for metric, value in (("PSNR", psnr), ("SSIM", ssim))
        ],
        columns=trials.COLUMNS,
    )
    config = {
        "report": {"published": published.NAME},
        "enhancers": [{"name": "unet"}, {"name": "gan", "adversarial": 0.1}],
    }
    part = published.part(SimpleNamespace(config=config), "made", rows)[0]
    texts = {line[0].text: [cell.text for cell in line[1:]] for line in part.tables[0][1].rows}
    assert texts["Pix2Pix"] == ["+0.92", "+0.308", "+4.00", "+0.300", "gan"]
    assert texts["CycleGAN"][2:] == [report.style.fixed(None)] * 3
    assert published.part(SimpleNamespace(config={"report": None}), "made", rows) == []


def test_networks_stand_beside_the_filter_that_training_prefers():
    rows = []
    for mosaic in "abcd":
        for method, psnr, doubted in (("raw", 20, None), ("gaussian", 25, 0.01), ("net", 26, 0.02)):
            rows.append(("made", mosaic, "0", method, "PSNR", psnr + 0.1 * ord(mosaic)))
            rows.append(("made", mosaic, "0", method, "SSIM", psnr / 100))
            if doubted:
                rows.append(("made", mosaic, "0", method, "doubted", doubted))
    settings = [("made", "gaussian", "sigma_px", 2.0, 9.0, True, False)]
    tables = {
        report.TABLE: pd.DataFrame(rows, columns=trials.COLUMNS),
        report.SETTINGS_TABLE: pd.DataFrame(settings, columns=trials.SETTINGS),
    }
    entry = {"name": "made", "networks": ["net"]}
    seen = SimpleNamespace(config={"enhancements": [entry]}, table=tables.get)
    title, table = report.network_table(seen, entry)
    assert "over Gaussian" in title and len(table.head) == 3 + len(report.SHARES)
    none = report.style.fixed(None)
    texts = {line[0].text: [cell.text for cell in line[1:]] for line in table.rows}
    assert texts["Gaussian"] == [none, none, "1.0", *4 * [none]]
    assert texts["net"][0].startswith("+1.00") and texts["net"][2:] == ["2.0", *4 * [none]]
    assert report.network_table(seen, {"name": "made"}) is None
