"""Zeros where no tile was are no picture; zeros that a camera, a threshold or a mask made are left alone."""

import numpy as np
import pytest
import tifffile
from isoplan.mosaic.ground import Grounded, ground_of, share_of_ground, without_ground
from isoplan.mosaic.measure import measure
from isoplan.mosaic.reader import open_mosaic, open_row
from isoplan.restoration.in_memory import Counts
from scipy.ndimage import gaussian_filter

SHAPE = (400, 420)
Y, X = np.indices(SHAPE)


def exposed(seed=0, offset=100):
    """Discs of many sizes, blurred, with photon and read noise, never 0."""
    rng = np.random.default_rng(seed)
    scene = np.full(SHAPE, 0.02)
    for _ in range(90):
        r, at = rng.uniform(1.5, 14), rng.uniform(0, 400, 2)
        scene[(Y - at[0]) ** 2 + (X - at[1]) ** 2 < r * r] += rng.uniform(0.1, 1)
    light = rng.poisson(900 * gaussian_filter(scene, 1.8))
    return (light + offset + rng.normal(0, 2, SHAPE).round()).astype(np.uint16)


FUSED = {
    "tiles that did not quite meet": (Y >= 200) & (Y < 208),
    "a ragged outline": (Y < 120) & (X >= 150) | (Y > 380) | (X < 20),
    "tiles like a chessboard": ((Y // 80 + X // 80) % 2).astype(bool),
    "a turned picture": Y > 380 - 0.25 * X,
    "a chunk that was never written": (Y >= 128) & (Y < 192) & (X >= 64) & (X < 128),
}


@pytest.mark.parametrize("offset", [100, 20])
@pytest.mark.parametrize("outline", FUSED.values(), ids=FUSED)
def test_zeros_where_no_tile_was_are_ground(outline, offset):
    picture = np.where(outline, 0, exposed(offset=offset))
    picture[250, 300] = 0  # a dead pixel
    for dtype in ("uint16", "float32"):
        assert share_of_ground(Counts(picture.astype(dtype)), 128) == pytest.approx(outline.mean(), rel=0.02)  # fmt: skip
    found = without_ground(Counts(picture.astype(np.uint16)))
    assert "of the picture is ground, zeros where no tile was" in found.notes[-1]
    read, covered = found.read(0, *SHAPE[:1], 0, SHAPE[1]), found.covered(0, 400, 0, 420)
    assert (np.isnan(read) == ~covered).all() and (np.isnan(read) != outline).mean() < 1e-3
    np.testing.assert_array_equal(read[covered], picture[covered])
    for window in [(0, 57, 0, 60), (100, 260, 30, 170), (190, 215, 0, 420), (373, 400, 300, 420)]:
        y0, y1, x0, x1 = window  # the same in every window
        np.testing.assert_array_equal(found.read(*window), read[y0:y1, x0:x1])


def camera_zeros():
    rng = np.random.default_rng(1)
    picture = exposed().astype(int)
    smooth = gaussian_filter(picture.astype(float), 2)
    disc = np.where((Y - 200) ** 2 + (X - 200) ** 2 < 80**2, 5000.0, 0.0)
    for offset in (105, 130, 200, 400):
        yield f"clipped at {offset}", (picture - offset).clip(0)
        yield f"cut off below {offset}", np.where(picture < offset, 0, picture)
        yield f"masked where smooth below {offset}", np.where(smooth < offset, 0, picture)
    for blur in (0.7, 3):
        yield f"photons on black, blur {blur}", rng.poisson(gaussian_filter(disc, blur))
        yield f"black without noise, blur {blur}", np.rint(gaussian_filter(disc, blur))
    for size in (10, 40):
        cells = gaussian_filter(rng.random(SHAPE), size)
        yield f"masked cells {size}", np.where(cells > np.median(cells), picture, 0)
    yield "nothing but zeros", np.zeros(SHAPE)
    yield "no zero at all", picture
    yield "a small square", np.where((abs(Y - 50) < 7) & (abs(X - 50) < 7), 0, picture)
    yield "negative", np.where(Y < 50, 0, picture - 150)


@pytest.mark.parametrize(("picture"), [p for _, p in camera_zeros()], ids=[n for n, _ in camera_zeros()])  # fmt: skip
def test_zeros_of_a_camera_are_picture(picture):
    mosaic = Counts(picture.astype(np.float32))
    assert share_of_ground(mosaic, 128) == 0
    assert without_ground(mosaic) is mosaic


def test_a_block_knows_as_much_as_the_picture():
    rng = np.random.default_rng(3)
    picture = (gaussian_filter(rng.random((120, 130)), 3) > 0.5).astype(np.float32)
    picture[30:70, 20:90] = 0
    whole = ground_of(picture)
    assert whole.any() and not whole.all()
    np.testing.assert_array_equal(ground_of(picture[10:90, 15:115])[16:-16, 16:-16], whole[26:74, 31:99])  # fmt: skip


def test_a_fused_file_is_measured_without_its_ground(tmp_path):
    picture, outline = exposed(), FUSED["a ragged outline"]
    tifffile.imwrite(tmp_path / "a.tif", np.where(outline, 0, picture), photometric="minisblack")
    with open_mosaic(tmp_path / "a.tif") as mosaic:
        facts = measure(without_ground(mosaic))
    assert facts["uncovered_pixels"] == outline.sum() and facts["nonfinite_pixels"] == 0
    assert facts["minimum"] == picture[~outline].min()
    assert facts["mean"] == pytest.approx(picture[~outline].mean())
    with open_row({"path": str(tmp_path / "a.tif"), "ground": True}) as mosaic:
        assert isinstance(mosaic, Grounded)
    with open_row({"path": str(tmp_path / "a.tif"), "ground": False}) as mosaic:
        assert not isinstance(mosaic, Grounded)
