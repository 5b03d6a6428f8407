"""`enhance`: a picture of any size window by window, what its counts speak against, and bad input."""

import numpy as np
import pytest
import tifffile
import torch
from isoplan.applications.enhancement import whole
from isoplan.applications.enhancement.filters import Camera
from isoplan.applications.enhancement.networks import Enhancer, statistics
from isoplan.applications.enhancement.planted import planted
from isoplan.applications.enhancement.second import Second, matched
from isoplan.applications.enhancement.unet import UNet
from isoplan.cli.arguments import main
from isoplan.mosaic import ngff
from isoplan.mosaic.reader import open_mosaic
from isoplan.mosaic.tiles import shards
from isoplan.networks import store


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A network that gives its Gaussian alone, nearly."""
    torch.manual_seed(0)
    network = UNet(width=4, levels=3)
    torch.nn.init.normal_(network.last.weight, std=0.05)
    card = {"architecture": "unet", "width": 4, "levels": 3, "turns": 8, "name": "small"}
    file = tmp_path_factory.mktemp("weights") / "small.safetensors"
    store.save(file, network, {"task": "enhancement", "network": card, "fields": 3})
    return file


def counts(shape, seed: int = 0) -> np.ndarray:
    """Blobs of light behind a detector of 2 counts an electron."""
    rng = np.random.default_rng(seed)
    light = 40 + 100 * np.kron(
        rng.random((-(-shape[0] // 16), -(-shape[1] // 16))), np.ones((16, 16))
    )
    return (2 * rng.poisson(light[: shape[0], : shape[1]])).astype(np.uint16)


def test_windows_give_the_whole(weights, tmp_path):
    picture = counts((331, 270))
    file = tmp_path / "old.tif"
    tifffile.imwrite(file, picture)
    enhancer, camera = Enhancer.load(weights), Camera(2.0)
    with open_mosaic(file) as mosaic:
        level = whole.Level.of(mosaic)
        made, doubt = found = np.zeros((2, *picture.shape), np.float32)
        for core in shards(picture.shape, 96):
            found[:, *core] = whole.core_of(mosaic, [enhancer], level, camera, core)
            alone = whole.core_of(mosaic, [enhancer], level, None, core)
            assert alone.shape[0] == 1 and np.abs(alone - made[core]).max() < 1e-3
    assert (level.mean, level.noise) == pytest.approx(statistics(picture), rel=1e-6)
    assert level.spread == pytest.approx(picture.std(), rel=1e-6)
    at_once = enhancer.apply(picture, level.mean, level.noise)
    assert np.abs(made - at_once).max() < 1e-3
    assert np.abs(doubt - whole.doubts(picture, at_once, camera)).max() < 0.02


def test_the_command(weights, tmp_path, capsys):
    picture = counts((150, 180)).astype(np.float32)
    picture[10:20, 30:40] = np.nan
    tifffile.imwrite(tmp_path / "old.tif", picture)
    out = tmp_path / "new.ome.zarr"
    asked = ["enhance", str(tmp_path / "old.tif"), "--network", str(weights), "-o", str(out)]
    assert main([*asked, "--gain", "2", "--read-noise", "0"]) == 0
    told = capsys.readouterr().out
    assert "the input's counts speak against" in told and "learnt from 3 fields" in told
    made = ngff.open_array(out, "0")[:]
    assert np.array_equal(np.isnan(made), np.isnan(picture))
    assert np.nanmean(made) == pytest.approx(np.nanmean(picture), rel=0.03)
    assert ngff.open_array(tmp_path / "new-doubts.ome.zarr", "0").shape == picture.shape
    assert (tmp_path / "new-preview.png").read_bytes().startswith(b"\x89PNG")
    before = (tmp_path / "old.tif").read_bytes()
    assert main(asked) == 1  # results are there
    # Where nothing tells the camera, there are no doubts, and no more is missing.
    tifffile.imwrite(tmp_path / "flat.tif", np.kron([[0, 1], [2, 3]], np.ones((32, 32), np.uint8)))
    alone = tmp_path / "alone.ome.zarr"
    flat = ["enhance", str(tmp_path / "flat.tif"), "--network", str(weights), "-o", str(alone)]
    capsys.readouterr()
    assert main(flat) == 0
    assert "give the gain" in capsys.readouterr().out and alone.is_dir()
    assert not (tmp_path / "alone-doubts.ome.zarr").exists()
    # Doubts of the picture that it replaces do not stay beside another one.
    assert main([*flat, "--overwrite", "--gain", "1"]) == 0
    assert (tmp_path / "alone-doubts.ome.zarr").is_dir()
    assert main([*flat, "--overwrite"]) == 0
    assert not (tmp_path / "alone-doubts.ome.zarr").exists()
    assert main([*asked[:-1], str(tmp_path / "old.tif"), "--overwrite"]) == 1
    assert (tmp_path / "old.tif").read_bytes() == before


def test_a_second_exposure_tells_noise_that_was_taken_for_structure(weights, tmp_path, capsys):
    """The picture as it is, by a network that changes nothing, agrees with its own counts, and not with another exposure's."""
    shape, move = (200, 230), (3, -2)
    light = 40 + 100 * np.kron(np.random.default_rng(0).random((15, 17)), np.ones((16, 16)))
    rng, (h, w) = np.random.default_rng(1), shape
    seen = 2 * rng.poisson(light[:h, :w])
    moved = np.roll(light[:h, :w], move, (0, 1))
    again = 2 * rng.poisson(0.5 * moved)  # half the exposure, a little away
    for name, counts_ in (("old", seen), ("again", again), ("other", counts((180, 230)))):
        tifffile.imwrite(tmp_path / f"{name}.tif", counts_.astype(np.uint16))
    with open_mosaic(tmp_path / "old.tif") as one, open_mosaic(tmp_path / "again.tif") as two:
        match, words = matched(one, two, (seen.mean(), again.mean()))
        assert match.shift == move and match.brightness == pytest.approx(0.5, rel=0.02)
        assert "has 0.5" in words
        second, window = Second(two, match), (slice(0, h), slice(0, w))
        truth, noisy = (
            whole.doubted_by(second, window, made, Camera(2.0))
            for made in (2 * light[:h, :w], seen.astype(float))
        )
        assert np.isnan(truth[-1]).all() and np.isnan(truth[:, 0]).all()  # beyond the second
        inner = (slice(10, -10), slice(10, -10))
        assert (np.abs(truth[inner]) > whole.DOUBTED).mean() < 5e-3
        ratio = np.std(noisy[inner]) / np.std(truth[inner])
        assert ratio == pytest.approx(1.5**0.5, rel=0.04)  # its noise beside that of half the light
        assert not whole.doubts(seen, seen.astype(float), Camera(2.0)).any()
    out = tmp_path / "new.ome.zarr"
    asked = ["enhance", str(tmp_path / "old.tif"), "--network", str(weights), "-o", str(out)]
    known = ["--gain", "2", "--read-noise", "0"]
    assert main([*asked, *known, "--second", str(tmp_path / "again.tif")]) == 0
    assert "the second exposure's counts speak against" in capsys.readouterr().out
    assert np.isnan(ngff.open_array(tmp_path / "new-doubts.ome.zarr", "0")[-1]).all()
    for name, words in (("other", "has another size"), ("old", "is a copy of the picture")):
        assert main([*asked, *known, "--overwrite", "--second", str(tmp_path / f"{name}.tif")]) == 1
        assert words in capsys.readouterr().err


