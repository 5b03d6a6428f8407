"""The reference frame of a mosaic: shift and brightness found again, other fields refused."""

import json

import numpy as np
import pytest
import tifffile
from isoplan.base.errors import UserError
from isoplan.mosaic import ngff
from isoplan.mosaic.facts import Facts
from isoplan.mosaic.reader import open_mosaic
from isoplan.mosaic.table import read_table
from isoplan.registration import open_registered, register, shifted, write
from scipy import ndimage
from skimage import data


def scene(seed: int = 0) -> np.ndarray:
    """A camera picture of 512 px, or its mirror image turned by a seed's right angles: another field."""
    picture = data.camera().astype(np.float32)
    return picture if seed == 0 else np.rot90(picture[:, ::-1], seed).copy()


def moved(picture: np.ndarray, shift) -> np.ndarray:
    """What was at p lies at p + shift; exact for a band-limited periodic picture."""
    spectrum = ndimage.fourier_shift(np.fft.fft2(picture), shift)
    return np.fft.ifft2(spectrum).real.astype(np.float32)


@pytest.fixture
def open_picture(tmp_path):
    """array -> an open picture of it in a TIFF of tiles."""
    files = []

    def make(array):
        path = tmp_path / f"{len(files)}.tif"
        tifffile.imwrite(path, array, tile=(64, 64))
        files.append(open_mosaic(path))
        return files[-1]

    yield make
    for file in files:
        file.close()


@pytest.mark.parametrize("shift", [(0.0, 0.0), (3.4, -7.25), (-60.5, 41.0)])
def test_shift_and_brightness_are_found_of_a_blurred_and_noisy_frame(open_picture, shift):
    sharp = ndimage.gaussian_filter(scene(), 1)
    rng = np.random.default_rng(0)
    poor = 0.5 * ndimage.gaussian_filter(sharp, 3) + 40 + rng.normal(0, 4, sharp.shape)
    found = register(open_picture(poor.astype(np.float32)), open_picture(moved(sharp, shift)))
    assert found.shift == pytest.approx(shift, abs=0.15)
    assert found.gain == pytest.approx(0.5, rel=0.05)
    assert found.offset == pytest.approx(40, abs=5)
    assert found.notes == []


def test_another_field_and_a_reversed_contrast_are_refused(open_picture):
    sharp = ndimage.gaussian_filter(scene(), 1)
    for other in (ndimage.gaussian_filter(scene(1), 1), 255 - sharp, np.full_like(sharp, 7)):
        with pytest.raises(UserError, match="does not show the same field"):
            register(open_picture(sharp), open_picture(other))


@pytest.mark.parametrize("shift", [(0, 0), (5, -3)])
def test_a_copy_is_refused_in_other_units_and_cut_otherwise_too(open_picture, shift):
    sharp = scene()
    with pytest.raises(UserError, match="copy of the picture, pixel by pixel"):
        register(open_picture(sharp), open_picture(np.roll(2 * sharp + 100, shift, (0, 1))))
    again = sharp + np.random.default_rng(0).normal(0, 0.3, sharp.shape).astype(np.float32)
    assert register(open_picture(sharp), open_picture(again)).notes == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x, None),
        (lambda x: np.minimum(x, np.percentile(x, 80)), "of the reference is as bright"),
        (lambda x: 255 * (np.maximum(x, 0) / 255) ** 0.5, "brightness is no multiple"),
    ],
    ids=("as it was", "saturated", "gamma"),
)
def test_a_reference_that_does_not_count_light_is_told(open_picture, change, words):
    sharp = ndimage.gaussian_filter(scene(), 1)
    poor = ndimage.gaussian_filter(sharp, 3) + np.random.default_rng(0).normal(0, 4, sharp.shape)
    notes = register(open_picture(poor.astype(np.float32)), open_picture(change(sharp))).notes
    assert [note for note in notes if words in note] if words else notes == []


def test_a_turned_frame_is_noted(open_picture):
    sharp = ndimage.gaussian_filter(scene(), 1.5)
    turned = ndimage.rotate(sharp, 1.2, reshape=False, mode="nearest")
    found = register(open_picture(sharp), open_picture(turned))
    assert found.apart_px > 2
    assert "turned" in found.notes[0]


def test_shifted_windows_meet_and_agree_with_an_exact_shift(open_picture):
    smooth = ndimage.gaussian_filter(scene(), 3, mode="wrap")
    reference = open_picture(smooth)
    whole = shifted(reference, (slice(40, 200), slice(40, 200)), (2.3, -1.6))
    exact = moved(smooth, (-2.3, 1.6))[40:200, 40:200]
    np.testing.assert_allclose(whole, exact, atol=0.05)
    parts = [
        shifted(reference, (slice(40, 200), s), (2.3, -1.6))
        for s in (slice(40, 90), slice(90, 200))
    ]
    np.testing.assert_allclose(np.hstack(parts), whole, atol=1e-3)


