"""PSFs of single Zernike modes: against the other pupils, their ambiguities, and how large they are."""

import pytest
import torch
from isoplan.base.errors import UserError
from isoplan.networks.store import check_fits
from isoplan.optics.full_pupil import FullPupil
from isoplan.optics.other_blurs import aberrated
from isoplan.optics.psf import make_psf_model
from isoplan.psf_map.layout import at_cutoff

CUTOFFS = torch.tensor([0.13, 0.17, 0.2, 0.25])


def model(name="zernike-8", **changes):
    return make_psf_model(
        {
            "name": "test",
            "model": name,
            "form": "isoplan",
            "size_px": 47,
            "cutoff": 0.25,
            "cutoff_range": [0.125, 0.25],
            "excitation_cutoff": None,
            "modes_waves": [-0.15, 0.15],
            **changes,
        }
    )


def draw(made, n=20):
    return made.sample(n, torch.Generator().manual_seed(1))


def test_focus_and_astigmatism_are_those_of_zernike_3():
    other = model(
        "zernike-3", focus_waves=[0, 0.3], cylinder_waves=[0, 0.3], cutoff_range=[0.125, 0.25]
    )
    ours, theirs = torch.zeros(4, 8), torch.zeros(4, 3)
    ours[:, 0], ours[:, 2] = 0.1, 0.12  # focus, and astigmatism along the axes
    theirs[:, 0], theirs[:, 1] = 0.1, 0.12
    (one, lost), (two, theirs_lost) = model().psf(ours, CUTOFFS), other.psf(theirs, CUTOFFS)
    assert (one - two).abs().max() < 0.004 * two.max()
    assert torch.allclose(lost, theirs_lost, atol=0.01)


@pytest.mark.parametrize(("name", "place"), [("coma", 3), ("trefoil", 5), ("spherical", 7)])
def test_higher_modes_are_those_of_the_blurs_that_others_are_tested_with(name, place):
    waves = torch.full((4,), 0.12)
    params = torch.zeros(4, 8)
    params[:, place] = 0.12
    theirs = aberrated({name: waves}, torch.zeros(4), CUTOFFS, 47)
    ours = model().psf(params, CUTOFFS)[0]
    nearest = torch.minimum(
        (ours - theirs).abs().amax((1, 2)), (ours.flip(1, 2) - theirs).abs().amax((1, 2))
    )
    # They sample the intensity at three points per pixel, we integrate it.
    assert (nearest < 0.02 * theirs.amax((1, 2))).all()


def test_the_even_modes_have_no_sign_and_the_odd_ones_mirror():
    made = model()
    params = draw(made)
    psf, _ = made.psf(params)
    even, odd = params.clone(), made.mirrored(params)
    even[:, made.even] *= -1
    assert torch.allclose(made.psf(even)[0], psf, atol=1e-6)
    assert torch.allclose(made.psf(odd)[0], psf.flip(1, 2), atol=1e-6)
    assert torch.equal(made.encode(even), made.encode(params))
    assert not torch.allclose(made.encode(odd), made.encode(params))
    assert torch.allclose(made.nearest(even, params), params)
    assert torch.allclose(made.nearest(odd, params), params)
    assert torch.allclose(made.nearest(odd, params, mirror=False), odd)
    assert (made.same_side(params, params) > 0).all() and (made.same_side(odd, params) < 0).all()


def test_otf_slopes_are_those_of_small_steps():
    pupil = FullPupil((4, 7, 11), 64, 0.25)
    modes = pupil.modes(torch.tensor([0.18]))
    theta = torch.tensor([[[0.08, -0.05, 0.1]]])
    otf, slopes = pupil.otf_slopes(theta, modes)
    assert torch.allclose(otf, pupil.otf(theta, modes), atol=1e-6)
    for k in range(3):
        step = torch.zeros(1, 1, 3)
        step[..., k] = 1e-3
        wanted = (pupil.otf(theta + step, modes) - pupil.otf(theta - step, modes)) / 2e-3
        assert (slopes[:, :, k] - wanted).abs().max() < 2e-3 * wanted.abs().max()


