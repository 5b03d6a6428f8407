"""Flow from motion blur: what spectra know is found, within its interval; what they do not know is not claimed."""

from dataclasses import replace
from functools import partial

import isoplan
import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from isoplan.__main__ import main
from isoplan.applications.flow import maps
from isoplan.applications.flow.between import correlations, way
from isoplan.applications.flow.fit import APART, CHANNELS, FlowFit, FlowMap
from isoplan.applications.flow.results import describe, facts_of
from isoplan.applications.flow.sequence import FOLLOWED, FlowSequence, sequence_of
from isoplan.applications.flow.summary import scores
from isoplan.applications.flow.trials import Trial, table
from isoplan.base.errors import UserError
from isoplan.mosaic import ngff
from isoplan.networks import spectrum_fit
from isoplan.networks.motion_fit import MotionFit, Prior, folded
from isoplan.objects.scenes import draw_scenes
from isoplan.optics.defocus import Defocus
from isoplan.optics.motion import Motion, MotionPower, moving_picture, psfs
from isoplan.optics.surface_pictures import exposed
from isoplan.restoration.in_memory import Counts

OPTICS = Defocus(0.3, 0.48, 0.32)
DEPTH = OPTICS.depth_of_field_um


TEST = {
    "name": "t",
    "motion": "one",
    "na": 0.3,
    "wavelength_um": 0.48,
    "pixel_size_um": 0.32,
    "spherical_waves": 0.0,
    "cylinder_waves": 0.0,
    "axis_rad": 0.0,
    "softness_px": 0.0,
    "lateral_px": 16.0,
    "reach_depths": 2.42,
    "moves_share": 1,
    "frames": 1,
    "layers": 1,
    "interval_exposures": 1.5,
    "one_side": True,
    "photons": [1e5, 1e6],
    "size_px": 192,
    "samples": 12,
}


def trial(**changed) -> Trial:
    kinds = ["dead-leaves", "filaments"]
    return Trial(TEST | changed, {"name": "o", "kinds": kinds, "zoom": [0.6, 1.6]}, 1)


def motion(y, x, middle, axial) -> Motion:
    return Motion(torch.tensor([[y, x]]), torch.tensor([middle]), torch.tensor([axial]))


def psf(*given, optics=OPTICS):
    return psfs(optics, motion(*given), 95)[0][0]


def close(one, other) -> bool:
    return float((one - other).abs().max()) < 2e-4 * float(one.max())


def test_what_a_psf_does_not_tell():
    """The path backwards is the same; without aberrations, so is its mirror image below focus. Opposite directions mirror the PSF."""
    forwards = psf(5.0, 9.0, 8.0, 6.0)
    assert close(forwards, psf(-5.0, -9.0, 8.0, -6.0))
    assert close(forwards, psf(5.0, 9.0, -8.0, -6.0))
    opposite = psf(-5.0, -9.0, 8.0, 6.0)
    assert close(opposite, forwards.flip(0, 1)) and not close(opposite, forwards)
    assert not close(forwards, psf(5.0, 9.0, 8.0, 1.0))


def test_spectra_are_those_of_the_psfs():
    """Two ways to the same: PSFs by transforms of pupils, and spherical Bessel functions; with softness, binning and aliases."""
    soft = Defocus(0.3, 0.48, 0.32, spherical_waves=0.03, softness_um=0.2)
    many = Motion.joined([motion(3.0, 12.0, 9.0, 5.0), motion(-8.0, 2.0, 3.0, 1.0)])
    fit = MotionFit(soft, Prior(16, 12, 12), library=16)
    side = 2 * spectrum_fit.SQUARE_PX
    y, x = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)
    shares = spectrum_fit.leakage(y.device)
    power = torch.fft.rfft2(psfs(soft, many, 127)[0], s=(side, side)).abs().square()
    for law, own in zip(spectrum_fit.power_laws(y**2 + x**2), fit.spectra(many), strict=True):
        expected = (power * law).flatten(1) @ shares.T
        expected, own = (s / s.amax(1, keepdim=True) + 1e-4 for s in (expected, own))
        assert float((own.log() - expected.log()).abs().max()) < 0.03


