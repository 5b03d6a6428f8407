"""Heights from one picture: pictures of surfaces, calibration, matching, and the commands."""

import json
import math
from dataclasses import replace

import isoplan
import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from isoplan.__main__ import main
from isoplan.applications.depth import calibration as calibrating
from isoplan.applications.depth import report, trials
from isoplan.applications.depth.calibration import Calibration, Windows, calibrate, flatness
from isoplan.applications.depth.heights import HeightFit, StoredUnits, estimate_heights
from isoplan.applications.depth.known import check_slices, of_stack
from isoplan.applications.depth.matching import WINDOW_VARIANCE, joined, moments, smoothed
from isoplan.applications.depth.rivals import doubt
from isoplan.applications.depth.summary import summary
from isoplan.base.errors import UserError
from isoplan.cluster.unit_files import save_unit
from isoplan.config.entries import entry
from isoplan.config.validation import validate
from isoplan.mosaic import ngff
from isoplan.mosaic.reader import open_mosaic
from isoplan.networks.defocus_fit import spectra_of
from isoplan.objects.scenes import draw_scenes
from isoplan.optics.defocus import Defocus
from isoplan.optics.surface_pictures import MARGIN_PX, exposed, picture
from isoplan.optics.surfaces import surface
from isoplan.psf_map.layout import MapLayout
from isoplan.report.results import Study

TRUE = Defocus(
    0.3, 0.48, 0.32, cylinder_waves=0.3, axis_rad=0.4, spherical_waves=0.05, softness_um=0.2
)
PLAIN = Defocus(0.3, 0.48, 0.32)
SIDE = 768
SCENES = {"name": "scenes", "kinds": ["dead-leaves"], "zoom": [0.6, 1.6], "reduce": 1}


@pytest.fixture(scope="module")
def scene() -> torch.Tensor:
    return draw_scenes(SCENES, 1, SIDE + 2 * MARGIN_PX, seed=3, stream="depth")[0]


def taken(scene: torch.Tensor, z_um: torch.Tensor, optics: Defocus = TRUE) -> np.ndarray:
    return exposed(picture(scene, z_um, optics), 1e4, np.random.default_rng(0))


@pytest.fixture(scope="module")
def stack(scene, tmp_path_factory):
    """A z stack of a flat specimen, in focus at z = 15 um."""
    z = np.arange(0, 31, 5.0)
    slices = [taken(scene, torch.full_like(scene, float(at) - 15)) for at in z]
    file = tmp_path_factory.mktemp("stack") / "stack.tif"
    tifffile.imwrite(
        file, np.stack(slices).astype(np.uint16), imagej=True, metadata={"axes": "ZYX"}
    )
    return file


def slope(degrees: float, shape: torch.Size) -> torch.Tensor:
    """Heights of a plane that rises along x, 0 in the middle."""
    x = (torch.arange(shape[1]) - (shape[1] - 1) / 2) * TRUE.pixel_size_um
    return (math.tan(math.radians(degrees)) * x).expand(shape)


def windows_of(stack, optics=PLAIN):
    slices = (open_mosaic(stack, slice=k) for k in range(7))
    return of_stack(slices, np.arange(0, 31, 5.0), optics)


