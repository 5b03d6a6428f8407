"""Heights from one picture: pictures of surfaces, calibration, matching, and the commands."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from isoplan.__main__ import main
from isoplan.applications.depth import calibration as calibrating
from isoplan.applications.depth.calibration import Calibration, Windows, calibrate, flatness
from isoplan.applications.depth.known import check_slices, of_stack
from isoplan.applications.depth.matching import joined, moments, smoothed
from isoplan.applications.depth.pictures import MARGIN_PX, exposed, picture
from isoplan.base.errors import UserError
from isoplan.mosaic import ngff
from isoplan.mosaic.reader import open_mosaic
from isoplan.objects.scenes import draw_scenes
from isoplan.optics.defocus import Defocus

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
    monkeypatch.setattr(calibrating, "SEARCHED", 60)
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
    monkeypatch.setattr(calibrating, "SEARCHED", 25)
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
    ("z", "word"),
    [
        ([0, 5, 10], "too few"),
        ([0, 5, 5, 10, 15], "rise or fall"),
        ([0, 5, 15, 10, 20], "rise or fall"),
        ([0, 0.005, 0.01, 0.015, 0.02], "positions are in um"),
        ([0, 5, math.nan, 15, 20], "rise or fall"),
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
    found = smoothed(height + noise, torch.full_like(height, 0.3), 0.1)
    apart = torch.cat([(found - height)[:, :4], (found - height)[:, 8:]], 1)
    assert apart.abs().max() < 0.8 and apart.std() < 0.8 * noise.std()


def test_unknown_cells_are_filled_from_near_ones_alone():
    height = torch.full((16, 16), torch.nan)
    height[:2] = 3.0
    found = smoothed(height, torch.full_like(height, 0.3), 0.1)
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
