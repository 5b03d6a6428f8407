"""PSF synthesis against deepinv's generator: seconds per PSF on one grid. Wanted: a ratio of 10."""

import torch
from isoplan.optics.psf import make_psf_model
from timing import in_turn

CUTOFF = 0.25


def run() -> list[dict]:
    """The peer gets our own field as its pupil grid, and its default of 256 as a second case, where
    our pupil is sampled as finely. Both draw their parameters, three modes, and give PSFs of sum 1.
    """
    return [_compare(31, None), _compare(31, 256), _compare(127, None)]


def _compare(size_px: int, grid_px: int | None) -> dict:
    from deepinv.physics.generator import DiffractionBlurGenerator

    model = _model(size_px)
    grid = model.field_px = grid_px or model.field_px
    peer = DiffractionBlurGenerator(
        (size_px, size_px), zernike_index=(4, 5, 6), fc=CUTOFF, pupil_size=(grid, grid)
    )
    batch = 128 if size_px < 64 else 32
    generator = torch.Generator().manual_seed(0)
    pupils = torch.randn(batch, grid, grid, dtype=torch.complex64, generator=generator)
    times = in_turn(
        lambda: model.psf(model.sample(batch, generator)),
        lambda: peer.step(batch_size=batch),
        lambda: torch.fft.ifft2(pupils),  # one transform per PSF, as whoever goes by FFT needs
        per=batch,
    )
    return {
        "benchmark": f"Zernike PSF, {size_px} px, pupil grid {grid} px",
        "peer": "deepinv DiffractionBlurGenerator",
        **times,
    }


def _model(size_px: int):
    strong = size_px > 64
    return make_psf_model(
        {
            "name": "bench",
            "model": "zernike-3",
            "form": "isoplan",
            "size_px": size_px,
            "cutoff": CUTOFF,
            "excitation_cutoff": None,
            "focus_waves": [0.0, 0.8 if strong else 0.25],
            "cylinder_waves": [0.0, 0.35 if strong else 0.1],
        }
    )
