"""Halos: that they suffice is tested with what is restored (test_deconvolution, test_restoration)."""

from isoplan.restoration.halo import halo_of
from isoplan.restoration.tv_richardson_lucy import halo_px


def test_halo_grows_with_psf_and_iterations_up_to_its_cap():
    assert halo_px(31, 5) < halo_px(31, 10) < halo_px(31, 20) < halo_px(63, 10) <= 256
    assert halo_px(31, 20, acceleration="none") < halo_px(31, 20)
    assert halo_px(127) == 256
    assert halo_px(31, tv=False) < halo_px(31)


def test_halo(settings):
    chosen = settings("restoration", halo_px=40)
    assert halo_of(chosen, 31) == 40
    automatic = settings("restoration", halo_px=0)
    assert 31 < halo_of(automatic, 31) <= 256
    assert halo_of(automatic | {"tv_step": "none"}, 31) < halo_of(automatic, 31)
    assert halo_of(automatic | {"tv_weight": 0}, 31) < halo_of(automatic, 31)
