"""Scenes: pure functions of their index, in range, and sharp at the pixel."""

import numpy as np
import pytest
import tifffile
import torch
from isoplan.base.errors import UserError
from isoplan.config.schema import schema
from isoplan.objects import pictures
from isoplan.objects.fields import View, coverage, distance_to_level, smooth
from isoplan.objects.scenes import KINDS, SOFT, SYNTHETIC, draw_scenes
from isoplan.objects.shapes import Canvas
from skimage.io import imsave


def spec(*kinds, **changes):
    return {
        "name": "test",
        "kinds": list(kinds),
        "folder": None,
        "zoom": [0.27, 2.7],
        "reduce": 2,
        **changes,
    }


@pytest.fixture
def folder(tmp_path):
    for i in range(20):
        noise = np.random.default_rng(i).integers(0, 256, (70, 90), dtype=np.uint8)
        imsave(tmp_path / f"{i}.png", noise, check_contrast=False)
    return tmp_path


def test_a_scene_depends_on_its_index_alone(folder):
    every = spec(*KINDS, folder=str(folder))
    together = draw_scenes(every, 30, 96, seed=3, stream="validation")
    one_by_one = [
        draw_scenes(every, 1, 96, seed=3, stream="validation", first=i) for i in range(30)
    ]
    assert torch.equal(together, torch.cat(one_by_one))
    assert not torch.equal(together, draw_scenes(every, 30, 96, seed=3, stream="train"))
    assert not torch.equal(together, draw_scenes(every, 30, 96, seed=4, stream="validation"))


@pytest.mark.parametrize("kind", [*SYNTHETIC, *SOFT, "mixtures", "pictures"])
def test_scenes_lie_between_0_and_about_1_and_differ(kind):
    scenes = draw_scenes(spec(kind), 12, 128, seed=1, stream="s")
    assert scenes.shape == (12, 128, 128) and scenes.dtype == torch.float32
    assert scenes.isfinite().all() and scenes.min() >= 0 and scenes.max() <= 1.25
    assert (scenes.amax((1, 2)) - scenes.amin((1, 2)) > 0.2).all()
    assert len({float(s.mean()) for s in scenes}) == 12


@pytest.mark.parametrize("kind", ["syn", "poi", "filaments", "dead-leaves"])
def test_zooming_in_does_not_blur(kind):
    """The steepest steps take one pixel or two at any zoom, as in a scene that is not zoomed."""
    for zoom in (0.5, 1.0, 2.7):
        scenes = draw_scenes(spec(kind, zoom=[zoom, zoom]), 10, 128, seed=2, stream="s")
        span = scenes.amax((1, 2)) - scenes.amin((1, 2))
        step = scenes.diff(dim=2).abs().amax((1, 2)) / span
        assert step.median() > 0.4, (kind, zoom)


@pytest.mark.parametrize("kind", SOFT)
def test_soft_scenes_are_soft_by_themselves(kind):
    """Far less power at the highest frequencies than sharp scenes have, beside all of theirs."""

    def fine(kinds):
        scenes = draw_scenes(spec(*kinds, zoom=[1, 1]), 24, 128, seed=5, stream="s")
        power = torch.fft.rfft2(scenes - scenes.mean((1, 2), keepdim=True)).abs().square()
        return (power[:, 44:84].sum((1, 2)) / power.sum((1, 2))).median()

    assert fine([kind]) < 0.2 * fine(["syn", "poi", "filaments", "dead-leaves"])