def test_several_networks_give_their_mean_and_where_they_differ(weights, tmp_path, capsys):
    torch.manual_seed(1)
    other = UNet(width=4, levels=2)
    torch.nn.init.normal_(other.last.weight, std=0.05)
    card = {"architecture": "unet", "width": 4, "levels": 2, "turns": 1, "name": "other"}
    file = tmp_path / "other.safetensors"
    store.save(file, other, {"task": "enhancement", "network": card, "fields": 5})
    picture = counts((120, 150))
    tifffile.imwrite(tmp_path / "old.tif", picture)
    asked = ["enhance", str(tmp_path / "old.tif"), "--gain", "2", "--network"]
    assert (
        main([*asked, str(weights), "--network", str(file), "-o", str(tmp_path / "both.ome.zarr")])
        == 0
    )
    assert "the networks are" in capsys.readouterr().out
    made, apart = (
        ngff.open_array(tmp_path / f"both{end}.ome.zarr", "0")[:] for end in ("", "-apart")
    )
    level, noise = statistics(picture)
    ones = [Enhancer.load(name).apply(picture, level, noise) for name in (weights, file)]
    assert np.abs(made - np.mean(ones, axis=0)).max() < 1e-2
    assert np.abs(apart - np.abs(ones[0] - ones[1]) / np.sqrt(2) / noise).max() < 1e-3
    assert main([*asked, str(weights), "--overwrite", "-o", str(tmp_path / "both.ome.zarr")]) == 0
    assert not (tmp_path / "both-apart.ome.zarr").exists()