def test_pixels_may_be_taken_together():
    """The spectra of binned pixels are those of the PSFs that binned pixels see."""
    one = motion(4.0, 20.0, 6.0, 4.0)
    fine = MotionFit(OPTICS, Prior(32, 12, 12), binning=2, library=16).spectra(one)[0, 0]
    psf = psfs(OPTICS, one, 191)[0]
    box = torch.nn.functional.avg_pool2d(psf[None], 2, stride=1)[0, :, ::2, ::2]
    side = 2 * spectrum_fit.SQUARE_PX
    # Each place of the binned raster: their mean spectrum is that of a scene without structure.
    shifted = [
        torch.nn.functional.avg_pool2d(psf[None].roll((a, b), (2, 3)), 2)[0]
        for a in (0, 1)
        for b in (0, 1)
    ]
    assert box.shape[1] <= side
    power = sum(torch.fft.rfft2(one, s=(side, side)).abs().square() for one in shifted)
    y, x = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)
    inner = torch.hypot(y, x) < 0.2  # aliases are few there
    laws = spectrum_fit.power_laws(y**2 + x**2)[0]
    shares = spectrum_fit.leakage(y.device)
    expected = shares @ (power[0] * laws).flatten()
    kept = (shares @ inner.float().flatten()) > 0.99
    expected, own = (s[kept] / s[kept].amax() + 1e-3 for s in (expected, fine))
    assert float((own.log() - expected.log()).abs().max()) < 0.1


def test_a_cylinder_is_refused():
    with pytest.raises(UserError, match="round optics"):
        MotionPower(Defocus(0.3, 0.48, 0.32, cylinder_waves=0.2), *torch.zeros(2, 1), 5, 5)


def test_the_prior_holds_what_it_draws():
    for crosses in (False, True):
        prior = Prior(16, 10, 8, crosses=crosses)
        drawn, density = prior.draw(512)
        assert prior.holds(drawn).all() and len(drawn) > 300 and density > 0
        assert bool((drawn.start_um < 0).any()) == crosses
    turned = folded(motion(3.0, -2.0, -5.0, 1.0))
    assert turned.lateral_px.tolist() == [[-3.0, 2.0]] and turned.middle_um.item() == 5


@pytest.fixture(scope="module")
def found():
    one = trial()
    fit = one.fit()
    fit.fit = MotionFit(OPTICS, fit.prior, library=1024)
    tests = [one, trial(name="u", motion="two")]
    return table(tests, [test.unit(0, fit) for test in tests])


def test_motions_are_found(found):
    told = scores(found[found["test"] == "t"])
    # The mean of all would have 0.
    assert told["r2"] > 0.6 and told["determined"] > 0.5 and told["angle_deg"] < 3
    assert np.mean([told[f"held_{name}"] for name in ("displacement", "axial", "middle")]) > 0.6


def test_two_motions_in_a_window_raise_an_alarm(found):
    one, two = (found.loc[found["test"] == name, "apart"] > APART for name in "tu")
    assert one.mean() < 0.2 and two.mean() > one.mean() + 0.25


@pytest.mark.parametrize("kind", ["pipe", "parabola"])
def test_profiles_are_those_that_were_asked_for(kind):
    one = trial(motion=kind, size_px=256)
    rows = torch.tensor([[-128.0, 0.0], [0.0, 5.0], [128.0, 0.0]], dtype=torch.float64)
    motion, weights, border = one.field(0, rows)
    along, axial = weights.T @ motion.lateral_px[:, 1], weights.T @ motion.axial_um
    reach = 2.42 * DEPTH
    expected = {
        "pipe": ([16, 16 / 2**0.5, 0], [0, reach / 2**0.5, reach]),
        "parabola": ([0, 16, 0], [0, 0, 0]),
    }[kind]
    np.testing.assert_allclose(along, expected[0], atol=1e-4)
    np.testing.assert_allclose(axial, expected[1], atol=1e-4)
    assert torch.isinf(border).all() and torch.allclose(weights.sum(0), torch.ones(3))


def test_what_is_at_rest_is_not_said_to_move():
    """Spherical aberration blurs; a fit that does not know of it would call that motion."""
    scene = draw_scenes(trial().objects, 1, 704, seed=2, stream="s", first=0, split="test")[0]
    fit = trial().fit()
    fit.fit = MotionFit(OPTICS, fit.prior, library=1024)
    aberrated = replace(OPTICS, spherical_waves=0.2)
    cases = {"at rest": ((0.0, 0.0, 2.0, 0.0), aberrated), "moving": ((5.0, 9.0, 4.0, 2.0), OPTICS)}
    told = {}
    for name, (path, optics) in cases.items():
        bright = moving_picture(scene, motion(*path), torch.ones(1, 704, 704), optics)
        picture = Counts(exposed(bright, 1e5, np.random.default_rng(0)))
        layout = fit.layout(picture.shape)
        told[name] = fit.doubt([picture], layout)
    assert "spherical" in told["at rest"] and not told["moving"]
    found = fit.map_of(layout, np.ones((len(CHANNELS), *layout.cells)), told["at rest"])
    assert not found.valid.any()
    (word,) = describe(facts_of(found, None), found.doubt)
    assert word.startswith("CAUTION") and "at rest" in word


