"""Fusion of focus series: better than classical fusion in dim light, never worse, whatever the optics leave out."""

import isoplan
import numpy as np
import pytest
import tifffile
from isoplan.__main__ import main
from isoplan.applications.fusion import fuse, trials
from isoplan.base.errors import UserError
from isoplan.optics.defocus import Defocus

OPTICS = Defocus(0.3, 0.48, 0.32)


def fused(slices, z_um, optics=OPTICS):
    made, share = np.zeros(slices.shape[1:], np.float32), np.zeros(slices.shape[1:])
    fusion = fuse.Fusion(z_um, optics)

    def stack(y0, y1, x0, x1):
        return slices[:, y0:y1, x0:x1]

    for core in fusion.fuse(stack, made.shape, fusion.heights(stack, made.shape)):
        made[core.place], share[core.place] = core.picture, core.share
    return made, share


@pytest.mark.parametrize("spec", trials.SURFACES[:2], ids=lambda spec: spec["surface"])
def test_it_is_better_than_classical_fusion(spec):
    dim, bright = trials.gains("dead-leaves", spec, (100.0, 30000.0))
    assert dim["gain"] > 6 and dim["share"] > 0.9 and bright["gain"] > -0.1
    assert dim["classical"] > dim["slice"] - 1


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).poisson(200, (5, 600, 530)).astype(np.float32)


def test_cores_meet_without_seams(noise, monkeypatch):
    """The picture does not depend on how it was cut."""
    z = np.arange(5) * 4.0
    rough = noise[:, :300, :260]
    whole, _ = fused(rough, z)
    monkeypatch.setattr(fuse, "CORE_PX", 128)
    monkeypatch.setattr(fuse, "AT_ONCE", 15)
    parts, _ = fused(rough, z)
    assert whole.shape == (300, 260) and np.abs(whole - parts).max() < 1e-2


def test_empty_ground_stays_level(noise):
    made, share = fused(noise, np.arange(5) * 4.0)
    assert abs(made.mean() - 200) < 0.5 and made.std() < noise[0].std() / 2 and share.mean() > 0.9


def test_slices_that_do_not_belong_together_are_taken_as_they_are():
    """Of other optics, and of another scene each: every pixel is that of a slice."""
    rng = np.random.default_rng(1)
    slices = rng.uniform(100, 1e5, (4, 80, 80)).repeat(8, 1)[:, :200].repeat(8, 2)[:, :, :200]
    slices = (slices + rng.normal(0, 5, slices.shape)).astype(np.float32)
    made, share = fused(slices, np.arange(4) * 4.0)
    assert share.mean() < 0.1
    assert np.median(np.abs(made - fuse.sharpest_pixels(slices))) < 0.06 * slices.std()


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    file = tmp_path_factory.mktemp("fusion") / "series.tif"
    rng = np.random.default_rng(2)
    slices = rng.poisson(rng.uniform(20, 200, (150, 170)), (4, 150, 170)).astype(np.uint16)
    tifffile.imwrite(file, slices, imagej=True, metadata={"axes": "ZYX"})
    return file


OPTIONS = ["--na", "0.3", "--wavelength-um", "0.48", "--pixel-size-um", "0.32"]


def test_the_command_writes_a_picture(series, tmp_path, capsys):
    out = tmp_path / "fused"
    command = ["fuse", str(series), "--step-um", "4", *OPTIONS, "-o", str(out)]
    assert main(command) == 0
    assert "in focus from" in capsys.readouterr().out
    picture, share, heights = (
        tifffile.imread(out / f"{n}.tif") for n in ("fused", "share", "heights")
    )
    assert picture.shape == share.shape == (150, 170) and heights.shape == (5, 6)
    assert picture.dtype == np.float32 and 0 <= share.min() <= share.max() <= 1.001
    assert (out / "fused.png").is_file() and (out / "heights.png").is_file()
    slices = tifffile.imread(series)
    made = isoplan.fuse(slices, np.arange(4) * 4.0, na=0.3, wavelength_um=0.48, pixel_size_um=0.32)
    for own, file in ((made.picture, picture), (made.share, share), (made.z_um, heights)):
        np.testing.assert_array_equal(own, file)
    with pytest.raises(UserError, match="3 positions and 4 slices"):
        isoplan.fuse(slices, [0, 4, 8], na=0.3, wavelength_um=0.48, pixel_size_um=0.32)
    assert main(command) != 0 and "already exists" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (["--step-um", "0", *OPTIONS], "distance from slice to slice"),
        (["--step-um", "4"], "give --na"),
        (["--step-um", "4", "--slice", "1", *OPTIONS], "all slices are fused"),
        (["--z-um", "z.txt", *OPTIONS], "rise or fall all along"),
    ],
)
def test_wrong_series_are_refused(series, tmp_path, monkeypatch, capsys, more, word):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "z.txt").write_text("0 4 4 8")
    assert main(["fuse", str(series), *more, "-o", "out"]) != 0
    assert word in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_one_picture_is_no_series(tmp_path, capsys):
    tifffile.imwrite(tmp_path / "one.tif", np.ones((90, 90), np.uint16))
    assert main(["fuse", str(tmp_path / "one.tif"), "--step-um", "1", *OPTIONS, "-o", "x"]) != 0
    assert "one slice" in capsys.readouterr().err


def test_slices_far_apart_are_told(series, tmp_path, capsys):
    assert (
        main(["fuse", str(series), "--step-um", "20", *OPTIONS, "-o", str(tmp_path / "out")]) == 0
    )
    assert "CAUTION: slices are 3.8 depths of field apart" in capsys.readouterr().out