def test_a_defect_is_told(weights, tmp_path, capsys):
    picture = counts((300, 400))
    picture[1::2] = np.roll(picture[1::2], 2, axis=1)
    tifffile.imwrite(tmp_path / "old.tif", picture)
    asked = ["enhance", str(tmp_path / "old.tif"), "--network", str(weights), "--gain", "2"]
    assert main([*asked, "-o", str(tmp_path / "new.ome.zarr")]) == 0
    assert "CAUTION: every second line is shifted by 2.0 px" in capsys.readouterr().out


def test_bad_input_is_refused(weights, tmp_path, capsys):
    tifffile.imwrite(tmp_path / "flat.tif", np.full((64, 64), 7, np.uint8))
    tifffile.imwrite(tmp_path / "old.tif", counts((64, 64)))
    (tmp_path / "text.safetensors").write_text("no network")

    def said(picture, network, out="new.ome.zarr"):
        asked = [str(tmp_path / picture), "--network", str(network), "-o", str(tmp_path / out)]
        assert main(["enhance", *asked]) == 1
        assert not (tmp_path / "new.ome.zarr").exists()
        return capsys.readouterr().err

    assert "is constant" in said("flat.tif", weights)
    assert "not a readable safetensors file" in said("old.tif", tmp_path / "text.safetensors")
    assert "no such network" in said("old.tif", tmp_path / "none.safetensors")
    assert "must end in .ome.zarr" in said("old.tif", weights, "new.tif")


def test_doubts_are_calibrated_on_the_truth():
    rng = np.random.default_rng(3)
    light = 20 + 60 * np.kron(rng.random((16, 16)), np.ones((16, 16)))
    camera = Camera(gain=3.0, offset=10.0, read_noise_e=1.5)
    seen = 3.0 * (rng.poisson(light) + 1.5 * rng.normal(size=light.shape)) + 10
    found = whole.doubts(seen, 3 * light + 10, camera)
    assert (np.abs(found) > whole.DOUBTED).mean() < 2e-3
    assert 0.9 < found.std() < 1.5  # the farthest from 0 of three widths
    drift = 5 * np.sin(np.arange(256) / 60)[:, None]
    slow = whole.doubts(seen + drift, 3 * light + 10, camera)
    assert (np.abs(slow) > whole.DOUBTED).mean() < 2e-3


def test_planted_spots_are_found_and_nothing_else():
    rng = np.random.default_rng(4)
    light = 30 + 120 * np.kron(rng.random((32, 32)) < 0.1, np.ones((8, 8)))
    told = planted(2 * rng.poisson(light), 2 * light, Camera(2.0))
    assert told["planted-found"] >= told["planted-told"] > 0.8 and told["planted-false"] < 0.05
    assert planted(np.ones((20, 20)), np.ones((20, 20)), Camera()) == {}
