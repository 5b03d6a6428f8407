"""PSFs at any distance from focus, and the fit that tells the distance."""

import math

import numpy as np
import pytest
import torch
from isoplan.base.errors import UserError
from isoplan.networks import spectrum_fit
from isoplan.networks.defocus_fit import DefocusFit, Scene, spectra_of
from isoplan.optics.defocus import Defocus
from isoplan.optics.psf import make_psf_model

OPTICS = Defocus(na=0.3, wavelength_um=0.48, pixel_size_um=0.32, cylinder_waves=0.3, axis_rad=0.4)


def test_at_a_low_na_distances_are_focus_of_zernike_3():
    z = torch.tensor([2.0, 6.0, -6.0])
    focus = z * OPTICS.na**2 / (4 * math.sqrt(3) * OPTICS.wavelength_um)
    model = make_psf_model(
        {
            "name": "other",
            "model": "zernike-3",
            "form": "isoplan",
            "size_px": 63,
            "cutoff": OPTICS.cutoff,
        }
        | {"excitation_cutoff": None, "focus_waves": [0, 0.3], "cylinder_waves": [0, 0.3]}
    )
    # (-f, v) is (f, -v): the axis turns by 90 degrees.
    axis = torch.tensor([0.4, 0.4, 0.4 + math.pi / 2])
    params = torch.stack([focus.abs(), torch.full((3,), 0.3), axis], 1)
    other, _ = model.psf(params)
    # The edges of both pupils are softened differently, and a true path is not quite a parabola.
    assert (OPTICS.psf(z, 63) - other).abs().max() < 0.02 * other.max()


def test_spectra_are_those_of_binned_pixels():
    """White noise through the PSF, binned: the mean of its spectra, with what is aliased."""
    z, side, binning = torch.tensor([4.0]), 48, 2
    fine = side * binning
    psf = torch.zeros(fine, fine)
    psf[:91, :91] = OPTICS.psf(z, 91)[0]
    noise = torch.randn(2000, fine, fine, generator=torch.Generator().manual_seed(0))
    seen = torch.fft.irfft2(torch.fft.rfft2(noise) * torch.fft.rfft2(psf), s=(fine, fine))
    seen = torch.nn.functional.avg_pool2d(seen, binning)
    power = torch.fft.rfft2(seen).abs().square().mean(0) / side**2
    expected = OPTICS.spectra(z, side, binning, lambda squared: [torch.ones_like(squared)])[0, 0]
    scale = (power / expected)[expected > 1e-3 * expected.max()]
    assert float(scale.std() / scale.mean()) < 0.05


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("na", 0.0, "na is 0"),
        ("na", 1.2, "immersion"),
        ("softness_um", -1.0, "softness_um"),
        ("pixel_size_um", math.nan, "pixel_size_um"),
    ],
)
def test_impossible_optics_are_refused(key, value, word):
    with pytest.raises(UserError, match=word):
        Defocus(**{"na": 0.3, "wavelength_um": 0.5, "pixel_size_um": 0.3, key: value})


def anisotropic(shape: tuple[int, int], stretch: float, seed: int) -> torch.Tensor:
    """A scene whose spectrum is an elliptic power law."""
    rng = torch.Generator().manual_seed(seed)
    fy, fx = torch.fft.fftfreq(shape[0])[:, None], torch.fft.rfftfreq(shape[1])
    law = ((stretch * fy) ** 2 + (fx / stretch) ** 2 + 1e-4) ** -0.6
    scene = torch.fft.irfft2(torch.fft.rfft2(torch.randn(shape, generator=rng)) * law, s=shape)
    return scene - scene.min()


def test_the_distance_is_found_with_its_sign():
    """In a scene that looks like astigmatism by itself, which all windows together tell."""
    fit = DefocusFit(OPTICS, 20, binning=2, step_um=1.0)
    scene = anisotropic((512, 1536), 1.5, seed=1)
    found = []
    for z in (-12.0, 3.0, 9.0):
        psf = torch.zeros_like(scene)
        psf[:127, :127] = OPTICS.psf(torch.tensor([z]), 127)[0]
        blurred = torch.fft.irfft2(torch.fft.rfft2(scene) * torch.fft.rfft2(psf), s=scene.shape)
        noise = torch.randn(scene.shape, generator=torch.Generator().manual_seed(2))
        found.append(spectra_of(blurred + 0.01 * blurred.std() * noise, 2, 128).flatten(0, 1))
    spectra = torch.cat(found)
    true = torch.tensor([-12.0, 3.0, 9.0]).repeat_interleave(len(found[0]))

    def error(scene: Scene) -> float:
        mean = torch.softmax(fit.log_posterior(spectra, scene), 1) @ fit.z_um
        return float((mean - true).abs().mean())

    learnt, unknown = error(fit.learn(spectra)), error(fit.unknown)
    assert learnt < 0.6 and learnt < 0.7 * unknown


def test_distances_next_to_each_other_are_those_of_the_whole():
    fit = DefocusFit(OPTICS, 8, binning=2, step_um=2.0)
    spectra = spectra_of(anisotropic((256, 256), 1, 3), 2, 128)[0, :1]
    scene = fit.unknown
    whole = fit.log_posterior(spectra, scene)
    part = fit.between(2, 5)
    assert torch.equal(part.z_um, fit.z_um[2:5])
    np.testing.assert_allclose(part.log_posterior(spectra, scene), whole[:, 2:5], rtol=1e-4)


def test_the_spectrum_of_a_square_has_bins_for_the_terms():
    fit = DefocusFit(OPTICS, 4, binning=2, step_um=4.0)
    assert (
        fit.terms.shape[0]
        == fit.entries.shape[1]
        == len(spectrum_fit.spectral_bins(torch.device("cpu"))[1])
    )
