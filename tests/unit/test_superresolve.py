"""`isoplan superresolve`: files in, files out, and what cannot be used."""

from dataclasses import replace

import isoplan
import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from isoplan.applications.fluctuation import simulator
from isoplan.cli.arguments import main

SEEN = simulator.Settings(shape=(24, 28), frames=200)
STILL = replace(SEEN, off_frames=0.0, bleaching_frames=1e9)
OPTICS = ["--psf-fwhm-nm", "259", "--pixel-size-um", "0.1", "--offset", "100", "--gain", "2.17"]
OPTICS += ["--read-noise", "1.6"]


def run(path, out, *more: str, optics=OPTICS) -> int:
    return main(["superresolve", str(path), "-o", str(out), *optics, *more])


@pytest.fixture(scope="module")
def frames():
    return simulator.simulate(SEEN, 0)


def test_what_it_writes(frames, tmp_path, capsys):
    """From a compressed ImageJ stack of two channels, whose frames are the second."""
    both = np.stack([frames.counts // 2, frames.counts], axis=1)
    tifffile.imwrite(tmp_path / "a.ome.tif", both, metadata={"axes": "TCYX"}, compression="zlib")
    assert (
        run(tmp_path / "a.ome.tif", tmp_path / "fine.ome.zarr", "--channel", "1", "--halves") == 0
    )
    said = capsys.readouterr().out
    assert "fluctuate together in the PSF's shape" in said and "CAUTION" not in said
    store = zarr.open_group(tmp_path / "fine.ome.zarr", mode="r")
    picture = store["0"][:]
    assert picture.shape == (96, 112) and (picture >= 0).all()
    assert picture.sum() == pytest.approx(frames.truth.sum(), rel=0.15)
    place = store.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    assert place[0]["scale"] == [0.025, 0.025]
    # The middle of the first fine pixel lies before that of the first camera pixel.
    assert place[1]["translation"] == pytest.approx([-0.0375, -0.0375])
    beside = tmp_path / "fine-fluctuations"
    names = {"facts.csv", "lags.csv", "overview.png", "isoplan.json"}
    pictures = ("mean", "background", "information", "deconvolved", "first_half", "second_half")
    names |= {f"{name}.tif" for name in pictures}
    assert {file.name for file in beside.iterdir()} == names
    facts = pd.read_csv(beside / "facts.csv").set_index("fact")["value"]
    assert facts["superresolved"] == "True"
    assert float(facts["rate"]) == pytest.approx(0.75, rel=0.4)
    assert float(facts["rate_low"]) < float(facts["rate"]) < float(facts["rate_high"])
    halves = [tifffile.imread(beside / f"{name}_half.tif") for name in ("first", "second")]
    assert halves[0].shape == picture.shape and (halves[0] != halves[1]).any()
    for half in halves:
        assert half.sum() == pytest.approx(frames.truth.sum(), rel=0.25)
    # The mean of so few photons agrees better: agreement alone tells no resolution.
    assert 0.5 < float(facts["halves"]) < float(facts["halves_deconvolved"]) < 1
    assert "two halves of the sequence correlate" in said
    assert not list(tmp_path.glob(".*"))  # frames that were copied are gone


def test_the_function_gives_the_same(frames, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", frames.counts, imagej=True, metadata={"axes": "TYX"})
    assert run(tmp_path / "a.tif", tmp_path / "fine.ome.zarr") == 0
    known = {"pixel_size_um": 0.1, "psf_fwhm_nm": 259, "offset": 100, "gain": 2.17}
    made = isoplan.superresolve(frames.counts, quiet=True, read_noise_e=1.6, **known)
    store = zarr.open_group(tmp_path / "fine.ome.zarr", mode="r")
    np.testing.assert_array_equal(store["0"][:], made.picture)
    assert any("fluctuate together" in note for note in made.notes)
    assert "superresolve" in dir(isoplan)


def test_frames_out_of_order_are_told(frames):
    mixed = np.random.default_rng(0).permutation(frames.counts)
    known = {"pixel_size_um": 0.1, "psf_fwhm_nm": 259, "offset": 100, "gain": 2.17}
    made = isoplan.superresolve(mixed, quiet=True, read_noise_e=1.6, **known)
    assert any("not in their order" in note for note in made.notes)


def test_what_does_not_fluctuate_is_not_called_finer(tmp_path, capsys):
    still = simulator.simulate(STILL, 0)
    tifffile.imwrite(tmp_path / "still.tif", still.counts, imagej=True, metadata={"axes": "TYX"})
    assert run(tmp_path / "still.tif", tmp_path / "still.ome.zarr") == 0
    assert "CAUTION: NOT super-resolved" in capsys.readouterr().out
    attributes = zarr.open_group(tmp_path / "still.ome.zarr", mode="r").attrs["isoplan"]
    assert attributes["superresolved"] is False


@pytest.mark.parametrize(
    ("shape", "how", "optics", "words"),
    [
        ((24, 24), {}, OPTICS, "is one picture"),
        ((60, 24, 24, 3), {"photometric": "rgb"}, OPTICS, "in colours"),
        ((20, 24, 24), {}, OPTICS, "has 20 frames"),
        ((60, 24, 24), {}, OPTICS, "is constant"),
        ((60, 24, 24), {}, ["--psf-fwhm-nm", "259"], "does not tell its pixel size"),
        ((60, 24, 24), {}, ["--pixel-size-um", "0.1"], "NA and wavelength are not known"),
        ((60, 24, 24), {}, ["--psf-fwhm-nm", "20", "--pixel-size-um", "0.1"], "FWHM is 0.2 px"),
    ],
)
def test_what_cannot_be_used_is_one_line(shape, how, optics, words, tmp_path, capsys):
    tifffile.imwrite(tmp_path / "a.tif", np.full(shape, 7, np.uint8), **how)
    assert run(tmp_path / "a.tif", tmp_path / "fine.ome.zarr", optics=optics) == 1
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1, error
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"]


def test_an_offset_above_the_frames(tmp_path, capsys, frames):
    tifffile.imwrite(tmp_path / "a.tif", frames.counts, imagej=True, metadata={"axes": "TYX"})
    assert run(tmp_path / "a.tif", tmp_path / "fine.ome.zarr", "--offset", "900") == 1
    assert "above most of the frames" in capsys.readouterr().err


def test_saturated_frames(tmp_path, capsys, frames):
    cut = np.minimum(frames.counts, np.quantile(frames.counts, 0.97).astype(np.uint16))
    tifffile.imwrite(tmp_path / "a.tif", cut, imagej=True, metadata={"axes": "TYX"})
    assert run(tmp_path / "a.tif", tmp_path / "fine.ome.zarr") == 1
    assert "saturated" in capsys.readouterr().err


def test_a_result_is_not_replaced(tmp_path, capsys, frames):
    tifffile.imwrite(tmp_path / "a.tif", frames.counts, imagej=True, metadata={"axes": "TYX"})
    (tmp_path / "fine.ome.zarr").mkdir()
    (tmp_path / "fine.ome.zarr" / "mine.txt").write_text("mine")
    assert run(tmp_path / "a.tif", tmp_path / "fine.ome.zarr", "--overwrite") == 1
    assert "was not made by isoplan" in capsys.readouterr().err
    assert run(tmp_path / "a.tif", tmp_path / "fine.tif") == 1
    assert "must end in .ome.zarr" in capsys.readouterr().err