def test_a_flat_surface_is_blurred_by_one_psf(scene):
    seen = picture(scene, torch.full_like(scene, 6.0), TRUE)
    psf = torch.zeros_like(scene)
    psf[:255, :255] = TRUE.psf(torch.tensor([6.0]), 255)[0]
    psf = psf.roll((-127, -127), (0, 1))
    plain = torch.fft.irfft2(torch.fft.rfft2(scene) * torch.fft.rfft2(psf), s=scene.shape)
    inner = plain[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
    assert (seen - inner).abs().max() < 1e-4


def test_a_calibration_finds_the_optics(stack, monkeypatch):
    monkeypatch.setattr(calibrating, "GRID_AXES", 4)
    monkeypatch.setattr(calibrating, "GRID_CYLINDERS", (0.25,))
    monkeypatch.setattr(calibrating, "SEARCHED", 36)
    windows, centres = windows_of(stack)
    optics, half, offset = calibrate(windows, PLAIN)
    assert abs(optics.cylinder_waves - 0.3) < 0.02 and abs(optics.axis_rad - 0.4) < 0.03
    assert abs(optics.spherical_waves - 0.05) < 0.02 and abs(offset + 15) < 1
    assert 0 < half["axis_rad"] < 0.05 and 0 < half["spherical_waves"] < 0.05
    assert flatness(windows, centres, optics, offset) == ()  # nine places are too few
    # Two places more tell nothing new, but make them enough.
    more = Windows(windows.spectra, windows.z_um, windows.place)
    flat = flatness(more, np.concatenate([centres, centres[:3]]), optics, offset)
    assert len(flat) == 6


def test_optics_without_astigmatism_are_refused(scene, monkeypatch):
    monkeypatch.setattr(calibrating, "GRID_AXES", 2)
    monkeypatch.setattr(calibrating, "GRID_CYLINDERS", (0.12,))
    monkeypatch.setattr(calibrating, "SEARCHED", 12)
    plain = replace(TRUE, cylinder_waves=0.0)
    z = np.arange(-10, 11, 4.0)
    slices = [taken(scene, torch.full_like(scene, float(at)), plain) for at in z]

    class Slices:
        path, shape = "slices", (SIDE, SIDE)

        def __init__(self, counts):
            self.counts = counts

        def read(self, y0, y1, x0, x1):
            return self.counts[y0:y1, x0:x1]

    windows, _ = of_stack(map(Slices, slices), z, PLAIN)
    with pytest.raises(UserError, match="cylindrical lens"):
        calibrate(windows, PLAIN)


@pytest.mark.parametrize(
    ("true", "words", "foreign"),
    [
        (TRUE, None, False),
        (replace(TRUE, spherical_waves=-0.05), "spherical aberration of about 0.00", False),
        (replace(TRUE, cylinder_waves=0.0), "no astigmatism", True),
        (replace(TRUE, axis_rad=math.pi - 0.4), "another axis", True),  # a flipped camera
    ],
)
def test_pictures_of_other_optics_are_doubted(scene, true, words, foreign):
    counts = torch.from_numpy(taken(scene, slope(5, scene.shape), true))
    spectra = spectra_of(counts, 2, 128).flatten(0, 1)
    found = doubt(spectra, TRUE, 15, 2)
    if words is None:
        assert found is None
    else:
        assert words in found.words and found.foreign == foreign
    assert doubt(spectra[:9], TRUE, 15, 2) is None  # too few to tell


@pytest.mark.parametrize(
    ("z", "word"),
    [
        ([0, 5, 10], "too few"),
        ([0, 5, 5, 10, 15], "rise or fall"),
        ([0, 5, 15, 10, 20], "rise or fall"),
        ([0, 0.005, 0.01, 0.015, 0.02], "positions are in um"),
        ([0, 5, math.nan, 15, 20], "must be numbers"),
    ],
)
def test_wrong_positions_are_refused(z, word):
    with pytest.raises(UserError, match=word):
        check_slices(z, PLAIN)


def test_a_stack_without_texture_is_refused():
    class Empty:
        path, shape = "empty", (SIDE, SIDE)

        def read(self, y0, y1, x0, x1):
            return np.random.default_rng(0).poisson(100, (y1 - y0, x1 - x0)).astype(np.float32)

    with pytest.raises(UserError, match="texture"):
        of_stack([Empty()] * 5, np.arange(0, 21, 5.0), PLAIN)


def test_neighbours_tell_the_side_of_focus():
    """Cells that see both sides alike follow those that see one."""
    z = torch.arange(-10, 11.0)
    height = torch.full((6, 6), 5.0)
    told = -((z - height[..., None]) ** 2)
    both = torch.logaddexp(told, -((z + height[..., None]) ** 2))
    both[0, 0] = told[0, 0]
    found, deviation = moments(joined(both), z)
    assert (found - height).abs().max() < 0.5 and deviation.max() < 1.5


def test_a_step_stays_a_step():
    height = torch.zeros(12, 12)
    height[:, 6:] = 8.0
    noise = 0.3 * torch.randn(height.shape, generator=torch.Generator().manual_seed(0))
    found = smoothed(height + noise, torch.full_like(height, 0.3), 0.1).distance_um
    apart = torch.cat([(found - height)[:, :4], (found - height)[:, 8:]], 1)
    assert apart.abs().max() < 0.8 and apart.std() < 0.8 * noise.std()


def test_waves_are_followed_as_far_as_windows_see_them():
    """What windows average is put back in part, and waves are said to be less sure than a plane."""
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(24.0)[:, None].expand(24, 24)
    heights = {"plane": 0.5 * y, "waves": 6 * torch.sin(2 * math.pi * y / 8)}
    damped = {"plane": 1.0, "waves": math.exp(-WINDOW_VARIANCE / 2 * (2 * math.pi / 8) ** 2)}
    found = {}
    for name, true in heights.items():
        seen = damped[name] * true + 0.2 * torch.randn(true.shape, generator=rng)
        found[name] = smoothed(seen, torch.full_like(true, 0.2), 0.1)
        inner = np.s_[4:-4, 4:-4]
        wrong = (found[name].distance_um - true)[inner].abs().mean()
        lost = (1 - damped[name]) * true[inner].abs().mean()
        assert wrong < max(0.2, lost), name
    assert found["waves"].excess.mean() > 10 * found["plane"].excess.mean()


def test_cells_are_read_across_units(tmp_path):
    layout = MapLayout((150 * 64, 70 * 64), 256, 64, "valid")
    whole = np.random.default_rng(0).random((*layout.cells, 3)).astype(np.float16)
    for number, cells in enumerate(layout.units):
        save_unit(tmp_path, number, whole[cells])
    stored = StoredUnits(tmp_path, layout)
    for cells in (np.s_[0:150, 0:70], np.s_[31:33, 64:70], np.s_[40:41, 5:6], np.s_[96:150, 0:32]):
        np.testing.assert_array_equal(stored[cells], whole[cells])


def test_windows_of_tiles_show_one_tile(scene, tmp_path):
    """Each tile of a mosaic is an exposure: of its own height, and with the field's own, which is subtracted."""
    side, bend = 512, 10.0
    around = side + 2 * MARGIN_PX
    at = torch.linspace(-1, 1, around) * around / side
    field = bend * (at[:, None] ** 2 + at**2)
    rows = ["tile\ty_px\tx_px"]
    for number, height in enumerate((-4.0, 4.0)):
        seen = taken(scene[:around, :around], field + height)
        tifffile.imwrite(tmp_path / f"{number}.tif", seen)
        rows.append(f"{number}.tif\t0\t{number * (side - 40)}")
    table = tmp_path / "tiles.tsv"
    table.write_text("\n".join(rows) + "\n")
    width = dict.fromkeys(calibrating.FOUND, 0.01)
    flat = (0.0, 0.0, 0.0, bend, 0.0, bend)
    calibration = Calibration(TRUE, width, 0.0, flat, (side, side))
    with open_mosaic(table) as mosaic:
        fit = HeightFit(calibration, 16)
        found = estimate_heights(mosaic, fit)
        layout, valid = found.layout, found.valid
        boxes = mosaic.exposures(layout.starts_px(0), layout.starts_px(1), layout.window_px)
    for left, height in ((0, -4), (side - 40, 4)):
        own = (boxes[..., 2] == left) & valid
        assert own.sum() > 6 and abs(np.median(found.height_um[own]) - height) < 1
    with open_mosaic(tmp_path / "0.tif") as tile, pytest.raises(UserError, match="same camera"):
        replace(calibration, shape_px=(400, 400)).flat_at(tile, layout)


def test_unknown_cells_are_filled_from_near_ones_alone():
    height = torch.full((16, 16), torch.nan)
    height[:2] = 3.0
    found = smoothed(height, torch.full_like(height, 0.3), 0.1).distance_um
    assert torch.allclose(found[:5], torch.tensor(3.0), atol=0.1)
    assert found[8:].isnan().all()


def calibrated(folder, optics=TRUE):
    file = folder / "cal.json"
    found = Calibration(optics, dict.fromkeys(calibrating.FOUND, 0.01), 0.0, (), (SIDE, SIDE))
    file.write_text(json.dumps(found.told()))
    return file


def test_depth_finds_a_tilted_plane(scene, tmp_path, capsys):
    z = slope(6, scene.shape)
    counts = taken(scene, z)
    counts[300:302, 400:402] = np.nan
    tifffile.imwrite(tmp_path / "plane.tif", counts)
    command = ["depth", str(tmp_path / "plane.tif"), "--calibration", str(calibrated(tmp_path))]
    command += ["--reach-um", "20", "-o", str(tmp_path / "heights")]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "are valid" in told and "heights.png" in told
    table = pd.read_csv(tmp_path / "heights" / "heights.csv")
    valid = table[table["validity"] >= 0.9]
    true = math.tan(math.radians(6)) * (valid["x_px"] - (SIDE - 1) / 2) * TRUE.pixel_size_um
    wrong = (valid["height_um"] - true).abs()
    whole = 2 * math.tan(math.radians(6)) * SIDE / 2 * TRUE.pixel_size_um
    assert 0.2 < len(valid) / len(table) < 0.8 and wrong.mean() < 0.03 * whole
    assert (wrong < valid["height_uncertainty_um"]).mean() > 0.7
    store = ngff.read_attributes(tmp_path / "heights.ome.zarr")
    assert [channel["unit"] for channel in store["channels"]] == ["um", "um", "probability"]
    assert tifffile.imread(tmp_path / "heights" / "heights.tif").size == len(table)
    assert (tmp_path / "heights" / "surface.png").is_file()
    made = isoplan.depth(counts, tmp_path / "cal.json", reach_um=20, quiet=True)
    np.testing.assert_allclose(made.table(), table, rtol=1e-4, atol=1e-4)
    # Once more: refused, and the user's files stay.
    assert main(command) == 1
    assert main([*command, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("change", "more", "word"),
    [
        ({}, ["--pixel-size-um", "0.65"], "another microscope"),
        ({}, ["--reach-um", "500"], "wider than a window"),
        ({"flat": [0.0] * 6, "shape_px": [512, 512]}, ["--reach-um", "5"], "same camera region"),
        ({"format": "other"}, [], "calibrate again"),
        ({"optics": {"na": 0.3}}, [], "no calibration"),
    ],
)
def test_a_calibration_that_does_not_fit_is_refused(tmp_path, capsys, change, more, word):
    tifffile.imwrite(
        tmp_path / "picture.tif", np.random.default_rng(0).poisson(50, (300, 300)).astype(np.uint16)
    )
    file = calibrated(tmp_path)
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    command = ["depth", str(tmp_path / "picture.tif"), "--calibration", str(file)]
    assert main([*command, "-o", str(tmp_path / "out"), *more]) == 1
    assert word in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_calibrating_writes_a_file_that_is_replaced_on_request_alone(
    stack, tmp_path, capsys, monkeypatch
):
    found = TRUE, dict.fromkeys(calibrating.FOUND, 0.01), -15.0
    monkeypatch.setattr("isoplan.applications.depth.run.calibrate", lambda *_, **__: found)
    out = tmp_path / "cal.json"
    command = [
        "depth-calibrate",
        str(stack),
        "--step-um",
        "5",
        "--na",
        "0.3",
        "--wavelength-um",
        "0.48",
    ]
    command += ["--pixel-size-um", "0.32", "-o", str(out)]
    assert main(command) == 0
    assert "cylinder_waves 0.300" in capsys.readouterr().out
    assert Calibration.read(out).optics == TRUE
    assert main(command) == 1 and main([*command, "--overwrite"]) == 0
    out.write_text(out.read_text().replace("0.48", "0.5"))
    assert main([*command, "--overwrite"]) == 1
    assert "changed since" in capsys.readouterr().err
    assert main([*command[:-1], str(tmp_path / "cal.txt")]) == 1


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        (["--tilt-deg", "70"], "below 60"),
        (["--tilt-deg", "0.5"], "depths of field"),
        (["--z-um", "few.txt"], "7 slices"),
        (["--z-um", "words.txt"], "one number a line"),
        (["--step-um", "5", "--slice", "2"], "takes all slices"),
    ],
)
def test_wrong_knowledge_of_a_stack_is_refused(stack, tmp_path, capsys, monkeypatch, asked, word):
    (tmp_path / "few.txt").write_text("0\n5\n")
    (tmp_path / "words.txt").write_text("up\ndown\n")
    monkeypatch.chdir(tmp_path)
    command = ["depth-calibrate", str(stack), *asked, "--na", "0.3", "--wavelength-um", "0.48"]
    command += ["--pixel-size-um", "0.32", "-o", "cal.json"]
    if "--tilt-deg" in asked:
        command += ["--slice", "3"]
    assert main(command) == 1
    assert word in capsys.readouterr().err