def test_an_undersampled_pupil_is_integrated_over_the_pixels():
    fine = model(size_px=141, cutoff=0.4 / 3, cutoff_range=None)
    coarse = model(size_px=47, cutoff=0.4, cutoff_range=None)
    params = draw(fine, 4)
    wanted = fine.psf(params)[0].unflatten(2, (47, 3)).unflatten(1, (47, 3)).sum((2, 4))
    ours = coarse.psf(params)[0]
    assert (ours - wanted).abs().max() < 0.005 * ours.max()


def test_a_confocal_psf_is_narrower_and_has_the_widefield_modes():
    params = draw(model(), 4)
    wide = model(cutoff_range=None).psf(params)[0]
    confocal = model(cutoff_range=None, excitation_cutoff=0.28).psf(params)[0]
    assert (confocal.amax((1, 2)) > wide.amax((1, 2))).all()


def test_too_small_a_window_is_refused_but_in_the_published_form():
    small = {"size_px": 33, "modes_waves": [-0.15, 0.15]}
    with pytest.raises(UserError, match="enlarge size_px or narrow the ranges"):
        model(**small).check()
    with pytest.warns(UserWarning, match="lose up to"):
        assert model(form="published", **small).check() > 0.1
    with pytest.warns(UserWarning, match="lose up to"):
        assert model(size_px=159).check() < 0.02


def test_at_a_higher_cutoff_smaller_psfs_hold_the_same_light():
    made = model(size_px=159)
    params = draw(made, 50)
    lost = []
    for cutoff, binning in ((0.125, 1), (0.25, 1), (0.0625, 2)):
        own, found = at_cutoff(made, cutoff)
        assert found == binning
        lost.append(float(own.psf(params)[1].mean()))
    assert own.size_px > 300 and at_cutoff(made, 0.25)[0].size_px < 85
    assert max(lost) < 1.4 * min(lost) < 0.02


def test_one_psf_does_not_depend_on_its_neighbours_or_their_cutoffs():
    made = model()
    params = draw(made, 4)
    together = made.psf(params, CUTOFFS)[0]
    for k in range(4):
        alone = made.psf(params[k : k + 1], CUTOFFS[k : k + 1])[0]
        assert torch.allclose(alone[0], together[k], atol=1e-7)


@pytest.mark.parametrize("waves", [[-0.1, 0.2], [0.0, 0.1], [0.1, -0.1]])
def test_a_range_that_is_not_symmetric_is_refused(waves):
    with pytest.raises(UserError, match="modes_waves"):
        model(modes_waves=waves)


def test_amplitudes_may_be_drawn_too():
    plain = draw(model(), 2000)
    assert torch.equal(plain, draw(model(modes_scale=[1, 1]), 2000))
    made = model(modes_scale=[0.2, 1])
    largest = draw(made, 2000).abs().amax(1) / 0.15
    assert largest.max() <= 1 and largest.min() > 0.05
    # Evenly in the logarithm: as many below the geometric mean of 0.2 and 1 as above; 0.92 is the median largest of eight.
    assert abs(float((largest / 0.92 < 0.2**0.5).float().mean()) - 0.5) < 0.05


def test_a_network_that_knows_small_amplitudes_serves_studies_of_all():
    card = {
        "psf": model(modes_scale=[0.2, 1]).spec,
        "window_px": 256,
        "network": {"architecture": "whittle-fit"},
    }
    old = card | {"psf": {k: v for k, v in card["psf"].items() if k != "modes_scale"}}
    for scale in ([1, 1], [0.5, 1]):
        check_fits("file", card, model(modes_scale=scale).spec, 256, "whittle-fit")
    check_fits("file", old, model(modes_scale=[1, 1]).spec, 256, "whittle-fit")
    with pytest.raises(UserError, match="modes_scale"):
        check_fits("file", old, model(modes_scale=[0.5, 1]).spec, 256, "whittle-fit")