@pytest.fixture(scope="module")
def picture():
    return trial(photons=[3e3, 3e4], size_px=256).sample(0)[0]


def test_a_picture_of_a_user(picture, tmp_path, capsys):
    file, out = tmp_path / "moved.tif", tmp_path / "out"
    tifffile.imwrite(file, picture)
    optics = ["--na", "0.3", "--wavelength-um", "0.48", "--pixel-size-um", "0.32"]
    given = ["flow", str(file), *optics, "-o", str(out)]
    shorter = ["--shorter", str(file)]
    assert main([*given, "--exposure-ms", "50", *shorter, "--shorter-ms", "5"]) == 0
    said = capsys.readouterr().out
    assert "um/s" in said and "flow.png" in said
    assert "CAUTION: speeds in the shorter exposure agree with these in 0%" in said
    rows = pd.read_csv(out / "flow.csv")
    valid = rows[rows["validity"] > 0]
    true, _, _ = trial(size_px=256).field(0, torch.zeros(1, 2))
    length = float(true.lateral_px.norm()) * OPTICS.pixel_size_um
    apart = (valid["displacement_um"] - length).abs()
    assert len(valid) and (apart <= 1.5 * valid["displacement_uncertainty_um"]).all()
    assert np.allclose(valid["speed_um_s"], valid["displacement_um"] * 20, rtol=1e-4)
    # Cells whose windows cross the edge know nothing.
    assert rows.loc[rows["y_px"] < 96, "displacement_um"].isna().all()
    values = tifffile.imread(out / "flow.tif")
    assert values.shape == (len(CHANNELS), 4, 4)
    assert ngff.open_array(tmp_path / "out.ome.zarr").shape == values.shape
    assert all((out / name).stat().st_size for name in ("flow.png", "profile.png"))
    # The same blur in a tenth of the time: no motion does that.
    known = rows["agrees"].notna()
    assert known.any() and not rows.loc[known, "agrees"].any()
    again = [*given[:-1], str(tmp_path / "again"), "--exposure-ms", "50", *shorter]
    assert main(again) == 1
    assert main([*again, "--shorter-ms", "60"]) == 1
    assert "not shorter" in capsys.readouterr().err
    # What was measured once is not replaced in silence.
    assert main([*given, "--displacements"]) == 1
    with pytest.raises(SystemExit):
        main(given)
    assert "--exposure-ms" in capsys.readouterr().err


def test_a_picture_of_which_nothing_is_known(tmp_path, capsys):
    file, out = tmp_path / "flat.tif", tmp_path / "out"
    flat = np.random.default_rng(0).poisson(200, (2, 200, 200)).astype(np.uint16)
    tifffile.imwrite(file, flat, ome=True, metadata={"axes": "TYX"})
    optics = ["--na", "0.3", "--wavelength-um", "0.48", "--pixel-size-um", "0.32"]
    given = ["flow", str(file), *optics, "--exposure-ms", "10"]
    assert main([*given, "-o", str(out), "--slice", "0"]) == 0
    assert main([*given, "-o", str(tmp_path / "two"), "--interval-ms", "15"]) == 0
    assert capsys.readouterr().out.count("too little texture") == 2
    assert pd.read_csv(tmp_path / "two/tracks.csv").empty
    assert all((folder / "flow.png").is_file() for folder in (out, tmp_path / "two"))


def test_a_pair_whose_cells_differ_is_named(monkeypatch):
    fit = FlowFit(OPTICS)
    one, other = (
        fit.map_of(layout, np.zeros((len(CHANNELS), *layout.cells)), "")
        for layout in (fit.layout((256, 256)), fit.layout((320, 256)))
    )
    monkeypatch.setattr(maps, "joined", lambda *_: other)
    long, short = {"name": "long", "exposure_ms": 50}, {"name": "short", "exposure_ms": 5}
    with pytest.raises(UserError, match=r"flow map long, short: .*at other places"):
        maps.shorter_of(long, one, short, {}, "")