def test_stretched_edges_stay_one_pixel_wide():
    canvas = Canvas(101, np.zeros((101, 101), np.float32), 0.0)
    _, distance = canvas.window(np.array([50.0, 50.0]), np.diag([40.0, 10.0]), False)
    share = coverage(distance)
    assert share.sum() == pytest.approx(np.pi * 400, rel=0.01)
    middle = share[share.shape[0] // 2]
    assert ((middle > 0.01) & (middle < 0.99)).sum() <= 4


def test_a_fields_contour_is_sharp_and_its_geometry_follows_the_view():
    generator = torch.Generator().manual_seed(0)
    field = smooth(256, View(zoom=2, stretch=3, angle=0), generator, 8, 3)
    edge = coverage(distance_to_level(field))
    assert ((edge > 0.02) & (edge < 0.98)).float().mean() < 0.1
    # Stretched along x: it changes more slowly there.
    assert field.diff(dim=1).square().mean() < 0.4 * field.diff(dim=0).square().mean()


def test_black_scenes_are_black():
    assert draw_scenes(spec("black"), 2, 64, seed=0, stream="s").abs().max() == 0


def test_no_picture_is_in_two_splits_and_all_can_be_read():
    names = [name for split in pictures.SPLITS.values() for name in split]
    assert len(names) == len(set(names))
    assert "clock_motion.png" not in names  # blurred by itself
    for name in names:
        grey = pictures.load_picture(name)
        assert grey.ndim == 2 and grey.dtype == np.float32
        assert 0 <= grey.min() < grey.max() <= 1
    with pytest.raises(UserError, match=r"nothing\.png"):
        pictures.load_picture("nothing.png")


def test_an_entry_takes_the_pictures_that_it_names_and_trains_on_none_of_the_demo():
    known = {name for split in pictures.SPLITS.values() for name in split}
    assert (
        set(schema()["properties"]["objects"]["items"]["properties"]["pictures"]["items"]["enum"])
        == known
    )
    named = spec("pictures") | {"reduce": 1, "zoom": [1, 1], "pictures": ["ihc.png", "brick.png"]}
    assert pictures.bundled_names(named, "test") == ("ihc.png",)
    assert pictures.bundled_names(named, "train") == ("brick.png",)
    with pytest.raises(UserError, match="validate"):
        pictures.bundled_names(named, "validation")
    scene = draw_scenes(named, 1, 64, seed=0, stream="s", split="test")[0].numpy()
    (whole,) = pictures.bundled(("ihc.png",), 1)
    assert np.isin(np.round(scene, 4), np.round(whole, 4)).mean() > 0.99


def test_pictures_are_never_enlarged_and_small_ones_are_mirrored():
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 1, 40 * 50, dtype=np.float32).reshape(40, 50)
    large = pictures.cut(ramp, 64, 2.0, rng)
    assert large.shape == (64, 64) and set(large.ravel()) <= set(ramp.ravel())
    small = pictures.cut(np.tile(ramp, (4, 4)), 64, 0.5, rng)
    assert small.shape == (64, 64)
    assert pictures.reduce_by_area(ramp, 3).shape == (13, 16)


def test_the_splits_of_a_folder_are_disjoint(folder):
    files = {s: pictures.folder_files(str(folder), s) for s in ("train", "validation", "test")}
    assert sum(len(f) for f in files.values()) == 20
    assert len(set().union(*files.values())) == 20


def test_a_bad_folder_is_named(tmp_path):
    empty = tmp_path / "empty"
    with pytest.raises(UserError, match="empty"):
        draw_scenes(spec("folder", folder=str(empty)), 1, 32, seed=0, stream="s")
    empty.mkdir()
    with pytest.raises(UserError, match="has no pictures"):
        draw_scenes(spec("folder", folder=str(empty)), 1, 32, seed=0, stream="s")
    broken = next(n for n in (f"{i}.png" for i in range(50)) if pictures.split_of(n) == "train")
    (empty / broken).write_bytes(b"not a picture")
    with pytest.raises(UserError, match=broken):
        draw_scenes(spec("folder", folder=str(empty)), 1, 32, seed=0, stream="s")
    tifffile.imwrite(tmp_path / "waves.tif", np.ones((9, 9), complex))
    with pytest.raises(UserError, match=r"waves\.tif: pixels of type complex128"):
        pictures.read_grey(tmp_path / "waves.tif")
    with pytest.raises(UserError, match="clouds"):
        draw_scenes(spec("clouds"), 1, 32, seed=0, stream="s")