def test_surfaces_have_the_height_that_is_asked_for():
    rng = np.random.default_rng(0)
    for kind in ("sphere", "step", "rough"):
        made = surface({"surface": kind, "height_um": 12.0}, 96, 0.5, rng)
        assert float(made.max()) == pytest.approx(6, abs=1e-4) == -float(made.min())
    plane = surface({"surface": "plane", "tilt_deg": 6.0}, 96, 0.5, rng, towards_deg=90.0)
    assert float(plane.diff(dim=0).mean()) == pytest.approx(
        math.tan(math.radians(6)) * 0.5, rel=1e-3
    )
    assert float(plane.diff(dim=1).abs().max()) < 1e-5


def test_scores_tell_scale_from_linearity():
    """Heights twice as large are linear, and wrong."""
    true = np.linspace(-10, 10, 64).reshape(8, 8)
    valid = np.ones((8, 8), bool)
    half = np.full((8, 8), 0.5)
    right = trials.scores(true + 0.1, half, valid, true, 20, 2)
    assert right["error_share"] == pytest.approx(0.005) and right["covered"] == 1
    assert right["sign_right"] == 1 and right["r2"] > 0.999
    twice = trials.scores(2 * true, half, valid, true, 20, 2)
    assert twice["r2_line"] == pytest.approx(1) and twice["r2"] < 0.1 and twice["covered"] < 0.2
    mirrored = trials.scores(-true, half, valid, true, 20, 2)
    assert mirrored["sign_right"] == 0
    nothing = trials.scores(true, half, ~valid, true, 20, 2)
    assert nothing["valid_share"] == 0 and math.isnan(nothing["error_um"])