def test_the_function(picture, capsys):
    told = {"na": 0.3, "wavelength_um": 0.48, "pixel_size_um": 0.32}
    flat = np.random.default_rng(0).poisson(200, (200, 200))
    made = isoplan.flow(flat, **told)
    assert "too little texture" in capsys.readouterr().out and not made.valid.any()
    assert made.table(10.0)["speed_um_s"].isna().all()
    with pytest.raises(UserError, match="a window has 192"):
        isoplan.flow(picture[:150], **told, quiet=True)
    with pytest.raises(UserError, match="a window has 384"):
        isoplan.flow(picture, **told, longest_px=30, quiet=True)
    with pytest.raises(UserError, match="interval_ms"):
        isoplan.flow(picture[None], **told, quiet=True)
    with pytest.raises(UserError, match="more"):
        isoplan.flow(picture[None], **told, exposure_ms=10, interval_ms=12, quiet=True)


def test_oil_immersion_has_room_by_default():
    """Blur grows faster than the depth of field there."""
    oil = Defocus(1.4, 0.5, 0.065, index=1.515)
    fit = FlowFit(oil)
    assert 0.5 < fit.prior.near_um / oil.depth_of_field_um < 2.4
    assert 2 * oil.radius_px(fit.prior.farthest_um) < 128


def test_blur_wider_than_a_window_is_refused():
    with pytest.raises(UserError, match="the blur is"):
        FlowFit(OPTICS, near_um=40.0, axial_um=60.0)


def test_intervals_of_what_is_at_rest_reach_0():
    """A mean of lengths is never 0, so its interval must be told to reach it."""
    still = trial(motion="rest", samples=6)
    fit = still.fit()
    fit.fit = MotionFit(OPTICS, fit.prior, library=1024)
    rows = table([still], [still.unit(0, fit)])
    rows = rows[rows["textured"] > 0]
    moves = rows["displacement"] > rows["half_displacement"]
    assert len(rows) >= 4 and moves.mean() < 0.4


def test_the_next_picture_tells_an_angle_from_its_opposite():
    """Of two directions that blur allows. A picture of something else tells neither."""
    scene = draw_scenes(trial().objects, 2, 192, seed=4, stream="s", first=0, split="test")
    noisy = [
        torch.from_numpy(exposed(one, 1e3, np.random.default_rng(k)))
        for k, one in enumerate((scene[0], scene[0].roll((-9, -12), (0, 1)), scene[1]))
    ]
    told = torch.tensor([15.0]), torch.tensor([1.0]), torch.tensor([np.arctan2(9, 12)])
    told = (*told, torch.tensor([0.1]))
    for second, sign, agree in ((1, -1, 1), (2, 0, None)):
        found = correlations(noisy[0][None], noisy[second][None], 0.4)
        known, agrees, still = way(found, *told)
        assert not still and int(known) == sign and (agree is None or float(agrees) == agree)
    # The same place, though blur tells that it moved: it is at rest.
    known, agrees, still = way(correlations(noisy[0][None], noisy[0][None], 0.4), *told)
    assert still and int(known) == 0 and float(agrees) == 0
    # It moved as far, but across, so blur and displacement contradict each other.
    _, agrees, _ = way(
        correlations(noisy[0][None], noisy[1][None], 0.4), *told[:2], -told[2], told[3]
    )
    assert float(agrees) == 0


def test_tracks_follow_headings():
    """A vortex turns what is in it; a cell that is not known ends a track."""
    layout = FlowFit(OPTICS).layout((1024, 1024))
    y, x = np.meshgrid(*(layout.centres_px(axis) - 511.5 for axis in (0, 1)), indexing="ij")
    values = np.zeros((len(CHANNELS), *layout.cells), np.float32)
    turn = 0.02  # rad in an exposure
    values[CHANNELS.index("displacement")] = turn * np.hypot(y, x) * OPTICS.pixel_size_um
    values[CHANNELS.index("middle")], values[-1] = 3.0, 1.0
    one = FlowMap(layout, values, OPTICS.pixel_size_um, 5.0)
    followed = np.zeros((5, len(FOLLOWED), *layout.cells), np.float32)
    followed[:, 0] = np.arctan2(x, -y)  # y grows downwards
    followed[-1] = np.nan
    found = FlowSequence([one] * 5, followed, 10.0, 20.0)
    tracks = found.tracks()
    assert tracks["time_s"].max() == pytest.approx(0.08)
    ends = tracks[tracks["frame"] == 4].set_index("track")
    start = tracks[tracks["frame"] == 0].set_index("track").loc[ends.index]
    about = [(rows["x_px"] - 511.5) + 1j * (rows["y_px"] - 511.5) for rows in (start, ends)]
    inner = (about[0].abs() > 100) & (about[0].abs() < 400)
    turned = np.angle(about[1][inner] / about[0][inner])
    assert inner.sum() > 50 and np.abs(turned - 4 * 2 * turn).max() < 0.01
    assert np.allclose(about[1][inner].abs() / about[0][inner].abs(), 1, atol=0.01)
    assert np.allclose(tracks["middle_um"], 3)
    # What blur says to move, but is in the same place in the next picture, is at rest; where most is, all is doubted.
    fit = FlowFit(OPTICS)
    for share, some in ((0.3, True), (0.7, False)):
        followed[:4, 2] = np.linspace(0, 1, layout.cells[1]) < share
        both = np.concatenate([np.stack([values] * 5), followed], 1)
        made = sequence_of(fit, layout, both, "", 10.0, 20.0)
        assert made.whole.valid.any() == some and bool(made.doubt) != some
        assert not made.whole.valid[:, :, 0].any()
        words = describe(facts_of(made, 10.0), made.doubt)
        assert any(word.startswith("CAUTION") and "same place" in word for word in words)
    followed[1:, 0] = np.nan
    assert FlowSequence([one] * 5, followed, 10.0, 20.0).tracks()["frame"].max() == 1