def test_nothing_is_made_up_outside_the_reference(open_picture):
    picture = scene()
    picture[300, 300] = np.nan
    block = shifted(open_picture(picture), (slice(0, 512), slice(0, 512)), (10.5, 0))
    assert np.isnan(block[-10:]).all()
    assert np.isfinite(block[20:250]).all()
    assert np.isnan(block[289:291, 300]).any()


def test_written_and_read_again_in_the_mosaics_counts(tmp_path):
    sharp = ndimage.gaussian_filter(scene(), 1)
    tifffile.imwrite(
        tmp_path / "poor.tif", (2 * ndimage.gaussian_filter(sharp, 2) + 100).astype(np.uint16)
    )
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([0 * sharp, sharp]).astype(np.float32))
    facts = {
        "path": str(tmp_path / "poor.tif"), "slice": None, "channel": None, "height_px": 512, "width_px": 512,
        "reference": str(tmp_path / "stack.tif"), "reference_slice": 1,
    }  # fmt: skip
    found = write(tmp_path / "found.json", Facts(facts))
    assert found == json.loads((tmp_path / "found.json").read_text()) | {
        name: tuple(found[name]) for name in ("shift", "squares")
    }
    # The slice that was registered is read again, whatever would be chosen now.
    assert found["slice"] == 1
    with open_registered(tmp_path / "found.json", facts | {"reference_slice": None}) as reference:
        block = reference.read(100, 200, 50, 150)
    wanted = 2 * sharp[100:200, 50:150] + 100
    assert np.abs(block - wanted).max() < 0.1 * wanted.max()
    gone = write(tmp_path / "found.json", Facts(facts | {"reference": str(tmp_path / "gone.tif")}))
    assert "there is no such file" in gone["refused"]
    assert open_registered(tmp_path / "found.json", facts) is None


def test_ground_of_a_fused_reference_is_no_reference(tmp_path):
    sharp = scene() + 10
    tifffile.imwrite(tmp_path / "poor.tif", ndimage.gaussian_filter(sharp, 2))
    sharp[300:, 360:] = 0
    tifffile.imwrite(tmp_path / "fused.tif", sharp)
    facts = {
        "path": str(tmp_path / "poor.tif"), "slice": None, "channel": None, "height_px": 512, "width_px": 512,
        "reference": str(tmp_path / "fused.tif"),
    }  # fmt: skip
    assert write(tmp_path / "found.json", Facts(facts))["ground"]
    with open_registered(tmp_path / "found.json", facts) as reference:
        missing = np.isnan(reference.read(0, 512, 0, 512))
    assert missing[304:508, 364:508].all() and not missing[4:296, 4:508].any()


def test_a_slice_of_no_reference_is_a_mistake_in_the_table(tmp_path):
    table = tmp_path / "mosaics.tsv"
    table.write_text("mosaic\tpath\tpixel_size_um\treference_slice\na\ta.tif\t1\t3\n")
    with pytest.raises(UserError, match="line 2: reference_slice needs a reference"):
        read_table(table)


def test_a_reference_that_cannot_be_read_by_window_is_refused(tmp_path, monkeypatch):
    sharp = ndimage.gaussian_filter(scene(), 1)
    for name, picture in (("poor", ndimage.gaussian_filter(sharp, 2)), ("better", sharp)):
        tifffile.imwrite(tmp_path / f"{name}.tif", picture, compression="zlib", rowsperstrip=512)
    facts = {
        "path": str(tmp_path / "poor.tif"),
        "slice": None,
        "reference": str(tmp_path / "better.tif"),
    }
    assert "refused" not in write(tmp_path / "found.json", Facts(facts))
    monkeypatch.setattr("isoplan.mosaic.reader.HOLD_PX", 2**30)  # it is held no more
    monkeypatch.setattr("isoplan.mosaic.reader.PIECE_BYTES", 2**16)
    assert "convert" in write(tmp_path / "found.json", Facts(facts))["refused"]


@pytest.mark.parametrize("kind", ["tif", "zarr"])
@pytest.mark.parametrize("restored", [True, False])
def test_what_isoplan_restored_is_no_reference(tmp_path, kind, restored):
    """What it split or simulated is one, though isoplan wrote it."""
    sharp = ndimage.gaussian_filter(scene(), 1)
    tifffile.imwrite(tmp_path / "poor.tif", ndimage.gaussian_filter(sharp, 2))
    told = {"restoration": {}, "psf": {}} if restored else {"camera": {}}
    better = tmp_path / f"better.{kind}"
    if kind == "tif":
        made = {"description": json.dumps(told), "metadata": None} if restored else {}
        tifffile.imwrite(better, sharp, software="isoplan", **made)
    else:
        ngff.create_image(better, sharp.shape, dtype="float32", pixel_size_um=1.0, attributes=told)
        ngff.open_array(better, mode="r+")[:] = sharp
    facts = {"path": str(tmp_path / "poor.tif"), "slice": None, "reference": str(better)}
    found = write(tmp_path / "found.json", Facts(facts))
    if restored:
        assert found["refused"].startswith(f"{better}: is a restoration by isoplan")
    else:
        assert "refused" not in found