def test_a_test_needs_no_networks():
    study = validate({"study": "s", "mosaics": None, "depth_tests": [{"name": "t"}]})
    test = entry(study, "depth_tests", "t")
    assert trials.Trial(test, {}, 0).methods == ["fit"]


def study_of(tmp_path, covered=0.9, sign=1.0):
    """A finished study of one test, from made-up figures."""
    told = {"test": "t", "photons": 1e4}
    values = dict.fromkeys(trials.VALUES, 0.01) | {"doubted": 0.0}
    values |= {"covered": covered, "sign_right": sign}
    rows = pd.DataFrame(
        [
            {**told, "picture": k, "method": method, **values, "error_share": share + 0.001 * k}
            for k in range(3)
            for method, share in (("fit", 0.01), ("printed", 0.05))
        ],
        columns=trials.COLUMNS,
    )
    tables = {"depth.csv": rows, "depth_summary.csv": summary(rows)}
    test = validate({"study": "s", "mosaics": None, "depth_tests": [{"name": "t"}]})
    grid = np.mgrid[:6, :6].sum(0).astype(float)
    (tmp_path / "depth_tests/t").mkdir(parents=True)
    np.savez(
        tmp_path / "depth_tests/t/pictures.npz",
        picture=np.ones((9, 9)),
        true=grid,
        found=grid + 0.1,
        half_width=grid * 0 + 0.5,
        validity=np.where(grid > 1, 1.0, 0.0),
        cell_um=np.array(20.0),
    )
    empty = {"mosaics": [], "networks": [], "maps": {}, "true_maps": {}}
    return Study(
        folder=tmp_path,
        config=test,
        config_text="",
        tables=tables,
        benchmarks=pd.DataFrame(),
        **empty,
    )