def test_a_sequence_of_a_user(tmp_path, capsys, monkeypatch):
    small = partial(MotionFit, library=1024)
    monkeypatch.setattr("isoplan.applications.flow.fit.MotionFit", small)
    moving = trial(photons=[1e4, 1e5], size_px=320, frames=3, lateral_px=12.0)
    file, out = tmp_path / "moving.tif", tmp_path / "out"
    pictures = moving.sample(0)
    tifffile.imwrite(file, pictures, ome=True, metadata={"axes": "TYX"})
    optics = ["--na", "0.3", "--wavelength-um", "0.48", "--pixel-size-um", "0.32"]
    given = ["flow", str(file), *optics, "-o", str(out), "--exposure-ms", "20"]
    assert main([*given, "--interval-ms", "10"]) == 1
    assert "cannot be exposed" in capsys.readouterr().err
    assert main([*given, "--interval-ms", "30", "--slice", "1"]) == 1
    assert main([*given, "--interval-ms", "30"]) == 0
    assert "3 pictures; headings" in capsys.readouterr().out
    rows = pd.read_csv(out / "flow.csv")
    assert sorted(rows["frame"].unique()) == [0, 1, 2]
    known = rows[rows["heading_rad"].notna()]
    true, _, _ = moving.field(0, torch.zeros(1, 2))
    y, x = true.lateral_px[0].tolist()
    assert len(known) > 8 and (np.cos(known["heading_rad"] - np.arctan2(y, x)) > 0.9).all()
    assert (known["frame"] < 2).all() and rows["follows"].mean() > 0.7
    tracks = pd.read_csv(out / "tracks.csv")
    ended = tracks[tracks["frame"] == 2].set_index("track")
    start = tracks[tracks["frame"] == 0].set_index("track").loc[ended.index]
    off = np.hypot(ended["y_px"] - start["y_px"] - 3 * y, ended["x_px"] - start["x_px"] - 3 * x)
    assert len(ended) > 3 and off.median() < 6
    store = ngff.open_array(tmp_path / "out.ome.zarr")
    assert store.shape == tifffile.imread(out / "flow.tif").shape == (3, 13, 5, 5)
    # In memory it is the same.
    told = {"na": 0.3, "wavelength_um": 0.48, "pixel_size_um": 0.32, "quiet": True}
    made = isoplan.flow(pictures[:2], **told, exposure_ms=20, interval_ms=30)
    assert np.array_equal(made.frames[0].values, store[0, : len(CHANNELS)], equal_nan=True)
    assert np.array_equal(made["heading"][0], store[0, len(CHANNELS)], equal_nan=True)


def test_a_picture_of_a_sequence_may_be_lost(picture, monkeypatch):
    small = partial(MotionFit, library=1024)
    monkeypatch.setattr("isoplan.applications.flow.fit.MotionFit", small)
    lost = np.stack([picture, np.full_like(picture, np.nan)])
    told = {"na": 0.3, "wavelength_um": 0.48, "pixel_size_um": 0.32}
    made = isoplan.flow(lost, **told, exposure_ms=20, interval_ms=30)
    assert made.frames[0].valid.any() and not made.frames[1].valid.any()
    assert np.isnan(made.followed).all() and made.tracks().empty