def test_the_report_says_how_near_heights_come(tmp_path):
    study = study_of(tmp_path)
    score = report.score(study)
    assert score is not None and "within 1.10 %" in score.headline and len(score.bars) == 2
    _, part = report.parts(study)
    assert part.title == "t" and "side of focus is right in 100 %" in part.words[0]
    assert report.cautions(study) == []
    data = part.surfaces[0].data
    assert data["rows"][0][0] is None and data["rows"][5][5] == 10.1 and data["unit"] == "µm"
    figure = part.figures[0]
    assert len(figure.table) == 36 and len(figure.draw().axes) == 4 + 3


def test_the_report_warns_of_intervals_that_do_not_hold(tmp_path):
    texts = [caution.text for caution in report.cautions(study_of(tmp_path, covered=0.4, sign=0.8))]
    assert len(texts) == 2 and "windows do not resolve" in texts[0]
    assert "side of focus is right in 80 %" in texts[1]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"cylinder_waves": 0.04}, "too few to tell the sides"),
        ({"tilt_deg": 20}, "um from focus"),
        ({"surface": "step", "height_um": 200}, "um from focus"),
        ({"size_px": 1000}, "size_px"),
    ],
)
def test_tests_that_cannot_be_are_refused(change, word):
    with pytest.raises(UserError, match=word):
        validate({"study": "s", "mosaics": None, "depth_tests": [{"name": "t"} | change]})
